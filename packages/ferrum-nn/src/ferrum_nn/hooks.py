"""The hooks of a module: what runs before and after its forward, and around its backward."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakSet

from ferrum import Function, Tensor
from ferrum.errors import OperandError
from ferrum.graph import Handle

if TYPE_CHECKING:
    from ferrum_nn.module import Module

Hook: TypeAlias = Callable[..., Any]
Grads: TypeAlias = tuple[Tensor | None, ...]
Table: TypeAlias = dict[int, Any]


class Hooks:
    """The hooks of one module, in the order in which they run."""

    __slots__ = (
        "after",
        "after_load",
        "after_state",
        "always",
        "around_backward",
        "before",
        "before_backward",
        "before_load",
        "before_state",
    )

    def __init__(self) -> None:
        self.before: Table = {}
        self.after: Table = {}
        self.always: WeakSet[Hook] = WeakSet()  # those of `after` for errors too
        self.before_backward: Table = {}
        self.around_backward: Table = {}
        self.before_state: Table = {}
        self.after_state: Table = {}
        self.before_load: Table = {}
        self.after_load: Table = {}

    def call(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what `module.forward` makes of the arguments, with the hooks in their places."""
        if not (self.before or self.after or self.before_backward or self.around_backward):
            return module.forward(*args, **kwargs)
        left = list(self.after.values())
        passage = output = None
        try:
            for hook in list(self.before.values()):
                args, kwargs = hook(module, args, kwargs)
            if self.before_backward or self.around_backward:
                passage = Passage(self, module)
                args = passage.enter(args)
            output = module.forward(*args, **kwargs)
            left = list(self.after.values())  # forward may have changed them
            while left:
                changed = left.pop(0)(module, args, kwargs, output)
                output = output if changed is None else changed
        except Exception:
            for hook in left:
                if hook in self.always:
                    _try(hook, module, args, kwargs, output)
            raise
        return output if passage is None else passage.leave(output)


class Hooked:
    """The methods of a module that register hooks."""

    __slots__ = ("_hooks",)

    _hooks: Hooks | None

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
        run = _forward_pre_hook(hook, with_kwargs)
        return add(self._made_hooks().before, run, prepend)

    def register_forward_hook(
        self,
        hook: Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> Handle:
        """Call `hook(module, args, output)` after forward; what it returns replaces the output.

        With `with_kwargs` it is `hook(module, args, kwargs, output)`. With `always_call` it is
        called, too, when forward raises, with None as output, and when another hook does; an error
        of its own is then a warning.
        """
        run = _forward_hook(hook, with_kwargs)
        made = self._made_hooks()
        if always_call:
            made.always.add(run)
        return add(made.after, run, prepend)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> Handle:
        """Call `hook(module, grad_output)` before backward.

        What it returns replaces grad_output, which has an entry per output.
        """
        return add(self._made_hooks().before_backward, hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> Handle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the inputs are known.

        What it returns replaces grad_input, which has an entry per positional argument.
        """
        return add(self._made_hooks().around_backward, hook, prepend)

    def register_state_dict_pre_hook(self, hook: Hook) -> Handle:
        """Call `hook(module, prefix, keep_vars)` before the module's state dict is made."""
        return add(self._made_hooks().before_state, hook)

    def register_state_dict_post_hook(self, hook: Hook) -> Handle:
        """Call `hook(module, state_dict, prefix, local_metadata)` when the state dict is made.

        The hook may change the dict; `local_metadata` is empty.
        """
        return add(self._made_hooks().after_state, hook)

    def register_load_state_dict_pre_hook(self, hook: Hook) -> Handle:
        """Call a hook before a state dict is loaded, which may change that dict, a copy.

        It is `hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)`; what it adds to the three lists is reported with the rest.
        """
        return add(self._made_hooks().before_load, hook)

    def register_load_state_dict_post_hook(self, hook: Hook) -> Handle:
        """Call `hook(module, incompatible_keys)` when a state dict has been loaded.

        Keys that the hook removes count no longer. Where there is such a hook, the error of a
        strict load comes after it and what fits is written.
        """
        return add(self._made_hooks().after_load, hook)


def _try(hook: Hook, *args: Any) -> None:
    """Call a hook after an error, which an error of the hook shall not hide."""
    try:
        hook(*args)
    except Exception as error:
        warnings.warn(f"forward_hook: a hook with always_call=True raised {error!r}", stacklevel=4)


def hooks_of(module: Hooked, table: str) -> list[Hook]:
    """Return the hooks of one table of a module, in the order in which they run."""
    return [] if module._hooks is None else list(getattr(module._hooks, table).values())


def add(table: Table, hook: Callable[..., Any], prepend: bool = False) -> Handle:
    """Put `hook` at the end of a table, or at its beginning."""
    _check(hook)
    others = dict(table)
    handle = Handle.add(table, hook)
    if prepend:
        for key in others:
            del table[key]
        table.update(others)
    return handle


def _check(hook: Any) -> None:
    """Raise OperandError unless `hook` can be called."""
    if not callable(hook):
        raise OperandError(f"register_hook: expected a function, got {type(hook).__name__}")


def _forward_pre_hook(hook: Callable[..., Any], with_kwargs: bool) -> Callable[..., Any]:
    """Return `hook` as a function from (module, args, kwargs) to the new args and kwargs."""
    _check(hook)

    def run(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        changed = hook(module, args, kwargs) if with_kwargs else hook(module, args)
        if changed is None:
            return args, kwargs
        if not with_kwargs:
            return (changed if isinstance(changed, tuple) else (changed,)), kwargs
        if not (isinstance(changed, tuple) and len(changed) == 2):
            raise OperandError(
                f"forward_pre_hook: expected None or (args, kwargs), got {type(changed).__name__}"
            )
        return changed

    return run


def _forward_hook(hook: Callable[..., Any], with_kwargs: bool) -> Callable[..., Any]:
    """Return `hook` as a function of (module, args, kwargs, output), one of its own each time."""
    _check(hook)
    if with_kwargs:
        return lambda *args: hook(*args)
    return lambda module, args, _, output: hook(module, args, output)


class Passage:
    """One call of a module whose backward has hooks.

    The tensors that go in pass a point of the graph, and so do those that come out. Gradients
    reach the way out first: they are the hooks' grad_output. At the way in they are grad_input.
    """

    def __init__(self, hooks: Hooks, module: Module) -> None:
        self.hooks = hooks
        self.module = module
        self.grad_output: Grads = ()
        self.has_way_in = False

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments with their tensors led through the way in."""
        places = [i for i, arg in enumerate(args) if isinstance(arg, Tensor) and arg.requires_grad]
        if not places:
            return args
        self.has_way_in = True
        self.inputs = len(args)
        self.places = places
        watched = Point.apply(self.way_in, *[args[i] for i in places])
        passed = dict(zip(places, watched, strict=True))
        return tuple(passed.get(i, arg) for i, arg in enumerate(args))

    def leave(self, output: Any) -> Any:
        """Return the output, a tensor or a tuple of them, led through the way out."""
        outputs = output if isinstance(output, tuple) else (output,)
        if not all(isinstance(each, Tensor) for each in outputs):
            raise OperandError(
                f"{type(self.module).__name__}: a module with backward hooks must return a tensor "
                f"or a tuple of tensors, got {type(output).__name__}"
            )
        passed = Point.apply(self.way_out, *outputs)
        return passed if isinstance(output, tuple) else passed[0]

    def way_out(self, grads: Grads) -> Grads:
        """Run the hooks before backward, and where no gradient goes further, those around it."""
        for hook in list(self.hooks.before_backward.values()):
            grads = _replaced(hook(self.module, grads), grads)
        self.grad_output = grads
        if not self.has_way_in:
            for hook in list(self.hooks.around_backward.values()):
                hook(self.module, (), grads)
        return grads

    def way_in(self, grads: Grads) -> Grads:
        """Run the hooks around backward; what they return takes the place of grad_input."""
        grad_input: list[Tensor | None] = [None] * self.inputs
        for i, g in zip(self.places, grads, strict=True):
            grad_input[i] = g
        found = tuple(grad_input)
        for hook in list(self.hooks.around_backward.values()):
            found = _replaced(hook(self.module, found, self.grad_output), found)
        self.grad_output = ()
        return tuple(found[i] for i in self.places)


def _replaced(changed: Any, grads: Grads) -> Grads:
    if changed is None:
        return grads
    replaced: Grads = changed if isinstance(changed, tuple) else (changed,)
    if len(replaced) != len(grads):
        raise OperandError(
            f"backward_hook: expected None or {len(grads)} gradients, got {len(replaced)}"
        )
    return replaced


class Point(Function):
    """Passes tensors on unchanged, and their gradients through a function."""

    @staticmethod
    def forward(ctx: Any, function: Callable[[Grads], Grads], *tensors: Tensor) -> Any:
        """Return the tensors."""
        ctx.set_materialize_grads(False)
        ctx.function = function
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        """Return what the function makes of the gradients."""
        return None, *ctx.function(grads)
