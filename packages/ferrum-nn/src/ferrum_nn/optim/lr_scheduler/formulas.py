"""Schedules that are a formula of the epoch t: lr(t) = floor + (lr(0) - floor) share(t)."""

from __future__ import annotations

import math
import types
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from ferrum.errors import ArgumentError, OperandError, UnsupportedError
from ferrum_nn.errors import StateDictError
from ferrum_nn.optim.lr_scheduler.scheduler import (
    POSITIVE,
    LRScheduler,
    checked_optimizer,
    epochs_in,
)
from ferrum_nn.optim.optimizer import Optimizer
from ferrum_nn.optim.options import AT_LEAST_ZERO, NUMBER, Option

Lambda: TypeAlias = Callable[[int], float]


def _share(value: Any) -> float:
    number: float = NUMBER.read(value)
    if not 0 <= number <= 1:
        raise ValueError
    return number


def _share_above_zero(value: Any) -> float:
    number = _share(value)
    if number == 0:
        raise ValueError
    return number


SHARE = Option("from 0 to 1", _share)
SHARE_ABOVE_ZERO = Option("above 0 and up to 1", _share_above_zero)


class Scaled(LRScheduler):
    """A schedule that is wholly said by `share(t)`.

    `step()` goes from one epoch to the next by the ratio of their shares, so that schedules can be
    chained, and a rate that somebody else has changed counts; `_get_closed_form_lr` does not look
    at the rate of before.
    """

    stands_when_resumed: ClassVar[bool] = True
    """Whether the step that __init__ makes leaves the rates alone when it goes on with a schedule:
    PyTorch's schedules do not agree about that."""

    @property
    def floor(self) -> float:
        """Return the rate that a share of 0 stands for."""
        return 0.0

    def share(self, t: int) -> float:
        """Return the share of lr(0) - floor that there is at epoch t."""
        raise UnsupportedError(f"{type(self).__name__}: the class defines no share(self, t)")

    def ratio(self, t: int) -> float | None:
        """Return share(t) / share(t - 1), None if that is 0 below."""
        now, before = self.share(t), self.share(t - 1)
        if now == before:
            return 1.0
        return now / before if before else None

    def get_lr(self) -> list[float]:
        """Return the rate of each group at `last_epoch`, from the one it has."""
        self._warn_of_get_lr()
        t = self.last_epoch
        if self._is_initial and t == 0:
            ratio: float | None = self.share(0)
        else:
            stands = self._is_initial and self.stands_when_resumed
            ratio = 1.0 if stands else self.ratio(t)
        if ratio == 1:
            return [group["lr"] for group in self._groups()]
        low = self.floor
        if ratio is None:  # from the floor there is no way up but by the base rate
            now = self.share(t)
            pairs = zip(self._groups(), self._bases(), strict=True)
            return [float(group["lr"]) + (base - low) * now for group, base in pairs]
        return [low + (float(group["lr"]) - low) * ratio for group in self._groups()]

    def _get_closed_form_lr(self) -> list[float]:
        now = self.share(self.last_epoch)
        return [self.floor + (base - self.floor) * now for base in self._bases()]


class Powers(Scaled):
    """A schedule of gamma to the `count(t)`: its ratio is a power too, and never overflows."""

    gamma: float

    def count(self, t: int) -> int:
        """Return how often the rate has been multiplied by gamma."""
        raise UnsupportedError(f"{type(self).__name__}: the class defines no count(self, t)")

    def share(self, t: int) -> float:
        """Return gammaⁿ of the count n."""
        return self.gamma ** self.count(t)

    def ratio(self, t: int) -> float:
        """Return gamma to what the count grows by."""
        return self.gamma ** (self.count(t) - self.count(t - 1))


class StepLR(Powers):
    """Multiply the rate by `gamma` every `step_size` epochs: share(t) = gamma^⌊t / step_size⌋."""

    stands_when_resumed = False

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size: int = POSITIVE.of("StepLR", "step_size", step_size)
        self.gamma = NUMBER.of("StepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def count(self, t: int) -> int:
        """Return ⌊t / step_size⌋."""
        return max(t, 0) // self.step_size


class MultiStepLR(Powers):
    """Multiply the rate by `gamma` at each of the `milestones`, twice at one given twice."""

    stands_when_resumed = False

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(epochs_in(self, milestones))
        self.gamma = NUMBER.of("MultiStepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def count(self, t: int) -> int:
        """Return the number of milestones up to t."""
        return sum(times for epoch, times in self.milestones.items() if epoch <= t)


class ExponentialLR(Powers):
    """Multiply the rate by `gamma` every epoch: share(t) = gammaᵗ."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = NUMBER.of("ExponentialLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def count(self, t: int) -> int:
        """Return t."""
        return t


class ConstantLR(Scaled):
    """Hold the rate at `factor` of itself before epoch `total_iters`.

    As in PyTorch it is held for good if `total_iters` is 0.
    """

    stands_when_resumed = False

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.factor = SHARE.of("ConstantLR", "factor", factor)
        self.total_iters = NUMBER.of("ConstantLR", "total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def share(self, t: int) -> float:
        """Return the factor, from `total_iters` on 1, as before epoch 0."""
        held = t >= 0 and (t < self.total_iters or self.total_iters <= 0)
        return self.factor if held else 1.0


class LinearLR(Scaled):
    """Go from `start_factor` of the rate to `end_factor` of it in `total_iters` equal steps.

    As in PyTorch it stays at `start_factor` if `total_iters` is 0.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor: float = SHARE_ABOVE_ZERO.of("LinearLR", "start_factor", start_factor)
        self.end_factor: float = SHARE.of("LinearLR", "end_factor", end_factor)
        self.total_iters = NUMBER.of("LinearLR", "total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def share(self, t: int) -> float:
        """Return start + (end - start) min(t / total_iters, 1), before epoch 0 1."""
        if t < 0:
            return 1.0
        done = min(t / self.total_iters, 1.0) if self.total_iters > 0 else 0.0
        return self.start_factor + (self.end_factor - self.start_factor) * done


class PolynomialLR(Scaled):
    """Go to 0 within `total_iters` epochs: share(t) = (1 - min(t / total_iters, 1))^power."""

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        self.total_iters = NUMBER.of("PolynomialLR", "total_iters", total_iters)
        self.power: float = AT_LEAST_ZERO.of("PolynomialLR", "power", power)
        super().__init__(optimizer, last_epoch)

    def share(self, t: int) -> float:
        """Return (1 - min(t / total_iters, 1))^power."""
        done = min(t / self.total_iters, 1.0) if self.total_iters > 0 else 0.0
        return math.pow(1.0 - done, self.power)


class CosineAnnealingLR(Scaled):
    """Go down to `eta_min` in `T_max` epochs and up again, along a cosine (arXiv:1608.03983).

    lr(t) = eta_min + (lr(0) - eta_min) (1 + cos(π t / T_max)) / 2.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: int,  # noqa: N803
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_max = NUMBER.of("CosineAnnealingLR", "T_max", T_max)
        if self.T_max <= 0:
            raise ArgumentError(f"CosineAnnealingLR: expected T_max above 0, got T_max={T_max!r}")
        self.eta_min: float = NUMBER.of("CosineAnnealingLR", "eta_min", eta_min)
        super().__init__(optimizer, last_epoch)

    @property
    def floor(self) -> float:
        """Return `eta_min`."""
        return self.eta_min

    def share(self, t: int) -> float:
        """Return (1 + cos(π t / T_max)) / 2."""
        return cosine(t, self.T_max)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Go down to `eta_min` along half a cosine again and again (arXiv:1608.03983).

    The first run takes `T_0` epochs, each one after it `T_mult` times as many as the one before;
    lr = eta_min + (lr(0) - eta_min) (1 + cos(π T_cur / T_i)) / 2 in epoch T_cur of a run of T_i.
    `step(epoch)` takes fractions too, as `epoch + batch / batches`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,  # noqa: N803
        T_mult: int = 1,  # noqa: N803
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        name = "CosineAnnealingWarmRestarts"
        self.T_0 = POSITIVE.of(name, "T_0", T_0)
        self.T_i = self.T_0
        self.T_mult = POSITIVE.of(name, "T_mult", T_mult)
        self.eta_min = NUMBER.of(name, "eta_min", eta_min)
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the rate of each group at `T_cur` of `T_i`."""
        self._warn_of_get_lr()
        share, low = cosine(self.T_cur, self.T_i), self.eta_min
        return [low + (base - low) * share for base in self._bases()]

    def step(self, epoch: float | None = None) -> None:
        """Set the rates of the next epoch, or of `epoch`. Raises ArgumentError if it is below 0."""
        if epoch is not None:
            AT_LEAST_ZERO.of(type(self).__name__, "epoch", epoch)
        self._update_lr(epoch)

    def _update_lr(self, epoch: float | None = None) -> None:
        at = self.last_epoch + 1 if epoch is None else epoch
        self.T_cur, self.T_i = at, self.T_0
        if self.T_mult == 1:
            self.T_cur = at % self.T_0
        while self.T_cur >= self.T_i:
            self.T_cur -= self.T_i
            self.T_i *= self.T_mult
        super()._update_lr(math.floor(at))


class LambdaLR(LRScheduler):
    """Multiply the initial rate by `lr_lambda(t)`, a function or a list of one for each group.

    Functions are not part of the state dict, attributes of objects that can be called are.
    """

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Lambda | Sequence[Lambda], last_epoch: int = -1
    ) -> None:
        self.optimizer = checked_optimizer(self, optimizer)
        one = [lr_lambda] * len(optimizer.param_groups)
        each: Any = lr_lambda if isinstance(lr_lambda, (list, tuple)) else one
        self.lr_lambdas: list[Lambda] = [f for _, f in self._with_groups("lr_lambda", each)]
        for function in self.lr_lambdas:
            if not callable(function):
                raise OperandError(
                    f"{type(self).__name__}: expected a function as lr_lambda, got {function!r}"
                )
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return the initial rates times what the functions say."""
        self._warn_of_get_lr()
        pairs = self._with_groups("lr_lambda", zip(self.lr_lambdas, self._bases(), strict=False))
        return [base * function(self.last_epoch) for _, (function, base) in pairs]

    def state_dict(self) -> dict[str, Any]:
        """Return all that the scheduler knows, but for the optimizer and the functions."""
        return {**super().state_dict(), "lr_lambdas": [state_of(f) for f in self.lr_lambdas]}

    def _checked_state(self, given: Any) -> dict[str, Any]:
        state = super()._checked_state(given)
        saved = state.pop("lr_lambdas")
        if not isinstance(saved, list) or len(saved) != len(self.lr_lambdas):
            raise StateDictError(
                f"{type(self).__name__}: expected lr_lambdas of {len(self.lr_lambdas)} functions, "
                f"the state dict has {saved!r}"
            )
        for function, attributes in zip(self.lr_lambdas, saved, strict=True):
            load_into(type(self).__name__, function, attributes)
        return state


class MultiplicativeLR(LambdaLR):
    """Multiply the rate by `lr_lambda(t)`, a function or a list of one for each group."""

    def get_lr(self) -> list[float]:
        """Return the rates times what the functions say."""
        self._warn_of_get_lr()
        pairs = self._with_groups("lr_lambda", self.lr_lambdas)
        if self._is_initial:
            return [group["lr"] for group, _ in pairs]
        return [float(group["lr"]) * function(self.last_epoch) for group, function in pairs]


def cosine(t: float, steps: float) -> float:
    """Return (1 + cos(π t / steps)) / 2, which goes from 1 to 0 in `steps`."""
    return (1 + math.cos(math.pi * t / steps)) / 2


def state_of(function: Any) -> dict[str, Any] | None:
    """Return the attributes of an object that can be called, None for a plain function."""
    return dict(vars(function)) if _has_state(function) else None


def load_into(owner: str, function: Any, attributes: Any) -> None:
    """Give an object that can be called the attributes that `state_of` returned."""
    if attributes is None:
        return
    if not isinstance(attributes, Mapping) or not _has_state(function):
        raise StateDictError(
            f"{owner}: the state dict has {attributes!r} for the function {function!r}"
        )
    vars(function).update(attributes)


def _has_state(function: Any) -> bool:
    plain = (types.FunctionType, types.MethodType, type)
    return hasattr(function, "__dict__") and not isinstance(function, plain)
