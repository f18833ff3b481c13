"""Reading an optimizer's state dict: all of it is checked before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from ferrum import Tensor, float32, full
from ferrum.dtypes import is_floating
from ferrum.errors import FerrumError
from ferrum.spec import Shape
from ferrum_nn.errors import StateDictError
from ferrum_nn.optim.kept import Kept
from ferrum_nn.state import as_tensor


def read(
    name: str,
    state_dict: Any,
    params: Sequence[Sequence[Tensor]],
    kept: Mapping[str, Kept],
) -> tuple[list[dict[str, Any]], dict[Tensor, dict[str, Any]]]:
    """Return copies of the options of each group and of the state of each parameter.

    `params` are the parameters of each group here, `kept` says what the optimizer called `name`
    keeps for a parameter.
    """
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
        raise StateDictError(f"{name}: expected a state dict with 'state' and 'param_groups'")
    saved, state = state_dict["param_groups"], state_dict["state"]
    numbers = _numbers(name, saved, [len(group) for group in params])
    by_number = dict(zip(numbers, [param for group in params for param in group], strict=True))
    if not isinstance(state, Mapping) or not set(state) <= set(numbers):
        found = list(state) if isinstance(state, Mapping) else type(state).__name__
        raise StateDictError(f"{name}: expected a state of the parameters {numbers}, got {found}")
    groups = [
        {option: deepcopy(value) for option, value in group.items() if option != "params"}
        for group in saved
    ]
    return groups, {
        by_number[number]: _entry(f"{name}: parameter {number}", entry, by_number[number], kept)
        for number, entry in state.items()
    }


def _numbers(name: str, saved: Any, here: list[int]) -> list[int]:
    """Return the numbers that the parameters have in the saved groups."""
    listed = isinstance(saved, Sequence) and all(
        isinstance(group, Mapping) and isinstance(group.get("params"), Sequence) for group in saved
    )
    if not listed:
        raise StateDictError(f"{name}: expected param_groups, a list of dicts that have 'params'")
    there = [len(group["params"]) for group in saved]
    if here != there:
        raise StateDictError(
            f"{name}: expected groups of {here} parameters, the state dict has {there}"
        )
    numbers = [number for group in saved for number in group["params"]]
    if not all(isinstance(number, int) for number in numbers) or len({*numbers}) < len(numbers):
        raise StateDictError(f"{name}: expected params with numbers of their own, got {numbers}")
    return numbers


def _entry(where: str, entry: Any, param: Tensor, kept: Mapping[str, Kept]) -> dict[str, Any]:
    """Return a copy of the saved state of `param`, cast and moved to where the parameter is."""
    if not isinstance(entry, Mapping):
        raise StateDictError(f"{where}: expected a dict, got {type(entry).__name__}")
    shapes = {key: each.shape_of(param.shape) for key, each in kept.items()}
    missing = [
        key
        for key, shape in shapes.items()
        if shape is not None and not kept[key].option and entry.get(key) is None
    ]
    if entry and missing:
        raise StateDictError(
            f"{where}: expected {', '.join(missing)} in its state, which has only "
            f"{', '.join(map(str, entry))}"
        )
    return {
        key: _fitting(f"{where}: {key}", value, param, kept.get(key), shapes.get(key))
        for key, value in entry.items()
        if value is not None or key not in kept  # PyTorch's SGD may say that there is no momentum
    }


def _fitting(where: str, value: Any, param: Tensor, kept: Kept | None, shape: Shape | None) -> Any:
    """Return a copy of one thing in the state of `param`, of the form that a step takes."""
    is_number = kept is not None and kept.number
    if is_number and isinstance(value, (int, float)):
        return full((), float(value), dtype=float32, device=param.device)  # PyTorch before 1.12
    try:
        tensor = as_tensor(value)
    except FerrumError as error:
        raise StateDictError(f"{where}: {error}") from error
    if tensor is None and kept is None:
        if isinstance(value, (list, tuple)):  # as LBFGS keeps
            return type(value)([_fitting(where, each, param, None, None) for each in value])
        return deepcopy(value)
    if kept is not None and shape is None:
        raise StateDictError(f"{where}: a parameter of shape {param.shape} has none")
    if tensor is None or (kept is not None and tensor.shape != shape):
        found = type(value).__name__ if tensor is None else tensor.shape
        raise StateDictError(f"{where}: expected a tensor of shape {shape}, got {found}")
    floating = is_floating(tensor.dtype)
    if is_number:
        dtype = tensor.dtype if floating else float32
    else:
        dtype = param.dtype if floating or kept else tensor.dtype
    return tensor.detach().to(param.device, dtype, copy=True)
