"""What all optimizers have in common: groups of parameters, and a state for each parameter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any, TypeAlias

from ferrum import Tensor, enable_grad, full, no_grad
from ferrum.errors import ArgumentError, OperandError, UnsupportedError
from ferrum_nn.errors import StateDictError
from ferrum_nn.parameter import clear_grad
from ferrum_nn.state import as_tensor

Group: TypeAlias = dict[str, Any]
Params: TypeAlias = "Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Group]"


class Optimizer:
    """Base of the optimizers. A subclass passes its defaults on and defines `update`.

    `params` are tensors, (name, tensor) pairs, or dicts with such `params` and options that differ
    from the defaults. `param_groups` holds the options, which are read anew at every step; `state`
    what is kept for each parameter. Both have PyTorch's layout.
    """

    def __init__(self, params: Params, defaults: Group) -> None:
        if isinstance(params, (Tensor, str, Mapping)):
            raise OperandError(
                f"{type(self).__name__}: expected an iterable of tensors or of dicts, such as "
                f"model.parameters(), got {type(params).__name__}"
            )
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[Group] = []
        listed: list[Any] = list(params)
        if not listed:
            raise ArgumentError(f"{type(self).__name__}: expected at least one parameter")
        for group in listed if isinstance(listed[0], dict) else [{"params": listed}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Optimize more parameters, `param_group["params"]`, with options of their own."""
        name = type(self).__name__
        if "params" not in dict(param_group):
            raise ArgumentError(f"{name}: expected a group with 'params', got {param_group!r}")
        params, names = _split(name, param_group["params"])
        known = {id(p) for group in self.param_groups for p in group["params"]}
        if len({*known, *map(id, params)}) != len(known) + len(params):
            raise ArgumentError(f"{name}: a parameter is given twice")
        group = {**self.defaults, **param_group, "params": params}
        if names:
            group["param_names"] = names
        self.check(group)
        self.param_groups.append(group)

    def check(self, group: Group) -> None:
        """Raise ArgumentError if an option of `group` makes no sense; subclasses define it."""

    # ---- a step

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to zero in place."""
        for group in self.param_groups:
            for param in group["params"]:
                clear_grad(param, set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient.

        A `closure` that works out the loss and the gradients is called first; its loss is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            for group in self.param_groups:
                params = [param for param in group["params"] if param.grad is not None]
                for together in _by_device(params):
                    self.update(together, group)
        return loss

    def update(self, params: list[Tensor], group: Group) -> None:
        """Move `params`, all with gradients and on one device, with the options of `group`."""
        raise UnsupportedError(
            f"{type(self).__name__}: the class defines neither update(self, params, group) nor step"
        )

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """Return `state` and `param_groups`, with the parameters numbered."""
        numbers = {id(p): i for i, p in enumerate(self._params())}
        return {
            "state": {numbers[id(p)]: state for p, state in self.state.items()},
            "param_groups": [
                {**_options(group), "params": [numbers[id(p)] for p in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a copy of `state_dict`, this class's or that of PyTorch's of the same name.

        Tensors are cast and moved to what their parameter has. Raises StateDictError if the groups
        are not as many, or not as large, as those here; nothing is changed then.
        """
        name = type(self).__name__
        if not {"state", "param_groups"} <= set(state_dict):
            raise StateDictError(f"{name}: expected a state dict with 'state' and 'param_groups'")
        saved = state_dict["param_groups"]
        here = [len(group["params"]) for group in self.param_groups]
        there = [len(group["params"]) for group in saved]
        if here != there:
            raise StateDictError(
                f"{name}: expected groups of {here} parameters, the state dict has {there}"
            )
        numbers = [number for group in saved for number in group["params"]]
        params = dict(zip(numbers, self._params(), strict=True))
        state = {
            params[number]: _loaded(name, entry, params[number])
            for number, entry in state_dict["state"].items()
        }
        for group, new in zip(self.param_groups, saved, strict=True):
            group.update(deepcopy(_options(new)))
        self.state = defaultdict(dict, state)

    def _params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {value}" for name, value in sorted(_options(group).items())]
        return "\n".join([f"{type(self).__name__} (", *lines, ")"])


def grads_of(params: list[Tensor]) -> list[Tensor]:
    """Return the gradients of parameters that have one."""
    return [param.grad for param in params if param.grad is not None]


def at_least_zero(name: str, group: Group, *options: str) -> None:
    """Raise ArgumentError in the name of `name` if one of these options of `group` is negative."""
    for option in options:
        if not group[option] >= 0:  # rather than `< 0`: NaN shall not pass
            raise ArgumentError(
                f"{name}: expected {option} of at least 0, got {option}={group[option]}"
            )


def _options(group: Mapping[str, Any]) -> Group:
    return {name: value for name, value in group.items() if name != "params"}


def _split(name: str, given: Any) -> tuple[list[Tensor], list[str]]:
    """Return the tensors of a group, and their names where it has (name, tensor) pairs."""
    if isinstance(given, set):
        raise OperandError(f"{name}: expected parameters in an order, got a set")
    listed = [given] if isinstance(given, Tensor) else list(given)
    named = [each for each in listed if isinstance(each, tuple) and len(each) == 2]
    if named and len(named) != len(listed):
        raise ArgumentError(f"{name}: expected all parameters with names, or none")
    params = [tensor for _, tensor in named] if named else listed
    for param in params:
        if not isinstance(param, Tensor):
            raise OperandError(f"{name}: expected tensors, got {type(param).__name__}")
        if not param.is_leaf:
            raise ArgumentError(f"{name}: expected leaves, got the result of {param.grad_fn!r}")
    return params, [each for each, _ in named]


def _by_device(params: list[Tensor]) -> list[list[Tensor]]:
    """Return `params` in lists of one device each."""
    found: dict[Any, list[Tensor]] = {}
    for param in params:
        found.setdefault(param.device, []).append(param)
    return list(found.values())


def _loaded(name: str, entry: Mapping[str, Any], param: Tensor) -> dict[str, Any]:
    """Return a copy of the saved state of `param`, cast and moved to where the parameter is."""
    return {key: _fitting(name, key, value, param) for key, value in entry.items()}


def _fitting(name: str, key: str, value: Any, param: Tensor) -> Any:
    if isinstance(value, (bool, int, float)) and key == "step":
        return full((), float(value), device=param.device)  # as PyTorch saved it before 1.12
    tensor = as_tensor(value)
    if tensor is None:
        return deepcopy(value)
    if tensor.shape not in ((), param.shape):
        raise StateDictError(
            f"{name}: expected {key} of the parameter's shape {param.shape}, got {tensor.shape}"
        )
    dtype = tensor.dtype if key == "step" else param.dtype
    return tensor.detach().to(param.device, dtype, copy=True)
