"""The options of optimizers: what each may be, and the form in which a step's op takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ferrum.errors import ArgumentError, OperandError


class Option(NamedTuple):
    """What an option may be.

    `read` returns a value in the form that the op takes. It raises TypeError for another kind of
    thing, ValueError for one out of range; `expected` says in words what it takes.
    """

    expected: str
    read: Callable[[Any], Any]

    def of(self, owner: str, name: str, value: Any) -> Any:
        """Return `value` as the op takes it, or raise in the name of `owner`."""
        try:
            return self.read(value)
        except (TypeError, ValueError, OverflowError) as error:
            kind = OperandError if isinstance(error, TypeError) else ArgumentError
            raise kind(f"{owner}: expected {name} {self.expected}, got {name}={value!r}") from error


def is_fixed(value: Any) -> bool:
    """Return whether `value` can be trusted to stay as it is: a tensor or a list may be written."""
    return value.__class__ in (float, int, bool) or (
        value.__class__ is tuple and all(map(is_fixed, value))
    )


def _number(value: Any) -> float:
    """Return a number, or a tensor of one element, as a float that is not NaN."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__float__"):
        raise TypeError
    number = float(value)
    if number != number:
        raise ValueError
    return number


def _flag(value: Any) -> bool:
    if not isinstance(value, (int, np.bool_)):
        raise TypeError
    if value not in (0, 1):
        raise ValueError
    return bool(value)


def _numbers(
    count: int, *, first: Callable[[Any], Any] = _number
) -> Callable[[Any], tuple[Any, ...]]:
    """Return what reads a tuple of so many numbers, the first of them by a reader of its own."""

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (tuple, list)):
            raise TypeError
        if len(value) != count:
            raise ValueError
        return first(value[0]), *map(_number, value[1:])

    return read


def _maybe(value: Any) -> float | None:
    return None if value is None else _number(value)


def _where(read: Callable[[Any], Any], fits: Callable[[Any], bool]) -> Callable[[Any], Any]:
    """Return `read`, which then refuses what does not fit."""

    def checked(value: Any) -> Any:
        found = read(value)
        if not fits(found):
            raise ValueError
        return found

    return checked


def _whole(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError
    return int(number)


NUMBER = Option("to be a number", _number)
AT_LEAST_ZERO = Option("of at least 0", _where(_number, lambda x: x >= 0))
AT_LEAST_ONE = Option("of at least 1", _where(_number, lambda x: x >= 1))
AT_MOST_ZERO = Option("of at most 0", _where(_number, lambda x: x <= 0))
FRACTION = Option("from 0 to 1", _where(_number, lambda x: 0 <= x <= 1))
WHOLE = Option("to be a whole number of at least 0", _where(_whole, lambda x: x >= 0))
BELOW_HUNDRED = Option("to be a whole number from 0 to 99", _where(_whole, lambda x: 0 <= x < 100))
COUNT = Option("to be a whole number of at least 1", _where(_whole, lambda x: x >= 1))
FLAG = Option("to be True or False", _flag)
TWO = Option("to be two numbers", _numbers(2))
THREE = Option("to be three numbers", _numbers(3))
BETAS = Option(
    "to be two numbers from 0 up to 1",
    _where(_numbers(2), lambda two: all(0 <= x < 1 for x in two)),
)
ETAS = Option(
    "to be two numbers, one between 0 and 1 and one above 1",
    _where(_numbers(2), lambda two: 0 < two[0] < 1 < two[1]),
)
MAYBE_AND_AT_LEAST_ZERO = Option(
    "to be None or a number, and a number, of at least 0",
    _where(_numbers(2, first=_maybe), lambda two: min(two[0] or 0, two[1]) >= 0),
)
