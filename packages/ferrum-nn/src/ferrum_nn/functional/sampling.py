"""Sampling an image where a grid says, and grids of affine maps."""

from __future__ import annotations

from collections.abc import Sequence

from ferrum import Tensor, linspace
from ferrum.errors import ArgumentError, ShapeError
from ferrum_nn.functional.convolution import sizes_of
from ferrum_nn.functional.losses_checks import check_flags, check_floating, check_tensors
from ferrum_nn.ops.sampling import How
from ferrum_nn.ops.sampling import grid_sample as sample

__all__ = ["affine_grid", "grid_sample"]


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Return the image x (n, c, h, w) where a grid (n, ..., ..., 2) says: (n, c, ..., ...).

    The grid holds (x, y) for each place in the result: -1 and 1 are the edges of the image, or with
    `align_corners` the centres of its outermost entries. "bilinear" weighs the entries around,
    "nearest" takes the closest one, "bicubic" weighs 4 x 4. Entries outside of the image are 0 for
    "zeros", the outermost ones for "border", and mirrored at the edge for "reflection". x may be of
    volumes (n, c, d, h, w) with a grid (n, ..., ..., ..., 3) of (x, y, z), unless for "bicubic".

    Raises ShapeError or DTypeError for tensors that do not go together, ArgumentError for another
    mode.
    """
    check_tensors("grid_sample", input, grid)
    if align_corners is not None:
        check_flags("grid_sample", align_corners=align_corners)
    return sample(input, grid, how=How(mode, padding_mode, bool(align_corners)))


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Return the grid for `grid_sample` that maps an image of shape `size` by theta.

    For matrices theta (n, 2, 3) and size (n, c, h, w) it is (n, h, w, 2), theta (x, y, 1) at each
    place; for (n, 3, 4) and (n, c, d, h, w) it is (n, d, h, w, 3). -1 and 1 are the image's edges,
    or with `align_corners` the centres of its outermost entries.

    Raises ShapeError, DTypeError or ArgumentError for a theta or a size that do not fit.
    """
    name = "affine_grid"
    check_tensors(name, theta)
    check_floating(name, theta)
    if align_corners is not None:
        check_flags(name, align_corners=align_corners)
    try:
        count = len(size)
    except TypeError:
        count = 0
    if count not in (4, 5):
        raise ArgumentError(f"{name}: expected size (n, c, h, w) or (n, c, d, h, w), got {size!r}")
    n, _, *lengths = sizes_of(name, "size", size, count, least=1)
    axes = len(lengths)
    if theta.shape != (n, axes, axes + 1):
        raise ShapeError(
            f"{name}: expected theta ({n}, {axes}, {axes + 1}) for size {tuple(size)}, got "
            f"{theta.shape}"
        )
    out = theta[:, :, -1].reshape(n, *(1,) * axes, axes)
    for axis, length in enumerate(lengths):
        end = 1.0 if align_corners else (length - 1) / length
        if align_corners and length == 1:
            end = 0.0
        places = linspace(-end, end, length, dtype=theta.dtype, device=theta.device)
        along = places.reshape(1, *(-1 if axis == each else 1 for each in range(axes)), 1)
        out = out + along * theta[:, :, axes - 1 - axis].reshape(n, *(1,) * axes, axes)
    return out
