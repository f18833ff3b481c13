"""The cases of the kit: every op in every dtype, layout and sample, asked about every aspect."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ferrum import names, plugins
from ferrum.device import Device
from ferrum.dtypes import DTYPES, DType, is_floating
from ferrum.errors import ArgumentError, DTypeError, FerrumError, UnsupportedError
from ferrum.operation import OPS, Op
from ferrum.samples import Input, Sample
from ferrum.testing import captures, checks, gradients
from ferrum.testing.calls import Call, among, call_of, is_keyed, samples_of, takes_dtypes
from ferrum.testing.differences import has_gradient
from ferrum.testing.failures import ConformanceFailure, NotApplicable
from ferrum.testing.layouts import LAYOUTS, suits
from ferrum.testing.trials import Trial

# The columns of the table. What each demands is the docstring of its check.
ASPECTS: dict[str, Callable[[Any], None]] = {
    "samples": checks.check_samples,
    "kernel": checks.check_kernel,
    "dtypes": checks.check_dtypes,
    "spec": checks.check_spec,
    "value": checks.check_value,
    "random": checks.check_random,
    "fallback": checks.check_fallback,
    "inputs": checks.check_inputs,
    "alias": checks.check_alias,
    "repeat": checks.check_repeat,
    "errors": checks.check_errors,
    "gradient": gradients.check_gradient,
    "second": gradients.check_second,
    "capture": captures.check_capture,
}
IN_EVERY_LAYOUT = ("spec", "inputs", "alias", "repeat")


@dataclass(frozen=True)
class Case:
    """One question to a device: an op, a sample of it in a dtype and a layout, and an aspect.

    `error` is what the call must raise, None for a good call.
    """

    device: Device
    aspect: str
    call: Call
    layout: str = "contiguous"
    error: type[Exception] | None = None

    @property
    def op(self) -> Op[..., Any]:
        """The op that is called."""
        return self.call.op

    @property
    def id(self) -> str:
        """The name of the case: op-dtype-layout-aspect-number."""
        dtype = "any" if self.call.dtype is None else self.call.dtype.name
        return f"{self.op.name}-{dtype}-{self.layout}-{self.aspect}-{self.call.number}"

    def trial(self, leaves: Collection[int] = ()) -> Trial:
        """Return the call with its operands on the device; those in `leaves` require grad."""
        return Trial(self.call, self.device, self.layout, leaves)

    def run(self) -> None:
        """Raise ConformanceFailure where the device fails, NotApplicable where it cannot say."""
        try:
            ASPECTS[self.aspect](self)
        except NotApplicable:
            raise
        except ConformanceFailure as failure:
            raise failure.located(self.id, str(self.call)) from failure.__cause__
        except Exception as error:
            if isinstance(error, UnsupportedError) and self._excused():
                raise NotApplicable(str(error)) from error
            raised = ConformanceFailure(f"it raised {type(error).__name__}: {error}")
            raise raised.located(self.id, str(self.call)) from error

    def _excused(self) -> bool:
        """Return whether an UnsupportedError may come from a gap that is reported elsewhere."""
        composed = self.op.compose is not None or self.aspect in ("gradient", "second", "capture")
        return composed and (_lacks_kernels(self.device) or bool(missing_dtypes(self.device)))


def _lacks_kernels(device: Device) -> bool:
    # Asked for each failure, so without looking for libraries, as `missing_kernels` does: only the
    # core declares ops without a fallback.
    required = (op for op in OPS.values() if op.compose is None and op.name.startswith("core."))
    return any(device.kernels[op] is None for op in required)


def missing_kernels(device: Device) -> list[str]:
    """Return the ops that a backend must have a kernel for, and this one has none."""
    return [op.name for op in selected() if op.compose is None and device.kernels[op] is None]


def missing_dtypes(device: Device) -> list[DType]:
    """Return the dtypes that the backend does not claim."""
    return [dtype for dtype in DTYPES if dtype not in device.backend.dtypes]


def widest(device: Device) -> DType | None:
    """Return the most exact floating-point dtype of the device."""
    floats = [dtype for dtype in DTYPES if is_floating(dtype) and dtype in device.backend.dtypes]
    return floats[-1] if floats else None


def selected(patterns: Sequence[str] | None = None) -> list[Op[..., Any]]:
    """Return the ops whose name, with or without distribution, matches one of `patterns`.

    Without patterns they are all that installed distributions declare under `ferrum.ops`. Raises
    ArgumentError where a pattern matches nothing.
    """
    plugins.load_ops()
    if patterns is None:
        libraries = plugins.entry_points(names.OPS)
        homes = {point.module.partition(".")[0] for point in libraries}
        return [op for op in _sorted() if op.rule.__module__.partition(".")[0] in homes]
    found = {pattern: [op for op in _sorted() if _matches(op, pattern)] for pattern in patterns}
    for pattern, matched in found.items():
        if not matched:
            raise ArgumentError(f"conformance: no op is called {pattern!r}; see: ferrum ops")
    return sorted({op for matched in found.values() for op in matched}, key=lambda op: op.name)


def _sorted() -> list[Op[..., Any]]:
    return sorted(OPS.values(), key=lambda op: op.name)


def _matches(op: Op[..., Any], pattern: str) -> bool:
    return fnmatchcase(op.name, pattern) or fnmatchcase(op.__name__, pattern)


def cases(
    device: str | Device,
    ops: Sequence[str] | None = None,
    aspects: Collection[str] = tuple(ASPECTS),
) -> Iterator[Case]:
    """Yield the cases for `device`: of all ops, or of those whose names match one of `ops`."""
    where = plugins.device(device)
    for op in selected(ops):
        yield from (case for case in cases_of(op, where) if case.aspect in aspects)


def aspects_of(op: Op[..., Any], device: Device) -> list[str]:
    """Return the aspects that cases of `op` can have, without making any."""
    native = device.kernels[op] is not None
    if not native and op.compose is None:
        return ["samples", "kernel"]
    keyed = is_keyed(op)
    floats = _takes_floats(op, device)
    asked = {
        "value": not keyed,
        "random": keyed,
        "fallback": native and op.compose is not None,
        "gradient": floats,
        "second": floats and op.differentiable,
    }
    return [aspect for aspect in ASPECTS if asked.get(aspect, True)]


def _takes_floats(op: Op[..., Any], device: Device) -> bool:
    """Return whether a sample is a good call with an operand that a gradient can be asked for."""
    for number, sample in enumerate(samples_of(op)):
        call = call_of(op, number, sample, widest(device) if takes_dtypes(sample) else None)
        if sample.error is None and call.smooth and call.moved:
            try:
                call.specs(device)
            except FerrumError:
                continue
            return True
    return False


def cases_of(op: Op[..., Any], device: Device) -> Iterator[Case]:
    """Yield the cases of one op."""
    nothing = Call(op, 0, None, [], {})
    yield Case(device, "samples", nothing)
    yield Case(device, "kernel", nothing)
    if device.kernels[op] is None and op.compose is None:
        return
    plan = _Plan(op, device)
    samples = samples_of(op)
    for number, sample in enumerate(samples):
        if sample.error is None:
            yield from plan.good(number, sample)
    for number, sample in enumerate(samples):
        if sample.error is not None:
            yield from plan.bad(number, sample)


class _Plan:
    """Which questions the samples of an op can answer on a device."""

    def __init__(self, op: Op[..., Any], device: Device) -> None:
        self.op = op
        self.device = device
        self.tried: set[DType | None] = set()  # the dtypes that a case of "dtypes" covers
        self.works: set[DType | None] = set()  # those in which there is a good call

    def good(self, number: int, sample: Sample) -> Iterator[Case]:
        """Yield the cases of a good call, in each dtype."""
        for dtype in DTYPES if takes_dtypes(sample) else (None,):
            call = call_of(self.op, number, sample, dtype)
            error = self._error_of(call)
            if error is None and not call.dtypes(self.device) - self.device.backend.dtypes:
                self.works.add(dtype)
                yield from self._asked(call)
            elif error is not None and not issubclass(error, DTypeError):
                if self._has_operands(call):
                    yield Case(self.device, "errors", call, error=error)
                continue
            if dtype not in self.tried and (error is None or self._has_operands(call)):
                self.tried.add(dtype)
                yield Case(self.device, "dtypes", call, error=error)

    def _error_of(self, call: Call) -> type[Exception] | None:
        """Return what the rule, or the oracle, raises of `call`."""
        try:
            call.specs(self.device)
        except FerrumError as error:
            return type(error)
        return type(call.expected) if isinstance(call.expected, FerrumError) else None

    def _has_operands(self, call: Call) -> bool:
        return all(x.dtype in self.device.backend.dtypes for x in call.arrays)

    def _asked(self, call: Call) -> Iterator[Case]:
        """Yield the cases of a good call in a dtype that the device has."""
        device, op = self.device, self.op
        layouts = [
            layout
            for layout in LAYOUTS
            if layout == "contiguous" or any(suits(layout, x.shape) for x in call.arrays)
        ]
        wide = call.dtype in (None, widest(device))
        named = {
            "random" if is_keyed(op) else "value": layouts,
            **dict.fromkeys(IN_EVERY_LAYOUT, layouts),
            "fallback": layouts if op.compose is not None and device.kernels[op] else [],
            "capture": layouts[:1],
        }
        if call.smooth and call.moved:
            follows = has_gradient(call)
            # Composed in 16 bits, intermediate results tie where those of float64 do not.
            coarse = call.dtype is not None and call.dtype.itemsize < 4 and self.op.vjp is None
            if not (follows and coarse):
                named["gradient"] = layouts if wide and follows else layouts[:1]
            named["second"] = [x for x in layouts if x in ("contiguous", "transposed")]
            if not (wide and follows):
                del named["second"]
        for aspect, each in named.items():
            yield from (Case(device, aspect, call, layout) for layout in each)

    def bad(self, number: int, sample: Sample) -> Iterator[Case]:
        """Yield the cases of a bad call, in each dtype in which it is bad."""
        assert sample.error is not None
        varied = takes_dtypes(sample) and bool(among(sample.inputs, Input))
        for dtype in [each for each in DTYPES if each in self.works] if varied else (None,):
            call = call_of(self.op, number, sample, dtype)
            if self._has_operands(call) and self._is_bad(call, sample.error):
                yield Case(self.device, "errors", call, error=sample.error)

    def _is_bad(self, call: Call, error: type[Exception]) -> bool:
        """Return whether `call` is bad for the reason `error` in its dtype.

        What the rule lets pass, such as an index out of range, kernels must refuse.
        """
        try:
            call.specs(self.device)
        except DTypeError:
            return issubclass(error, DTypeError)
        except Exception:
            return True
        return not issubclass(error, DTypeError)
