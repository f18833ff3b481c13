"""The reference backend: every op in plain NumPy, right first.

It is the oracle of the conformance kit, the thing to copy from when writing a backend, and what
runs where nothing else is installed. 16-bit floats are computed in float32 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ferrum import philox
from ferrum.backend import ABI, Backend, Kernels
from ferrum.dtypes import DType, bfloat16, bool_, float16, float32, int64
from ferrum.errors import ArgumentError, OutOfRangeError
from ferrum.hookspecs import hookimpl

Array = npt.NDArray[Any]
NARROW = frozenset({float16, bfloat16})


def widen(x: Any) -> Any:
    """Return a 16-bit float array in float32, anything else as it is."""
    return x.astype(float32) if getattr(x, "dtype", None) in NARROW else x


def dtype_of(*operands: Any) -> DType:
    """Return the dtype of the first operand that is an array."""
    return next(x.dtype for x in operands if isinstance(x, np.ndarray))


def elementwise(function: Callable[..., Any], dtype: DType | None = None) -> Callable[..., Array]:
    """Return a kernel that applies a NumPy function, with a result of `dtype` or the operands'."""

    def kernel(*operands: Any) -> Array:
        with np.errstate(all="ignore"):
            result = np.asarray(function(*map(widen, operands)))
            return result.astype(dtype or dtype_of(*operands), copy=False)

    return kernel


def on_integers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` leaving integers as they are: floor, ceil, trunc and round of them."""
    return lambda x: function(x) if x.dtype.kind == "f" else x.copy()


def _pow(x1: Any, x2: Any) -> Any:
    try:
        return np.power(x1, x2)
    except ValueError as error:
        raise ArgumentError("pow: expected exponents of at least 0 for integers") from error


erf = np.frompyfunc(math.erf, 1, 1)

UNARY: dict[str, Callable[..., Any]] = {
    "negative": np.negative,
    "abs": np.abs,
    "sign": lambda x: np.sign(x) if x.dtype.kind != "b" else x.copy(),
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "erf": lambda x: np.asarray(erf(x), np.float64),
    "floor": on_integers(np.floor),
    "ceil": on_integers(np.ceil),
    "trunc": on_integers(np.trunc),
    "round": on_integers(np.rint),
    "bitwise_invert": np.invert,
}
BINARY: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "floor_divide": np.floor_divide,
    "remainder": np.remainder,
    "pow": _pow,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "atan2": np.arctan2,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "left_shift": np.left_shift,
    "right_shift": np.right_shift,
}
TRUTH: dict[str, Callable[..., Any]] = {
    "logical_not": np.logical_not,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
}


# ---- memory


def full(*, shape: tuple[int, ...], value: float, dtype: DType) -> Array:
    """Return an array with every element equal to `value`."""
    with np.errstate(over="ignore"):  # NumPy makes no bool of a number beyond 64 bits
        return np.full(shape, bool(value) if dtype is bool_ else value, dtype)


def arange(*, start: float, stop: float, step: float, dtype: DType) -> Array:
    """Return start + i * step, computed in float64 or int64."""
    count = math.ceil((stop - start) / step)
    steps = np.arange(count, dtype=np.int64)
    with np.errstate(over="ignore"):  # what float16 does not hold is infinite
        return np.asarray(start + steps * step).astype(dtype)


def astype(x: Array, *, dtype: DType) -> Array:
    """Return a copy of x in another dtype."""
    with np.errstate(all="ignore"):
        return np.asarray(x.astype(dtype))


def copy_(x: Array, y: Array) -> Any:
    """Write y into x; they may overlap."""
    if not x.flags.writeable:
        return NotImplemented
    with np.errstate(all="ignore"):
        # NumPy looks after overlap, but not where two vectors have strides of one sign
        np.copyto(x, y.copy() if np.may_share_memory(x, y) else y, casting="unsafe")
    return None


def reshape(x: Array, *, shape: tuple[int, ...]) -> tuple[Array, bool]:
    """Return x in another shape, and whether that is a view."""
    out = x.reshape(shape)
    return out, x.size == 0 or np.may_share_memory(x, out)


def expand(x: Array, *, shape: tuple[int, ...]) -> Array:
    """Return x with strides of 0 along what it is repeated on."""
    lead = len(shape) - x.ndim
    strides = [0] * lead + [
        0 if n == 1 != m else stride
        for n, m, stride in zip(x.shape, shape[lead:], x.strides, strict=True)
    ]
    return np.lib.stride_tricks.as_strided(x, shape, strides)


def getitem(x: Array, *, key: Sequence[Any]) -> Array:
    """Return the view that `key` picks."""
    return x[(*map(_basic, key), ...)]


def _basic(entry: Any) -> int | slice | None:
    if entry is None or isinstance(entry, int):
        return entry
    start, count, step = entry
    stop = start + count * step
    return slice(start, stop if stop >= 0 else None, step) if count else slice(0, 0)


def where(condition: Array, x1: Any, x2: Any) -> Array:
    """Return x1 where the condition holds, else x2."""
    return np.asarray(np.where(condition, x1, x2), dtype_of(x1, x2))


# ---- reductions


def reduction(function: Callable[..., Any], total: bool = False) -> Callable[..., Array]:
    """Return a kernel that reduces along axes; `total` ones turn integers into int64."""

    def kernel(x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
        dtype = int64 if total and x.dtype.kind in "biu" else x.dtype
        with np.errstate(all="ignore"):
            wide = widen(x).astype(dtype) if dtype is int64 else widen(x)
            return np.asarray(function(wide, axis=axes, keepdims=keepdims)).astype(
                dtype, copy=False
            )

    return kernel


def truth_reduction(function: Callable[..., Any]) -> Callable[..., Array]:
    """Return a kernel of `any` or `all`."""

    def kernel(x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
        return np.asarray(function(x.astype(bool), axis=axes, keepdims=keepdims))

    return kernel


def arg_reduction(function: Callable[..., Any]) -> Callable[..., Array]:
    """Return a kernel of `argmax` or `argmin`."""

    def kernel(x: Array, *, axis: int, keepdims: bool) -> Array:
        return np.asarray(function(widen(x), axis=axis, keepdims=keepdims), int64)

    return kernel


def cumulative_sum(x: Array, *, axis: int) -> Array:
    """Return the running sum."""
    dtype = int64 if x.dtype.kind in "biu" else x.dtype
    with np.errstate(all="ignore"):
        return np.cumsum(widen(x), axis=axis, dtype=None if x.dtype in NARROW else dtype).astype(
            dtype
        )


# ---- matrices and indices


def matmul(a: Array, b: Array) -> Array:
    """Return the matrix products."""
    with np.errstate(all="ignore"):
        return np.asarray(np.matmul(widen(a), widen(b)), a.dtype)


def concat(xs: list[Array], *, axis: int, sizes: tuple[int, ...]) -> Array:
    """Return the arrays joined along `axis`."""
    return np.concatenate(xs, axis=axis)


def _within(index: Array, low: int, high: int) -> bool:
    """Return whether all of `index` lies in [low, high); what is repeated is looked at once."""
    once = index[tuple(slice(1) if stride == 0 else slice(None) for stride in index.strides)]
    return not once.size or bool(low <= once.min() and once.max() < high)


def _picked(name: str, x: Array, indices: Sequence[Array | None]) -> tuple[Any, ...]:
    for size, index in zip(x.shape, indices, strict=True):
        if index is not None and not _within(index, -size, size):
            raise OutOfRangeError(
                f"{name}: an index lies outside an axis of size {size} of {x.shape}"
            )
    return tuple(slice(None) if index is None else index for index in indices)


def index(x: Array, indices: list[Array | None]) -> Array:
    """Return the elements that `indices` pick."""
    return np.array(x[_picked("index", x, indices)], order="C")


def index_put(x: Array, values: Array, indices: list[Array | None], *, accumulate: bool) -> Array:
    """Return a copy of x with values at the elements that `indices` pick."""
    out = widen(x).copy()
    where = _picked("index_put", x, indices)
    if accumulate:
        each = np.array(np.broadcast_to(widen(values), out[where].shape))  # ufunc.at errs on fewer
        with np.errstate(all="ignore"):
            np.add.at(out, where, each)
    else:
        out[where] = widen(values)
    return np.asarray(out, x.dtype)


def _beside(name: str, x: Array, index: Array, axis: int) -> tuple[Any, ...]:
    if not _within(index, 0, x.shape[axis]):
        raise OutOfRangeError(f"{name}: an index lies outside axis {axis} of size {x.shape[axis]}")
    grid: list[Any] = list(np.indices(index.shape, sparse=True))
    grid[axis] = index
    return tuple(grid)


def gather(x: Array, index: Array, *, axis: int) -> Array:
    """Return x at `index` along `axis`."""
    return np.asarray(x[_beside("gather", x, index, axis)])


def scatter_add(x: Array, index: Array, src: Array, *, axis: int) -> Array:
    """Return a copy of x with src added at `index` along `axis`."""
    out = widen(x).copy()
    corner = tuple(slice(n) for n in index.shape)
    with np.errstate(all="ignore"):
        np.add.at(out, _beside("scatter_add", x, index, axis), widen(src)[corner])
    return np.asarray(out, x.dtype)


def argsort(x: Array, *, axis: int, descending: bool) -> Array:
    """Return the indices that sort x; equals keep their order."""
    wide = widen(x)
    if not descending:
        return np.argsort(wide, axis=axis, kind="stable").astype(int64)
    backwards = np.argsort(np.flip(wide, axis), axis=axis, kind="stable")
    return np.asarray(np.flip(x.shape[axis] - 1 - backwards, axis), int64)


def nonzero(x: Array) -> Array:
    """Return the indices of the elements that are not 0."""
    return np.argwhere(x).astype(int64) if x.ndim else np.zeros((int(bool(x)), 0), int64)


KERNELS: Kernels = {
    **{f"core.{name}": elementwise(function) for name, function in UNARY.items()},
    **{f"core.{name}": elementwise(function) for name, function in BINARY.items()},
    **{f"core.{name}": elementwise(function, bool_) for name, function in TRUTH.items()},
    "core.where": where,
    "core.full": full,
    "core.arange": arange,
    "core.uniform": philox.uniform,
    "core.normal": philox.normal,
    "core.randint": philox.randint,
    "core.randperm": philox.permutation,
    "core.copy": lambda x: x.copy(order="C"),
    "core.copy_": copy_,
    "core.astype": astype,
    "core.reshape": reshape,
    "core.permute": lambda x, *, axes: x.transpose(axes),
    "core.expand": expand,
    "core.getitem": getitem,
    "core.sum": reduction(np.sum, total=True),
    "core.prod": reduction(np.prod, total=True),
    "core.max": reduction(np.max),
    "core.min": reduction(np.min),
    "core.any": truth_reduction(np.any),
    "core.all": truth_reduction(np.all),
    "core.argmax": arg_reduction(np.argmax),
    "core.argmin": arg_reduction(np.argmin),
    "core.cumulative_sum": cumulative_sum,
    "core.concat": concat,
    "core.matmul": matmul,
    "core.index": index,
    "core.index_put": index_put,
    "core.gather": gather,
    "core.scatter_add": scatter_add,
    "core.argsort": argsort,
    "core.nonzero": nonzero,
}


class Reference(Backend):
    """NumPy arrays in host memory."""

    abi = ABI

    @property
    def kernels(self) -> Kernels:
        """The kernels by op name."""
        return KERNELS

    def from_numpy(self, value: Array) -> Array:
        """Return `value` itself."""
        return value

    def to_numpy(self, array: Array) -> Array:
        """Return `array` itself."""
        return array

    def is_contiguous(self, array: Array) -> bool:
        """Return whether the elements lie in row-major order without gaps."""
        return array.flags.c_contiguous

    def info(self) -> dict[str, str]:
        """Return the version of NumPy."""
        return {"numpy": np.__version__}


class Plugin:
    """The entry point `reference`."""

    @hookimpl
    def ferrum_backend(self, index: int) -> Backend:
        """Return the backend: there is one device."""
        return Reference()


plugin = Plugin()
