"""Recurrence over the steps of a batch of sequences: what its ops share, and the plain one.

Sequences lie packed: rows (rows, n) hold step after step, of the longest sequence first, and
`sizes` says how many sequences reach each step. So a padded batch (t, b, n) is packed with sizes
(b,) * t, and both go one road. With `reverse` each sequence is read from its own end. What comes in
is x W_ihᵀ + biases already: one product for all steps; the ops add what comes from the state.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ferrum import Spec, TensorLike, cat, op, zeros
from ferrum.dtypes import float32, float64, is_floating
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.ops.reduce import widened
from ferrum.spec import Needs, Shape

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler

NONLINEARITIES = ("tanh", "relu")


def check(
    name: str, sizes: Shape, x: TensorLike, h: TensorLike, weight: TensorLike, gates: int
) -> None:
    """Refuse rows, a first state and a recurrent weight that do not fit together."""
    for each in (x, h, weight):
        if each.dtype is not x.dtype or not is_floating(each.dtype):
            raise DTypeError(
                f"{name}: expected floating-point operands of one dtype, got {x.dtype.name}, "
                f"{h.dtype.name} and {weight.dtype.name}"
            )
    if len(h.shape) != 2 or len(weight.shape) != 2 or weight.shape[1] != h.shape[1]:
        raise ShapeError(
            f"{name}: expected a state (batch, n) and a recurrent weight (m, n), got {h.shape} and "
            f"{weight.shape}"
        )
    if not sizes or sizes[0] != h.shape[0] or sizes[-1] < 0 or list(sizes) != sorted(sizes)[::-1]:
        raise ArgumentError(
            f"{name}: expected sizes from the state's {h.shape[0]} on that never grow, got {sizes}"
        )
    if x.shape != (sum(sizes), weight.shape[0]) or weight.shape[0] % gates:
        raise ShapeError(
            f"{name}: expected rows ({sum(sizes)}, {gates} n) and a weight of {gates} gates, got "
            f"{x.shape} and {weight.shape}"
        )


def check_like(name: str, what: str, given: TensorLike | None, shape: Shape, x: TensorLike) -> None:
    """Refuse an operand, unless None, of another shape than this, or another dtype than x's."""
    if given is not None and given.shape != shape:
        raise ShapeError(f"{name}: expected {what} of shape {shape}, got {given.shape}")
    if given is not None and given.dtype is not x.dtype:
        raise DTypeError(f"{name}: expected {what} of {x.dtype.name}, got {given.dtype.name}")


def walk(sizes: Shape, reverse: bool) -> list[slice]:
    """Return the rows of each step, in the order that steps are made."""
    steps, start = [], 0
    for size in sizes:
        steps.append(slice(start, start + size))
        start += size
    return steps[::-1] if reverse else steps


def renewed(state: Tensor, rows: Tensor) -> Tensor:
    """Return the state with its first rows replaced: the other sequences rest."""
    return rows if len(rows) == len(state) else cat([rows, state[len(rows) :]])


def joined(parts: list[Tensor], reverse: bool) -> Tensor:
    """Return the rows of all steps, given in the order that steps are made."""
    return cat(parts[::-1] if reverse else parts)


def earlier(rows: Tensor, first: Tensor, sizes: Shape, reverse: bool) -> list[Tensor]:
    """Return for each step, in the order they are made, what its rows were before it."""
    steps = walk(sizes, reverse)
    found = [first[: steps[0].stop - steps[0].start]]
    for before, step in pairwise(steps):
        count = step.stop - step.start
        old = rows[before.start : min(before.stop, before.start + count)]
        found.append(old if len(old) == count else cat([old, first[len(old) : count]]))
    return found


def gradient_of(given: Tensor | None, like: Tensor, columns: int) -> Tensor:
    """Return a gradient in the dtype to compute in; zeros for None."""
    if given is not None:
        return widened(given)
    dtype = float64 if like.dtype is float64 else float32
    return zeros(len(like), columns, dtype=dtype, device=like.device)


# ---- the plain one


@op(outputs=("out", "last"), ulp=8, scale=16.0)
def rnn(
    x: TensorLike,
    h: TensorLike,
    weight: TensorLike,
    *,
    sizes: Shape,
    reverse: bool,
    nonlinearity: str,
) -> tuple[Spec, Spec]:
    """Return h_t = f(x_t + h_{t-1} Wᵀ) of all steps, and the last one of each sequence.

    f is tanh or relu. x is (rows, n), h (batch, n) and W (n, n) (Elman, "Finding structure in
    time", 1990).
    """
    check("rnn", sizes, x, h, weight, 1)
    _check_plain("rnn", h, weight, nonlinearity)
    return Spec(x.shape, x.dtype), Spec(h.shape, h.dtype)


def _check_plain(name: str, h: TensorLike, weight: TensorLike, nonlinearity: str) -> None:
    if nonlinearity not in NONLINEARITIES:
        raise ArgumentError(
            f"{name}: expected nonlinearity to be 'tanh' or 'relu', got {nonlinearity!r}"
        )
    if weight.shape[0] != h.shape[1]:
        raise ShapeError(f"{name}: expected a square recurrent weight, got {weight.shape}")


@rnn.fallback
def _(
    x: Tensor, h: Tensor, weight: Tensor, *, sizes: Shape, reverse: bool, nonlinearity: str
) -> tuple[Tensor, Tensor]:
    dtype, outs = x.dtype, []
    x, h, turned = widened(x), widened(h), widened(weight).mT
    for step in walk(sizes, reverse):
        total = x[step] + h[: step.stop - step.start] @ turned
        outs.append(total.tanh() if nonlinearity == "tanh" else total.relu())
        h = renewed(h, outs[-1])
    return joined(outs, reverse).to(dtype), h.to(dtype)


@rnn.gradient
def _(
    g: tuple[Tensor | None, ...],
    h: Tensor,
    weight: Tensor,
    out: Tensor,
    *,
    sizes: Shape,
    reverse: bool,
    nonlinearity: str,
    needs: Needs,
) -> Any:
    of_out, of_last = g
    how: Any = {"sizes": sizes, "reverse": reverse, "nonlinearity": nonlinearity}
    return rnn_backward(of_out, of_last, out, h, weight, **how)


@op(outputs=("dx", "dh", "dweight"), ulp=8, scale=32.0)
def rnn_backward(
    g: TensorLike | None,
    last: TensorLike | None,
    out: TensorLike,
    h: TensorLike,
    weight: TensorLike,
    *,
    sizes: Shape,
    reverse: bool,
    nonlinearity: str,
) -> tuple[Spec, Spec, Spec]:
    """Return the gradients of rnn by x, h and weight; those of its two results may be None."""
    name = "rnn_backward"
    check(name, sizes, out, h, weight, 1)
    _check_plain(name, h, weight, nonlinearity)
    check_like(name, "a gradient", g, out.shape, out)
    check_like(name, "a gradient of the last state", last, h.shape, out)
    return Spec(out.shape, out.dtype), Spec(h.shape, h.dtype), Spec(weight.shape, weight.dtype)


@rnn_backward.fallback
def _(
    g: Tensor | None,
    last: Tensor | None,
    out: Tensor,
    h: Tensor,
    weight: Tensor,
    *,
    sizes: Shape,
    reverse: bool,
    nonlinearity: str,
) -> tuple[Tensor, Tensor, Tensor]:
    dtype, parts = out.dtype, []
    g, dh = gradient_of(g, out, h.shape[1]), gradient_of(last, h, h.shape[1])
    out, matrix = widened(out), widened(weight)
    slope = 1 - out * out if nonlinearity == "tanh" else (out > 0).to(out.dtype)
    for step in reversed(walk(sizes, reverse)):
        parts.append((g[step] + dh[: step.stop - step.start]) * slope[step])
        dh = renewed(dh, parts[-1] @ matrix)
    dx = joined(parts[::-1], reverse)
    before = joined(earlier(out, widened(h), sizes, reverse), reverse)
    return dx.to(dtype), dh.to(dtype), (dx.mT @ before).to(dtype)


# ---- samples


CASES = (((2, 2, 2), False), ((3, 2, 1), True), ((2, 2, 1), False), ((1,), False), ((2, 2), True))


def cases() -> Iterator[dict[str, Any]]:
    """Yield attributes: padded and packed batches, in either direction, and an empty one."""
    for sizes, reverse in (*CASES, ((0, 0), False)):
        yield {"sizes": sizes, "reverse": reverse}


BAD_SIZES: tuple[Shape, ...] = ((), (1, 2), (3,), (2, -1))


@rnn.samples
def _(s: Sampler) -> Iterator[Sample]:
    for attrs in cases():
        rows, batch = sum(attrs["sizes"]), attrs["sizes"][0]
        for kind in NONLINEARITIES:
            yield s(s.real(rows, 3), s.real(batch, 3), s.real(3, 3), **attrs, nonlinearity=kind)
    fits = {"sizes": (2, 1), "reverse": False, "nonlinearity": "tanh"}
    x, h, weight = s.real(3, 2), s.real(2, 2), s.real(2, 2)
    for sizes in BAD_SIZES:
        yield s.bad(ArgumentError, x, h, weight, **{**fits, "sizes": sizes})
    yield s.bad(ArgumentError, x, h, weight, **{**fits, "nonlinearity": "gelu"})
    yield s.bad(ShapeError, s.real(4, 2), h, weight, **fits)
    yield s.bad(ShapeError, s.real(3, 3), h, weight, **fits)
    yield s.bad(ShapeError, x, s.real(2, 3), weight, **fits)
    yield s.bad(ShapeError, x, s.real(2), weight, **fits)
    yield s.bad(ShapeError, s.real(3, 4), h, s.real(4, 2), **fits)
    yield s.bad(DTypeError, s.typed(float32, 3, 2), h, s.typed(float64, 2, 2), **fits)


@rnn_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    for i, attrs in enumerate(cases()):
        rows, batch = sum(attrs["sizes"]), attrs["sizes"][0]
        g, last = s.real(rows, 3), s.real(batch, 3)
        operands = s.real(rows, 3, low=-0.9, high=0.9), s.real(batch, 3), s.real(3, 3)
        for kind in NONLINEARITIES:
            yield s(g, last if i % 2 else None, *operands, **attrs, nonlinearity=kind)
        yield s(None, last, *operands, **attrs, nonlinearity="tanh")
    fits = {"sizes": (2, 1), "reverse": False, "nonlinearity": "tanh"}
    out, h, weight = s.real(3, 2), s.real(2, 2), s.real(2, 2)
    yield s.bad(ShapeError, s.real(2, 2), None, out, h, weight, **fits)
    yield s.bad(ShapeError, None, s.real(3, 2), out, h, weight, **fits)
    yield s.bad(ArgumentError, out, None, out, h, weight, **{**fits, "sizes": (1, 2)})
