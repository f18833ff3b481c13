"""Caches of keys and values, with which decoding step by step costs one step a token."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ferrum import Device, Tensor, arange, cat, empty, is_grad_enabled, no_grad
from ferrum.errors import ArgumentError, OutOfRangeError, ShapeError

__all__ = ["CrossCache", "GrowingCache", "KeyValueCache", "SlidingCache", "StaticCache"]


class KeyValueCache(ABC):
    """What attention asks of a cache: `update` adds keys and values, `mask` says who sees whom.

    Keys and values are (n, heads, length, size). `seen` counts the positions given so far: it is
    the position of the next one. Caches are for decoding, not for training: `update` raises
    ArgumentError where a gradient would be cut.
    """

    def __init__(self) -> None:
        self.seen = 0

    @abstractmethod
    def update(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add new keys and values, and return all that the new queries may attend to."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything: another sequence begins."""

    def length(self, new: int) -> int:
        """Return how many keys `update` will return for `new` ones."""
        return self.seen + new

    def mask(self, queries: int, keys: int, device: Device) -> Tensor | None:
        """Return (queries, keys), True where one of the newest queries attends, or None for all."""
        if queries == 1:
            return None
        place = arange(keys - queries, keys, device=device).reshape(queries, 1)
        return arange(keys, device=device) <= place


class StaticCache(KeyValueCache):
    """Room for `max_length` positions, taken at the first update and written in place.

    Raises OutOfRangeError for more positions than that, before anything is written.
    """

    def __init__(self, max_length: int) -> None:
        super().__init__()
        self.max_length = _positive("StaticCache", "max_length", max_length)
        self._room: tuple[Tensor, Tensor] | None = None

    def update(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write after what is there; the result is views of all positions so far."""
        _check(type(self).__name__, key, value, self._room)
        end = self.seen + key.shape[2]
        self._reserve(key, value, end)
        assert self._room is not None
        with no_grad():
            for room, new in zip(self._room, (key, value), strict=True):
                room[:, :, self.seen : end] = new.detach()
        self.seen = end
        keys, values = self._room
        return keys[:, :, :end], values[:, :, :end]

    def reset(self) -> None:
        """Forget what is there and keep the room."""
        self.seen = 0

    def _reserve(self, key: Tensor, value: Tensor, end: int) -> None:
        if end > self.max_length:
            raise OutOfRangeError(
                f"StaticCache: expected at most max_length = {self.max_length} positions, got "
                f"{end}; make a longer one, or take a GrowingCache or a SlidingCache"
            )
        if self._room is None:
            self._room = _room(key, self.max_length), _room(value, self.max_length)


class GrowingCache(StaticCache):
    """Room that doubles when it is full, so that a position costs a constant number of copies."""

    def __init__(self) -> None:
        super().__init__(1)

    def _reserve(self, key: Tensor, value: Tensor, end: int) -> None:
        if self._room is not None and end <= self.max_length:
            return
        self.max_length = max(end, 2 * self.max_length, 16)
        old, self._room = self._room, (_room(key, self.max_length), _room(value, self.max_length))
        if old is not None and self.seen:
            for room, full in zip(self._room, old, strict=True):
                room[:, :, : self.seen] = full[:, :, : self.seen]


class SlidingCache(KeyValueCache):
    """The newest `window` positions: each query attends to itself and the window - 1 before it."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = _positive("SlidingCache", "window", window)
        self._kept: tuple[Tensor, Tensor] | None = None

    def update(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is kept with the new behind it, and keep the last window - 1 of it."""
        _check(type(self).__name__, key, value, self._kept)
        new = key.detach(), value.detach()
        if self._kept is None:
            both = new
        else:
            both = cat([self._kept[0], new[0]], 2), cat([self._kept[1], new[1]], 2)
        first = max(both[0].shape[2] - self.window + 1, 0)
        self._kept = both[0][:, :, first:], both[1][:, :, first:]
        self.seen += key.shape[2]
        return both

    def length(self, new: int) -> int:
        """Return how many keys `update` will return for `new` ones."""
        return new if self._kept is None else self._kept[0].shape[2] + new

    def mask(self, queries: int, keys: int, device: Device) -> Tensor | None:
        """Return the causal mask without what lies before a query's window."""
        causal = super().mask(queries, keys, device)
        if causal is None:
            return None
        place = arange(keys - queries, keys, device=device).reshape(queries, 1)
        return causal & (arange(keys, device=device) > place - self.window)

    def reset(self) -> None:
        """Forget everything."""
        self._kept, self.seen = None, 0


class CrossCache(KeyValueCache):
    """Keys and values of a memory, computed at the first step and returned at every other."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: tuple[Tensor, Tensor] | None = None

    def update(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the first keys and values; the values of later ones are not looked at."""
        refuse_gradients(type(self).__name__, key, value)
        if self.kept is None:
            _check(type(self).__name__, key, value, None)
            self.kept, self.seen = (key.detach(), value.detach()), key.shape[2]
        return self.kept

    def length(self, new: int) -> int:
        """Return the length of the memory."""
        return new if self.kept is None else self.seen

    def mask(self, queries: int, keys: int, device: Device) -> Tensor | None:
        """Return None: every query sees all of a memory."""
        return None

    def reset(self) -> None:
        """Forget the memory."""
        self.kept, self.seen = None, 0


def _positive(name: str, what: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{name}: expected a {what} of at least 1, got {value!r}")
    return value


def _room(like: Tensor, length: int) -> Tensor:
    n, heads, _, size = like.shape
    return empty(n, heads, length, size, dtype=like.dtype, device=like.device)


def refuse_gradients(name: str, *sources: Tensor | None) -> None:
    """Raise ArgumentError if a cache would cut the gradient of what keys and values come from."""
    if is_grad_enabled() and any(each is not None and each.requires_grad for each in sources):
        raise ArgumentError(
            f"{name}: expected keys and values without gradients, which a cache would cut; decode "
            f"under fe.no_grad()"
        )


def _check(name: str, key: Tensor, value: Tensor, held: tuple[Tensor, Tensor] | None) -> None:
    if key.ndim != 4 or value.ndim != 4 or key.shape[:3] != value.shape[:3]:
        raise ShapeError(
            f"{name}: expected key and value (n, heads, length, size) of one length, got "
            f"{key.shape} and {value.shape}"
        )
    refuse_gradients(name, key, value)
    if held is None:
        return
    for new, old in zip((key, value), held, strict=True):
        if (*new.shape[:2], new.shape[3]) != (*old.shape[:2], old.shape[3]):
            n, heads, _, size = old.shape
            raise ShapeError(
                f"{name}: expected ({n}, {heads}, length, {size}) as before, got {new.shape}; "
                f"reset() the cache, or make another, for another batch"
            )
