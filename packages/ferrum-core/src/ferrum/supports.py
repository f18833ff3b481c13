"""Saying what a device can do, without doing it.

The question is tried on a device of shapes: its arrays have a shape and a dtype and no values, and
its kernels are the rules of those ops that the real device has kernels for. Ops decompose and
gradients are taken there as they would be on the real one, and nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ferrum import autograd, ops
from ferrum.backend import ABI, Backend, Kernel, Kernels
from ferrum.device import Device, KernelCache
from ferrum.dtypes import DTYPES, DType, DTypeLike, as_dtype, float32, is_floating
from ferrum.errors import ArgumentError, FerrumError, UnsupportedError
from ferrum.mode import Mode, Observer, using
from ferrum.operands import flat
from ferrum.operation import OPS, Op
from ferrum.plugins import load_ops
from ferrum.samples import Input, Sample, Sampler
from ferrum.spec import Shape
from ferrum.tensor import Tensor


@dataclass(frozen=True)
class Support:
    """How a device runs an op: "native", "decomposed", or "" where it does not, for `reason`."""

    how: str = ""
    reason: str = ""

    @property
    def native(self) -> bool:
        """Whether the device has a kernel of its own for the op."""
        return self.how == "native"

    @property
    def decomposed(self) -> bool:
        """Whether the op is composed of others that the device runs."""
        return self.how == "decomposed"

    def __bool__(self) -> bool:
        return bool(self.how)

    def __str__(self) -> str:
        return self.how or f"no: {self.reason}"


def supports(
    device: Device, op: str | Op[..., Any], dtype: DTypeLike | None = None, order: int = 0
) -> Support:
    """Return what `Device.supports` says."""
    if order.__class__ is not int or order < 0:
        raise ArgumentError(f"supports: expected an order of 0 or more, got {order!r}")
    wanted = None if dtype is None else as_dtype(dtype)
    found = named(op) if isinstance(op, str) else op
    if found is None:
        return Support(reason=f"no op is called {op!r}")
    if wanted is not None and wanted not in device.backend.dtypes:
        return Support(reason=f"device '{device}' has no {wanted.name}")
    if order and not (found.differentiable and found.inputs):
        return Support(reason=f"{found.name} has no derivative")
    return _best(device, found, wanted, order)


def named(name: str) -> Op[..., Any] | None:
    """Return the op called `name`, with or without its distribution; the core's come first."""
    found = _look_up(name)
    if found is None:
        load_ops()
        found = _look_up(name)
    return found


def _look_up(name: str) -> Op[..., Any] | None:
    full = next((each for each in (name, f"core.{name}") if each in OPS), None)
    if full is not None:
        return OPS[full]
    alike = [op for op in OPS.values() if op.__name__ == name]
    if len(alike) > 1:
        names = ", ".join(sorted(op.name for op in alike))
        raise ArgumentError(f"supports: {name!r} may be any of {names}; say which")
    return alike[0] if alike else None


def _best(device: Device, op: Op[..., Any], dtype: DType | None, order: int) -> Support:
    """Return the best answer over the op's samples, and over all dtypes if none is wanted."""
    stage = _stage(device)
    answers = []
    for each in _dtypes(device) if dtype is None else [dtype]:
        for sample in _good_samples(op):
            answers.append(_tried(stage, op, sample, each, order))
            if answers[-1].native:
                return answers[-1]
    nothing = Support(reason=f"{op.name} has no samples to try it with")
    return next(filter(None, answers), answers[0] if answers else nothing)


def _dtypes(device: Device) -> list[DType]:
    """Return the dtypes of a device, the one first that a reason for a no is best given for."""
    return sorted(
        (each for each in DTYPES if each in device.backend.dtypes),
        key=lambda each: each is not float32,
    )


def _good_samples(op: Op[..., Any]) -> Iterator[Sample]:
    for sample in op.sampler(Sampler(op.name)) if op.sampler else ():
        if sample.error is None:
            yield sample


# ---- the device of shapes


@dataclass(frozen=True)
class _Outline:
    """An array without values."""

    shape: Shape
    dtype: DType


class _Outlines(Backend):
    """The memory of the device of shapes."""

    abi = ABI

    def __init__(self, dtypes: frozenset[DType]) -> None:
        self.dtypes = dtypes  # type: ignore[misc]  # those of the real device, not of this class

    kernels: Kernels = MappingProxyType({})  # `_Rules` finds them elsewhere

    def from_numpy(self, value: npt.NDArray[Any]) -> _Outline:
        return _Outline(value.shape, value.dtype)

    def to_numpy(self, array: _Outline) -> npt.NDArray[Any]:
        """Return zeros: something that a fallback can look at."""
        return np.zeros(array.shape, array.dtype)


class _Rules(KernelCache):
    """For each kernel of a real device, the rule of its op."""

    __slots__ = ("real",)

    def __init__(self, real: Device, backend: Backend) -> None:
        super().__init__(backend, str(real))
        self.real = real

    def find(self, op: Op[..., Any]) -> Kernel | None:
        kernel = self.real.kernels.find(op)
        return kernel and kernel._replace(function=_rule_alone(op), checked=False)


def _rule_alone(op: Op[..., Any]) -> Callable[..., Any]:
    def run(*operands: Any, **attrs: Any) -> Any:
        specs = op.rule(*operands, **attrs)
        outlines = [
            # What depends on values is -1 in a rule: here it is one element.
            _Outline(tuple(1 if size < 0 else size for size in spec.shape), spec.dtype)
            for spec in (specs if specs.__class__ is tuple else (specs,))
        ]
        return tuple(outlines) if len(outlines) > 1 else outlines[0]

    return run


def _stage(real: Device) -> Device:
    """Return a device that has kernels where `real` has, and computes nothing."""
    backend = _Outlines(real.backend.dtypes)
    stage = Device(real.kind, real.index, backend)
    stage.kernels = _Rules(real, backend)
    return stage


# ---- one try


class _First(Observer):
    """How `op` ran when it ran first."""

    def __init__(self, op: Op[..., Any]) -> None:
        self.op = op
        self.how = ""

    def ran(self, op: Op[..., Any], device: Device, native: bool) -> None:
        if op is self.op and not self.how:
            self.how = "native" if native else "decomposed"


def _tried(stage: Device, op: Op[..., Any], sample: Sample, dtype: DType, order: int) -> Support:
    first = _First(op)
    try:
        with using(Mode(grad=order > 0)):
            operands = [_operand(each, dtype, stage, order > 0) for each in sample.inputs]
            operands = operands if op.inputs else [stage]
            leaves = [x for x in flat(operands) if isinstance(x, Tensor) and x.requires_grad]
            if order and not leaves:
                raise UnsupportedError(f"{op.name}: {dtype.name} has no gradients")
            for i in op.writes:  # leaves must not be written
                operands[i] = _copied(operands[i])
        with using(Mode(grad=order > 0, observers=(first,))):
            result = op(*operands, **_attributes(op, sample, dtype, stage))
            _differentiate(flat([result]), leaves, order)
    except (FerrumError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        return Support(reason=str(error))
    return Support(first.how)


def _copied(operand: Any) -> Any:
    return [ops.copy(x) for x in operand] if isinstance(operand, list) else ops.copy(operand)


def _operand(value: Any, dtype: DType, stage: Device, grad: bool) -> Any:
    if isinstance(value, list):
        return [_operand(each, dtype, stage, grad) for each in value]
    if not isinstance(value, Input):
        return value
    chosen = value.dtype or dtype
    if chosen not in stage.backend.dtypes:
        raise UnsupportedError(f"device '{stage}' has no {chosen.name}")
    made = Tensor(_Outline(value.values.shape, chosen), stage)
    return made.requires_grad_(grad and is_floating(chosen))


def _attributes(op: Op[..., Any], sample: Sample, dtype: DType, stage: Device) -> dict[str, Any]:
    devices: dict[str, Any] = {
        name: stage for name in ("source", "target") if name in op.attributes
    }
    made = {"dtype": dtype} if not op.inputs and "dtype" in op.attributes else {}
    return {**sample.attrs, **devices, **made}


def _differentiate(outputs: list[Any], leaves: list[Tensor], order: int) -> None:
    for left in reversed(range(order)):
        outputs = [x for x in outputs if x is not None and x.requires_grad]
        if not outputs:  # what does not depend on the operands has derivatives of zero
            return
        seeds = [ops.full(shape=x.shape, value=1, dtype=x.dtype, device=x.device) for x in outputs]
        outputs = list(
            autograd.grad(outputs, leaves, seeds, create_graph=left > 0, allow_unused=True)
        )
