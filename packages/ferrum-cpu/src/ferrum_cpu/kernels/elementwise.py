"""Elementwise ops: all in C, made by `_front`, and their in-place forms."""

from __future__ import annotations

from typing import Any

from ferrum.backend import Kernel
from ferrum.operation import OPS
from ferrum_cpu import _front
from ferrum_cpu.library import lib, text

NUMBER = {str(text(lib.elementwise_name(i))): i for i in range(lib.elementwise_count())}
_clip = _front.elementwise_kernel(NUMBER["clip"])


def clip(x: Any, *, low: float | None, high: float | None) -> Any:
    """Return x with what is below `low` raised to it and what is above `high` lowered to it."""
    if low is None or high is None:
        return NotImplemented
    return _clip(x, low, high)


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    found: dict[str, Kernel] = {}
    for name, number in NUMBER.items():
        if f"core.{name}" not in OPS:
            continue  # an activation of ferrum_nn
        found[f"core.{name}"] = Kernel(_front.elementwise_kernel(number), checked=True)
        if f"core.{name}_" in OPS:
            found[f"core.{name}_"] = Kernel(_front.in_place_kernel(number), checked=True)
    found["core.clip"] = Kernel(clip, checked=True)
    return found
