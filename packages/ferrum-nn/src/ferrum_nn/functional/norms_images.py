"""Normalisation of the channels of images as functions."""

from __future__ import annotations

from math import prod

from ferrum import Tensor, no_grad
from ferrum.dtypes import float32
from ferrum.errors import ArgumentError, ShapeError
from ferrum_nn import ops
from ferrum_nn.functional.convolution import size_of
from ferrum_nn.functional.losses_checks import check_flags, check_tensors, number
from ferrum_nn.functional.norms import batch_norm, normed_by_batch
from ferrum_nn.functional.padding import pad
from ferrum_nn.functional.pooling import avg_pool2d
from ferrum_nn.ops.norms import check_parameter, scaled

__all__ = ["group_norm", "instance_norm", "local_response_norm"]


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return (x - mean) / √(var + eps) weight + bias, for x (n, channels, ...).

    Mean and variance, without correction, are those of all elements of one of `num_groups` groups
    of channels of one image; weight and bias are (channels,) (Wu and He, "Group Normalization",
    2018). float16 and bfloat16 may have float32 parameters, and are rounded once. Raises ShapeError
    or DTypeError for operands that do not fit, and for a single value per group.
    """
    check_tensors("group_norm", input, *[each for each in (weight, bias) if each is not None])
    groups = size_of("group_norm", "num_groups", num_groups, least=1)
    if input.ndim < 2 or input.shape[1] % groups:
        raise ShapeError(
            f"group_norm: expected an input (n, channels, ...) with channels in {groups} groups, "
            f"got {input.shape}"
        )
    n, channels = input.shape[:2]
    for what, given in (("weight", weight), ("bias", bias)):
        check_parameter("group_norm", what, given, (channels,), input.dtype)
    each = prod(input.shape[1:]) // groups
    if each == 1 and n == 1:
        raise ShapeError(
            f"group_norm: expected more than one value per group, got {groups} groups of an input "
            f"of shape {input.shape}"
        )
    if each == 0:
        return input
    wide = input.to(float32) if input.dtype.itemsize == 2 else input  # to be rounded once
    out = ops.layer_norm(wide.reshape(n * groups, each), None, None, last=1, eps=eps)
    shape = (channels, *(1,) * (input.ndim - 2))
    factors = (None if given is None else given.reshape(shape) for given in (weight, bias))
    return scaled(out.reshape(input.shape), *factors).to(input.dtype)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return (x - mean) / √(var + eps) weight + bias, for x (n, channels, ...).

    With `use_input_stats` mean and variance are those of each channel of each image, the variance
    without correction, and the running ones, if any, move towards their averages over the images,
    as in `batch_norm`. Otherwise the running ones serve (Ulyanov, Vedaldi and Lempitsky, "Instance
    Normalization", 2016). Raises ShapeError or DTypeError for operands that do not fit and for a
    single value per channel, ArgumentError where there are no running statistics to serve.
    """
    others = (running_mean, running_var, weight, bias)
    check_tensors("instance_norm", input, *[each for each in others if each is not None])
    if input.ndim < 3:
        raise ShapeError(
            f"instance_norm: expected an input (n, channels, ...) of 3 axes or more, got "
            f"{input.shape}"
        )
    if (running_mean is None) != (running_var is None):
        raise ArgumentError("instance_norm: expected both running_mean and running_var, or neither")
    check_flags("instance_norm", use_input_stats=use_input_stats)
    n, channels = input.shape[:2]
    if use_input_stats and prod(input.shape[2:]) == 1:
        raise ShapeError(
            f"instance_norm: expected more than one value per channel, got an input of shape "
            f"{input.shape}"
        )
    for each in others:
        if each is not None and each.shape != (channels,):
            raise ShapeError(
                f"instance_norm: expected statistics, weight and bias of shape ({channels},), got "
                f"{each.shape}"
            )
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, eps=eps)
    # Each channel of each image is a channel of a batch of one.
    mean, var, weight, bias = (None if each is None else each.repeat(n) for each in others)
    images = input.reshape(1, n * channels, *input.shape[2:])
    eps = number("instance_norm", "eps", eps)
    if not eps >= 0:
        raise ArgumentError(f"instance_norm: expected eps to be at least 0, got {eps}")
    out = normed_by_batch(images, mean, var, weight, bias, momentum, eps)
    for running, moved in ((running_mean, mean), (running_var, var)):
        if running is not None and moved is not None and n:
            with no_grad():
                running.copy_(moved.reshape(n, channels).mean(0))
    return out.reshape(input.shape)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Return x / (k + alpha mean(x²))ᵝ for x (n, channels, ...), where zeros surround the channels.

    The mean is over `size` neighbouring channels, size // 2 of them before (Krizhevsky, Sutskever
    and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012). Raises
    ShapeError for an input of less than 3 axes, ArgumentError for a size below 1.
    """
    check_tensors("local_response_norm", input)
    size = size_of("local_response_norm", "size", size, least=1)
    if input.ndim < 3:
        raise ShapeError(
            f"local_response_norm: expected an input (n, channels, ...) of 3 axes or more, got "
            f"{input.shape}"
        )
    if input.numel() == 0:
        return input
    n, channels = input.shape[:2]
    squares = (input * input).reshape(n, 1, channels, prod(input.shape[2:]))
    squares = pad(squares, (0, 0, size // 2, (size - 1) // 2))
    mean = avg_pool2d(squares, (size, 1), stride=1).reshape(input.shape)
    return input / (mean * alpha + k) ** beta
