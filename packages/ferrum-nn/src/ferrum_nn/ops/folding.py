"""An image's patches and, its adjoint, the image that patches add up to.

Both take the geometry of a convolution, whose inner tensor is the image: position o of the patches
and k in each of them are at o s - p + k d in the image, along each axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, op, zeros
from ferrum.dtypes import float32, float64, is_floating
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.spec import Needs, Shape
from ferrum_nn.ops.convolution import Geometry

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


def _check(name: str, x: TensorLike, kernel: Shape, size: Shape, geometry: Geometry) -> None:
    """Refuse integers, and numbers that do not fit."""
    if not is_floating(x.dtype):
        raise DTypeError(f"{name}: expected a floating-point tensor, got {x.dtype.name}")
    numbers = (*geometry[:3], kernel, size)
    if not all(len(each) == len(kernel) for each in numbers) or not kernel or geometry.groups != 1:
        raise ArgumentError(
            f"{name}: expected as many numbers each, and 1 group, got {numbers} and "
            f"{geometry.groups}"
        )
    if min(*geometry.stride, *geometry.dilation) < 1 or min(*kernel, *size) < 0:
        raise ArgumentError(f"{name}: {geometry}, {kernel} or {size} have numbers too small")


def positions(kernel: Shape, size: Shape, geometry: Geometry) -> Shape:
    """Return how many positions a kernel has in an image of `size`, along each axis."""
    numbers = zip(size, kernel, *geometry[:3], strict=True)
    return tuple(max(0, (n + 2 * p - d * (k - 1) - 1) // s + 1) for n, k, s, p, d in numbers)


@op
def unfold(x: TensorLike, *, kernel: Shape, size: Shape, geometry: Geometry) -> Spec:
    """Return the patches of an image (n, c, ...) at `size` positions: (n, c places, positions)."""
    _check("unfold", x, kernel, size, geometry)
    if len(x.shape) != len(kernel) + 2 or positions(kernel, x.shape[2:], geometry) != size:
        raise ShapeError(
            f"unfold: expected an image (n, c, ...) with {size} positions for a kernel of "
            f"{kernel}, got {x.shape}"
        )
    return Spec((x.shape[0], x.shape[1] * prod(kernel), prod(size)), x.dtype)


@unfold.fallback
def _(x: Tensor, *, kernel: Shape, size: Shape, geometry: Geometry) -> Tensor:
    out = zeros(*x.shape[:2], *kernel, *size, dtype=x.dtype, device=x.device)
    for place, ins, outs in geometry.meetings(kernel, x.shape[2:], size):
        out[(slice(None), slice(None), *place, *outs)] = x[(..., *ins)]
    return out.reshape(x.shape[0], x.shape[1] * prod(kernel), prod(size))


@unfold.gradient
def _(g: Tensor, *, kernel: Shape, geometry: Geometry, needs: Needs) -> Tensor:
    assert needs[0] is not None
    return fold(g, kernel=kernel, size=needs[0].shape[2:], geometry=geometry)


@op(ulp=4, scale=4.0)
def fold(x: TensorLike, *, kernel: Shape, size: Shape, geometry: Geometry) -> Spec:
    """Return the image (n, c, *size) that patches (n, c places, positions) add up to."""
    _check("fold", x, kernel, size, geometry)
    columns, places = prod(positions(kernel, size, geometry)), prod(kernel)
    if len(x.shape) != 3 or not places or x.shape[1] % places or x.shape[2] != columns:
        raise ShapeError(
            f"fold: expected (n, a multiple of {places}, {columns}) for an image of {size}, got "
            f"{x.shape}"
        )
    return Spec((x.shape[0], x.shape[1] // places, *size), x.dtype)


@fold.fallback
def _(x: Tensor, *, kernel: Shape, size: Shape, geometry: Geometry) -> Tensor:
    wide = x.to(float64 if x.dtype is float64 else float32)
    n, channels, counts = x.shape[0], x.shape[1] // prod(kernel), positions(kernel, size, geometry)
    patches = wide.reshape(n, channels, *kernel, *counts)
    out = zeros(n, channels, *size, dtype=wide.dtype, device=x.device)
    for place, ins, outs in geometry.meetings(kernel, size, counts):
        out[(..., *ins)].add_(patches[(slice(None), slice(None), *place, *outs)])
    return out.to(x.dtype)


@fold.gradient
def _(g: Tensor, *, kernel: Shape, size: Shape, geometry: Geometry) -> Tensor:
    counts = positions(kernel, size, geometry)
    return unfold(g, kernel=kernel, size=counts, geometry=geometry)


def _cases() -> Iterator[tuple[Shape, Shape, Geometry]]:
    """Yield images' sizes, kernels and geometries."""
    yield (4,), (2,), Geometry((1,), (0,), (1,), 1)
    yield (4, 3), (3, 2), Geometry((2, 1), (1, 0), (1, 2), 1)
    yield (3, 3), (1, 2), Geometry((3, 2), (0, 2), (1, 1), 1)
    yield (2, 2, 3), (2, 1, 2), Geometry((1, 1, 2), (0, 1, 0), (1, 1, 1), 1)


@unfold.samples
def _(s: Sampler) -> Iterator[Sample]:
    for size, kernel, how in _cases():
        counts = positions(kernel, size, how)
        yield s(s.real(2, 2, *size), kernel=kernel, size=counts, geometry=how)
    yield s(s.real(0, 2, *size), kernel=kernel, size=counts, geometry=how)
    yield s.bad(ShapeError, s.real(2, 2, 3), kernel=kernel, size=counts, geometry=how)
    yield s.bad(ShapeError, s.real(2, 2, *size), kernel=kernel, size=(1, 1, 1), geometry=how)
    yield s.bad(ArgumentError, s.real(2, 2, *size), kernel=(1,), size=counts, geometry=how)
    yield from _refused(s, s.real(2, 2, *size), s.indices(3, 1, 2), kernel, counts, how)


@fold.samples
def _(s: Sampler) -> Iterator[Sample]:
    for size, kernel, how in _cases():
        rows, columns = 2 * prod(kernel), prod(positions(kernel, size, how))
        yield s(s.real(2, rows, columns), kernel=kernel, size=size, geometry=how)
    yield s(s.real(0, rows, columns), kernel=kernel, size=size, geometry=how)
    yield s.bad(ShapeError, s.real(rows, columns), kernel=kernel, size=size, geometry=how)
    yield s.bad(ShapeError, s.real(2, rows + 1, columns), kernel=kernel, size=size, geometry=how)
    yield s.bad(ShapeError, s.real(2, rows, columns + 1), kernel=kernel, size=size, geometry=how)
    x = s.real(2, rows, columns)
    yield s.bad(ArgumentError, x, kernel=(1,), size=size, geometry=how)
    yield from _refused(s, x, s.indices(3, 1, 2), kernel, size, how)


def _refused(
    s: Sampler, x: object, whole: object, kernel: Shape, size: Shape, how: Geometry
) -> Iterator[Sample]:
    """Yield calls that neither takes."""
    for wrong in (
        how._replace(stride=(0, 1, 1)),
        how._replace(dilation=(1, 0, 1)),
        how._replace(padding=(1,)),
        how._replace(groups=2),
    ):
        yield s.bad(ArgumentError, x, kernel=kernel, size=size, geometry=wrong)
    yield s.bad(ArgumentError, x, kernel=kernel, size=(-1, 1, 1), geometry=how)
    yield s.bad(DTypeError, whole, kernel=kernel, size=size, geometry=how)
