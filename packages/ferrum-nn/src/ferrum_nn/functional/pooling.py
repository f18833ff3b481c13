"""Pooling as functions: maxima and averages over windows of planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ferrum import Tensor
from ferrum.dtypes import is_floating
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.spec import Shape
from ferrum_nn import ops
from ferrum_nn.functional.convolution import Sizes, sizes_of
from ferrum_nn.functional.losses_checks import check_flags, check_tensors
from ferrum_nn.ops.windows import Windows

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_with_indices",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool3d",
    "max_pool3d_with_indices",
]

OutputSizes: TypeAlias = int | Sequence[int | None] | None


def check_planes(name: str, axes: int, x: Tensor) -> Shape:
    """Return the sizes of the planes of an input (n, c, ...) or (c, ...)."""
    check_tensors(name, x)
    if x.ndim not in (axes + 1, axes + 2):
        raise ShapeError(
            f"{name}: expected an input (n, c, ...) or (c, ...) with planes of {axes} axes, got "
            f"{x.shape}"
        )
    if 0 in x.shape[x.ndim - axes - 1 :]:
        raise ShapeError(f"{name}: expected channels and planes with elements, got {x.shape}")
    return x.shape[x.ndim - axes :]


def check_floats(name: str, x: Tensor) -> None:
    """Raise DTypeError unless x is of floating-point numbers."""
    if not is_floating(x.dtype):
        raise DTypeError(f"{name}: expected a floating-point input, got {x.dtype.name}")


def windows_of(
    name: str,
    plane: Shape,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
) -> tuple[Shape, Windows]:
    """Return the sizes of a result, and the windows that give it."""
    check_flags(name, ceil_mode=ceil_mode)
    axes = len(plane)
    kernel = sizes_of(name, "kernel_size", kernel_size, axes, least=1)
    given = isinstance(stride, Sequence) and not stride
    steps = kernel if stride is None or given else sizes_of(name, "stride", stride, axes, least=1)
    before = sizes_of(name, "padding", padding, axes)
    apart = sizes_of(name, "dilation", dilation, axes, least=1)
    windows, size = Windows(kernel, steps, before, apart), []
    for n, k, s, p, d in zip(plane, *windows, strict=True):
        reach = (k - 1) * d + 1
        if p > k // 2:
            raise ArgumentError(
                f"{name}: expected padding of at most half of kernel_size, got {before} and "
                f"{kernel}"
            )
        room = n + 2 * p - reach
        count = room // s + 1
        if ceil_mode and room % s and count * s < n + p:
            count += 1  # one more starts inside
        if count < 1:
            raise ShapeError(
                f"{name}: a window of {kernel} with dilation {apart} does not fit into planes of "
                f"{plane} with padding {before}"
            )
        if any((o * s - p) % d >= n for o in range(-(-p // s) if d > n else 0)):
            raise ShapeError(
                f"{name}: a window of {kernel} with dilation {apart} meets no element of planes of "
                f"{plane} with padding {before}"
            )
        size.append(count)
    return tuple(size), windows


def max_pooled(
    axes: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
) -> tuple[Tensor, Tensor]:
    """Return `max_pool1d_with_indices`, 2d or 3d."""
    name = f"max_pool{axes}d"
    plane = check_planes(name, axes, input)
    size, windows = windows_of(name, plane, kernel_size, stride, padding, dilation, ceil_mode)
    out, index = ops.max_pool(input, size=size, windows=windows)
    return out, index


def averaged(
    axes: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """Return `avg_pool1d`, 2d or 3d."""
    name = f"avg_pool{axes}d"
    plane = check_planes(name, axes, input)
    check_floats(name, input)
    check_flags(name, count_include_pad=count_include_pad)
    size, windows = windows_of(name, plane, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override is not None:
        (divisor_override,) = sizes_of(name, "divisor_override", divisor_override, 1, _LOWEST)
        if divisor_override == 0:
            raise ArgumentError(f"{name}: expected a divisor_override that is not 0")
    return ops.average_pool(
        input,
        size=size,
        windows=windows,
        padded=count_include_pad,
        divisor=divisor_override,
    )


_LOWEST = -(2**62)  # numbers that may be negative


def output_sizes(name: str, plane: Shape, output_size: OutputSizes) -> Shape:
    """Return the sizes that an adaptive result has; None stands for those of the input."""
    axes = len(plane)
    given = output_size if isinstance(output_size, Sequence) else (output_size,) * axes
    if len(given) != axes:
        raise ArgumentError(f"{name}: expected {axes} numbers as output_size, got {output_size!r}")
    whole = [n if each is None else each for n, each in zip(plane, given, strict=True)]
    return sizes_of(name, "output_size", whole, axes)


def adaptive_average(axes: int, input: Tensor, output_size: OutputSizes) -> Tensor:
    """Return `adaptive_avg_pool1d`, 2d or 3d."""
    name = f"adaptive_avg_pool{axes}d"
    size = output_sizes(name, check_planes(name, axes, input), output_size)
    check_floats(name, input)
    return ops.average_pool(input, size=size, windows=Windows(), padded=False, divisor=None)


def adaptive_max(axes: int, input: Tensor, output_size: OutputSizes) -> tuple[Tensor, Tensor]:
    """Return `adaptive_max_pool1d_with_indices`, 2d or 3d."""
    name = f"adaptive_max_pool{axes}d"
    size = output_sizes(name, check_planes(name, axes, input), output_size)
    out, index = ops.max_pool(input, size=size, windows=Windows())
    return out, index


def max_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the largest element of each window of x (n, c, length) or (c, length).

    Windows have `kernel_size` elements, `dilation` apart, and start `stride` apart, which is
    kernel_size unless given. There are (length + 2 padding - dilation (kernel_size - 1) - 1) //
    stride + 1 of them, with `ceil_mode` rounded up as long as the last one starts inside. What is
    padded is never the largest; NaN always is. `return_indices` asks for the index in the plane of
    each as well: of equals the first.

    Raises ShapeError or DTypeError for such an x, ArgumentError for numbers that do not fit.
    """
    both = max_pooled(1, input, kernel_size, stride, padding, dilation, ceil_mode)
    return both if return_indices else both[0]


def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return `max_pool1d` and the indices, whatever `return_indices` says."""
    return max_pooled(1, input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the largest element of each window of x (n, c, h, w).

    As `max_pool1d` for each of the two axes; a number stands for all of them.
    """
    both = max_pooled(2, input, kernel_size, stride, padding, dilation, ceil_mode)
    return both if return_indices else both[0]


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return `max_pool2d` and the indices, whatever `return_indices` says."""
    return max_pooled(2, input, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the largest element of each window of x (n, c, d, h, w).

    As `max_pool1d` for each of the three axes; a number stands for all of them.
    """
    both = max_pooled(3, input, kernel_size, stride, padding, dilation, ceil_mode)
    return both if return_indices else both[0]


def max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return `max_pool3d` and the indices, whatever `return_indices` says."""
    return max_pooled(3, input, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Return the mean of each window of x (n, c, length) or (c, length).

    Windows are those of `max_pool1d`, without dilation. The padding counts as elements that are 0,
    or not at all without `count_include_pad`.

    Raises ShapeError or DTypeError for such an x, ArgumentError for numbers that do not fit.
    """
    return averaged(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Return the mean of each window of x (n, c, h, w).

    As `avg_pool1d` for each of the two axes; a number stands for all of them. Sums are divided
    by `divisor_override` in place of the number of elements, if it is given.
    """
    return averaged(
        2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Return the mean of each window of x (n, c, d, h, w).

    As `avg_pool1d` for each of the three axes; a number stands for all of them. Sums are divided
    by `divisor_override` in place of the number of elements, if it is given.
    """
    return averaged(
        3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def adaptive_avg_pool1d(input: Tensor, output_size: OutputSizes) -> Tensor:
    """Return the means of output_size windows of x (n, c, length) or (c, length).

    Window i of m has the elements from ⌊i length / m⌋ to ⌈(i + 1) length / m⌉.

    Raises ShapeError or DTypeError for such an x, ArgumentError for numbers that do not fit.
    """
    return adaptive_average(1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: OutputSizes) -> Tensor:
    """Return the means of output_size windows of x (n, c, h, w).

    As `adaptive_avg_pool1d` for each of the two axes; a number stands for all of them, and None
    for as many as x has there.
    """
    return adaptive_average(2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: OutputSizes) -> Tensor:
    """Return the means of output_size windows of x (n, c, d, h, w).

    As `adaptive_avg_pool1d` for each of the three axes; a number stands for all of them, and None
    for as many as x has there.
    """
    return adaptive_average(3, input, output_size)


def adaptive_max_pool1d(
    input: Tensor, output_size: OutputSizes, return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the largest elements of output_size windows of x (n, c, length) or (c, length).

    Window i of m has the elements from ⌊i length / m⌋ to ⌈(i + 1) length / m⌉. With
    `return_indices` their indices in the plane come as well.

    Raises ShapeError or DTypeError for such an x, ArgumentError for numbers that do not fit.
    """
    both = adaptive_max(1, input, output_size)
    return both if return_indices else both[0]


def adaptive_max_pool1d_with_indices(
    input: Tensor, output_size: OutputSizes, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """Return `adaptive_max_pool1d` and the indices, whatever `return_indices` says."""
    return adaptive_max(1, input, output_size)


def adaptive_max_pool2d(
    input: Tensor, output_size: OutputSizes, return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the largest elements of output_size windows of x (n, c, h, w).

    As `adaptive_max_pool1d` for each of the two axes; a number stands for all of them, and None
    for as many as x has there.
    """
    both = adaptive_max(2, input, output_size)
    return both if return_indices else both[0]


def adaptive_max_pool2d_with_indices(
    input: Tensor, output_size: OutputSizes, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """Return `adaptive_max_pool2d` and the indices, whatever `return_indices` says."""
    return adaptive_max(2, input, output_size)


def adaptive_max_pool3d(
    input: Tensor, output_size: OutputSizes, return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """Return the largest elements of output_size windows of x (n, c, d, h, w).

    As `adaptive_max_pool1d` for each of the three axes; a number stands for all of them, and None
    for as many as x has there.
    """
    both = adaptive_max(3, input, output_size)
    return both if return_indices else both[0]


def adaptive_max_pool3d_with_indices(
    input: Tensor, output_size: OutputSizes, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """Return `adaptive_max_pool3d` and the indices, whatever `return_indices` says."""
    return adaptive_max(3, input, output_size)
