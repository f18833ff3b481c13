"""Rearranging entries: between channels and positions, and between images and their patches."""

from __future__ import annotations

from ferrum import Tensor
from ferrum.errors import ShapeError
from ferrum.spec import Shape
from ferrum_nn import ops
from ferrum_nn.functional.convolution import Sizes, sizes_of
from ferrum_nn.functional.losses_checks import check_floating, check_tensors
from ferrum_nn.ops.convolution import Geometry

__all__ = [
    "channel_shuffle",
    "fold",
    "native_channel_shuffle",
    "pixel_shuffle",
    "pixel_unshuffle",
    "unfold",
]


def _number(name: str, what: str, given: int) -> int:
    (number,) = sizes_of(name, what, given, 1, least=1)
    return number


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Return (..., c r², h, w) as (..., c, h r, w r): r² channels become a block of r x r.

    Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel
    convolutional neural network", 2016. Raises ShapeError where channels are no multiple of r².
    """
    check_tensors("pixel_shuffle", input)
    r = _number("pixel_shuffle", "upscale_factor", upscale_factor)
    if input.ndim < 3 or input.shape[-3] % (r * r):
        raise ShapeError(
            f"pixel_shuffle: expected (..., channels, h, w) with channels a multiple of {r * r}, "
            f"got {input.shape}"
        )
    *rest, channels, h, w = input.shape
    axis, c = len(rest), channels // (r * r)
    x = input.reshape(*rest, c, r, r, h, w)
    order = (*range(axis), axis, axis + 3, axis + 1, axis + 4, axis + 2)
    return x.permute(order).reshape(*rest, c, h * r, w * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Return (..., c, h r, w r) as (..., c r², h, w): what undoes `pixel_shuffle`.

    Raises ShapeError where heights or widths are no multiple of r.
    """
    check_tensors("pixel_unshuffle", input)
    r = _number("pixel_unshuffle", "downscale_factor", downscale_factor)
    if input.ndim < 3 or input.shape[-2] % r or input.shape[-1] % r:
        raise ShapeError(
            f"pixel_unshuffle: expected (..., channels, h, w) with h and w multiples of {r}, got "
            f"{input.shape}"
        )
    *rest, c, high, wide = input.shape
    axis, h, w = len(rest), high // r, wide // r
    x = input.reshape(*rest, c, h, r, w, r)
    order = (*range(axis), axis, axis + 2, axis + 4, axis + 1, axis + 3)
    return x.permute(order).reshape(*rest, c * r * r, h, w)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Return x (n, c, ...) with its channels, in `groups`, taken from each group in turn.

    Zhang et al., "ShuffleNet", 2018. Raises ShapeError where channels are no multiple of `groups`.
    """
    check_tensors("channel_shuffle", input)
    groups = _number("channel_shuffle", "groups", groups)
    if input.ndim < 3 or input.shape[1] % groups:
        raise ShapeError(
            f"channel_shuffle: expected (n, channels, ...) with channels a multiple of {groups}, "
            f"got {input.shape}"
        )
    n, c, *rest = input.shape
    return input.reshape(n, groups, c // groups, *rest).transpose(1, 2).reshape(n, c, *rest)


def native_channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Return `channel_shuffle` of the same arguments."""
    return channel_shuffle(input, groups)


def _patches(
    name: str,
    size: Shape,
    kernel_size: Sizes,
    dilation: Sizes,
    padding: Sizes,
    stride: Sizes,
) -> tuple[Shape, Geometry, Shape]:
    """Return the kernel's size, how it meets an image of `size`, and the counts of places."""
    kernel = sizes_of(name, "kernel_size", kernel_size, 2, least=1)
    dilations = sizes_of(name, "dilation", dilation, 2, least=1)
    around = sizes_of(name, "padding", padding, 2)
    strides = sizes_of(name, "stride", stride, 2, least=1)
    numbers = zip(size, kernel, strides, around, dilations, strict=True)
    counts = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in numbers)
    if min(counts) < 1:
        raise ShapeError(
            f"{name}: a kernel of {kernel} with dilation {dilations} does not fit into an image of "
            f"{size} with padding {around}"
        )
    return kernel, Geometry(strides, around, dilations, 1), counts


def unfold(
    input: Tensor, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
) -> Tensor:
    """Return the patches of x (n, c, h, w), each a column of (n, c kh kw, patches).

    They are what a convolution with these numbers has under its kernel, with zeros around x, from
    left to right and then down. x may also be (c, h, w).

    Raises ShapeError where no patch fits, DTypeError for integers, ArgumentError for numbers that
    are too small or too many.
    """
    check_tensors("unfold", input)
    check_floating("unfold", input)
    if input.ndim not in (3, 4) or 0 in input.shape[-3:]:
        raise ShapeError(f"unfold: expected (n, c, h, w) or (c, h, w), got {input.shape}")
    x = input if input.ndim == 4 else input.unsqueeze(0)
    kernel, geometry, counts = _patches(
        "unfold", x.shape[2:], kernel_size, dilation, padding, stride
    )
    out = ops.unfold(x, kernel=kernel, size=counts, geometry=geometry)
    return out if input.ndim == 4 else out.squeeze(0)


def fold(
    input: Tensor,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """Return an image (n, c, *output_size) that x's columns (n, c kh kw, patches) add up to.

    It is the adjoint of `unfold`: where patches meet, they are added. x may also be
    (c kh kw, patches).

    Raises ShapeError where x does not have so many rows or columns, DTypeError for integers,
    ArgumentError for numbers that are too small or too many.
    """
    check_tensors("fold", input)
    check_floating("fold", input)
    size = sizes_of("fold", "output_size", output_size, 2, least=1)
    kernel, geometry, counts = _patches("fold", size, kernel_size, dilation, padding, stride)
    rows, columns = kernel[0] * kernel[1], counts[0] * counts[1]
    shape = input.shape
    if len(shape) not in (2, 3) or shape[-2] == 0 or shape[-2] % rows or shape[-1] != columns:
        raise ShapeError(
            f"fold: expected (n, rows, {columns}) or (rows, {columns}) with rows a multiple of "
            f"{rows}, got {shape}"
        )
    x = input if len(shape) == 3 else input.unsqueeze(0)
    out = ops.fold(x, kernel=kernel, size=size, geometry=geometry)
    return out if len(shape) == 3 else out.squeeze(0)
