"""What a backend is: a table of kernels, and two ways to move data.

A backend's array is its own and opaque. FERRUM reads `.shape`, a tuple of ints, and `.dtype`, one
of `ferrum.dtypes.DTYPES`, and hands the array to kernels; everything else is the backend's affair.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy.typing as npt

from ferrum.dtypes import DTYPES, DType

Array: TypeAlias = Any

# (major, minor): a plugin of another major is refused; a higher minor only adds.
ABI = (1, 0)


class Kernel(NamedTuple):
    """One kernel: `function(*arrays, **attributes)` returns the op's array, or a tuple of them.

    `checked` says that it refuses bad input itself, with the error class of the op's rule; any
    other kernel is called only after the rule has passed. A kernel of another `revision` than the
    op's is ignored. `dtypes`, where given, are the dtypes of the first tensor that it takes. A
    kernel declines a call by returning NotImplemented; the op is then decomposed.
    """

    function: Callable[..., Any]
    revision: int = 1
    checked: bool = False
    dtypes: frozenset[DType] | None = None


def as_kernel(found: Kernel | Callable[..., Any]) -> Kernel:
    """Return an entry of a backend's `kernels`: a plain function is a Kernel of revision 1."""
    return found if isinstance(found, Kernel) else Kernel(found)


Kernels: TypeAlias = Mapping[str, "Kernel | Callable[..., Any]"]


class Backend(ABC):
    """One device's kernels and memory. A plugin subclasses it and returns one per device index.

    `abi` is the ABI that the subclass was written for, such as `(1, 0)`. It has no default:
    inherited, it would always be this core's, and a backend made for another would go unnoticed.
    """

    abi: ClassVar[tuple[int, int]]
    dtypes: ClassVar[frozenset[DType]] = frozenset(DTYPES)

    @property
    @abstractmethod
    def kernels(self) -> Kernels:
        """The kernels by op name, such as "core.matmul"; the same mapping at every call."""

    @abstractmethod
    def from_numpy(self, value: npt.NDArray[Any]) -> Array:
        """Return an array with the shape, dtype and values of `value`.

        It may share memory with it.
        """

    @abstractmethod
    def to_numpy(self, array: Array) -> npt.NDArray[Any]:
        """Return the values as a NumPy array; it may share memory with `array`."""

    def is_contiguous(self, array: Array) -> bool:
        """Return whether the elements are known to lie in row-major order without gaps."""
        return False

    def synchronize(self) -> None:
        """Wait until all work given to the device is done."""

    def num_threads(self) -> int:
        """Return how many threads of the processor kernels use, the caller among them."""
        return 1

    def set_num_threads(self, threads: int) -> None:
        """Let kernels use `threads` threads, at least 1; a backend without threads does nothing."""

    def info(self) -> dict[str, str]:
        """Return what `ferrum doctor` shows of the device."""
        return {}


class BackendInfo(NamedTuple):
    """What is known of a backend without importing it.

    The entry point group `ferrum.backend_info`.
    """

    summary: str
    abi: tuple[int, int] = ABI
    dtypes: tuple[str, ...] = ()
    install: str = ""
