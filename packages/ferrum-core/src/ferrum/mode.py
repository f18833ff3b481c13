"""What is switched on for the calls of this thread or task: recording, interposers, observers.

A mode is immutable and stands in one ContextVar that every operation reads once. Whoever wants
another mode sets a new one and puts the old one back, so threads and tasks never see each other's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from ferrum.errors import OperandError

if TYPE_CHECKING:
    from ferrum.device import Device
    from ferrum.node import SavingNode
    from ferrum.operation import Op


P = ParamSpec("P")
T = TypeVar("T")

# What `inspect` calls CO_GENERATOR and so on; importing it would cost more than all of this module.
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200


class Interposer:
    """Stands between a call and its operation, and may change both.

    Interposers nest by `rank`, lowest outermost: autocast 0, anomaly 1, profiler 2, capture 3.
    `__call__` proceeds by calling `op(*args, **attrs)`, which the next interposer receives.
    """

    rank = 2
    forbids_values = False  # item(), bool() and the like raise while it is on

    def __call__(self, op: Op[..., Any], args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Return what `op(*args, **attrs)` shall return."""
        return op(*args, **attrs)


class Observer:
    """Is told what happened, and changes nothing."""

    def ran(self, op: Op[..., Any], device: Device, native: bool) -> None:
        """`op` has run on `device` by a kernel of its own, or is about to be decomposed there."""

    def recorded(self, node: SavingNode) -> None:
        """`node` has been added to the graph."""


class Mode:
    """One immutable state of the switches.

    `special` says whether there is more than `grad` to it.
    """

    __slots__ = ("grad", "interposers", "observers", "special")

    def __init__(
        self,
        grad: bool = True,
        interposers: tuple[Interposer, ...] = (),
        observers: tuple[Observer, ...] = (),
    ) -> None:
        self.grad = grad
        self.interposers = interposers
        self.observers = observers
        self.special = bool(interposers or observers)

    @property
    def forbids_values(self) -> bool:
        """Whether the values of tensors are not known, as while a function is recorded."""
        return self.special and any(each.forbids_values for each in self.interposers)

    def with_grad(self, grad: bool) -> Mode:
        """Return this mode with recording on or off."""
        return self if grad is self.grad else Mode(grad, self.interposers, self.observers)

    def inner(self) -> Mode:
        """Return this mode without its outermost interposer."""
        return Mode(self.grad, self.interposers[1:], self.observers)

    def backward(self, grad: bool) -> Mode:
        """Return this mode for a backward pass, which runs without autocast."""
        rest = tuple(each for each in self.interposers if each.rank > 0)
        return Mode(grad, rest, self.observers)

    def plain(self, grad: bool) -> Mode:
        """Return this mode without interposers."""
        return Mode(grad, (), self.observers)


_mode: ContextVar[Mode] = ContextVar("ferrum_mode", default=Mode())  # noqa: B039 - immutable
current = _mode.get
set_mode = _mode.set
reset_mode = _mode.reset


@contextmanager
def using(mode: Mode) -> Iterator[None]:
    """Set `mode` inside the block."""
    token = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(token)


@contextmanager
def interposing(interposer: Interposer) -> Iterator[None]:
    """Add `interposer` to the mode inside the block, at the place of its rank."""
    mode = current()
    interposers = sorted((*mode.interposers, interposer), key=lambda each: each.rank)
    with using(Mode(mode.grad, tuple(interposers), mode.observers)):
        yield


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Add `observer` to the mode inside the block."""
    mode = current()
    with using(Mode(mode.grad, mode.interposers, (*mode.observers, observer))):
        yield


class GradSwitch:
    """A context, or a decorator, in which operations are recorded or not."""

    __slots__ = ("_grad", "_tokens")

    def __init__(self, grad: bool) -> None:
        self._grad = grad
        self._tokens: list[Token[Mode]] = []

    def __enter__(self) -> None:
        self._tokens.append(_mode.set(_mode.get().with_grad(self._grad)))

    def __exit__(self, *_: object) -> None:
        with suppress(ValueError):  # a generator may end in another thread than it began in
            _mode.reset(self._tokens.pop())

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return `function` run inside this switch; of a generator, each of its steps."""
        if not callable(function):
            raise OperandError(f"no_grad: expected a function, got {type(function).__name__}")
        grad, code = self._grad, getattr(function, "__code__", None)
        kind = code.co_flags & (_GENERATOR | _COROUTINE | _ASYNC_GENERATOR) if code else 0
        if kind == _ASYNC_GENERATOR:
            raise OperandError(
                f"no_grad: {function.__name__} is an async generator; use a with block inside it"
            )

        @wraps(function)
        def switched(*args: P.args, **kwargs: P.kwargs) -> Any:
            if kind == _GENERATOR:
                return _stepwise(grad, function(*args, **kwargs))
            if kind == _COROUTINE:
                return _awaited(grad, function(*args, **kwargs))
            with GradSwitch(grad):
                return function(*args, **kwargs)

        return switched


async def _awaited(grad: bool, coroutine: Any) -> Any:
    with GradSwitch(grad):
        return await coroutine


def _stepwise(grad: bool, generator: Any) -> Generator[Any, Any, Any]:
    """Run each step of `generator` inside a switch, and whoever consumes it outside."""
    step, value = generator.send, None
    try:
        while True:
            with GradSwitch(grad):
                result = step(value)
            try:
                step, value = generator.send, (yield result)
            except GeneratorExit:
                with GradSwitch(grad):
                    generator.close()
                raise
            except BaseException as error:
                step, value = generator.throw, error
    except StopIteration as end:
        return end.value


@overload
def no_grad() -> GradSwitch: ...
@overload
def no_grad(function: Callable[P, T]) -> Callable[P, T]: ...
def no_grad(function: Any = None) -> Any:
    """Record nothing inside: `with fe.no_grad():`, or `@fe.no_grad` before a function."""
    return GradSwitch(False) if function is None else GradSwitch(False)(function)


@overload
def enable_grad() -> GradSwitch: ...
@overload
def enable_grad(function: Callable[P, T]) -> Callable[P, T]: ...
def enable_grad(function: Any = None) -> Any:
    """Record inside, also within `no_grad`."""
    return GradSwitch(True) if function is None else GradSwitch(True)(function)


class GradSetting(GradSwitch):
    """A switch that is set where it is made: for good, or until the block it opens ends."""

    __slots__ = ("_entered",)

    def __init__(self, grad: bool) -> None:
        super().__init__(grad)
        super().__enter__()
        self._entered = False

    def __enter__(self) -> None:
        if self._entered:
            super().__enter__()
        self._entered = True

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return `function` run inside this switch, which around it is as it was before."""
        if not self._entered:
            self.__exit__()
            self._entered = True
        return super().__call__(function)


def set_grad_enabled(mode: bool) -> GradSwitch:
    """Record from here on if `mode` is true; with it in a `with`, only until the block ends."""
    if mode.__class__ is not bool:
        raise OperandError(f"set_grad_enabled: expected True or False, got {mode!r}")
    return GradSetting(mode)


def is_grad_enabled() -> bool:
    """Return whether operations are recorded here and now."""
    return _mode.get().grad
