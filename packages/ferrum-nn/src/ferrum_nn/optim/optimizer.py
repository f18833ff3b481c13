"""What all optimizers have in common: groups of parameters, and a state for each parameter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from operator import is_
from typing import Any, ClassVar, TypeAlias, cast

from ferrum import Device, Tensor, enable_grad, no_grad
from ferrum.dtypes import is_floating
from ferrum.errors import ArgumentError, DTypeError, OperandError, UnsupportedError
from ferrum_nn.optim import states
from ferrum_nn.optim.hooks import Hooked
from ferrum_nn.optim.kept import Kept
from ferrum_nn.optim.options import Option, is_fixed
from ferrum_nn.parameter import clear_grad

Group: TypeAlias = dict[str, Any]
Options: TypeAlias = dict[str, Any]
Params: TypeAlias = "Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Group]"

NOTHING: Mapping[str, Any] = {}


class Optimizer(Hooked):
    """Base of the optimizers.

    `params` are tensors, (name, tensor) pairs, or dicts with such `params` and options that differ
    from the defaults. `param_groups` holds the options, which are read anew at every step; `state`
    what is kept for each parameter. Both have PyTorch's layout.

    A subclass passes its defaults on and names three things, as `SGD` does: what its `options` may
    be, what it has `kept` for each parameter, and the `op` that makes a step of all of them. Or it
    defines `update`, and does what it likes.
    """

    options: ClassVar[Mapping[str, Option]] = {}
    """What each option may be; the op takes all of them as attributes."""
    kept: ClassVar[Mapping[str, Kept]] = {}
    """What is kept for a parameter under each name."""
    op: ClassVar[Callable[..., Any] | None] = None
    """The op: it takes lists of params, grads, and each of what is kept, of all that have it."""
    needs_closure: ClassVar[bool] = False
    """Whether `step` works out the loss as often as it likes, and so must be given a closure."""

    def __init__(self, params: Params, defaults: Group) -> None:
        name = type(self).__name__
        if isinstance(params, (Tensor, str, Mapping)) or not isinstance(params, Iterable):
            raise OperandError(
                f"{name}: expected an iterable of tensors or of dicts, such as "
                f"model.parameters(), got {type(params).__name__}"
            )
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[Group] = []
        self._known: dict[int, tuple[list[Any], Options]] = {}
        listed: list[Any] = list(params)
        if not listed:
            raise ArgumentError(f"{name}: expected at least one parameter")
        for group in listed if isinstance(listed[0], dict) else [{"params": listed}]:
            self.add_param_group(group)

    def _chosen(self, arguments: Mapping[str, Any]) -> Group:
        """Return the options among the arguments of a constructor, which gives its `locals()`."""
        return {name: value for name, value in arguments.items() if name in self.options}

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Optimize more parameters, `param_group["params"]`, with options of their own."""
        name = type(self).__name__
        if not isinstance(param_group, Mapping):
            raise OperandError(f"{name}: expected a dict, got {type(param_group).__name__}")
        if "params" not in param_group:
            raise ArgumentError(f"{name}: expected a group with 'params', got {param_group!r}")
        params, names = _split(name, param_group["params"])
        known = {id(p) for p in self._params()}
        if len({*known, *map(id, params)}) != len(known) + len(params):
            raise ArgumentError(f"{name}: a parameter is given twice")
        group = {**self.defaults, **param_group, "params": params}
        if names:
            group["param_names"] = names
        if any(("param_names" in group) != ("param_names" in other) for other in self.param_groups):
            raise ArgumentError(f"{name}: expected all groups with names, or none")
        self._options_of(group)
        self.param_groups.append(group)

    def check(self, options: Options) -> None:
        """Raise ArgumentError if options do not go together; subclasses define it."""

    def check_state(self, state: Mapping[Tensor, Mapping[str, Any]]) -> None:
        """Raise StateDictError if what was read of a state dict makes no sense; for subclasses."""

    # ---- a step

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to zero in place."""
        for group in self.param_groups:
            for param in group["params"]:
                clear_grad(param, set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient.

        A `closure` that works out the loss and the gradients is called first; its loss is returned.
        Raises ArgumentError or OperandError for an option that makes no sense, before any parameter
        is moved.
        """
        loss = None
        if closure is not None:
            if not callable(closure):
                raise OperandError(
                    f"{type(self).__name__}: expected a function as closure, got {closure!r}"
                )
            with enable_grad():
                loss = closure()
        groups = [(group["params"], self._options_of(group)) for group in self.param_groups]
        with no_grad():
            for listed, options in groups:
                for params, grads in _moving(listed):
                    self.update(params, grads, options)
        return loss

    def update(self, params: list[Tensor], grads: list[Tensor], options: Options) -> None:
        """Move `params`, which are on one device, by their gradients, with a group's options."""
        if self.op is None:
            raise UnsupportedError(
                f"{type(self).__name__}: the class defines neither `op` nor "
                f"update(self, params, grads, options)"
            )
        held = [self.state.get(param, NOTHING) for param in params]
        lists: list[list[Tensor]] = []
        begun: list[tuple[Tensor, str, Tensor]] = []
        for name, kept in self.kept.items():
            if kept.option and not options[kept.option]:
                lists.append([])
                continue
            try:
                lists.append([each[name] for each in held])
            except KeyError:  # a first step, or the first with this option, or not all have it
                lists.append([])
                for param, each in zip(params, held, strict=True):
                    tensor = each[name] if name in each else self.start(name, param, options)
                    if tensor is not None:
                        lists[-1].append(tensor)
                        begun.append((param, name, tensor))
        self.op(params, grads, *lists, **options)
        for param, name, tensor in begun:
            self.state[param][name] = tensor

    def start(self, name: str, param: Tensor, options: Options) -> Tensor | None:
        """Return what is kept as `name` before a first step, None if `param` has no such thing."""
        return self.kept[name].begun(param, options)

    def _options_of(self, group: Group) -> Options:
        """Return the options of a group as `update` takes them; what is wrong with one raises.

        They are read again only where one was assigned since the last step, or may be written.
        """
        try:
            values = [group[name] for name in self.defaults]
        except KeyError as error:
            raise ArgumentError(
                f"{type(self).__name__}: expected a group with the option {error}"
            ) from error
        known = self._known.get(id(group))
        if known is not None and all(map(is_, known[0], values)):
            return known[1]
        options = dict(zip(self.defaults, values, strict=True))
        for name, option in self.options.items():
            options[name] = option.of(type(self).__name__, name, group[name])
        self.check(options)
        if all(map(is_fixed, values)):
            self._known[id(group)] = values, options
        return options

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """Return `state` and `param_groups`, with the parameters numbered."""
        self._called("before_save")
        numbers = {id(p): i for i, p in enumerate(self._params())}
        state_dict = {
            "state": {numbers[id(p)]: state for p, state in self.state.items()},
            "param_groups": [
                {**_without_params(group), "params": [numbers[id(p)] for p in group["params"]]}
                for group in self.param_groups
            ],
        }
        return cast("dict[str, Any]", self._passed("after_save", state_dict))

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a copy of `state_dict`, this class's or that of PyTorch's of the same name.

        Tensors are cast and moved to what their parameter has. Raises StateDictError if the groups
        are not as many, or not as large, as those here, or the state is not what this class keeps,
        and ArgumentError or OperandError for an option that makes no sense. Nothing is changed
        then.
        """
        if isinstance(state_dict, Mapping):  # read says what else is wrong
            state_dict = self._passed("before_load", dict(state_dict))
        groups, state = states.read(
            type(self).__name__,
            state_dict,
            [group["params"] for group in self.param_groups],
            self.kept,
        )
        self.check_state(state)
        for group, new in zip(self.param_groups, groups, strict=True):
            self._options_of({**group, **new})
        for group, new in zip(self.param_groups, groups, strict=True):
            group.update(new)
        self.state = defaultdict(dict, state)
        self._called("after_load")

    def _params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            options = sorted(_without_params(group).items())
            lines += [f"    {name}: {value}" for name, value in options]
        return "\n".join([f"{type(self).__name__} (", *lines, ")"])


def _without_params(group: Mapping[str, Any]) -> Group:
    return {name: value for name, value in group.items() if name != "params"}


def _split(name: str, given: Any) -> tuple[list[Tensor], list[str]]:
    """Return the tensors of a group, and their names where it has (name, tensor) pairs."""
    if isinstance(given, (set, str, Mapping)) or not isinstance(given, Iterable):
        raise OperandError(
            f"{name}: expected parameters in an order, such as a list, got {type(given).__name__}"
        )
    listed = [given] if isinstance(given, Tensor) else list(given)
    named = [each for each in listed if isinstance(each, tuple) and len(each) == 2]
    if named and len(named) != len(listed):
        raise ArgumentError(f"{name}: expected all parameters with names, or none")
    params = [tensor for _, tensor in named] if named else listed
    for param in params:
        if not isinstance(param, Tensor):
            raise OperandError(f"{name}: expected tensors, got {type(param).__name__}")
        if not is_floating(param.dtype):
            raise DTypeError(
                f"{name}: expected floating-point parameters, got {param.dtype.name}; leave out "
                f"what has no gradient"
            )
        if not param.is_leaf:
            raise ArgumentError(f"{name}: expected leaves, got the result of {param.grad_fn!r}")
    return params, [each for each, _ in named]


def _moving(params: list[Tensor]) -> Iterable[tuple[list[Tensor], list[Tensor]]]:
    """Return the parameters that have a gradient, and the gradients; of one device at a time."""
    found: dict[Device, tuple[list[Tensor], list[Tensor]]] = {}
    for param in params:
        grad = param.grad
        if grad is not None:
            both = found.get(param.device)
            if both is None:
                both = found[param.device] = [], []
            both[0].append(param)
            both[1].append(grad)
    return found.values()
