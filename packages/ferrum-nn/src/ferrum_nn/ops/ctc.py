"""Connectionist temporal classification (Graves et al., ICML 2006).

A target's classes with blanks around them are 2 s + 1 states, which an alignment goes through in
order: each step stays, or goes to the next state, or past a blank between two classes that differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING, Any

from ferrum import Spec, TensorLike, arange, cat, full, op, stack, tensor, where, zeros
from ferrum.dtypes import float32, float64, int64, is_floating
from ferrum.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError
from ferrum.ops.reduce import widened
from ferrum.spec import Needs, Shape

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler

# Stands for log 0: differences of it are numbers, and what is added to it does not change it.
NEVER = -(2.0**126)


def _check(
    name: str,
    targets: TensorLike,
    limits: Shape,
    input_lengths: Shape,
    target_lengths: Shape,
    blank: int,
) -> None:
    """Refuse targets, lengths and a blank that do not fit the steps, the batch and the classes."""
    steps, batch, classes = limits
    if targets.dtype is not int64:
        raise DTypeError(f"{name}: expected int64 targets, got {targets.dtype.name}")
    if len(targets.shape) != 2:
        raise ShapeError(f"{name}: expected targets (n, s), got {targets.shape}")
    if targets.shape[0] != batch or {len(input_lengths), len(target_lengths)} != {batch}:
        raise ShapeError(
            f"{name}: expected targets and lengths of {batch} sequences, got targets of "
            f"{targets.shape[0]} and lengths of {len(input_lengths)} and {len(target_lengths)}"
        )
    if not 0 <= blank < classes:
        raise ArgumentError(f"{name}: expected a blank from 0 to {classes - 1}, got {blank}")
    for what, lengths, most in (
        ("input_lengths", input_lengths, steps),
        ("target_lengths", target_lengths, targets.shape[1]),
    ):
        if not all(0 <= each <= most for each in lengths):
            raise ArgumentError(f"{name}: expected {what} from 0 to {most}, got {lengths}")


@op(outputs=("out", "alpha"), ulp=32, scale=16.0)
def ctc_loss(
    log_probs: TensorLike,
    targets: TensorLike,
    *,
    input_lengths: Shape,
    target_lengths: Shape,
    blank: int,
) -> tuple[Spec, Spec]:
    """Return for each sequence -log of the summed probability of all alignments with its target.

    log_probs is (t, n, classes), targets (n, s): classes, of which `target_lengths` count, and what
    follows is not read. An alignment gives each of the first `input_lengths` steps a class: those
    of the target in order, each for one or more steps, with blanks anywhere between, and at least
    one between two of the same class. The loss is ∞ where there is none.

    alpha (n, t, 2 s + 1) is the logarithm of the summed probability of all ways to be in a state
    after a step: at least -2**126, which stands for -∞ and for what is past a sequence's lengths.
    It is float32 for dtypes of 16 bits.
    """
    if not is_floating(log_probs.dtype):
        raise DTypeError(f"ctc_loss: expected floating-point log_probs, got {log_probs.dtype.name}")
    if len(log_probs.shape) != 3:
        raise ShapeError(f"ctc_loss: expected log_probs (t, n, classes), got {log_probs.shape}")
    steps, batch, _ = limits = log_probs.shape
    _check("ctc_loss", targets, limits, input_lengths, target_lengths, blank)
    wide = float64 if log_probs.dtype is float64 else float32
    states = 2 * targets.shape[1] + 1
    return Spec((batch,), log_probs.dtype), Spec((batch, steps, states), wide)


class _States:
    """The states of a batch: which class each is, and how they follow each other."""

    def __init__(self, targets: Tensor, target_lengths: Shape, blank: int) -> None:
        batch, size = targets.shape
        device = targets.device
        self.ends = 2 * _column(target_lengths, targets)  # the blanks behind the targets
        self.places = arange(2 * size + 1, device=device)
        labels = where(self.places[1::2] < self.ends, targets, blank).unsqueeze(2)
        blanks = full((batch, size, 1), blank, dtype=int64, device=device)
        pairs = cat([blanks, labels], 2).reshape(batch, 2 * size)
        self.classes = cat([pairs, full((batch, 1), blank, dtype=int64, device=device)], 1)
        # From the one before last only to another class: two alike need a blank between.
        differ = self.classes[:, 2:] != self.classes[:, :-2]
        self.skips = cat([full((batch, min(2, 2 * size + 1)), False, device=device), differ], 1)

    def before(self, alpha: Tensor) -> Tensor:
        """Return alpha (n, states) of the states that each may come from: (3, n, states)."""
        padded = cat(
            [full((len(alpha), 2), NEVER, dtype=alpha.dtype, device=alpha.device), alpha], 1
        )
        past = where(self.skips, padded[:, :-2], NEVER)
        return stack([alpha, padded[:, 1:-1], past])

    def last(self, alpha: Tensor) -> Tensor:
        """Return alpha where an alignment may end: in the last class, and in the blank behind."""
        found: Tensor = where(
            (self.places == self.ends) | (self.places == self.ends - 1), alpha, NEVER
        )
        return found


def _column(lengths: Shape, like: Tensor) -> Tensor:
    return tensor(lengths, dtype=int64, device=like.device).reshape(len(lengths), 1)


def _log_sum(terms: Tensor, dim: int) -> Tensor:
    """Return the logarithm of the sum of exponentials along an axis."""
    most = terms.detach().amax(dim, keepdim=True)
    return (terms - most).exp().sum(dim).log() + most.squeeze(dim)


@ctc_loss.fallback
def _(
    log_probs: Tensor,
    targets: Tensor,
    *,
    input_lengths: Shape,
    target_lengths: Shape,
    blank: int,
) -> tuple[Tensor, Tensor]:
    dtype, device, log_probs = log_probs.dtype, log_probs.device, widened(log_probs)
    steps, batch, _ = log_probs.shape
    states, lengths = _States(targets, target_lengths, blank), _column(input_lengths, targets)
    shape = batch, len(states.places)
    every = log_probs.gather(2, states.classes.unsqueeze(0).expand(steps, *shape))
    every = where(states.places <= states.ends, every, -inf)
    never = full(shape, NEVER, dtype=log_probs.dtype, device=device)
    alpha = where(states.places == 0, 0.0, never)
    kept = []
    for t in range(steps):
        ahead = _log_sum(states.before(alpha), 0) + every[t]
        ahead = where(ahead <= NEVER, NEVER, ahead)
        kept.append(where(lengths > t, ahead, NEVER))
        alpha = where(lengths > t, ahead, alpha)
    total = _log_sum(states.last(alpha), 1)
    losses = where(total <= NEVER, inf, -total).to(dtype)
    return losses, stack(kept, 1) if kept else never.unsqueeze(1)[:, :0]


@ctc_loss.gradient
def _(
    g: tuple[Tensor | None, ...],
    targets: Tensor,
    alpha: Tensor,
    *,
    input_lengths: Shape,
    target_lengths: Shape,
    blank: int,
    needs: Needs,
) -> Any:
    of_losses, of_alpha = g
    if of_losses is None or of_alpha is not None or needs[0] is None:
        return NotImplemented  # rare: the fallback's gradient serves
    how: Any = {"input_lengths": input_lengths, "target_lengths": target_lengths, "blank": blank}
    return ctc_loss_backward(of_losses, alpha, targets, classes=needs[0].shape[2], **how), None


@ctc_loss.samples
def _(s: Sampler) -> Iterator[Sample]:
    import numpy as np

    from ferrum.samples import Input

    lengths: dict[str, Shape]
    for targets, into, out in (
        (((1, 2), (2, 2)), (4, 3), (2, 2)),
        (((1, 1), (2, 0)), (3, 4), (2, 1)),
        (((1, 2), (2, 1)), (4, 2), (0, 2)),
        (((2,), (1,)), (1, 4), (1, 0)),
        (((), ()), (3, 2), (0, 0)),
    ):
        index = Input(np.array(targets, np.int64).reshape(2, -1), int64)
        lengths = {"input_lengths": into, "target_lengths": out}
        yield s(s.real(4, 2, 3, low=-3.0, high=-0.1), index, **lengths, blank=0)
    lengths = {"input_lengths": (3,), "target_lengths": (2,)}
    fits = s.real(3, 1, 4, low=-3.0, high=-0.1), s.index(3, 1, 2)
    yield s(*fits, **lengths, blank=3)
    yield s.kink(*fits, input_lengths=(1,), target_lengths=(2,), blank=3)  # too short: infinite
    yield s(s.real(2, 0, 3), s.index(3, 0, 2), input_lengths=(), target_lengths=(), blank=0)
    yield s.bad(ArgumentError, *fits, **lengths, blank=4)
    yield s.bad(ArgumentError, *fits, **lengths, blank=-1)
    yield s.bad(ArgumentError, *fits, **{**lengths, "input_lengths": (4,)}, blank=0)
    yield s.bad(ArgumentError, *fits, **{**lengths, "target_lengths": (-1,)}, blank=0)
    yield s.bad(ShapeError, *fits, **{**lengths, "target_lengths": (1, 1)}, blank=0)
    yield s.bad(ShapeError, fits[0], s.index(3, 2, 2), **lengths, blank=0)
    yield s.bad(ShapeError, s.real(3, 4), fits[1], **lengths, blank=0)
    yield s.bad(ShapeError, fits[0], s.index(3, 2), **lengths, blank=0)
    yield s.bad(DTypeError, fits[0], s.real(1, 2), **lengths, blank=0)
    yield s.bad(DTypeError, s.typed(int64, 3, 1, 4), fits[1], **lengths, blank=0)
    for wrong in (4, -1):
        outside = Input(np.array([[1, wrong]]), int64)
        yield s.bad(OutOfRangeError, fits[0], outside, **lengths, blank=0)


@op(ulp=32, scale=4.0)
def ctc_loss_backward(
    g: TensorLike,
    alpha: TensorLike,
    targets: TensorLike,
    *,
    input_lengths: Shape,
    target_lengths: Shape,
    classes: int,
    blank: int,
) -> Spec:
    """Return the gradient of ctc_loss by log_probs: -g times the probability of being in a class.

    That of a state at the last step is its share of the alignments that end; before, each state
    hands its own back to those it may have come from, in proportion to e^alpha. So the shares of a
    step always add up to 1, where a second recursion for what follows (beta) would have to be
    divided by the total. A sequence without an alignment has a gradient of 0.
    """
    name = "ctc_loss_backward"
    if not is_floating(g.dtype) or not is_floating(alpha.dtype):
        raise DTypeError(
            f"{name}: expected a floating-point gradient and alpha, got {g.dtype.name} and "
            f"{alpha.dtype.name}"
        )
    if len(alpha.shape) != 3 or g.shape != alpha.shape[:1]:
        raise ShapeError(
            f"{name}: expected a gradient (n,) and alpha (n, t, 2 s + 1), got {g.shape} and "
            f"{alpha.shape}"
        )
    batch, steps, states = alpha.shape
    _check(name, targets, (steps, batch, classes), input_lengths, target_lengths, blank)
    if states != 2 * targets.shape[1] + 1:
        raise ShapeError(
            f"{name}: expected alpha of {2 * targets.shape[1] + 1} states, got {states}"
        )
    return Spec((steps, batch, classes), g.dtype)


@ctc_loss_backward.fallback
def _(
    g: Tensor,
    alpha: Tensor,
    targets: Tensor,
    *,
    input_lengths: Shape,
    target_lengths: Shape,
    classes: int,
    blank: int,
) -> Tensor:
    dtype, g, alpha = g.dtype, widened(g), widened(alpha).to(widened(g).dtype)
    batch, steps, count = alpha.shape
    states, lengths = _States(targets, target_lengths, blank), _column(input_lengths, targets)
    nothing = zeros(batch, 2, dtype=alpha.dtype, device=g.device)
    share = zeros(batch, count, dtype=alpha.dtype, device=g.device)
    shares = []
    for t in reversed(range(steps)):
        if t + 1 < steps:
            stay, ahead, past = states.before(alpha[:, t]).softmax(0) * share
            ahead, past = cat([ahead, nothing], 1), cat([past, nothing], 1)
            share = stay + ahead[:, 1:-1] + past[:, 2:]
        ending = states.last(alpha[:, t])
        found = ending.detach().amax(1, keepdim=True) != NEVER
        share = where(lengths == t + 1, where(found, ending.softmax(1), 0.0), share)
        shares.append(share)
    out = zeros(steps, batch, classes, dtype=alpha.dtype, device=g.device)
    if not shares:
        return out.to(dtype)
    places = states.classes.unsqueeze(0).expand(steps, batch, count)
    return out.scatter_add(2, places, stack(shares[::-1]) * -g.unsqueeze(1)).to(dtype)


@ctc_loss_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    lengths: dict[str, Shape] = {"input_lengths": (3, 2), "target_lengths": (2, 1)}
    fits = s.real(2), s.real(2, 3, 5), s.index(3, 2, 2)
    for blank in (0, 3):
        yield s(*fits, **lengths, classes=4, blank=blank)
    none: dict[str, Shape] = {"input_lengths": (0, 1), "target_lengths": (1, 0)}
    yield s(*fits, **none, classes=3, blank=0)
    none = {"input_lengths": (), "target_lengths": ()}
    yield s(s.real(0), s.real(0, 3, 5), s.index(3, 0, 2), **none, classes=3, blank=0)
    yield s.bad(ArgumentError, *fits, **lengths, classes=3, blank=3)
    yield s.bad(ArgumentError, *fits, **{**lengths, "input_lengths": (4, 2)}, classes=4, blank=0)
    yield s.bad(ArgumentError, *fits, **{**lengths, "target_lengths": (3, 2)}, classes=4, blank=0)
    yield s.bad(ShapeError, *fits, **{**lengths, "input_lengths": (3,)}, classes=4, blank=0)
    yield s.bad(ShapeError, s.real(3), *fits[1:], **lengths, classes=4, blank=0)
    yield s.bad(ShapeError, fits[0], s.real(2, 3, 3), fits[2], **lengths, classes=4, blank=0)
    yield s.bad(ShapeError, fits[0], s.real(2, 3), fits[2], **lengths, classes=4, blank=0)
    yield s.bad(DTypeError, *fits[:2], s.real(2, 2), **lengths, classes=4, blank=0)
    yield s.bad(DTypeError, s.typed(int64, 2), *fits[1:], **lengths, classes=4, blank=0)
    yield s.bad(OutOfRangeError, *fits, **lengths, classes=1, blank=0)
