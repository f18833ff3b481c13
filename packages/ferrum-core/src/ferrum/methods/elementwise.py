"""Tensor methods that work element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from ferrum import ops
from ferrum.base import TensorBase, as_tensor
from ferrum.dtypes import CATEGORY, int64, is_floating
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum.methods.axes import whole
from ferrum.methods.operators import Operand, Operators, in_place
from ferrum.operands import operand
from ferrum.ops.memory import check_number
from ferrum.promotion import SCALARS, result_type

if TYPE_CHECKING:
    from ferrum.tensor import Tensor


def twin(name: str) -> Callable[[Any], Tensor]:
    """Return the method that runs the in-place twin of a core op of one tensor."""

    def method(self: Any) -> Tensor:
        return in_place(name)(self)

    method.__doc__ = f"Replace self by what `{name}` makes of it."
    return method


def stored(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the method that writes what another returns, which has no gradient, into self."""

    def method(self: Any, other: Operand) -> Tensor:
        return ops.copy_(self, function(self, other))

    method.__doc__ = f"Replace self by this, in the dtype of self: {function.__doc__}"
    return method


class Elementwise(Operators):
    """Functions of one number and of two, and their in-place forms."""

    __slots__ = ()

    # ---- named arithmetic

    def add(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """Return self + alpha * other."""
        return ops.add(self, scaled("add", self, other, alpha))

    def sub(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """Return self - alpha * other."""
        return ops.subtract(self, scaled("sub", self, other, alpha))

    def div(self, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
        """Return self / other, rounded by `rounding_mode`: None, "floor" or "trunc"."""
        if rounding_mode == "floor":
            return ops.floor_divide(self, other)
        if rounding_mode not in (None, "trunc"):
            raise ArgumentError(
                f"div: expected rounding_mode None, 'floor' or 'trunc', got {rounding_mode!r}"
            )
        if rounding_mode is None:
            return ops.divide(self, other)
        if CATEGORY[result_type(self, other)] == 2:
            return ops.trunc(ops.divide(self, other))
        quotient = ops.floor_divide(self, other)  # exact, which a quotient of floats is not
        return quotient + ((quotient < 0) & (ops.remainder(self, other) != 0)).to(quotient.dtype)

    def eq(self, other: Operand) -> Tensor:
        """Return where self equals `other`."""
        return ops.equal(self, other)

    def ne(self, other: Operand) -> Tensor:
        """Return where self differs from `other`."""
        return ops.not_equal(self, other)

    lt, le, gt, ge = Operators.__lt__, Operators.__le__, Operators.__gt__, Operators.__ge__
    mul, pow, true_divide = Operators.__mul__, Operators.__pow__, Operators.__truediv__
    remainder, floor_divide = Operators.__mod__, Operators.__floordiv__
    bitwise_and, bitwise_or = Operators.__and__, Operators.__or__
    bitwise_xor, bitwise_not = Operators.__xor__, Operators.__invert__
    neg = negative = Operators.__neg__
    multiply, subtract, divide = mul, sub, div
    greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne

    def maximum(self, other: Operand) -> Tensor:
        """Return the larger of self and other, element by element; NaN wins."""
        return ops.maximum(self, other)

    def minimum(self, other: Operand) -> Tensor:
        """Return the smaller of self and other, element by element; NaN wins."""
        return ops.minimum(self, other)

    def atan2(self, other: Operand) -> Tensor:
        """Return the angle of the point (other, self), in radians."""
        return ops.atan2(self, other)

    def logical_and(self, other: Operand) -> Tensor:
        """Return whether both differ from 0."""
        return ops.logical_and(self, other)

    def logical_or(self, other: Operand) -> Tensor:
        """Return whether one differs from 0."""
        return ops.logical_or(self, other)

    def logical_xor(self, other: Operand) -> Tensor:
        """Return whether just one differs from 0."""
        return ops.logical_xor(self, other)

    def where(self, condition: Tensor, other: Operand) -> Tensor:
        """Return self where the condition holds, else other."""
        return choose(condition, as_tensor(self), other)

    def masked_fill(self, mask: Tensor, value: Operand) -> Tensor:
        """Return self with `value`, a number or a 0-d tensor, where `mask` holds; it broadcasts."""
        return choose(mask, fitting(as_tensor(self), value), as_tensor(self)).to(self.dtype)

    def tril(self, diagonal: int = 0) -> Tensor:
        """Return the lower triangle of matrices, zeros above the diagonal number `diagonal`."""
        return choose(_below("tril", as_tensor(self), diagonal), as_tensor(self), 0)

    def triu(self, diagonal: int = 0) -> Tensor:
        """Return the upper triangle of matrices, zeros below the diagonal number `diagonal`."""
        below = _below("triu", as_tensor(self), whole("triu", "diagonal", diagonal) - 1)
        return choose(~below, as_tensor(self), 0)

    def clamp(self, min: float | Tensor | None = None, max: float | Tensor | None = None) -> Tensor:
        """Return self raised to at least `min` and lowered to at most `max`.

        Numbers, or tensors.
        """
        if min is None and max is None:
            raise ArgumentError("clamp: expected min or max")
        bounds = [each for each in (min, max) if each is not None]
        x = self.to(result_type(self, *bounds))
        if all(each.__class__ in SCALARS for each in bounds):
            return ops.clip(x, low=cast("float | None", min), high=cast("float | None", max))
        if CATEGORY[x.dtype] == 0:
            raise DTypeError("clamp: expected integer or float tensors, got bool")
        x = x if min is None else beyond(ops.less(x, min), min, x)
        return x if max is None else beyond(ops.greater(x, max), max, x)

    clip = clamp

    def clamp_min(self, min: Operand) -> Tensor:
        """Return self raised to at least `min`."""
        return self.clamp(min=min)

    def clamp_max(self, max: Operand) -> Tensor:
        """Return self lowered to at most `max`."""
        return self.clamp(max=max)

    def is_floating_point(self) -> bool:
        """Return whether the elements are floating-point numbers."""
        return is_floating(self.dtype)

    # ---- functions of one number

    def abs(self) -> Tensor:
        """Return |self|."""
        return ops.abs(self)

    def sign(self) -> Tensor:
        """Return -1, 0 or 1: the sign of self."""
        return ops.sign(self)

    def exp(self) -> Tensor:
        """Return e to the power self."""
        return ops.exp(self)

    def expm1(self) -> Tensor:
        """Return e**self - 1, exact near 0."""
        return ops.expm1(self)

    def log(self) -> Tensor:
        """Return the natural logarithm of self."""
        return ops.log(self)

    def log1p(self) -> Tensor:
        """Return log(1 + self), exact near 0."""
        return ops.log1p(self)

    def sqrt(self) -> Tensor:
        """Return the square root of self."""
        return ops.sqrt(self)

    def rsqrt(self) -> Tensor:
        """Return 1 / sqrt(self)."""
        return ops.rsqrt(self)

    def sin(self) -> Tensor:
        """Return the sine of self, in radians."""
        return ops.sin(self)

    def cos(self) -> Tensor:
        """Return the cosine of self, in radians."""
        return ops.cos(self)

    def tanh(self) -> Tensor:
        """Return the hyperbolic tangent of self."""
        return ops.tanh(self)

    def erf(self) -> Tensor:
        """Return the error function: 2/sqrt(pi) times the integral of exp(-t*t) from 0 to self."""
        return ops.erf(self)

    def floor(self) -> Tensor:
        """Return the largest integer not above self."""
        return ops.floor(self)

    def ceil(self) -> Tensor:
        """Return the smallest integer not below self."""
        return ops.ceil(self)

    def trunc(self) -> Tensor:
        """Return self without its fraction."""
        return ops.trunc(self)

    def round(self, *, decimals: int = 0) -> Tensor:
        """Return the nearest integer, or the nearest number of so many decimals; even at a half."""
        if decimals == 0:
            return ops.round(self)
        if not is_floating(self.dtype):
            raise DTypeError(f"round: expected a float tensor for decimals, got {self.dtype.name}")
        scale = 10.0 ** abs(decimals)
        return ops.round(self * scale) / scale if decimals > 0 else ops.round(self / scale) * scale

    def square(self) -> Tensor:
        """Return self * self."""
        return ops.square(self)

    def reciprocal(self) -> Tensor:
        """Return 1 / self."""
        return ops.reciprocal(self)

    def sigmoid(self) -> Tensor:
        """Return 1 / (1 + exp(-self))."""
        return ops.sigmoid(self)

    def relu(self) -> Tensor:
        """Return self where it is above 0, else 0; NaN stays NaN."""
        return ops.relu(self)

    def logical_not(self) -> Tensor:
        """Return whether self is 0."""
        return ops.logical_not(self)

    def isnan(self) -> Tensor:
        """Return whether self is not a number."""
        return ops.isnan(self)

    def isinf(self) -> Tensor:
        """Return whether self is infinite."""
        return ops.isinf(self)

    def isfinite(self) -> Tensor:
        """Return whether self is neither infinite nor NaN."""
        return ops.isfinite(self)

    # ---- in place

    def add_(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """Add alpha * other to self."""
        return in_place("add")(self, scaled("add_", self, other, alpha))

    def sub_(self, other: Operand, *, alpha: float = 1) -> Tensor:
        """Subtract alpha * other from self."""
        return in_place("subtract")(self, scaled("sub_", self, other, alpha))

    def clamp_(self, min: Operand | None = None, max: Operand | None = None) -> Tensor:
        """Raise self to at least `min` and lower it to at most `max`."""
        # what is saved for the gradient must be the values before they are written
        x = self.clone() if self.edge is not None else as_tensor(self)
        value = x.clamp(min, max)
        if CATEGORY[value.dtype] > CATEGORY[self.dtype]:
            raise DTypeError(f"clamp_: {value.dtype.name} bounds do not fit into {self.dtype.name}")
        return ops.copy_(self, value)

    def masked_fill_(self, mask: Tensor, value: Operand) -> Tensor:
        """Put `value` where `mask` holds."""
        return ops.copy_(self, self.masked_fill(mask, value))

    def div_(self, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
        """Divide self by `other`, rounded as in `div`."""
        if rounding_mode is None:
            return in_place("divide")(self, other)
        value = self.div(other, rounding_mode=rounding_mode)
        if CATEGORY[value.dtype] > CATEGORY[self.dtype]:
            raise DTypeError(
                f"div_: a {value.dtype.name} result does not fit into {self.dtype.name}"
            )
        return ops.copy_(self, value)

    def round_(self, *, decimals: int = 0) -> Tensor:
        """Replace self by self.round()."""
        if decimals == 0:
            return in_place("round")(self)
        return ops.copy_(self, self.round(decimals=decimals))

    def atan2_(self, other: Operand) -> Tensor:
        """Replace self by self.atan2(other)."""
        return in_place("atan2")(self, other)

    def logical_not_(self) -> Tensor:
        """Replace self by self.logical_not()."""
        return ops.copy_(self, ops.logical_not(self))

    def clamp_min_(self, min: Operand) -> Tensor:
        """Raise self to at least `min`."""
        return self.clamp_(min=min)

    def clamp_max_(self, max: Operand) -> Tensor:
        """Lower self to at most `max`."""
        return self.clamp_(max=max)

    clip_, subtract_, divide_ = clamp_, sub_, div_
    mul_ = multiply_ = Operators.__imul__
    pow_, true_divide_ = Operators.__ipow__, Operators.__itruediv__
    remainder_, floor_divide_ = Operators.__imod__, Operators.__ifloordiv__
    bitwise_and_, bitwise_or_ = Operators.__iand__, Operators.__ior__
    bitwise_xor_, bitwise_not_ = Operators.__ixor__, twin("bitwise_invert")
    abs_, sign_, neg_ = twin("abs"), twin("sign"), twin("negative")
    exp_, expm1_, log_, log1p_ = twin("exp"), twin("expm1"), twin("log"), twin("log1p")
    sqrt_, rsqrt_, square_ = twin("sqrt"), twin("rsqrt"), twin("square")
    sin_, cos_, tanh_, erf_ = twin("sin"), twin("cos"), twin("tanh"), twin("erf")
    floor_, ceil_, trunc_ = twin("floor"), twin("ceil"), twin("trunc")
    reciprocal_, sigmoid_, relu_ = twin("reciprocal"), twin("sigmoid"), twin("relu")
    negative_ = neg_
    eq_, ne_, lt_, le_, gt_, ge_ = map(stored, (eq, ne, lt, le, gt, ge))
    greater_, greater_equal_, less_, less_equal_, not_equal_ = gt_, ge_, lt_, le_, ne_
    logical_and_, logical_or_ = stored(logical_and), stored(logical_or)
    logical_xor_ = stored(logical_xor)


def choose(condition: Any, x1: Operand, x2: Operand) -> Tensor:
    """Return x1 where the condition holds, else x2, in the dtype that both promote to."""
    x1, x2 = operand("where", x1), operand("where", x2)
    dtype = result_type(x1, x2)
    for each in (x1, x2):
        if isinstance(each, int):
            check_number("where", each, dtype)
    first, second = (x if x.__class__ in SCALARS else x.to(dtype) for x in (x1, x2))  # type: ignore[union-attr]
    if first.__class__ in SCALARS and second.__class__ in SCALARS:
        first = ops.full(shape=(), value=cast(float, first), dtype=dtype, device=condition.device)
    elif CATEGORY[dtype] == 0:
        first, second = (bool(x) if x.__class__ in SCALARS else x for x in (first, second))
    return ops.where(condition, first, second)


def _below(name: str, x: Tensor, diagonal: int) -> Tensor:
    """Return where the elements of matrices like x lie on the diagonal or below."""
    diagonal = whole(name, "diagonal", diagonal)
    if x.ndim < 2:
        raise ShapeError(f"{name}: expected at least 2 dimensions, got {x.ndim}")
    n, m = (
        ops.arange(start=0, stop=size, step=1, dtype=int64, device=x.device)
        for size in x.shape[-2:]
    )
    return n.unsqueeze(1) + diagonal >= m


def beyond(is_beyond: Tensor, bound: Any, x: Tensor) -> Tensor:
    """Return x with what lies beyond `bound`, or has NaN for one, put there.

    Unlike `maximum` and `minimum` it gives all of the gradient of a tie to x.
    """
    return choose(is_beyond | (bound != bound), bound, x)


def scaled(name: str, x: Any, other: Operand, alpha: float) -> Operand:
    """Return alpha * other in the dtype of x + other: what `add` and `sub` add."""
    if alpha == 1:
        return other
    dtype = result_type(x, other)
    if CATEGORY[dtype] < 2 and alpha.__class__ is float:
        raise ArgumentError(f"{name}: expected an integer alpha for {dtype.name}, got {alpha}")
    if other.__class__ in SCALARS:
        return other * alpha
    return (cast("Tensor", other).to(dtype) * alpha).to(dtype)


def fitting(x: Tensor, value: Any) -> Any:
    """Return what fills x: a number that its dtype holds exactly, or a 0-d tensor."""
    if isinstance(value, TensorBase):
        if value.ndim:
            raise ShapeError(f"masked_fill: expected a number or a 0-d tensor, got {value.shape}")
        if CATEGORY[value.dtype] > CATEGORY[x.dtype]:
            raise DTypeError(f"masked_fill: {value.dtype.name} does not fit into {x.dtype.name}")
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise OperandError(
            f"masked_fill: expected a number or a 0-d tensor, got {value!r}"
        ) from None
    if CATEGORY[x.dtype] == 2:
        return number
    if not number.is_integer() or (CATEGORY[x.dtype] == 0 and value not in (0, 1)):
        raise DTypeError(f"masked_fill: {value!r} does not fit into {x.dtype.name}")
    check_number("masked_fill", int(value), x.dtype)
    return bool(value) if CATEGORY[x.dtype] == 0 else int(value)
