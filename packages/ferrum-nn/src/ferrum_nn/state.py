"""Loading a state dict: first everything is checked, then everything is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ferrum import Tensor, from_dlpack, no_grad
from ferrum.dtypes import is_floating
from ferrum.errors import FerrumError
from ferrum_nn.errors import StateDictError
from ferrum_nn.hooks import hooks_of
from ferrum_nn.parameter import Parameter

if TYPE_CHECKING:
    from ferrum_nn.module import Module

EXTRA = "_extra_state"  # the end of the key of what a module saves beside tensors


class Place(NamedTuple):
    """Where a tensor of a state dict belongs."""

    owner: Module
    name: str
    tensor: Tensor

    def put(self, value: Tensor, assign: bool) -> None:
        """Write `value`, or with `assign` take over its memory, dtype and device."""
        if not assign:
            self.tensor.copy_(value)
        elif isinstance(self.tensor, Parameter):
            self.tensor.adopt(value)
        else:
            setattr(self.owner, self.name, value)


class _Keys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class IncompatibleKeys(_Keys):
    """The `missing_keys` and `unexpected_keys` that `load_state_dict(strict=False)` passed over."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return what PyTorch prints."""
        return super().__repr__() if any(self) else "<All keys matched successfully>"


def as_tensor(value: Any) -> Tensor | None:
    """Return a tensor of FERRUM, or of any library that speaks DLPack; None for anything else.

    Raises ArgumentError or DTypeError for an array that DLPack cannot hand over.
    """
    if isinstance(value, Tensor):
        return value
    return from_dlpack(value) if hasattr(value, "__dlpack__") else None


def load(
    module: Module,
    given: Any,
    places: Mapping[str, Place],
    extras: Mapping[str, Module],
    strict: bool,
    assign: bool,
) -> IncompatibleKeys:
    """Put the tensors of `given` into a module: all, or none where anything is wrong."""
    name = type(module).__name__
    if not isinstance(given, Mapping):
        raise StateDictError(
            f"{name}: load_state_dict expected a mapping from names to tensors, got "
            f"{type(given).__name__}"
        )
    given = dict(given)
    scopes = [(f"{at}." if at else "", each) for at, each in module.named_modules("", False)]
    missing: list[str] = []
    unexpected: list[str] = []
    mismatched: list[str] = []
    for prefix, each in scopes:
        for hook in hooks_of(each, "before_load"):
            hook(each, given, prefix, {}, strict, missing, unexpected, mismatched)
    known = {**places, **extras}
    optional = {key for key, place in places.items() if place.name in place.owner._optional}
    missing += [key for key in known if key not in given and key not in optional]
    unexpected += [key for key in given if key not in known]
    found: dict[str, Tensor] = {}
    for key, place in places.items():
        if key in given:
            try:
                found[key] = _fitting(place.tensor, given[key], assign)
            except FerrumError as error:
                mismatched.append(f"{key}: {error}")
    keys = IncompatibleKeys(missing, unexpected)
    after = [(each, hook) for _, each in scopes[::-1] for hook in hooks_of(each, "after_load")]
    if mismatched or not after:
        _refuse(name, keys, mismatched, strict)
    with no_grad():
        for key, value in found.items():
            places[key].put(value.detach(), assign)
    for key, owner in extras.items():
        if key in given:
            owner.set_extra_state(given[key])
    for each, hook in after:
        hook(each, keys)
    _refuse(name, keys, [], strict)
    return keys


def _refuse(name: str, keys: IncompatibleKeys, mismatched: list[str], strict: bool) -> None:
    """Raise if there is anything to say."""
    missing, unexpected = keys
    if mismatched or (strict and (missing or unexpected)):
        raise StateDictError(
            _message(name, missing if strict else [], unexpected if strict else [], mismatched),
            tuple(missing),
            tuple(unexpected),
            tuple(mismatched),
        )


def _fitting(own: Tensor, given: Any, assign: bool) -> Tensor:
    """Return `given` as a tensor of the shape of `own`, or raise what its key's line shall say."""
    value = as_tensor(given)
    if value is None:
        raise StateDictError(f"expected a tensor, got {type(given).__name__}")
    if value.shape != own.shape:
        raise StateDictError(f"the module has {own.shape}, the state dict {value.shape}")
    if assign and own.requires_grad and not is_floating(value.dtype):
        raise StateDictError(f"it requires grad, so it cannot become {value.dtype.name}")
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
