"""Generators: where the random numbers of FERRUM come from.

A generator is a seed and an offset. Every draw is a pure function of the two, on every device the
same, and moves the offset on by one; see `ferrum.philox`.
"""

from __future__ import annotations

import os
import threading
from operator import index
from typing import Any

from ferrum.errors import ArgumentError, OperandError

MASK = (1 << 64) - 1


def _word(name: str, seed: Any) -> int:
    """Return the lowest 64 bits of an integer."""
    try:
        return index(seed) & MASK
    except TypeError:
        raise OperandError(f"{name}: expected an integer, got {type(seed).__name__}") from None


class Key(tuple[int, int]):
    """The (seed, offset) of one draw, and the generator that it came from."""

    generator: Generator


class Generator:
    """A source of random numbers: a seed, and how many draws have been made."""

    __slots__ = ("_lock", "_offset", "_seed")

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._seed = _word("Generator", seed)
        self._offset = 0

    def manual_seed(self, seed: int) -> Generator:
        """Start anew from `seed`. Returns self."""
        word = _word("manual_seed", seed)
        with self._lock:
            self._seed, self._offset = word, 0
        return self

    def seed(self) -> int:
        """Start anew from a seed that the operating system gives, and return it."""
        fresh = int.from_bytes(os.urandom(8), "little")
        self.manual_seed(fresh)
        return fresh

    def initial_seed(self) -> int:
        """Return the seed."""
        return self._seed

    def next_key(self) -> Key:
        """Return the key of one draw, and move on."""
        with self._lock:
            key = Key((self._seed, self._offset))
            self._offset = (self._offset + 1) & MASK
        key.generator = self
        return key

    def get_state(self) -> tuple[int, int]:
        """Return the state: (seed, offset)."""
        with self._lock:
            return self._seed, self._offset

    def set_state(self, state: Any) -> Generator:
        """Go on from a state that `get_state` returned. Returns self."""
        if not (
            isinstance(state, (tuple, list))
            and len(state) == 2
            and all(isinstance(each, int) and 0 <= each <= MASK for each in state)
        ):
            raise ArgumentError(f"set_state: expected two integers of 64 bits, got {state!r}")
        with self._lock:
            self._seed, self._offset = state
        return self

    __setstate__ = set_state

    def __reduce__(self) -> tuple[Any, ...]:
        return Generator, (), self.get_state()

    def __repr__(self) -> str:
        return f"Generator(seed={self._seed}, offset={self._offset})"


default_generator = Generator(int.from_bytes(os.urandom(8), "little"))


def manual_seed(seed: int) -> Generator:
    """Start the default generator anew from `seed`, and return it."""
    return default_generator.manual_seed(seed)


def get_rng_state() -> tuple[int, int]:
    """Return the state of the default generator."""
    return default_generator.get_state()


def set_rng_state(state: tuple[int, int]) -> None:
    """Go on from a state that `get_rng_state` returned."""
    default_generator.set_state(state)
