"""Averages of a model's parameters along its training, and what goes with them.

averaged = AveragedModel(model)  # or AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn())
for epoch in range(epochs):
...
averaged.update_parameters(model)
update_bn(loader, averaged)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any, TypeAlias

from ferrum import Device, Tensor, int64, no_grad, zeros
from ferrum.errors import ArgumentError, OperandError, ShapeError
from ferrum_nn.module import Module
from ferrum_nn.optim.lr_scheduler.cycles import checked_strategy
from ferrum_nn.optim.lr_scheduler.formulas import SHARE, cosine
from ferrum_nn.optim.lr_scheduler.scheduler import (
    INTEGER,
    LRScheduler,
    checked_optimizer,
    numbers_for,
)
from ferrum_nn.optim.optimizer import Optimizer

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

Average: TypeAlias = Callable[[Tensor, Tensor, Any], Tensor]
MultiAverage: TypeAlias = Callable[[list[Tensor], list[Tensor], Any], None]


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """Return the function of (average a, parameter p, n) that is decay a + (1 - decay) p."""
    kept: float = SHARE.of("get_ema_avg_fn", "decay", decay)

    @no_grad()
    def ema_update(ema_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return ema_param * kept + current_param * (1 - kept)

    return ema_update


def get_swa_avg_fn() -> Average:
    """Return the function of (average a, parameter p, n) that is a + (p - a) / (n + 1)."""

    @no_grad()
    def swa_update(averaged_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        moved: Tensor = averaged_param + (current_param - averaged_param) / (num_averaged + 1)
        return moved

    return swa_update


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverage:
    """Return the function that does in place, of lists, what `get_ema_avg_fn` says."""
    return _in_place(get_ema_avg_fn(SHARE.of("get_ema_multi_avg_fn", "decay", decay)))


def get_swa_multi_avg_fn() -> MultiAverage:
    """Return the function that does in place, of lists, what `get_swa_avg_fn` says."""
    return _in_place(get_swa_avg_fn())


def _in_place(average: Average) -> MultiAverage:
    @no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], num_averaged: Any) -> None:
        for mean, param in zip(averaged, current, strict=True):
            mean.copy_(average(mean, param, num_averaged))

    return update


class AveragedModel(Module):
    """A copy of `model`, in which each parameter is the mean of those that it was updated with.

    `update_parameters(model)` takes them in: the first time it copies them, later it calls
    `multi_avg_fn` with lists of averages, parameters and the number n taken in so far, or `avg_fn`
    with one of each, which returns the new average; the mean of all (arXiv:1803.05407) if neither
    is given. Buffers are averaged like parameters if `use_buffers`, otherwise copied. `n_averaged`
    is a buffer. The copy is at `device` if one is given.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: str | Device | None = None,
        avg_fn: Average | None = None,
        multi_avg_fn: MultiAverage | None = None,
        use_buffers: bool = False,
    ) -> None:
        if not isinstance(model, Module):
            raise OperandError(f"AveragedModel: expected a module, got {type(model).__name__}")
        if avg_fn is not None and multi_avg_fn is not None:
            raise ArgumentError("AveragedModel: expected avg_fn or multi_avg_fn, got both")
        self.module = deepcopy(model)
        if device is not None:
            self.module.to(device=device)
        self.register_buffer("n_averaged", zeros((), dtype=int64, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the averaged module computes."""
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take in the parameters of `model`; ShapeError if they are not as many, or of the shapes.

        Nothing is changed then.
        """
        count = int(self.n_averaged)
        pairs = _pairs(self.module.parameters(), model.parameters(), "parameters")
        buffers = _pairs(self.module.buffers(), model.buffers(), "buffers")
        if self.use_buffers:
            pairs, buffers = pairs + buffers, []
        if count == 0:
            pairs, buffers = [], pairs + buffers
        for mean, current in buffers:
            mean.copy_(current)
        for means, currents in _alike(pairs):
            if self.avg_fn is None:
                (self.multi_avg_fn or get_swa_multi_avg_fn())(means, currents, count)
                continue
            for mean, current in zip(means, currents, strict=True):
                mean.copy_(self.avg_fn(mean, current, count))
        self.n_averaged += 1


def _pairs(
    means: Iterable[Tensor], currents: Iterable[Tensor], kind: str
) -> list[tuple[Tensor, Tensor]]:
    """Return averages beside what to take in, brought to their device."""
    ours, theirs = [x.detach() for x in means], [x.detach() for x in currents]
    here, there = [x.shape for x in ours], [x.shape for x in theirs]
    if here != there:
        raise ShapeError(
            f"AveragedModel: expected a model with {kind} of the shapes {here}, got {there}"
        )
    return [(a, b.to(a.device)) for a, b in zip(ours, theirs, strict=True)]


def _alike(
    pairs: list[tuple[Tensor, Tensor]],
) -> Iterable[tuple[list[Tensor], list[Tensor]]]:
    """Return the pairs as two lists for each device and dtype."""
    found: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
    for mean, current in pairs:
        both = found.setdefault((mean.device, mean.dtype), ([], []))
        both[0].append(mean)
        both[1].append(current)
    return found.values()


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: str | Device | None = None) -> None:
    """Compute the running statistics of all BatchNorm layers anew, over the batches of `loader`.

    The model is called with each batch, with its first entry if it is a list or a tuple, brought to
    `device` if one is given. `model.training` and each layer's momentum are as before afterwards.
    """
    layers: list[Any] = [each for each in model.modules() if hasattr(each, "reset_running_stats")]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    training = [(each, each.training) for each in model.modules()]
    model.train()
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # so that they take the mean of all batches
        for batch in loader:
            x = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(x if device is None else x.to(device))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for each, mode in training:
            each.training = mode


class SWALR(LRScheduler):
    """Go from the rate there is to `swa_lr` in `anneal_epochs` epochs, and stay there.

    `anneal_strategy` is "cos" or "linear"; `swa_lr` is a number or a list of one for each group,
    kept in the groups. From alpha(t), which goes from 0 to 1:
    lr(t) = swa_lr + (lr(t-1) - swa_lr) (1 - alpha(t)) / (1 - alpha(t-1)).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | Sequence[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        self.optimizer = checked_optimizer(self, optimizer)
        rates = numbers_for(self, "swa_lr", swa_lr)
        self._anneal_strategy = checked_strategy(self, anneal_strategy)
        self.anneal_epochs: int = INTEGER.of("SWALR", "anneal_epochs", anneal_epochs)
        if self.anneal_epochs < 0:
            raise ArgumentError(f"SWALR: expected anneal_epochs of at least 0, got {anneal_epochs}")
        for group, rate in zip(self._groups(), rates, strict=True):
            group["swa_lr"] = rate
        super().__init__(optimizer, last_epoch)

    def _left(self, t: int) -> float:
        """Return 1 - alpha(t), the share of the way that is left at step t."""
        t = max(t, 0)
        if t >= self.anneal_epochs:
            return 0.0
        if self._anneal_strategy == "cos":
            return cosine(t, self.anneal_epochs)
        return 1.0 - t / self.anneal_epochs

    def get_lr(self) -> list[float]:
        """Return the rate of each group after `_step_count` steps, from the one it has."""
        self._warn_of_get_lr()
        left, before = self._left(self._step_count - 1), self._left(self._step_count - 2)
        ratio = left / before if before else 0.0
        return [
            group["swa_lr"] + (float(group["lr"]) - group["swa_lr"]) * ratio
            for group in self._groups()
        ]
