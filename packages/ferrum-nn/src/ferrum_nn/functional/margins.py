"""Losses that ask for a margin, as functions."""

from __future__ import annotations

from collections.abc import Callable

from ferrum import Tensor, arange, ones_like, where, zeros_like
from ferrum.dtypes import CATEGORY, int64, is_floating
from ferrum.errors import ArgumentError, DTypeError, OperandError, OutOfRangeError, ShapeError
from ferrum.mode import current
from ferrum_nn import ops
from ferrum_nn.functional.distances import pairwise_distance
from ferrum_nn.functional.losses_checks import (
    above_zero,
    check_broadcasts,
    check_loss,
    check_shapes,
    number,
    reduced,
)

__all__ = [
    "cosine_embedding_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, *, reduction: str = "mean"
) -> Tensor:
    """Return max(0, margin - t (x₁ - x₂)): t is 1 where x₁ is to be the larger, else -1.

    The three have the same number of axes, and shapes that broadcast.
    """
    name = "margin_ranking_loss"
    check_loss(name, reduction, input1, input2, target)
    margin = number(name, "margin", margin)
    if not input1.ndim == input2.ndim == target.ndim:
        raise ShapeError(
            f"{name}: expected tensors of as many axes, got {input1.shape}, {input2.shape} and "
            f"{target.shape}"
        )
    return reduced((-target * (input1 - input2) + margin).clamp_min(0), reduction)


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, *, reduction: str = "mean"
) -> Tensor:
    """Return x where t is 1, and max(0, margin - x) where t is -1. The shapes broadcast.

    Another t adds the two.
    """
    check_loss("hinge_embedding_loss", reduction, input, target)
    margin = number("hinge_embedding_loss", "margin", margin)
    far = where(target != 1, (margin - input).clamp_min(0), 0)
    return reduced(far + where(target != -1, input, 0), reduction)


def soft_margin_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Return log(1 + exp(-t x)), which does not overflow, for t of 1 or -1. One shape."""
    check_loss("soft_margin_loss", reduction, input, target)
    check_shapes("soft_margin_loss", input, target)
    score = input * target
    return ops.bce_with_logits(score, ones_like(score), reduction=reduction)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, *, reduction: str = "mean"
) -> Tensor:
    """Return 1 - cos(x₁, x₂) where t is 1, and max(0, cos(x₁, x₂) - margin) where t is -1.

    Inputs (n, d) and a target (n,), or (d,) and (). cos has 1e-12 added to the squared norms.
    """
    name = "cosine_embedding_loss"
    check_loss(name, reduction, input1, input2, target)
    margin = number(name, "margin", margin)
    if target.ndim > 1 or not input1.ndim == input2.ndim == target.ndim + 1:
        raise ShapeError(
            f"{name}: expected inputs (n, d) and a target (n,), or (d,) and (), got "
            f"{input1.shape}, {input2.shape} and {target.shape}"
        )
    one, two = ((x * x).sum(-1) + 1e-12 for x in (input1, input2))
    cos = (input1 * input2).sum(-1) / (one * two).sqrt()
    near = where(target == 1, 1 - cos, 0)
    return reduced(near + where(target == -1, (cos - margin).clamp_min(0), 0), reduction)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """Return ∑ max(0, margin - x[t] + x[j])ᵖ over the classes j other than t, over their number.

    Scores (n, classes) and classes (n,), or (classes,) and (). p is 1 or 2. A `weight` (classes,)
    multiplies by weight[t]. Raises OutOfRangeError for a target that is no class.
    """
    name = "multi_margin_loss"
    check_loss(name, reduction, input, target, weights=(weight,))
    margin = number(name, "margin", margin)
    check_power(name, p)
    _check_scores(name, input, target, input.shape[:-1], weight)
    _check_range(name, target, 0, input.shape[-1])
    target = target.to(int64)
    of_target = input.gather(-1, target.unsqueeze(-1))
    other = arange(input.shape[-1], device=input.device) != target.unsqueeze(-1)
    gaps = where(other, (input - of_target + margin).relu(), 0)
    if p == 2:
        gaps = gaps.square()
    each = gaps.sum(-1) / input.shape[-1]
    return reduced(each if weight is None else each * weight[target], reduction)


def check_power(name: str, p: int) -> None:
    """Raise ArgumentError unless p is 1 or 2."""
    if p not in (1, 2):
        raise ArgumentError(f"{name}: expected p of 1 or 2, got {p!r}")


def multilabel_margin_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Return ∑ max(0, 1 - x[j] + x[i]) over the sample's classes j and others i, over their number.

    Scores (n, classes) or (classes,), and a target of that shape: its classes, up to the first -1.
    Raises OutOfRangeError for a target that is neither a class nor -1.
    """
    name = "multilabel_margin_loss"
    check_loss(name, reduction, input, target)
    _check_scores(name, input, target, input.shape)
    _check_range(name, target, -1, input.shape[-1])
    counts = (target == -1).to(int64).cumsum(-1) == 0
    classes = where(counts, target, 0).to(int64)
    marked = zeros_like(classes).scatter_add(-1, classes, counts.to(int64)) > 0
    pairs = counts.unsqueeze(-1) & ~marked.unsqueeze(-2)
    gaps = 1 - input.gather(-1, classes).unsqueeze(-1) + input.unsqueeze(-2)
    each = where(pairs, gaps.relu(), 0).sum(-1).sum(-1) / input.shape[-1]
    return reduced(each, reduction)


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """Return the mean of -(t log σ(x) + (1 - t) log(1 - σ(x))) over the classes, the last axis.

    Input and target have one shape; a `weight` that broadcasts to it multiplies.
    """
    name = "multilabel_soft_margin_loss"
    check_loss(name, reduction, input, target, weights=(weight,))
    check_shapes(name, input, target)
    check_broadcasts(name, input, weight)
    if not input.ndim:
        raise ShapeError(f"{name}: expected scores (..., classes), got a tensor without an axis")
    if not is_floating(target.dtype):
        target = target.to(input.dtype)
    each = ops.bce_with_logits(input, target, reduction="none")
    each = each if weight is None else each * weight
    return reduced(each.sum(-1) / input.shape[-1], reduction)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Tensor:
    """Return max(0, d(a, p) - d(a, n) + margin), where d is `pairwise_distance` with `p`, `eps`.

    With `swap`, d(p, n) stands for d(a, n) where it is less. (Balntas and others 2016, "Learning
    shallow convolutional feature descriptors with triplet losses".)
    """
    name = "triplet_margin_loss"
    check_loss(name, reduction, anchor, positive, negative)
    p, eps = number(name, "p", p), number(name, "eps", eps)

    def distance(x1: Tensor, x2: Tensor) -> Tensor:
        return pairwise_distance(x1, x2, p, eps)

    return _triplets(name, (anchor, positive, negative), distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Return `triplet_margin_loss` with a distance of your own, `pairwise_distance` if None."""
    name = "triplet_margin_with_distance_loss"
    check_loss(name, reduction, anchor, positive, negative)
    check_distance(name, distance_function)
    distance = distance_function or pairwise_distance
    return _triplets(name, (anchor, positive, negative), distance, margin, swap, reduction)


def check_distance(name: str, distance_function: object) -> None:
    """Raise OperandError unless it is a function or None."""
    if distance_function is not None and not callable(distance_function):
        raise OperandError(
            f"{name}: expected a function of two tensors as distance_function, got "
            f"{distance_function!r}"
        )


def _triplets(
    name: str,
    tensors: tuple[Tensor, Tensor, Tensor],
    distance: Callable[[Tensor, Tensor], Tensor],
    margin: float,
    swap: bool,
    reduction: str,
) -> Tensor:
    margin = above_zero(name, "margin", margin)
    anchor, positive, negative = tensors
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            f"{name}: expected tensors of as many axes, got {anchor.shape}, {positive.shape} and "
            f"{negative.shape}"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced((near - far + margin).clamp_min(0), reduction)


def _check_scores(
    name: str,
    input: Tensor,
    target: Tensor,
    shape: tuple[int, ...],
    weight: Tensor | None = None,
) -> None:
    """Raise unless there are scores of at least one class, and integers of `shape`."""
    if input.ndim not in (1, 2) or not input.shape[-1]:
        raise ShapeError(f"{name}: expected scores (n, classes) or (classes,), got {input.shape}")
    if target.shape != shape:
        raise ShapeError(f"{name}: expected a target of shape {shape}, got {target.shape}")
    if CATEGORY[target.dtype] != 1:
        raise DTypeError(f"{name}: expected integer classes, got {target.dtype.name}")
    if weight is not None and weight.shape != input.shape[-1:]:
        raise ShapeError(
            f"{name}: expected a weight of shape {input.shape[-1:]}, got {weight.shape}"
        )


def _check_range(name: str, target: Tensor, least: int, end: int) -> None:
    """Raise OutOfRangeError unless all of an integer target is from `least` to `end` - 1."""
    if current().forbids_values or not target.numel():
        return
    if target.min().item() < least or target.max().item() >= end:
        raise OutOfRangeError(
            f"{name}: expected classes from {least} to {end - 1}, got a target outside of them"
        )
