"""Layers that follow one another, as one."""

from __future__ import annotations

from copy import deepcopy

from ferrum import Tensor, no_grad, zeros_like
from ferrum.errors import ArgumentError, OperandError, ShapeError
from ferrum_nn.linear import Linear
from ferrum_nn.normalization import BatchNorm1d
from ferrum_nn.parameter import Parameter


def fuse_linear_bn_eval(linear: Linear, bn: BatchNorm1d) -> Linear:
    """Return one Linear that does what `linear` and then `bn` do, both in eval mode.

    A BatchNorm1d(1) counts for all features.
    """
    if not all(map(isinstance, (linear, bn), (Linear, BatchNorm1d))):
        raise OperandError(
            f"fuse_linear_bn_eval: expected a Linear and a BatchNorm1d, got "
            f"{type(linear).__name__} and {type(bn).__name__}"
        )
    if linear.training or bn.training:
        raise ArgumentError("fuse_linear_bn_eval: expected both in eval mode; call eval() first")
    if bn.num_features not in (1, linear.out_features):
        raise ShapeError(
            f"fuse_linear_bn_eval: {linear.out_features} features go out of the linear layer, "
            f"{bn.num_features} into the norm"
        )
    if bn.running_mean is None or bn.running_var is None:
        raise ArgumentError("fuse_linear_bn_eval: expected a norm with track_running_stats=True")
    fused = deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        linear.weight, linear.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused


@no_grad()
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
    linear_b = zeros_like(bn_rm) if linear_b is None else linear_b
    scale = (bn_rv + bn_eps).rsqrt()
    scale = scale if bn_w is None else bn_w * scale
    weight = (linear_w * scale.unsqueeze(-1)).to(linear_w.dtype)
    bias = (linear_b - bn_rm) * scale
    bias = (bias if bn_b is None else bias + bn_b).to(linear_b.dtype)
    return Parameter(weight, linear_w.requires_grad), Parameter(bias, linear_b.requires_grad)
