"""Maxima over windows of planes, and their adjoint: the last axes of a tensor are planes."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, op, where, zeros
from ferrum.dtypes import CATEGORY, bool_, float32, int64
from ferrum.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError
from ferrum.spec import Needs, Shape
from ferrum_nn.ops.windows import Windows, cases, spread_out

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


def flat_planes(x: Tensor, axes: int) -> Tensor:
    """Return (..., *plane) with one axis for a plane, and one for all of them."""
    plane = x.shape[x.ndim - axes :]
    return x.reshape(prod(x.shape[: x.ndim - axes]), prod(plane))


def largest(x: Tensor) -> Tensor:
    """Return where along the last axis, which stays, the first of the largest is, or the last NaN.

    That is what PyTorch's pooling takes.
    """
    best = x.argmax(-1, keepdim=True)
    if CATEGORY[x.dtype] != 2:
        return best
    nans = x.isnan()
    last = x.shape[-1] - 1 - nans.flip(-1).to(float32).argmax(-1, keepdim=True)
    found: Tensor = where(nans.any(-1, keepdim=True), last, best)
    return found


@op(outputs=("out", "index"))
def max_pool(x: TensorLike, *, size: Shape, windows: Windows) -> tuple[Spec, Spec]:
    """Return the largest element of each window, and its index in the flat plane.

    x is (..., *plane) and the results (..., *size). The first of equals has the index. NaN counts
    as largest, and its last one has the index.
    """
    inner = x.shape[-len(size) :]
    windows.check("max_pool", x, size, inner)
    if x.dtype is bool_:
        raise DTypeError("max_pool: expected numbers, got bool")
    shape = (*x.shape[: -len(size)], *size)
    return Spec(shape, x.dtype), Spec(shape, int64)


@max_pool.fallback
def _(x: Tensor, *, size: Shape, windows: Windows) -> tuple[Tensor, Tensor]:
    shape = (*x.shape[: x.ndim - len(size)], *size)
    if 0 in shape:
        nothing = x.reshape(-1)[:0].reshape(*shape)  # of x, as its gradient goes through here
        return nothing, nothing.to(int64)
    places, _ = spread_out(x, windows, size, x.shape[x.ndim - len(size) :])
    planes = flat_planes(x, len(size))
    picked = planes.index_select(1, places.reshape(-1)).reshape(planes.shape[0], *places.shape)
    best = largest(picked)
    index = places.unsqueeze(0).expand(*picked.shape).gather(-1, best)
    return picked.gather(-1, best).reshape(*shape), index.reshape(*shape)


@max_pool.gradient
def _(g: tuple[Tensor | None, ...], index: Tensor, *, size: Shape, needs: Needs) -> Tensor:
    assert g[0] is not None and needs[0] is not None  # indices are integers
    return max_pool_input(g[0], index, size=needs[0].shape[-len(size) :])


@max_pool.samples
def _(s: Sampler) -> Iterator[Sample]:
    for x, size, windows in cases(s):
        yield s(x, size=size, windows=windows)
    two = Windows((2,), (2,), (0,), (1,))
    nan = float("nan")
    yield s.kink(s.exact(1, 1, 0, 0, -1, -1), size=(3,), windows=two)
    yield s.kink(s.exact(nan, 1, 0, nan, nan, nan), size=(3,), windows=two)
    yield s.kink(s.exact(*[-float("inf")] * 4), size=(2,), windows=two)
    yield s(s.real(2, 2), size=(3,), windows=Windows((2,), (1,), (2,), (3,)))  # one meets nothing
    yield from _refused(s)
    yield s.bad(DTypeError, s.truth(4), size=(2,), windows=two)


def _refused(s: Sampler) -> Iterator[Sample]:
    """Yield calls with windows that do not fit."""
    two, x = Windows((2,), (2,), (0,), (1,)), s.real(2, 4)
    yield s.bad(ArgumentError, x, size=(2,), windows=two._replace(kernel=(0,)))
    yield s.bad(ArgumentError, x, size=(2,), windows=two._replace(kernel=(2, 2)))
    yield s.bad(ArgumentError, x, size=(2,), windows=two._replace(stride=(0,)))
    yield s.bad(ArgumentError, x, size=(2,), windows=two._replace(padding=(-1,)))
    yield s.bad(ArgumentError, x, size=(2,), windows=two._replace(dilation=()))
    yield s.bad(ShapeError, x, size=(), windows=Windows())
    yield s.bad(ShapeError, x, size=(1, 1, 1), windows=Windows())
    yield s.bad(ArgumentError, x, size=(-1,), windows=Windows())
    yield s.bad(ShapeError, s.real(2, 0), size=(2,), windows=Windows())


@op(ulp=2, scale=4.0)
def max_pool_input(g: TensorLike, index: TensorLike, *, size: Shape) -> Spec:
    """Return planes (..., *size) of zeros to which g (..., *result) is added at `index`.

    Indices are those of the flat plane; what falls on one element is added in order. The kernel
    raises OutOfRangeError for indices outside of it.
    """
    axes = len(size)
    if g.shape != index.shape or not 1 <= axes <= len(g.shape):
        raise ShapeError(
            f"max_pool_input: expected g and indices of one shape with {axes} axes or more, got "
            f"{g.shape} and {index.shape}"
        )
    if index.dtype is not int64:
        raise DTypeError(f"max_pool_input: expected int64 indices, got {index.dtype.name}")
    if min(size) < 0:
        raise ArgumentError(f"max_pool_input: expected sizes of at least 0, got {size}")
    return Spec((*g.shape[:-axes], *size), g.dtype)


@max_pool_input.fallback
def _(g: Tensor, index: Tensor, *, size: Shape) -> Tensor:
    lead = g.shape[: g.ndim - len(size)]
    planes = zeros(prod(lead), prod(size), dtype=g.dtype, device=g.device)
    if 0 in g.shape:
        return planes.reshape(*lead, *size)
    flat = planes.scatter_add(1, flat_planes(index, len(size)), flat_planes(g, len(size)))
    return flat.reshape(*lead, *size)


@max_pool_input.gradient
def _(g: Tensor, index: Tensor, *, size: Shape, needs: Needs) -> tuple[Tensor, None]:
    axes = len(size)
    picked = flat_planes(g, axes).gather(1, flat_planes(index, axes))
    return picked.reshape(*index.shape), None


@max_pool_input.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(2, 3, 4), s.index(30, 2, 3, 4), size=(5, 6))
    yield s(s.real(3, 4), s.index(3, 3, 4), size=(3,))
    yield s(s.real(4), s.index(3, 4), size=(3,))
    yield s(s.real(1, 2, 2, 2), s.index(12, 1, 2, 2, 2), size=(2, 2, 3))
    yield s(s.real(2, 0), s.index(2, 2, 0), size=(3,))
    yield s(s.real(0, 2), s.index(2, 0, 2), size=(3,))
    yield s.bad(OutOfRangeError, s.real(3), s.indices(0, 1, 3), size=(3,))
    yield s.bad(OutOfRangeError, s.real(3), s.indices(0, 1, -1), size=(3,))
    yield s.bad(ShapeError, s.real(3), s.indices(0, 1), size=(3,))
    yield s.bad(ShapeError, s.real(3), s.indices(0, 1, 2), size=(1, 3))
    yield s.bad(DTypeError, s.real(2), s.real(2), size=(3,))
    yield s.bad(ArgumentError, s.real(2), s.indices(0, 1), size=(-3,))
