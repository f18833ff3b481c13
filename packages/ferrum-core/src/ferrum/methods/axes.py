"""Turning what people write for axes, shapes and sizes into what ops take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, wraps
from math import prod
from operator import index
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ferrum.errors import ArgumentError, OperandError, OutOfRangeError, ShapeError
from ferrum.spec import Shape

P = ParamSpec("P")
R = TypeVar("R")


def numpys_names(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function`, which takes `axis` for `dim` and `keepdims` for `keepdim` as well.

    PyTorch's do, for those who come from NumPy.
    """

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        if not kwargs:
            return function(*args)  # type: ignore[call-arg]  # mypy wants P's keywords, too
        if "axis" in kwargs or "keepdims" in kwargs:
            kwargs = _in_our_names(function.__name__, kwargs)
        return function(*args, **kwargs)

    return called


def _in_our_names(name: str, kwargs: dict[str, Any]) -> Any:
    for theirs, ours in (("axis", "dim"), ("keepdims", "keepdim")):
        if theirs in kwargs:
            if ours in kwargs:
                raise ArgumentError(
                    f"{name}: expected {ours} or {theirs}, which is the same, got both"
                )
            kwargs[ours] = kwargs.pop(theirs)
    return kwargs


def whole(name: str, what: str, value: Any) -> int:
    """Return the argument `what`, which must be an integer."""
    try:
        return index(value)
    except TypeError:
        raise OperandError(f"{name}: expected an integer as {what}, got {value!r}") from None


def flag(name: str, what: str, value: Any) -> bool:
    """Return the argument `what`, which must be True or False."""
    if value.__class__ is bool:
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    raise OperandError(f"{name}: expected True or False as {what}, got {value!r}")


def one_axis(name: str, dim: int, ndim: int) -> int:
    """Return the axis that `dim` means, counted from the end where it is negative.

    As in PyTorch a 0-d tensor has the axis 0, which ops on one axis see as an axis of size 1.
    """
    if dim.__class__ is int and -ndim <= dim < ndim:
        return dim % ndim  # as most calls are
    room = max(ndim, 1)
    dim = whole(name, "dim", dim)
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
        return _all_axes(ndim)
    if not isinstance(dim, (tuple, list, range)):
        axis = one_axis(name, dim, ndim)  # type: ignore[arg-type]  # which says so
        return (axis,) if ndim else ()
    axes = distinct_axes(name, dim, ndim)
    return tuple(sorted(axes)) if axes and ndim else _all_axes(ndim)


@cache
def _all_axes(ndim: int) -> tuple[int, ...]:
    return tuple(range(ndim))


def sizes_of(name: str, sizes: tuple[Any, ...]) -> Shape:
    """Return the shape in `f(2, 3)` or `f((2, 3))`."""
    listed = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    try:
        shape = tuple([index(size) for size in listed])
    except TypeError:
        raise OperandError(f"{name}: expected integers, got {tuple(listed)}") from None
    if bool in map(type, listed):
        raise OperandError(f"{name}: expected integers, got {tuple(listed)}")
    return shape


def resolved(name: str, shape: Shape, count: int) -> Shape:
    """Return `shape` with its -1, if there is one, replaced so that it holds `count` elements."""
    if -1 not in shape:
        return shape
    known = prod(size for size in shape if size != -1)
    if shape.count(-1) > 1 or known == 0 or count % known:
        raise ShapeError(f"{name}: {count} elements do not fit the shape {shape}")
    return tuple(count // known if size == -1 else size for size in shape)
