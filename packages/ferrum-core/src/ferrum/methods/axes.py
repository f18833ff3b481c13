"""Turning what people write for axes, shapes and sizes into what ops take."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import index
from typing import Any

from ferrum.errors import OperandError, OutOfRangeError, ShapeError
from ferrum.spec import Shape


def one_axis(name: str, dim: int, ndim: int) -> int:
    """Return the axis that `dim` means, counted from the end where it is negative.

    As in PyTorch a 0-d tensor has the axis 0, which ops on one axis see as an axis of size 1.
    """
    room = max(ndim, 1)
    try:
        dim = index(dim)
    except TypeError:
        raise OperandError(f"{name}: expected an integer as dim, got {dim!r}") from None
    if not -room <= dim < room:
        raise OutOfRangeError(
            f"{name}: expected a dim from {-room} to {room - 1} for {ndim} dimensions, got {dim}"
        )
    return dim % room


def real_axis(name: str, dim: int, ndim: int) -> int:
    """Return the axis that `dim` means, of a tensor that has one."""
    if not ndim:
        raise OutOfRangeError(f"{name}: expected at least 1 dimension, got a 0-d tensor")
    return one_axis(name, dim, ndim)


def distinct_axes(name: str, dims: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return the axes that `dims` mean, in their order, none of them twice."""
    axes = tuple(one_axis(name, dim, ndim) for dim in dims)
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{name}: dim {tuple(dims)} names an axis twice")
    return axes


def some_axes(name: str, dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return the axes that `dim` means, in order; None and () mean all."""
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, int):
        return (one_axis(name, dim, ndim),) if ndim else _none_of(name, dim)
    axes = distinct_axes(name, dim, ndim)
    return tuple(sorted(axes)) if axes and ndim else tuple(range(ndim))


def _none_of(name: str, dim: int) -> tuple[int, ...]:
    one_axis(name, dim, 0)
    return ()


def sizes_of(name: str, sizes: tuple[Any, ...]) -> Shape:
    """Return the shape in `f(2, 3)` or `f((2, 3))`."""
    listed = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    try:
        return tuple([index(size) for size in listed])
    except TypeError:
        raise OperandError(f"{name}: expected integers, got {tuple(listed)}") from None


def resolved(name: str, shape: Shape, count: int) -> Shape:
    """Return `shape` with its -1, if there is one, replaced so that it holds `count` elements."""
    if -1 not in shape:
        return shape
    known = prod(size for size in shape if size != -1)
    if shape.count(-1) > 1 or known == 0 or count % known:
        raise ShapeError(f"{name}: {count} elements do not fit the shape {shape}")
    return tuple(count // known if size == -1 else size for size in shape)
