"""How many threads the processor's kernels use."""

from __future__ import annotations

from ferrum.backend import Backend
from ferrum.errors import ArgumentError
from ferrum.methods.axes import whole
from ferrum.plugins import default_device, device, device_kinds


def _processor() -> Backend:
    """Return the backend of "cpu", whatever the default device is; without one, the default's."""
    return (device("cpu") if "cpu" in device_kinds() else default_device()).backend


def set_num_threads(threads: int) -> None:
    """Let kernels on the processor use `threads` threads, of which the caller is one.

    Results do not depend on it. A backend without threads of its own takes no notice.
    """
    count = whole("set_num_threads", "threads", threads)
    if count < 1:
        raise ArgumentError(f"set_num_threads: expected at least 1 thread, got {count}")
    _processor().set_num_threads(count)


def get_num_threads() -> int:
    """Return how many threads kernels on the processor use, the caller among them."""
    return _processor().num_threads()
