"""The base of everything that has parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Self, TypeAlias, TypeVar

from ferrum import Tensor
from ferrum.errors import ArgumentError, OperandError, UnsupportedError
from ferrum_nn import state
from ferrum_nn.conversion import Conversions
from ferrum_nn.errors import NameTakenError, UnknownNameError
from ferrum_nn.hooks import Hooked, hooks_of
from ferrum_nn.parameter import Buffer, Parameter, clear_grad
from ferrum_nn.state import EXTRA, IncompatibleKeys, Place

Member: TypeAlias = "Parameter | Tensor | Module"
T = TypeVar("T")


class Module(Hooked, Conversions):
    """A function with parameters: subclass it, assign them in `__init__`, define `forward`.

        class Net(nn.Module):
            def __init__(self):
                self.layers = [nn.Linear(64, 128), nn.Linear(128, 10)]

            def forward(self, x):
                return self.layers[1](self.layers[0](x).relu())

    There is nothing to register. Parameters and submodules are found by walking the attributes in
    the order of their definition, and the lists, tuples and dicts among them, whose entries have
    names such as `layers.0`. As in PyTorch a module's own parameters come first, then its buffers,
    then what its submodules hold.
    """

    # What is the module's own affair stands outside __dict__, which is left to the attributes.
    __slots__ = ("__dict__", "__weakref__", "_buffers", "training")

    _optional: tuple[str, ...] = ()  # buffers that a state dict may leave out

    training: bool
    _buffers: dict[str, bool]  # by name, whether it is persistent

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Return a module that has nothing yet: subclasses need not call `super().__init__()`."""
        self = super().__new__(cls)
        self.training = True
        self._buffers = {}
        self._hooks = None
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the module computes; subclasses define it."""
        raise UnsupportedError(f"{type(self).__name__}: the class defines no forward(self, ...)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return `forward` of the arguments, with the hooks run."""
        if self._hooks is None:
            return self.forward(*args, **kwargs)
        return self._hooks.call(self, args, kwargs)

    # ---- what a module holds

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield each parameter with its name; one that is held twice counts once."""
        for name, each in _walk(self, prefix, recurse, remove_duplicate):
            if isinstance(each, Parameter):
                yield name, each

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield each parameter once."""
        return (each for _, each in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield each buffer with its name."""
        for name, each in _walk(self, prefix, recurse, remove_duplicate):
            if not isinstance(each, (Parameter, Module)):
                yield name, each

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield each buffer once."""
        return (each for _, each in self.named_buffers(recurse=recurse))

    def named_modules(
        self, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Yield this module, whose name is `prefix`, and each one inside it with its name."""
        yield prefix, self
        for name, each in _walk(self, prefix, recurse=True, once=remove_duplicate):
            if isinstance(each, Module):
                yield name, each

    def modules(self) -> Iterator[Module]:
        """Yield this module and each one inside it, once."""
        return (each for _, each in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield each module that stands directly in this one, with its name."""
        for name, each in _walk(self, "", recurse=False, once=True):
            if isinstance(each, Module):
                yield name, each

    def children(self) -> Iterator[Module]:
        """Yield each module that stands directly in this one."""
        return (each for _, each in self.named_children())

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter called `target`, such as "layers.0.weight"."""
        return _found(self, target, self.named_parameters(remove_duplicate=False), "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """Return the buffer called `target`."""
        return _found(self, target, self.named_buffers(remove_duplicate=False), "buffer")

    def get_submodule(self, target: str) -> Module:
        """Return the module called `target`; "" is this one."""
        return _found(self, target, self.named_modules(remove_duplicate=False), "module")

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put `module` in the place called `target`, such as "layers.0", which may be a new one.

        With `strict` it must have held a module before. A tuple cannot be written.
        """
        if not isinstance(target, str):
            raise OperandError(f"set_submodule: expected a name, got {target!r}")
        *path, last = target.split(".")
        if not all((*path, last)):
            raise ArgumentError(f"set_submodule: expected the name of a module, got {target!r}")
        if not isinstance(module, Module):
            raise OperandError(f"set_submodule: expected a Module, got {type(module).__name__}")
        if strict:
            self.get_submodule(target)
        holder: Any = self
        for part in path:
            holder = _part(holder, part, target)
        if isinstance(holder, Module):
            holder.add_module(last, module)
        elif isinstance(holder, dict):
            holder[last] = module
        else:
            _part(holder, last, target)
            if not isinstance(holder, list):
                raise OperandError(f"set_submodule: {target!r} stands in a tuple; make it a list")
            holder[int(last)] = module

    # ---- giving it more, by a name that is not an attribute yet

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Hold `tensor` as a buffer: moved and saved with the module, but not learned.

        One that is not `persistent` is not part of the state dict.
        """
        if tensor is not None and not isinstance(tensor, Tensor):
            raise OperandError(f"register_buffer: expected a tensor, got {type(tensor).__name__}")
        if name not in self._buffers:
            self._check_free(name, ())
        setattr(self, name, tensor)
        self._buffers[name] = persistent

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Hold `param` as a parameter."""
        if param is not None and not isinstance(param, Parameter):
            raise OperandError(
                f"register_parameter: expected a Parameter, got {type(param).__name__}"
            )
        self._check_free(name, Parameter)
        setattr(self, name, param)

    def add_module(self, name: str, module: Module | None) -> None:
        """Hold `module` as a submodule."""
        if module is not None and not isinstance(module, Module):
            raise OperandError(f"add_module: expected a Module, got {type(module).__name__}")
        self._check_free(name, Module)
        setattr(self, name, module)

    register_module = add_module

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; in the place of a parameter only another one, or None."""
        if not (value is None or isinstance(value, Parameter)) and isinstance(
            self.__dict__.get(name), Parameter
        ):
            raise OperandError(
                f"{type(self).__name__}: expected a Parameter or None as {name!r}, which is a "
                f"parameter, got {type(value).__name__}; copy_() writes into it, under fe.no_grad()"
            )
        super().__setattr__(name, value)
        if isinstance(value, Buffer):
            self._buffers[name] = value.persistent

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._buffers.pop(name, None)

    def _check_free(self, name: str, kind: Any) -> None:
        """Raise unless `name` can be an attribute; a `kind` under that name may be replaced."""
        if not isinstance(name, str):
            raise OperandError(f"{type(self).__name__}: expected a name, got {name!r}")
        if not name or "." in name:
            raise NameTakenError(
                f"{type(self).__name__}: a name is not empty and has no dot, got {name!r}"
            )
        current = getattr(self, name, None)
        if current is not None and not isinstance(current, kind):
            raise NameTakenError(f"{type(self).__name__}: there is an attribute {name!r} already")

    # ---- state

    def state_dict(
        self,
        *,
        destination: dict[str, Any] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, Any]:
        """Return the parameters and persistent buffers by name.

        They share memory with the module; they have no history, unless `keep_vars`. What
        `get_extra_state` returns is there too, where a class defines it.
        """
        if not isinstance(prefix, str):
            raise OperandError(f"state_dict: expected a string as prefix, got {prefix!r}")
        found: dict[str, Any] = {} if destination is None else destination
        if not isinstance(found, MutableMapping):
            raise OperandError(f"state_dict: expected a dict, got {type(destination).__name__}")
        for hook in hooks_of(self, "before_state"):
            hook(self, prefix, keep_vars)
        for name, each in _own(self):
            if isinstance(each, Parameter) or self._buffers[name]:
                found[prefix + name] = each if keep_vars else each.detach()
        if _has_extra(self):
            found[prefix + EXTRA] = self.get_extra_state()
        for name, inner in _inner(self):
            if isinstance(inner, Module):
                inner.state_dict(destination=found, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
            else:
                found[prefix + name] = inner if keep_vars else inner.detach()
        for hook in hooks_of(self, "after_state"):
            hook(self, found, prefix, {})
        return found

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy the tensors of `state_dict` into the parameters and buffers of the same names.

        They are cast and moved to what the module has. With `assign` the module takes over their
        memory, dtype and device instead; its parameters stay the same objects, so an optimizer goes
        on with them. StateDictError names every key that is missing or unexpected, if `strict`, and
        every one of another shape; nothing is written then.
        """
        extras = {
            f"{name}.{EXTRA}".removeprefix("."): each
            for name, each in self.named_modules(remove_duplicate=False)
            if _has_extra(each)
        }
        return state.load(self, state_dict, _places(self), extras, strict, assign)

    def get_extra_state(self) -> Any:
        """Return what the state dict shall hold beside tensors; subclasses may define it."""
        raise UnsupportedError(f"{type(self).__name__}: the class defines no get_extra_state()")

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` returned; subclasses that define it define this too."""
        raise UnsupportedError(
            f"{type(self).__name__}: the class defines no set_extra_state(state)"
        )

    # ---- switches

    def train(self, mode: bool = True) -> Self:
        """Say to this module and all inside it whether they are being trained. Returns self."""
        if not isinstance(mode, bool):
            raise ArgumentError(f"train: expected True or False, got {mode!r}")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Say to this module and all inside it that they are not being trained. Returns self."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let all parameters require grad, or none. Returns self."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to zero in place."""
        for parameter in self.parameters():
            clear_grad(parameter, set_to_none)

    def apply(self, fn: Callable[[Module], None]) -> Self:
        """Call `fn` with each module inside this one, then with this one. Returns self."""
        if not callable(fn):
            raise OperandError(f"apply: expected a function, got {type(fn).__name__}")
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def _apply(self, change: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace what every parameter and buffer holds by `change` of it."""
        for parameter in self.parameters(recurse):
            changed = change(parameter.detach())
            if changed.array is not parameter.array:  # else its history would be lost for nothing
                parameter.adopt(changed)
        for module in self.modules() if recurse else (self,):
            for name, each in _members(module):
                if not isinstance(each, (Parameter, Module)):
                    setattr(module, name, change(each))
        return self

    # ---- looks

    def extra_repr(self) -> str:
        """Return what the printed form says beside the submodules; subclasses define it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = self._children_repr()
        kind = type(self).__name__
        if len(lines) < 2 and not children:
            return f"{kind}({extra})"
        body = [f"\n{line}".replace("\n", "\n  ") for line in (*lines, *children)]
        return f"{kind}({''.join(body)}\n)"

    def _children_repr(self) -> list[str]:
        return [f"({name}): {each!r}" for name, each in _inner(self) if isinstance(each, Module)]


def _members(module: Module) -> Iterator[tuple[str, Member]]:
    """Yield what a module holds itself: its parameters, its buffers, then its modules.

    A list, tuple or dict stands among the modules, with its parameters and its modules.
    """
    yield from _own(module)
    yield from _inner(module)


def _own(module: Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters and the buffers that are attributes of a module."""
    attributes = dict(vars(module))  # a copy: whoever walks may assign
    for name, each in attributes.items():
        if isinstance(each, Parameter):
            yield name, each
    for name in list(module._buffers):
        buffer = attributes.get(name)
        if isinstance(buffer, Tensor) and not isinstance(buffer, Parameter):
            yield name, buffer


def _inner(module: Module) -> Iterator[tuple[str, Parameter | Module]]:
    """Yield the modules of a module, and what is in its lists, tuples and dicts."""
    for name, each in list(vars(module).items()):
        if isinstance(each, _OPENED):  # most are not: numbers, parameters
            yield from _opened(name, each)


def _opened(name: str, value: Any) -> Iterator[tuple[str, Parameter | Module]]:
    """Yield `value` if it is a module, what is in it if it is a list, a tuple or a dict."""
    if isinstance(value, Module):
        yield name, value
    elif isinstance(value, _CONTAINERS):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        named = [(f"{name}.{key}", each) for key, each in entries if isinstance(each, _HELD)]
        for inner, each in named:
            if isinstance(each, Parameter):
                yield inner, each
        for inner, each in named:
            yield from _opened(inner, each)


def _walk(
    module: Module, prefix: str, recurse: bool, once: bool, seen: set[int] | None = None
) -> Iterator[tuple[str, Member]]:
    """Yield what is inside a module, and inside its modules if `recurse`; each only `once`."""
    seen = {id(module)} if seen is None else seen
    for name, each in _members(module):
        if once and id(each) in seen:
            continue
        seen.add(id(each))
        full_name = f"{prefix}.{name}" if prefix else name
        yield full_name, each
        if recurse and isinstance(each, Module):
            yield from _walk(each, full_name, recurse, once, seen)


def _found(module: Module, target: str, named: Iterator[tuple[str, T]], what: str) -> T:
    for name, each in named:
        if name == target:
            return each
    raise UnknownNameError(f"{type(module).__name__}: there is no {what} called {target!r}")


def _part(holder: Any, name: str, target: str) -> Any:
    """Return what a module, list, tuple or dict holds under a name that is part of `target`."""
    if isinstance(holder, (list, tuple)):
        if name.isdecimal() and int(name) < len(holder):
            return holder[int(name)]
    elif isinstance(holder, (Module, dict)):
        entries = holder if isinstance(holder, dict) else vars(holder)
        for key, each in entries.items():
            if str(key) == name:
                return each
    raise UnknownNameError(f"set_submodule: there is no {name!r} on the way to {target!r}")


def _has_extra(module: Module) -> bool:
    return type(module).get_extra_state is not Module.get_extra_state


def _places(module: Module, prefix: str = "") -> dict[str, Place]:
    """Return where the parameters and persistent buffers of a state dict belong, by key."""
    found = {}
    for name, each in _members(module):
        if isinstance(each, Module):
            found.update(_places(each, f"{prefix}{name}."))
        elif isinstance(each, Parameter) or module._buffers[name]:
            found[prefix + name] = Place(module, name, each)
    return found


_CONTAINERS = (list, tuple, dict)
_OPENED = (Module, *_CONTAINERS)
_HELD = (Parameter, *_OPENED)
