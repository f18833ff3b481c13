"""Normalisation as functions."""

from __future__ import annotations

from collections.abc import Sequence

from ferrum import Tensor, no_grad
from ferrum.dtypes import float32, is_floating
from ferrum.errors import ArgumentError, OperandError, ShapeError
from ferrum_nn import ops
from ferrum_nn.functional.losses_checks import check_flags, number

__all__ = ["batch_norm", "layer_norm", "rms_norm"]

# The distance of 1 from the next number, by the size of what is computed in.
_PRECISION = {2: 2.0**-23, 4: 2.0**-23, 8: 2.0**-52}


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return (x - mean) / √(var + eps) weight + bias, over the last axes of x.

    `normalized_shape` are the sizes of those axes, and the shape of weight and bias. The variance
    is without correction (Ba, Kiros and Hinton, "Layer Normalization", 2016). Raises ShapeError or
    DTypeError for operands that do not fit.
    """
    last = _last_axes("layer_norm", input, normalized_shape)
    return ops.layer_norm(input, weight, bias, last=last, eps=eps)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Return x / √(mean(x²) + eps) weight, over the last axes of x.

    `normalized_shape` are the sizes of those axes, and the shape of the weight. `eps` None is the
    precision of the dtype that is computed in: 2⁻⁵² for float64, else 2⁻²³ (Zhang and Sennrich,
    "Root Mean Square Layer Normalization", 2019). Raises ShapeError or DTypeError for operands that
    do not fit.
    """
    last = _last_axes("rms_norm", input, normalized_shape)
    if eps is None:
        eps = _PRECISION.get(input.dtype.itemsize, 0.0)
    return ops.rms_norm(input, weight, last=last, eps=eps)


def _last_axes(name: str, input: Tensor, normalized_shape: Sequence[int]) -> int:
    """Return how many axes are normalised over."""
    _check_tensors(name, input)
    try:
        shape = tuple(normalized_shape)
    except TypeError as error:
        raise OperandError(
            f"{name}: expected normalized_shape to be a sequence of sizes, got {normalized_shape!r}"
        ) from error
    if not shape or input.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"{name}: expected an input (..., {', '.join(map(str, shape)) or 'sizes'}) for "
            f"normalized_shape={shape}, which has a size at least, got {input.shape}"
        )
    return len(shape)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return (x - mean) / √(var + eps) weight + bias for each channel of x (n, channels, ...).

    In `training` mean and variance are those of x over all other axes, the variance without
    correction, and the running ones move towards them, in place, by the part `momentum` of the
    distance; the running variance moves towards the one with correction (Ioffe and Szegedy, "Batch
    Normalization", 2015). Otherwise the running ones serve. An input without elements changes
    nothing.

    Raises ShapeError for operands that do not fit and for a single value per channel in training,
    whose variance would be 0; ArgumentError where there are no running statistics to serve.
    """
    others = (running_mean, running_var, weight, bias)
    _check_tensors("batch_norm", input, *[each for each in others if each is not None])
    if (running_mean is None) != (running_var is None):
        raise ArgumentError("batch_norm: expected both running_mean and running_var, or neither")
    check_flags("batch_norm", training=training)
    eps = number("batch_norm", "eps", eps)
    if not eps >= 0 or (training and eps == 0):
        wanted = "positive in training" if training else "at least 0"
        raise ArgumentError(f"batch_norm: expected eps to be {wanted}, got {eps}")
    if not training:
        if running_mean is None or running_var is None:
            raise ArgumentError(
                "batch_norm: expected running_mean and running_var in evaluation; training=True "
                "normalises by the batch"
            )
        return ops.batch_norm_eval(input, running_mean, running_var, weight, bias, eps=eps)
    return normed_by_batch(input, running_mean, running_var, weight, bias, momentum, eps)


def normed_by_batch(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float | Tensor,
    eps: float,
) -> Tensor:
    """Return `batch_norm` in training, with any eps of at least 0."""
    out, mean, var = ops.batch_norm(input, weight, bias, eps=eps)
    channels = input.shape[1]
    count = input.numel() // max(channels, 1)
    if count == 1:
        raise ShapeError(
            f"batch_norm: expected more than one value per channel in training, got an input of "
            f"shape {input.shape}; evaluate with the running statistics, or take a larger batch"
        )
    if running_mean is not None and running_var is not None:
        for each in (running_mean, running_var):
            if each.shape != (channels,) or not is_floating(each.dtype):
                raise ShapeError(
                    f"batch_norm: expected floating-point running statistics of shape "
                    f"({channels},), got {each.shape} {each.dtype.name}"
                )
        if not isinstance(momentum, Tensor):
            momentum = number("batch_norm", "momentum", momentum)
        if count:
            with no_grad():
                _move(running_mean, mean, momentum)
                _move(running_var, var * (count / (count - 1)), momentum)
    return out


def _move(running: Tensor, to: Tensor, momentum: float | Tensor) -> None:
    """Move `running` by a part of its distance from `to`; a 16-bit one is rounded once."""
    dtype = float32 if running.dtype.itemsize == 2 else running.dtype
    running.copy_(running.to(dtype) * (1 - momentum) + to.to(dtype) * momentum)


def _check_tensors(name: str, *tensors: object) -> None:
    for each in tensors:
        if not isinstance(each, Tensor):
            raise OperandError(
                f"{name}: expected tensors, got {type(each).__name__}; make a tensor with "
                f"fe.tensor(...)"
            )
