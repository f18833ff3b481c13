"""How operands come to one dtype before an elementwise op runs: PyTorch's rules.

Tensors with dimensions outrank 0-d tensors, and those outrank Python numbers, within one category
(bool < integers < floats); a higher category always wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ferrum.dtypes import (
    CATEGORY,
    FLOATS,
    PROMOTED,
    DType,
    as_dtype,
    bool_,
    float32,
    int64,
)
from ferrum.errors import ArgumentError, DTypeError, OperandError

if TYPE_CHECKING:
    from ferrum.operation import Op

SCALARS = frozenset({bool, int, float})
_SCALAR_DTYPE = {bool: bool_, int: int64, float: float32}

_default = [float32]


def get_default_dtype() -> DType:
    """Return the dtype of new floating-point tensors.

    Float32 unless `set_default_dtype` was called.
    """
    return _default[0]


def set_default_dtype(dtype: DType) -> None:
    """Make `dtype` that of new floating-point tensors; float32 and float64 are possible."""
    found = as_dtype(dtype)
    if found not in FLOATS:
        raise DTypeError(f"set_default_dtype: expected a floating-point dtype, got {found}")
    _default[0] = found


def scalar_dtype(kind: type) -> DType:
    """Return the dtype of a Python number of type `kind` that stands alone."""
    return _default[0] if kind is float else _SCALAR_DTYPE[kind]


def result_type(*operands: Any) -> DType:
    """Return the dtype that an elementwise op of these tensors and numbers computes in."""
    ranks: list[DType | None] = [None, None, None]  # numbers, 0-d tensors, tensors with dimensions
    for each in operands:
        if each.__class__ in SCALARS:
            rank, dtype = 0, scalar_dtype(each.__class__)
        elif hasattr(each, "shape") and hasattr(each, "dtype"):
            rank, dtype = 1 + bool(each.shape), each.dtype
        else:
            kind = type(each).__name__
            raise OperandError(f"result_type: expected tensors or numbers, got {kind}")
        seen = ranks[rank]
        ranks[rank] = dtype if seen is None else PROMOTED[seen, dtype]
    result: DType | None = None
    for each in reversed(ranks):
        if each is not None and (result is None or CATEGORY[each] > CATEGORY[result]):
            result = each
    assert result is not None
    return result


def promoted(op: Op[..., Any], operands: Sequence[Any]) -> tuple[Any, ...]:
    """Return `operands` with the tensors cast to the dtype that `op` computes in."""
    for each in operands:
        if each is None or each.__class__ is list:
            kind = type(each).__name__
            raise OperandError(f"{op.__name__}: expected a tensor or a number, got {kind}")
    dtype = result_type(*operands)
    if op.floats_only and CATEGORY[dtype] < 2:
        dtype = _default[0]
    return tuple(
        [
            _fitting(op.__name__, each, dtype) if each.__class__ in SCALARS else each.to(dtype)
            for each in operands
        ]
    )


def _fitting(name: str, number: Any, dtype: DType) -> Any:
    """Return a Python number that `dtype` can hold; integers wrap, as PyTorch's do."""
    if CATEGORY[dtype] != 1 or number.__class__ is bool:
        return number
    if not -(2**63) <= number < 2**63:
        raise ArgumentError(f"{name}: the integer {number} does not fit into 64 bits")
    bits = 8 * dtype.itemsize
    wrapped = number & ((1 << bits) - 1)
    return wrapped - (1 << bits) if dtype.kind == "i" and wrapped >> (bits - 1) else wrapped
