"""Pooling by norms, by windows drawn at random, and the way back from the largest elements."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import TypeAlias

from ferrum import Tensor, arange, concat, rand, relu, tensor, zeros
from ferrum.dtypes import int64
from ferrum.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError
from ferrum.spec import Shape
from ferrum_nn.functional.convolution import Sizes, sizes_of
from ferrum_nn.functional.losses_checks import check_tensors, number
from ferrum_nn.functional.pooling import averaged, check_floats, check_planes, max_pooled
from ferrum_nn.ops.pooling import flat_planes, largest

__all__ = [
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
]

Ratios: TypeAlias = float | Sequence[float]


# ---- norms


def normed(
    axes: int,
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None,
    ceil_mode: bool,
) -> Tensor:
    """Return `lp_pool1d`, 2d or 3d."""
    name = f"lp_pool{axes}d"
    check_planes(name, axes, input)
    check_floats(name, input)
    power = number(name, "norm_type", norm_type)
    if power == 0:
        raise ArgumentError(f"{name}: expected a norm_type that is not 0")
    if abs(power) == inf:
        sign = 1 if power > 0 else -1
        out, _ = max_pooled(axes, input.abs() * sign, kernel_size, stride, 0, 1, ceil_mode)
        return out * sign
    mean = averaged(axes, input**power, kernel_size, stride, 0, ceil_mode, True, None)
    count = prod(sizes_of(name, "kernel_size", kernel_size, axes, least=1))
    # the sign and the absolute value, so that a sum of 0 has a gradient of 0
    total = mean.sign() * relu(mean.abs()) * count
    return total ** (1 / power)


def lp_pool1d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Return (Σ x^p)^(1/p) of each window of x (n, c, length) or (c, length), p the norm_type.

    Windows are those of `avg_pool1d`, and where one reaches over the end, the mean of what it has
    stands for the rest. p may be infinite: the largest |x|. Where the sum is 0, so is the gradient.

    Raises ShapeError or DTypeError for such an x, ArgumentError for numbers that do not fit.
    """
    return normed(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Return (Σ x^p)^(1/p) of each window of x (n, c, h, w).

    As `lp_pool1d` for each of the two axes; a number stands for all of them.
    """
    return normed(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Return (Σ x^p)^(1/p) of each window of x (n, c, d, h, w).

    As `lp_pool1d` for each of the three axes; a number stands for all of them.
    """
    return normed(3, input, norm_type, kernel_size, stride, ceil_mode)


# ---- the way back


def unpooled(
    axes: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    output_size: Sizes | None,
) -> Tensor:
    """Return `max_unpool1d`, 2d or 3d."""
    name = f"max_unpool{axes}d"
    check_tensors(name, indices)
    plane = check_planes(name, axes, input)
    if indices.shape != input.shape:
        raise ShapeError(
            f"{name}: expected indices of the input's shape {input.shape}, got {indices.shape}"
        )
    if indices.dtype is not int64:
        raise DTypeError(f"{name}: expected int64 indices, got {indices.dtype.name}")
    kernel = sizes_of(name, "kernel_size", kernel_size, axes, least=1)
    steps = kernel if stride is None else sizes_of(name, "stride", stride, axes, least=1)
    before = sizes_of(name, "padding", padding, axes)
    numbers = zip(plane, kernel, steps, before, strict=True)
    size = tuple((n - 1) * s + k - 2 * p for n, k, s, p in numbers)
    if output_size is not None:
        size = _asked(name, size, steps, output_size)
    if min(size) < 1:
        raise ArgumentError(f"{name}: expected sizes of at least 1 of the result, got {size}")
    flat, count = flat_planes(indices, axes), prod(size)
    if flat.numel() and not 0 <= int(flat.min()) <= int(flat.max()) < count:
        raise OutOfRangeError(
            f"{name}: expected indices from 0 to {count - 1} for planes of {size}, got "
            f"{int(flat.min())} to {int(flat.max())}"
        )
    first = arange(flat.shape[0], device=input.device).unsqueeze(-1) * count
    out = zeros(flat.shape[0] * count, dtype=input.dtype, device=input.device)
    out[(flat + first).reshape(-1)] = input.reshape(-1)
    return out.reshape(*input.shape[: input.ndim - axes], *size)


def _asked(name: str, usual: Shape, steps: Shape, output_size: Sizes) -> Shape:
    """Return the sizes of a result that are asked for: between those with a stride less or more."""
    axes = len(usual)
    given = output_size if isinstance(output_size, Sequence) else (output_size,)
    asked = sizes_of(name, "output_size", given[-axes:], axes)
    near = all(abs(n - m) < s for n, m, s in zip(asked, usual, steps, strict=True))
    if len(given) not in (axes, axes + 2) or not near:
        least = tuple(n - s + 1 for n, s in zip(usual, steps, strict=True))
        most = tuple(n + s - 1 for n, s in zip(usual, steps, strict=True))
        raise ArgumentError(
            f"{name}: expected output_size from {least} to {most}, got {output_size!r}"
        )
    return asked


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Return zeros with x (n, c, length) or (c, length) at the `indices` of `max_pool1d`.

    They have (length - 1) stride + kernel_size - 2 padding elements, or `output_size`, which says
    the plane or the whole shape and may be up to a stride away. Where several values go to one
    element, the last one stays.

    Raises ShapeError, DTypeError or OutOfRangeError for such tensors, ArgumentError for numbers
    that do not fit.
    """
    return unpooled(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Return zeros with x (n, c, h, w) at the `indices` of `max_pool2d`.

    As `max_unpool1d` for each of the two axes; a number stands for all of them.
    """
    return unpooled(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Return zeros with x (n, c, d, h, w) at the `indices` of `max_pool3d`.

    As `max_unpool1d` for each of the three axes; a number stands for all of them.
    """
    return unpooled(3, input, indices, kernel_size, stride, padding, output_size)


# ---- windows drawn at random


def ratios_of(name: str, given: Ratios, axes: int) -> tuple[float, ...]:
    """Return a ratio for each of the axes; raises ArgumentError unless they are from 0 to 1."""
    each = tuple(given) if isinstance(given, Sequence) else (given,) * axes
    ratios = tuple(number(name, "output_ratio", ratio) for ratio in each)
    if len(ratios) != axes or not all(0 < ratio < 1 for ratio in ratios):
        raise ArgumentError(
            f"{name}: expected output_ratio to be a number between 0 and 1, or {axes} of them, got "
            f"{given!r}"
        )
    return ratios


def fractional(
    axes: int,
    input: Tensor,
    kernel_size: Sizes,
    output_size: Sizes | None,
    output_ratio: Ratios | None,
    random_samples: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return `fractional_max_pool2d_with_indices` or 3d."""
    name = f"fractional_max_pool{axes}d"
    plane = check_planes(name, axes, input)
    check_floats(name, input)
    kernel = sizes_of(name, "kernel_size", kernel_size, axes, least=1)
    if output_size is not None:
        size = sizes_of(name, "output_size", output_size, axes, least=1)
    elif output_ratio is not None:
        ratios = ratios_of(name, output_ratio, axes)
        size = tuple(int(n * ratio) for n, ratio in zip(plane, ratios, strict=True))
    else:
        raise ArgumentError(f"{name}: expected output_size or output_ratio")
    fit = all(1 <= m <= n - k + 1 for n, m, k in zip(plane, size, kernel, strict=True))
    if not fit:
        raise ShapeError(
            f"{name}: {size} windows of {kernel} that start apart do not fit into planes of {plane}"
        )
    lead = input.shape[: input.ndim - axes]
    shape = (lead[0] if len(lead) == 2 else 1, lead[-1], axes)
    if random_samples is None:
        random_samples = rand(*shape, dtype=input.dtype, device=input.device)
    check_tensors(name, random_samples)
    if random_samples.shape != shape:
        raise ShapeError(
            f"{name}: expected _random_samples of shape {shape}, got {random_samples.shape}"
        )
    if random_samples.dtype is not input.dtype:
        raise DTypeError(
            f"{name}: expected _random_samples of {input.dtype.name}, got "
            f"{random_samples.dtype.name}"
        )
    samples = random_samples.detach().reshape(-1, axes)
    if axes == 2:
        samples = samples.flip(-1)  # PyTorch's first number is for the last axis
    places = _drawn(samples, plane, size, kernel)
    flat = flat_planes(input, axes)
    picked = (
        flat.detach()
        .gather(1, places.reshape(flat.shape[0], prod(places.shape[1:])))
        .reshape(*places.shape)
    )
    index = places.gather(-1, largest(picked)).squeeze(-1)
    return flat.gather(1, index).reshape(*lead, *size), index.reshape(*lead, *size)


def _drawn(samples: Tensor, plane: Shape, size: Shape, kernel: Shape) -> Tensor:
    """Return the indices (planes, positions, places) that windows have in flat planes.

    Position i of m starts at ⌊(i + u) a⌋ - ⌊u a⌋ with a = (n - k) / (m - 1), and the last one at
    n - k (Graham, "Fractional max-pooling", 2014).
    """
    device, planes, index = samples.device, samples.shape[0], None
    for axis, (n, m, k) in enumerate(zip(plane, size, kernel, strict=True)):
        u = samples[:, axis : axis + 1]
        starts = tensor([[n - k]], device=device).expand(planes, 1)
        if m > 1:
            a = tensor(n - k, dtype=u.dtype, device=device) / (m - 1)
            before = arange(m - 1, dtype=u.dtype, device=device)
            drawn = ((before + u) * a).to(int64) - (u * a).to(int64)
            starts = concat([drawn, starts], 1)
        along = [m if each == axis else 1 for each in range(len(plane))]
        across = [k if each == axis else 1 for each in range(len(plane))]
        places = (starts.unsqueeze(-1) + arange(k, device=device)).reshape(planes, *along, *across)
        index = places if index is None else index * n + places
    assert index is not None
    return index.reshape(planes, prod(size), prod(kernel))


def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: Ratios | None = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the largest elements of windows of x (n, c, h, w) or (c, h, w) that start at random.

    There are `output_size` of them along each axis, or `output_ratio` times as many as elements.
    They overlap or touch as their starts, which grow by about the same steps, have it. Each plane
    has a number of its own between 0 and 1 for each axis, (n, c, 2) or (1, c, 2), from the default
    generator or `_random_samples`. With `return_indices` the indices in the plane come as well.

    Raises ShapeError or DTypeError for such an x, ArgumentError for numbers that do not fit.
    """
    both = fractional(2, input, kernel_size, output_size, output_ratio, _random_samples)
    return both if return_indices else both[0]


def fractional_max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: Ratios | None = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return `fractional_max_pool2d` and the indices, whatever `return_indices` says."""
    return fractional(2, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: Ratios | None = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the largest elements of windows of x (n, c, d, h, w) that start at random.

    As `fractional_max_pool2d` for each of the three axes; a number stands for all of them.
    """
    both = fractional(3, input, kernel_size, output_size, output_ratio, _random_samples)
    return both if return_indices else both[0]


def fractional_max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: Ratios | None = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return `fractional_max_pool3d` and the indices, whatever `return_indices` says."""
    return fractional(3, input, kernel_size, output_size, output_ratio, _random_samples)
