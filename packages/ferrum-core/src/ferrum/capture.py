"""Recording the stream of ops that a function runs, and running it again.

`graph = record(f, *tensors)` runs `f` once and keeps what it did: forward, backward, in-place
updates alike, for gradients are ops. `graph.replay(*tensors)` does the same steps for other tensors
of the same shapes, and gives the bits that `f` would have given. Compilers start from here.

A recording holds what its own context runs. What other threads make or write meanwhile it is told
by the kernels, and refuses: the values would stand in the graph as constants.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from ferrum.device import Device, KernelCache, Runner
from ferrum.errors import CaptureError, OperandError
from ferrum.graph import Storage
from ferrum.mode import Interposer, interposing, no_grad
from ferrum.operands import flat
from ferrum.operation import Op
from ferrum.plugins import open_devices
from ferrum.random import Generator, Key
from ferrum.tensor import Tensor


@dataclass(frozen=True)
class Value:
    """A tensor of the recording, by number."""

    number: int

    def __str__(self) -> str:
        return f"%{self.number}"


@dataclass(frozen=True)
class Step:
    """One op of the recording. Operands are values, numbers, None, or lists of them."""

    op: Op[..., Any]
    operands: tuple[Any, ...]
    attrs: dict[str, Any]
    results: tuple[Value, ...]

    def __str__(self) -> str:
        attrs = [f"{name}={value}" for name, value in self.attrs.items()]
        operands = ", ".join([*map(_text, self.operands), *attrs])
        return f"{', '.join(map(str, self.results))} = {self.op.name}({operands})"


def _text(operand: Any) -> str:
    if not isinstance(operand, (list, tuple)):
        return str(operand)
    inner = ", ".join(map(_text, operand))
    return f"[{inner}]" if isinstance(operand, list) else f"({inner})"


def _like(sequence: Any, entries: list[Any]) -> Any:
    """Return a list, tuple or named tuple of `entries`, as `sequence` is one."""
    named = hasattr(sequence, "_fields")
    return type(sequence)(*entries) if named else type(sequence)(entries)


class Graph:
    """What a function did: `inputs`, `steps`, `outputs`, and the `state` that it found outside.

    State are tensors that the function used without being given them: parameters, constants. A
    replay reads and writes their memory, as the function did.
    """

    def __init__(self) -> None:
        self.inputs: list[Value] = []
        self.steps: list[Step] = []
        self.outputs: Any = None
        self.state: dict[Value, Tensor] = {}
        self.specs: list[tuple[Any, ...]] = []

    def replay(self, *tensors: Tensor) -> Any:
        """Return what the function would return for `tensors`, without a graph behind it.

        Raises CaptureError where a shape, dtype or device differs from that of the recording.
        """
        given = [_spec("replay", x) for x in tensors]
        if given != self.specs:
            raise CaptureError(f"replay: expected tensors {self.specs}, got {given}; record again")
        values = {
            **self.state,
            **dict(zip(self.inputs, (x.detach() for x in tensors), strict=True)),
        }
        keys: dict[tuple[Generator, Key], Key] = {}
        with no_grad():
            for step in self.steps:
                operands = [_look_up(values, each) for each in step.operands]
                result = step.op(*operands, **_renewed(step.attrs, keys))
                results = result if isinstance(result, tuple) else (result,)
                values.update(zip(step.results, results, strict=True))
        return _look_up(values, self.outputs)

    def __str__(self) -> str:
        head = f"inputs {', '.join(map(str, self.inputs))}; state {', '.join(map(str, self.state))}"
        return "\n".join([head, *map(str, self.steps), f"return {_text(self.outputs)}"])


def _spec(name: str, x: Any) -> tuple[Any, ...]:
    if not isinstance(x, Tensor):
        raise OperandError(f"{name}: expected tensors, got {type(x).__name__}")
    return x.shape, x.dtype.name, str(x.device)


def _look_up(values: dict[Value, Tensor], operand: Any) -> Any:
    if isinstance(operand, Value):
        return values[operand]
    if isinstance(operand, (list, tuple)):
        return _like(operand, [_look_up(values, each) for each in operand])
    return operand


def _renewed(attrs: dict[str, Any], keys: dict[tuple[Generator, Key], Key]) -> dict[str, Any]:
    """Return `attrs` with the random key drawn anew; the same key twice stays the same twice."""
    key = attrs.get("key")
    if not isinstance(key, Key):
        return attrs
    drawn = key.generator, key
    if drawn not in keys:
        keys[drawn] = key.generator.next_key()
    return {**attrs, "key": keys[drawn]}


class Recorder(Interposer):
    """Writes every op that passes into a graph."""

    rank = 3
    forbids_values = True

    def __init__(self) -> None:
        self.graph = Graph()
        self._next = count().__next__
        self._numbers: dict[int, Value] = {}
        self._alive: list[Any] = []  # arrays whose id stands in _numbers
        self._versions: dict[Storage | None, int] = {}  # of memory, as steps left it
        self._unseen: dict[int, tuple[Any, str]] = {}  # arrays, and the op that made or wrote them

    def __call__(self, op: Op[..., Any], args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Run the op, and write it down."""
        specs = op.specs(args, attrs)
        for spec in specs if not hasattr(specs, "shape") else (specs,):
            if -1 in spec.shape:
                raise CaptureError(
                    f"{op.name}: the shape of its result depends on values, which a recording "
                    f"cannot hold; keep the shape, as fe.where(mask, x, 0) does, or do it outside"
                )
        operands = tuple([self.reference(op.__name__, arg) for arg in args])
        result = op(*args, **attrs)
        results = result if isinstance(result, tuple) else (result,)
        named = tuple([self.name(each) for each in results])
        self.graph.steps.append(Step(op, operands, attrs, named))
        for each in (*flat(args), *results):
            if isinstance(each, Tensor):
                self._settle(each)
        return result

    def name(self, tensor: Tensor) -> Value:
        """Return a new value for `tensor`, which an op has just made."""
        value = Value(self._next())
        self._numbers[id(tensor.array)] = value
        self._alive.append(tensor.array)
        return value

    def given(self, tensor: Tensor) -> Value:
        """Return a new value for `tensor`, which was there before."""
        self._settle(tensor)
        return self.name(tensor)

    def reference(self, name: str, operand: Any) -> Any:
        """Return the value that an operand of op `name` is.

        What the recording has not seen yet is state.
        """
        if isinstance(operand, (list, tuple)):
            return _like(operand, [self.reference(name, each) for each in operand])
        if not isinstance(operand, Tensor):
            return operand
        if id(operand.array) in self._unseen:
            self._refuse(name, f"by {self._unseen[id(operand.array)][1]}")
        value = self._numbers.get(id(operand.array))
        if value is None:
            value = self.given(operand)
            self.graph.state[value] = operand.detach()
        elif self._versions.get(operand.storage, 0) != operand._version:
            self._refuse(name, "in place")
        return value

    def saw(self, op: Op[..., Any], arrays: tuple[Any, ...], result: Any) -> None:
        """Note what a kernel, of whatever thread, has made or written; `_settle` takes it back."""
        given = flat(arrays)
        made = [arrays[i] for i in op.writes] or [result]
        for array in flat(made):
            if hasattr(array, "shape") and (op.writes or not any(array is x for x in given)):
                self._unseen[id(array)] = array, op.__name__

    def finish(self, outputs: Any) -> Graph:
        """Return the graph, which returns `outputs`."""
        self.graph.outputs = self.reference("record", outputs)
        for key, (_, op) in list(self._unseen.items()):
            if key in self._numbers:
                self._refuse("record", f"by {op}")
        if any(at is not None and at.version != last for at, last in self._versions.items()):
            self._refuse("record", "in place")
        return self.graph

    def _settle(self, tensor: Tensor) -> None:
        """Remember the state in which a step of the recording left `tensor`."""
        self._unseen.pop(id(tensor.array), None)
        self._versions[tensor.storage] = tensor._version

    @staticmethod
    def _refuse(name: str, how: str) -> None:
        raise CaptureError(
            f"{name}: a tensor was made or written {how} while the function was recorded, but not "
            f"in its context, so that a replay would lack the step; do it in the function's own "
            f"thread, in contextvars.copy_context().run, or before recording"
        )


class Watched(KernelCache):
    """The kernels of a device while functions are recorded: they tell the recorders what they do.

    Threads look no recorder up, but all of them look up kernels.
    """

    __slots__ = ("kernels", "recorders")

    def __init__(self, kernels: KernelCache) -> None:
        super().__init__(kernels.backend, kernels.device)
        self.ignored = kernels.ignored
        self.kernels = kernels
        self.recorders: tuple[Recorder, ...] = ()

    def _resolve(self, op: Op[..., Any]) -> Runner | None:
        kernel = self.kernels[op]
        if kernel is None:
            return None

        def run(*arrays: Any, **attrs: Any) -> Any:
            result = kernel(*arrays, **attrs)
            for recorder in self.recorders:
                recorder.saw(op, arrays, result)
            return result

        return run


_watching = threading.Lock()


@contextmanager
def _watched(devices: Iterable[Device], recorder: Recorder) -> Iterator[None]:
    """Tell `recorder` what kernels of `devices` do in any thread."""
    with _watching:
        for device in devices:
            table = device.kernels
            watched = table if isinstance(table, Watched) else Watched(table)
            watched.recorders = (*watched.recorders, recorder)
            device.kernels = watched
    try:
        yield
    finally:
        with _watching:
            for device in devices:
                table = device.kernels
                assert isinstance(table, Watched)  # as long as there is a recorder
                table.recorders = tuple(x for x in table.recorders if x is not recorder)
                device.kernels = table if table.recorders else table.kernels


def record(function: Callable[..., Any], *tensors: Tensor) -> Graph:
    """Return the graph of what `function(*tensors)` does; it returns a tensor or a tuple of them.

    The tensors are inputs wherever the function meets them, also where it closes over one. Raises
    CaptureError where it asks for values (`item`, `bool`), for an op whose shape depends on values,
    or for a tensor that another thread made or wrote while the function ran.
    """
    if not callable(function):
        raise OperandError(f"record: expected a function, got {type(function).__name__}")
    recorder = Recorder()
    graph = recorder.graph
    graph.specs = [_spec("record", each) for each in tensors]
    if len({id(each.array) for each in tensors}) < len(tensors):
        raise CaptureError("record: one tensor is given twice; clone() it to tell the two apart")
    graph.inputs = [recorder.given(each) for each in tensors]
    with _watched(open_devices(), recorder), interposing(recorder):
        outputs = function(*tensors)
    if not all(isinstance(each, Tensor) for each in flat([outputs])):
        raise CaptureError(f"record: expected tensors to be returned, got {type(outputs).__name__}")
    return recorder.finish(outputs)
