"""Resizing as a function."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TypeAlias

from ferrum import Tensor
from ferrum.dtypes import is_floating, uint8
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum.spec import Shape
from ferrum_nn import ops
from ferrum_nn.functional.convolution import Sizes, sizes_of
from ferrum_nn.functional.losses_checks import check_flags, check_tensors
from ferrum_nn.functional.pooling import adaptive_average
from ferrum_nn.ops.resizing import Axis

__all__ = ["interpolate", "upsample", "upsample_bilinear", "upsample_nearest"]

Scales: TypeAlias = float | Sequence[float]

# the filter of each mode, and the axes that it is for
_MODES = {
    "nearest": ("nearest", (1, 2, 3)),
    "nearest-exact": ("nearest-exact", (1, 2, 3)),
    "area": ("area", (1, 2, 3)),
    "linear": ("linear", (1,)),
    "bilinear": ("linear", (2,)),
    "trilinear": ("linear", (3,)),
    "bicubic": ("cubic", (2,)),
    "lanczos": ("lanczos", (2,)),
}


def interpolate(
    input: Tensor,
    size: Sizes | None = None,
    scale_factor: Scales | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Return x (n, c, ...) with its one to three last axes made longer or shorter.

    They get the lengths `size`, or ⌊length scale_factor⌋; a number stands for all axes. Modes:
    "nearest" and "nearest-exact" pick an entry, of x's below and closest to where it stands;
    "linear", "bilinear" and "trilinear" (for one, two and three axes) and "bicubic" (two) weigh the
    2 or 4 closest along each axis; "area" takes means, as adaptive_avg_pool does; "lanczos" (two
    axes, with `antialias`) weighs 6. With `align_corners` the centres of the outermost entries of
    x and of the result meet, else their edges. A `scale_factor` tells where entries stand, unless
    `recompute_scale_factor` says that the resulting lengths do. With `antialias`, for two axes, the
    filters of "bilinear", "bicubic" and "lanczos" widen as x is made smaller, and an axis whose
    length stays is left as it is.

    Raises ArgumentError for arguments that do not go together, ShapeError for another count of axes
    or an empty one, DTypeError for integers (the nearest modes take uint8).
    """
    name = "interpolate"
    check_tensors(name, input)
    if mode not in _MODES:
        raise ArgumentError(f"{name}: expected mode to be of {tuple(_MODES)}, got {mode!r}")
    if align_corners is not None:
        check_flags(name, align_corners=align_corners)
    kind, ranks = _MODES[mode]
    axes = input.ndim - 2
    if axes not in ranks:
        raise ShapeError(
            f"{name}: mode {mode!r} is for tensors of {' or '.join(str(r + 2) for r in ranks)} "
            f"axes, (n, c, ...), got {input.shape}"
        )
    picks = kind in ("nearest", "nearest-exact")
    if align_corners is not None and (picks or kind == "area"):
        raise ArgumentError(f"{name}: mode {mode!r} takes no align_corners, got {align_corners!r}")
    if antialias and mode not in ("bilinear", "bicubic", "lanczos"):
        raise ArgumentError(
            f"{name}: antialias goes with bilinear, bicubic and lanczos, not with {mode!r}"
        )
    if kind == "lanczos" and (align_corners or not antialias):
        raise ArgumentError(f"{name}: mode 'lanczos' goes with antialias, without align_corners")
    if not (is_floating(input.dtype) or (picks and input.dtype is uint8)):
        raise DTypeError(
            f"{name}: mode {mode!r} expected a floating-point tensor, got {input.dtype.name}"
        )
    lengths, factors = _lengths(name, input.shape[2:], size, scale_factor, recompute_scale_factor)
    if min(*input.shape[2:], *lengths) < 1:
        raise ShapeError(
            f"{name}: expected axes of at least 1 entry, got {input.shape[2:]} to be made {lengths}"
        )
    if kind == "area":
        return adaptive_average(axes, input, lengths)
    aligned = bool(align_corners)
    how = []
    for inner, outer, factor in zip(input.shape[2:], lengths, factors, strict=True):
        stays = antialias and inner == outer
        scale = inner / outer if factor is None or stays else 1.0 / factor
        if aligned:
            scale = (inner - 1) / (outer - 1) if outer > 1 else 0.0
        how.append(Axis(inner, outer, kind, scale, aligned, bool(antialias)))
    return ops.resize(input, axes=tuple(how))


def _lengths(
    name: str, inner: Shape, size: Sizes | None, scale_factor: Scales | None, recompute: bool | None
) -> tuple[Shape, Sequence[float | None]]:
    """Return the lengths that are asked for, and the factors that tell where entries stand."""
    axes = len(inner)
    if (size is None) == (scale_factor is None):
        raise ArgumentError(
            f"{name}: expected size or scale_factor, one of them, got {size!r} and {scale_factor!r}"
        )
    if size is not None:
        if recompute:
            raise ArgumentError(f"{name}: recompute_scale_factor goes with a scale_factor")
        if isinstance(size, Sequence) and len(size) != axes:
            raise ArgumentError(f"{name}: expected {axes} numbers as size, got {size!r}")
        return sizes_of(name, "size", size, axes, least=1), (None,) * axes
    assert scale_factor is not None
    several = scale_factor if isinstance(scale_factor, Sequence) else (scale_factor,) * axes
    factors = tuple(several)
    if not all(isinstance(each, int | float) for each in factors):
        raise OperandError(f"{name}: expected numbers as scale_factor, got {scale_factor!r}")
    if len(factors) != axes or not all(each > 0 and isfinite(each) for each in factors):
        raise ArgumentError(
            f"{name}: expected scale_factor to be a number above 0, or {axes} of them, got "
            f"{scale_factor!r}"
        )
    lengths = tuple(int(length * each) for length, each in zip(inner, factors, strict=True))
    return lengths, (None,) * axes if recompute else factors


def upsample(
    input: Tensor,
    size: Sizes | None = None,
    scale_factor: Scales | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """Return `interpolate` of the same arguments: its older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(
    input: Tensor, size: Sizes | None = None, scale_factor: Scales | None = None
) -> Tensor:
    """Return `interpolate` with mode "nearest": its older name."""
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(
    input: Tensor, size: Sizes | None = None, scale_factor: Scales | None = None
) -> Tensor:
    """Return `interpolate` with mode "bilinear" and corners that meet: its older name."""
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
