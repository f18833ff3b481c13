"""The ops of activations: functions of each element, without parameters but for prelu's.

A function and its gradient, `<name>_backward`, are ops of their own, so that a backend may do each
in one pass. Where a function has a corner its gradient there is PyTorch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any

from ferrum import Spec, TensorLike, op
from ferrum.dtypes import float32, int64
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum.inplace import InPlaceTwin
from ferrum.op import BinaryOp, UnaryOp
from ferrum.ops import where
from ferrum.ops.families import EXTREME, FLOATS, INF, spec_of
from ferrum.spec import Needs

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.operation import Op
    from ferrum.samples import Sample, Sampler, Samples


def _spec(name: str, *operands: TensorLike, **numbers: float) -> Spec:
    """Return the spec of operands of one floating-point dtype, which broadcast."""
    dtypes = {x.dtype for x in operands if hasattr(x, "dtype")}
    if len(dtypes) > 1:
        names = ", ".join(sorted(each.name for each in dtypes))
        raise DTypeError(f"{name}: expected operands of one dtype, got {names}")
    spec = spec_of(name, FLOATS, *operands)
    for key, value in numbers.items():
        if not isinstance(value, (int, float)):
            raise OperandError(f"{name}: expected a number as {key}, got {value!r}")
    return spec


def _widely(compose: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a fallback compute in float32 where the operands are narrower."""

    @wraps(compose)
    def wide(*tensors: Any, **attrs: Any) -> Tensor:
        dtype = next(x.dtype for x in tensors if hasattr(x, "dtype"))
        if dtype.itemsize != 2:
            return compose(*tensors, **attrs)
        wider = [x.to(float32) if hasattr(x, "dtype") else x for x in tensors]
        return compose(*wider, **attrs).to(dtype)

    return wide


def _try(pair: tuple[Op[..., Tensor], ...], *points: float, **attrs: Any) -> None:
    """Have a function and its gradient tried with these attributes, also at corner `points`."""
    for made in pair:
        made.sampler = _sampler(made, points, attrs)


def _sampler(made: Op[..., Tensor], points: tuple[float, ...], attrs: dict[str, Any]) -> Samples:
    count, before = len(made.inputs), made.sampler
    extreme = (*EXTREME, 80.0, -80.0, *points)

    def sampler(s: Sampler) -> Iterator[Sample]:
        if before is not None:
            yield from before(s)
        for shape in ((3, 4), (), (0, 2), (5, 13)):
            yield s(*[s.real(*shape, low=-4.0, high=4.0) for _ in range(count)], **attrs)
        ones = [s.exact(*[1.0] * len(extreme))] * (count - 1)
        yield s.kink(*ones, s.exact(*extreme), **attrs)
        yield s.bad(DTypeError, *[s.typed(int64, 3)] * count, **attrs)
        yield s.bad(TypeError, *["text"] * count, **attrs)
        if count > 1:
            yield s.bad(ShapeError, *[s.real(3)] * (count - 1), s.real(4), **attrs)
        for name, value in attrs.items():
            wrong = (TypeError, None) if isinstance(value, float) else (ArgumentError, "text")
            yield s.bad(wrong[0], *[s.real(3)] * count, **{**attrs, name: wrong[1]})

    return sampler


# ---- one slope above 0, another below


@op(ulp=2)
def leaky_relu(x: TensorLike, *, negative_slope: float) -> Spec:
    """Return x where it is above 0, else negative_slope · x."""
    return _spec("leaky_relu", x, negative_slope=negative_slope)


@leaky_relu.fallback
@_widely
def _(x: Tensor, *, negative_slope: float) -> Tensor:
    return where(x > 0, x, x * negative_slope)


@leaky_relu.gradient
def _(g: Tensor, x: Tensor, *, negative_slope: float) -> Tensor:
    return leaky_relu_backward(g, x, negative_slope=negative_slope)


@op(ulp=2)
def leaky_relu_backward(g: TensorLike, x: TensorLike, *, negative_slope: float) -> Spec:
    """Return g where x is above 0, else negative_slope · g."""
    return _spec("leaky_relu_backward", g, x, negative_slope=negative_slope)


@leaky_relu_backward.fallback
@_widely
def _(g: Tensor, x: Tensor, *, negative_slope: float) -> Tensor:
    return where(x > 0, g, g * negative_slope)


@op(ulp=1)
def prelu(x: TensorLike, weight: TensorLike) -> Spec:
    """Return x where it is above 0, else weight · x; the weight broadcasts."""
    return _spec("prelu", x, weight)


@prelu.fallback
@_widely
def _(x: Tensor, weight: Tensor) -> Tensor:
    return where(x > 0, x, x * weight)


@prelu.gradient
def _(g: Tensor, x: Tensor, weight: Tensor, *, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    return (
        None if needs[0] is None else prelu_backward(g, x, weight),
        None if needs[1] is None else where(x > 0, 0, g * x),
    )


@prelu.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(2, 3, 4), s.real(1, 3, 1))


@op(ulp=1)
def prelu_backward(g: TensorLike, x: TensorLike, weight: TensorLike) -> Spec:
    """Return g where x is above 0, else weight · g: the gradient of prelu by x."""
    return _spec("prelu_backward", g, x, weight)


@prelu_backward.fallback
@_widely
def _(g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return where(x > 0, g, g * weight)


# ---- exponentials below 0


@op(ulp=4)
def elu(x: TensorLike, *, alpha: float, scale: float, input_scale: float) -> Spec:
    """Return scale · x where x is above 0, else scale · alpha · (exp(input_scale · x) - 1)."""
    return _spec("elu", x, alpha=alpha, scale=scale, input_scale=input_scale)


@elu.fallback
@_widely
def _(x: Tensor, *, alpha: float, scale: float, input_scale: float) -> Tensor:
    return where(x <= 0, (x * input_scale).expm1() * (alpha * scale), x * scale)


@elu.gradient
def _(g: Tensor, x: Tensor, *, alpha: float, scale: float, input_scale: float) -> Tensor:
    return elu_backward(g, x, alpha=alpha, scale=scale, input_scale=input_scale)


@op(ulp=8, scale=1.0)
def elu_backward(
    g: TensorLike, x: TensorLike, *, alpha: float, scale: float, input_scale: float
) -> Spec:
    """Return the gradient of elu: g · scale, where x <= 0 times what the exponential adds."""
    return _spec("elu_backward", g, x, alpha=alpha, scale=scale, input_scale=input_scale)


@elu_backward.fallback
@_widely
def _(g: Tensor, x: Tensor, *, alpha: float, scale: float, input_scale: float) -> Tensor:
    below = where(x < 0, x, 0)  # exp() of large x would be infinite, and its gradient NaN
    slope = (below * input_scale).exp() * (alpha * scale * input_scale)
    return where(x <= 0, g * slope, g * scale)


# ---- products with a smooth step


def _step(approximate: str) -> None:
    if approximate not in ("none", "tanh"):
        raise ArgumentError(f"gelu: expected approximate 'none' or 'tanh', got {approximate!r}")


ROOT_2_OVER_PI, CUBIC = math.sqrt(2 / math.pi), 0.044715


@op(ulp=8, scale=1.0)
def gelu(x: TensorLike, *, approximate: str) -> Spec:
    """Return x Φ(x), with Φ(x) = (1 + erf(x / √2)) / 2, the normal distribution's.

    With approximate "tanh" it is (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2. Source of both:
    Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
    """
    _step(approximate)
    return _spec("gelu", x)


@gelu.fallback
@_widely
def _(x: Tensor, *, approximate: str) -> Tensor:
    if approximate == "none":
        return x * 0.5 * ((x * math.sqrt(0.5)).erf() + 1)
    return x * 0.5 * (((x + x * x * x * CUBIC) * ROOT_2_OVER_PI).tanh() + 1)


@gelu.gradient
def _(g: Tensor, x: Tensor, *, approximate: str) -> Tensor:
    return gelu_backward(g, x, approximate=approximate)


@op(ulp=16, scale=1.0)
def gelu_backward(g: TensorLike, x: TensorLike, *, approximate: str) -> Spec:
    """Return the gradient of gelu: g (Φ(x) + x Φ'(x))."""
    _step(approximate)
    return _spec("gelu_backward", g, x)


@gelu_backward.fallback
@_widely
def _(g: Tensor, x: Tensor, *, approximate: str) -> Tensor:
    if approximate == "none":
        density = (x * x * -0.5).exp() * (ROOT_2_OVER_PI / 2)
        return g * (((x * math.sqrt(0.5)).erf() + 1) * 0.5 + x * density)
    t = ((x + x * x * x * CUBIC) * ROOT_2_OVER_PI).tanh()
    inner = (x * x * (3 * CUBIC) + 1) * ROOT_2_OVER_PI
    return g * ((t + 1) * 0.5 + x * 0.5 * (1 - t * t) * inner)


# ---- the logarithm of a step


@op(ulp=8)
def softplus(x: TensorLike, *, beta: float, threshold: float) -> Spec:
    """Return log(1 + exp(beta · x)) / beta, or x where beta · x is above `threshold`."""
    return _spec("softplus", x, beta=beta, threshold=threshold)


@softplus.fallback
@_widely
def _(x: Tensor, *, beta: float, threshold: float) -> Tensor:
    t = x * beta
    return where(t > threshold, x, (t.maximum(0) + (-t.abs()).exp().log1p()) / beta)


@softplus.gradient
def _(g: Tensor, x: Tensor, *, beta: float, threshold: float) -> Tensor:
    return softplus_backward(g, x, beta=beta, threshold=threshold)


@op(ulp=8, scale=1.0)
def softplus_backward(g: TensorLike, x: TensorLike, *, beta: float, threshold: float) -> Spec:
    """Return the gradient of softplus: g sigmoid(beta · x), or g above the threshold."""
    return _spec("softplus_backward", g, x, beta=beta, threshold=threshold)


@softplus_backward.fallback
@_widely
def _(g: Tensor, x: Tensor, *, beta: float, threshold: float) -> Tensor:
    t = x * beta
    return where(t > threshold, g, g * t.sigmoid())


# ---- pieces of straight lines


@op(ulp=1)
def hardtanh(x: TensorLike, *, min_val: float, max_val: float) -> Spec:
    """Return x, but `min_val` below that and `max_val` above that."""
    return _spec("hardtanh", x, min_val=min_val, max_val=max_val)


@hardtanh.fallback
def _(x: Tensor, *, min_val: float, max_val: float) -> Tensor:
    return x.clamp(min_val, max_val)


@hardtanh.gradient
def _(g: Tensor, x: Tensor, *, min_val: float, max_val: float) -> Tensor:
    return hardtanh_backward(g, x, min_val=min_val, max_val=max_val)


@op(ulp=1)
def hardtanh_backward(g: TensorLike, x: TensorLike, *, min_val: float, max_val: float) -> Spec:
    """Return the gradient of hardtanh: 0 where x is a bound or beyond, else g."""
    return _spec("hardtanh_backward", g, x, min_val=min_val, max_val=max_val)


@hardtanh_backward.fallback
def _(g: Tensor, x: Tensor, *, min_val: float, max_val: float) -> Tensor:
    return where((x <= min_val) | (x >= max_val), 0, g)


# ---- without attributes


def _pair(
    name: str,
    doc: str,
    value: Callable[[Tensor], Tensor],
    slope_doc: str,
    slope: Callable[[Tensor, Tensor], Tensor],
    *,
    ulp: float,
    slope_ulp: float,
    slope_scale: float = 0.0,
) -> tuple[Op[[TensorLike], Tensor], Op[[TensorLike, TensorLike], Tensor]]:
    """Declare a function of x alone, and its gradient, a function of g and x."""

    def rule(x: TensorLike) -> Spec:
        return _spec(name, x)

    def slope_rule(g: TensorLike, x: TensorLike) -> Spec:
        return _spec(f"{name}_backward", g, x)

    for each, called, text in ((rule, name, doc), (slope_rule, f"{name}_backward", slope_doc)):
        each.__name__ = each.__qualname__ = called
        each.__doc__ = text
    made: Op[[TensorLike], Tensor] = UnaryOp(rule, ulp=ulp)
    backward: Op[[TensorLike, TensorLike], Tensor] = BinaryOp(
        slope_rule, ulp=slope_ulp, scale=slope_scale
    )
    made.fallback(_widely(value))
    made.gradient(lambda g, x: backward(g, x))
    backward.fallback(_widely(slope))
    return made, backward


def _silu_slope(g: Tensor, x: Tensor) -> Tensor:
    s = x.sigmoid()
    return g * (s * (x * (1 - s) + 1))


silu, silu_backward = _pair(
    "silu",
    "Return x sigmoid(x).",
    lambda x: x * x.sigmoid(),
    "Return the gradient of silu: g s (1 + x (1 - s)), with s = sigmoid(x).",
    _silu_slope,
    ulp=8,
    slope_ulp=8,
    slope_scale=1.0,
)


def _mish_slope(g: Tensor, x: Tensor) -> Tensor:
    t = softplus(x, beta=1.0, threshold=20.0).tanh()
    return g * (t + x * x.sigmoid() * (1 - t * t))


mish, mish_backward = _pair(
    "mish",
    """Return x tanh(softplus(x)). Source: Misra, "Mish", 2019.""",
    lambda x: x * softplus(x, beta=1.0, threshold=20.0).tanh(),
    "Return the gradient of mish: g (t + x sigmoid(x) (1 - t²)), with t = tanh(softplus(x)).",
    _mish_slope,
    ulp=8,
    slope_ulp=16,
    slope_scale=1.0,
)
logsigmoid, logsigmoid_backward = _pair(
    "logsigmoid",
    "Return log(sigmoid(x)) = min(x, 0) - log(1 + exp(-|x|)).",
    lambda x: x.minimum(0) - (-x.abs()).exp().log1p(),
    "Return the gradient of logsigmoid: g sigmoid(-x).",
    lambda g, x: g * (-x).sigmoid(),
    ulp=8,
    slope_ulp=8,
)
hardsigmoid, hardsigmoid_backward = _pair(
    "hardsigmoid",
    "Return min(max(x + 3, 0), 6) / 6.",
    lambda x: (x + 3).clamp(0, 6) / 6,
    "Return the gradient of hardsigmoid: g / 6 between -3 and 3, else 0.",
    lambda g, x: where((x > -3) & (x < 3), g / 6, 0),
    ulp=2,
    slope_ulp=2,
)
hardswish, hardswish_backward = _pair(
    "hardswish",
    """Return x min(max(x + 3, 0), 6) / 6. Source: Howard et al., "MobileNetV3", 2019.""",
    lambda x: x * (x + 3).clamp(0, 6) / 6,
    "Return the gradient of hardswish: g (x / 3 + 1/2) between -3 and 3, 0 below and g above.",
    lambda g, x: where(x <= -3, 0, where(x < 3, g * (x / 3 + 0.5), g)),
    ulp=4,
    slope_ulp=4,
    slope_scale=1.0,
)


# ---- what tests try, and the forms in place

_try((leaky_relu, leaky_relu_backward), negative_slope=0.1)
_try((prelu, prelu_backward))
_try((elu, elu_backward), alpha=1.5, scale=1.25, input_scale=0.75)
_try((gelu, gelu_backward), approximate="none")
_try((gelu, gelu_backward), approximate="tanh")
_try((softplus, softplus_backward), beta=1.5, threshold=2.6)
_try((softplus, softplus_backward), beta=1.0, threshold=INF)
_try((hardtanh, hardtanh_backward), -1.0, 1.5, min_val=-1.0, max_val=1.5)
_try((hardsigmoid, hardsigmoid_backward), 3.0, -3.0)
_try((hardswish, hardswish_backward), 3.0, -3.0)
_try((silu, silu_backward))
_try((mish, mish_backward))
_try((logsigmoid, logsigmoid_backward))

elu_ = InPlaceTwin(elu)
hardsigmoid_ = InPlaceTwin(hardsigmoid)
hardswish_ = InPlaceTwin(hardswish)
hardtanh_ = InPlaceTwin(hardtanh)
leaky_relu_ = InPlaceTwin(leaky_relu)
mish_ = InPlaceTwin(mish)
prelu_ = InPlaceTwin(prelu)
silu_ = InPlaceTwin(silu)
