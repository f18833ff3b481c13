"""Generators: where the random numbers of FERRUM come from.

A generator is a seed and an offset. Every draw is a pure function of the two, on every device the
same, and moves the offset on by one; see `ferrum.philox`.
"""

from __future__ import annotations

import os
import threading

from ferrum.errors import ArgumentError

MASK = (1 << 64) - 1


class Key(tuple[int, int]):
    """The (seed, offset) of one draw, and the generator that it came from."""

    generator: Generator


class Generator:
    """A source of random numbers: a seed, and how many draws have been made."""

    __slots__ = ("_lock", "_offset", "_seed")

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._seed = seed & MASK
        self._offset = 0

    def manual_seed(self, seed: int) -> Generator:
        """Start anew from `seed`. Returns self."""
        with self._lock:
            self._seed, self._offset = seed & MASK, 0
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
        return self._seed, self._offset

    def set_state(self, state: tuple[int, int]) -> Generator:
        """Go on from a state that `get_state` returned. Returns self."""
        seed, offset = state
        if not (0 <= seed <= MASK and 0 <= offset <= MASK):
            raise ArgumentError(f"set_state: expected two integers of 64 bits, got {state}")
        with self._lock:
            self._seed, self._offset = seed, offset
        return self

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
