"""The kernels by op name. An op that is missing here is decomposed, or not there: never silent."""

from __future__ import annotations

from ferrum.backend import Kernels, as_kernel
from ferrum_cpu.kernels import (
    activations,
    attention,
    convolution,
    ctc,
    elementwise,
    indexing,
    losses,
    matrices,
    memory,
    norms,
    pooling,
    random,
    recurrence,
    reductions,
    resizing,
    sampling,
    softmax,
    steps,
    views,
)

FAMILIES = (
    activations,
    attention,
    convolution,
    ctc,
    elementwise,
    indexing,
    losses,
    matrices,
    memory,
    norms,
    pooling,
    random,
    recurrence,
    reductions,
    resizing,
    sampling,
    softmax,
    steps,
    views,
)

KERNELS: Kernels = {
    name: kernel for family in FAMILIES for name, kernel in family.kernels().items()
}


def language(op: str) -> str:
    """Return what the kernel of an op is written in, "C" or "NumPy"; "decomposed" without one."""
    if op not in KERNELS:
        return "decomposed"
    # None: what `_front.elementwise_kernel` makes belongs to no module
    module = getattr(as_kernel(KERNELS[op]).function, "__module__", "numpy")
    return "C" if module is None or module.startswith("ferrum_cpu.") else "NumPy"
