"""Resizing and its adjoint."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ferrum.backend import Kernel
from ferrum_cpu._front import empty
from ferrum_cpu.library import id_of, lib, refused

_STAYS = (None, None)
_NEAREST = ("nearest", "nearest-exact")
_KEPT = 2**14  # taps of longer axes are made anew each time


def _taps(axis: Any, adjoint: bool, dtype: Any) -> tuple[Any, Any]:
    """Return where an axis takes its entries, and their weights: None where each is one entry."""
    kept = max(axis.inner, axis.outer) <= _KEPT
    return (_made_taps if kept else _made_taps.__wrapped__)(axis, adjoint, dtype)


@lru_cache(maxsize=64)
def _made_taps(axis: Any, adjoint: bool, dtype: Any) -> tuple[Any, Any]:
    places, weights = axis.taps(adjoint)
    copies = axis.kind in _NEAREST and not adjoint
    return places, None if copies else weights.astype(dtype)


def _planes(name: str, x: Any, shape: Any, rows: Any, columns: Any) -> Any:
    """Return x (planes, h, w) resized to a shape, or what tells of an error."""
    out = empty(name, shape, x.dtype)
    code = lib.resize(
        id(x), id(out), id_of(rows[0]), id_of(rows[1]), id_of(columns[0]), id_of(columns[1])
    )
    return refused(name, code) if code else out


def _resized(name: str, x: Any, axes: Any, adjoint: bool) -> Any:
    if len(axes) > 3 or x.__class__ is not np.ndarray:
        return NotImplemented
    picks = {axis.kind in _NEAREST for axis in axes}
    if not adjoint and len(picks) > 1:
        return NotImplemented  # some weighed and some not: nobody asks for it
    wide = x.dtype
    if wide.itemsize < 4:
        if picks == {True} and wide.kind in "biu":
            return NotImplemented
        wide = np.dtype(np.float32)  # picked entries of a narrow dtype come back as they were
    dtype, lead = x.dtype, x.shape[: x.ndim - len(axes)]
    sizes = [axis.inner if adjoint else axis.outer for axis in axes]
    if not x.size:
        return empty(name, (*lead, *sizes), dtype)
    taps = [_taps(axis, adjoint, wide) for axis in axes]
    lengths = x.shape[x.ndim - len(axes) :]
    y = np.require(x, wide, ["C", "A"])
    planes = prod(lead)
    if len(axes) == 1:
        shape = (1, planes, sizes[0])
        y = _planes(name, y.reshape(1, planes, lengths[0]), shape, _STAYS, taps[0])
    else:
        planes *= prod(lengths[:-2])
        shape = (planes, *sizes[-2:])
        y = _planes(name, y.reshape(planes, *lengths[-2:]), shape, taps[-2], taps[-1])
    if len(axes) == 3 and y is not NotImplemented:
        area = sizes[1] * sizes[2]
        shape = (prod(lead), sizes[0], area)
        y = _planes(name, y.reshape(prod(lead), lengths[0], area), shape, taps[0], _STAYS)
    return y if y is NotImplemented else y.reshape(*lead, *sizes).astype(dtype, copy=False)


def resize(x: Any, *, axes: Any) -> Any:
    """Return x with its last axes resized."""
    return _resized("resize", x, axes, adjoint=False)


def resize_adjoint(g: Any, *, axes: Any) -> Any:
    """Return the gradient of what was resized."""
    return _resized("resize_adjoint", g, axes, adjoint=True)


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name; the ops' rules see to it that what C gets fits."""
    return {f"nn.{each.__name__}": Kernel(each) for each in (resize, resize_adjoint)}
