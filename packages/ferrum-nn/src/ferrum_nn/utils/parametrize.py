"""Parameters that are computed from others.

    class Symmetric(nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).mT

    layer = nn.Linear(3, 3)
    nn.utils.parametrize.register_parametrization(layer, "weight", Symmetric())
    layer.weight  # symmetric; what is learned is layer.parametrizations.weight.original

The module gets a class of its own, where the name is a property.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ferrum import Tensor, is_grad_enabled, no_grad
from ferrum.errors import (
    ArgumentError,
    DeviceError,
    DTypeError,
    OperandError,
    ShapeError,
    UnsupportedError,
)
from ferrum_nn.containers import ModuleDict, ModuleList, module_of
from ferrum_nn.errors import UnknownNameError
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]

Cache = dict[tuple[Module, str, bool], Tensor]
_cache: ContextVar[Cache | None] = ContextVar("ferrum_nn_parametrize_cache", default=None)


@contextmanager
def cached() -> Iterator[None]:
    """Compute each parametrized tensor at most once inside the block, with gradients or without."""
    token = _cache.set({} if _cache.get() is None else _cache.get())
    try:
        yield
    finally:
        _cache.reset(token)


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, and the tensor or tensors that they start from.

    These are `original`, or `original0`, `original1`, ... if the `right_inverse` of the first
    parametrization returns several. `register_parametrization` makes it.
    """

    original: Tensor

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        super().__init__(modules)
        if not len(self):
            raise ArgumentError("ParametrizationList: expected at least one module")
        self.unsafe = unsafe
        with no_grad():
            start: Any = original
            for each in reversed(list(self)):
                start = _inverse(each, start)
            self.is_tensor = isinstance(start, Tensor)
            starts = [start] if self.is_tensor else _several(start)
            self.ntensors = len(starts)
            if not unsafe:
                _same("a parametrization", self._computed(starts), original)
        if self.is_tensor:
            _same("right_inverse", start, original, shape=False)
            _keep(self, "original", original, start)
            return
        for i, one in enumerate(starts):
            if isinstance(original, Parameter):
                one = Parameter(one, original.requires_grad)
            _register(self, f"original{i}", one)

    def forward(self) -> Tensor:
        """Return the parametrized tensor."""
        return self._computed(self._originals())

    def _computed(self, originals: list[Tensor]) -> Tensor:
        first, *rest = list(self)
        x: Tensor = first(*originals)
        for each in rest:
            x = each(x)
        return x

    def _originals(self) -> list[Tensor]:
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    @no_grad()
    def right_inverse(self, value: Tensor) -> None:
        """Write what makes the parametrized tensor `value` into the originals.

        Raises UnsupportedError for a parametrization without `right_inverse`.
        """
        start: Any = value
        for each in reversed(list(self)):
            inverse = getattr(each, "right_inverse", None)
            if inverse is None:
                raise UnsupportedError(
                    f"parametrize: {type(each).__name__} defines no right_inverse(value), so the "
                    f"tensor cannot be set"
                )
            start = inverse(start)
        found = [start] if self.is_tensor else _several(start)
        if len(found) != self.ntensors:
            raise ArgumentError(
                f"parametrize: expected {self.ntensors} tensors of right_inverse, got {len(found)}"
            )
        originals = self._originals()
        for new, old in zip(found, originals, strict=True):
            _same("right_inverse", new, old, shape=False)
        for new, old in zip(found, originals, strict=True):
            old.adopt(new.clone())


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Let `module.tensor_name` be `parametrization` of the tensor that it was. Returns the module.

    A tensor that has parametrizations gets one more, computed from what they return. A
    parametrization may define `right_inverse(value)`, which says from what `value` is computed:
    then the tensor keeps its value, or comes near to it, and it can be assigned. Unless `unsafe`,
    shape and dtype must stay what they are.
    """
    for each in (module, parametrization):
        module_of("register_parametrization", each)
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        there = _lists(module)[tensor_name]
        if not unsafe:
            with no_grad():
                before = getattr(module, tensor_name)
                after = parametrization(before)
                _same("a parametrization", after, before)
                _same("right_inverse", _inverse(parametrization, after), before)
        there.append(parametrization)
        there.unsafe = there.unsafe or unsafe
        _forget(module, tensor_name)
        return module
    tensors = {
        **dict(module.named_parameters(recurse=False)),
        **dict(module.named_buffers("", False)),
    }
    if tensor_name not in list(tensors):  # a list has no hash
        raise UnknownNameError(
            f"register_parametrization: {type(module).__name__} has no parameter or buffer called "
            f"{tensor_name!r}"
        )
    lists = _lists(module)
    lists[tensor_name] = ParametrizationList([parametrization], tensors[tensor_name], unsafe)
    module.add_module("parametrizations", lists)
    delattr(module, tensor_name)
    _reclass(module)
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Return whether a tensor of a module is parametrized, or without a name, whether any is."""
    held = vars(module_of("is_parametrized", module)).get("parametrizations")
    if not isinstance(held, ModuleDict):
        return False
    return len(held) > 0 if tensor_name is None else tensor_name in held


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make a tensor a plain parameter or buffer again. Returns the module.

    It holds what the parametrizations return, or with `leave_parametrized=False` the original,
    which must be one tensor. If it was computed from one tensor it is that same object, so an
    optimizer goes on with it.
    """
    if not is_parametrized(module, tensor_name):
        raise ArgumentError(
            f"remove_parametrizations: {type(module).__name__} has no parametrization of "
            f"{tensor_name!r}"
        )
    held = _lists(module).pop(tensor_name)
    if not (held.is_tensor or leave_parametrized):
        _lists(module)[tensor_name] = held
        raise ArgumentError(
            f"remove_parametrizations: {tensor_name!r} is computed from {held.ntensors} tensors, "
            f"so there is no original to leave; use leave_parametrized=True"
        )
    value = held() if leave_parametrized else held.original
    _forget(module, tensor_name)
    _reclass(module)
    if held.is_tensor:
        _keep(module, tensor_name, held.original, value)
    else:
        kept = value.detach()
        _register(module, tensor_name, Parameter(kept) if value.requires_grad else kept)
    return module


def type_before_parametrizations(module: Module) -> type:
    """Return the class that a module has, or had before any parametrization."""
    base: type = vars(type(module)).get("_parametrized", type(module))
    return base


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Let the second module share the parametrizations and originals of the first; returns it.

    Those of all tensors, or of `tensor_name`.
    """
    module_of("transfer_parametrizations_and_params", to_module)
    if is_parametrized(from_module):
        lists = _lists(from_module)
        for name in list(lists) if tensor_name is None else [tensor_name]:
            held = lists[name]
            if not hasattr(to_module, name):
                setattr(to_module, name, Parameter(getattr(from_module, name)))
            for each in held:
                register_parametrization(to_module, name, each)
            there = _lists(to_module)[name]
            for key in [key for key in vars(held) if key.startswith("original")]:
                setattr(there, key, getattr(held, key))
    return to_module


# ---- the class of a parametrized module


def _reclass(module: Module) -> None:
    """Give a module the class that has a property for each of its parametrized tensors."""
    base = type_before_parametrizations(module)
    names = tuple(_lists(module))
    if not names:
        del module.parametrizations  # type: ignore[attr-defined]
    module.__class__ = _class_of(base, names) if names else base


def _class_of(base: type, names: tuple[str, ...]) -> type:
    attributes = {name: _property(name) for name in names}
    own = {"_parametrized": base, "__reduce_ex__": _reduced, "__module__": base.__module__}
    return type(f"Parametrized{base.__name__}", (base,), {**attributes, **own})


def _property(name: str) -> property:
    def get(self: Module) -> Tensor:
        held = _lists(self)[name]
        cache = _cache.get()
        if cache is None:
            return held()  # type: ignore[no-any-return]
        key = self, name, is_grad_enabled()
        if key not in cache:
            cache[key] = held()
        return cache[key]

    def put(self: Module, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise OperandError(f"{name}: expected a tensor, got {type(value).__name__}")
        _lists(self)[name].right_inverse(value)
        _forget(self, name)

    return property(get, put)


def _reduced(self: Module, protocol: Any) -> tuple[Any, ...]:
    """Say how to copy or pickle a parametrized module, whose class no one can import."""
    state = super(type(self), self).__reduce_ex__(2)[2]
    return _rebuilt, (type_before_parametrizations(self), tuple(_lists(self))), state


def _rebuilt(base: type, names: tuple[str, ...]) -> Module:
    kind: Any = _class_of(base, names)
    return kind.__new__(kind)  # type: ignore[no-any-return]


# ---- what it holds


def _lists(module: Module) -> Any:
    """Return the ParametrizationLists of a module by the names of its tensors."""
    held = vars(module).get("parametrizations")
    return ModuleDict() if held is None else held


def _forget(module: Module, name: str) -> None:
    """Drop from the cache what a tensor of a module was."""
    cache = _cache.get() or {}
    for grad in (False, True):
        cache.pop((module, name, grad), None)


def _keep(module: Module, name: str, original: Tensor, value: Tensor) -> None:
    """Register `original`, holding `value` from now on."""
    if value is not original:
        kept = value.detach().clone()  # it may share memory with the original
        if original.is_leaf and original.view_of is None:
            original.adopt(kept)
        else:
            original = kept
    _register(module, name, original)


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


# ---- what parametrizations return


def _inverse(parametrization: Module, value: Any) -> Any:
    """Return what `value` is computed from: itself, unless the parametrization says."""
    inverse = getattr(parametrization, "right_inverse", None)
    if inverse is None:
        return value
    try:
        return inverse(value)
    except UnsupportedError:  # it has one, but the device lacks an op
        raise
    except NotImplementedError:
        return value


def _several(values: Any) -> list[Tensor]:
    listed: list[Tensor] = list(values) if isinstance(values, (list, tuple)) else []
    if not listed or not all(isinstance(each, Tensor) for each in listed):
        raise OperandError(
            f"parametrize: expected right_inverse to return a tensor or several, got {values!r}"
        )
    return listed


def _same(what: str, new: Any, old: Tensor, shape: bool = True) -> None:
    """Raise unless what a parametrization returned has the dtype, device and shape of a tensor."""
    if not isinstance(new, Tensor):
        raise OperandError(f"parametrize: expected {what} to return a tensor, got {new!r}")
    if new.dtype is not old.dtype:
        raise DTypeError(
            f"parametrize: expected {old.dtype.name} of {what}, got {new.dtype.name}; unsafe=True "
            f"lets a parametrization change it"
        )
    if new.device is not old.device:
        raise DeviceError(f"parametrize: expected {what} on '{old.device}', got '{new.device}'")
    if shape and new.shape != old.shape:
        raise ShapeError(
            f"parametrize: expected {old.shape} of {what}, got {new.shape}; unsafe=True lets a "
            f"parametrization change it"
        )
