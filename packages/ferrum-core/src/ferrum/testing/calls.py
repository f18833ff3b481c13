"""Calls that the kit makes: a sample of an op in one dtype, and what it must give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from ferrum import ops, plugins
from ferrum.device import Device
from ferrum.dtypes import CATEGORY, DType, bool_, float64, is_floating
from ferrum.errors import FerrumError
from ferrum.mode import no_grad
from ferrum.operands import flat
from ferrum.operation import Op
from ferrum.promotion import get_default_dtype, result_type
from ferrum.samples import Input, Sample, Sampler
from ferrum.spec import Spec
from ferrum.tensor import Tensor

Array = npt.NDArray[Any]


def oracle_device() -> Device:
    """Return the device that right answers come from."""
    return plugins.device("reference")


def upload(device: Device, array: Array) -> Tensor:
    """Return a tensor on `device` with memory of its own."""
    return Tensor(device.from_numpy(array.copy()), device)


def download(tensor: Tensor) -> Array:
    """Return a copy of the values of `tensor`."""
    return np.array(tensor.device.backend.to_numpy(tensor.array))


def nested(function: Callable[[Any], Any], operands: Iterable[Any], kind: type = np.ndarray) -> Any:
    """Return `operands` with `function` applied to those of class `kind`, in lists as well."""
    return [
        nested(function, each, kind)
        if isinstance(each, (list, tuple))
        else function(each)
        if isinstance(each, kind)
        else each
        for each in operands
    ]


def among(operands: Sequence[Any], kind: type = np.ndarray) -> list[Any]:
    """Return the operands of class `kind`, those in lists as well."""
    return [each for each in flat(operands) if isinstance(each, kind)]


def outputs_of(op: Op[..., Any], args: Sequence[Any], result: Any) -> list[Tensor]:
    """Return what a call gave: its results, or what it wrote."""
    return among([args[i] for i in op.writes] if op.writes else [result], Tensor)


def is_keyed(op: Op[..., Any]) -> bool:
    """Return whether `op` draws random numbers from a `key`: other ones in each dtype."""
    return "key" in op.attributes and not op.view


def with_copies(op: Op[..., Any], args: Iterable[Any]) -> list[Any]:
    """Return `args` with copies of what `op` writes, for leaves must not be written."""
    return [
        nested(ops.copy, [arg], Tensor)[0] if i in op.writes else arg for i, arg in enumerate(args)
    ]


def in_dtype(given: Input, dtype: DType | None) -> Array:
    """Return the values of `given` in its own dtype, else in `dtype`.

    Whole numbers come from rounding, infinities become the ends of the range, and NaN becomes 0.
    """
    target = given.dtype or dtype or float64
    values = given.values
    with np.errstate(all="ignore"):
        if is_floating(target) or values.dtype.kind != "f":
            return values.astype(target)
        whole = np.rint(np.where(np.isfinite(values), values, 0)).astype(np.int64)
        if target is bool_:
            return np.asarray((whole % 2 == 1) | np.isinf(values))
        ends = np.iinfo(target)
        limits = np.where(values > 0, ends.max, ends.min)
        return np.where(np.isinf(values), limits, whole).astype(target)


@dataclass(frozen=True, eq=False)
class Call:
    """Sample `number` of `op`, with arrays for its tensors; `dtype` is the one under test, if any.

    `open` are the numbers of the arrays that the sample left in that dtype.
    """

    op: Op[..., Any]
    number: int
    dtype: DType | None
    operands: list[Any]
    attrs: dict[str, Any]
    open: tuple[int, ...] = ()
    smooth: bool = True

    @property
    def arrays(self) -> list[Array]:
        """The values of the tensors among the operands."""
        return among(self.operands)

    @property
    def written(self) -> list[Array]:
        """The values of the operands that the op writes."""
        return among([self.operands[i] for i in self.op.writes])

    @property
    def moved(self) -> tuple[int, ...]:
        """The numbers of the arrays that gradients are asked for.

        An operand of a fixed dtype, beside others whose dtype is open, is a count or the like.
        """
        numbers = self.open or range(len(self.arrays))
        return tuple(i for i in numbers if is_floating(self.arrays[i].dtype))

    def with_moved(self, values: Iterable[Array]) -> Call:
        """Return this call with other arrays where gradients are asked for."""
        others, number = dict(zip(self.moved, values, strict=True)), count()
        return self.changed(lambda x: others.get(next(number), x))

    def operands_on(self, device: Device) -> list[Any]:
        """Return the operands of the call on `device`, which is that of an op of no tensors."""
        return self.operands if self.op.inputs else [device]

    def attributes(self, device: Device) -> dict[str, Any]:
        """Return the attributes of the call on `device`, which a sample cannot know."""
        devices = {"source": device, "target": oracle_device()}
        named = {name: each for name, each in devices.items() if name in self.op.attributes}
        return {**named, **self.attrs}

    def promoted(self) -> list[Any]:
        """Return the operands as the kernel meets them."""
        if not self.op.promote:
            return self.operands
        dtype = result_type(*self.operands)
        if self.op.floats_only and CATEGORY[dtype] < 2:
            dtype = get_default_dtype()
        promoted: list[Any] = nested(lambda x: x.astype(dtype), self.operands)
        return promoted

    def specs(self, device: Device) -> tuple[Spec, ...]:
        """Return the specs of what the call gives, or raise what the op's rule raises."""
        specs = self.op.specs(self.promoted(), self.attributes(device))
        if self.op.writes:
            return tuple(Spec(x.shape, x.dtype) for x in self.written)
        return specs if specs.__class__ is tuple else (specs,)

    def lifted(self) -> Call:
        """Return the call in float64, but with the operands as they were rounded before."""
        if is_keyed(self.op):
            return self
        attrs = {name: _wide(value) for name, value in self.attrs.items()}
        return replace(self, operands=nested(lifted, self.promoted()), attrs=attrs)

    @cached_property
    def expected(self) -> list[Array] | FerrumError:
        """What the call must give, worked out by the reference device in float64; or must raise."""
        device, call = oracle_device(), self.lifted()
        args = nested(lambda x: upload(device, x), call.operands_on(device))
        try:
            with no_grad():
                result = self.op(*args, **call.attributes(device))
        except FerrumError as error:
            return error
        return [download(out) for out in outputs_of(self.op, args, result)]

    @property
    def wanted(self) -> list[Array]:
        """The arrays that the call must give."""
        assert not isinstance(self.expected, FerrumError)  # those are only asked for their error
        return self.expected

    def dtypes(self, device: Device) -> set[DType]:
        """Return the dtypes of all tensors that go in or come out."""
        return {x.dtype for x in self.arrays} | {spec.dtype for spec in self.specs(device)}

    def changed(self, function: Callable[[Array], Array]) -> Call:
        """Return this call with `function` applied to the values of its tensors."""
        return replace(self, operands=nested(function, self.operands))

    def __str__(self) -> str:
        parts = [_text(each) for each in self.operands]
        parts += [f"{name}={_text(value)}" for name, value in self.attrs.items()]
        return f"{self.op.__name__}({', '.join(parts)})"


def _wide(value: Any) -> Any:
    """Return float64 for a floating-point dtype among the attributes, anything else as it is."""
    is_dtype = isinstance(value, np.dtype)
    return float64 if is_dtype and is_floating(value) else value


def lifted(x: Array) -> Array:
    """Return floating-point values in float64, others as they are."""
    return x.astype(np.float64) if is_floating(x.dtype) else x


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype.name} {value.shape}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return value.name if isinstance(value, np.dtype) else repr(value)


def samples_of(op: Op[..., Any]) -> list[Sample]:
    """Return the samples of `op`, the same at every call."""
    return [] if op.sampler is None else list(op.sampler(Sampler(op.name)))


def takes_dtypes(sample: Sample) -> bool:
    """Return whether a sample leaves a dtype open: that of a tensor, or of what an op creates."""
    inputs = among(sample.inputs, Input)
    return any(each.dtype is None for each in inputs) if inputs else "dtype" in sample.attrs


def call_of(op: Op[..., Any], number: int, sample: Sample, dtype: DType | None) -> Call:
    """Return `sample` in `dtype`."""
    inputs = among(sample.inputs, Input)
    operands = nested(lambda given: in_dtype(given, dtype), sample.inputs, Input)
    attrs = {**sample.attrs, "dtype": dtype} if dtype and not inputs else sample.attrs
    left_open = tuple(i for i, each in enumerate(inputs) if each.dtype is None)
    return Call(op, number, dtype, operands, attrs, left_open, sample.smooth)
