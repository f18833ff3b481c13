"""Sampling an image where a grid says, and the two gradients of that.

An image is (n, c, ...) and a grid (n, ..., axes): for each place in the result a coordinate along
each axis of the image, the last axis first, from -1 at one edge to 1 at the other (Jaderberg et
al., "Spatial transformer networks", 2015). Along an axis a place has one, two or four taps, the
entries of the image that it is made of; their weights are multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from ferrum import Spec, TensorLike, op, stack, where, zeros, zeros_like
from ferrum.dtypes import float32, float64, is_floating
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.spec import Needs, Shape

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")


class How(NamedTuple):
    """How an image is sampled: a mode, what lies outside, and whether -1 is an entry's centre."""

    mode: str
    padding: str
    aligned: bool

    def check(self, name: str, axes: int) -> None:
        """Refuse a mode or a padding that is none."""
        if self.mode not in MODES or self.padding not in PADDINGS:
            raise ArgumentError(
                f"{name}: expected a mode of {MODES} and a padding of {PADDINGS}, got "
                f"{self.mode!r} and {self.padding!r}"
            )
        if axes not in (2, 3) or (axes == 3 and self.mode == "bicubic"):
            raise ShapeError(
                f"{name}: expected an image of two axes, or of three unless bicubic, got {axes}"
            )


class _Tap(NamedTuple):
    """An entry for each place, (n, places), along one axis: 0 where it lies outside."""

    at: Tensor
    inside: Tensor
    weight: Tensor
    slope: Tensor  # the derivative of the weight by the grid's coordinate


def _wide(x: Tensor) -> Tensor:
    """Return x in the dtype to compute in."""
    return x.to(float64 if x.dtype is float64 else float32)


def _clipped(u: Tensor, slope: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return positions inside of the image, and 0 for NaN; what was moved has slope 0."""
    low, high = u > 0, u < size - 1
    return where(low, where(high, u, size - 1), 0), where(low & high, slope, 0)


def _padded(u: Tensor, slope: Tensor, size: int, how: How) -> tuple[Tensor, Tensor]:
    """Return positions, and their derivatives, moved into the image as the padding says."""
    if how.padding == "zeros":
        return u, slope
    if how.padding == "reflection":
        low, span = (0.0, size - 1) if how.aligned else (-0.5, size)
        if span == 0:
            return zeros_like(u), zeros_like(slope)
        behind = u < low
        far = where(behind, low - u, u - low)
        flips = (far / span).floor().detach()
        back = flips.remainder(2) != 0
        rest = far.remainder(span)
        u = where(back, span - rest, rest) + low
        slope = where(back ^ behind, -slope, slope)
    return _clipped(u, slope, size)


def _cubic(t: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the weights of the entries at -1, 0, 1 and 2, and their derivatives by t."""
    a = -0.75

    def near(x: Tensor) -> Tensor:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Tensor) -> Tensor:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    def near_slope(x: Tensor) -> Tensor:
        return (3 * (a + 2) * x - 2 * (a + 3)) * x

    def far_slope(x: Tensor) -> Tensor:
        return (3 * a * x - 10 * a) * x + 8 * a

    s = 1 - t
    return [
        (far(t + 1), far_slope(t + 1)),
        (near(t), near_slope(t)),
        (near(s), -near_slope(s)),
        (far(s + 1), -far_slope(s + 1)),
    ]


def _taps(x: Tensor, size: int, how: How) -> list[_Tap]:
    """Return the taps of coordinates x along an axis of `size` entries."""
    slope = zeros_like(x) + ((size - 1) / 2 if how.aligned else size / 2)
    u = (x + 1) / 2 * (size - 1) if how.aligned else ((x + 1) * size - 1) / 2
    if how.mode != "bicubic":
        u, slope = _padded(u, slope, size, how)
    if how.mode == "nearest":
        return [_tap(u.detach().round(), size, zeros_like(u) + 1, zeros_like(u))]
    first = u.detach().floor()
    t = u - first
    if how.mode == "bilinear":
        return [_tap(first, size, 1 - t, -slope), _tap(first + 1, size, t, slope)]
    found = []
    for step, (weight, by_t) in zip((-1, 0, 1, 2), _cubic(t), strict=True):
        at, _ = _padded(first + step, slope, size, how)
        found.append(_tap(at, size, weight, by_t * slope))
    return found


def _tap(at: Tensor, size: int, weight: Tensor, slope: Tensor) -> _Tap:
    inside = (at >= 0) & (at <= size - 1)
    return _Tap(where(inside, at, 0).long(), inside, weight, slope)


def _meetings(grid: Tensor, size: Shape, how: How) -> Iterator[tuple[Tensor, Tensor, list[_Tap]]]:
    """Yield indices into the flat image, whether they are inside, and the taps of each axis."""
    flat = _wide(grid).reshape(grid.shape[0], prod(grid.shape[1:-1]), len(size))
    axes = [_taps(flat[..., -1 - axis], length, how) for axis, length in enumerate(size)]
    for taps in product(*axes):
        index, inside = taps[0].at, taps[0].inside
        for tap, length in zip(taps[1:], size[1:], strict=True):
            index, inside = index * length + tap.at, inside & tap.inside
        yield index.unsqueeze(1), inside.unsqueeze(1), list(taps)


def _flat(x: Tensor) -> Tensor:
    """Return (n, c, ...) as (n, c, places)."""
    return _wide(x).reshape(*x.shape[:2], prod(x.shape[2:]))


def _product(factors: list[Tensor]) -> Tensor:
    """Return the product of weights (n, places) as (n, 1, places)."""
    out = factors[0]
    for each in factors[1:]:
        out = out * each
    return out.unsqueeze(1)


def _check(name: str, how: How, grid: TensorLike, size: Shape, *images: TensorLike) -> None:
    """Refuse tensors that do not go together; `size` is the image's."""
    how.check(name, len(size))
    for each in images:
        if each.dtype is not grid.dtype or not is_floating(grid.dtype):
            raise DTypeError(
                f"{name}: expected floating-point tensors of one dtype, got {each.dtype.name} and "
                f"a grid of {grid.dtype.name}"
            )
    n = images[0].shape[0] if images[0].shape else -1
    if len(grid.shape) != len(size) + 2 or grid.shape[0] != n or grid.shape[-1] != len(size):
        raise ShapeError(
            f"{name}: expected a grid ({n}, ..., {len(size)}) of {len(size) + 2} axes, got "
            f"{grid.shape}"
        )
    if min(size) < 1:
        raise ShapeError(f"{name}: expected an image that is not empty, got {size}")


def _check_result(name: str, g: TensorLike, grid: TensorLike) -> None:
    """Refuse what does not have the shape of the samples."""
    if len(g.shape) != len(grid.shape) or g.shape[2:] != grid.shape[1:-1]:
        raise ShapeError(
            f"{name}: expected (n, c, ...) with places {grid.shape[1:-1]}, got {g.shape}"
        )


# ---- the samples


@op(ulp=16, scale=64.0)
def grid_sample(x: TensorLike, grid: TensorLike, *, how: How) -> Spec:
    """Return the image x (n, c, ...) where the grid (n, ..., axes) says."""
    _check("grid_sample", how, grid, x.shape[2:], x)
    return Spec((*x.shape[:2], *grid.shape[1:-1]), x.dtype)


@grid_sample.fallback
def _(x: Tensor, grid: Tensor, *, how: How) -> Tensor:
    flat, places = _flat(x), prod(grid.shape[1:-1])
    out = zeros(*x.shape[:2], places, dtype=flat.dtype, device=x.device)
    for index, inside, taps in _meetings(grid, x.shape[2:], how):
        found = where(inside, flat.gather(2, index.expand(out.shape)), 0)
        out = out + (found if how.mode == "nearest" else found * _product([t.weight for t in taps]))
    return out.reshape(*x.shape[:2], *grid.shape[1:-1]).to(x.dtype)


@grid_sample.gradient
def _(
    g: Tensor, x: Tensor, grid: Tensor, *, how: How, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    to_x = to_grid = None
    if needs[0] is not None:
        to_x = grid_sample_input(g, grid, size=needs[0].shape[2:], how=how)
    if needs[1] is not None:
        to_grid = grid_sample_grid(g, x, grid, how=how)
    return to_x, to_grid


grid_sample.keep_for(x="grid")


# ---- the gradient of the image


@op(ulp=16, scale=64.0)
def grid_sample_input(g: TensorLike, grid: TensorLike, *, size: Shape, how: How) -> Spec:
    """Return the gradient of the image, whose axes have `size`, of samples with gradient g."""
    _check("grid_sample_input", how, grid, size, g)
    _check_result("grid_sample_input", g, grid)
    return Spec((*g.shape[:2], *size), g.dtype)


@grid_sample_input.fallback
def _(g: Tensor, grid: Tensor, *, size: Shape, how: How) -> Tensor:
    flat = _flat(g)
    out = zeros(*g.shape[:2], prod(size), dtype=flat.dtype, device=g.device)
    for index, inside, taps in _meetings(grid, size, how):
        part = where(inside, flat * _product([t.weight for t in taps]), 0)
        out = out.scatter_add(2, index.expand(flat.shape), part)
    return out.reshape(*g.shape[:2], *size).to(g.dtype)


@grid_sample_input.gradient
def _(
    gg: Tensor, g: Tensor, grid: Tensor, *, how: How, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    to_g = to_grid = None
    if needs[0] is not None:
        to_g = grid_sample(gg, grid, how=how)
    if needs[1] is not None:
        to_grid = grid_sample_grid(g, gg, grid, how=how)
    return to_g, to_grid


grid_sample_input.keep_for(g="grid")


# ---- the gradient of the grid


@op(ulp=32, scale=256.0)
def grid_sample_grid(g: TensorLike, x: TensorLike, grid: TensorLike, *, how: How) -> Spec:
    """Return the gradient of the grid, of samples of x with gradient g."""
    _check("grid_sample_grid", how, grid, x.shape[2:], x, g)
    _check_result("grid_sample_grid", g, grid)
    if g.shape[:2] != x.shape[:2]:
        raise ShapeError(f"grid_sample_grid: {g.shape} are no samples of {x.shape}")
    return Spec(grid.shape, grid.dtype)


@grid_sample_grid.fallback
def _(g: Tensor, x: Tensor, grid: Tensor, *, how: How) -> Tensor:
    if how.mode == "nearest":
        return zeros_like(grid)
    flat, image = _flat(g), _flat(x)
    sums: list[Tensor | None] = [None] * (grid.ndim - 2)
    for index, inside, taps in _meetings(grid, x.shape[2:], how):
        found = where(inside, image.gather(2, index.expand(flat.shape)), 0)
        total = (found * flat).sum(1, keepdim=True)
        for axis, tap in enumerate(taps):
            others = [each.weight for number, each in enumerate(taps) if number != axis]
            part = where(inside, total * _product([*others, tap.slope]), 0)
            so_far = sums[axis]
            sums[axis] = part if so_far is None else so_far + part
    out = stack([each for each in reversed(sums) if each is not None], -1)
    return out.reshape(grid.shape).to(grid.dtype)


# ---- samples of all three


def _cases() -> Iterator[tuple[Shape, Shape, How]]:
    """Yield sizes of the image and of the grid, and ways to sample."""
    for number, padding in enumerate(PADDINGS):
        yield (2, 3), (1, 2), How("bilinear", padding, number == 1)
    yield (2, 3), (1, 2), How("nearest", "reflection", True)
    yield (1, 2), (1, 1), How("bicubic", "border", False)
    yield (1, 1, 2), (1, 1, 1), How("bilinear", "border", False)
    yield (3, 4), (0, 3), How("bilinear", "zeros", False)


@grid_sample.samples
def _(s: Sampler) -> Iterator[Sample]:
    for size, places, how in _cases():
        yield s(s.real(1, 1, *size), s.real(1, *places, len(size), low=-1.4, high=1.4), how=how)
    x, grid, fits = s.real(2, 2, 3, 4), s.real(2, 1, 2, 2), How("bilinear", "zeros", False)
    yield s(s.real(2, 0, 3, 4), grid, how=fits)
    yield s(s.real(0, 2, 3, 4), s.real(0, 1, 2, 2), how=fits)
    yield s(x, grid, how=fits)
    yield s.bad(ShapeError, x, s.real(2, 1, 2, 3), how=fits)
    yield s.bad(ShapeError, x, s.real(1, 1, 2, 2), how=fits)
    yield s.bad(ShapeError, x, s.real(2, 2, 2), how=fits)
    yield s.bad(ShapeError, s.real(2, 2, 0, 4), grid, how=fits)
    yield s.bad(ShapeError, s.real(2, 2, 3), s.real(2, 3, 1), how=fits)
    volume = s.real(1, 1, 2, 2, 2), s.real(1, 1, 1, 1, 3)
    yield s.bad(ShapeError, *volume, how=fits._replace(mode="bicubic"))
    yield s.bad(ArgumentError, x, grid, how=fits._replace(mode="linear"))
    yield s.bad(ArgumentError, x, grid, how=fits._replace(padding="wrap"))
    narrow = s.typed(float32, 2, 2, 3, 4)
    yield s.bad(DTypeError, narrow, s.typed(float64, 2, 1, 2, 2), how=fits)


@grid_sample_input.samples
def _(s: Sampler) -> Iterator[Sample]:
    for size, places, how in _cases():
        grid = s.real(1, *places, len(size), low=-1.4, high=1.4)
        yield s(s.real(1, 1, *places), grid, size=size, how=how)
    g, grid, fits = s.real(2, 2, 1, 2), s.real(2, 1, 2, 2), How("bilinear", "zeros", False)
    yield s.bad(ShapeError, g, s.real(2, 2, 2, 2), size=(3, 4), how=fits)
    yield s.bad(ShapeError, g, grid, size=(3, 4, 5), how=fits)
    yield s.bad(ShapeError, g, grid, size=(3, 0), how=fits)
    yield s.bad(ArgumentError, g, grid, size=(3, 4), how=fits._replace(mode="linear"))
    narrow = s.typed(float32, 2, 2, 1, 2)
    yield s.bad(DTypeError, narrow, s.typed(float64, 2, 1, 2, 2), size=(3, 4), how=fits)


@grid_sample_grid.samples
def _(s: Sampler) -> Iterator[Sample]:
    for size, places, how in _cases():
        grid = s.real(1, *places, len(size), low=-1.4, high=1.4)
        yield s(s.real(1, 1, *places), s.real(1, 1, *size), grid, how=how)
    g, x, grid = s.real(2, 2, 1, 2), s.real(2, 2, 3, 4), s.real(2, 1, 2, 2)
    fits = How("bilinear", "zeros", False)
    yield s.bad(ShapeError, s.real(2, 2, 2, 2), x, grid, how=fits)
    yield s.bad(ShapeError, s.real(2, 3, 1, 2), x, grid, how=fits)
    yield s.bad(ArgumentError, g, x, grid, how=fits._replace(padding="wrap"))
    narrow = s.typed(float32, 2, 2, 1, 2), s.typed(float32, 2, 2, 3, 4)
    yield s.bad(DTypeError, *narrow, s.typed(float64, 2, 1, 2, 2), how=fits)
