"""The backend: NumPy arrays in host memory, and kernels in C."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from ferrum.backend import Backend, Kernels
from ferrum_cpu import get_num_threads, library, set_num_threads
from ferrum_cpu.kernels import KERNELS

Array = npt.NDArray[Any]


class CPU(Backend):
    """The processor, with its kernels in C."""

    abi = (1, 0)

    @property
    def kernels(self) -> Kernels:
        """The kernels by op name."""
        return KERNELS

    def from_numpy(self, value: Array) -> Array:
        """Return `value` itself, or a copy where it lies so that C could not read it."""
        return value if value.flags.aligned else value.copy()

    def to_numpy(self, array: Array) -> Array:
        """Return `array` itself."""
        return array

    def is_contiguous(self, array: Array) -> bool:
        """Return whether the elements lie in row-major order without gaps."""
        return array.flags.c_contiguous

    def num_threads(self) -> int:
        """Return how many threads kernels use."""
        return get_num_threads()

    def set_num_threads(self, threads: int) -> None:
        """Let kernels use `threads` threads, at most 256."""
        set_num_threads(threads)

    def info(self) -> dict[str, str]:
        """Return the variant of the kernels, BLAS, threads and the pool."""
        pool = library.ffi.new("PoolStatistics *")
        library.lib.pool_statistics(pool)
        return {
            "isa": library.isa,
            "blas": library.blas,
            "threads": str(library.lib.threads_get()),
            "pool": f"{pool.in_use:,} bytes in use, {pool.cached:,} kept, at most {pool.limit:,}",
        }
