"""Layers that pad."""

from __future__ import annotations

from typing import ClassVar

from ferrum import Tensor
from ferrum.spec import Shape
from ferrum_nn import functional
from ferrum_nn.functional.convolution import Sizes, sizes_of
from ferrum_nn.module import Module

_LOWEST = -(2**62)  # negative numbers take away


class _Pad(Module):
    """Pads the last `axes` axes, by one number for all ends or by two for each axis."""

    axes: ClassVar[int]
    mode: ClassVar[str] = "constant"

    padding: Shape

    def __init__(self, padding: Sizes) -> None:
        self.padding = sizes_of(
            type(self).__name__, "padding", padding, 2 * self.axes, least=_LOWEST
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return x with more entries at both ends of its last axes."""
        return functional.pad(x, self.padding, self.mode)

    def extra_repr(self) -> str:
        """Return the numbers, from the last axis on."""
        return str(self.padding)


class _ConstantPad(_Pad):
    def __init__(self, padding: Sizes, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        """Return x with `value` at both ends of its last axes."""
        return functional.pad(x, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """Return the numbers, from the last axis on, and the value."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """Pad the last axis with `value`; `padding` is (left, right), or a number for both."""

    axes = 1


class ConstantPad2d(_ConstantPad):
    """Pad the last two axes with `value`; `padding` is (left, right, top, bottom), or a number."""

    axes = 2


class ConstantPad3d(_ConstantPad):
    """Pad the last three axes with `value`.

    `padding` is (left, right, top, bottom, front, back), or a number.
    """

    axes = 3


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Sizes) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """Return the numbers, from the last axis on."""
        return str(self.padding)


class ZeroPad1d(_ZeroPad):
    """Pad the last axis with zeros; `padding` is as in `ConstantPad1d`."""

    axes = 1


class ZeroPad2d(_ZeroPad):
    """Pad the last two axes with zeros; `padding` is as in `ConstantPad2d`."""

    axes = 2


class ZeroPad3d(_ZeroPad):
    """Pad the last three axes with zeros; `padding` is as in `ConstantPad3d`."""

    axes = 3


class ReflectionPad1d(_Pad):
    """Pad the last axis with what lies inside, mirrored at the outermost entry.

    `padding` is as in `ConstantPad1d`.
    """

    axes = 1
    mode = "reflect"


class ReflectionPad2d(_Pad):
    """Pad the last two axes with what lies inside, mirrored at the outermost entry.

    `padding` is as in `ConstantPad2d`.
    """

    axes = 2
    mode = "reflect"


class ReflectionPad3d(_Pad):
    """Pad the last three axes with what lies inside, mirrored at the outermost entry.

    `padding` is as in `ConstantPad3d`.
    """

    axes = 3
    mode = "reflect"


class ReplicationPad1d(_Pad):
    """Pad the last axis with the outermost entry.

    `padding` is as in `ConstantPad1d`.
    """

    axes = 1
    mode = "replicate"


class ReplicationPad2d(_Pad):
    """Pad the last two axes with the outermost entry.

    `padding` is as in `ConstantPad2d`.
    """

    axes = 2
    mode = "replicate"


class ReplicationPad3d(_Pad):
    """Pad the last three axes with the outermost entry.

    `padding` is as in `ConstantPad3d`.
    """

    axes = 3
    mode = "replicate"


class CircularPad1d(_Pad):
    """Pad the last axis with what lies at the other end.

    `padding` is as in `ConstantPad1d`.
    """

    axes = 1
    mode = "circular"


class CircularPad2d(_Pad):
    """Pad the last two axes with what lies at the other end.

    `padding` is as in `ConstantPad2d`.
    """

    axes = 2
    mode = "circular"


class CircularPad3d(_Pad):
    """Pad the last three axes with what lies at the other end.

    `padding` is as in `ConstantPad3d`.
    """

    axes = 3
    mode = "circular"
