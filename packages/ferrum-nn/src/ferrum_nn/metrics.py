"""Metrics that are counted batch by batch: `update` with each batch, `compute` at the end.

    accuracy = nn.metrics.Accuracy()
    for x, y in loader:
        accuracy.update(model(x), y)
    print(accuracy.compute())

A metric of classes takes predictions of two forms: scores (n, classes, ...) of floats, whose
largest is the class, and classes (n, ...) of integers, the form of every target. It counts in
integers, so that the order and size of batches make no difference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ferrum import Tensor
from ferrum.dtypes import is_floating
from ferrum.errors import (
    ArgumentError,
    DTypeError,
    OperandError,
    OutOfRangeError,
    ShapeError,
    UnsupportedError,
)

Array = npt.NDArray[Any]
AVERAGES = (None, "macro", "micro", "weighted")


class Metric:
    """Base of the metrics: subclasses define `reset`, `update` and `compute`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        raise UnsupportedError(f"{type(self).__name__}: the class defines no reset(self)")

    def update(self, input: Tensor, target: Tensor) -> None:
        """Count a batch of predictions and of what they should have been."""
        raise UnsupportedError(
            f"{type(self).__name__}: the class defines no update(self, input, target)"
        )

    def compute(self) -> Any:
        """Return the metric of all batches since `reset`; NaN if there were none."""
        raise UnsupportedError(f"{type(self).__name__}: the class defines no compute(self)")

    def _arrays(self, *tensors: Any) -> list[Array]:
        for each in tensors:
            if not isinstance(each, Tensor):
                raise OperandError(
                    f"{type(self).__name__}: expected tensors, got {type(each).__name__}"
                )
        return [each.detach().numpy() for each in tensors]

    def _classes(self, input: Tensor, target: Tensor) -> tuple[Array, Array]:
        """Return the predicted classes and the targets as vectors of integers."""
        name = type(self).__name__
        predicted, true = self._arrays(input, target)
        if is_floating(target.dtype):
            raise DTypeError(f"{name}: expected a target of integers, got {target.dtype.name}")
        if is_floating(input.dtype):
            expected = input.shape[:1] + input.shape[2:]
            if input.ndim < 2 or target.shape != expected:
                raise ShapeError(
                    f"{name}: expected scores (n, classes, ...) and a target (n, ...), got "
                    f"{input.shape} and {target.shape}"
                )
            predicted = predicted.argmax(1) if predicted.size else np.zeros(expected, np.int64)
        elif input.shape != target.shape:
            raise ShapeError(
                f"{name}: expected classes of one shape, got {input.shape} and {target.shape}"
            )
        return predicted.reshape(-1).astype(np.int64), true.reshape(-1).astype(np.int64)


class _Mean(Metric):
    """A sum over a count."""

    def reset(self) -> None:
        """Forget all batches."""
        self.total: float = 0
        self.count = 0

    def compute(self) -> float:
        """Return the mean over all samples; NaN if there were none."""
        return float(self.total / self.count) if self.count else float("nan")


class Accuracy(_Mean):
    """The share of predictions that are right; with `top_k`, whose k highest scores have the class.

    Of equal scores the lower class counts as the higher one.
    """

    def __init__(self, top_k: int = 1) -> None:
        self.top_k = _positive("Accuracy", "top_k", top_k)
        super().__init__()

    def update(self, input: Tensor, target: Tensor) -> None:
        """Count scores (n, classes, ...) or classes (n, ...), and the classes (n, ...)."""
        predicted, true = self._classes(input, target)
        if self.top_k == 1:
            right = predicted == true
        else:
            if not is_floating(input.dtype):
                raise DTypeError(f"Accuracy: expected scores for top_k, got {input.dtype.name}")
            scores = np.moveaxis(input.detach().numpy(), 1, -1).reshape(-1, input.shape[1])
            highest = np.argsort(-scores, axis=1, kind="stable")[:, : self.top_k]
            right = (highest == true[:, None]).any(1)
        self.total += int(right.sum())
        self.count += right.size


class MeanAbsoluteError(_Mean):
    """The mean of |input - target| over all elements, in float64."""

    def update(self, input: Tensor, target: Tensor) -> None:
        """Count predictions and targets of one shape."""
        self._add(*self._differences(input, target))

    def _differences(self, input: Tensor, target: Tensor) -> tuple[float, int]:
        a, b = self._arrays(input, target)
        if a.shape != b.shape:
            raise ShapeError(
                f"{type(self).__name__}: expected one shape, got {a.shape} and {b.shape}"
            )
        return float(self._of(a.astype(np.float64) - b.astype(np.float64)).sum()), a.size

    def _of(self, difference: Array) -> Array:
        return np.abs(difference)

    def _add(self, total: float, count: int) -> None:
        self.total += total
        self.count += count


class MeanSquaredError(MeanAbsoluteError):
    """The mean of (input - target)² over all elements, in float64."""

    def _of(self, difference: Array) -> Array:
        return np.square(difference)


class MeanLoss(_Mean):
    """The mean of the losses of batches, each weighted by the size of its batch."""

    def update(self, input: Tensor | float, target: Any = 1) -> None:
        """Count a loss, one number, of a batch of `target` samples."""
        if isinstance(input, Tensor) and input.numel() != 1:
            raise ShapeError(f"MeanLoss: expected one number, got the shape {input.shape}")
        self.total += float(input) * target
        self.count += target


class ConfusionMatrix(Metric):
    """How often each class, a row, was taken for each class, a column."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = _positive(type(self).__name__, "num_classes", num_classes)
        super().__init__()

    def reset(self) -> None:
        """Forget all batches."""
        self.matrix = np.zeros((self.num_classes, self.num_classes), np.int64)

    def update(self, input: Tensor, target: Tensor) -> None:
        """Count scores (n, classes, ...) or classes (n, ...), and the classes (n, ...)."""
        predicted, true = self._classes(input, target)
        n = self.num_classes
        for classes in (predicted, true):
            if classes.size and not 0 <= classes.min() <= classes.max() < n:
                raise OutOfRangeError(
                    f"{type(self).__name__}: expected classes from 0 to {n - 1}, got "
                    f"{classes.min()} to {classes.max()}"
                )
        self.matrix += np.bincount(true * n + predicted, minlength=n * n).reshape(n, n)

    def compute(self) -> Any:
        """Return the matrix (classes, classes), an array of integers."""
        return self.matrix.copy()


class Precision(ConfusionMatrix):
    """Of the samples taken for a class, the share that is of it; 0 where there are none.

    `average` says what becomes of the classes' numbers: "macro", their mean, over the classes that
    occur in targets or predictions; "weighted", that by the number of samples of each class;
    "micro", one number of all samples together; None, an array with a number for each class.
    """

    def __init__(self, num_classes: int, average: str | None = "macro") -> None:
        if average not in AVERAGES:
            raise ArgumentError(
                f"{type(self).__name__}: expected 'macro', 'micro', 'weighted' or None as average, "
                f"got {average!r}"
            )
        self.average = average
        super().__init__(num_classes)

    def _share(self, hits: Array, predicted: Array, true: Array) -> Array:
        """Return the score of each class of its hits, its predictions and its samples."""
        return _divided(hits, predicted)

    def compute(self) -> Any:
        """Return the score, a float, or an array where `average` is None."""
        hits, predicted, true = self.matrix.diagonal(), self.matrix.sum(0), self.matrix.sum(1)
        if self.average == "micro":
            hits, predicted, true = (x.sum(keepdims=True) for x in (hits, predicted, true))
        scores = self._share(hits, predicted, true)
        if self.average is None:
            return scores
        weights = true if self.average == "weighted" else (predicted + true > 0)
        total = weights.sum()
        return float((scores * weights).sum() / total) if total else float("nan")


class Recall(Precision):
    """Of the samples of a class, the share that is taken for it; `Precision` has the averages."""

    def _share(self, hits: Array, predicted: Array, true: Array) -> Array:
        return _divided(hits, true)


class F1(Precision):
    """2 PR / (P + R) of precision and recall; `Precision` has the averages."""

    def _share(self, hits: Array, predicted: Array, true: Array) -> Array:
        return _divided(2 * hits, predicted + true)


def _divided(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.zeros(a.shape), where=b > 0)


def _positive(where: str, name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise OperandError(f"{where}: expected an integer as {name}, got {value!r}")
    if value < 1:
        raise ArgumentError(f"{where}: expected {name} above 0, got {value}")
    return value
