"""A device: a name, a backend, and the kernels that its ops have been given so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy.typing as npt

from ferrum.backend import Array, Backend, Kernel, as_kernel
from ferrum.dtypes import DTypeLike
from ferrum.errors import OutOfMemoryError, UnsupportedError

if TYPE_CHECKING:
    from ferrum.operation import Op
    from ferrum.supports import Support

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
        self.kernels = KernelCache(backend, str(self))

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

    def from_numpy(self, value: npt.NDArray[Any]) -> Array:
        """Return the backend's array for `value`, if the backend has the dtype."""
        if value.dtype not in self.backend.dtypes:
            raise UnsupportedError(f"device '{self}' has no {value.dtype.name}")
        return self.backend.from_numpy(value)

    def supports(
        self, op: str | Op[..., Any], *, dtype: DTypeLike | None = None, order: int = 0
    ) -> Support:
        """Return how this device runs an op: `.native`, `.decomposed`, or false with a `.reason`.

        `op` is a name such as "core.matmul" or "matmul". `dtype` is that of the op's operands, None
        for any that the device has; `order` is how often the result shall be differentiated. No
        kernel is run.
        """
        from ferrum.supports import supports

        return supports(self, op, dtype, order)


class KernelCache(dict["Op[..., Any]", "Runner | None"]):
    """The kernel of each op that this device has run; None where the op is decomposed."""

    __slots__ = ("backend", "device", "ignored")

    def __init__(self, backend: Backend, device: str) -> None:
        self.backend = backend
        self.device = device
        self.ignored: dict[str, str] = {}

    def __missing__(self, op: Op[..., Any]) -> Runner | None:
        runner = self[op] = self._resolve(op)
        return runner

    def _resolve(self, op: Op[..., Any]) -> Runner | None:
        kernel = self.find(op)
        if kernel is None:
            return None
        runner = kernel.function if kernel.checked else self._guarded(op, kernel.function)
        return runner if kernel.dtypes is None else selective(runner, kernel.dtypes)

    def find(self, op: Op[..., Any]) -> Kernel | None:
        """Return the backend's kernel for `op`, if there is one of the op's revision."""
        found = self.backend.kernels.get(op.name)
        if found is None:
            return None
        kernel = as_kernel(found)
        if kernel.revision != op.revision:
            self.ignored[op.name] = (
                f"kernel of revision {kernel.revision}, the op is at revision {op.revision}"
            )
            return None
        return kernel

    def _guarded(self, op: Op[..., Any], function: Runner) -> Runner:
        """Return `function` behind the rule of `op`, which refuses bad input and unknown dtypes.

        Where it runs out of memory, the error says how much the result takes.
        """
        dtypes, device = self.backend.dtypes, self.device

        def run(*arrays: Any, **attrs: Any) -> Any:
            specs = op.specs(arrays, attrs)
            specs = specs if specs.__class__ is tuple else (specs,)
            for spec in specs:
                if spec.dtype not in dtypes:
                    raise UnsupportedError(f"{op.name}: this device has no {spec.dtype.name}")
            try:
                return function(*arrays, **attrs)
            except MemoryError:
                size = sum(prod(map(abs, spec.shape)) * spec.dtype.itemsize for spec in specs)
                with needing(op.__name__, device, size):
                    raise

        return run


@contextmanager
def needing(name: str, device: Device | str, size: int) -> Iterator[None]:
    """Say of a MemoryError inside that `name` wanted `size` bytes on `device`."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError(
            f"{name}: no room on '{device}' for what it makes, {size:,} bytes"
        ) from error


def selective(function: Runner, dtypes: frozenset[Any]) -> Runner:
    """Return `function` declining calls whose first array has none of `dtypes`."""

    def run(*arrays: Any, **attrs: Any) -> Any:
        first = _first(arrays)
        if first is not None and first.dtype not in dtypes:
            return NotImplemented
        return function(*arrays, **attrs)

    return run


def _first(arrays: Sequence[Any]) -> Any:
    """Return the first array of a call: numbers may stand before it, and it may be in a list."""
    for each in arrays:
        found = _first(each) if isinstance(each, list) else each
        if hasattr(found, "dtype"):
            return found
    return None
