"""What Python's operators do to tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ferrum import ops
from ferrum.base import TensorBase, as_tensor
from ferrum.errors import OperandError
from ferrum.methods.indexing import Indexing
from ferrum.operation import OPS, Op

if TYPE_CHECKING:
    from ferrum.tensor import Tensor

Operand: TypeAlias = "Tensor | float"


def in_place(name: str) -> Op[..., Tensor]:
    """Return the in-place twin of a core op."""
    return cast("Op[..., Tensor]", OPS[f"core.{name}_"])


def _compared(op: Op[..., Tensor], x: TensorBase, other: Any) -> Any:
    """Return `op` of x and other, or leave it to `other` where that is no data: None, a string."""
    try:
        return op(x, other)
    except OperandError:
        if isinstance(other, (list, tuple)) or hasattr(other, "__array__"):
            raise
        return NotImplemented


class Operators(Indexing):
    """Arithmetic and comparison."""

    __slots__ = ()
    __hash__ = object.__hash__  # identity: == compares elements

    def __add__(self, other: Operand) -> Tensor:
        return ops.add(self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return ops.add(self, other)

    def __sub__(self, other: Operand) -> Tensor:
        return ops.subtract(self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return ops.subtract(other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return ops.multiply(self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return ops.multiply(self, other)

    def __truediv__(self, other: Operand) -> Tensor:
        return ops.divide(self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return ops.divide(other, self)

    def __floordiv__(self, other: Operand) -> Tensor:
        return ops.floor_divide(self, other)

    def __rfloordiv__(self, other: Operand) -> Tensor:
        return ops.floor_divide(other, self)

    def __mod__(self, other: Operand) -> Tensor:
        return ops.remainder(self, other)

    def __rmod__(self, other: Operand) -> Tensor:
        return ops.remainder(other, self)

    def __pow__(self, other: Operand) -> Tensor:
        return ops.pow(self, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return ops.pow(other, self)

    def __and__(self, other: Operand) -> Tensor:
        return ops.bitwise_and(self, other)

    __rand__ = __and__

    def __or__(self, other: Operand) -> Tensor:
        return ops.bitwise_or(self, other)

    __ror__ = __or__

    def __xor__(self, other: Operand) -> Tensor:
        return ops.bitwise_xor(self, other)

    __rxor__ = __xor__

    def __lshift__(self, other: Operand) -> Tensor:
        return ops.left_shift(self, other)

    def __rlshift__(self, other: Operand) -> Tensor:
        return ops.left_shift(other, self)

    def __rshift__(self, other: Operand) -> Tensor:
        return ops.right_shift(self, other)

    def __rrshift__(self, other: Operand) -> Tensor:
        return ops.right_shift(other, self)

    def __neg__(self) -> Tensor:
        return ops.negative(self)

    def __pos__(self) -> Tensor:
        return as_tensor(self)

    def __abs__(self) -> Tensor:
        return ops.abs(self)

    def __invert__(self) -> Tensor:
        return ops.bitwise_invert(self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return _compared(ops.equal, self, other)  # type: ignore[no-any-return]

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return _compared(ops.not_equal, self, other)  # type: ignore[no-any-return]

    def __lt__(self, other: Operand) -> Tensor:
        return ops.less(self, other)

    def __le__(self, other: Operand) -> Tensor:
        return ops.less_equal(self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return ops.greater(self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return ops.greater_equal(self, other)

    def __iadd__(self, other: Operand) -> Tensor:
        return in_place("add")(self, other)

    def __isub__(self, other: Operand) -> Tensor:
        return in_place("subtract")(self, other)

    def __imul__(self, other: Operand) -> Tensor:
        return in_place("multiply")(self, other)

    def __itruediv__(self, other: Operand) -> Tensor:
        return in_place("divide")(self, other)

    def __ifloordiv__(self, other: Operand) -> Tensor:
        return in_place("floor_divide")(self, other)

    def __imod__(self, other: Operand) -> Tensor:
        return in_place("remainder")(self, other)

    def __ipow__(self, other: Operand) -> Tensor:
        return in_place("pow")(self, other)

    def __iand__(self, other: Operand) -> Tensor:
        return in_place("bitwise_and")(self, other)

    def __ior__(self, other: Operand) -> Tensor:
        return in_place("bitwise_or")(self, other)

    def __ixor__(self, other: Operand) -> Tensor:
        return in_place("bitwise_xor")(self, other)
