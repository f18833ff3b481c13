"""Picking and placing by integer arrays, sorting and searching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ferrum.backend import Kernel
from ferrum.dtypes import int64
from ferrum.errors import OutOfRangeError
from ferrum.ops.indexing import indexed_shape
from ferrum_cpu._front import empty
from ferrum_cpu.library import OUT_OF_RANGE, lib, refused

Array = npt.NDArray[Any]


def _ids(indices: Sequence[Array | None]) -> list[int]:
    return [0 if each is None else id(each) for each in indices]


def _outside(name: str, x: Array, indices: Sequence[Array | None]) -> OutOfRangeError:
    """Return the error for the first axis that an index lies outside of."""
    for size, each in zip(x.shape, indices, strict=True):
        if each is not None and each.size and not -size <= each.min() <= each.max() < size:
            break
    return OutOfRangeError(f"{name}: an index lies outside an axis of size {size} of {x.shape}")


def index(x: Array, indices: list[Array | None]) -> Any:
    """Return the elements that `indices` pick."""
    first = indices[0]
    if first is not None and not any(each is not None for each in indices[1:]):
        shape = first.shape + x.shape[1:]
    else:
        shape = indexed_shape("index", x, indices)
    out = empty("index", shape, x.dtype)
    code = lib.index_pick(id(x), _ids(indices), len(indices), id(out))
    if code == OUT_OF_RANGE:
        raise _outside("index", x, indices)
    return refused("index", code) if code else out


def index_put(x: Array, values: Array, indices: list[Array | None], *, accumulate: bool) -> Any:
    """Return a copy of x with values at the elements that `indices` pick, or added to them."""
    out = empty("index_put", x.shape, x.dtype)
    code = lib.index_place(id(x), id(values), _ids(indices), len(indices), id(out), accumulate)
    if code == OUT_OF_RANGE:
        raise _outside("index_put", x, indices)
    return refused("index_put", code) if code else out


def _outside_axis(name: str, x: Array, axis: int) -> OutOfRangeError:
    return OutOfRangeError(f"{name}: an index lies outside axis {axis} of size {x.shape[axis]}")


def gather(x: Array, index: Array, *, axis: int) -> Any:
    """Return x at `index` along `axis`."""
    out = empty("gather", index.shape, x.dtype)
    code = lib.gather(id(x), id(index), id(out), axis)
    if code == OUT_OF_RANGE:
        raise _outside_axis("gather", x, axis)
    return refused("gather", code) if code else out


def scatter_add(x: Array, index: Array, src: Array, *, axis: int) -> Any:
    """Return a copy of x with src added at `index` along `axis`."""
    out = empty("scatter_add", x.shape, x.dtype)
    code = lib.scatter_add(id(x), id(index), id(src), id(out), axis)
    if code == OUT_OF_RANGE:
        raise _outside_axis("scatter_add", x, axis)
    return refused("scatter_add", code) if code else out


def argsort(x: Array, *, axis: int, descending: bool) -> Any:
    """Return the indices that sort x; equals keep their order, NaN counts as largest."""
    out = empty("argsort", x.shape, int64)
    code = lib.argsort(id(x), id(out), axis, descending)
    return refused("argsort", code) if code else out


def nonzero(x: Array) -> Any:
    """Return the indices of the elements that are not 0."""
    counts = np.empty(max(lib.nonzero_chunks(id(x)), 0), int64)
    if lib.nonzero_count(id(x), id(counts)):
        return NotImplemented
    ends = counts.cumsum()
    out = empty("nonzero", (int(ends[-1]) if ends.size else 0, x.ndim), int64)
    starts = ends - counts
    return NotImplemented if lib.nonzero_fill(id(x), id(starts), id(out)) else out


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    found = (index, index_put, gather, scatter_add, argsort, nonzero)
    return {f"core.{each.__name__}": Kernel(each) for each in found}
