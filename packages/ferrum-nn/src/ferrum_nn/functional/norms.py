"""Normalisation as functions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ferrum import Tensor, no_grad
from ferrum.dtypes import is_floating
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum_nn import ops

__all__ = ["batch_norm", "layer_norm", "rms_norm"]


def _axes(name: str, input: Tensor, shape: Sequence[int]) -> int:
    """Return how many axes `shape` has; they are the last ones of input, or ShapeError."""
    if not isinstance(input, Tensor):
        raise OperandError(f"{name}: expected a tensor, got {type(input).__name__}")
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    if not sizes or input.shape[-len(sizes) :] != sizes:
        raise ShapeError(
            f"{name}: expected normalized_shape to be the last sizes of {input.shape}, such as "
            f"{input.shape[-1:]}, got {shape!r}"
        )
    return len(sizes)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return (x - mean) / √(var + eps) weight + bias (arXiv:1607.06450).

    Mean and variance are over the last axes, of `normalized_shape`, which weight and bias have.
    """
    axes = _axes("layer_norm", input, normalized_shape)
    return ops.layer_norm(input, weight, bias, axes=axes, eps=eps)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Return x / √(mean(x²) + eps) weight (arXiv:1910.07467).

    The mean is over the last axes, of `normalized_shape`; `eps` is the dtype's own if it is None.
    """
    axes = _axes("rms_norm", input, normalized_shape)
    if eps is None:
        wide = is_floating(input.dtype) and input.dtype.itemsize > 2
        eps = float(np.finfo(input.dtype if wide else np.float32).eps)
    return ops.rms_norm(input, weight, axes=axes, eps=eps)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return (x - mean) / √(var + eps) weight + bias for each channel of x (n, c, ...).

    While `training` mean and variance are the batch's, and `running_mean` and `running_var` are
    moved towards them by `momentum`, the latter towards the unbiased variance; otherwise the
    running ones are used (arXiv:1502.03167). All but x are (c,).
    """
    if not isinstance(input, Tensor):
        raise OperandError(f"batch_norm: expected a tensor, got {type(input).__name__}")
    if not is_floating(input.dtype):
        raise DTypeError(f"batch_norm: expected a floating-point tensor, got {input.dtype.name}")
    if input.ndim < 2:
        raise ShapeError(f"batch_norm: expected x (n, c, ...), got {input.shape}")
    if not training and (running_mean is None or running_var is None):
        raise ArgumentError("batch_norm: expected running_mean and running_var unless training")
    channels = input.shape[1]
    for each in (running_mean, running_var, weight, bias):
        if each is not None and each.shape != (channels,):
            raise ShapeError(
                f"batch_norm: expected {channels} channels, one a channel of {input.shape}, got "
                f"{each.shape}"
            )
    shape = (channels, *[1] * (input.ndim - 2))
    if not training:
        assert running_mean is not None
        assert running_var is not None
        scale = (running_var + eps).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = -running_mean * scale
        shift = shift if bias is None else shift + bias
        return (input * scale.reshape(shape) + shift.reshape(shape)).to(input.dtype)
    count = prod(input.shape) // max(channels, 1)
    if count == 1:
        raise ArgumentError(
            f"batch_norm: expected more than 1 value per channel while training, got {input.shape}"
        )
    dims = (0, *range(2, input.ndim))
    wide = input.float() if input.dtype.itemsize == 2 else input
    mean = wide.mean(dims, keepdim=True)
    far = wide - mean
    var = (far * far).mean(dims, keepdim=True)
    with no_grad():
        if running_mean is not None and count:
            running_mean += momentum * (mean.detach().reshape(channels) - running_mean)
        if running_var is not None and count:
            unbiased = var.detach().reshape(channels) * (count / (count - 1))
            running_var += momentum * (unbiased - running_var)
    out = far * (var + eps).rsqrt()
    out = out if weight is None else out * weight.reshape(shape)
    out = out if bias is None else out + bias.reshape(shape)
    return out.to(input.dtype)
