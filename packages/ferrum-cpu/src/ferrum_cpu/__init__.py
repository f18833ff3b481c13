"""The CPU backend of FERRUM. Installing it is enough: `device="cpu"` loads it."""

from __future__ import annotations


def set_num_threads(threads: int) -> None:
    """Let kernels use up to `threads` threads; bits do not depend on how many."""
    from ferrum_cpu.library import lib

    lib.threads_set(threads)
