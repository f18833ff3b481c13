"""Schedules of the rate and the momentum against each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ferrum.errors import ArgumentError, OperandError, UnsupportedError
from ferrum_nn.optim.lr_scheduler.formulas import SHARE, load_into, state_of
from ferrum_nn.optim.lr_scheduler.scheduler import (
    POSITIVE,
    LRScheduler,
    assign,
    checked_optimizer,
    numbers_for,
)
from ferrum_nn.optim.optimizer import Group, Optimizer
from ferrum_nn.optim.options import AT_LEAST_ZERO, FLAG, NUMBER

PerGroup: TypeAlias = "float | Sequence[float]"
MODES = ("triangular", "triangular2", "exp_range")


class Cycle(LRScheduler):
    """A schedule that cycles the momentum too, if `cycle_momentum`: Adam's is its first beta."""

    cycle_momentum: bool
    use_beta1: bool

    def _cycle_momentum(
        self, cycle: Any, base: Any, top: Any, begins: bool
    ) -> tuple[list[float], list[float]]:
        """Read what the momentum cycles between, and set the groups' to the top if it `begins`."""
        name = type(self).__name__
        self.cycle_momentum = FLAG.of(name, "cycle_momentum", cycle)
        if not self.cycle_momentum:
            return [], []
        defaults = self.optimizer.defaults
        if "momentum" not in defaults and "betas" not in defaults:
            raise ArgumentError(
                f"{name}: {type(self.optimizer).__name__} has neither momentum nor betas to cycle; "
                f"give cycle_momentum=False"
            )
        self.use_beta1 = "betas" in defaults
        bases = numbers_for(self, "base_momentum", base)
        tops = numbers_for(self, "max_momentum", top)
        if begins:
            for group, low, high in zip(self._groups(), bases, tops, strict=True):
                self._set_momentum(group, high)
                group["max_momentum"] = high
                group["base_momentum"] = low
        return bases, tops

    def _set_momentum(self, group: Group, momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum

    def get_momentum(self) -> list[float]:
        """Return the momentum of each group at `last_epoch`."""
        raise UnsupportedError(f"{type(self).__name__}: the class defines no get_momentum(self)")

    def _update_lr(self, epoch: int | None = None) -> None:
        super()._update_lr(epoch)
        if self.cycle_momentum:
            for group, momentum in zip(self._groups(), self.get_momentum(), strict=True):
                self._set_momentum(group, momentum)


class CyclicLR(Cycle):
    """Go from `base_lr` to `max_lr` in `step_size_up` steps, back in `step_size_down`, and again.

    In `mode` "triangular" all cycles are alike (arXiv:1506.01186); in "triangular2" cycle n goes
    2ⁿ⁻¹ times less far, in "exp_range" step t gammaᵗ times as far. `scale_fn` says another scale,
    of the cycle or of the step as `scale_mode` is "cycle" or "iterations". The momentum goes from
    `max_momentum` to `base_momentum` meanwhile. Lists give a number for each group.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: PerGroup,
        max_lr: PerGroup,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: PerGroup = 0.8,
        max_momentum: PerGroup = 0.9,
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = checked_optimizer(self, optimizer)
        base_lrs = numbers_for(self, "base_lr", base_lr)
        self.max_lrs = numbers_for(self, "max_lr", max_lr)
        up: float = NUMBER.of("CyclicLR", "step_size_up", step_size_up)
        if up <= 0:
            raise ArgumentError(f"CyclicLR: expected step_size_up above 0, got {step_size_up!r}")
        down: float = up
        if step_size_down is not None:
            down = AT_LEAST_ZERO.of("CyclicLR", "step_size_down", step_size_down)
        self.total_size: float = up + down
        self.step_ratio: float = up / self.total_size
        if scale_fn is None and mode not in MODES:
            raise ArgumentError(f"CyclicLR: expected mode to be one of {MODES}, got mode={mode!r}")
        if scale_fn is not None and not callable(scale_fn):
            raise OperandError(f"CyclicLR: expected a function as scale_fn, got {scale_fn!r}")
        if scale_mode not in ("cycle", "iterations"):
            raise ArgumentError(
                f"CyclicLR: expected scale_mode to be 'cycle' or 'iterations', got {scale_mode!r}"
            )
        self.mode = mode
        self.gamma: float = NUMBER.of("CyclicLR", "gamma", gamma)
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode
        if scale_fn is None:
            self.scale_mode = "iterations" if mode == "exp_range" else "cycle"
        begins = last_epoch == -1
        momenta = self._cycle_momentum(cycle_momentum, base_momentum, max_momentum, begins)
        if self.cycle_momentum:
            self.base_momentums, self.max_momentums = momenta
        if begins:
            for group, rate in zip(self._groups(), base_lrs, strict=True):
                assign(group, "lr", rate)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = list(base_lrs)

    def scale_fn(self, x: float) -> float:
        """Return how far a cycle goes, of its number from 1 on or of the step, by `scale_mode`."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "exp_range":
            return math.pow(self.gamma, x)
        return 0.5 ** (x - 1) if self.mode == "triangular2" else 1.0

    def _height(self) -> float:
        """Return how far the rate is at `last_epoch` on the way from its base to its top."""
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        ratio = self.step_ratio
        height = x / ratio if x <= ratio else (x - 1) / (ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        return float(height * scale)

    def get_lr(self) -> list[float]:
        """Return base + (max - base) height of each group."""
        self._warn_of_get_lr()
        height = self._height()
        pairs = self._with_groups("max_lr", zip(self._bases(), self.max_lrs, strict=False))
        return [base + (top - base) * height for _, (base, top) in pairs]

    def get_momentum(self) -> list[float]:
        """Return max - (max - base) height of each group."""
        height = self._height()
        pairs = zip(self.base_momentums, self.max_momentums, strict=True)
        return [top - (top - base) * height for base, top in pairs]

    def state_dict(self) -> dict[str, Any]:
        """Return all that the scheduler knows, but for the optimizer and a `scale_fn`'s code."""
        return {**super().state_dict(), "_scale_fn_custom": state_of(self._scale_fn_custom)}

    def _checked_state(self, given: Any) -> dict[str, Any]:
        state = super()._checked_state(given)
        load_into("CyclicLR", self._scale_fn_custom, state.pop("_scale_fn_custom"))
        return state


class OneCycleLR(Cycle):
    """Go up to `max_lr` and down far below the rate at first, once (arXiv:1708.07120).

    From max_lr / div_factor the rate goes to `max_lr` in the share `pct_start` of `total_steps`, or
    of `epochs` times `steps_per_epoch`, then to max_lr / div_factor / final_div_factor; with
    `three_phase` in as many steps back to where it began and from there to the last.
    `anneal_strategy` is "cos" or "linear". The momentum goes from `max_momentum` to `base_momentum`
    and back meanwhile. Lists give a number for each group. It is stepped after every batch; a step
    beyond `total_steps` raises ArgumentError.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: PerGroup,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: PerGroup = 0.85,
        max_momentum: PerGroup = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = checked_optimizer(self, optimizer)
        if total_steps is not None:
            self.total_steps = POSITIVE.of("OneCycleLR", "total_steps", total_steps)
        elif epochs is not None and steps_per_epoch is not None:
            each = POSITIVE.of("OneCycleLR", "steps_per_epoch", steps_per_epoch)
            self.total_steps = POSITIVE.of("OneCycleLR", "epochs", epochs) * each
        else:
            raise ArgumentError("OneCycleLR: expected total_steps, or epochs and steps_per_epoch")
        start = SHARE.of("OneCycleLR", "pct_start", pct_start)
        phases = [start * self.total_steps - 1, self.total_steps - 1]
        ways = [("initial_lr", "max_lr"), ("max_lr", "min_lr")]
        if three_phase:
            phases.insert(1, 2 * start * self.total_steps - 2)
            ways[1:] = [("max_lr", "initial_lr"), ("initial_lr", "min_lr")]
        bounds = ["max_momentum", "base_momentum", "max_momentum", "max_momentum"]
        self._schedule_phases = [
            {
                "end_step": end,
                "start_lr": ways[i][0],
                "end_lr": ways[i][1],
                "start_momentum": bounds[i],
                "end_momentum": bounds[i + 1],
            }
            for i, end in enumerate(phases)
        ]
        self._anneal_func_type = checked_strategy(self, anneal_strategy)
        tops = numbers_for(self, "max_lr", max_lr)
        first = _divisor("div_factor", div_factor)
        last = _divisor("final_div_factor", final_div_factor)
        begins = last_epoch == -1
        self._cycle_momentum(cycle_momentum, base_momentum, max_momentum, begins)
        if begins:
            for group, top in zip(self._groups(), tops, strict=True):
                group["initial_lr"] = top / first
                group["max_lr"] = top
                group["min_lr"] = group["initial_lr"] / last
        super().__init__(optimizer, last_epoch)

    def _between(self, what: str) -> list[float]:
        """Return the rate ("lr") or "momentum" of each group at `last_epoch`."""
        t, begin = self.last_epoch, 0.0
        if t > self.total_steps:
            raise ArgumentError(
                f"OneCycleLR: expected at most {self.total_steps} steps, got step {t}"
            )
        *early, phase = self._schedule_phases
        for each in early:
            if t <= each["end_step"]:
                phase = each
                break
            begin = each["end_step"]
        way = phase["end_step"] - begin
        done = (t - begin) / way if way else 1.0  # a phase of no length is over at once
        if self._anneal_func_type == "cos":
            done = (1 - math.cos(math.pi * done)) / 2
        start, end = phase[f"start_{what}"], phase[f"end_{what}"]
        return [
            float(group[start]) + (float(group[end]) - float(group[start])) * done
            for group in self._groups()
        ]

    def get_lr(self) -> list[float]:
        """Return the rate of each group at `last_epoch`."""
        self._warn_of_get_lr()
        return self._between("lr")

    def get_momentum(self) -> list[float]:
        """Return the momentum of each group at `last_epoch`."""
        return self._between("momentum")


def checked_strategy(scheduler: LRScheduler, strategy: str) -> str:
    """Return the way to anneal, "cos" or "linear", or raise ArgumentError."""
    if strategy not in ("cos", "linear"):
        raise ArgumentError(
            f"{type(scheduler).__name__}: expected anneal_strategy to be 'cos' or 'linear', got "
            f"{strategy!r}"
        )
    return strategy


def _divisor(name: str, value: Any) -> float:
    number: float = NUMBER.of("OneCycleLR", name, value)
    if number == 0:
        raise ArgumentError(f"OneCycleLR: expected {name} other than 0, got {name}={value!r}")
    return number
