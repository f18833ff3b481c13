"""Schedulers of schedulers: one after another, and all at once."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ferrum.errors import ArgumentError, OperandError
from ferrum_nn.errors import StateDictError
from ferrum_nn.optim.lr_scheduler.plateau import ReduceLROnPlateau
from ferrum_nn.optim.lr_scheduler.scheduler import (
    INTEGER,
    LRScheduler,
    assign,
    checked_optimizer,
    epochs_in,
)
from ferrum_nn.optim.optimizer import Optimizer


class Composed(LRScheduler):
    """A scheduler that has others in `_schedulers`, all of the one `optimizer`."""

    _schedulers: Sequence[LRScheduler]

    def _hold(self, schedulers: Any, optimizer: Optimizer | None) -> None:
        """Keep the schedulers, or raise ArgumentError or OperandError if they do not fit."""
        name = type(self).__name__
        if not isinstance(schedulers, Sequence):
            raise OperandError(f"{name}: expected a list of schedulers, got {schedulers!r}")
        if not schedulers:
            raise ArgumentError(f"{name}: expected at least one scheduler")
        for i, each in enumerate(schedulers):
            if not isinstance(each, LRScheduler):
                raise OperandError(
                    f"{name}: expected schedulers, got {type(each).__name__} at index {i}"
                )
            if isinstance(each, ReduceLROnPlateau):
                raise ArgumentError(
                    f"{name}: ReduceLROnPlateau, at index {i}, takes a metric at each step: step "
                    f"it by itself"
                )
        self.optimizer = checked_optimizer(self, optimizer or schedulers[0].optimizer)
        for i, each in enumerate(schedulers):
            if each.optimizer is not self.optimizer:
                raise ArgumentError(
                    f"{name}: expected schedulers of one optimizer, got one of another at index {i}"
                )
        self._schedulers = schedulers

    def _initial_step(self) -> None:
        with warnings.catch_warnings():  # those in it have made their first step already
            warnings.simplefilter("ignore", UserWarning)
            super()._initial_step()

    def state_dict(self) -> dict[str, Any]:
        """Return all that the scheduler and those in it know, but for the optimizer."""
        state = super().state_dict()
        return {**state, "_schedulers": [each.state_dict() for each in self._schedulers]}

    def _checked_state(self, given: Any) -> dict[str, Any]:
        state = super()._checked_state(given)
        saved = state.pop("_schedulers")
        if not isinstance(saved, list) or len(saved) != len(self._schedulers):
            raise StateDictError(
                f"{type(self).__name__}: expected the states of {len(self._schedulers)} schedulers"
            )
        pairs = list(zip(self._schedulers, saved, strict=True))
        for each, its in pairs:
            each._checked_state(its)
        for each, its in pairs:
            each.load_state_dict(its)
        return state


class ChainedScheduler(Composed):
    """Step all `schedulers` in order: each goes on from the rates that the one before it set."""

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        self._hold(schedulers, optimizer)
        self._last_lr = self._rates()

    def step(self) -> None:  # type: ignore[override]
        """Step all of them."""
        for each in self._schedulers:
            each.step()
        self._last_lr = self._rates()


class SequentialLR(Composed):
    """Step one of the `schedulers`: the next one begins at each of the `milestones`.

    One that begins sets the rates of its epoch 0, by its closed form if it has one. Schedulers of
    schedulers may begin at any milestone, which PyTorch's cannot.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        name = type(self).__name__
        self.optimizer = checked_optimizer(self, optimizer)
        self._hold(schedulers, optimizer)
        self._milestones = epochs_in(self, milestones)
        if len(self._milestones) != len(schedulers) - 1:
            raise ArgumentError(
                f"{name}: expected {len(schedulers) - 1} milestones for {len(schedulers)} "
                f"schedulers, got {len(self._milestones)}"
            )
        if sorted(self._milestones) != self._milestones:
            raise ArgumentError(f"{name}: expected milestones in order, got {milestones!r}")
        self.last_epoch = INTEGER.of(name, "last_epoch", last_epoch) + 1
        self._reset()
        _undo(self)  # for each scheduler has made its first step
        first = schedulers[bisect_right(self._milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:  # type: ignore[override]
        """Step the one whose turn it is."""
        self.last_epoch += 1
        turn = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[turn]
        if turn > 0 and self._milestones[turn - 1] == self.last_epoch:
            self._begin(scheduler)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def _reset(self) -> None:
        for group in self._groups():
            assign(group, "lr", group["initial_lr"])

    def _begin(self, scheduler: LRScheduler) -> None:
        if isinstance(scheduler, Composed):
            self._reset()
            _restart(scheduler)
        else:
            scheduler._update_lr(0)


def _undo(scheduler: LRScheduler) -> None:
    """Take back the first step of a scheduler, or of all those in it."""
    if isinstance(scheduler, Composed):
        for each in scheduler._schedulers:
            _undo(each)
    else:
        scheduler.last_epoch -= 1


def _restart(scheduler: LRScheduler) -> None:
    """Go to epoch 0 of a scheduler, as if it were made now."""
    if isinstance(scheduler, SequentialLR):
        scheduler.last_epoch = 0
        _restart(scheduler._schedulers[bisect_right(scheduler._milestones, 0)])
    elif isinstance(scheduler, Composed):
        for each in scheduler._schedulers:
            _restart(each)
    else:
        scheduler.last_epoch = -1
        scheduler._initial_step()
    scheduler._last_lr = scheduler._rates()
