"""The base of everything that has parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, TypeAlias, TypeVar

from ferrum import Device, Tensor, bfloat16, float16, float32, float64
from ferrum import device as find_device
from ferrum.dtypes import DType, DTypeLike, as_dtype, is_floating
from ferrum.errors import ArgumentError, DTypeError, OperandError, UnsupportedError
from ferrum.graph import Handle
from ferrum_nn import hooks, state
from ferrum_nn.errors import NameTakenError, UnknownNameError
from ferrum_nn.hooks import Hooks
from ferrum_nn.parameter import Parameter, clear_grad
from ferrum_nn.state import IncompatibleKeys

Hook: TypeAlias = Callable[..., Any]
Member: TypeAlias = "Parameter | Tensor | Module"
T = TypeVar("T")


class Module:
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
    __slots__ = ("__dict__", "__weakref__", "_buffers", "_hooks", "training")

    training: bool
    _buffers: dict[str, bool]  # by name, whether it is persistent
    _hooks: Hooks | None

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

    # ---- giving it more, by a name that is not an attribute yet

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Hold `tensor` as a buffer: moved and saved with the module, but not learned.

        One that is not `persistent` is not part of the state dict.
        """
        if tensor is not None and not isinstance(tensor, Tensor):
            raise OperandError(f"register_buffer: expected a tensor, got {type(tensor).__name__}")
        if name not in self._buffers:
            self._check_free(name, ())
        self._buffers[name] = persistent
        setattr(self, name, tensor)

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
        destination: dict[str, Tensor] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, Tensor]:
        """Return the parameters and persistent buffers by name.

        They share memory with the module; they have no history, unless `keep_vars`.
        """
        found = {} if destination is None else destination
        for name, each in _members(self):
            if isinstance(each, Module):
                each.state_dict(destination=found, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
            elif isinstance(each, Parameter) or self._buffers[name]:
                found[prefix + name] = each if keep_vars else each.detach()
        return found

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy the tensors of `state_dict` into the parameters and buffers of the same names.

        They are cast and moved to what the module has. StateDictError names every key that is
        missing or unexpected, if `strict`, and every one of another shape; nothing is written then.
        """
        return state.load(type(self).__name__, self.state_dict(keep_vars=True), state_dict, strict)

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
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ---- dtypes and devices

    def to(
        self,
        *args: Any,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> Self:
        """Move all parameters and buffers to a device, cast the floating-point ones. Returns self.

        `to("cuda")`, `to(fe.float64)`, `to("cuda", fe.float16)`, `to("half")`, `to(other_tensor)`.
        Parameters stay the same objects, so an optimizer goes on with them. Raises DTypeError for
        a dtype of integers, DeviceError for a device that is not there; nothing is changed then.
        """
        target, wanted = _target(args, device, dtype)

        def moved(x: Tensor) -> Tensor:
            return x.to(device=target, dtype=wanted if is_floating(x.dtype) else None)

        return self._apply(moved)

    def _apply(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Replace what every parameter and buffer holds by `change` of it."""
        for parameter in self.parameters():
            changed = change(parameter.detach())
            if changed.array is not parameter.array:  # else its history would be lost for nothing
                parameter.adopt(changed)
        for module in self.modules():
            for name, each in _members(module):
                if not isinstance(each, (Parameter, Module)):
                    setattr(module, name, change(each))
        return self

    def type(self, dst_type: DTypeLike) -> Self:
        """Cast the floating-point parameters and buffers. Returns self."""
        return self.to(dtype=dst_type)

    def float(self) -> Self:
        """Cast to float32. Returns self."""
        return self.to(dtype=float32)

    def double(self) -> Self:
        """Cast to float64. Returns self."""
        return self.to(dtype=float64)

    def half(self) -> Self:
        """Cast to float16. Returns self."""
        return self.to(dtype=float16)

    def bfloat16(self) -> Self:
        """Cast to bfloat16. Returns self."""
        return self.to(dtype=bfloat16)

    def cpu(self) -> Self:
        """Move to the device "cpu". Returns self."""
        return self.to(device="cpu")

    def cuda(self, device: int | None = None) -> Self:
        """Move to the device "cuda", or to "cuda:device". Returns self."""
        return self.to(device="cuda" if device is None else f"cuda:{device}")

    # ---- hooks

    def _made_hooks(self) -> Hooks:
        if self._hooks is None:
            self._hooks = Hooks()
        return self._hooks

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> Handle:
        """Call `hook(module, args)` before forward; what it returns replaces the arguments.

        With `with_kwargs` it is `hook(module, args, kwargs)`, and returns None or both.
        """
        run = hooks.forward_pre_hook(hook, with_kwargs)
        return hooks.add(self._made_hooks().before, run, prepend)

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> Handle:
        """Call `hook(module, args, output)` after forward; what it returns replaces the output.

        With `with_kwargs` it is `hook(module, args, kwargs, output)`.
        """
        return hooks.add(self._made_hooks().after, hooks.forward_hook(hook, with_kwargs), prepend)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> Handle:
        """Call `hook(module, grad_output)` before backward.

        What it returns replaces grad_output, which has an entry per output.
        """
        return hooks.add(self._made_hooks().before_backward, hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> Handle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the inputs are known.

        What it returns replaces grad_input, which has an entry per positional argument.
        """
        return hooks.add(self._made_hooks().around_backward, hook, prepend)

    # ---- looks

    def extra_repr(self) -> str:
        """Return what the printed form says beside the submodules; subclasses define it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [
            f"({name}): {each!r}" for name, each in _members(self) if isinstance(each, Module)
        ]
        kind = type(self).__name__
        if len(lines) < 2 and not children:
            return f"{kind}({extra})"
        body = [f"\n{line}".replace("\n", "\n  ") for line in (*lines, *children)]
        return f"{kind}({''.join(body)}\n)"


def _target(
    args: tuple[Any, ...], device: str | Device | None, dtype: DTypeLike | None
) -> tuple[Device | None, DType | None]:
    """Return where, and to which dtype, the arguments of `Module.to` say that a module goes."""
    for arg in args:
        if isinstance(arg, Tensor):
            device, dtype = arg.device, arg.dtype
        elif isinstance(arg, Device) or (isinstance(arg, str) and not _is_dtype(arg)):
            device = arg
        elif arg is not None:
            dtype = arg
    wanted = None if dtype is None else as_dtype(dtype)
    if wanted is not None and not is_floating(wanted):
        raise DTypeError(f"to: expected a floating-point dtype for a module, got {wanted.name}")
    return None if device is None else find_device(device), wanted


def _is_dtype(name: str) -> bool:
    try:
        as_dtype(name)
    except DTypeError:
        return False
    return True


def _members(module: Module) -> Iterator[tuple[str, Member]]:
    """Yield what a module holds itself: its parameters, its buffers, then its modules.

    A list, tuple or dict stands among the modules, with its parameters and its modules.
    """
    attributes = dict(vars(module))  # a copy: whoever walks may assign
    for name, each in attributes.items():
        if isinstance(each, Parameter):
            yield name, each
    for name in module._buffers:
        buffer = attributes.get(name)
        if isinstance(buffer, Tensor) and not isinstance(buffer, Parameter):
            yield name, buffer
    for name, each in attributes.items():
        if isinstance(each, _OPENED):  # most are not: numbers, parameters
            yield from _opened(name, each)


def _opened(name: str, value: Any) -> Iterator[tuple[str, Member]]:
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


_CONTAINERS = (list, tuple, dict)
_OPENED = (Module, *_CONTAINERS)
_HELD = (Parameter, *_OPENED)
