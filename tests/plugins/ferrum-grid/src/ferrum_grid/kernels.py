"""The kernels: views by arithmetic on strides, everything else with NumPy."""

import math

import numpy as np

from ferrum import philox
from ferrum.dtypes import bool_, int64
from ferrum.errors import ArgumentError, OutOfRangeError
from ferrum_grid.grid import Grid, gapless, stored

KERNELS = {}


def kernel(function):
    """Register a function of grids as the kernel of the core's op of its name."""
    KERNELS[f"core.{function.__name__}"] = function
    return function


def lifted(function, name=None, own=False):
    """Register a function of arrays as a kernel; `own`: its result has its operands' dtype."""

    def run(*operands, **attrs):
        with np.errstate(all="ignore"):
            values = np.asarray(function(*map(window, operands), **attrs))
        if own:
            return stored(values, next(x.dtype for x in operands[::-1] if isinstance(x, Grid)))
        return stored(values, values.dtype)

    KERNELS[f"core.{name or function.__name__}"] = run


def window(operand):
    """Return what NumPy computes with: a grid's elements, a number or None itself."""
    if isinstance(operand, list):
        return [window(each) for each in operand]
    return operand.window if isinstance(operand, Grid) else operand


# ---- elementwise

UNARY = "negative abs exp expm1 log log1p sqrt sin cos tanh where"
BINARY = "add subtract multiply divide floor_divide remainder maximum minimum"
BITS = "bitwise_and bitwise_or bitwise_xor left_shift right_shift"
TRUTH = "logical_not equal not_equal less less_equal greater greater_equal"
ROUNDING = {"floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "round": np.rint}

for name in f"{UNARY} {BINARY} {BITS}".split():
    lifted(getattr(np, name), name, own=True)
for name in TRUTH.split():
    lifted(getattr(np, name), name)
for name, rounded in ROUNDING.items():
    lifted(lambda x, rounded=rounded: rounded(x) if x.dtype.kind == "f" else x, name)
lifted(lambda x: x if x.dtype == bool_ else np.sign(x), "sign")
lifted(np.vectorize(math.erf, otypes=[float]), "erf", own=True)
lifted(np.invert, "bitwise_invert")
lifted(np.arctan2, "atan2", own=True)


def power(x1, x2):
    try:
        return np.power(x1, x2)
    except ValueError as error:
        raise ArgumentError("pow: expected exponents of at least 0 for integers") from error


lifted(power, "pow", own=True)

# ---- memory and views

lifted(lambda *, shape, value, dtype: np.full(shape, value, dtype), "full")
lifted(philox.uniform)
lifted(philox.normal)
lifted(philox.randint)
lifted(philox.permutation, "randperm")
lifted(np.copy)
lifted(lambda x, *, dtype: x.astype(dtype), "astype")


@lifted
def arange(*, start, stop, step, dtype):
    count = math.ceil((stop - start) / step)
    return np.asarray(start + np.arange(count, dtype=np.int64) * step).astype(dtype)


@kernel
def copy_(x, y):
    with np.errstate(all="ignore"):
        np.copyto(x.window, y.window, casting="unsafe")


@kernel
def reshape(x, *, shape):
    out = x if x.is_contiguous else stored(x.window, x.dtype)
    return out.look(shape, gapless(shape, x.dtype)), x.is_contiguous


@kernel
def permute(x, *, axes):
    return x.look([x.shape[i] for i in axes], [x.strides[i] for i in axes])


@kernel
def expand(x, *, shape):
    new = len(shape) - len(x.shape)
    pairs = zip(x.shape, shape[new:], x.strides, strict=True)
    return x.look(shape, [0] * new + [0 if have != want else step for have, want, step in pairs])


@kernel
def getitem(x, *, key):
    shape, strides, offset, axis = [], [], 0, 0
    for entry in key:
        if entry is None:
            shape.append(1)
            strides.append(0)
            continue
        start, count, step = (entry, None, 0) if isinstance(entry, int) else entry
        offset += start * x.strides[axis]
        if count is not None:
            shape.append(count)
            strides.append(step * x.strides[axis])
        axis += 1
    return x.look(shape, strides, 0 if 0 in shape else offset)


# ---- reductions and matrices


def reduction(function, name):
    """Register a NumPy function as a kernel that reduces along one axis or several."""
    lifted(lambda x, *, axes, keepdims: function(x, axis=axes, keepdims=keepdims), name)


for name in ["sum", "prod", "max", "min", "any", "all"]:
    reduction(getattr(np, name), name)
lifted(np.argmax)
lifted(np.argmin)
lifted(np.cumsum, "cumulative_sum")
lifted(np.matmul)
lifted(lambda xs, *, axis, sizes: np.concatenate(xs, axis), "concat")

# ---- indices


def check(name, index, low, size):
    if ((index < low) | (index >= size)).any():
        raise OutOfRangeError(f"{name}: an index lies outside an axis of size {size}")


def picked(name, x, indices):
    """Return NumPy's index for an array, or None, per axis."""
    for size, each in zip(x.shape, indices, strict=True):
        if each is not None:
            check(name, each, -size, size)
    return tuple(slice(None) if each is None else each for each in indices)


def along(name, x, index, axis):
    """Return NumPy's index for the elements of x at `index` along `axis`."""
    check(name, index, 0, x.shape[axis])
    picks = list(np.indices(index.shape, sparse=True))
    picks[axis] = index
    return tuple(picks)


@lifted
def index(x, indices):
    return x[picked("index", x, indices)]


@lifted
def index_put(x, values, indices, *, accumulate):
    out, where = x.copy(), picked("index_put", x, indices)
    if accumulate:
        np.add.at(out, where, values)
    else:
        out[where] = values
    return out


@lifted
def gather(x, index, *, axis):
    return x[along("gather", x, index, axis)]


@lifted
def scatter_add(x, index, src, *, axis):
    out = x.copy()
    np.add.at(out, along("scatter_add", x, index, axis), src[tuple(map(slice, index.shape))])
    return out


@lifted
def argsort(x, *, axis, descending):
    order = np.argsort(np.flip(x, axis) if descending else x, axis=axis, kind="stable")
    return np.flip(x.shape[axis] - 1 - order, axis) if descending else order


@lifted
def nonzero(x):
    return np.argwhere(x) if x.ndim else np.zeros((int(x != 0), 0), int64)
