"""Ops that make many elements one, along axes."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from math import prod as product
from typing import TYPE_CHECKING

from ferrum.dtypes import CATEGORY, DType, bool_, float32, int64, is_floating
from ferrum.errors import DTypeError, ShapeError
from ferrum.op import op
from ferrum.ops.joining import along, concat
from ferrum.ops.views import expand, reshape
from ferrum.spec import Shape, Spec, TensorLike, broadcast_shapes

if TYPE_CHECKING:
    from ferrum.samples import Sample, Sampler
    from ferrum.tensor import Tensor

Axes = tuple[int, ...]


def reduced(name: str, x: TensorLike, axes: Axes, keepdims: bool) -> Shape:
    """Return the shape of x reduced along `axes`, which are distinct and not negative."""
    ndim = len(x.shape)
    if len(set(axes)) != len(axes) or builtins.any(not 0 <= axis < ndim for axis in axes):
        raise ShapeError(f"{name}: {axes} are not distinct axes of shape {x.shape}")
    if keepdims:
        return tuple(1 if i in axes else size for i, size in enumerate(x.shape))
    return tuple(size for i, size in enumerate(x.shape) if i not in axes)


def not_empty(name: str, x: TensorLike, axes: Axes) -> None:
    """Raise ShapeError where a result would come from no element at all."""
    if builtins.any(x.shape[axis] == 0 for axis in axes if 0 <= axis < len(x.shape)):
        raise ShapeError(f"{name}: shape {x.shape} has no element along {axes}")


def kept(g: Tensor, x: TensorLike, axes: Axes, keepdims: bool) -> Tensor:
    """Return the gradient of a reduction of x with the reduced axes back, of size 1."""
    return g if keepdims else reshape(g, shape=reduced("kept", x, axes, keepdims=True))


def total_dtype(dtype: DType) -> DType:
    """Return the dtype of a sum: int64 for bool and integers."""
    return dtype if is_floating(dtype) else int64


def each_reduction(s: Sampler) -> Iterator[Sample]:
    """Yield the calls that all reductions have in common."""
    yield s(s.real(3, 4), axes=(1,), keepdims=False)
    yield s(s.real(3, 4), axes=(0, 1), keepdims=True)
    yield s(s.real(2, 3, 4), axes=(0, 2), keepdims=False)
    yield s(s.real(3, 19), axes=(1,), keepdims=True)
    yield s(s.real(3, 4), axes=(), keepdims=False)
    yield s(s.real(), axes=(), keepdims=False)
    yield s(s.real(0, 3), axes=(1,), keepdims=False)
    yield s.kink(s.exact(1, 1, float("nan"), 0), axes=(0,), keepdims=False)
    yield s.kink(s.exact(2, float("inf"), 2, 0), axes=(0,), keepdims=True)
    yield s.bad(ShapeError, s.real(3, 4), axes=(2,), keepdims=False)
    yield s.bad(ShapeError, s.real(3, 4), axes=(0, 0), keepdims=False)


def each_total(s: Sampler) -> Iterator[Sample]:
    """Yield the calls of reductions that have a value for no elements at all."""
    yield from each_reduction(s)
    yield s(s.real(0, 3), axes=(0,), keepdims=False)


def each_extremum(s: Sampler) -> Iterator[Sample]:
    """Yield the calls of reductions that have none."""
    yield from each_reduction(s)
    yield s.bad(ShapeError, s.real(0, 3), axes=(0,), keepdims=False)


@op(ulp=4, scale=4.0)
def sum(x: TensorLike, *, axes: Axes, keepdims: bool) -> Spec:
    """Return the sum along `axes`, in int64 for bool and integers; float16 adds up in float32."""
    return Spec(reduced("sum", x, axes, keepdims), total_dtype(x.dtype))


@sum.gradient
def _(g: Tensor, *, axes: Axes, keepdims: bool, needs: tuple[TensorLike, ...]) -> Tensor:
    x = needs[0]
    return expand(kept(g, x, axes, keepdims), shape=x.shape)


@op(ulp=8)
def prod(x: TensorLike, *, axes: Axes, keepdims: bool) -> Spec:
    """Return the product along `axes`, in int64 for bool and integers."""
    return Spec(reduced("prod", x, axes, keepdims), total_dtype(x.dtype))


@prod.fallback
def _(x: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    """Multiply halves of an axis until it has size 1: no division, so zeros do no harm."""
    x = x.to(total_dtype(x.dtype))
    for axis in axes:
        if x.shape[axis] == 0:
            x = sum(x, axes=(axis,), keepdims=True) + 1
        while (size := x.shape[axis]) > 1:
            half = size // 2
            last = along(x, axis, 2 * half, size % 2)
            x = along(x, axis, 0, half) * along(x, axis, half, half)
            x = concat([x, last], axis=axis, sizes=(half, 1)) if size % 2 else x
    return x if keepdims else reshape(x, shape=reduced("prod", x, axes, keepdims=False))


def _extremum_gradient(g: Tensor, x: Tensor, out: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    """Share the gradient among the elements that tie; NaN, which wins, ties with NaN."""
    share = ((x == kept(out, x, axes, keepdims)) | (x != x)).to(g.dtype)
    return kept(g, x, axes, keepdims) * (share / sum(share, axes=axes, keepdims=True))


@op
def max(x: TensorLike, *, axes: Axes, keepdims: bool) -> Spec:
    """Return the largest element along `axes`; NaN wins."""
    not_empty("max", x, axes)
    return Spec(reduced("max", x, axes, keepdims), x.dtype)


@op
def min(x: TensorLike, *, axes: Axes, keepdims: bool) -> Spec:
    """Return the smallest element along `axes`; NaN wins."""
    not_empty("min", x, axes)
    return Spec(reduced("min", x, axes, keepdims), x.dtype)


@max.gradient
@min.gradient
def _(g: Tensor, x: Tensor, out: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    return _extremum_gradient(g, x, out, axes, keepdims)


@op(differentiable=False)
def any(x: TensorLike, *, axes: Axes, keepdims: bool) -> Spec:
    """Return whether an element along `axes` differs from 0."""
    return Spec(reduced("any", x, axes, keepdims), bool_)


@op(differentiable=False)
def all(x: TensorLike, *, axes: Axes, keepdims: bool) -> Spec:
    """Return whether all elements along `axes` differ from 0."""
    return Spec(reduced("all", x, axes, keepdims), bool_)


for _each in (sum, prod, any, all):
    _each.samples(each_total)
for _each in (max, min):
    _each.samples(each_extremum)


def _one_axis(name: str, x: TensorLike, axis: int) -> None:
    if not 0 <= axis < len(x.shape):
        raise ShapeError(f"{name}: {axis} is not an axis of shape {x.shape}")


@op(differentiable=False)
def argmax(x: TensorLike, *, axis: int, keepdims: bool) -> Spec:
    """Return the index of the largest element along `axis`, the first of equals; NaN wins."""
    _one_axis("argmax", x, axis)
    not_empty("argmax", x, (axis,))
    return Spec(reduced("argmax", x, (axis,), keepdims), int64)


@op(differentiable=False)
def argmin(x: TensorLike, *, axis: int, keepdims: bool) -> Spec:
    """Return the index of the smallest element along `axis`, the first of equals; NaN wins."""
    _one_axis("argmin", x, axis)
    not_empty("argmin", x, (axis,))
    return Spec(reduced("argmin", x, (axis,), keepdims), int64)


@argmax.samples
@argmin.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), axis=1, keepdims=False)
    yield s(s.real(3, 19), axis=1, keepdims=False)
    yield s(s.real(3, 4, 2), axis=1, keepdims=True)
    yield s(s.exact(1, 3, 3, 1), axis=0, keepdims=False)
    yield s(s.exact(1, float("nan"), 3, float("nan")), axis=0, keepdims=False)
    yield s(s.real(0, 3), axis=1, keepdims=False)
    yield s.bad(ShapeError, s.real(3), axis=1, keepdims=False)
    yield s.bad(ShapeError, s.real(3, 0), axis=1, keepdims=False)


@op(ulp=8, scale=4.0)
def cumulative_sum(x: TensorLike, *, axis: int) -> Spec:
    """Return the running sum along `axis`, in int64 for bool and integers."""
    _one_axis("cumulative_sum", x, axis)
    return Spec(x.shape, total_dtype(x.dtype))


@cumulative_sum.gradient
def _(g: Tensor, *, axis: int) -> Tensor:
    return _reversed(cumulative_sum(_reversed(g, axis), axis=axis), axis)


def _reversed(x: Tensor, axis: int) -> Tensor:
    return along(x, axis, x.shape[axis] - 1, x.shape[axis], -1)


@cumulative_sum.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), axis=1)
    yield s(s.real(5), axis=0)
    yield s(s.real(3, 19, 2), axis=1)
    yield s(s.real(2, 0), axis=1)
    yield s.bad(ShapeError, s.real(3), axis=1)
    yield s.bad(ShapeError, s.real(), axis=0)


@op(ulp=4, scale=4.0)
def sum_to(x: TensorLike, *, shape: Shape) -> Spec:
    """Return x summed down to `shape`, which broadcasts to the shape of x: broadcasting undone."""
    if broadcast_shapes("sum_to", shape, x.shape) != x.shape:
        raise ShapeError(f"sum_to: shape {shape} does not broadcast to {x.shape}")
    return Spec(shape, x.dtype)


@sum_to.fallback
def _(x: Tensor, *, shape: Shape) -> Tensor:
    lead = len(x.shape) - len(shape)
    grown = [lead + i for i, size in enumerate(shape) if size == 1 and x.shape[lead + i] != 1]
    return reshape(sum(x, axes=(*range(lead), *grown), keepdims=False), shape=shape).to(x.dtype)


@sum_to.gradient
def _(g: Tensor, *, needs: tuple[TensorLike, ...]) -> Tensor:
    return expand(g, shape=needs[0].shape)


@sum_to.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), shape=(4,))
    yield s(s.real(2, 3, 4), shape=(3, 1))
    yield s(s.real(2, 3), shape=())
    yield s(s.real(0, 3), shape=(1, 3))
    yield s.bad(ShapeError, s.real(3), shape=(2,))
    yield s.bad(ShapeError, s.real(3), shape=(2, 3))


@op(ulp=8, scale=2.0)
def mean(x: TensorLike, *, axes: Axes, keepdims: bool) -> Spec:
    """Return the mean along `axes`: sum / count, NaN of no elements; float16 adds up in float32."""
    if not is_floating(x.dtype):
        raise DTypeError(f"mean: expected a floating-point tensor, got {x.dtype.name}")
    return Spec(reduced("mean", x, axes, keepdims), x.dtype)


@mean.fallback
def _(x: Tensor, *, axes: Axes, keepdims: bool) -> Tensor:
    count = product(x.shape[axis] for axis in axes)
    return (sum(widened(x), axes=axes, keepdims=keepdims) / count).to(x.dtype)


@mean.gradient
def _(g: Tensor, *, axes: Axes, keepdims: bool, needs: tuple[TensorLike, ...]) -> Tensor:
    x = needs[0]
    count = product(x.shape[axis] for axis in axes)
    return expand(kept(g, x, axes, keepdims) / (count or 1), shape=x.shape)


@op(ulp=16, scale=2.0)
def var(x: TensorLike, *, axes: Axes, correction: float, keepdims: bool) -> Spec:
    """Return the variance along `axes`: sum of (x - mean)**2 / max(0, count - correction)."""
    if not is_floating(x.dtype):
        raise DTypeError(f"var: expected a floating-point tensor, got {x.dtype.name}")
    return Spec(reduced("var", x, axes, keepdims), x.dtype)


@var.fallback
def _(x: Tensor, *, axes: Axes, correction: float, keepdims: bool) -> Tensor:
    wide = widened(x)
    centred = wide - mean(wide, axes=axes, keepdims=True)
    count = product(x.shape[axis] for axis in axes) - correction
    return (sum(centred * centred, axes=axes, keepdims=keepdims) / (count if count > 0 else 0)).to(
        x.dtype
    )


@var.gradient
def _(g: Tensor, x: Tensor, *, axes: Axes, correction: float, keepdims: bool) -> Tensor:
    wide = widened(x)
    count = product(x.shape[axis] for axis in axes) - correction
    centred = wide - mean(wide, axes=axes, keepdims=True)
    slope = centred * (2 / count if count > 0 else float("inf"))
    return (kept(g, x, axes, keepdims) * slope).to(x.dtype)


@mean.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield from each_total(s)
    yield s.bad(DTypeError, s.typed(int64, 3), axes=(0,), keepdims=False)


@var.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), axes=(1,), correction=1, keepdims=False)
    yield s(s.real(2, 3, 4), axes=(0, 2), correction=0, keepdims=True)
    yield s.kink(s.real(3, 1), axes=(1,), correction=1, keepdims=False)
    yield s.bad(ShapeError, s.real(3), axes=(1,), correction=1, keepdims=False)
    yield s.bad(DTypeError, s.typed(int64, 3), axes=(0,), correction=1, keepdims=False)


def widened(x: Tensor) -> Tensor:
    """Return x in the dtype that sums of it are kept in: float32 for float16 and bfloat16."""
    return x.to(float32) if x.dtype.itemsize == 2 and CATEGORY[x.dtype] == 2 else x
