"""Losses as modules."""

from __future__ import annotations

from ferrum import Tensor
from ferrum_nn import functional
from ferrum_nn.functional.losses import numbers
from ferrum_nn.module import Module
from ferrum_nn.ops.losses import check_smoothing, reduced_shape


class MSELoss(Module):
    """Squared error (input - target)²: its "mean" (the default), its "sum", or "none" of them.

    Input and target have one shape; ShapeError otherwise.
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        reduced_shape("MSELoss", (), reduction)
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss."""
        return functional.mse_loss(input, target, reduction=self.reduction)


class CrossEntropyLoss(Module):
    """Cross entropy between scores (n, classes, ...) and classes, -∑ q log softmax(input).

    The target is class indices (n, ...), integers that name the class where q is 1, or class
    probabilities q of the input's shape. `ferrum_nn.functional.cross_entropy` explains the
    arguments; `weight` is a buffer.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        reduced_shape("CrossEntropyLoss", (), reduction)
        ignore_index, label_smoothing = numbers("CrossEntropyLoss", ignore_index, label_smoothing)
        check_smoothing("CrossEntropyLoss", label_smoothing)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss."""
        return functional.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )
