"""Convolution as functions."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import TypeAlias

from ferrum import Tensor
from ferrum.errors import ArgumentError, OperandError, ShapeError
from ferrum.spec import Shape
from ferrum_nn import ops
from ferrum_nn.functional.losses_checks import check_tensors
from ferrum_nn.ops.convolution import Geometry

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]

Sizes: TypeAlias = int | Sequence[int]
_LARGEST = 2**60  # sums of a few such numbers fit into 64 bits


def sizes_of(name: str, what: str, given: Sizes, axes: int, least: int = 0) -> Shape:
    """Return a number for each of the axes: `given`, or its one number for all of them.

    Raises OperandError for what are no integers, ArgumentError for another count of them and for
    one below `least` or above 2⁶⁰.
    """
    numbers = (given,) if isinstance(given, int) or not isinstance(given, Sequence) else given
    try:
        sizes = () if bool in map(type, numbers) else tuple(map(index, numbers))
    except TypeError:
        sizes = ()
    if numbers and not sizes:
        raise OperandError(f"{name}: expected integers as {what}, got {given!r}")
    sizes = sizes * axes if len(sizes) == 1 else sizes
    if len(sizes) != axes or min(sizes) < least:
        several = f", or {axes} of them" if axes > 1 else ""
        raise ArgumentError(
            f"{name}: expected {what} to be a number of at least {least}{several}, got {given!r}"
        )
    if max(sizes) > _LARGEST:
        raise ArgumentError(f"{name}: expected {what} to be at most 2⁶⁰, got {given!r}")
    return sizes


def size_of(name: str, what: str, given: int, least: int = 0) -> int:
    """Return one number, or raise as `sizes_of` does."""
    (size,) = sizes_of(name, what, given, 1, least)
    return size


def _operands(
    name: str, axes: int, input: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, bool]:
    """Check the operands; return the input as a batch, and whether it was one."""
    check_tensors(name, input, weight, *(() if bias is None else (bias,)))
    if weight.ndim != axes + 2 or input.ndim not in (axes + 1, axes + 2):
        raise ShapeError(
            f"{name}: expected an input (n, c, ...) or (c, ...) and a weight, of {axes} axes for "
            f"'...' and {axes + 2} in all, got {input.shape} and {weight.shape}"
        )
    batch = input.ndim == axes + 2
    return (input if batch else input.unsqueeze(0)), batch


def _check_channels(name: str, x: Tensor, weight: Tensor, groups: int, channels: int) -> None:
    """Raise unless the batch x has as many channels as this weight goes with."""
    if x.shape[1] != channels:
        raise ShapeError(
            f"{name}: expected an input of {channels} channels for a weight of {weight.shape} and "
            f"groups={groups}, got {x.shape[1]} channels in {x.shape}"
        )


def convolve(
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: str | Sizes,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    """Return `conv1d`, `conv2d` or `conv3d`."""
    name = f"conv{axes}d"
    x, batch = _operands(name, axes, input, weight, bias)
    parts = size_of(name, "groups", groups, least=1)
    _check_channels(name, x, weight, parts, parts * weight.shape[1])
    kernel = weight.shape[2:]
    strides = sizes_of(name, "stride", stride, axes, least=1)
    dilations = sizes_of(name, "dilation", dilation, axes, least=1)
    reach = tuple(d * (k - 1) for d, k in zip(dilations, kernel, strict=True))
    if padding == "same":
        if any(each != 1 for each in strides):
            raise ArgumentError(f"{name}: padding 'same' goes with stride 1, got stride {stride!r}")
        size, before = x.shape[2:], tuple(each // 2 for each in reach)  # the odd one goes behind
    else:
        if isinstance(padding, str) and padding != "valid":
            raise ArgumentError(
                f"{name}: expected padding to be 'valid', 'same' or integers, got {padding!r}"
            )
        around = 0 if isinstance(padding, str) else padding
        before = sizes_of(name, "padding", around, axes)
        room = tuple(
            length + 2 * each - over - 1
            for length, each, over in zip(x.shape[2:], before, reach, strict=True)
        )
        if min(room) < 0 or 0 in kernel:
            raise ShapeError(
                f"{name}: a kernel of {kernel} with dilation {dilations} does not fit into an "
                f"input of {x.shape[2:]} with padding {before}"
            )
        size = tuple(each // s + 1 for each, s in zip(room, strides, strict=True))
    geometry = Geometry(strides, before, dilations, parts)
    out = ops.convolution(x, weight, bias, size=size, geometry=geometry)
    return out if batch else out.squeeze(0)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: str | Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Return the cross-correlation of x (n, c, length) with a weight (o, c / groups, k).

    The result is (n, o, (length + 2 padding - dilation (k - 1) - 1) // stride + 1); x may also be
    (c, length). Zeros are added around x: as many as `padding` says, none for 'valid', and for
    'same', which goes with stride 1, as many as keep the length. Input and output channels form
    `groups` that do not meet. The bias is (o,).

    Raises ShapeError or DTypeError for operands that do not fit, ArgumentError for numbers that
    are too small or too many.
    """
    return convolve(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: str | Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Return the cross-correlation of x (n, c, h, w) with a weight (o, c / groups, kh, kw).

    As `conv1d` for each of the two axes; a number stands for both of them.
    """
    return convolve(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: str | Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Return the cross-correlation of x (n, c, d, h, w) with a weight (o, c / groups, kd, kh, kw).

    As `conv1d` for each of the three axes; a number stands for all of them.
    """
    return convolve(3, input, weight, bias, stride, padding, dilation, groups)


def convolve_transposed(
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
) -> Tensor:
    """Return `conv_transpose1d`, 2d or 3d."""
    name = f"conv_transpose{axes}d"
    x, batch = _operands(name, axes, input, weight, bias)
    parts = size_of(name, "groups", groups, least=1)
    _check_channels(name, x, weight, parts, weight.shape[0])
    strides = sizes_of(name, "stride", stride, axes, least=1)
    before = sizes_of(name, "padding", padding, axes)
    more = sizes_of(name, "output_padding", output_padding, axes)
    dilations = sizes_of(name, "dilation", dilation, axes, least=1)
    if any(each >= max(s, d) for each, s, d in zip(more, strides, dilations, strict=True)):
        raise ArgumentError(
            f"{name}: expected output_padding to be less than stride or dilation, got {more}, "
            f"{strides} and {dilations}"
        )
    numbers = zip(x.shape[2:], weight.shape[2:], strides, before, dilations, more, strict=True)
    size = tuple((n - 1) * s - 2 * p + d * (k - 1) + m + 1 for n, k, s, p, d, m in numbers)
    if min(size) < 1 or 0 in weight.shape[2:]:
        raise ShapeError(
            f"{name}: an input of {x.shape[2:]} and a kernel of {weight.shape[2:]} with stride "
            f"{strides} and padding {before} would give a result of {size}"
        )
    geometry = Geometry(strides, before, dilations, parts)
    out = ops.convolution_input(x, weight, bias, size=size, geometry=geometry)
    return out if batch else out.squeeze(0)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Return what `conv1d` with this weight (c, o / groups, k) has as the gradient of its input.

    x (n, c, length) or (c, length) stands for the gradient of its result. The result here is (n, o,
    (length - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1): of the lengths that a
    convolution with this stride takes to `length`, `output_padding` chooses one.

    Raises ShapeError or DTypeError for operands that do not fit, ArgumentError for numbers that
    are too small or too many and for an output_padding not below both stride and dilation.
    """
    return convolve_transposed(
        1, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Return what `conv2d` with this weight (c, o / groups, kh, kw) has as gradient of its input.

    As `conv_transpose1d` for each of the two axes; a number stands for both of them.
    """
    return convolve_transposed(
        2, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Return what `conv3d` with this weight has as gradient of its input.

    The weight is (c, o / groups, kd, kh, kw). As `conv_transpose1d` for each of the three axes; a
    number stands for all of them.
    """
    return convolve_transposed(
        3, input, weight, bias, stride, padding, output_padding, groups, dilation
    )
