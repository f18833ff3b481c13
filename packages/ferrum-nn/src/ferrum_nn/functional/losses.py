"""Losses of regression, as functions."""

from __future__ import annotations

from math import log as log_of
from math import pi

from ferrum import Tensor, full_like, where
from ferrum.errors import ArgumentError, ShapeError
from ferrum.mode import current
from ferrum_nn import ops
from ferrum_nn.functional.losses_checks import (
    above_zero,
    check_loss,
    check_same,
    check_shapes,
    clamp_through,
    number,
    promoted,
    reduced,
)

__all__ = [
    "gaussian_nll_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
]


def mse_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """Return (input - target)² element by element, or the "mean" or "sum" of it.

    Input and target have one shape: where PyTorch warns and broadcasts, ShapeError is raised.
    Two dtypes are promoted. A `weight` of that shape multiplies; the mean is then over the sum of
    the weights.
    """
    input, target = promoted("mse_loss", input, target)
    if weight is None:
        return ops.mse_loss(input, target, reduction=reduction)
    check_loss("mse_loss", reduction, input, target, weights=(weight,))
    return _weighted("mse_loss", ops.mse_loss(input, target, reduction="none"), weight, reduction)


def l1_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """Return |input - target| element by element, or the "mean" or "sum" of it.

    Shapes, dtypes and `weight` as in `mse_loss`. The gradient is 0 where the two are equal.
    """
    input, target = promoted("l1_loss", input, target)
    check_loss("l1_loss", reduction, input, target, weights=(weight,))
    check_shapes("l1_loss", input, target)
    if weight is None:
        return _smooth(input, target, 0.0, False, reduction)
    return _weighted("l1_loss", _smooth(input, target, 0.0, False, "none"), weight, reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """Return d² / (2 beta) where |d| < beta, else |d| - beta / 2, for d = input - target.

    Shapes and dtypes as in `mse_loss`. With beta 0 it is `l1_loss`. (Girshick 2015, "Fast R-CNN".)
    """
    input, target = promoted("smooth_l1_loss", input, target)
    check_loss("smooth_l1_loss", reduction, input, target)
    beta = number("smooth_l1_loss", "beta", beta)
    return _smooth(input, target, beta, False, reduction)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Return d² / 2 where |d| <= delta, else delta (|d| - delta / 2), for d = input - target.

    Input and target have one shape and one dtype. A `weight` of that shape multiplies; unlike
    `mse_loss`'s, the mean is over the number of elements then, too. (Huber 1964, "Robust
    estimation of a location parameter".)
    """
    check_loss("huber_loss", reduction, input, target, weights=(weight,))
    check_same("huber_loss", input, target)
    delta = above_zero("huber_loss", "delta", delta)
    if weight is None:
        return _smooth(input, target, delta, True, reduction)
    check_shapes("huber_loss", input, weight)
    return reduced(_smooth(input, target, delta, True, "none") * weight, reduction)


def _smooth(input: Tensor, target: Tensor, beta: float, scaled: bool, reduction: str) -> Tensor:
    return ops.smooth_l1_loss(input, target, beta=beta, scaled=scaled, reduction=reduction)


def _weighted(name: str, each: Tensor, weight: Tensor, reduction: str) -> Tensor:
    check_shapes(name, each, weight)
    each = each * weight
    if reduction == "mean":
        return each.sum() / weight.sum()
    return reduced(each, reduction)


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """Return the negative logarithm of Poisson's law, exp(x) - t x, of x = log of the rate.

    Without `log_input`, of the rate itself: x - t log(x + eps). `full` adds Stirling's formula for
    log t! where t > 1: t log t - t + log(2π t) / 2. The shapes broadcast.
    """
    check_loss("poisson_nll_loss", reduction, input, target)
    eps = number("poisson_nll_loss", "eps", eps)
    each = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        many = target > 1
        t = where(many, target, 1)  # the logarithm of 0 must not reach the gradient
        factorial = where(many, t * t.log() - t + 0.5 * (2 * pi * t).log(), 0)
        each = each + factorial.to(each.dtype)  # whole numbers have their logarithm in float32
    return reduced(each, reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Return the negative logarithm of the normal law: (log v + (x - t)² / v) / 2.

    v is `var`, at least `eps`; its gradient is as if nothing were clamped. `var` is a number, or a
    tensor of the input's shape, or one with the last axis missing, or one with 1 for one of the
    axes. `full` adds log(2π) / 2. (Nix and Weigend 1994, "Estimating the mean and variance of the
    target probability distribution".)

    Raises ArgumentError for a variance below 0.
    """
    name = "gaussian_nll_loss"
    check_loss(name, reduction, input, target)
    eps = above_zero(name, "eps", eps)
    if isinstance(var, Tensor):
        var = _variance(name, input, var)
        if not current().forbids_values and (var < 0).any():
            raise ArgumentError(f"{name}: expected variances of at least 0, got {var.min().item()}")
    else:
        if number(name, "var", var) < 0:
            raise ArgumentError(f"{name}: expected a variance of at least 0, got {var}")
        var = full_like(input, var)
    var = clamp_through(var, eps)
    each = (var.log() + (input - target).square() / var) * 0.5
    if full:
        each = each + 0.5 * log_of(2 * pi)
    return reduced(each, reduction)


def _variance(name: str, input: Tensor, var: Tensor) -> Tensor:
    """Return `var` in a shape that broadcasts with `input`."""
    if var.shape == input.shape:
        return var
    if var.shape == input.shape[:-1]:
        return var.unsqueeze(-1)
    if var.ndim == input.ndim:
        differing = [b for a, b in zip(input.shape, var.shape, strict=True) if a != b]
        if differing == [1]:
            return var
    raise ShapeError(
        f"{name}: expected a variance of shape {input.shape} or {input.shape[:-1]}, or with 1 for "
        f"one of the axes, got {var.shape}"
    )


def kl_div(
    input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """Return t (log t - x), of log-probabilities x and probabilities t: Kullback and Leibler's.

    With `log_target` t is a logarithm, too: exp(t) (t - x). The shapes broadcast. "mean" is over
    all elements; "batchmean", the divergence itself, is the sum over the input's first axis's size.
    """
    check_loss("kl_div", "sum" if reduction == "batchmean" else reduction, input, target)
    if log_target:
        each = target.exp() * (target - input)
    else:
        each = target * where(target == 0, 1, target).log() - target * input  # 0 log 0 is 0
    if reduction == "batchmean":
        return each.sum() / input.shape[0] if input.ndim else each.sum()
    return reduced(each, reduction)
