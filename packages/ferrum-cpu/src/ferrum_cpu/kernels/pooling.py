"""Pooling, by maxima and averages, and their adjoints."""

from __future__ import annotations

from itertools import chain
from typing import Any

from ferrum.backend import Kernel
from ferrum.dtypes import int64
from ferrum_cpu._front import empty
from ferrum_cpu.library import lib, refused


def _numbers(windows: Any, axes: int) -> list[int]:
    """Return kernel, stride, padding and dilation, axis by axis; zeros for windows that adapt."""
    if not windows.kernel:
        return [0] * (4 * axes)
    return [*chain(*zip(*windows, strict=True))]


def max_pool(x: Any, *, size: Any, windows: Any) -> Any:
    """Return the largest element of each window, and its index in the flat plane."""
    axes = len(size)
    shape = (*x.shape[: x.ndim - axes], *size)
    out, index = empty("max_pool", shape, x.dtype), empty("max_pool", shape, int64)
    code = lib.max_pool(id(x), id(out), id(index), axes, _numbers(windows, axes))
    return refused("max_pool", code) if code else (out, index)


def max_pool_input(g: Any, index: Any, *, size: Any) -> Any:
    """Return planes of zeros to which g is added at the index."""
    axes = len(size)
    out = empty("max_pool_input", (*g.shape[: g.ndim - axes], *size), g.dtype)
    code = lib.max_pool_input(id(g), id(index), id(out), axes)
    return refused("max_pool_input", code) if code else out


def average_pool(x: Any, *, size: Any, windows: Any, padded: Any, divisor: Any) -> Any:
    """Return the mean of each window."""
    axes = len(size)
    out = empty("average_pool", (*x.shape[: x.ndim - axes], *size), x.dtype)
    numbers = _numbers(windows, axes)
    code = lib.average_pool(id(x), id(out), axes, numbers, bool(padded), divisor or 0.0)
    return refused("average_pool", code) if code else out


def average_pool_input(g: Any, *, size: Any, windows: Any, padded: Any, divisor: Any) -> Any:
    """Return planes to which each mean is spread."""
    axes = len(size)
    out = empty("average_pool_input", (*g.shape[: g.ndim - axes], *size), g.dtype)
    numbers = _numbers(windows, axes)
    code = lib.average_pool_input(id(g), id(out), axes, numbers, bool(padded), divisor or 0.0)
    return refused("average_pool_input", code) if code else out


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name; the ops' rules see to it that what C gets fits."""
    found = (max_pool, max_pool_input, average_pool, average_pool_input)
    return {f"nn.{each.__name__}": Kernel(each) for each in found}
