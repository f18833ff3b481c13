"""What all schedulers have in common: they write the learning rates of an optimizer's groups."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from operator import index
from typing import Any, TypeAlias, TypeVar

from ferrum import Tensor
from ferrum.errors import ArgumentError, OperandError, UnsupportedError
from ferrum_nn.errors import StateDictError
from ferrum_nn.optim.optimizer import Group, Optimizer
from ferrum_nn.optim.options import NUMBER, Option

Rate: TypeAlias = "float | Tensor"
T = TypeVar("T")


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    return index(value)


def _last_epoch(value: Any) -> int:
    number = _integer(value)
    if number < -1:
        raise ValueError
    return number


def _positive(value: Any) -> int:
    number = _integer(value)
    if number < 1:
        raise ValueError
    return number


LAST_EPOCH = Option("to be an integer of at least -1", _last_epoch)
INTEGER = Option("to be an integer", _integer)
POSITIVE = Option("to be an integer above 0", _positive)


class LRScheduler:
    """Base of the schedulers.

    `step()`, called after the steps of the optimizer that make an epoch or a batch, sets the
    learning rate of each group for the next ones. `last_epoch` counts its calls from 0 on;
    `base_lrs` are the rates that the schedule starts from, kept as `initial_lr` in the groups. To
    go on with a schedule, load its state dict, or give the `last_epoch` to go on from and an
    optimizer whose groups have `initial_lr`.

    A subclass defines `get_lr(self)`, which returns the rate of each group at `last_epoch`, and
    calls `super().__init__` when it has all that `get_lr` needs.

    Raises OperandError for what is no optimizer, ArgumentError for a `last_epoch` below -1, or
    groups without `initial_lr` to go on with.
    """

    _step_count: int
    _is_initial = False
    _get_lr_called_within_step = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = checked_optimizer(self, optimizer)
        self.last_epoch = LAST_EPOCH.of(type(self).__name__, "last_epoch", last_epoch)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise ArgumentError(
                    f"{type(self).__name__}: going on from last_epoch={last_epoch} takes "
                    f"'initial_lr' in param_groups[{i}]; load the optimizer's state dict first"
                )
        self.base_lrs: list[Rate] = [copied(group["initial_lr"]) for group in self._groups()]
        self._last_lr: list[Rate] = []
        FirstStep.await_of(optimizer)
        self._initial_step()

    def get_lr(self) -> Sequence[Rate]:
        """Return the rate of each group at `last_epoch`; subclasses define it."""
        raise UnsupportedError(f"{type(self).__name__}: the class defines no get_lr(self)")

    def get_last_lr(self) -> list[Rate]:
        """Return the rates that the last step has set, one for each group."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Set the rates of the next epoch, or of `epoch`, which warns: it goes out of use."""
        if self._step_count == 1 and FirstStep.is_awaited(self.optimizer):
            warnings.warn(
                f"{type(self).__name__}.step() was called before optimizer.step(): call it after, "
                f"or the first learning rate of the schedule is skipped",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        if epoch is not None:
            warn_of_epoch(self)
        self._update_lr(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the scheduler knows, but for the optimizer. The layout is PyTorch's."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from `state_dict`, this class's or that of PyTorch's of the same name.

        The optimizer's rates are not touched: they are in its own state dict. Raises
        StateDictError if something is missing, or the groups are not as many; nothing is changed.
        """
        vars(self).update(self._checked_state(state_dict))

    def _checked_state(self, given: Any) -> dict[str, Any]:
        """Return the state in `given` in the form of `vars(self)`, or raise StateDictError."""
        name = type(self).__name__
        if not isinstance(given, Mapping):
            raise StateDictError(f"{name}: expected a state dict, got {type(given).__name__}")
        internal = {"_is_initial", "_get_lr_called_within_step"}  # not in PyTorch's before 2.9
        missing = [key for key in self.state_dict() if key not in given and key not in internal]
        if missing:
            raise StateDictError(
                f"{name}: the state dict lacks {', '.join(missing)}", missing_keys=tuple(missing)
            )
        own = (*vars(LRScheduler), "optimizer")
        wrong = [key for key in given if key in own and key not in internal]
        if wrong:
            raise StateDictError(
                f"{name}: unexpected keys {', '.join(wrong)}", unexpected_keys=tuple(wrong)
            )
        groups = len(self._groups())
        for key in {"base_lrs", "_last_lr"} & set(given):
            if not isinstance(given[key], list) or len(given[key]) != groups:
                raise StateDictError(
                    f"{name}: expected {key} of {groups} groups, the state dict has {given[key]!r}"
                )
        return deepcopy(dict(given))

    # ---- what a step is made of

    def _initial_step(self) -> None:
        """Set the first rates: the step that __init__ makes, at which most schedules stand."""
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def _update_lr(self, epoch: int | None = None) -> None:
        """Set the rates of the next epoch, or of `epoch` by the closed form if there is one."""
        for group in self._groups()[len(self.base_lrs) :]:  # added to the optimizer since
            self.base_lrs.append(copied(group.setdefault("initial_lr", copied(group["lr"]))))
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        closed = getattr(self, "_get_closed_form_lr", None)
        self._get_lr_called_within_step = True
        try:
            rates = self.get_lr() if epoch is None or closed is None else closed()
        finally:
            self._get_lr_called_within_step = False
        for group, rate in zip(self._groups(), rates, strict=True):
            assign(group, "lr", rate)
        self._last_lr = self._rates()

    def _groups(self) -> list[Group]:
        return self.optimizer.param_groups

    def _rates(self) -> list[Rate]:
        return [copied(group["lr"]) for group in self._groups()]

    def _bases(self) -> list[float]:
        return [float(base) for base in self.base_lrs]

    def _with_groups(self, name: str, values: Iterable[T]) -> list[tuple[Group, T]]:
        """Return each group with its own of `values`, what `name` says, or raise ArgumentError."""
        groups, each = self._groups(), list(values)
        if len(each) != len(groups):
            raise ArgumentError(
                f"{type(self).__name__}: expected one {name} for each of the {len(groups)} groups, "
                f"got {len(each)}"
            )
        return list(zip(groups, each, strict=True))

    def _warn_of_get_lr(self) -> None:
        """Warn where get_lr is called by anything but a step, for then it is one step ahead."""
        if not self._get_lr_called_within_step:
            warnings.warn(
                f"{type(self).__name__}: get_last_lr() has the last rates; get_lr() works out new "
                f"ones from them",
                UserWarning,
                stacklevel=3,
            )


class FirstStep:
    """Stands in for `optimizer.step` until that is first called, so that a scheduler can tell.

    Then it leaves, and the optimizer is as it was. PyTorch leaves a wrapper there for good.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.own = vars(optimizer).get("step")  # somebody else's stand-in
        self.inner = optimizer.step

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make way for the step itself, and make it."""
        held = vars(self.optimizer)
        held["_has_stepped"] = True
        if held.get("step") is self:
            del held["step"]
            if self.own is not None:
                held["step"] = self.own
        return self.inner(*args, **kwargs)

    @classmethod
    def await_of(cls, optimizer: Optimizer) -> None:
        """Notice the first step of `optimizer`, unless one was noticed, or is waited for."""
        held = vars(optimizer)
        if "_has_stepped" not in held and not cls.is_awaited(optimizer):
            held["step"] = cls(optimizer)

    @classmethod
    def is_awaited(cls, optimizer: Optimizer) -> bool:
        """Return whether `optimizer` has made no step since the first scheduler was made."""
        return isinstance(vars(optimizer).get("step"), cls)


def warn_of_epoch(scheduler: LRScheduler) -> None:
    """Warn that step(epoch) goes out of use, as in PyTorch."""
    warnings.warn(
        f"{type(scheduler).__name__}.step(epoch) goes out of use: call step() without it",
        UserWarning,
        stacklevel=3,
    )


def checked_optimizer(scheduler: LRScheduler, optimizer: Any) -> Optimizer:
    """Return `optimizer`, or raise OperandError for what is none."""
    if not isinstance(optimizer, Optimizer):
        raise OperandError(
            f"{type(scheduler).__name__}: expected an optimizer, got {type(optimizer).__name__}"
        )
    return optimizer


def epochs_in(scheduler: LRScheduler, milestones: Any) -> list[int]:
    """Return the milestones, which are integers, or raise OperandError."""
    name = type(scheduler).__name__
    if isinstance(milestones, str) or not isinstance(milestones, Iterable):
        raise OperandError(f"{name}: expected a list of epochs as milestones, got {milestones!r}")
    return [INTEGER.of(name, "milestones", each) for each in milestones]


def numbers_for(scheduler: LRScheduler, name: str, given: Any) -> list[float]:
    """Return one number for each group of the scheduler's optimizer, from a list or one for all."""
    many = isinstance(given, (list, tuple))
    each = given if many else [given] * len(scheduler.optimizer.param_groups)
    kind = type(scheduler).__name__
    return [NUMBER.of(kind, name, value) for _, value in scheduler._with_groups(name, each)]


def copied(value: Any) -> Any:
    """Return `value`, of a tensor a copy: what a group holds may be written."""
    return value.detach().clone() if isinstance(value, Tensor) else value


def assign(group: Group, name: str, value: Rate) -> None:
    """Set an option of a group; a tensor there is written, for a plan may read it."""
    if isinstance(group[name], Tensor):
        group[name].fill_(float(value))
    else:
        group[name] = value
