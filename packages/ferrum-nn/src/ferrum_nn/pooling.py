"""Layers of pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ferrum import Tensor
from ferrum.errors import ArgumentError
from ferrum_nn.functional.convolution import Sizes, sizes_of
from ferrum_nn.functional.pooling import (
    OutputSizes,
    adaptive_average,
    adaptive_max,
    averaged,
    max_pooled,
)
from ferrum_nn.functional.pooling_others import Ratios, fractional, normed, ratios_of, unpooled
from ferrum_nn.module import Module

Pooled = Tensor | tuple[Tensor, Tensor]


class _MaxPool(Module):
    axes: ClassVar[int]

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, x: Tensor) -> Pooled:
        """Return the largest elements of windows of x, and their indices if asked for."""
        both = max_pooled(
            self.axes,
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
        )
        return both if self.return_indices else both[0]

    def extra_repr(self) -> str:
        """Return the numbers."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """Take the largest of windows of (n, c, length) or (c, length): `functional.max_pool1d`."""

    axes = 1


class MaxPool2d(_MaxPool):
    """Take the largest of windows of (n, c, h, w) or (c, h, w): `functional.max_pool2d`."""

    axes = 2


class MaxPool3d(_MaxPool):
    """Take the largest of windows of (n, c, d, h, w) or (c, d, h, w): `functional.max_pool3d`."""

    axes = 3


class _AvgPool(Module):
    axes: ClassVar[int]

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of windows of x."""
        return averaged(
            self.axes,
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        """Return the numbers."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """Take the mean of windows of (n, c, length) or (c, length): `functional.avg_pool1d`."""

    axes = 1

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        stride = kernel_size if stride is None else stride
        numbers = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
        kernel, steps, before = (sizes_of("AvgPool1d", *each, 1) for each in numbers.items())
        super().__init__(kernel, steps, before, ceil_mode, count_include_pad)


class AvgPool2d(_AvgPool):
    """Take the mean of windows of (n, c, h, w) or (c, h, w): `functional.avg_pool2d`."""

    axes = 2


class AvgPool3d(_AvgPool):
    """Take the mean of windows of (n, c, d, h, w) or (c, d, h, w): `functional.avg_pool3d`."""

    axes = 3


class _AdaptiveAvgPool(Module):
    axes: ClassVar[int]

    def __init__(self, output_size: OutputSizes) -> None:
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of as many windows of x as `output_size` says."""
        return adaptive_average(self.axes, x, self.output_size)

    def extra_repr(self) -> str:
        """Return the sizes of the result."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Make (n, c, output_size) of (n, c, length): `functional.adaptive_avg_pool1d`."""

    axes = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Make (n, c, *output_size) of (n, c, h, w): `functional.adaptive_avg_pool2d`."""

    axes = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Make (n, c, *output_size) of (n, c, d, h, w): `functional.adaptive_avg_pool3d`."""

    axes = 3


class _AdaptiveMaxPool(Module):
    axes: ClassVar[int]

    def __init__(self, output_size: OutputSizes, return_indices: bool = False) -> None:
        self.output_size = output_size
        self.return_indices = return_indices

    def forward(self, x: Tensor) -> Pooled:
        """Return the largest elements of as many windows of x as `output_size` says."""
        both = adaptive_max(self.axes, x, self.output_size)
        return both if self.return_indices else both[0]

    def extra_repr(self) -> str:
        """Return the sizes of the result."""
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Make (n, c, output_size) of (n, c, length): `functional.adaptive_max_pool1d`."""

    axes = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Make (n, c, *output_size) of (n, c, h, w): `functional.adaptive_max_pool2d`."""

    axes = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Make (n, c, *output_size) of (n, c, d, h, w): `functional.adaptive_max_pool3d`."""

    axes = 3


class _LPPool(Module):
    axes: ClassVar[int]

    def __init__(
        self,
        norm_type: float,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        ceil_mode: bool = False,
    ) -> None:
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        """Return the norms of windows of x."""
        return normed(self.axes, x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        """Return the numbers."""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """Take norms of windows of (n, c, length) or (c, length): `functional.lp_pool1d`."""

    axes = 1


class LPPool2d(_LPPool):
    """Take norms of windows of (n, c, h, w) or (c, h, w): `functional.lp_pool2d`."""

    axes = 2


class LPPool3d(_LPPool):
    """Take norms of windows of (n, c, d, h, w) or (c, d, h, w): `functional.lp_pool3d`."""

    axes = 3


class _MaxUnpool(Module):
    axes: ClassVar[int]

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0) -> None:
        name, steps = type(self).__name__, kernel_size if stride is None else stride
        self.kernel_size = sizes_of(name, "kernel_size", kernel_size, self.axes, least=1)
        self.stride = sizes_of(name, "stride", steps, self.axes, least=1)
        self.padding = sizes_of(name, "padding", padding, self.axes)

    def forward(
        self, x: Tensor, indices: Tensor, output_size: Sequence[int] | None = None
    ) -> Tensor:
        """Return zeros with x at the indices of their planes."""
        return unpooled(
            self.axes, x, indices, self.kernel_size, self.stride, self.padding, output_size
        )

    def extra_repr(self) -> str:
        """Return the numbers."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Put x back where `MaxPool1d` found it, between zeros: `functional.max_unpool1d`."""

    axes = 1


class MaxUnpool2d(_MaxUnpool):
    """Put x back where `MaxPool2d` found it, between zeros: `functional.max_unpool2d`."""

    axes = 2


class MaxUnpool3d(_MaxUnpool):
    """Put x back where `MaxPool3d` found it, between zeros: `functional.max_unpool3d`."""

    axes = 3


class _FractionalMaxPool(Module):
    axes: ClassVar[int]
    _random_samples: Tensor | None

    def __init__(
        self,
        kernel_size: Sizes,
        output_size: Sizes | None = None,
        output_ratio: Ratios | None = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        name = type(self).__name__
        if (output_size is None) == (output_ratio is None):
            raise ArgumentError(f"{name}: expected one of output_size and output_ratio")
        self.kernel_size = sizes_of(name, "kernel_size", kernel_size, self.axes, least=1)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = self.output_ratio = None
        if output_size is not None:
            self.output_size = sizes_of(name, "output_size", output_size, self.axes, least=1)
        if output_ratio is not None:
            self.output_ratio = ratios_of(name, output_ratio, self.axes)

    def forward(self, x: Tensor) -> Pooled:
        """Return the largest elements of windows that start at random, and indices if asked for."""
        both = fractional(
            self.axes,
            x,
            self.kernel_size,
            self.output_size,
            self.output_ratio,
            self._random_samples,
        )
        return both if self.return_indices else both[0]


class FractionalMaxPool2d(_FractionalMaxPool):
    """Take the largest of windows at random of (n, c, h, w) or (c, h, w).

    See `functional.fractional_max_pool2d`; exactly one of output_size and output_ratio is given.
    """

    axes = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """Take the largest of windows at random of (n, c, d, h, w) or (c, d, h, w).

    See `functional.fractional_max_pool3d`; exactly one of output_size and output_ratio is given.
    """

    axes = 3
