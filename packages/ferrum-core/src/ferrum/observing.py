"""Watching what runs where: `placement`, `strict`, `detect_anomaly`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from ferrum.errors import StrictError
from ferrum.mode import Observer, observing

if TYPE_CHECKING:
    from ferrum.device import Device
    from ferrum.graph import Node
    from ferrum.operation import Op


_CORE = __file__.removesuffix("observing.py")


class Placement(Observer):
    """How often each op ran by a kernel of its own, and how often it was decomposed."""

    def __init__(self) -> None:
        self.native: Counter[str] = Counter()
        self.decomposed: Counter[str] = Counter()

    def ran(self, op: Op[..., Any], device: Device, native: bool) -> None:
        """Count the op."""
        (self.native if native else self.decomposed)[op.name] += 1

    def __str__(self) -> str:
        names = sorted({*self.native, *self.decomposed})
        rows = [f"{name:28} {self.native[name]:>8} {self.decomposed[name]:>11}" for name in names]
        return "\n".join([f"{'op':28} {'native':>8} {'decomposed':>11}", *rows])


@contextmanager
def placement() -> Iterator[Placement]:
    """Count the ops that run inside: `with fe.placement() as seen: ...; print(seen)`."""
    seen = Placement()
    with observing(seen):
        yield seen


class _Strict(Observer):
    def ran(self, op: Op[..., Any], device: Device, native: bool) -> None:
        if native:
            return
        if device.kernels[op] is None:
            raise StrictError(f"{op.name}: device '{device}' has no kernel of its own for it")
        raise StrictError(
            f"{op.name}: the kernel of device '{device}' declines this call, or the op has no "
            f"gradient rule and is recorded step by step"
        )


def strict() -> AbstractContextManager[None]:
    """Raise StrictError inside where an op is about to be decomposed into others."""
    return observing(_Strict())


class _Anomaly(Observer):
    def recorded(self, node: Node) -> None:
        import traceback

        frames = traceback.extract_stack()
        while len(frames) > 1 and frames[-1].filename.startswith(_CORE):
            frames.pop()  # the last line shown is that of the caller
        node.trace = "\n" + "".join(traceback.format_list(frames))


def detect_anomaly() -> AbstractContextManager[None]:
    """Name the op, and the line that called it, when its backward fails or returns NaN."""
    return observing(_Anomaly())
