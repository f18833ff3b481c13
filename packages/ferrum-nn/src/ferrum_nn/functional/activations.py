"""Activations as functions.

Those that take `inplace` write the result into their input and return it, as do those whose names
end in an underscore. What is no tensor raises OperandError, and a dtype that a function is not for
DTypeError; where PyTorch takes integers, so do these.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import ferrum as fe
from ferrum import Tensor
from ferrum.dtypes import CATEGORY, DTypeLike, float32
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum.methods.axes import one_axis
from ferrum.methods.elementwise import choose
from ferrum.ops import copy_
from ferrum_nn import ops

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

# Klambauer et al., "Self-Normalizing Neural Networks", 2017: the fixed point of mean 0, variance 1
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934


# ---- pieces of straight lines


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return max(x, 0), or write it into x if `inplace`; NaN stays NaN."""
    return Tensor.relu_(input) if inplace else Tensor.relu(input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """Return min(max(x, 0), 6)."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """Return x, but `min_val` below that and `max_val` above that."""
    _numbers("hardtanh", min_val=min_val, max_val=max_val)
    if not min_val <= max_val:
        raise ArgumentError(
            f"hardtanh: expected min_val of at most max_val, got {min_val} and {max_val}"
        )
    _tensor("hardtanh", input)
    if CATEGORY[input.dtype] == 1:
        low, high = int(min_val), int(max_val)
        return input.clamp_(low, high) if inplace else input.clamp(low, high)
    function = ops.hardtanh_ if inplace else ops.hardtanh
    return function(input, min_val=min_val, max_val=max_val)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """Return `value` where x is at most `threshold`, else x; NaN stays NaN."""
    _tensor("threshold", input)
    if CATEGORY[input.dtype] == 1:
        _numbers("threshold", threshold=threshold, value=value)
        if not (math.isfinite(threshold) and math.isfinite(value)):
            raise ArgumentError(
                f"threshold: expected finite numbers for a tensor of {input.dtype.name}, got "
                f"threshold={threshold}, value={value}"
            )
        result = choose(input <= int(threshold), int(value), input)
        return copy_(input, result) if inplace else result
    function = ops.threshold_ if inplace else ops.threshold
    return function(input, threshold=threshold, value=value)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """Return x where it is above 0, else negative_slope · x."""
    function = ops.leaky_relu_ if inplace else ops.leaky_relu
    return function(input, negative_slope=negative_slope)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """Return x where it is above 0, else weight · x.

    The weight is one number, () or (1,), or (channels,) for an x of (n, channels, ...).
    """
    _tensor("prelu", input)
    _tensor("prelu", weight)
    if weight.ndim > 1:
        raise ShapeError(f"prelu: expected a weight of at most 1 dimension, got {weight.shape}")
    if weight.numel() != 1:
        channels = input.shape[1] if input.ndim > 1 else 1
        if weight.shape[0] != channels or not input.ndim:
            raise ShapeError(
                f"prelu: expected a weight of 1 number or of {channels}, one for each channel of "
                f"{input.shape}, got {weight.shape[0]}"
            )
        weight = weight.reshape(-1, *(1,) * (input.ndim - 2))
    elif input.ndim < weight.ndim:
        weight = weight.reshape(())
    return ops.prelu(input, weight)


def rrelu(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """Return x where it is above 0, else r · x.

    In training each element draws its r between `lower` and `upper`, from FERRUM's default
    generator; else r is their mean. Source: Xu et al., "Empirical Evaluation of Rectified
    Activations in Convolution Network", 2015.
    """
    _tensor("rrelu", input)
    _numbers("rrelu", lower=lower, upper=upper)
    if not (math.isfinite(lower) and math.isfinite(upper) and lower <= upper):
        raise ArgumentError(
            f"rrelu: expected finite lower and upper with lower <= upper, got {lower} and {upper}"
        )
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    _floats("rrelu", input)
    slopes = fe.rand_like(input) * (upper - lower) + lower
    return (ops.prelu_ if inplace else ops.prelu)(input, slopes)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """Return min(max(x + 3, 0), 6) / 6."""
    return ops.hardsigmoid_(input) if inplace else ops.hardsigmoid(input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """Return x min(max(x + 3, 0), 6) / 6."""
    return ops.hardswish_(input) if inplace else ops.hardswish(input)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Return 0 where |x| is at most `lambd`, else x; NaN stays NaN."""
    return ops.hardshrink(input, lambd=lambd)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Return x moved towards 0 by `lambd`: 0 where |x| is at most that."""
    _numbers("softshrink", lambd=lambd)
    if not lambd >= 0:
        raise ArgumentError(f"softshrink: expected lambd of at least 0, got {lambd}")
    return ops.softshrink(input, lambd=lambd)


# ---- exponentials below 0


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return x where it is above 0, else alpha · (exp(x) - 1)."""
    function = ops.elu_ if inplace else ops.elu
    return function(input, alpha=alpha, scale=1.0, input_scale=1.0)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return scale · elu(x, alpha), with alpha = 1.67326... and scale = 1.05070...

    Source: Klambauer et al., "Self-Normalizing Neural Networks", 2017.
    """
    function = ops.elu_ if inplace else ops.elu
    return function(input, alpha=SELU_ALPHA, scale=SELU_SCALE, input_scale=1.0)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return x where it is above 0, else alpha · (exp(x / alpha) - 1).

    Source: Barron, "Continuously Differentiable Exponential Linear Units", 2017.
    """
    _numbers("celu", alpha=alpha)
    if alpha == 0:
        raise ArgumentError("celu: expected an alpha other than 0")
    function = ops.elu_ if inplace else ops.elu
    return function(input, alpha=alpha, scale=1.0, input_scale=1 / alpha)


# ---- smooth steps


def sigmoid(input: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x))."""
    return fe.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """Return (exp(x) - exp(-x)) / (exp(x) + exp(-x))."""
    return fe.tanh(input)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """Return x Φ(x), with the normal distribution's Φ(x) = (1 + erf(x / √2)) / 2.

    With approximate="tanh" Φ(x) is (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2. Source of both:
    Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
    """
    return ops.gelu(input, approximate=approximate)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return x sigmoid(x)."""
    return ops.silu_(input) if inplace else ops.silu(input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """Return x tanh(softplus(x)). Source: Misra, "Mish", 2019."""
    return ops.mish_(input) if inplace else ops.mish(input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return log(1 + exp(beta · x)) / beta, or x where beta · x is above `threshold`."""
    return ops.softplus(input, beta=beta, threshold=threshold)


def logsigmoid(input: Tensor) -> Tensor:
    """Return log(sigmoid(x)) = min(x, 0) - log(1 + exp(-|x|))."""
    return ops.logsigmoid(input)


def softsign(input: Tensor) -> Tensor:
    """Return x / (1 + |x|)."""
    _tensor("softsign", input)
    return input / (input.abs() + 1)


def tanhshrink(input: Tensor) -> Tensor:
    """Return x - tanh(x)."""
    _tensor("tanhshrink", input)
    return input - fe.tanh(input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Return a sigmoid(b), where a and b are the halves of x along `dim`.

    Source: Dauphin et al., "Language Modeling with Gated Convolutional Networks", 2016.
    """
    _floats("glu", input)
    if not input.ndim:
        raise ShapeError("glu: expected at least 1 dimension, got a tensor of none")
    return ops.glu(input, axis=one_axis("glu", dim, input.ndim))


# ---- along a dimension


def softmax(input: Tensor, dim: int | None = None, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return exp(x) / ∑exp(x) along `dim`, of x cast to `dtype` if one is given.

    Without `dim` it is chosen as PyTorch chooses it, with a warning: 0 for a tensor of 0, 1 or 3
    dimensions, else 1.
    """
    return fe.softmax(input, _dim("softmax", input, dim), dtype)


def log_softmax(input: Tensor, dim: int | None = None, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return x - log ∑exp(x) along `dim`, of x cast to `dtype` if one is given.

    Without `dim` it is chosen as `softmax` does.
    """
    return fe.log_softmax(input, _dim("log_softmax", input, dim), dtype)


def softmin(input: Tensor, dim: int | None = None, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return softmax(-x) along `dim`. Without `dim` it is chosen as `softmax` does."""
    _tensor("softmin", input)
    return fe.softmax(-input, _dim("softmin", input, dim), dtype)


def gumbel_softmax(
    logits: Tensor, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Return softmax((x + e) / tau) along `dim`, with e from the Gumbel distribution.

    e is drawn from FERRUM's default generator. If `hard`, the result is 1 at the largest and 0
    elsewhere, with the gradient that it would have otherwise. `eps` has no effect. Sources: Jang et
    al., "Categorical Reparameterization with Gumbel-Softmax", and Maddison et al., "The Concrete
    Distribution", both 2016.
    """
    _floats("gumbel_softmax", logits)
    _numbers("gumbel_softmax", tau=tau)
    wide = float32 if logits.dtype.itemsize == 2 else logits.dtype
    # -log(1 - u) is exponential; of u = 0 it would be 0, and its logarithm infinite
    waiting = -(-fe.rand_like(logits, dtype=wide)).log1p()
    noise = -waiting.clamp_min(2.0**-126).log()
    soft = ((logits + noise.to(logits.dtype)) / tau).softmax(dim)
    if not hard:
        return soft
    if not soft.ndim:
        return soft - soft.detach() + 1
    places = fe.arange(soft.size(dim), device=soft.device)
    shape = [1] * soft.ndim
    shape[dim] = -1
    picked = places.reshape(shape) == soft.detach().argmax(dim, keepdim=True)
    return picked.to(soft.dtype) - soft.detach() + soft


def _dim(name: str, input: Tensor, dim: int | None) -> int:
    """Return `dim`, or for None the one that PyTorch chooses."""
    _tensor(name, input)
    if dim is not None:
        return dim
    warnings.warn(f"{name}: expected dim; without it one is chosen by rank", stacklevel=3)
    return 0 if input.ndim in (0, 1, 3) else 1


# ---- in place

_threshold = threshold  # which an argument hides


def relu_(input: Tensor) -> Tensor:
    """Do `relu` in place."""
    return relu(input, True)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Do `hardtanh` in place."""
    return hardtanh(input, min_val, max_val, True)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """Do `threshold` in place."""
    return _threshold(input, threshold, value, True)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Do `leaky_relu` in place."""
    return leaky_relu(input, negative_slope, True)


def rrelu_(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False
) -> Tensor:
    """Do `rrelu` in place."""
    return rrelu(input, lower, upper, training, True)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """Do `elu` in place."""
    return elu(input, alpha, True)


def selu_(input: Tensor) -> Tensor:
    """Do `selu` in place."""
    return selu(input, True)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """Do `celu` in place."""
    return celu(input, alpha, True)


# ---- what arguments are


def _tensor(name: str, input: object) -> None:
    if not isinstance(input, Tensor):
        raise OperandError(
            f"{name}: expected a tensor, got {type(input).__name__}; make one with fe.tensor(...)"
        )


def _floats(name: str, input: Tensor) -> None:
    _tensor(name, input)
    if CATEGORY[input.dtype] != 2:
        raise DTypeError(f"{name}: expected a floating-point tensor, got {input.dtype.name}")


def _numbers(name: str, **numbers: Any) -> None:
    for key, value in numbers.items():
        if not isinstance(value, (int, float)):
            raise OperandError(f"{name}: expected a number as {key}, got {value!r}")
