"""Reductions along any axes, running sums, and the indices of extrema: all in C."""

from __future__ import annotations

from ferrum.backend import Kernel
from ferrum_cpu import _front

NAMES = (
    "sum",
    "prod",
    "max",
    "min",
    "any",
    "all",
    "mean",
    "var",
    "sum_to",
    "argmax",
    "argmin",
    "cumulative_sum",
)


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    return {f"core.{name}": Kernel(getattr(_front, name), checked=True) for name in NAMES}
