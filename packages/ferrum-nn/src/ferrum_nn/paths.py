"""What a path is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ferrum.errors import ArgumentError, OperandError


def path_of(where: str, name: str, value: Any) -> Path:
    """Return the argument `name` of the function `where` as a path, or say that it is none."""
    try:
        path = Path(value)
    except TypeError:
        raise OperandError(f"{where}: expected a path as {name}, got {value!r}") from None
    if "\0" in str(path):
        raise ArgumentError(f"{where}: expected a path without NUL as {name}, got {value!r}")
    return path
