"""Turning, moving, scaling and shearing images."""

from __future__ import annotations

from typing import Any

import numpy as np

from ferrum import Generator
from ferrum.errors import ArgumentError
from ferrum_nn.data.transforms.base import Array, ImageTransform, fill_of, numbers


class RandomAffine(ImageTransform):
    """Turns, moves, scales and shears an image about its centre, each by a random amount.

    `degrees` is a range (low, high), or d for (-d, d); `translate` (a, b) moves by up to a times
    the width and b times the height, in whole pixels; `scale` is a range of factors; `shear` is a
    range of degrees along x, s for (-s, s), or (x low, x high, y low, y high). `interpolation` is
    "nearest" or "bilinear", between the centres of pixels; outside the image is `fill`, a number or
    one for each channel. `center` (x, y) is another centre, in pixels from the upper left corner.

    A pixel at p shows what was at c + M⁻¹(p - c - t), where M = R(angle) Sy Sx scale, with
    Sx = [[1, -tan x], [0, 1]] and Sy = [[1, 0], [-tan y, 1]].
    """

    def __init__(
        self,
        degrees: Any,
        translate: Any = None,
        scale: Any = None,
        shear: Any = None,
        interpolation: str = "nearest",
        fill: Any = 0,
        center: Any = None,
        *,
        generator: Generator | None = None,
        batched: bool | None = None,
    ) -> None:
        super().__init__(generator, batched)
        name = "RandomAffine"
        self.degrees = _range(name, "degrees", degrees)
        self.translate = translate and numbers(name, "translate", translate, (2,))
        if self.translate and not all(0 <= each <= 1 for each in self.translate):
            raise ArgumentError(f"{name}: expected translate from 0 to 1, got {translate}")
        self.scale = scale and numbers(name, "scale", scale, (2,))
        if self.scale and not 0 < self.scale[0] <= self.scale[1]:
            raise ArgumentError(f"{name}: expected a range of scale above 0, got {scale}")
        self.shear = None
        if shear is not None:
            four = numbers(name, "shear", shear, (1, 2, 4))
            self.shear = four if len(four) == 4 else (*_range(name, "shear", shear), 0.0, 0.0)
        if interpolation not in ("nearest", "bilinear"):
            raise ArgumentError(
                f"{name}: expected 'nearest' or 'bilinear' as interpolation, got {interpolation!r}"
            )
        self.interpolation = interpolation
        self.fill = fill
        self.center = None if center is None else numbers(name, "center", center, (2,))

    def _images(self, x: Array) -> Array:
        count, _, height, width = x.shape
        draws = self.draws(6, count)  # at once: a call takes as long as many numbers
        angle = np.radians(_between(draws[0], *self.degrees))
        along, down = self.translate or (0.0, 0.0)
        moves = np.rint((2 * draws[1:3] - 1) * [[along * width], [down * height]])
        scale = _between(draws[3], *self.scale) if self.scale else np.ones(count)
        lean = self.shear or (0.0, 0.0, 0.0, 0.0)
        lean_x, lean_y = (np.radians(_between(draws[4 + i], *lean[2 * i :][:2])) for i in (0, 1))
        center = self.center or (width / 2, height / 2)
        inverse = _inverse(angle, lean_x, lean_y, scale)
        fill = fill_of("RandomAffine", self.fill, x.shape[1])
        places = _places(inverse, moves, center, height, width)
        return sample(x, *places, self.interpolation, fill)

    def _text(self) -> str:
        parts = [f"degrees={self.degrees}"]
        for name in ("translate", "scale", "shear"):
            value = getattr(self, name)
            parts += [f"{name}={value}"] if value else []
        return ", ".join([*parts, f"interpolation={self.interpolation}, fill={self.fill}"])


def _range(name: str, argument: str, given: Any) -> tuple[float, float]:
    values = numbers(name, argument, given, (1, 2))
    low, high = (-values[0], values[0]) if len(values) == 1 else values
    if low > high:
        raise ArgumentError(f"{name}: expected {argument} from low to high, got {given}")
    return low, high


def _between(draws: Array, low: float, high: float) -> Array:
    """Return numbers from [low, high) for numbers from [0, 1)."""
    return low + (high - low) * draws


def _inverse(angle: Array, lean_x: Array, lean_y: Array, scale: Array) -> Array:
    """Return the inverses (2, 2, n) of the matrices of the class's text."""
    cos, sin, x, y = np.cos(angle), np.sin(angle), np.tan(lean_x), np.tan(lean_y)
    a, c = cos + sin * y, sin - cos * y  # the first column of R Sy; the second is (-sin, cos)
    b, d = -a * x - sin, -c * x + cos  # the determinant is 1, as that of each factor
    return np.array([[d, -b], [-c, a]]) / scale


def _places(
    inverse: Array, moves: Array, center: tuple[float, ...], height: int, width: int
) -> tuple[Array, Array]:
    """Return which (row, column) each pixel shows, as two arrays (n, h, w)."""
    inverse = inverse.astype(np.float32)[..., None, None]
    along = np.arange(width, dtype=np.float32) + np.float32(0.5 - center[0])
    down = np.arange(height, dtype=np.float32) + np.float32(0.5 - center[1])
    x = along - moves[0].astype(np.float32)[:, None, None]
    y = down[:, None] - moves[1].astype(np.float32)[:, None, None]
    columns = inverse[0, 0] * x + inverse[0, 1] * y + np.float32(center[0] - 0.5)
    rows = inverse[1, 0] * x + inverse[1, 1] * y + np.float32(center[1] - 0.5)
    return rows, columns


def sample(x: Array, rows: Array, columns: Array, interpolation: str, fill: Array) -> Array:
    """Return images (n, c, h, w) at places (n, h2, w2) between their pixels, or `fill` outside."""
    count, channels, height, width = x.shape
    if x.size == 0:
        return x.copy()
    framed = np.empty((count, channels, height + 2, width + 2), np.result_type(x.dtype, np.float32))
    framed[:] = fill
    framed[:, :, 1:-1, 1:-1] = x
    flat = framed.reshape(count, channels, -1)
    stride = width + 2
    # a frame of one pixel, which all that lies further outside shows too
    rows = np.clip(rows + 1, 0, height + 1)
    columns = np.clip(columns + 1, 0, width + 1)
    if interpolation == "nearest":
        places = np.rint(rows).astype(np.intp) * stride + np.rint(columns).astype(np.intp)
        out = _taken(flat, places)
    else:
        top = np.minimum(rows.astype(np.intp), height)
        left = np.minimum(columns.astype(np.intp), width)
        down = (rows - top).astype(framed.dtype)[:, None]
        along = (columns - left).astype(framed.dtype)[:, None]
        corner = top * stride + left
        upper = _taken(flat, corner)
        upper += along * (_taken(flat, corner + 1) - upper)
        lower = _taken(flat, corner + stride)
        lower += along * (_taken(flat, corner + stride + 1) - lower)
        lower -= upper
        lower *= down
        out = upper + lower
    if x.dtype.kind in "iub":
        out = np.rint(out)
    return out.astype(x.dtype)


def _taken(flat: Array, places: Array) -> Array:
    """Return, of each image and channel (n, c, p), the pixels at `places` (n, h, w)."""
    count, channels, size = flat.shape
    starts = (np.arange(count * channels) * size).reshape(count, channels, 1, 1)
    out: Array = flat.reshape(-1).take(starts + places[:, None])
    return out
