"""softmax and log_softmax along any axis, and their gradients, each in one go over a line."""

from __future__ import annotations

from ferrum.backend import Kernel
from ferrum_cpu import _front

NAMES = ("softmax", "log_softmax", "softmax_backward", "log_softmax_backward")


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    return {f"core.{name}": Kernel(getattr(_front, name), checked=True) for name in NAMES}
