"""The ops of activations that are curves, and of those that are gated.

A function and its gradient, `<name>_backward`, are ops of their own, so that a backend may do each
in one pass. Where a function has a corner its gradient there is PyTorch's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, cat, op
from ferrum.dtypes import int64
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.inplace import InPlaceTwin
from ferrum.ops import where
from ferrum.ops.families import INF
from ferrum_nn.ops.pointwise import pair, spec, tried, widely

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


# ---- exponentials below 0


@op(ulp=4)
def elu(x: TensorLike, *, alpha: float, scale: float, input_scale: float) -> Spec:
    """Return scale · x where x is above 0, else scale · alpha · (exp(input_scale · x) - 1)."""
    return spec("elu", x, alpha=alpha, scale=scale, input_scale=input_scale)


@elu.fallback
@widely
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
    return spec("elu_backward", g, x, alpha=alpha, scale=scale, input_scale=input_scale)


@elu_backward.fallback
@widely
def _(g: Tensor, x: Tensor, *, alpha: float, scale: float, input_scale: float) -> Tensor:
    below = where(x < 0, x, 0)  # exp() of large x would be infinite, and its gradient NaN
    slope = (below * input_scale).exp() * (alpha * scale * input_scale)
    return where(x <= 0, g * slope, g * scale)


# ---- products with a smooth step


def _step(approximate: str) -> None:
    if approximate not in ("none", "tanh"):
        raise ArgumentError(f"gelu: expected approximate 'none' or 'tanh', got {approximate!r}")


ROOT_2_OVER_PI, CUBIC = math.sqrt(2 / math.pi), 0.044715


def _inner(x: Tensor) -> Tensor:
    """Return 2 u, with u what gelu takes the tanh of: (1 + tanh(u)) / 2 = sigmoid(2 u)."""
    return (x + x * x * x * CUBIC) * (2 * ROOT_2_OVER_PI)


@op(ulp=8, scale=1.0)
def gelu(x: TensorLike, *, approximate: str) -> Spec:
    """Return x Φ(x), with Φ(x) = (1 + erf(x / √2)) / 2, the normal distribution's.

    With approximate "tanh" it is (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2. Source of both:
    Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
    """
    _step(approximate)
    return spec("gelu", x)


@gelu.fallback
@widely
def _(x: Tensor, *, approximate: str) -> Tensor:
    if approximate == "none":
        return x * 0.5 * ((x * math.sqrt(0.5)).erf() + 1)
    return x * _inner(x).sigmoid()


@gelu.gradient
def _(g: Tensor, x: Tensor, *, approximate: str) -> Tensor:
    return gelu_backward(g, x, approximate=approximate)


@op(ulp=16, scale=1.0)
def gelu_backward(g: TensorLike, x: TensorLike, *, approximate: str) -> Spec:
    """Return the gradient of gelu: g (Φ(x) + x Φ'(x))."""
    _step(approximate)
    return spec("gelu_backward", g, x)


@gelu_backward.fallback
@widely
def _(g: Tensor, x: Tensor, *, approximate: str) -> Tensor:
    if approximate == "none":
        density = (x * x * -0.5).exp() * (ROOT_2_OVER_PI / 2)
        return g * (((x * math.sqrt(0.5)).erf() + 1) * 0.5 + x * density)
    u = _inner(x)
    inner = (x * x * (3 * CUBIC) + 1) * (2 * ROOT_2_OVER_PI)
    return g * (u.sigmoid() * (x * (-u).sigmoid() * inner + 1))


# ---- the logarithm of a step


@op(ulp=8)
def softplus(x: TensorLike, *, beta: float, threshold: float) -> Spec:
    """Return log(1 + exp(beta · x)) / beta, or x where beta · x is above `threshold`."""
    return spec("softplus", x, beta=beta, threshold=threshold)


@softplus.fallback
@widely
def _(x: Tensor, *, beta: float, threshold: float) -> Tensor:
    t = x * beta
    return where(t > threshold, x, (t.maximum(0) + (-t.abs()).exp().log1p()) / beta)


@softplus.gradient
def _(g: Tensor, x: Tensor, *, beta: float, threshold: float) -> Tensor:
    return softplus_backward(g, x, beta=beta, threshold=threshold)


@op(ulp=8, scale=1.0)
def softplus_backward(g: TensorLike, x: TensorLike, *, beta: float, threshold: float) -> Spec:
    """Return the gradient of softplus: g sigmoid(beta · x), or g above the threshold."""
    return spec("softplus_backward", g, x, beta=beta, threshold=threshold)


@softplus_backward.fallback
@widely
def _(g: Tensor, x: Tensor, *, beta: float, threshold: float) -> Tensor:
    t = x * beta
    bent = where(t == threshold, t.detach(), t)  # there the slope is that above it, 0, as PyTorch's
    return where(t > threshold, g, g * bent.sigmoid())


# ---- without attributes


def _silu_slope(g: Tensor, x: Tensor) -> Tensor:
    return g * (x.sigmoid() * (x * (-x).sigmoid() + 1))  # 1 - s would lose its digits


silu, silu_backward = pair(
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


mish, mish_backward = pair(
    "mish",
    """Return x tanh(softplus(x)). Source: Misra, "Mish", 2019.""",
    lambda x: x * softplus(x, beta=1.0, threshold=20.0).tanh(),
    "Return the gradient of mish: g (t + x sigmoid(x) (1 - t²)), with t = tanh(softplus(x)).",
    _mish_slope,
    ulp=8,
    slope_ulp=16,
    slope_scale=1.0,
)
logsigmoid, logsigmoid_backward = pair(
    "logsigmoid",
    "Return log(sigmoid(x)) = min(x, 0) - log(1 + exp(-|x|)).",
    lambda x: x.minimum(0) - (-x.abs()).exp().log1p(),
    "Return the gradient of logsigmoid: g sigmoid(-x).",
    lambda g, x: g * (-x).sigmoid(),
    ulp=8,
    slope_ulp=8,
)


# ---- gated: half of x by the other half


def _halves(name: str, x: TensorLike, axis: int) -> Spec:
    """Return the spec of half of x along `axis`."""
    found = spec(name, x)
    if not 0 <= axis < len(x.shape) or x.shape[axis] % 2:
        raise ShapeError(f"{name}: expected an even size along axis {axis}, got {x.shape}")
    half = x.shape[axis] // 2
    return Spec((*x.shape[:axis], half, *x.shape[axis + 1 :]), found.dtype)


def _split(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    half = x.shape[axis] // 2
    return x.narrow(axis, 0, half), x.narrow(axis, half, half)


@op(ulp=8)
def glu(x: TensorLike, *, axis: int) -> Spec:
    """Return a sigmoid(b), where a and b are the halves of x along `axis`."""
    return _halves("glu", x, axis)


@glu.fallback
@widely
def _(x: Tensor, *, axis: int) -> Tensor:
    a, b = _split(x, axis)
    return a * b.sigmoid()


@glu.gradient
def _(g: Tensor, x: Tensor, *, axis: int) -> Tensor:
    return glu_backward(g, x, axis=axis)


@op(ulp=8, scale=2.0)
def glu_backward(g: TensorLike, x: TensorLike, *, axis: int) -> Spec:
    """Return the gradient of glu: g s of a, g a s (1 - s) of b, with s = sigmoid(b)."""
    half = _halves("glu_backward", x, axis)
    if g.shape != half.shape or g.dtype is not half.dtype:
        raise ShapeError(
            f"glu_backward: expected g like half of x, {half.shape} {half.dtype.name}, got "
            f"{g.shape} {g.dtype.name}"
        )
    return Spec(x.shape, x.dtype)


@glu_backward.fallback
@widely
def _(g: Tensor, x: Tensor, *, axis: int) -> Tensor:
    a, b = _split(x, axis)
    s = b.sigmoid()
    return cat([g * s, g * a * (s * (1 - s))], axis)


@glu.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(4, 3), axis=0)
    yield s(s.real(3, 2, 4), axis=2)
    yield s(s.real(2, 0), axis=1)
    yield s.bad(ShapeError, s.real(3, 4), axis=0)
    yield s.bad(ShapeError, s.real(), axis=0)
    yield s.bad(DTypeError, s.typed(int64, 2), axis=0)


@glu_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(2, 3), s.real(4, 3), axis=0)
    yield s(s.real(3, 2, 2), s.real(3, 2, 4), axis=2)
    yield s.bad(ShapeError, s.real(4, 3), s.real(4, 3), axis=0)
    yield s.bad(ShapeError, s.real(2, 3), s.real(4, 3), axis=1)


# ---- what tests try, and the forms in place

tried((elu, elu_backward), alpha=1.5, scale=1.25, input_scale=0.75)
tried((gelu, gelu_backward), approximate="none")
tried((gelu, gelu_backward), approximate="tanh")
tried((softplus, softplus_backward), beta=1.5, threshold=2.6)
tried((softplus, softplus_backward), beta=1.0, threshold=INF)
tried((silu, silu_backward))
tried((mish, mish_backward))
tried((logsigmoid, logsigmoid_backward))

elu_ = InPlaceTwin(elu)
mish_ = InPlaceTwin(mish)
silu_ = InPlaceTwin(silu)
