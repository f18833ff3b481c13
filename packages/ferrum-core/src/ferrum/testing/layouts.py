"""Ways for a tensor to lie in memory, made with the device's own view ops.

A layout is a base tensor and a path of view ops that leads from it to the operand. What the operand
does not cover is filled with values that show: NaN, 85, True.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ferrum.device import Device
from ferrum.dtypes import is_floating
from ferrum.graph import Path, replay
from ferrum.operation import OPS
from ferrum.spec import Shape
from ferrum.tensor import Tensor
from ferrum.testing.calls import Array, download, oracle_device, upload

# The shape of the base and the path from it, or None where the layout makes no sense.
Plan: TypeAlias = tuple[Shape, Path] | None


def _step(name: str, **attrs: Any) -> Path:
    return ((OPS[f"core.{name}"], attrs),)


def _transposed(shape: Shape) -> Plan:
    if len(shape) < 2:
        return None
    return shape[::-1], _step("permute", axes=tuple(range(len(shape)))[::-1])


def _strided(shape: Shape) -> Plan:
    if not shape:
        return None
    key = tuple((1 if n else 0, n, 2) for n in shape)
    return tuple(2 * n for n in shape), _step("getitem", key=key)


def _reversed(shape: Shape) -> Plan:
    if not shape or 0 in shape:
        return None
    return shape, _step("getitem", key=tuple((n - 1, n, -1) for n in shape))


def _offset(shape: Shape) -> Plan:
    size = prod(shape)
    cut = _step("getitem", key=((3, size, 1),))
    return (size + 5,), (*cut, *_step("reshape", shape=shape))


def _broadcast(shape: Shape) -> Plan:
    axis = next((i for i, n in enumerate(shape) if n > 1), None)
    if axis is None:
        return None
    return (*shape[:axis], 1, *shape[axis + 1 :]), _step("expand", shape=shape)


LAYOUTS: dict[str, Callable[[Shape], Plan]] = {
    "contiguous": lambda shape: (shape, ()),
    "transposed": _transposed,
    "strided": _strided,
    "reversed": _reversed,
    "offset": _offset,
    "broadcast": _broadcast,
}


def suits(layout: str, shape: Shape) -> bool:
    """Return whether a tensor of `shape` can lie in `layout`."""
    return LAYOUTS[layout](shape) is not None


def constant_along(array: Array) -> Array:
    """Return `array` with its first entry along the axis that "broadcast" repeats everywhere."""
    plan = _broadcast(array.shape)
    if plan is None:
        return array
    first = array[tuple(slice(0, n) for n in plan[0])]
    return np.broadcast_to(first, array.shape).copy()


class Placed(NamedTuple):
    """An operand on a device: the tensor, and the base whose memory it shows."""

    tensor: Tensor
    base: Tensor
    before: Array  # the values of the base
    path: Path

    def intact(self) -> bool:
        """Return whether the base still holds the bits it was made with."""
        return download(self.base).tobytes() == self.before.tobytes()

    def base_with(self, values: Array) -> Array:
        """Return what the base holds if the operand, and nothing else, is given `values`."""
        expected = self.before.copy()
        _look(expected, self.path)[...] = values
        return expected


def _look(base: Array, path: Path) -> Array:
    """Return the part of a NumPy array that `path` leads to, as a view."""
    array: Array = replay(path, Tensor(base, oracle_device())).array
    return array


def place(device: Device, array: Array, layout: str) -> Placed:
    """Return `array` on `device` in `layout`, or contiguous where that makes no sense."""
    plan = LAYOUTS[layout](array.shape)
    shape, path = plan if plan is not None else (array.shape, ())
    before = np.full(shape, np.nan if is_floating(array.dtype) else 85, array.dtype)
    if layout == "broadcast" and path:
        before[...] = array[tuple(slice(0, n) for n in shape)]
    else:
        _look(before, path)[...] = array
    base = upload(device, before)
    return Placed(replay(path, base), base, before, path)
