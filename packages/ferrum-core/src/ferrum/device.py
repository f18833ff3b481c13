"""A device: a name, a backend, and the kernels that its ops have been given so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from ferrum.backend import Backend, Kernel
from ferrum.errors import UnsupportedError

if TYPE_CHECKING:
    from ferrum.op import Op

Runner: TypeAlias = Callable[..., Any]


class Device:
    """Where tensors live, as `fe.device("cuda:1")` returns it: one object per kind and index.

    `str(device)` is what `device=` arguments take.
    """

    __slots__ = ("__weakref__", "backend", "index", "kernels", "kind")

    def __init__(self, kind: str, index: int | None, backend: Backend) -> None:
        self.kind = kind
        self.index = index
        self.backend = backend
        self.kernels = KernelCache(backend)

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}:{self.index}"

    def __repr__(self) -> str:
        return f"device({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        from ferrum.plugins import device

        return device, (str(self),)

    def synchronize(self) -> None:
        """Wait until all work given to the device is done."""
        self.backend.synchronize()


class KernelCache(dict["Op[..., Any]", "Runner | None"]):
    """The kernel of each op that this device has run; None where the op is decomposed."""

    __slots__ = ("backend", "ignored")

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.ignored: dict[str, str] = {}

    def __missing__(self, op: Op[..., Any]) -> Runner | None:
        runner = self[op] = self._resolve(op)
        return runner

    def _resolve(self, op: Op[..., Any]) -> Runner | None:
        found = self.backend.kernels.get(op.name)
        if found is None:
            return None
        kernel = found if isinstance(found, Kernel) else Kernel(found)
        if kernel.revision != op.revision:
            self.ignored[op.name] = (
                f"kernel of revision {kernel.revision}, the op is at revision {op.revision}"
            )
            return None
        runner = kernel.function if kernel.checked else guarded(op, kernel.function, self.backend)
        return runner if kernel.dtypes is None else selective(runner, kernel.dtypes)


def guarded(op: Op[..., Any], function: Runner, backend: Backend) -> Runner:
    """Return `function` behind the rule of `op`, which refuses bad input and unknown dtypes."""
    rule, dtypes, names_device = op.rule, backend.dtypes, "device" in op.attributes

    def run(*arrays: Any, **attrs: Any) -> Any:
        specs = rule(*arrays, **attrs, device=None) if names_device else rule(*arrays, **attrs)
        for spec in specs if specs.__class__ is tuple else (specs,):
            if spec.dtype not in dtypes:
                raise UnsupportedError(f"{op.name}: this device has no {spec.dtype.name}")
        return function(*arrays, **attrs)

    return run


def selective(function: Runner, dtypes: frozenset[Any]) -> Runner:
    """Return `function` declining calls whose first array has none of `dtypes`."""

    def run(*arrays: Any, **attrs: Any) -> Any:
        if arrays and arrays[0].dtype not in dtypes:
            return NotImplemented
        return function(*arrays, **attrs)

    return run
