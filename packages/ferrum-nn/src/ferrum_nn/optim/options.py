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


def _at_least_zero(value: Any) -> float:
    number = _number(value)
    if number < 0:
        raise ValueError
    return number


def _flag(value: Any) -> bool:
    if not isinstance(value, (int, np.bool_)):
        raise TypeError
    if value not in (0, 1):
        raise ValueError
    return bool(value)


def _betas(value: Any) -> tuple[float, ...]:
    if not isinstance(value, (tuple, list)):
        raise TypeError
    if len(value) != 2:
        raise ValueError
    betas = tuple(map(_number, value))
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError
    return betas


NUMBER = Option("to be a number", _number)
AT_LEAST_ZERO = Option("of at least 0", _at_least_zero)
FLAG = Option("to be True or False", _flag)
BETAS = Option("to be two numbers from 0 up to 1", _betas)
