"""The schedule that looks at how training goes."""

from __future__ import annotations

import math
from typing import Any

from ferrum.errors import ArgumentError, OperandError
from ferrum_nn.optim.lr_scheduler.scheduler import (
    LRScheduler,
    Rate,
    assign,
    checked_optimizer,
    numbers_for,
    warn_of_epoch,
)
from ferrum_nn.optim.optimizer import Optimizer
from ferrum_nn.optim.options import NUMBER


class ReduceLROnPlateau(LRScheduler):
    """Multiply the rates by `factor` after more than `patience` epochs without a better metric.

    Better is, for the best b so far and `mode` "min": below b (1 - threshold) if `threshold_mode`
    is "rel", below b - threshold if it is "abs"; for "max": above b (1 + threshold), b + threshold.
    After a reduction bad epochs do not count for `cooldown` epochs. A rate does not go below
    `min_lr`, one number or a list of one for each group, and not at all by less than `eps`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: list[float] | float = 0,
        eps: float = 1e-8,
    ) -> None:
        name = "ReduceLROnPlateau"
        self.factor = NUMBER.of(name, "factor", factor)
        if self.factor >= 1:
            raise ArgumentError(f"{name}: expected a factor below 1, got factor={factor!r}")
        self.optimizer = checked_optimizer(self, optimizer)
        self.min_lrs = numbers_for(self, "min_lr", min_lr)
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else self.min_lrs[0]
        self.patience = NUMBER.of(name, "patience", patience)
        self.cooldown = NUMBER.of(name, "cooldown", cooldown)
        self.eps = NUMBER.of(name, "eps", eps)
        self.last_epoch = 0
        self._last_lr: list[Rate] = self._rates()
        for option, value, known in (
            ("mode", mode, ("min", "max")),
            ("threshold_mode", threshold_mode, ("rel", "abs")),
        ):
            if value not in known:
                raise ArgumentError(
                    f"{name}: expected {option} to be one of {known}, got {option}={value!r}"
                )
        self.mode = mode
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.threshold: float = NUMBER.of(name, "threshold", threshold)
        self.threshold_mode = threshold_mode
        self.best = self.mode_worse
        self.cooldown_counter = 0.0
        self.num_bad_epochs = 0

    @property
    def in_cooldown(self) -> bool:
        """Return whether bad epochs do not count now."""
        return self.cooldown_counter > 0

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Look at the metric of an epoch, a number or a tensor of one element."""
        if not hasattr(metrics, "__float__"):
            raise OperandError(
                f"ReduceLROnPlateau: expected step(metrics) with a number, got {metrics!r}"
            )
        current = float(metrics)
        if epoch is not None:
            warn_of_epoch(self)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(current):
            self.best = current
            self.num_bad_epochs = 0
        else:  # NaN too
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = self._rates()

    def _is_better(self, metric: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            least = self.best * (1.0 + sign * self.threshold)
        else:
            least = self.best + sign * self.threshold
        return metric < least if self.mode == "min" else metric > least

    def _reduce(self) -> None:
        if self.default_min_lr is not None:
            self.min_lrs = [self.default_min_lr] * len(self._groups())
        for group, low in self._with_groups("of min_lrs", self.min_lrs):
            rate = float(group["lr"])
            reduced = max(rate * self.factor, low)
            if rate - reduced > self.eps:
                assign(group, "lr", reduced)
