"""What transforms share: images as arrays of one form, draws, and checks of arguments."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from ferrum import Generator, Tensor, float64, rand
from ferrum.errors import ArgumentError, OperandError, ShapeError, UnsupportedError
from ferrum_nn.data.sampler import check_generator

Array = npt.NDArray[Any]


class Transform:
    """A function of a tensor; a subclass defines `_apply(self, x)`."""

    def __call__(self, x: Any) -> Any:
        """Return the transform of x."""
        return self._apply(x)

    def _apply(self, x: Any) -> Any:
        """Return the transform of x."""
        raise UnsupportedError(f"{type(self).__name__}: the class defines no _apply(self, x)")

    def _text(self) -> str:
        """Return the arguments, for `repr`."""
        return ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._text()})"


class ImageTransform(Transform):
    """A transform of arrays (n, c, h, w), n images each with draws of its own."""

    def __init__(self, generator: Generator | None = None, batched: bool | None = None) -> None:
        self.generator = check_generator(type(self).__name__, generator)
        if batched not in (None, True, False):
            raise OperandError(f"{type(self).__name__}: expected a bool or None as batched")
        self.batched = batched

    def _apply(self, x: Any) -> Tensor:
        """Return the images, transformed: a new tensor on the device of x."""
        array = host(type(self).__name__, x, 2)
        batched = array.ndim > 3 if self.batched is None else self.batched
        if batched and array.ndim < 3:
            raise ShapeError(
                f"{type(self).__name__}: expected a batch of at least 3 axes, got {array.shape}"
            )
        count = array.shape[0] if batched else 1
        rest = array.shape[1:] if batched else array.shape
        channels = int(np.prod(rest[:-2]))
        out = self._images(array.reshape(count, channels, *rest[-2:]))
        return like(x, out.reshape(*array.shape[:-2], *out.shape[-2:]))

    def _images(self, x: Array) -> Array:
        """Return the images (n, c, h, w), transformed, as a new array (n, c, h2, w2)."""
        raise UnsupportedError(f"{type(self).__name__}: the class defines no _images(self, x)")

    def draws(self, *size: int) -> Array:
        """Return random numbers from [0, 1)."""
        return rand(*size, generator=self.generator, dtype=float64).numpy()

    def between(self, count: int, bounds: tuple[float, float]) -> Array:
        """Return random numbers from [low, high)."""
        low, high = bounds
        return low + (high - low) * self.draws(count)

    def below(self, limits: Any, *size: int) -> Array:
        """Return random integers from [0, limit)."""
        out: Array = (self.draws(*size) * limits).astype(np.int64)
        return out


def host(name: str, x: Any, axes: int = 0) -> Array:
    """Return the values of a tensor with at least so many axes."""
    if not isinstance(x, Tensor):
        raise OperandError(
            f"{name}: expected a tensor, got {type(x).__name__}; ToImage() makes one of an array"
        )
    if x.ndim < axes:
        raise ShapeError(f"{name}: expected at least {axes} axes, got {x.shape}")
    return x.detach().numpy()


def like(x: Tensor, array: Array) -> Tensor:
    """Return a tensor of these values on the device of x; it may take over the array."""
    return Tensor(x.device.from_numpy(array.astype(x.dtype, copy=False).view(x.dtype)), x.device)


# ---- arguments


def numbers(name: str, argument: str, given: Any, counts: Sequence[int]) -> tuple[float, ...]:
    """Return a number, or a sequence of so many, as a tuple."""
    try:
        values = (given,) if isinstance(given, (int, float)) else tuple(map(float, given))
    except (TypeError, ValueError):
        values = (float("nan"),)
    if len(values) not in counts or not all(map(isfinite, values)):
        wanted = " or ".join(map(str, counts))
        raise ArgumentError(f"{name}: expected {wanted} finite numbers as {argument}, got {given}")
    return values


def chance(name: str, p: Any) -> float:
    """Return a probability."""
    if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p <= 1:
        raise ArgumentError(f"{name}: expected a probability from 0 to 1 as p, got {p}")
    return float(p)


def sizes(name: str, argument: str, given: Any, counts: Sequence[int], low: int) -> list[int]:
    """Return an integer, or a sequence of so many, each at least `low`, as a list."""
    values = [given] if isinstance(given, int) else given
    if (
        not isinstance(values, (list, tuple))
        or len(values) not in counts
        or not all(isinstance(each, int) and each >= low for each in values)
    ):
        wanted = " or ".join(map(str, counts))
        raise ArgumentError(
            f"{name}: expected {wanted} integers of at least {low} as {argument}, got {given}"
        )
    return list(values)


def fill_of(name: str, fill: Any, channels: int) -> Array:
    """Return the fill of each channel, (c, 1, 1)."""
    values = np.array(numbers(name, "fill", fill, (1, channels)))
    return np.broadcast_to(values, (channels,)).reshape(channels, 1, 1)
