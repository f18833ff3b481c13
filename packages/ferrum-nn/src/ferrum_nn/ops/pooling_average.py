"""Averages over windows of planes, and their adjoint: each the other's gradient."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, op, tensor, where, zeros
from ferrum.dtypes import float32, float64, is_floating
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.spec import Needs, Shape
from ferrum_nn.ops.windows import Windows, cases, spread_out

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


def _check(
    name: str, x: TensorLike, size: Shape, inner: Shape, windows: Windows, divisor: int | None
) -> None:
    windows.check(name, x, size, inner)
    if not is_floating(x.dtype):
        raise DTypeError(f"{name}: expected a floating-point tensor, got {x.dtype.name}")
    if divisor == 0:
        raise ArgumentError(f"{name}: expected a divisor that is not 0")


def _divisors(
    x: Tensor, size: Shape, inner: Shape, windows: Windows, padded: bool, divisor: int | None
) -> Tensor:
    """Return what the sums of all positions (positions,) are divided by, in the dtype of x."""
    if divisor is not None:
        return tensor(float(divisor), dtype=x.dtype, device=x.device)
    out = tensor([1.0], dtype=x.dtype, device=x.device)
    for axis, (length, m) in enumerate(zip(inner, size, strict=True)):
        along = windows.along(axis, length, m)
        counts = along.padded if padded else along.inside.sum(1)
        each = tensor(counts, dtype=x.dtype, device=x.device)
        out = (out.unsqueeze(-1) * each).reshape(-1)
    return out


def _wide(x: Tensor, axes: int) -> Tensor:
    """Return (..., *plane) as (planes, elements), in the dtype to add in."""
    shape = x.shape[: x.ndim - axes], x.shape[x.ndim - axes :]
    return x.to(float64 if x.dtype is float64 else float32).reshape(*map(prod, shape))


@op(ulp=4, scale=4.0)
def average_pool(
    x: TensorLike, *, size: Shape, windows: Windows, padded: bool, divisor: int | None
) -> Spec:
    """Return the sum of each window over `divisor`, or if None over its number of elements.

    x is (..., *plane) and the result (..., *size). With `padded` the padding that a window reaches
    counts among its elements.
    """
    inner = x.shape[-len(size) :]
    _check("average_pool", x, size, inner, windows, divisor)
    return Spec((*x.shape[: -len(size)], *size), x.dtype)


@average_pool.fallback
def _(x: Tensor, *, size: Shape, windows: Windows, padded: bool, divisor: int | None) -> Tensor:
    axes = len(size)
    lead, inner = x.shape[: x.ndim - axes], x.shape[x.ndim - axes :]
    if 0 in (*lead, *size):
        return zeros(*lead, *size, dtype=x.dtype, device=x.device)
    places, inside = spread_out(x, windows, size, inner)
    planes = _wide(x, axes)
    picked = planes.index_select(1, places.reshape(-1)).reshape(planes.shape[0], *places.shape)
    sums: Tensor = where(inside, picked, 0.0).sum(-1)
    out = sums / _divisors(sums, size, inner, windows, padded, divisor)
    return out.reshape(*lead, *size).to(x.dtype)


@average_pool.gradient
def _(
    g: Tensor, *, size: Shape, windows: Windows, padded: bool, divisor: int | None, needs: Needs
) -> Tensor:
    assert needs[0] is not None
    inner = needs[0].shape[-len(size) :]
    return average_pool_input(g, size=inner, windows=windows, padded=padded, divisor=divisor)


@average_pool.samples
def _(s: Sampler) -> Iterator[Sample]:
    for i, (x, size, windows) in enumerate(cases(s)):
        divisor = [None, None, 3, None, None, -2][i % 6]
        yield s(x, size=size, windows=windows, padded=bool(i % 2), divisor=divisor)
    apart = Windows((2,), (1,), (2,), (3,))  # one meets nothing
    yield s(s.real(2, 2), size=(3,), windows=apart, padded=False, divisor=None)
    yield from _refused(s, (2,))


def _refused(s: Sampler, size: Shape) -> Iterator[Sample]:
    """Yield calls with windows that do not fit."""
    two, x = Windows((2,), (2,), (0,), (1,)), s.real(2, 2)
    how = {"padded": True, "divisor": None}
    yield s.bad(ArgumentError, x, size=size, windows=two._replace(kernel=(0,)), **how)
    yield s.bad(ArgumentError, x, size=size, windows=two._replace(stride=(1, 1)), **how)
    yield s.bad(ArgumentError, x, size=size, windows=two._replace(padding=(-1,)), **how)
    yield s.bad(ArgumentError, x, size=size, windows=two._replace(dilation=()), **how)
    yield s.bad(ArgumentError, x, size=(-1,), windows=Windows(), **how)
    yield s.bad(ShapeError, x, size=(), windows=Windows(), **how)
    yield s.bad(ShapeError, x, size=(1, 1, 1), windows=Windows(), **how)
    yield s.bad(ArgumentError, x, size=size, windows=two, padded=True, divisor=0)
    yield s.bad(DTypeError, s.index(3, 2, 2), size=size, windows=two, **how)


@op(ulp=4, scale=8.0)
def average_pool_input(
    g: TensorLike, *, size: Shape, windows: Windows, padded: bool, divisor: int | None
) -> Spec:
    """Return planes (..., *size) with g (..., *result) added to all elements of each window.

    It is divided as in `average_pool`, whose gradient this is.
    """
    outer = g.shape[-len(size) :]
    _check("average_pool_input", g, outer, size, windows, divisor)
    return Spec((*g.shape[: -len(size)], *size), g.dtype)


@average_pool_input.fallback
def _(g: Tensor, *, size: Shape, windows: Windows, padded: bool, divisor: int | None) -> Tensor:
    axes = len(size)
    lead, outer = g.shape[: g.ndim - axes], g.shape[g.ndim - axes :]
    if 0 in g.shape:
        return zeros(*lead, *size, dtype=g.dtype, device=g.device)
    places, inside = spread_out(g, windows, outer, size)
    parts = _wide(g, axes)
    parts = parts / _divisors(parts, outer, size, windows, padded, divisor)
    each = where(inside, parts.unsqueeze(-1), 0.0).reshape(parts.shape[0], places.numel())
    index = places.reshape(1, -1).expand(*each.shape)
    planes = zeros(parts.shape[0], prod(size), dtype=parts.dtype, device=g.device)
    return planes.scatter_add(1, index, each).reshape(*lead, *size).to(g.dtype)


@average_pool_input.gradient
def _(
    g: Tensor, *, size: Shape, windows: Windows, padded: bool, divisor: int | None, needs: Needs
) -> Tensor:
    assert needs[0] is not None
    outer = needs[0].shape[-len(size) :]
    return average_pool(g, size=outer, windows=windows, padded=padded, divisor=divisor)


@average_pool_input.samples
def _(s: Sampler) -> Iterator[Sample]:
    for i, (x, size, windows) in enumerate(cases(s)):
        lead, inner = x.values.shape[: -len(size)], x.values.shape[-len(size) :]
        g, divisor = s.real(*lead, *size), [None, None, -2, None, None, 3][i % 6]
        yield s(g, size=inner, windows=windows, padded=not i % 2, divisor=divisor)
    yield from _refused(s, (4,))
