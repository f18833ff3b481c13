"""Elementwise ops that are composed of others where a backend has no kernel for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ferrum.op import op
from ferrum.ops.elementwise import (
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    equal,
    flat_gradient,
    maximum,
    not_equal,
    tanh_backward,
    where,
)
from ferrum.ops.families import EXTREME, INF, NUMBERS, Operand, binary, spec_of, unary
from ferrum.promotion import SCALARS
from ferrum.spec import Needs, Spec, TensorLike

if TYPE_CHECKING:
    from ferrum.tensor import Tensor

square = unary(
    "square", "Return x * x.", lambda g, x: g * x * 2, kinds=NUMBERS, points=EXTREME, ulp=1
)


@square.fallback
def _(x: Tensor) -> Tensor:
    return x * x


reciprocal = unary(
    "reciprocal",
    "Return 1 / x.",
    lambda g, out: -(g * out * out),
    promote="float",
    domain=(0.2, 3.0),
    points=EXTREME,
    ulp=1,
)


@reciprocal.fallback
def _(x: Tensor) -> Tensor:
    return 1 / x


rsqrt = unary(
    "rsqrt",
    "Return 1 / sqrt(x).",
    lambda g, out: g * out * out * out * -0.5,
    promote="float",
    ulp=2,
    domain=(0.1, 3.0),
    points=EXTREME,
)


@rsqrt.fallback
def _(x: Tensor) -> Tensor:
    return 1 / x.sqrt()


sigmoid = unary(
    "sigmoid",
    "Return 1 / (1 + exp(-x)).",
    lambda g, out: g * out * (1 - out),
    promote="float",
    ulp=6,
    points=(*EXTREME, 100.0, -100.0),
)


@sigmoid.fallback
def _(x: Tensor) -> Tensor:
    return where(x < 0, x.exp(), 1) / (1 + (-x.abs()).exp())


isnan = unary("isnan", "Return whether x is not a number.", None, truth=True, points=EXTREME)


@isnan.fallback
def _(x: Tensor) -> Tensor:
    return x != x


isinf = unary("isinf", "Return whether x is infinite.", None, truth=True, points=EXTREME)


@isinf.fallback
def _(x: Tensor) -> Tensor:
    return bitwise_or(equal(x, INF), equal(x, -INF))


isfinite = unary(
    "isfinite", "Return whether x is neither infinite nor NaN.", None, truth=True, points=EXTREME
)


@isfinite.fallback
def _(x: Tensor) -> Tensor:
    return equal(x * 0, 0)


@op
def relu_backward(g: TensorLike, out: TensorLike) -> Spec:
    """Return 0 where out is 0 or less, else g: the gradient of relu from its output."""
    return spec_of("relu_backward", NUMBERS, g, out)


@relu_backward.fallback
def _(g: Tensor, out: Tensor) -> Tensor:
    return where(out <= 0, 0, g)


@relu_backward.gradient
def _(gg: Tensor, out: Tensor, *, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    # zeros, not None: the second derivative of relu is 0, as in PyTorch
    return relu_backward(gg, out), None if needs[1] is None else flat_gradient(gg)


relu_backward.sampler = tanh_backward.sampler

relu = unary(
    "relu",
    "Return x where it is above 0, else 0; NaN stays NaN.",
    lambda g, out: relu_backward(g, out),
    kinds=NUMBERS,
    points=EXTREME,
)


@relu.fallback
def _(x: Tensor) -> Tensor:
    return maximum(x, 0)


def _truth(x: Any) -> Any:
    return bool(x) if x.__class__ in SCALARS else not_equal(x, 0)


logical_and = binary(
    "logical_and", "Return whether both x1 and x2 differ from 0.", None, truth=True
)


@logical_and.fallback
def _(x1: Operand, x2: Operand) -> Tensor:
    return bitwise_and(_truth(x1), _truth(x2))


logical_or = binary("logical_or", "Return whether x1 or x2 differs from 0.", None, truth=True)


@logical_or.fallback
def _(x1: Operand, x2: Operand) -> Tensor:
    return bitwise_or(_truth(x1), _truth(x2))


logical_xor = binary(
    "logical_xor", "Return whether just one of x1 and x2 differs from 0.", None, truth=True
)


@logical_xor.fallback
def _(x1: Operand, x2: Operand) -> Tensor:
    return bitwise_xor(_truth(x1), _truth(x2))
