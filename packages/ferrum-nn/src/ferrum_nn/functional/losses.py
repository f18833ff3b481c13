"""Losses as functions."""

from __future__ import annotations

from operator import index
from typing import NoReturn

from ferrum import Tensor
from ferrum.dtypes import CATEGORY, int64, is_floating
from ferrum.errors import ArgumentError, DTypeError, OperandError, OutOfRangeError, ShapeError
from ferrum_nn import ops
from ferrum_nn.ops.losses import along_classes, check_smoothing, reduced_shape

__all__ = ["cross_entropy", "mse_loss", "nll_loss"]


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Return (input - target)² element by element, or the "mean" or "sum" of it.

    Input and target have one shape: where PyTorch warns and broadcasts, ShapeError is raised.
    """
    return ops.mse_loss(input, target, reduction=reduction)


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
    _check_tensors("nll_loss", input, target, weight)
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
    _check_tensors("cross_entropy", input, target, weight)
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


def _check_tensors(name: str, input: Tensor, target: Tensor, weight: Tensor | None) -> None:
    for each in (input, target) if weight is None else (input, target, weight):
        if not isinstance(each, Tensor):
            raise OperandError(
                f"{name}: expected tensors, got {type(each).__name__}; make a tensor with "
                f"fe.tensor(...)"
            )


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
