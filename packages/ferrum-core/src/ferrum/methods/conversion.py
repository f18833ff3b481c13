"""Tensor methods that change dtype or device, or leave FERRUM."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ferrum import dlpack, dtypes, ops
from ferrum.base import TensorBase, as_tensor
from ferrum.device import Device
from ferrum.dtypes import DTypeLike, as_dtype
from ferrum.errors import (
    ArgumentError,
    CaptureError,
    DeviceError,
    DTypeError,
    GradientError,
    ShapeError,
)
from ferrum.mode import current
from ferrum.operands import the_tensor
from ferrum.plugins import device as find_device

if TYPE_CHECKING:
    from ferrum.tensor import Tensor


class Conversion(TensorBase):
    """Dtypes, devices, numbers, NumPy and DLPack."""

    __slots__ = ()

    # PyTorch's and NumPy's binary operators give way to ours.
    __array_priority__ = 1000

    def to(
        self,
        *args: Any,
        dtype: DTypeLike | None = None,
        device: str | Device | None = None,
        copy: builtins.bool = False,
    ) -> Tensor:
        """Return self in another dtype, on another device, or like another tensor.

        `x.to(fe.float64)`, `x.to("cuda")`, `x.to("cuda", fe.float16)`, `x.to(other)`. Where nothing
        changes it is self, unless `copy`.
        """
        out = as_tensor(self)
        if len(args) == 1 and args[0] is self.array.dtype and not (dtype or device or copy):
            return out  # what promotion asks of most operands
        for arg in args:
            kind, where = _meant(arg)
            if not (kind is None or dtype is None) or not (where is None or device is None):
                raise ArgumentError(f"to: expected at most one dtype and one device, got {args}")
            dtype = kind if dtype is None else dtype
            device = where if device is None else device
        if device is not None:
            target = _device(device)
            if target is not self.device:
                out = ops.to_device(out, source=self.device, target=target)
        if dtype is not None:
            wanted = as_dtype(dtype)
            if wanted is not self.dtype:
                out = ops.astype(out, dtype=wanted)
        return ops.copy(out) if copy and out is self else out

    def type(self, dtype: DTypeLike) -> Tensor:
        """Return self in another dtype."""
        return self.to(dtype=as_dtype(dtype))

    def type_as(self, other: Tensor) -> Tensor:
        """Return self in the dtype of `other`."""
        return self.to(the_tensor("type_as", other).dtype)

    def float(self) -> Tensor:
        """Return self as float32."""
        return self.to(dtypes.float32)

    def double(self) -> Tensor:
        """Return self as float64."""
        return self.to(dtypes.float64)

    def half(self) -> Tensor:
        """Return self as float16."""
        return self.to(dtypes.float16)

    def bfloat16(self) -> Tensor:
        """Return self as bfloat16."""
        return self.to(dtypes.bfloat16)

    def int(self) -> Tensor:
        """Return self as int32."""
        return self.to(dtypes.int32)

    def long(self) -> Tensor:
        """Return self as int64."""
        return self.to(dtypes.int64)

    def short(self) -> Tensor:
        """Return self as int16."""
        return self.to(dtypes.int16)

    def bool(self) -> Tensor:
        """Return self as bool."""
        return self.to(dtypes.bool_)

    def cpu(self) -> Tensor:
        """Return self on the device "cpu".

        DeviceError where ferrum-cpu is not installed: no other device takes its place, though
        "reference" is in the host's memory as well.
        """
        try:
            return self.to("cpu")
        except DeviceError as error:
            raise DeviceError(
                f"cpu: {error}; to('reference') moves to the host's memory without it"
            ) from None

    def cuda(self, index: builtins.int | None = None) -> Tensor:
        """Return self on the device "cuda", or on "cuda:index"."""
        return self.to("cuda" if index is None else f"cuda:{index}")

    def clone(self) -> Tensor:
        """Return a copy of self; gradients go through it."""
        return ops.copy(self)

    def item(self) -> Any:
        """Return the value of a tensor of one element as a Python number."""
        if self.array.shape != () and np.prod(self.array.shape) != 1:
            raise ShapeError(f"item: expected a tensor of one element, got shape {self.shape}")
        return self._host("item").item()

    def tolist(self) -> Any:
        """Return the values as nested lists of Python numbers, or as a number for a 0-d tensor."""
        return self._host("tolist").tolist()

    def numpy(self, *, force: builtins.bool = False) -> npt.NDArray[Any]:
        """Return the values as a NumPy array, which shares memory with self on the host's devices.

        Raises GradientError if self requires grad, unless `force`.
        """
        if self.edge is not None and not force:
            raise GradientError("numpy: self requires grad; use detach().numpy()")
        return self._host("numpy")

    def _host(self, name: str) -> npt.NDArray[Any]:
        if current().forbids_values:
            raise CaptureError(
                f"{name}: the values of a tensor are not known while a function is recorded; "
                f"compute with tensors, as fe.where does for a choice, or read them outside"
            )
        return self.device.backend.to_numpy(self.array)

    def __array__(self, dtype: Any = None, copy: builtins.bool | None = None) -> npt.NDArray[Any]:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ArgumentError(
                    f"__array__: {array.dtype.name} cannot become {np.dtype(dtype).name} uncopied"
                )
            return array.astype(dtype)
        return array.copy() if copy else array

    def __bool__(self) -> builtins.bool:
        return bool(self._one("bool"))

    def __int__(self) -> builtins.int:
        return int(self._one("int"))

    def __float__(self) -> builtins.float:
        return float(self._one("float"))

    def __index__(self) -> builtins.int:
        if self.ndim or self.dtype.kind not in "iub":
            raise DTypeError(
                f"index: expected a 0-d integer tensor, got {self.dtype.name} {self.shape}"
            )
        return int(self._host("index"))

    def _one(self, name: str) -> Any:
        if np.prod(self.shape) != 1:
            raise ShapeError(
                f"{name}: the value of a tensor of shape {self.shape} is ambiguous; "
                f"use any() or all()"
            )
        return self._host(name).reshape(()).item()

    def __dlpack__(self, **options: Any) -> Any:
        """Return a DLPack capsule that shares memory with self."""
        if self.edge is not None:
            raise GradientError("__dlpack__: self requires grad; use detach()")
        return dlpack.export(self._host("__dlpack__"), **options)

    def __dlpack_device__(self) -> tuple[builtins.int, builtins.int]:
        """Return DLPack's (device type, index)."""
        if self.device.kind not in ("cpu", "reference"):
            raise DeviceError(f"__dlpack_device__: '{self.device}' is not in host memory")
        return dlpack.CPU, 0

    def __deepcopy__(self, memo: dict[builtins.int, Any]) -> Tensor:
        x = as_tensor(self)
        if x.edge is not None and not x.is_leaf:
            raise GradientError("deepcopy: only leaves can be copied; use detach() or clone()")
        with_grad = x.grad
        out = type(x).__new__(type(x))  # whose own constructor may take something else
        TensorBase.__init__(out, ops.copy(x.detach()).array, x.device)
        out.requires_grad_(x.requires_grad)
        out.grad = None if with_grad is None else with_grad.clone()
        memo[id(self)] = out
        if extras := getattr(x, "__dict__", None):  # of a subclass
            from copy import deepcopy

            vars(out).update(deepcopy(extras, memo))
        return out


def _meant(arg: Any) -> tuple[Any, Any]:
    """Return the dtype and the device that an argument of `to` stands for, None for neither."""
    if isinstance(arg, TensorBase):
        return arg.dtype, arg.device
    if isinstance(arg, Device) or (isinstance(arg, str) and arg not in dtypes.NAMES):
        return None, arg
    return arg, None


def _device(name: Any) -> Device:
    """Return the device called `name`, or say what the name of a dtype has to be."""
    try:
        return find_device(name)
    except DeviceError:
        try:
            meant = as_dtype(name)
        except DTypeError:
            meant = None
        if meant is None:
            raise
    raise DeviceError(
        f"to: expected a device or a dtype, got {name!r}; for the dtype write "
        f"fe.{meant.name} or {meant.name!r}"
    )
