"""Products of matrices."""

from __future__ import annotations

from ferrum.backend import Kernel
from ferrum_cpu import _front


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    return {
        "core.matmul": Kernel(_front.matmul, checked=True),
        "nn.linear": Kernel(_front.linear, checked=True),
    }
