"""softmax and log_softmax along any axis, and their gradients, each in one go over a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ferrum.backend import Kernel
from ferrum.dtypes import CATEGORY, DTYPES
from ferrum_cpu import _front
from ferrum_cpu.kernels.reductions import checked
from ferrum_cpu.library import lib

Array = Any

_empty = _front.empty
_ndarray = np.ndarray
_floats = frozenset(d for d in DTYPES if CATEGORY[d] == 2)


def forward(name: str, logarithm: bool) -> Callable[..., Array]:
    """Return the kernel of softmax, or of log_softmax."""
    call = lib.softmax

    def kernel(x: Array, *, axis: int) -> Array:
        if type(x) is not _ndarray or (dtype := x.dtype) not in _floats:
            return NotImplemented
        out = _empty(x.shape, dtype)
        code = call(logarithm, id(x), id(out), axis)
        return checked(code, name, out) if code else out

    kernel.__name__ = name
    return kernel


def backward(name: str, logarithm: bool) -> Callable[..., Array]:
    """Return the kernel of the gradient of softmax, or of log_softmax."""
    call = lib.softmax_backward

    def kernel(g: Array, out: Array, *, axis: int) -> Array:
        if type(g) is not _ndarray or type(out) is not _ndarray or g.dtype not in _floats:
            return NotImplemented
        dx = _empty(g.shape, g.dtype)
        code = call(logarithm, id(g), id(out), id(dx), axis)
        return checked(code, name, dx) if code else dx

    kernel.__name__ = name
    return kernel


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    return {
        "core.softmax": Kernel(forward("softmax", False), checked=True),
        "core.log_softmax": Kernel(forward("log_softmax", True), checked=True),
        "core.softmax_backward": Kernel(backward("softmax_backward", False), checked=True),
        "core.log_softmax_backward": Kernel(backward("log_softmax_backward", True), checked=True),
    }
