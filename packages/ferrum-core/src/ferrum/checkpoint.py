"""Trading time for memory.

What a function saved for backward is computed again when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ferrum.base import TensorBase
from ferrum.errors import GradientError, OperandError
from ferrum.graph import Storage, storage_of
from ferrum.mode import Interposer, Mode, Observer, current, interposing, observing, using
from ferrum.node import Recall, SavingNode
from ferrum.op import Op
from ferrum.operands import flat, requires_grad
from ferrum.random import default_generator


def checkpoint(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return `function(*args, **kwargs)`, keeping for backward nothing that it can compute again.

    When backward comes to it, the function runs once more, from the same state of the default
    generator, so that the gradients have the same bits as without. The function must do the same
    thing again: a second run that records other steps raises GradientError.
    """
    if not callable(function):
        raise OperandError(f"checkpoint: expected a function, got {type(function).__name__}")
    if not current().grad:
        return function(*args, **kwargs)
    recorder = _Recorder()
    frame = _Frame(function, args, kwargs, current(), default_generator.get_state())
    with observing(recorder), interposing(frame.reads):
        out = function(*args, **kwargs)
    for index, node in enumerate(recorder.take()):
        frame.add(node)
        node.saved = _Saved(frame, index)
    return out


class _Recorder(Observer):
    def __init__(self) -> None:
        self.nodes: list[SavingNode] = []

    def recorded(self, node: SavingNode) -> None:
        self.nodes.append(node)

    def take(self) -> list[SavingNode]:
        """Return the nodes, and forget them: whoever keeps the mode shall not keep them alive."""
        nodes, self.nodes = self.nodes, []
        return nodes


class _Reads(Interposer):
    """Notes which memory the recorded steps read, also where they do not save it."""

    rank = 3

    def __init__(self) -> None:
        self.seen: list[tuple[Storage, int]] = []

    def __call__(self, op: Op[..., Any], args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        if current().grad and any(map(requires_grad, args)):
            cells = [storage_of(x) for x in flat(args) if isinstance(x, TensorBase)]
            self.seen += [(cell, cell.version) for cell in cells]
        return op(*args, **attrs)


class _Frame:
    """One call of a function, and how to make it again."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        mode: Mode,
        rng: tuple[int, int],
    ) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        others = tuple(each for each in mode.observers if not isinstance(each, _Recorder))
        around = tuple(each for each in mode.interposers if not isinstance(each, _Reads))
        self.mode, self.rng, self.reads = Mode(mode.grad, around, others), rng, _Reads()
        self.given = [(storage_of(x), storage_of(x).version) for x in _tensors((args, kwargs))]
        self.steps: list[Any] = []
        self.versions: list[list[tuple[Any, int]]] = []
        self.values: list[Any] | None = None

    def add(self, node: SavingNode) -> None:
        """Remember the step that `node` is, and which memory it read."""
        self.steps.append(_step(node))
        self.versions.append(_versions(node.saved))

    def value(self, index: int) -> Any:
        """Return what step `index` saved."""
        if self.values is None or self.values[index] is None:
            self.values = self._again()
        value, self.values[index] = self.values[index], None
        return value

    def _again(self) -> list[Any]:
        if any(storage.version != version for storage, version in self.given):
            raise GradientError(
                "checkpoint: an argument was changed in place since the function ran; "
                "clone() it first"
            )
        recorder, reads = _Recorder(), _Reads()
        before = default_generator.get_state()
        default_generator.set_state(self.rng)
        try:
            with using(self.mode), observing(recorder), interposing(reads):
                self.function(*self.args, **self.kwargs)
        finally:
            default_generator.set_state(before)
        nodes = recorder.take()
        if [_step(node) for node in nodes] != self.steps:
            raise GradientError(
                "checkpoint: the function did something else when it ran again: "
                f"{len(nodes)} steps instead of {len(self.steps)}, or others"
            )
        for node, old in zip(nodes, self.versions, strict=True):
            for (storage, version), (now, later) in zip(old, _versions(node.saved), strict=True):
                if storage is now and version != later:
                    raise GradientError(
                        f"checkpoint: {node.name} read a tensor that was changed in place since; "
                        f"clone() it first"
                    )
        for (cell, version), (now, later) in zip(self.reads.seen, reads.seen, strict=False):
            if cell is now and version != later:
                raise GradientError(
                    "checkpoint: the function read a tensor that was changed in place since; "
                    "clone() it first"
                )
        return [node.saved for node in nodes]


def _step(node: SavingNode) -> Any:
    """Return what a step must have in common with the same step of another run."""
    shapes = [(edge.shape, edge.dtype) for edge in node.all_edges()]
    return node.name, getattr(node, "attrs", None), shapes


def _tensors(value: Any) -> Iterator[TensorBase]:
    """Yield the tensors in `value` and in the containers in it."""
    if isinstance(value, TensorBase):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _tensors(each)


def _versions(saved: Any) -> list[tuple[Any, int]]:
    if not isinstance(saved, list):
        return []
    return [(entry[1], entry[2]) for entry in saved if entry.__class__ is tuple]


class _Saved(Recall):
    """What a node of a checkpointed function saved: nothing, until it is asked for."""

    def __init__(self, frame: _Frame, index: int) -> None:
        self.frame, self.index = frame, index

    def recall(self) -> Any:
        return self.frame.value(self.index)
