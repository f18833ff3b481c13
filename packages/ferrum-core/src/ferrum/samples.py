"""The calls of an op that tests make: plain, broadcast, empty, extreme, and bad ones.

Each op carries a generator of samples beside its declaration. What a sample's inputs are worth is
fixed by a seed; which dtype they have, and how they lie in memory, is chosen by who runs them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ferrum.dtypes import DType, bool_, int64


@dataclass(frozen=True)
class Input:
    """The values of one tensor operand. `dtype` None stands for the dtype under test."""

    values: npt.NDArray[Any]
    dtype: DType | None = None


@dataclass(frozen=True)
class Sample:
    """One call: operands (`Input`, number, None or a list of them) and attributes.

    `error` is the class that the op must raise, None for a good call. `smooth` says that the
    function is differentiable at this point, so that finite differences mean something there.
    """

    inputs: tuple[Any, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    error: type[Exception] | None = None
    smooth: bool = True


class Sampler:
    """Makes samples for one op; the same ones at every run."""

    def __init__(self, name: str) -> None:
        self._rng = np.random.default_rng(zlib.crc32(name.encode()))

    def __call__(self, *inputs: Any, **attrs: Any) -> Sample:
        """Return a good call."""
        return Sample(inputs, attrs)

    def kink(self, *inputs: Any, **attrs: Any) -> Sample:
        """Return a good call at a point where the function has no derivative."""
        return Sample(inputs, attrs, smooth=False)

    def bad(self, error: type[Exception], *inputs: Any, **attrs: Any) -> Sample:
        """Return a call that must raise `error`."""
        return Sample(inputs, attrs, error)

    def real(self, *shape: int, low: float = -2.0, high: float = 2.0) -> Input:
        """Return distinct values between `low` and `high`, none near an integer or a half."""
        size = int(np.prod(shape))
        values = low + (high - low) * (self._rng.permutation(size) + 0.37) / max(size, 1)
        near = np.abs(values * 2 - np.round(values * 2)) < 0.1
        return Input(np.where(near, values + 0.11, values).reshape(shape))

    def positive(self, *shape: int) -> Input:
        """Return distinct values between 0.2 and 3."""
        return self.real(*shape, low=0.2, high=3.0)

    def exact(self, *values: float) -> Input:
        """Return these values, as a vector."""
        return Input(np.array(values, dtype=np.float64))

    def index(self, bound: int, *shape: int) -> Input:
        """Return int64 indices from 0 to bound - 1."""
        return Input(self._rng.integers(0, bound, shape), int64)

    def indices(self, *values: int) -> Input:
        """Return these int64 values, as a vector."""
        return Input(np.array(values, dtype=np.int64), int64)

    def truth(self, *shape: int) -> Input:
        """Return booleans."""
        return Input(self._rng.random(shape) < 0.5, bool_)

    def typed(self, dtype: DType, *shape: int) -> Input:
        """Return small non-negative values of a fixed dtype."""
        return Input(self._rng.integers(0, 2, shape), dtype)


Samples: TypeAlias = Callable[[Sampler], Iterator[Sample]]
