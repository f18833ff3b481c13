"""The kernels by op name: C where there is C, else the NumPy of `ferrum.reference`."""

from __future__ import annotations

from ferrum import reference
from ferrum.backend import Kernels
from ferrum_cpu.kernels import (
    elementwise,
    indexing,
    losses,
    matrices,
    memory,
    random,
    reductions,
    softmax,
    steps,
    views,
)

FAMILIES = (
    elementwise,
    indexing,
    losses,
    matrices,
    memory,
    random,
    reductions,
    softmax,
    steps,
    views,
)

KERNELS: Kernels = {
    **reference.KERNELS,
    **{name: kernel for family in FAMILIES for name, kernel in family.kernels().items()},
}
