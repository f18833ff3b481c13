"""The backend: NumPy arrays in host memory, and kernels in C."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from ferrum.backend import Backend, Kernels
from ferrum.errors import ArgumentError
from ferrum_cpu import library, memory_statistics
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
        return int(library.lib.threads_get())

    def set_num_threads(self, threads: int) -> None:
        """Let kernels use `threads` threads, of which the caller is one; at most 256.

        The default is what OMP_NUM_THREADS says, or the processors that the process may use.
        """
        if not 1 <= threads <= 256:
            raise ArgumentError(f"set_num_threads: expected 1 to 256 threads, got {threads}")
        library.lib.threads_set(threads)

    def info(self) -> dict[str, str]:
        """Return the variant of the kernels, BLAS, threads and the pool."""
        pool = memory_statistics()
        return {
            "isa": library.isa,
            "blas": library.blas,
            "threads": str(self.num_threads()),
            "pool": "{in_use:,} bytes in use, {cached:,} kept, at most {limit:,}".format(**pool),
        }
