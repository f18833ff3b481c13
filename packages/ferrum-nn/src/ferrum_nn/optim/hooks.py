"""The hooks of an optimizer: around its step, and around saving and loading its state."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias, TypeVar

from ferrum.errors import OperandError
from ferrum.graph import Handle
from ferrum_nn.hooks import Table, add

Hook: TypeAlias = Callable[..., Any]
Step = TypeVar("Step", bound=Callable[..., Any])


class Hooks:
    """The hooks of one optimizer, in the order in which they run."""

    def __init__(self) -> None:
        self.before_step: Table = {}
        self.after_step: Table = {}
        self.before_save: Table = {}
        self.after_save: Table = {}
        self.before_load: Table = {}
        self.after_load: Table = {}


class Hooked:
    """What an optimizer has to do with hooks. Copies of it have none."""

    _hooks: Hooks | None = None  # most optimizers have none, and a step asks

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "step" in cls.__dict__:
            cls.step = _hooked(cls.__dict__["step"])  # type: ignore[attr-defined]

    def register_step_pre_hook(self, hook: Hook) -> Handle:
        """Call `hook(optimizer, args, kwargs)` before every step.

        `args` begin with the optimizer, as in PyTorch. What the hook returns, new args and kwargs,
        takes their place unless it is None.
        """
        return add(self._tables().before_step, hook, False)

    def register_step_post_hook(self, hook: Hook) -> Handle:
        """Call `hook(optimizer, args, kwargs)` after every step."""
        return add(self._tables().after_step, hook, False)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> Handle:
        """Call `hook(optimizer)` before the state dict is made."""
        return add(self._tables().before_save, hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> Handle:
        """Call `hook(optimizer, state_dict)` on a state dict made; it may return another one."""
        return add(self._tables().after_save, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> Handle:
        """Call `hook(optimizer, state_dict)` on a shallow copy; it may return another one."""
        return add(self._tables().before_load, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> Handle:
        """Call `hook(optimizer)` after a state dict was loaded."""
        return add(self._tables().after_load, hook, prepend)

    def _tables(self) -> Hooks:
        if self._hooks is None:
            self._hooks = Hooks()
        return self._hooks

    def _passed(self, table: str, value: Any) -> Any:
        """Return `value`, or what the hooks of a table make of it."""
        for hook in list(getattr(self._hooks, table, {}).values()):
            changed = hook(self, value)
            value = value if changed is None else changed
        return value

    def _called(self, table: str) -> None:
        for hook in list(getattr(self._hooks, table, {}).values()):
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_hooks"}


def _hooked(step: Step) -> Step:
    """Return a class's `step`, which then runs the hooks around itself."""

    @wraps(step)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        hooks = self._hooks
        if hooks is None:
            return step(self, *args, **kwargs)
        args = (self, *args)
        for hook in list(hooks.before_step.values()):
            changed = hook(self, args, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise OperandError(
                        f"step_pre_hook: expected None or (args, kwargs), got {changed!r}"
                    )
                args, kwargs = changed
        result = step(*args, **kwargs)
        for hook in list(hooks.after_step.values()):
            hook(self, args, kwargs)
        return result

    return run  # type: ignore[return-value]
