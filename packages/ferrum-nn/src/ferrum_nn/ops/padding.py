"""Padding with a number, and its adjoint, which takes away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, full, op
from ferrum.errors import ArgumentError, ShapeError
from ferrum.spec import Shape

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


@op
def pad(x: TensorLike, *, before: Shape, after: Shape, value: float) -> Spec:
    """Return x with as many more entries, all `value`, before and after each axis.

    Where a number is negative as many are taken away.
    """
    if not len(before) == len(after) == len(x.shape):
        raise ArgumentError(
            f"pad: expected two numbers for each axis of {x.shape}, got {before} and {after}"
        )
    shape = tuple(b + size + a for b, size, a in zip(before, x.shape, after, strict=True))
    if min(shape, default=0) < 0:
        raise ShapeError(f"pad: {before} before and {after} after take away more than {x.shape}")
    return Spec(shape, x.dtype)


@pad.fallback
def _(x: Tensor, *, before: Shape, after: Shape, value: float) -> Tensor:
    sizes = list(zip(before, x.shape, after, strict=True))
    out = full(tuple(map(sum, sizes)), value, dtype=x.dtype, device=x.device)
    # what is left of x, as x and as the result counts
    kept = [(max(0, -b), size + min(0, a), b) for b, size, a in sizes]
    if all(first < last for first, last, _ in kept):
        there = out[tuple(slice(first + b, last + b) for first, last, b in kept)]
        there.copy_(x[tuple(slice(first, last) for first, last, _ in kept)])
    return out


@pad.gradient
def _(g: Tensor, *, before: Shape, after: Shape) -> Tensor:
    less, fewer = (tuple(-each for each in given) for given in (before, after))
    return pad(g, before=less, after=fewer, value=0)


@pad.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3), before=(1,), after=(2,), value=0.5)
    yield s(s.real(2, 3), before=(0, 2), after=(0, 0), value=0)
    yield s(s.real(4, 3), before=(-1, 1), after=(2, -1), value=1)
    yield s(s.real(3), before=(-4,), after=(3,), value=0)  # nothing of x is left
    yield s(s.real(0, 2), before=(1, 0), after=(0, 0), value=0)
    yield s(s.real(), before=(), after=(), value=0)
    yield s.bad(ArgumentError, s.real(2, 3), before=(1,), after=(1,), value=0)
    yield s.bad(ShapeError, s.real(3), before=(-2,), after=(-2,), value=0)
