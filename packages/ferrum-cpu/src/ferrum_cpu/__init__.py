"""The CPU backend of FERRUM. Installing it is enough: `device="cpu"` loads it.

The functions here ask and set what all tensors of the process share: memory. `fe.set_num_threads`
sets the threads.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "memory_statistics",
    "empty_cache",
    "set_memory_limit",
]


def _library() -> Any:
    # not at the top: `ferrum_cpu.about` is read where the kernels are not wanted
    from ferrum_cpu import library

    return library


def memory_statistics() -> dict[str, int]:
    """Return what the pool of memory holds, in bytes, and how often it could help.

    `in_use` and `peak`: of tensors of 64 KiB and more, and of scratch, now and at most. `cached`:
    given back, and kept for the next tensor. `limit`: what may be kept. `hits` and `misses`: how
    often a block was there, and how often it came from the system.
    """
    library = _library()
    found = library.ffi.new("PoolStatistics *")
    library.lib.pool_statistics(found)
    names = ("in_use", "cached", "peak", "limit", "hits", "misses")
    return {name: int(getattr(found, name)) for name in names}


def empty_cache() -> None:
    """Give the memory that no tensor uses back to the system."""
    _library().lib.pool_empty()


def set_memory_limit(limit: int | None) -> None:
    """Keep at most `limit` bytes of memory that no tensor uses; None for the default.

    The default is what the environment variable FERRUM_CPU_POOL_BYTES says, or a quarter of the
    machine's memory. 0 keeps none.
    """
    from ferrum.errors import ArgumentError

    asked: object = limit
    if asked is not None and not (isinstance(asked, int) and 0 <= asked < 2**63):
        raise ArgumentError(
            f"set_memory_limit: expected a number of bytes of at least 0, or None, got {limit!r}"
        )
    _library().lib.pool_set_limit(-1 if limit is None else limit)
