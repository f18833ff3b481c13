"""Losses of classification, as functions."""

from __future__ import annotations

from operator import index
from typing import NoReturn

from ferrum import Tensor, ones_like
from ferrum.dtypes import CATEGORY, int64, is_floating
from ferrum.errors import ArgumentError, DTypeError, OperandError, OutOfRangeError, ShapeError
from ferrum.mode import current
from ferrum_nn import ops
from ferrum_nn.functional.losses_checks import (
    check_broadcasts,
    check_loss,
    check_shapes,
    check_tensors,
    reduced,
)
from ferrum_nn.ops.losses import along_classes, check_smoothing, reduced_shape

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "nll_loss",
]


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Return -weight[t] input[t] for the class t of each element.

    `input` are log-probabilities (n, classes, ...) or (classes,), `target` integer classes (n, ...)
    or (). Where the target is `ignore_index` the loss is 0. "mean" divides by the sum of weights.
    Raises OutOfRangeError for a target that is no class.
    """
    check_tensors("nll_loss", input, target, *(() if weight is None else (weight,)))
    ignore_index, _ = numbers("nll_loss", ignore_index)
    if input.ndim == 1:
        loss = nll_loss(
            input.unsqueeze(0),
            target.unsqueeze(0),
            weight,
            ignore_index=ignore_index,
            reduction=reduction,
        )
        return loss.squeeze(0) if reduction == "none" else loss
    try:
        return ops.nll_loss(
            input, _whole(target), weight, ignore_index=ignore_index, reduction=reduction
        )[0]
    except OutOfRangeError as error:
        _refuse("nll_loss", input, ignore_index, error)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the cross entropy between scores and classes: -∑ q log softmax(input) per element.

    `input` are scores (n, classes, ...) or (classes,). An integer `target` (n, ...) or () names the
    class where q is 1; a floating-point one, of the shape of `input`, is q itself.
    `label_smoothing` ε makes it (1 - ε) q + ε / classes; `weight` (classes,) multiplies it. Where
    an integer target is `ignore_index` the loss is 0. "mean" divides by the sum of the weights of
    the target classes, or by the number of elements for a floating-point target.

    Raises OutOfRangeError for a target that is no class.
    """
    check_tensors("cross_entropy", input, target, *(() if weight is None else (weight,)))
    ignore_index, label_smoothing = numbers("cross_entropy", ignore_index, label_smoothing)
    if is_floating(target.dtype):
        return _soft_cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)
    if input.ndim == 1:
        loss = cross_entropy(
            input.unsqueeze(0),
            target.unsqueeze(0),
            weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
        return loss.squeeze(0) if reduction == "none" else loss
    try:
        return ops.cross_entropy(
            input,
            _whole(target),
            weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
        )[0]
    except OutOfRangeError as error:
        _refuse("cross_entropy", input, ignore_index, error)


def numbers(name: str, ignore_index: int, label_smoothing: float = 0.0) -> tuple[int, float]:
    """Return these arguments of the loss `name` as an int and a float, or raise OperandError."""
    try:
        return index(ignore_index), 0.0 + label_smoothing
    except TypeError as error:
        raise OperandError(
            f"{name}: expected an integer as ignore_index and a number as label_smoothing, got "
            f"{ignore_index!r} and {label_smoothing!r}"
        ) from error


def _whole(target: Tensor) -> Tensor:
    """Return integer classes as int64, anything else as it is: the op refuses it."""
    if target.dtype is int64 or CATEGORY[target.dtype] != 1:
        return target
    return target.to(int64)


def _refuse(name: str, input: Tensor, ignore_index: int, error: OutOfRangeError) -> NoReturn:
    raise OutOfRangeError(
        f"{name}: expected classes from 0 to {input.shape[1] - 1}, or ignore_index={ignore_index}, "
        f"got a target outside of them"
    ) from error


def _soft_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Tensor:
    """Return the cross entropy with class probabilities."""
    reduced_shape("cross_entropy", (), reduction)
    if not input.ndim or target.shape != input.shape:
        raise ShapeError(
            f"cross_entropy: expected class probabilities of the scores' shape {input.shape}, got "
            f"{target.shape}; class indices are integers"
        )
    if not is_floating(input.dtype):
        raise DTypeError(f"cross_entropy: expected floating-point scores, got {input.dtype.name}")
    if ignore_index >= 0:
        raise ArgumentError("cross_entropy: ignore_index is for targets of class indices")
    check_smoothing("cross_entropy", label_smoothing)
    axis = 0 if input.ndim == 1 else 1
    classes = input.shape[axis]
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(
            f"cross_entropy: expected a weight of shape ({classes},), got {weight.shape}"
        )
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    if weight is not None:
        target = target * (weight if axis == 0 else along_classes(weight, input))
    each = -(input.log_softmax(axis) * target).sum(axis)
    if reduction == "none":
        return each
    return each.mean() if reduction == "mean" else each.sum()


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """Return -(t log x + (1 - t) log(1 - x)) of probabilities x, or the "mean" or "sum" of it.

    The logarithms are at least -100. Input and target have one shape; a `weight` that broadcasts
    to it multiplies. Raises ArgumentError for an input outside of 0 to 1.
    """
    name = "binary_cross_entropy"
    check_loss(name, reduction, input, target, weights=(weight,))
    check_shapes(name, input, target)
    if not current().forbids_values and not ((input >= 0) & (input <= 1)).all():
        raise ArgumentError(
            f"{name}: expected probabilities from 0 to 1; for scores there is "
            f"binary_cross_entropy_with_logits"
        )
    if weight is None:
        return ops.binary_cross_entropy(input, target, reduction=reduction)
    check_broadcasts(name, input, weight)
    return reduced(ops.binary_cross_entropy(input, target, reduction="none") * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Return -(t log σ(x) + (1 - t) log(1 - σ(x))) of scores x, or the "mean" or "sum" of it.

    It does not overflow. Input and target have one shape; `weight` multiplies the whole, and
    `pos_weight` the part with t: both broadcast to that shape.
    """
    name = "binary_cross_entropy_with_logits"
    check_loss(name, reduction, input, target, weights=(weight, pos_weight))
    check_shapes(name, input, target)
    check_broadcasts(name, input, weight, pos_weight)
    if not is_floating(target.dtype):
        target = target.to(input.dtype)
    if weight is None and pos_weight is None:
        return ops.bce_with_logits(input, target, reduction=reduction)
    if pos_weight is None:
        each = ops.bce_with_logits(input, target, reduction="none")
    else:
        of_one = ops.bce_with_logits(input, ones_like(input), reduction="none")  # -log σ(x)
        each = (1 - target) * input + (1 + (pos_weight - 1) * target) * of_one
    return reduced(each if weight is None else each * weight, reduction)
