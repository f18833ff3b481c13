"""Chaining, converting and scaling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ferrum import Tensor, float32, from_numpy, no_grad, tensor
from ferrum.dtypes import CATEGORY, DTypeLike, as_dtype
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum_nn.data.sampler import above_0
from ferrum_nn.data.transforms.base import Transform, numbers
from ferrum_nn.functional import one_hot


class Compose(Transform):
    """Applies transforms one after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        if not isinstance(transforms, (list, tuple)) or not all(map(callable, transforms)):
            raise OperandError(f"Compose: expected a list of functions, got {transforms!r}")
        self.transforms = transforms

    def _apply(self, x: Any) -> Any:
        for each in self.transforms:
            x = each(x)
        return x

    def _text(self) -> str:
        return "".join(f"\n    {each}" for each in self.transforms) + "\n"


class Lambda(Transform):
    """Applies a function of yours."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise OperandError(f"Lambda: expected a function, got {lambd!r}")
        self.lambd = lambd

    def _apply(self, x: Any) -> Any:
        return self.lambd(x)


class ToImage(Transform):
    """Makes an array (h, w, c) or (h, w) a tensor (c, h, w) of the same dtype; a copy."""

    def _apply(self, x: Any) -> Tensor:
        if isinstance(x, Tensor):
            return x
        array = np.asarray(x)
        if array.ndim not in (2, 3):
            raise ShapeError(f"ToImage: expected an array (h, w, c) or (h, w), got {array.shape}")
        array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
        return from_numpy(np.array(array, order="C"))


class ToDtype(Transform):
    """Converts to a dtype; with `scale` so that the whole range of integers is 0 to 1 in floats."""

    def __init__(self, dtype: DTypeLike, scale: bool = False) -> None:
        self.dtype = as_dtype(dtype)
        self.scale = scale

    def _apply(self, x: Tensor) -> Tensor:
        before, after = CATEGORY[x.dtype], CATEGORY[self.dtype]
        if not self.scale or x.dtype is self.dtype or not before or not after:
            return x.to(self.dtype)
        if after == 2:
            return x.to(self.dtype) if before == 2 else x.to(self.dtype) / _largest(x.dtype)
        if before == 2:
            # so wide that each integer gets an equal part of 0 to 1
            return (x * (_largest(self.dtype) + 1 - 1e-3)).to(self.dtype)
        raise DTypeError(
            f"ToDtype: scaling is between integers and floats, got {x.dtype.name} to "
            f"{self.dtype.name}"
        )

    def _text(self) -> str:
        return f"{self.dtype.name}, scale={self.scale}"


def _largest(dtype: Any) -> int:
    return int(np.iinfo(dtype).max)


class ToTensor(Transform):
    """Makes an array (h, w, c) or (h, w) a tensor (c, h, w); of uint8 a float32 one from 0 to 1."""

    def _apply(self, x: Any) -> Tensor:
        image = ToImage()._apply(x)
        return ToDtype(float32, scale=True)._apply(image) if image.dtype == np.uint8 else image


class Normalize(Transform):
    """Returns (x - mean) / std, channel by channel of floating-point images (..., c, h, w)."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        self.mean, self.std, self.inplace = mean, std, inplace
        counts = range(1, 1 << 16)
        self._mean = numbers("Normalize", "mean", mean, counts)
        self._std = numbers("Normalize", "std", std, counts)
        if 0 in self._std:
            raise ArgumentError(f"Normalize: expected a std without 0, got {std}")

    def _apply(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor):
            raise OperandError(f"Normalize: expected a tensor, got {type(x).__name__}")
        if CATEGORY[x.dtype] != 2:
            raise DTypeError(
                f"Normalize: expected floating-point images, got {x.dtype.name}; make them with "
                f"ToDtype(fe.float32, scale=True)"
            )
        for each in (self._mean, self._std):
            if x.ndim < 3 or len(each) not in (1, x.shape[-3]):
                raise ShapeError(
                    f"Normalize: expected images (..., {len(each)}, h, w), got {x.shape}"
                )
        mean, std = (
            tensor(each, dtype=x.dtype, device=x.device).reshape(-1, 1, 1)
            for each in (self._mean, self._std)
        )
        return x.sub_(mean).div_(std) if self.inplace else (x - mean) / std

    def _text(self) -> str:
        return f"mean={self.mean}, std={self.std}, inplace={self.inplace}"


class Standardize(Transform):
    """Gives each column of a table (..., columns) mean 0 and standard deviation 1.

    `fit` learns mean and deviation (of n, not n - 1) from rows, training rows alone as a rule; a
    column that is constant keeps its scale. `inverse` goes back.
    """

    def __init__(self, mean: Tensor | None = None, std: Tensor | None = None) -> None:
        self.mean, self.std = mean, std

    def fit(self, table: Tensor) -> Standardize:
        """Learn from the rows of a floating-point table (rows, columns). Returns self."""
        if table.ndim != 2 or not table.shape[0]:
            raise ShapeError(f"Standardize: expected a table (rows, columns), got {table.shape}")
        if CATEGORY[table.dtype] != 2:
            raise DTypeError(f"Standardize: expected floating-point rows, got {table.dtype.name}")
        with no_grad():
            self.mean = table.mean(0)
            std = table.std(0, correction=0)
            self.std = std.masked_fill(std == 0, 1.0)
        return self

    def _fitted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.mean is None or self.std is None:
            raise ArgumentError("Standardize: expected fit(table) first, or a mean and a std")
        if not x.ndim or x.shape[-1:] != self.mean.shape:
            raise ShapeError(
                f"Standardize: expected rows of {self.mean.numel()} columns, got {x.shape}"
            )
        return self.mean, self.std

    def _apply(self, x: Tensor) -> Tensor:
        mean, std = self._fitted(x)
        return (x - mean) / std

    def inverse(self, x: Tensor) -> Tensor:
        """Return what a call made x of."""
        mean, std = self._fitted(x)
        return x * std + mean


class OneHot(Transform):
    """Makes labels (...) rows (..., num_classes) of `dtype`, 1 at the label and 0 elsewhere."""

    def __init__(self, num_classes: int, dtype: DTypeLike = float32) -> None:
        self.num_classes = above_0("OneHot", num_classes, "num_classes")
        self.dtype = as_dtype(dtype)

    def _apply(self, x: Any) -> Tensor:
        labels = x if isinstance(x, Tensor) else tensor(x)
        return one_hot(labels, self.num_classes).to(self.dtype)

    def _text(self) -> str:
        return f"num_classes={self.num_classes}"
