"""Ops that work element by element; operands broadcast. One line an op, its gradient in it.

What can be composed of these is in `ferrum.ops.composed`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ferrum.dtypes import bool_
from ferrum.errors import DTypeError, ShapeError
from ferrum.op import op
from ferrum.ops.families import (
    EXTREME,
    FLOATS,
    INF,
    NAN,
    NUMBERS,
    WHOLE,
    Operand,
    binary,
    shape_of,
    spec_of,
    unary,
)
from ferrum.ops.views import zeros_of
from ferrum.promotion import SCALARS
from ferrum.spec import Needs, Spec, TensorLike, broadcast_shapes

if TYPE_CHECKING:
    from ferrum.samples import Sample, Sampler
    from ferrum.tensor import Tensor


@op
def where(condition: TensorLike, x1: Operand, x2: Operand) -> Spec:
    """Return x1 where the condition holds, else x2.

    The condition is bool, x1 and x2 of one dtype.
    """
    if condition.dtype is not bool_:
        raise DTypeError(f"where: expected a bool condition, got {condition.dtype.name}")
    tensors = [x for x in (x1, x2) if x.__class__ not in SCALARS]
    if not tensors:
        raise DTypeError("where: expected x1 or x2 to be a tensor, got two numbers")
    if len({x.dtype for x in tensors}) > 1:  # type: ignore[union-attr]
        raise DTypeError("where: expected x1 and x2 of one dtype")
    shape = broadcast_shapes("where", condition.shape, shape_of(x1), shape_of(x2))
    return Spec(shape, tensors[0].dtype)  # type: ignore[union-attr]


@where.gradient
def _(g: Tensor, condition: Tensor, *, needs: Needs) -> tuple[Tensor | None, ...]:
    return (
        None,
        None if needs[1] is None else where(condition, g, 0),
        None if needs[2] is None else where(condition, 0, g),
    )


@where.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.truth(3, 4), s.real(3, 4), s.real(3, 4))
    yield s(s.truth(3, 1), s.real(4), s.real(3, 4))
    yield s(s.truth(2), s.real(2), 1)
    yield s(s.truth(2), 0, s.real(2))
    yield s(s.truth(0), s.real(0), s.real(1))
    yield s.bad(DTypeError, s.real(2), s.real(2), s.real(2))
    yield s.bad(ShapeError, s.truth(2), s.real(3), s.real(2))


@op(ulp=4, scale=4.0)
def tanh_backward(g: TensorLike, out: TensorLike) -> Spec:
    """Return g * (1 - out * out), the gradient of tanh from its output."""
    return spec_of("tanh_backward", FLOATS, g, out)


@tanh_backward.fallback
def _(g: Tensor, out: Tensor) -> Tensor:
    return g * (1 - out * out)


@tanh_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), s.real(3, 4, low=-0.9, high=0.9))
    yield s(s.real(5, 13), s.real(5, 13, low=-0.9, high=0.9))
    yield s(s.real(), s.real(low=-0.9, high=0.9))
    yield s(s.real(0), s.real(0))
    yield s.bad(ShapeError, s.real(3), s.real(4))
    yield s.bad(TypeError, s.real(3), "text")


# ---- one operand


def flat_gradient(g: Tensor) -> Tensor:
    """Return the gradient of a function that is flat: zeros, even where g is infinite or NaN."""
    return zeros_of(g, g.shape)


negative = unary("negative", "Return -x.", lambda g: -g, kinds=NUMBERS, points=EXTREME)
abs = unary("abs", "Return |x|.", lambda g, x: g * x.sign(), kinds=NUMBERS, points=EXTREME)
sign = unary("sign", "Return -1, 0 or 1: the sign of x.", flat_gradient, points=EXTREME)
exp = unary(
    "exp",
    "Return e to the power x.",
    lambda g, out: g * out,
    promote="float",
    ulp=4,
    points=EXTREME,
)
expm1 = unary(
    "expm1",
    "Return e**x - 1, exact near 0.",
    lambda g, out: g * (out + 1),
    promote="float",
    ulp=4,
    points=EXTREME,
)
log = unary(
    "log",
    "Return the natural logarithm of x.",
    lambda g, x: g / x,
    promote="float",
    ulp=4,
    domain=(0.1, 3.0),
    points=EXTREME,
)
log1p = unary(
    "log1p",
    "Return log(1 + x), exact near 0.",
    lambda g, x: g / (x + 1),
    promote="float",
    ulp=4,
    domain=(-0.8, 3.0),
    points=EXTREME,
)
sqrt = unary(
    "sqrt",
    "Return the square root of x.",
    lambda g, out: g / (out * 2),
    promote="float",
    domain=(0.1, 3.0),
    points=EXTREME,
)
sin = unary(
    "sin",
    "Return the sine of x, in radians.",
    lambda g, x: g * x.cos(),
    promote="float",
    ulp=4,
    points=EXTREME,
)
cos = unary(
    "cos",
    "Return the cosine of x, in radians.",
    lambda g, x: -(g * x.sin()),
    promote="float",
    ulp=4,
    points=EXTREME,
)
tanh = unary(
    "tanh",
    "Return the hyperbolic tangent of x.",
    lambda g, out: tanh_backward(g, out),
    promote="float",
    ulp=4,
    points=EXTREME,
)
erf = unary(
    "erf",
    "Return the error function of x, 2/sqrt(pi) times the integral of exp(-t*t) from 0 to x.",
    lambda g, x: g * (-(x * x)).exp() * (2 / math.sqrt(math.pi)),
    promote="float",
    ulp=4,
    points=EXTREME,
)
floor = unary(
    "floor",
    "Return the largest integer not above x.",
    flat_gradient,
    kinds=NUMBERS,
    points=EXTREME,
)
ceil = unary(
    "ceil",
    "Return the smallest integer not below x.",
    flat_gradient,
    kinds=NUMBERS,
    points=EXTREME,
)
trunc = unary(
    "trunc", "Return x without its fraction.", flat_gradient, kinds=NUMBERS, points=EXTREME
)
round = unary(
    "round",
    "Return the nearest integer, the even one at a half.",
    flat_gradient,
    kinds=NUMBERS,
    points=(*EXTREME, 0.5, 1.5, 2.5, -0.5),
)
logical_not = unary("logical_not", "Return whether x is 0.", None, truth=True, points=EXTREME)
bitwise_invert = unary("bitwise_invert", "Return x with every bit flipped.", None, kinds=WHOLE)


# ---- two operands


def _add(g: Tensor) -> tuple[Tensor, Tensor]:
    return g, g


def _subtract(g: Tensor, *, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    return g, None if needs[1] is None else -g


def _multiply(g: Tensor, x1: Any, x2: Any, *, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    return (None if needs[0] is None else g * x2), (None if needs[1] is None else g * x1)


def _divide(
    g: Tensor, x2: Any, out: Tensor, *, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    g = g / x2
    return g, None if needs[1] is None else -(g * out)


def _remainder(g: Tensor, x1: Any, x2: Any, *, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    return g, None if needs[1] is None else -(g * floor_divide(x1, x2))


def _pow(
    g: Tensor, x1: Any, x2: Any, out: Tensor, *, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    base: Tensor | None = None
    exponent: Tensor | None = None
    if needs[0] is not None:
        if isinstance(x2, (bool, int, float)):
            base = g * (pow(x1, x2 - 1) * x2) if x2 else flat_gradient(g)
        else:
            base = where(equal(x2, 0), 0, g * (x2 * pow(x1, x2 - 1)))
    if needs[1] is not None:
        # 0 ** x2 is flat in x2 where x2 >= 0, though log(0) is not finite
        at_zero = x1 == 0 if x1.__class__ not in SCALARS else (x2 * 0 + x1) == 0
        log_base = (x2 * 0 + x1 if x1.__class__ in SCALARS else x1).log()
        exponent = where(at_zero & (x2 >= 0), 0, g * (out * log_base))
    return base, exponent


def _larger(g: Tensor, x1: Any, x2: Any, *, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    tied = where(equal(x1, x2), g * 0.5, g)  # as in PyTorch, a tie shares the gradient
    return (
        None if needs[0] is None else where(less(x1, x2), 0, tied),
        None if needs[1] is None else where(greater(x1, x2), 0, tied),
    )


def _smaller(g: Tensor, x1: Any, x2: Any, *, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    tied = where(equal(x1, x2), g * 0.5, g)
    return (
        None if needs[0] is None else where(greater(x1, x2), 0, tied),
        None if needs[1] is None else where(less(x1, x2), 0, tied),
    )


def _atan2(g: Tensor, x1: Any, x2: Any, *, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    square = x1 * x1 + x2 * x2
    g = g / where(equal(square, 0), 1, square)  # as in PyTorch, flat at the origin
    return (None if needs[0] is None else g * x2), (None if needs[1] is None else -(g * x1))


add = binary("add", "Return x1 + x2.", _add, points=EXTREME)
subtract = binary("subtract", "Return x1 - x2.", _subtract, kinds=NUMBERS, points=EXTREME)
multiply = binary("multiply", "Return x1 * x2.", _multiply, points=EXTREME)
divide = binary(
    "divide",
    "Return x1 / x2; integers become floats.",
    _divide,
    promote="float",
    domain=(0.2, 3.0),
    points=EXTREME,
)
floor_divide = binary(
    "floor_divide",
    "Return x1 / x2 rounded down; for integers 0 where x2 is 0.",
    lambda g: (flat_gradient(g), flat_gradient(g)),
    kinds=NUMBERS,
    domain=(0.6, 3.0),
)
remainder = binary(
    "remainder",
    "Return x1 - x2 * floor(x1 / x2), which has the sign of x2; for integers 0 where x2 is 0.",
    _remainder,
    kinds=NUMBERS,
    domain=(0.6, 3.0),
    ulp=2,
)
pow = binary(
    "pow",
    "Return x1 to the power x2.",
    _pow,
    kinds=NUMBERS,
    domain=(0.2, 2.0),
    points=EXTREME,
    ulp=8,
)
maximum = binary("maximum", "Return the larger of x1 and x2; NaN wins.", _larger, points=EXTREME)
minimum = binary("minimum", "Return the smaller of x1 and x2; NaN wins.", _smaller, points=EXTREME)
atan2 = binary(
    "atan2",
    "Return the angle of the point (x2, x1), in radians.",
    _atan2,
    promote="float",
    points=(1.0, -1.0, INF, NAN),
    ulp=4,
)
multiply.keep_for(x1="x2", x2="x1")
divide.keep_for(out="x2")
remainder.keep_for(x1="x2", x2="x2")
pow.keep_for(out="x2")

equal = binary("equal", "Return whether x1 == x2.", None, truth=True, points=EXTREME)
not_equal = binary("not_equal", "Return whether x1 != x2.", None, truth=True, points=EXTREME)
less = binary("less", "Return whether x1 < x2.", None, truth=True, points=EXTREME)
less_equal = binary("less_equal", "Return whether x1 <= x2.", None, truth=True, points=EXTREME)
greater = binary("greater", "Return whether x1 > x2.", None, truth=True, points=EXTREME)
greater_equal = binary(
    "greater_equal", "Return whether x1 >= x2.", None, truth=True, points=EXTREME
)
bitwise_and = binary(
    "bitwise_and", "Return the bits set in both x1 and x2.", None, kinds=WHOLE, domain=(0.2, 9.0)
)
bitwise_or = binary(
    "bitwise_or", "Return the bits set in x1 or x2.", None, kinds=WHOLE, domain=(0.2, 9.0)
)
bitwise_xor = binary(
    "bitwise_xor",
    "Return the bits set in just one of x1 and x2.",
    None,
    kinds=WHOLE,
    domain=(0.2, 9.0),
)
left_shift = binary("left_shift", "Return x1 * 2**x2.", None, kinds="i", domain=(0.2, 5.0))
right_shift = binary(
    "right_shift", "Return x1 / 2**x2, rounded down.", None, kinds="i", domain=(0.2, 5.0)
)
