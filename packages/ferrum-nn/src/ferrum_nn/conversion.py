"""Moving a module to other devices and dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from ferrum import Device, Tensor, bfloat16, empty_like, float16, float32, float64
from ferrum import device as find_device
from ferrum.dtypes import DType, DTypeLike, as_dtype, is_floating
from ferrum.errors import ArgumentError, DTypeError, UnsupportedError


class Conversions:
    """The methods of a module that change where its tensors are, and of which dtype."""

    __slots__ = ()

    def _apply(self, change: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace what every parameter and buffer holds by `change` of it."""
        raise UnsupportedError(
            f"{type(self).__name__}: the class defines no _apply(self, change, recurse)"
        )

    def to(
        self,
        *args: Any,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> Self:
        """Move all parameters and buffers to a device, cast the floating-point ones. Returns self.

        `to("cuda")`, `to(fe.float64)`, `to("cuda", fe.float16)`, `to("half")`, `to(other_tensor)`.
        Parameters stay the same objects, so an optimizer goes on with them. Raises DTypeError for
        a dtype of integers, DeviceError for a device that is not there; nothing is changed then.
        """
        target, wanted = _target(args, device, dtype)

        def moved(x: Tensor) -> Tensor:
            return x.to(device=target, dtype=wanted if is_floating(x.dtype) else None)

        return self._apply(moved)

    def type(self, dst_type: DTypeLike) -> Self:
        """Cast the floating-point parameters and buffers. Returns self."""
        return self.to(dtype=dst_type)

    def float(self) -> Self:
        """Cast to float32. Returns self."""
        return self.to(dtype=float32)

    def double(self) -> Self:
        """Cast to float64. Returns self."""
        return self.to(dtype=float64)

    def half(self) -> Self:
        """Cast to float16. Returns self."""
        return self.to(dtype=float16)

    def bfloat16(self) -> Self:
        """Cast to bfloat16. Returns self."""
        return self.to(dtype=bfloat16)

    def cpu(self) -> Self:
        """Move to the device "cpu". Returns self."""
        return self.to(device="cpu")

    def cuda(self, device: int | None = None) -> Self:
        """Move to the device "cuda", or to "cuda:device". Returns self."""
        return self.to(device="cuda" if device is None else f"cuda:{device}")

    def to_empty(self, *, device: str | Device | None, recurse: bool = True) -> Self:
        """Move to a device without what the parameters and buffers hold. Returns self.

        Without `recurse`, only what this module holds itself.
        """
        target = None if device is None else find_device(device)
        return self._apply(lambda x: empty_like(x, device=target), recurse)


def _target(
    args: tuple[Any, ...], device: str | Device | None, dtype: DTypeLike | None
) -> tuple[Device | None, DType | None]:
    """Return where, and to which dtype, the arguments of `Module.to` say that a module goes."""
    for arg in args:
        if isinstance(arg, Tensor):
            device, dtype = arg.device, arg.dtype
        elif isinstance(arg, Device) or (isinstance(arg, str) and not _is_dtype(arg)):
            device = arg
        elif arg is not None:
            if dtype is not None:
                raise ArgumentError(f"to: expected one dtype, got {dtype} and {arg}")
            dtype = arg
    wanted = None if dtype is None else as_dtype(dtype)
    if wanted is not None and not is_floating(wanted):
        raise DTypeError(f"to: expected a floating-point dtype for a module, got {wanted.name}")
    return None if device is None else find_device(device), wanted


def _is_dtype(name: str) -> bool:
    try:
        as_dtype(name)
    except DTypeError:
        return False
    return True
