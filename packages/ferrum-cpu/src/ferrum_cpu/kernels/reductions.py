"""Reductions along any axes, running sums, and the indices of extrema: all in C.

The shape of a result follows from that of the operand: it is remembered, together with the axes
as bits, which is how C takes them. That and the call are all there is to do in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ferrum.backend import Kernel
from ferrum.dtypes import CATEGORY, DTYPES, DType, bool_, int64
from ferrum.errors import OutOfMemoryError
from ferrum_cpu import _front
from ferrum_cpu.library import lib

Array = Any
Axes = tuple[int, ...]

# In the order of csrc/reduce.h.
NAMES = ("sum", "prod", "max", "min", "any", "all", "mean", "var")
NO_MEMORY = 2

_empty = _front.empty
_reduce = lib.reduce
_ndarray = np.ndarray
_total: dict[DType, DType] = {d: d if CATEGORY[d] == 2 else int64 for d in DTYPES}
_floats: dict[DType, DType] = {d: d for d in DTYPES if CATEGORY[d] == 2}


@lru_cache(maxsize=4096)
def _reduced(shape: Axes, axes: Axes, keepdims: bool) -> tuple[Axes, int] | None:
    """Return the shape of a result and the bits of the axes; None where they are no such axes."""
    if len(set(axes)) != len(axes) or not all(0 <= axis < len(shape) for axis in axes):
        return None
    bits = sum(1 << axis for axis in axes)
    if keepdims:
        return tuple(1 if bits >> i & 1 else n for i, n in enumerate(shape)), bits
    return tuple(n for i, n in enumerate(shape) if not bits >> i & 1), bits


@lru_cache(maxsize=4096)
def _unbroadcast(shape: Axes, to: Axes) -> int | None:
    """Return the bits of the axes along which `to` grew to `shape`; None where it did not."""
    lead = len(shape) - len(to)
    if lead < 0 or any(n not in (1, m) for n, m in zip(to, shape[lead:], strict=True)):
        return None
    grown = sum(1 << (lead + i) for i, n in enumerate(to) if n != shape[lead + i])
    return grown | ((1 << lead) - 1)


def checked(code: int, name: str, out: Array) -> Array:
    """Return what a kernel made, or NotImplemented where C declined."""
    if code == NO_MEMORY:
        raise OutOfMemoryError(f"{name}: no room for the work on 'cpu'; use smaller batches")
    return NotImplemented if code else out


def reduction(name: str, results: dict[DType, DType]) -> Callable[..., Array]:
    """Return the kernel of a reduction; `results` has the result's dtype for each it takes."""
    number = NAMES.index(name)

    def kernel(x: Array, *, axes: Axes, keepdims: bool) -> Array:
        if type(x) is not _ndarray:
            return NotImplemented
        plan, dtype = _reduced(x.shape, axes, keepdims), results.get(x.dtype)
        if plan is None or dtype is None:
            return NotImplemented
        out = _empty(plan[0], dtype)
        code = _reduce(number, id(x), id(out), plan[1], 0.0)
        return checked(code, name, out) if code else out

    kernel.__name__ = name
    return kernel


def sum_to(x: Array, *, shape: Axes) -> Array:
    """Return x summed down to a shape that broadcasts to its own."""
    if type(x) is not _ndarray:
        return NotImplemented
    dtype, bits = x.dtype, _unbroadcast(x.shape, shape)
    if bits is None or dtype not in _floats:
        return NotImplemented
    out = _empty(shape, dtype)
    code = _reduce(0, id(x), id(out), bits, 0.0)
    return checked(code, "sum_to", out) if code else out


def var(x: Array, *, axes: Axes, correction: float, keepdims: bool) -> Array:
    """Return the variance: in each block two passes, and the blocks joined by Chan's formula."""
    plan = _reduced(x.shape, axes, keepdims)
    if plan is None or x.dtype not in _floats:
        return NotImplemented
    out = _empty(plan[0], x.dtype)
    return checked(_reduce(7, id(x), id(out), plan[1], correction), "var", out)


def index_of(least: bool) -> Callable[..., Array]:
    """Return the kernel of `argmax`, or of `argmin` where `least`."""
    name = "argmin" if least else "argmax"

    def kernel(x: Array, *, axis: int, keepdims: bool) -> Array:
        plan = _reduced(x.shape, (axis,), keepdims)
        if plan is None:
            return NotImplemented
        out = _empty(plan[0], int64)
        return checked(lib.reduce_index(least, id(x), id(out), axis), name, out)

    kernel.__name__ = name
    return kernel


def cumulative_sum(x: Array, *, axis: int) -> Array:
    """Return the running sum along an axis."""
    out = _empty(x.shape, _total[x.dtype])
    return checked(lib.cumulative_sum(id(x), id(out), axis), "cumulative_sum", out)


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    same = {dtype: dtype for dtype in DTYPES}
    truth = dict.fromkeys(DTYPES, bool_)
    return {
        "core.sum": Kernel(reduction("sum", _total), checked=True),
        "core.mean": Kernel(reduction("mean", _floats), checked=True),
        "core.sum_to": Kernel(sum_to, checked=True),
        "core.prod": Kernel(reduction("prod", _total)),
        "core.max": Kernel(reduction("max", same)),
        "core.min": Kernel(reduction("min", same)),
        "core.any": Kernel(reduction("any", truth)),
        "core.all": Kernel(reduction("all", truth)),
        "core.argmax": Kernel(index_of(False)),
        "core.argmin": Kernel(index_of(True)),
        "core.var": Kernel(var),
        "core.cumulative_sum": Kernel(cumulative_sum),
    }
