"""Tier 0: other looks at the same memory. An op declared `view` must alias its input."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from ferrum.dtypes import float32
from ferrum.errors import OutOfRangeError, ShapeError
from ferrum.op import op
from ferrum.operation import OPS
from ferrum.ops.memory import check_shape, copy, copy_, full
from ferrum.spec import Needs, Shape, Spec, TensorLike, broadcast_shapes

if TYPE_CHECKING:
    from ferrum.graph import Path
    from ferrum.samples import Sample, Sampler
    from ferrum.tensor import Tensor

# Per axis: an index, which drops it, or (start, count, step); None makes a new axis of size 1.
Range: TypeAlias = tuple[int, int, int]
BasicKey: TypeAlias = tuple[int | Range | None, ...]


@op(view=True)
def reshape(x: TensorLike, *, shape: Shape) -> Spec:
    """Return x in another shape: a view where its layout allows one, else a copy.

    The kernel returns the array and whether it is a view.
    """
    if prod(shape) != prod(x.shape) or any(size < 0 for size in shape):
        raise ShapeError(f"reshape: {prod(x.shape)} elements of shape {x.shape} do not fit {shape}")
    return Spec(check_shape("reshape", shape), x.dtype)


@reshape.gradient
def _(g: Tensor, *, needs: tuple[TensorLike, ...]) -> Tensor:
    return reshape(g, shape=needs[0].shape)


@reshape.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), shape=(2, 6))
    yield s(s.real(3, 4), shape=(12,))
    yield s(s.real(1), shape=())
    yield s(s.real(0, 3), shape=(3, 0, 2))
    yield s.bad(ShapeError, s.real(3, 4), shape=(5, 2))
    yield s.bad(ShapeError, s.real(3, 4), shape=(-3, -4))


@op(view=True)
def permute(x: TensorLike, *, axes: tuple[int, ...]) -> Spec:
    """Return x with its axes in the order `axes`."""
    if sorted(axes) != list(range(len(x.shape))):
        raise ShapeError(f"permute: {axes} is no order of the axes of {x.shape}")
    return Spec(tuple(x.shape[axis] for axis in axes), x.dtype)


@permute.gradient
def _(g: Tensor, *, axes: tuple[int, ...]) -> Tensor:
    return permute(g, axes=tuple(sorted(range(len(axes)), key=axes.__getitem__)))


@permute.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), axes=(1, 0))
    yield s(s.real(2, 3, 4), axes=(2, 0, 1))
    yield s(s.real(), axes=())
    yield s(s.real(0, 3), axes=(1, 0))
    yield s.bad(ShapeError, s.real(3, 4), axes=(0, 0))
    yield s.bad(ShapeError, s.real(3, 4), axes=(0,))


@op(view=True)
def expand(x: TensorLike, *, shape: Shape) -> Spec:
    """Return x repeated to `shape` along new axes and axes of size 1, without copying."""
    if broadcast_shapes("expand", x.shape, check_shape("expand", shape)) != shape:
        raise ShapeError(f"expand: shape {x.shape} does not expand to {shape}")
    return Spec(shape, x.dtype)


@expand.gradient
def _(g: Tensor) -> Tensor:
    return g  # the engine sums a gradient down to the shape of its input


@expand.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 1), shape=(3, 4))
    yield s(s.real(4), shape=(2, 3, 4))
    yield s(s.real(), shape=(2, 2))
    yield s(s.real(1, 3), shape=(0, 3))
    yield s.bad(ShapeError, s.real(3), shape=(4,))
    yield s.bad(ShapeError, s.real(3, 4), shape=(4,))


@op(view=True)
def getitem(x: TensorLike, *, key: BasicKey) -> Spec:
    """Return the part of x that `key` picks: per axis an index or (start, count, step)."""
    shape: list[int] = []
    sizes = iter(x.shape)
    if sum(entry is not None for entry in key) != len(x.shape):
        raise OutOfRangeError(f"getitem: key {key} does not fit the shape {x.shape}")
    for entry in key:
        if entry is None:
            shape.append(1)
        elif isinstance(entry, int):
            _check_index(x, entry, next(sizes))
        else:
            shape.append(_check_range(x, entry, next(sizes)))
    return Spec(tuple(shape), x.dtype)


def _check_index(x: TensorLike, index: int, size: int) -> None:
    if not 0 <= index < size:
        raise OutOfRangeError(
            f"getitem: index {index} is out of range for size {size} of {x.shape}"
        )


def _check_range(x: TensorLike, entry: Range, size: int) -> int:
    start, count, step = entry
    last = start + (count - 1) * step
    if step == 0 or count < 0 or (count and not (0 <= start < size and 0 <= last < size)):
        raise OutOfRangeError(f"getitem: range {entry} leaves the axis of size {size} of {x.shape}")
    return count


@getitem.gradient
def _(g: Tensor, *, key: BasicKey, needs: tuple[TensorLike, ...]) -> Tensor:
    return view_scatter(zeros_of(g, needs[0].shape), g, path=((getitem, {"key": key}),))


@getitem.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(4, 5), key=(1, (0, 3, 2)))
    yield s(s.real(4, 5), key=((3, 4, -1), None, (0, 5, 1)))
    yield s(s.real(3), key=(2,))
    yield s(s.real(4, 5), key=((0, 0, 1), (0, 5, 1)))
    yield s(s.real(), key=(None,))
    yield s.bad(OutOfRangeError, s.real(3), key=(3,))
    yield s.bad(OutOfRangeError, s.real(3), key=((0, 4, 1),))
    yield s.bad(OutOfRangeError, s.real(3, 3), key=(0,))


def zeros_of(g: Tensor, shape: Shape) -> Tensor:
    """Return zeros of `shape`, with the dtype and device of `g`."""
    return full(shape=shape, value=0, dtype=g.dtype, device=g.device)


def shape_along(shape: Shape, path: Path) -> Shape:
    """Return the shape of the view that `path` makes of a tensor of `shape`."""
    spec = Spec(shape, float32)
    for step, attrs in path:
        spec = step.rule(spec, **attrs)
    return spec.shape


@op
def view_scatter(x: TensorLike, src: TensorLike, *, path: Path) -> Spec:
    """Return a copy of x in which the view that the ops of `path` make of it is `src`."""
    if shape_along(x.shape, path) != src.shape:
        raise ShapeError(
            f"view_scatter: expected a value of shape {shape_along(x.shape, path)}, got {src.shape}"
        )
    return Spec(x.shape, x.dtype)


@view_scatter.fallback
def _(x: Tensor, src: Tensor, *, path: Path) -> Tensor:
    out = copy(x)
    view = out
    for i, (step, attrs) in enumerate(path):
        inner = step(view, **attrs)
        if inner.view_of is None:  # a reshape that was a view of x, and copies in the layout of out
            copy_(view, reshape(view_scatter(inner, src, path=path[i + 1 :]), shape=view.shape))
            return out
        view = inner
    copy_(view, src)
    return out


@view_scatter.gradient
def _(g: Tensor, *, path: Path, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    inner = g
    for step, attrs in path:
        inner = step(inner, **attrs)
    outer = None
    if needs[0] is not None:
        outer = view_scatter(g, zeros_of(g, shape_along(g.shape, path)), path=path)
    return outer, inner


@view_scatter.samples
def _(s: Sampler) -> Iterator[Sample]:
    row = ((OPS["core.getitem"], {"key": (1, (0, 3, 2))}),)
    yield s(s.real(4, 5), s.real(3), path=row)
    turned = (
        (OPS["core.permute"], {"axes": (1, 0)}),
        (OPS["core.getitem"], {"key": ((0, 2, 1), 0)}),
    )
    yield s(s.real(3, 4), s.real(2), path=turned)
    yield s.bad(ShapeError, s.real(4, 5), s.real(4), path=row)
    yield s.bad(OutOfRangeError, s.real(1, 5), s.real(3), path=row)
