"""Flips, crops, padding and erasing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ferrum import Generator
from ferrum.errors import ArgumentError, ShapeError
from ferrum_nn.data.transforms.base import (
    Array,
    ImageTransform,
    chance,
    fill_of,
    numbers,
    sizes,
)

MODES = ("constant", "edge", "reflect", "symmetric")
TRIES = 10  # draws of a rectangle, before an image is left as it is


class _Flip(ImageTransform):
    axis: int

    def __init__(
        self, p: float = 0.5, *, generator: Generator | None = None, batched: bool | None = None
    ) -> None:
        super().__init__(generator, batched)
        self.p = chance(type(self).__name__, p)

    def _images(self, x: Array) -> Array:
        chosen = self.draws(len(x)) < self.p
        out = x.copy()
        out[chosen] = np.flip(x[chosen], self.axis)
        return out

    def _text(self) -> str:
        return f"p={self.p}"


class RandomHorizontalFlip(_Flip):
    """Mirrors an image left to right, with probability p."""

    axis = -1


class RandomVerticalFlip(_Flip):
    """Mirrors an image top to bottom, with probability p."""

    axis = -2


def _mode(name: str, mode: Any) -> str:
    if mode not in MODES:
        raise ArgumentError(
            f"{name}: expected one of {', '.join(MODES)} as padding_mode, got {mode!r}"
        )
    return str(mode)


def _sides(name: str, padding: Any) -> list[int]:
    """Return left, top, right and bottom of 1, 2 or 4 numbers."""
    given = sizes(name, "padding", padding, (1, 2, 4), 0)
    return given * (4 // len(given))


def _padded(name: str, x: Array, sides: list[int], fill: Any, mode: str) -> Array:
    left, top, right, bottom = sides
    if not any(sides):
        return x
    if mode == "constant":
        count, channels, height, width = x.shape
        out = np.empty((count, channels, height + top + bottom, width + left + right), x.dtype)
        out[:] = fill_of(name, fill, channels)
        out[..., top : top + height, left : left + width] = x
        return out
    try:
        return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), mode)  # type: ignore[call-overload, no-any-return]
    except ValueError as error:  # no pixels to repeat
        raise ShapeError(f"{name}: {x.shape[-2:]} pixels cannot be padded so: {error}") from None


class Pad(ImageTransform):
    """Adds a border: `padding` all round, (left and right, top and bottom), or (l, t, r, b).

    `padding_mode` is "constant" (of `fill`, a number or one for each channel), "edge", "reflect"
    or "symmetric", as NumPy means them.
    """

    def __init__(self, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> None:
        super().__init__()
        self.padding = padding
        self.fill = fill
        self.padding_mode = _mode("Pad", padding_mode)
        self._sides = _sides("Pad", padding)

    def _images(self, x: Array) -> Array:
        out = _padded("Pad", x, self._sides, self.fill, self.padding_mode)
        return x.copy() if out is x else out

    def _text(self) -> str:
        return f"padding={self.padding}, fill={self.fill}, padding_mode={self.padding_mode}"


def _to_size(name: str, x: Array, size: tuple[int, int], fill: Any, mode: str) -> Array:
    """Return images padded at both sides up to at least `size`."""
    down, right = (max(0, want - have) for want, have in zip(size, x.shape[-2:], strict=True))
    sides = [right // 2, down // 2, (right + 1) // 2, (down + 1) // 2]
    return _padded(name, x, sides, fill, mode)


class CenterCrop(ImageTransform):
    """Cuts out the middle, (size, size) or (height, width); what is missing there is 0."""

    def __init__(self, size: Any) -> None:
        super().__init__()
        given = sizes("CenterCrop", "size", size, (1, 2), 1)
        self.size = (given[0], given[-1])

    def _images(self, x: Array) -> Array:
        x = _to_size("CenterCrop", x, self.size, 0, "constant")
        spare = [have - want for want, have in zip(self.size, x.shape[-2:], strict=True)]
        top, left = (round(each / 2.0) for each in spare)
        return x[..., top : top + self.size[0], left : left + self.size[1]].copy()

    def _text(self) -> str:
        return f"size={self.size}"


class RandomCrop(ImageTransform):
    """Cuts out (size, size) or (height, width) at a random place.

    First it adds `padding`, and with `pad_if_needed` what is missing to `size` on both sides;
    ShapeError where an image is smaller all the same. `fill` and `padding_mode` as in Pad.
    """

    def __init__(
        self,
        size: Any,
        padding: Any = None,
        pad_if_needed: bool = False,
        fill: Any = 0,
        padding_mode: str = "constant",
        *,
        generator: Generator | None = None,
        batched: bool | None = None,
    ) -> None:
        super().__init__(generator, batched)
        given = sizes("RandomCrop", "size", size, (1, 2), 1)
        self.size = (given[0], given[-1])
        self.padding = padding
        self.pad_if_needed = pad_if_needed
        self.fill = fill
        self.padding_mode = _mode("RandomCrop", padding_mode)
        self._sides = [0, 0, 0, 0] if padding is None else _sides("RandomCrop", padding)

    def _images(self, x: Array) -> Array:
        x = _padded("RandomCrop", x, self._sides, self.fill, self.padding_mode)
        height, width = self.size
        if self.pad_if_needed:  # by all that is missing at each side, so that every place may come
            missing = [max(0, width - x.shape[-1]), max(0, height - x.shape[-2])]
            x = _padded("RandomCrop", x, missing * 2, self.fill, self.padding_mode)
        if x.shape[-2] < height or x.shape[-1] < width:
            raise ShapeError(
                f"RandomCrop: expected images of at least {self.size} pixels with their padding, "
                f"got {x.shape[-2:]}"
            )
        count = len(x)
        tops = self.below(x.shape[-2] - height + 1, count)
        lefts = self.below(x.shape[-1] - width + 1, count)
        windows = np.lib.stride_tricks.sliding_window_view(x, self.size, axis=(-2, -1))
        return windows[np.arange(count), :, tops, lefts]

    def _text(self) -> str:
        return f"size={self.size}, padding={self.padding}, pad_if_needed={self.pad_if_needed}"


class RandomErasing(ImageTransform):
    """Overwrites a random rectangle, with probability p (Zhong et al., 2017).

    Its area is a part in `scale` of the image's, its height over its width lies in `ratio`, drawn
    by logarithm; where ten of them do not fit, the image stays as it is. `value` is a number, one
    for each channel, or "random" for numbers of the standard normal law.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Any = (0.02, 0.33),
        ratio: Any = (0.3, 3.3),
        value: Any = 0.0,
        *,
        generator: Generator | None = None,
        batched: bool | None = None,
    ) -> None:
        super().__init__(generator, batched)
        self.p = chance("RandomErasing", p)
        self.scale = numbers("RandomErasing", "scale", scale, (2,))
        self.ratio = numbers("RandomErasing", "ratio", ratio, (2,))
        if not 0 <= self.scale[0] <= self.scale[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ArgumentError(
                f"RandomErasing: expected a scale within 0 and 1 and a ratio above 0, each from "
                f"low to high, got {scale} and {ratio}"
            )
        if isinstance(value, str) and value != "random":
            raise ArgumentError(f"RandomErasing: expected numbers or 'random', got {value!r}")
        self.value = value

    def _images(self, x: Array) -> Array:
        count, _, height, width = x.shape
        chosen = self.draws(count) < self.p
        areas = self.between(count * TRIES, (self.scale[0], self.scale[1])) * (height * width)
        low, high = np.log(self.ratio)
        ratios = np.exp(self.between(count * TRIES, (low, high)))
        tall = np.rint(np.sqrt(areas * ratios)).reshape(count, TRIES)
        wide = np.rint(np.sqrt(areas / ratios)).reshape(count, TRIES)
        fits = (tall < height) & (wide < width)
        first = fits.argmax(1)
        each = np.arange(count)
        tall, wide = tall[each, first], wide[each, first]
        chosen &= fits.any(1)
        top = self.below(height - tall + 1, count)[:, None]
        left = self.below(width - wide + 1, count)[:, None]
        down, along = np.arange(height), np.arange(width)
        rows = (down >= top) & (down < top + tall[:, None]) & chosen[:, None]
        columns = (along >= left) & (along < left + wide[:, None])
        mask = (rows[:, :, None] & columns[:, None, :])[:, None]
        return np.where(mask, self._values(x.shape).astype(x.dtype), x)

    def _values(self, shape: tuple[int, ...]) -> Array:
        if not isinstance(self.value, str):
            return fill_of("RandomErasing", self.value, shape[1])
        size = int(np.prod(shape))
        radius = np.sqrt(-2 * np.log1p(-self.draws(size)))  # Box and Muller
        normal: Array = radius * np.cos(2 * np.pi * self.draws(size))
        return normal.reshape(shape)

    def _text(self) -> str:
        return f"p={self.p}, scale={self.scale}, ratio={self.ratio}, value={self.value}"
