"""Loading a state dict: first everything is checked, then everything is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ferrum import Tensor, from_dlpack, no_grad
from ferrum.errors import FerrumError
from ferrum_nn.errors import StateDictError


class IncompatibleKeys(NamedTuple):
    """The keys that `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def as_tensor(value: Any) -> Tensor | None:
    """Return a tensor of FERRUM, or of any library that speaks DLPack; None for anything else.

    Raises ArgumentError or DTypeError for an array that DLPack cannot hand over.
    """
    if isinstance(value, Tensor):
        return value
    return from_dlpack(value) if hasattr(value, "__dlpack__") else None


def load(name: str, own: Mapping[str, Tensor], given: Any, strict: bool) -> IncompatibleKeys:
    """Copy the tensors of `given` into those of `own`: all, or none where anything is wrong."""
    if not isinstance(given, Mapping):
        raise StateDictError(
            f"{name}: load_state_dict expected a mapping from names to tensors, got "
            f"{type(given).__name__}"
        )
    missing = [key for key in own if key not in given]
    unexpected = [key for key in given if key not in own]
    found: dict[str, Tensor] = {}
    mismatched: list[str] = []
    for key in own:
        if key in given:
            try:
                found[key] = _fitting(own[key], given[key])
            except FerrumError as error:
                mismatched.append(f"{key}: {error}")
    if mismatched or (strict and (missing or unexpected)):
        raise StateDictError(
            _message(name, missing if strict else [], unexpected if strict else [], mismatched),
            tuple(missing),
            tuple(unexpected),
            tuple(mismatched),
        )
    with no_grad():
        for key, value in found.items():
            own[key].copy_(value.detach())
    return IncompatibleKeys(missing, unexpected)


def _fitting(own: Tensor, given: Any) -> Tensor:
    """Return `given` as a tensor of the shape of `own`, or raise what its key's line shall say."""
    value = as_tensor(given)
    if value is None:
        raise StateDictError(f"expected a tensor, got {type(given).__name__}")
    if value.shape != own.shape:
        raise StateDictError(f"the module has {own.shape}, the state dict {value.shape}")
    return value


def _message(name: str, missing: list[str], unexpected: list[str], mismatched: list[str]) -> str:
    lines = [f"{name}: the state dict does not fit the module"]
    if missing:
        lines.append(f"missing keys: {', '.join(missing)}")
    if unexpected:
        lines.append(f"unexpected keys: {', '.join(map(str, unexpected))}")
    lines += mismatched
    if (missing or unexpected) and not mismatched:
        lines.append("strict=False loads the keys that fit")
    return "\n    ".join(lines)
