"""Declaring an operation, and the short roads of its common calls.

`op` declares an operation on tensors, `creation` one that makes a tensor from nothing. What they
return is an `Op` of `ferrum.operation`, with a road in front of `Op.dispatch`, which serves every
call: one function without helpers, which computes and records the common case and hands on the
rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from ferrum import base
from ferrum.device import Device
from ferrum.dtypes import CATEGORY
from ferrum.errors import ArgumentError, OperandError
from ferrum.graph import Edge, Storage, next_sequence
from ferrum.mode import current
from ferrum.node import OpNode
from ferrum.operation import OPS, Op
from ferrum.promotion import SCALARS
from ferrum.spec import Spec

if TYPE_CHECKING:
    from ferrum.tensor import Tensor

__all__ = [
    "OPS",
    "BinaryOp",
    "CreationOp",
    "Declare",
    "Op",
    "UnaryOp",
    "ViewOp",
    "WideOp",
    "creation",
    "op",
]

P = ParamSpec("P")
R = TypeVar("R", bound="Tensor | tuple[Tensor, ...] | None")


class CreationOp(Op[P, "Tensor"]):
    """An op of no tensors. Its one operand is the device, of which rule and kernel know nothing."""

    if TYPE_CHECKING:

        def __call__(self, device: Device, *args: P.args, **attrs: P.kwargs) -> Tensor:  # type: ignore[override]
            """Return a new tensor on `device`."""
    else:

        def __call__(self, device, **attrs):
            mode = current()
            if mode.special:
                return self.dispatch(mode, (device,), attrs)
            try:
                kernel = device.kernels[self]
            except AttributeError:
                return self.dispatch(mode, (device,), attrs)
            if kernel is None or (result := kernel(**attrs)) is NotImplemented:
                return self.dispatch(mode, (device,), attrs)
            return base.Tensor(result, device)

    def operands_of(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the operands, if they are a device."""
        if len(args) != 1 or not isinstance(args[0], Device):
            raise OperandError(
                f"{self.__name__}: expected a device as fe.device(...) returns it, got {args}"
            )
        return args

    def device_of(self, args: Sequence[Any]) -> Device:
        """Return the operand."""
        return args[0]  # type: ignore[no-any-return]

    def arrays(self, args: Sequence[Any]) -> list[Any]:
        """Return an empty list."""
        return []

    def specs(self, args: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """Return what the rule says of a call: on every device the same."""
        return super().specs((), attrs)


class UnaryOp(Op[P, R]):
    """An op of one tensor: a short road for its common call, written out without helpers."""

    if not TYPE_CHECKING:

        def __call__(self, x, **attrs):
            mode = current()
            if mode.special:
                return self.dispatch(mode, (x,), attrs)
            try:
                array = x.array
                device = x.device
                recording = mode.grad and x.edge is not None
            except AttributeError:
                return self.dispatch(mode, (x,), attrs)
            kernel = device.kernels[self]
            if (
                kernel is None
                or (recording and self.vjp is None)
                or (self.floats_only and array.dtype.kind != "f")
                or (result := kernel(array, **attrs) if attrs else kernel(array)) is NotImplemented
            ):
                return self.dispatch(mode, (x,), attrs)
            out = base.Tensor(result, device)
            if recording and CATEGORY[dtype := result.dtype] == 2:
                node = OpNode()
                node.op = self
                node.attrs = attrs
                node.edges = (x.edge,)
                node.device = device
                node.hooks = None
                node.outputs = 1
                node.sequence = next_sequence()
                node.saved = saved = []
                for i, _ in self.keeps:
                    value = out if i else x
                    storage = value.storage
                    if storage is None:
                        new = Storage()
                        storage = value.storage  # another thread may have been here: see storage_of
                        if storage is None:
                            storage = value.storage = new
                    saved.append((value.array, storage, storage.version))
                edge = out.edge = Edge()
                edge.node = node
                edge.index = 0
                edge.shape = result.shape
                edge.dtype = dtype
            return out


class ViewOp(Op[P, R]):
    """An op of one tensor, whose memory the result shares; its gradient reads only shapes."""

    if not TYPE_CHECKING:

        def __call__(self, x, **attrs):
            mode = current()
            if mode.special:
                return self.dispatch(mode, (x,), attrs)
            try:
                array = x.array
                device = x.device
                recording = mode.grad and x.edge is not None
            except AttributeError:
                return self.dispatch(mode, (x,), attrs)
            kernel = device.kernels[self]
            if (
                kernel is None
                or (recording and (self.vjp is None or self.keeps))
                or (result := kernel(array, **attrs)) is NotImplemented
            ):
                return self.dispatch(mode, (x,), attrs)
            out = self.viewed(x, result, attrs)
            if recording:
                node = OpNode()
                node.op = self
                node.attrs = attrs
                node.edges = (x.edge,)
                node.device = device
                node.hooks = None
                node.outputs = 1
                node.sequence = next_sequence()
                node.saved = []
                edge = out.edge = Edge()
                edge.node = node
                edge.index = 0
                edge.shape = out.array.shape
                edge.dtype = out.array.dtype
            return out


class BinaryOp(Op[P, R]):
    """An op of two tensors, or of one and a number: a short road for its common call."""

    if not TYPE_CHECKING:

        def __call__(self, x1, x2, **attrs):
            mode = current()
            if mode.special or x1.__class__ in SCALARS:
                return self.dispatch(mode, (x1, x2), attrs)
            try:
                device = x1.device
                array1 = x1.array
                edge1 = x1.edge
                if x2.__class__ in SCALARS:
                    array2 = x2
                    edge2 = None
                    alike = self.promote and array1.dtype.kind == "f"
                else:
                    array2 = x2.array
                    edge2 = x2.edge
                    alike = x2.device is device and array1.dtype is array2.dtype
            except AttributeError:
                return self.dispatch(mode, (x1, x2), attrs)
            kernel = device.kernels[self]
            recording = mode.grad and (edge1 is not None or edge2 is not None)
            if (
                not alike
                or kernel is None
                or (recording and self.vjp is None)
                or (self.floats_only and array1.dtype.kind != "f")
                or (result := kernel(array1, array2, **attrs) if attrs else kernel(array1, array2))
                is NotImplemented
            ):
                return self.dispatch(mode, (x1, x2), attrs)
            out = base.Tensor(result, device)
            if recording:
                node = OpNode()
                node.op = self
                node.attrs = attrs
                node.edges = (edge1, edge2)
                node.device = device
                node.hooks = None
                node.outputs = 1
                node.sequence = next_sequence()
                node.saved = saved = []
                for i, only in self.keeps:
                    if only is not None and (edge2 if only else edge1) is None:
                        saved.append(None)
                        continue
                    value = x1 if i == 0 else x2 if i == 1 else out
                    if value.__class__ in SCALARS:
                        saved.append(value)
                        continue
                    storage = value.storage
                    if storage is None:
                        new = Storage()
                        storage = value.storage  # another thread may have been here: see storage_of
                        if storage is None:
                            storage = value.storage = new
                    saved.append((value.array, storage, storage.version))
                edge = out.edge = Edge()
                edge.node = node
                edge.index = 0
                edge.shape = result.shape
                edge.dtype = result.dtype
            return out


class WideOp(Op[P, R]):
    """An op of more operands, or of several outputs: a short road where none of them is a list."""

    if not TYPE_CHECKING:

        def __call__(self, *args, **attrs):
            mode = current()
            if mode.special or self.promote:
                return self.dispatch(mode, args, attrs)
            device = None
            arrays, edges, recording = [], [], False
            try:
                for x in args:
                    if x is None or x.__class__ in SCALARS:
                        arrays.append(x)
                        edges.append(None)
                        continue
                    if x.device is not device:
                        if device is not None:
                            return self.dispatch(mode, args, attrs)
                        device = x.device
                    arrays.append(x.array)
                    edges.append(x.edge)
                    if x.edge is not None:
                        recording = mode.grad
                kernel = device.kernels[self]
            except AttributeError:
                return self.dispatch(mode, args, attrs)
            if (
                kernel is None
                or (recording and self.vjp is None)
                or len(args) != len(self.inputs)
                or (result := kernel(*arrays, **attrs)) is NotImplemented
            ):
                return self.dispatch(mode, args, attrs)
            if result.__class__ is tuple:
                outs = tuple([base.Tensor(each, device) for each in result])
            else:
                outs = (base.Tensor(result, device),)
            if recording and self.differentiable:
                self.record(mode, args, tuple(edges), attrs, outs, device)
            return outs[0] if len(self.outputs) == 1 else outs


class Declare:
    """What `op(...)` with options returns: a decorator."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    @overload
    def __call__(self, rule: Callable[P, Spec], /) -> Op[P, Tensor]: ...
    @overload
    def __call__(self, rule: Callable[P, tuple[Spec, ...]], /) -> Op[P, tuple[Tensor, ...]]: ...
    def __call__(self, rule: Any, /) -> Any:
        """Return the op that `rule` declares."""
        count = rule.__code__.co_argcount
        if not count:
            raise ArgumentError(
                f"{rule.__name__}: expected a rule of one tensor or more; declare an op of none "
                f"with ferrum.op.creation"
            )
        road = {1: UnaryOp, 2: BinaryOp}.get(count, WideOp)
        if self.options.get("view"):
            road = ViewOp
        return (road if "outputs" not in self.options else WideOp)(rule, **self.options)


@overload
def op(rule: Callable[P, Spec], /) -> Op[P, Tensor]: ...
@overload
def op(rule: Callable[P, tuple[Spec, ...]], /) -> Op[P, tuple[Tensor, ...]]: ...
@overload
def op(**options: Any) -> Declare: ...
def op(rule: Any = None, /, **options: Any) -> Any:
    """Declare an operation by its shape rule: `(*tensors, *, attributes) -> Spec`.

    `outputs` names them where there are several: the first is the value, the rest are what backward
    needs. `promote` brings operands to one dtype first, as PyTorch's elementwise operations do
    ("same"), and integers to a float ("float"). `view` says that the output shares its input's
    memory. `differentiable=False` is for functions of which mathematics has no gradient. `revision`
    goes up when the meaning changes. `ulp` is the tolerance against float64, in units in the last
    place of the value itself, or of `scale` where that is larger.
    """
    declare = Declare(options)
    return declare if rule is None else declare(rule)


def creation(rule: Callable[P, Spec]) -> CreationOp[P]:
    """Declare an operation of no tensors by its shape rule: `(*, attributes) -> Spec`.

    It is called with the device to run on: `full(device=device, shape=(2,), ...)`. A fallback gets
    the device as its first argument; the rule and the kernels do not get it.
    """
    return CreationOp(rule)
