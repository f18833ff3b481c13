"""Layers of convolution, and of transposed convolution."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

from ferrum import Device, Tensor, empty
from ferrum.dtypes import DTypeLike
from ferrum.errors import ArgumentError, ShapeError
from ferrum.spec import Shape
from ferrum_nn import functional, init
from ferrum_nn.functional.convolution import (
    Sizes,
    convolve,
    convolve_transposed,
    size_of,
    sizes_of,
)
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter

MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What the layers share: their numbers, and parameters that start as Linear's do."""

    axes: int
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes,
        padding: str | Sizes,
        dilation: Sizes,
        output_padding: Sizes,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: str | Device | None,
        dtype: DTypeLike | None,
    ) -> None:
        name = type(self).__name__
        self.in_channels = size_of(name, "in_channels", in_channels)
        self.out_channels = size_of(name, "out_channels", out_channels)
        self.groups = size_of(name, "groups", groups, least=1)
        if in_channels % groups or out_channels % groups:
            raise ArgumentError(
                f"{name}: expected channels in {groups} groups, got in_channels {in_channels} and "
                f"out_channels {out_channels}"
            )
        if padding_mode not in MODES:
            raise ArgumentError(f"{name}: expected padding_mode of {MODES}, got {padding_mode!r}")
        self.kernel_size = sizes_of(name, "kernel_size", kernel_size, self.axes, least=1)
        self.stride = sizes_of(name, "stride", stride, self.axes, least=1)
        self.padding = self._padding(name, padding)
        self.dilation = sizes_of(name, "dilation", dilation, self.axes, least=1)
        self.output_padding = sizes_of(name, "output_padding", output_padding, self.axes)
        self.padding_mode = padding_mode
        first, second = out_channels, in_channels // groups
        if self.transposed:
            first, second = in_channels, out_channels // groups
        shape = (first, second, *self.kernel_size)
        self.weight = Parameter(empty(shape, device=device, dtype=dtype))
        self.bias = Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def _padding(self, name: str, padding: str | Sizes) -> str | Shape:
        if not isinstance(padding, str):
            return sizes_of(name, "padding", padding, self.axes)
        if self.transposed or padding not in ("valid", "same"):
            wanted = "integers" if self.transposed else "'valid', 'same' or integers"
            raise ArgumentError(f"{name}: expected padding to be {wanted}, got {padding!r}")
        if padding == "same" and self.stride != (1,) * self.axes:
            raise ArgumentError(f"{name}: padding 'same' goes with stride 1, got {self.stride}")
        return padding

    def reset_parameters(self) -> None:
        """Draw the parameters anew, uniform between ±1 / √(what one output is a sum of)."""
        init.kaiming_uniform_(self.weight, a=sqrt(5))
        if self.bias is not None:
            inputs = prod(self.weight.shape[1:])
            bound = 1 / sqrt(inputs) if inputs else 0.0
            init.uniform_(self.bias, -bound, bound)

    def _around(self) -> list[int]:
        """Return the padding as `functional.pad` wants it: from the last axis on."""
        if self.padding == "same":
            reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            pairs = [(each // 2, each - each // 2) for each in reach]
        else:
            sizes = (0,) * self.axes if isinstance(self.padding, str) else self.padding
            pairs = [(each, each) for each in sizes]
        return [each for pair in reversed(pairs) for each in pair]

    def extra_repr(self) -> str:
        """Return the numbers that differ from the defaults."""
        zeros, ones = (0,) * self.axes, (1,) * self.axes
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        others = {
            "padding": (self.padding, zeros),
            "dilation": (self.dilation, ones),
            "output_padding": (self.output_padding, zeros),
            "groups": (self.groups, 1),
            "bias": (self.bias is not None, True),
            "padding_mode": (self.padding_mode, "zeros"),
        }
        for what, (value, usual) in others.items():
            text += f", {what}={value}" if value != usual else ""
        return text


class _Convolution(_Conv):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: str | Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            0,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of x, padded as `padding_mode` says."""
        around = self.padding
        if self.padding_mode != "zeros":
            x, around = functional.pad(x, self._around(), mode=self.padding_mode), "valid"
        return convolve(
            self.axes, x, self.weight, self.bias, self.stride, around, self.dilation, self.groups
        )


class Conv1d(_Convolution):
    """Convolve (n, in_channels, length) or (in_channels, length) with learned kernels.

    `weight` is (out_channels, in_channels / groups, kernel_size) and `bias` (out_channels,), or
    None without `bias`; both start uniform between ±1 / √(in_channels / groups kernel_size). What
    lies around x is 0, or what `padding_mode` says: "reflect", "replicate" or "circular", as in
    `functional.pad`. The sizes, strides and 'same' are those of `functional.conv1d`.

    Raises ArgumentError for numbers that do not fit, ShapeError or DTypeError for such an x.
    """

    axes = 1


class Conv2d(_Convolution):
    """Convolve (n, in_channels, h, w) or (in_channels, h, w) with learned kernels.

    `weight` is (out_channels, in_channels / groups, kh, kw). All else is as in `Conv1d`, for each
    of the two axes; a number stands for both of them.
    """

    axes = 2


class Conv3d(_Convolution):
    """Convolve (n, in_channels, d, h, w) or (in_channels, d, h, w) with learned kernels.

    `weight` is (out_channels, in_channels / groups, kd, kh, kw). All else is as in `Conv1d`, for
    each of the three axes; a number stands for all of them.
    """

    axes = 3


class _Transposed(_Conv):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ArgumentError(
                f"{type(self).__name__}: expected padding_mode 'zeros', got {padding_mode!r}"
            )
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            output_padding,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Return the transposed convolution of x.

        `output_size` chooses the result's sizes along the axes, or its whole shape, in place of
        `output_padding`. Raises ArgumentError for one that no padding below the stride gives.
        """
        assert not isinstance(self.padding, str)
        return convolve_transposed(
            self.axes,
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding if output_size is None else self._more(x, output_size),
            self.groups,
            self.dilation,
        )

    def _more(self, x: Tensor, output_size: Sequence[int]) -> Shape:
        """Return the output_padding that makes the result as large as asked."""
        name = type(self).__name__
        if x.ndim not in (self.axes + 1, self.axes + 2):
            raise ShapeError(
                f"{name}: expected x with {self.axes} axes and channels, got {x.shape}"
            )
        asked = tuple(output_size)[-self.axes :]
        if len(output_size) not in (self.axes, x.ndim):
            raise ArgumentError(
                f"{name}: expected output_size to have {self.axes} or {x.ndim} numbers, got "
                f"{output_size}"
            )
        assert not isinstance(self.padding, str)
        numbers = zip(
            x.shape[-self.axes :],
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            strict=True,
        )
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in numbers]
        more = tuple(each - low for each, low in zip(asked, least, strict=True))
        if any(not 0 <= each < s for each, s in zip(more, self.stride, strict=True)):
            most = [low + s - 1 for low, s in zip(least, self.stride, strict=True)]
            raise ArgumentError(
                f"{name}: expected an output_size from {tuple(least)} to {tuple(most)}, "
                f"got {tuple(output_size)}"
            )
        return more


class ConvTranspose1d(_Transposed):
    """Apply the adjoint of a convolution to (n, in_channels, length) or (in_channels, length).

    `weight` is (in_channels, out_channels / groups, kernel_size) and `bias` (out_channels,), or
    None without `bias`; both start uniform between ±1 / √(out_channels / groups kernel_size). The
    sizes are those of `functional.conv_transpose1d`.

    Raises ArgumentError for numbers that do not fit, ShapeError or DTypeError for such an x.
    """

    axes = 1


class ConvTranspose2d(_Transposed):
    """Apply the adjoint of a convolution to (n, in_channels, h, w) or (in_channels, h, w).

    `weight` is (in_channels, out_channels / groups, kh, kw). All else is as in `ConvTranspose1d`,
    for each of the two axes; a number stands for both of them.
    """

    axes = 2


class ConvTranspose3d(_Transposed):
    """Apply the adjoint of a convolution to (n, in_channels, d, h, w) or (in_channels, d, h, w).

    `weight` is (in_channels, out_channels / groups, kd, kh, kw). All else is as in
    `ConvTranspose1d`, for each of the three axes; a number stands for all of them.
    """

    axes = 3
