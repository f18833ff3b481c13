"""Activations as functions.

Where a function has pieces, the piece that is not used gets an input that it can take: the gradient
of what `where` leaves out is 0 times that piece's, and 0 times infinity is no number. At a point
where two pieces meet the gradient is PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

import ferrum as fe
from ferrum import Generator, Tensor, is_grad_enabled, sigmoid, tanh
from ferrum.dtypes import DTypeLike, is_floating
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum.ops import where

__all__ = [
    "celu",
    "celu_",
    "elu",
    "elu_",
    "gelu",
    "glu",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "leaky_relu",
    "leaky_relu_",
    "log_softmax",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rrelu",
    "rrelu_",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
]

# arXiv:1706.02515, to the digits of a float64
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _check(name: str, *tensors: Tensor) -> None:
    for each in tensors:
        if not isinstance(each, Tensor):
            raise OperandError(
                f"{name}: expected a tensor, got {type(each).__name__}; make one with "
                f"fe.tensor(...)"
            )
        if not is_floating(each.dtype):
            raise DTypeError(f"{name}: expected a floating-point tensor, got {each.dtype.name}")


def _apply(name: str, function: Callable[[Tensor], Tensor], x: Tensor, inplace: bool) -> Tensor:
    """Return function(x), or write it into x."""
    _check(name, x)
    if not inplace:
        return function(x)
    # what the function keeps for its gradient must not be written over
    return x.copy_(function(x.clone() if x.requires_grad and is_grad_enabled() else x))


# ---- pieces of lines


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return max(x, 0), or write it into x if `inplace`; NaN stays NaN."""
    return Tensor.relu_(input) if inplace else Tensor.relu(input)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """Return x between `min_val` and `max_val`, and these outside."""
    if min_val > max_val:
        raise ArgumentError(f"hardtanh: expected min_val <= max_val, got {min_val} and {max_val}")
    return _apply("hardtanh", lambda x: _between(x, min_val, max_val), input, inplace)


def _between(x: Tensor, low: float, high: float) -> Tensor:
    return where(x <= low, low, where(x >= high, high, x))


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Return min(max(x, 0), 6)."""
    return _apply("relu6", lambda x: _between(x, 0.0, 6.0), input, inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """Return min(max(x + 3, 0), 6) / 6."""
    return _apply("hardsigmoid", lambda x: _between(x + 3, 0.0, 6.0) / 6, input, inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """Return x min(max(x + 3, 0), 6) / 6 (arXiv:1905.02244)."""
    return _apply("hardswish", lambda x: x * _between(x + 3, 0.0, 6.0) / 6, input, inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """Return x where x > 0, else `negative_slope` x."""
    return _apply("leaky_relu", lambda x: where(x > 0, x, x * negative_slope), input, inplace)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """Return x where x > 0, else weight x (arXiv:1502.01852).

    `weight` has one element, or one for each channel: (c,) for x (n, c, ...).
    """
    _check("prelu", input, weight)
    if weight.dtype is not input.dtype:
        raise DTypeError(f"prelu: expected a weight of {input.dtype.name}, got {weight.dtype.name}")
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or (weight.numel() != 1 and weight.numel() != channels):
        raise ShapeError(
            f"prelu: expected a weight of 1 element or of {channels}, one a channel, got "
            f"{weight.shape}"
        )
    axes = (1, -1, *[1] * (input.ndim - 2)) if input.ndim > 1 else (1,) * input.ndim
    return where(input > 0, input, weight.reshape(axes) * input)


def rrelu(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Return x where x > 0, else a x, a drawn from `lower` to `upper` for each element.

    Unless `training`, a is the mean of the two (arXiv:1505.00853). The draws are from `generator`,
    or else from FERRUM's own.
    """
    _check("rrelu", input)
    if not lower <= upper:
        raise ArgumentError(f"rrelu: expected lower <= upper, got {lower} and {upper}")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)

    def draw(x: Tensor) -> Tensor:
        slope = fe.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        return where(x > 0, x, x * (slope * (upper - lower) + lower))

    return _apply("rrelu", draw, input, inplace)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """Return x where x > `threshold`, else `value`."""
    return _apply("threshold", lambda x: where(x <= threshold, value, x), input, inplace)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Return x where |x| > `lambd`, else 0."""
    _check("hardshrink", input)
    return where((input >= -lambd) & (input <= lambd), 0.0, input)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Return x moved towards 0 by `lambd`, and 0 where that would pass it."""
    _check("softshrink", input)
    if not lambd >= 0:
        raise ArgumentError(f"softshrink: expected lambd of at least 0, got {lambd}")
    inner = where(input < -lambd, input + lambd, input * 0)  # 0, or NaN for NaN
    return where(input > lambd, input - lambd, inner)


# ---- exponentials


def _elu(x: Tensor, alpha: float, scale: float, inner: float) -> Tensor:
    """Return scale x where x > 0, else scale alpha (exp(inner x) - 1)."""
    low = where(x > 0, 0.0, x)
    return where(x > 0, x * scale, (low * inner).expm1() * (alpha * scale))


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return x where x > 0, else `alpha` (exp(x) - 1) (arXiv:1511.07289)."""
    return _apply("elu", lambda x: _elu(x, alpha, 1.0, 1.0), input, inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return s x where x > 0, else s a (exp(x) - 1), with a = 1.6733 and s = 1.0507.

    They keep mean 0 and variance 1 from layer to layer (arXiv:1706.02515).
    """
    return _apply("selu", lambda x: _elu(x, SELU_ALPHA, SELU_SCALE, 1.0), input, inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return x where x > 0, else `alpha` (exp(x / alpha) - 1) (arXiv:1704.07483)."""
    if not alpha:
        raise ArgumentError("celu: expected an alpha that is not 0")
    return _apply("celu", lambda x: _elu(x, alpha, 1.0, 1 / alpha), input, inplace)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """Return x Φ(x), Φ the normal distribution (arXiv:1606.08415).

    With `approximate` "tanh" it is x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2.
    """
    _check("gelu", input)
    if approximate == "none":
        return input * ((input * sqrt(0.5)).erf() + 1) * 0.5
    if approximate != "tanh":
        raise ArgumentError(f"gelu: expected approximate 'none' or 'tanh', got {approximate!r}")
    inner = (input + input * input * input * 0.044715) * sqrt(2 / pi)
    return input * (inner.tanh() + 1) * 0.5


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return x sigmoid(x) (arXiv:1702.03118)."""
    return _apply("silu", lambda x: x * x.sigmoid(), input, inplace)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return log(1 + exp(beta x)) / beta, or x where beta x > `threshold`."""
    _check("softplus", input)
    scaled = input * beta
    return where(scaled > threshold, input, -logsigmoid(-scaled) / beta)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """Return x tanh(log(1 + exp(x))) (arXiv:1908.08681)."""
    return _apply("mish", lambda x: x * softplus(x).tanh(), input, inplace)


def logsigmoid(input: Tensor) -> Tensor:
    """Return log(1 / (1 + exp(-x))), also where exp(-x) would be too large."""
    _check("logsigmoid", input)
    below = input < 0
    low, high = where(below, input, 0.0), where(below, 0.0, input)
    return where(below, low - low.exp().log1p(), -((-high).exp().log1p()))


def softsign(input: Tensor) -> Tensor:
    """Return x / (1 + |x|)."""
    _check("softsign", input)
    return input / (input.abs() + 1)


def tanhshrink(input: Tensor) -> Tensor:
    """Return x - tanh(x)."""
    _check("tanhshrink", input)
    return input - input.tanh()


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Return a sigmoid(b), a and b the halves of x along `dim` (arXiv:1612.08083)."""
    _check("glu", input)
    if not input.ndim:
        raise ShapeError("glu: expected a tensor of at least one axis, got a 0-d one")
    size = input.size(dim)
    if size % 2:
        raise ShapeError(f"glu: expected an even size along dim {dim}, got {input.shape}")
    return input.narrow(dim, 0, size // 2) * input.narrow(dim, size // 2, size // 2).sigmoid()


# ---- along an axis


def softmax(input: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return exp(x) / ∑exp(x) along `dim`, of x cast to `dtype` if one is given."""
    return fe.softmax(input, dim, dtype)


def log_softmax(input: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return x - log ∑exp(x) along `dim`, of x cast to `dtype` if one is given."""
    return fe.log_softmax(input, dim, dtype)


def softmin(input: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return exp(-x) / ∑exp(-x) along `dim`, of x cast to `dtype` if one is given."""
    _check("softmin", input)
    return fe.softmax(-input, dim, dtype)


def gumbel_softmax(
    logits: Tensor,
    tau: float = 1.0,
    hard: bool = False,
    dim: int = -1,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Return softmax((logits + G) / tau) along `dim`, G from the Gumbel distribution.

    With `hard` the result is 1 at the largest and 0 elsewhere, with the gradient of the soft one
    (arXiv:1611.01144, arXiv:1611.00712).
    """
    _check("gumbel_softmax", logits)
    if not tau > 0:
        raise ArgumentError(f"gumbel_softmax: expected tau above 0, got {tau}")
    draws = fe.rand(logits.shape, dtype=logits.dtype, device=logits.device, generator=generator)
    noise = -((-(1 - draws).log()).clamp_min(1e-30).log())  # 1 - draws is from (0, 1]
    soft = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    largest = soft.argmax(dim=dim, keepdim=True)
    one = fe.zeros_like(soft).scatter_add(dim, largest, fe.ones_like(soft))
    return one - soft.detach() + soft


# ---- in place


def relu_(input: Tensor) -> Tensor:
    """Write max(x, 0) into x."""
    return relu(input, inplace=True)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Write `hardtanh` of x into x."""
    return hardtanh(input, min_val, max_val, inplace=True)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Write `leaky_relu` of x into x."""
    return leaky_relu(input, negative_slope, inplace=True)


def rrelu_(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Write `rrelu` of x into x."""
    return rrelu(input, lower, upper, training, inplace=True, generator=generator)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """Write `threshold` of x into x."""
    return _apply("threshold_", lambda x: where(x <= threshold, value, x), input, True)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """Write `elu` of x into x."""
    return elu(input, alpha, inplace=True)


def selu_(input: Tensor) -> Tensor:
    """Write `selu` of x into x."""
    return selu(input, inplace=True)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """Write `celu` of x into x."""
    return celu(input, alpha, inplace=True)
