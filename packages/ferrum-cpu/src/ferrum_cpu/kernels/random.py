"""Random numbers: the bits of `ferrum.philox`, in C."""

from __future__ import annotations

from typing import Any

from ferrum.backend import Kernel
from ferrum.dtypes import DType, int64
from ferrum.spec import Shape
from ferrum_cpu._front import empty
from ferrum_cpu.library import lib, refused

_MASK = 2**64 - 1


def uniform(*, shape: Shape, dtype: DType, key: tuple[int, int]) -> Any:
    """Return random numbers from [0, 1)."""
    out = empty("uniform", shape, dtype)
    code = lib.random_uniform(key[0] & _MASK, key[1] & _MASK, id(out))
    return NotImplemented if code else out


def normal(*, shape: Shape, dtype: DType, key: tuple[int, int]) -> Any:
    """Return random numbers of the standard normal law."""
    out = empty("normal", shape, dtype)
    code = lib.random_normal(key[0] & _MASK, key[1] & _MASK, id(out))
    return NotImplemented if code else out


def randint(*, low: int, high: int, shape: Shape, dtype: DType, key: tuple[int, int]) -> Any:
    """Return random integers from [low, high)."""
    out = empty("randint", shape, dtype)
    span = (high - low) & _MASK
    code = lib.random_integers(low & _MASK, span, key[0] & _MASK, key[1] & _MASK, id(out))
    return NotImplemented if code else out


def randperm(*, n: int, key: tuple[int, int]) -> Any:
    """Return 0 ... n - 1 in random order."""
    out = empty("randperm", (n,), int64)
    code = lib.random_permutation(key[0] & _MASK, key[1] & _MASK, id(out))
    return refused("randperm", code) if code else out


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    return {
        "core.uniform": Kernel(uniform),
        "core.normal": Kernel(normal),
        "core.randint": Kernel(randint),
        "core.randperm": Kernel(randperm),
    }
