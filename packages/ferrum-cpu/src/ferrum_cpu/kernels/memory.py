"""Copies, and tensors made of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ferrum import reference
from ferrum.backend import Kernel
from ferrum.dtypes import CATEGORY, DType, bool_
from ferrum_cpu import _front
from ferrum_cpu.library import NO_MEMORY, lib, refused

_WHOLE = range(-(2**63), 2**63)


def astype(x: Any, *, dtype: DType) -> Any:
    """Return a copy of x in another dtype."""
    return _copied("astype", x, dtype)


def copy(x: Any) -> Any:
    """Return a copy of x, its elements in row-major order."""
    return _copied("copy", x, x.dtype)


def _copied(op: str, x: Any, dtype: DType) -> Any:
    out = _front.empty(op, x.shape, dtype)
    return NotImplemented if lib.copy_into(id(x), id(out)) else out


def copy_(x: Any, y: Any) -> Any:
    """Write y, broadcast and cast, into x; they may overlap."""
    if not x.flags.writeable:
        return NotImplemented
    code = lib.copy_over(id(y), id(x))
    if code == NO_MEMORY:
        return refused("copy_", code)
    return reference.copy_(x, y) if code else None


def full(*, shape: tuple[int, ...], value: float, dtype: DType) -> Any:
    """Return an array with every element equal to `value`."""
    out = _front.empty("full", shape, dtype)
    if out.nbytes < 65536 and (CATEGORY[dtype] < 2 or -30000 < value < 30000):
        out.fill(value)  # no warning of overflow, as for 1e300
        return out
    with np.errstate(over="ignore"):  # NumPy makes no bool of a number beyond 64 bits
        number = np.full((), bool(value) if dtype is bool_ else value, dtype)
    return NotImplemented if lib.copy_into(id(number), id(out)) else out


def arange(*, start: float, stop: float, step: float, dtype: DType) -> Any:
    """Return start + i * step, computed in float64 or int64."""
    out = _front.empty("arange", (math.ceil((stop - start) / step),), dtype)
    if type(start) is type(step) is int and start in _WHOLE and step in _WHOLE:
        code = lib.arange_whole(id(out), start, step)
    else:
        code = lib.arange_floats(id(out), float(start), float(step))
    return NotImplemented if code else out


def concat(xs: Sequence[Any], *, axis: int, sizes: tuple[int, ...]) -> Any:
    """Return the arrays joined along `axis`."""
    shape = xs[0].shape
    out = _front.empty("concat", (*shape[:axis], sum(sizes), *shape[axis + 1 :]), xs[0].dtype)
    address, start = id(out), 0
    for x, size in zip(xs, sizes, strict=True):
        if lib.copy_part(id(x), address, axis, start):
            return NotImplemented
        start += size
    return out


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    found = (copy, copy_, astype, full, arange, concat)
    return {f"core.{kernel.__name__}": Kernel(kernel) for kernel in found}
