"""Connectionist temporal classification (Graves et al., ICML 2006)."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, arange, cat, full, op, stack, tensor, where
from ferrum.dtypes import int64, is_floating
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.ops.reduce import widened
from ferrum.spec import Shape

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


@op(ulp=32, scale=16.0)
def ctc_loss(
    log_probs: TensorLike,
    targets: TensorLike,
    *,
    input_lengths: Shape,
    target_lengths: Shape,
    blank: int,
) -> Spec:
    """Return for each sequence -log of the summed probability of all alignments with its target.

    log_probs is (t, n, classes), targets (n, s): classes, of which `target_lengths` count, and what
    follows is not read. An alignment gives each of the first `input_lengths` steps a class: those
    of the target in order, each for one or more steps, with blanks anywhere between, and at least
    one between two of the same class. The loss is ∞ where there is none.
    """
    if not is_floating(log_probs.dtype) or targets.dtype is not int64:
        raise DTypeError(
            f"ctc_loss: expected floating-point log_probs and int64 targets, got "
            f"{log_probs.dtype.name} and {targets.dtype.name}"
        )
    if len(log_probs.shape) != 3 or len(targets.shape) != 2:
        raise ShapeError(
            f"ctc_loss: expected log_probs (t, n, classes) and targets (n, s), got "
            f"{log_probs.shape} and {targets.shape}"
        )
    steps, batch, classes = log_probs.shape
    if targets.shape[0] != batch or {len(input_lengths), len(target_lengths)} != {batch}:
        raise ShapeError(
            f"ctc_loss: expected targets and lengths of {batch} sequences, got targets of "
            f"{targets.shape[0]} and lengths of {len(input_lengths)} and {len(target_lengths)}"
        )
    if not 0 <= blank < classes:
        raise ArgumentError(f"ctc_loss: expected a blank from 0 to {classes - 1}, got {blank}")
    for what, lengths, most in (
        ("input_lengths", input_lengths, steps),
        ("target_lengths", target_lengths, targets.shape[1]),
    ):
        if not all(0 <= each <= most for each in lengths):
            raise ArgumentError(f"ctc_loss: expected {what} from 0 to {most}, got {lengths}")
    return Spec((batch,), log_probs.dtype)


def _log_sum(terms: list[Tensor]) -> Tensor:
    """Return the logarithm of the sum of exponentials; -∞, with a gradient of 0, of none."""
    every = stack(terms)
    most = every.detach().amax(0)
    nothing = most == -inf
    most = where(nothing, 0.0, most)
    total = (every - most).exp().sum(0)
    found: Tensor = where(nothing, -inf, where(nothing, 1.0, total).log() + most)
    return found


@ctc_loss.fallback
def _(
    log_probs: Tensor,
    targets: Tensor,
    *,
    input_lengths: Shape,
    target_lengths: Shape,
    blank: int,
) -> Tensor:
    dtype, device, log_probs = log_probs.dtype, log_probs.device, widened(log_probs)
    steps, batch, _ = log_probs.shape
    size = targets.shape[1]
    ends = tensor(target_lengths, dtype=int64, device=device).reshape(batch, 1)
    inside = arange(size, device=device) < ends
    # A target's classes with blanks around them: each a state, from which alignments go on.
    labels = where(inside, targets, blank).reshape(batch, size, 1)
    blanks = full((batch, size, 1), blank, dtype=int64, device=device)
    states = cat([blanks, labels], 2).reshape(batch, 2 * size)
    states = cat([states, full((batch, 1), blank, dtype=int64, device=device)], 1)
    # From the one before last only to another class: two alike need a blank between.
    skips = cat(
        [
            full((batch, min(2, 2 * size + 1)), False, device=device),
            states[:, 2:] != states[:, :-2],
        ],
        1,
    )
    every = log_probs.gather(2, states.unsqueeze(0).expand(steps, batch, 2 * size + 1))
    never = full((batch, 2), -inf, dtype=log_probs.dtype, device=device)
    zero = full((batch, 1), 0.0, dtype=log_probs.dtype, device=device)
    alpha = cat([zero, never[:, :1].expand(batch, 2 * size)], 1)
    lengths = tensor(input_lengths, dtype=int64, device=device).reshape(batch, 1)
    for t in range(max(input_lengths, default=0)):
        behind = cat([never, alpha], 1)
        skipped = where(skips, behind[:, : 2 * size + 1], -inf)
        ahead = _log_sum([alpha, behind[:, 1 : 2 * size + 2], skipped]) + every[t]
        alpha = where(lengths > t, ahead, alpha)
    # It ends in the last class, or in the blank behind it.
    last = where(ends > 0, alpha.gather(1, (2 * ends - 1).clamp(min=0)), -inf)
    return -_log_sum([alpha.gather(1, 2 * ends), last]).squeeze(1).to(dtype)


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
    yield s.bad(DTypeError, fits[0], s.real(1, 2), **lengths, blank=0)
