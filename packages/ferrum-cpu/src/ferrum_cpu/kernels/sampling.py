"""Sampling of planes on a grid, and its gradients; volumes are decomposed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ferrum.backend import Kernel
from ferrum_cpu._front import empty
from ferrum_cpu.library import lib, refused

_MODES = {"bilinear": 0, "nearest": 1, "bicubic": 2}
_PADDINGS = {"zeros": 0, "border": 1, "reflection": 2}


def _run(function: Any, name: str, how: Any, shape: Any, *operands: Any) -> Any:
    """Return what a C function makes of operands: those of narrow dtypes as float32."""
    if len(shape) != 4 or any(each.__class__ is not np.ndarray for each in operands):
        return NotImplemented
    dtype = operands[0].dtype
    wide = dtype if dtype == np.float64 else np.float32
    dense = [np.require(each, wide, ["C", "A"]) for each in operands]
    out = empty(name, shape, dense[0].dtype)
    numbers = _MODES[how.mode], _PADDINGS[how.padding], bool(how.aligned)
    code = function(*map(id, dense), *numbers, id(out))
    return refused(name, code) if code else out.astype(dtype, copy=False)


def grid_sample(x: Any, grid: Any, *, how: Any) -> Any:
    """Return the image x where the grid says."""
    shape = (*x.shape[:2], *grid.shape[1:-1])
    return _run(lib.grid_sample, "grid_sample", how, shape, x, grid)


def grid_sample_input(g: Any, grid: Any, *, size: Any, how: Any) -> Any:
    """Return the gradient of the image."""
    shape = (*g.shape[:2], *size)
    return _run(lib.grid_sample_input, "grid_sample_input", how, shape, g, grid)


def grid_sample_grid(g: Any, x: Any, grid: Any, *, how: Any) -> Any:
    """Return the gradient of the grid."""
    return _run(lib.grid_sample_grid, "grid_sample_grid", how, grid.shape, g, x, grid)


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name; the ops' rules see to it that what C gets fits."""
    found = (grid_sample, grid_sample_input, grid_sample_grid)
    return {f"nn.{each.__name__}": Kernel(each) for each in found}
