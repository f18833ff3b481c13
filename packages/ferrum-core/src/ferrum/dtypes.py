"""The dtypes of FERRUM and how they promote.

A dtype is a `numpy.dtype` (bfloat16 comes from ml_dtypes): `fe.float32 == np.float32` holds, and
every backend's array answers `.dtype` with one of the singletons below, so that `is` compares them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from ferrum.errors import DTypeError

DType: TypeAlias = np.dtype[Any]
DTypeLike: TypeAlias = "DType | type | str"

bool_: DType = np.dtype(np.bool_)
uint8: DType = np.dtype(np.uint8)
int8: DType = np.dtype(np.int8)
int16: DType = np.dtype(np.int16)
int32: DType = np.dtype(np.int32)
int64: DType = np.dtype(np.int64)
float16: DType = np.dtype(np.float16)
bfloat16: DType = np.dtype(ml_dtypes.bfloat16)
float32: DType = np.dtype(np.float32)
float64: DType = np.dtype(np.float64)

FLOATS = (float16, bfloat16, float32, float64)
INTEGERS = (uint8, int8, int16, int32, int64)
DTYPES: tuple[DType, ...] = (bool_, *INTEGERS, *FLOATS)
NAMES = frozenset(dtype.name for dtype in DTYPES)

# bool < integers < floats: operands of a higher category decide the result's dtype.
CATEGORY: dict[DType, int] = {
    dtype: (dtype in INTEGERS) + 2 * (dtype in FLOATS) for dtype in DTYPES
}
_CANONICAL: dict[Any, DType] = {dtype: dtype for dtype in DTYPES}
_ALIASES: dict[Any, DType] = {
    bool: bool_,
    int: int64,
    float: float32,
    "half": float16,
    "float": float32,
    "double": float64,
    "bfloat16": bfloat16,
    "long": int64,
    "int": int32,
    "short": int16,
}


def as_dtype(value: DTypeLike) -> DType:
    """Return the dtype that `value` names: a dtype, a NumPy or Python type of number, or a name.

    As in PyTorch `float` is float32. Raises DTypeError for anything else.
    """
    try:
        if value is None:  # to NumPy it is float64
            raise TypeError
        found = _ALIASES.get(value) or _CANONICAL.get(np.dtype(value))
    except TypeError:
        found = None
    if found is None:
        names = ", ".join(dtype.name for dtype in DTYPES)
        raise DTypeError(f"dtype {value!r} is not one of FERRUM's; expected one of {names}")
    return found


def is_floating(dtype: DType) -> bool:
    """Return whether `dtype` is one of the four floating-point dtypes."""
    return CATEGORY[dtype] == 2


def _promote(a: DType, b: DType) -> DType:
    if CATEGORY[a] != CATEGORY[b]:
        return a if CATEGORY[a] > CATEGORY[b] else b
    if {a, b} == {float16, bfloat16}:
        return float32
    return _CANONICAL[np.promote_types(a, b)]


PROMOTED: dict[tuple[DType, DType], DType] = {
    (a, b): _promote(a, b) for a in DTYPES for b in DTYPES
}


def promote_types(a: DTypeLike, b: DTypeLike) -> DType:
    """Return the dtype that holds both, as `torch.promote_types` does.

    Int32 and float16 give float16.
    """
    return PROMOTED[as_dtype(a), as_dtype(b)]
