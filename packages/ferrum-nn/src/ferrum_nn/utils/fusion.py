"""Layers that follow one another, as one."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

from ferrum import Tensor, no_grad, zeros_like
from ferrum.errors import ArgumentError, OperandError, ShapeError
from ferrum_nn.convolution import _Conv
from ferrum_nn.linear import Linear
from ferrum_nn.normalization import BatchNorm1d, _BatchNorm
from ferrum_nn.parameter import Parameter

Layer = TypeVar("Layer", Linear, _Conv)


def fuse_linear_bn_eval(linear: Linear, bn: BatchNorm1d) -> Linear:
    """Return one Linear that does what `linear` and then `bn` do, both in eval mode.

    A BatchNorm1d(1) counts for all features.
    """
    name = "fuse_linear_bn_eval"
    if not all(map(isinstance, (linear, bn), (Linear, BatchNorm1d))):
        raise OperandError(
            f"{name}: expected a Linear and a BatchNorm1d, got {type(linear).__name__} and "
            f"{type(bn).__name__}"
        )
    if bn.num_features not in (1, linear.out_features):
        raise ShapeError(
            f"{name}: {linear.out_features} features go out of the linear layer, "
            f"{bn.num_features} into the norm"
        )
    return _fused(name, linear, bn, (-1, 1))


def fuse_conv_bn_eval(conv: _Conv, bn: _BatchNorm, transpose: bool = False) -> _Conv:
    """Return one convolution that does what `conv` and then `bn` do, both in eval mode.

    `transpose` says that it is a transposed one, which has to be of one group.
    """
    name = "fuse_conv_bn_eval"
    if not all(map(isinstance, (conv, bn), (_Conv, _BatchNorm))):
        raise OperandError(
            f"{name}: expected a convolution and a BatchNorm, got {type(conv).__name__} and "
            f"{type(bn).__name__}"
        )
    if conv.transposed is not bool(transpose) or (transpose and conv.groups != 1):
        raise ArgumentError(
            f"{name}: expected transpose={conv.transposed} for a {type(conv).__name__}, and one "
            f"group if it is transposed, got transpose={transpose} and {conv.groups} groups"
        )
    if bn.num_features != conv.out_channels:
        raise ShapeError(
            f"{name}: {conv.out_channels} channels go out of the convolution, {bn.num_features} "
            f"into the norm"
        )
    return _fused(name, conv, bn, _scaled(conv.weight, transpose))


def _fused(name: str, layer: Layer, bn: _BatchNorm, shape: tuple[int, ...]) -> Layer:
    """Return a copy of the layer with the norm after it folded in; its scale has this shape."""
    if layer.training or bn.training:
        raise ArgumentError(f"{name}: expected both in eval mode; call eval() first")
    if bn.running_mean is None or bn.running_var is None:
        raise ArgumentError(f"{name}: expected a norm with track_running_stats=True")
    fused = deepcopy(layer)
    fused.weight, fused.bias = _folded(
        (layer.weight, layer.bias),
        (bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias),
        shape,
    )
    return fused


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """Return the weight and bias of a linear layer (w, b) with the norm after it folded in.

    They are w s and (b - bn_rm) s + bn_b, with s = bn_w / √(bn_rv + bn_eps); None is a bias of 0,
    which is not learned, and a weight of 1 in the norm.
    """
    return _folded((linear_w, linear_b), (bn_rm, bn_rv, bn_eps, bn_w, bn_b), (-1, 1))


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Return the weight and bias of a convolution with the norm after it folded in.

    As `fuse_linear_bn_weights` along the axis of the output channels: the first one, or with
    `transpose` the second.
    """
    shape = _scaled(conv_w, transpose)
    return _folded((conv_w, conv_b), (bn_rm, bn_rv, bn_eps, bn_w, bn_b), shape)


def _scaled(weight: Tensor, transpose: bool) -> tuple[int, ...]:
    """Return the shape of a scale of the output channels of a convolution's weight."""
    ones = (1,) * (weight.ndim - 2)
    return (1, -1, *ones) if transpose else (-1, 1, *ones)


@no_grad()
def _folded(
    layer: tuple[Tensor, Tensor | None],
    norm: tuple[Tensor, Tensor, float, Tensor | None, Tensor | None],
    shape: tuple[int, ...],
) -> tuple[Parameter, Parameter]:
    weight, bias = layer
    mean, var, eps, bn_weight, bn_bias = norm
    bias = zeros_like(mean) if bias is None else bias
    scale = (var + eps).rsqrt()
    scale = scale if bn_weight is None else bn_weight * scale
    new_weight = (weight * scale.reshape(shape)).to(weight.dtype)
    new_bias = (bias - mean) * scale
    new_bias = (new_bias if bn_bias is None else new_bias + bn_bias).to(bias.dtype)
    return Parameter(new_weight, weight.requires_grad), Parameter(new_bias, bias.requires_grad)
