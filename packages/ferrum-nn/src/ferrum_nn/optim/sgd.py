"""Stochastic gradient descent."""

from __future__ import annotations

from ferrum import Tensor, zeros_like
from ferrum.errors import ArgumentError
from ferrum_nn import ops
from ferrum_nn.optim.optimizer import Group, Optimizer, Params, at_least_zero, grads_of


class SGD(Optimizer):
    """Gradient descent, with momentum if it is not 0.

    With the gradient g (negated by `maximize`) of a parameter p:
    g ← g + weight_decay p;  m ← momentum m + (1 - dampening) g, at first m ← g;
    p ← p - lr m, or p - lr (g + momentum m) with `nesterov`. The state is `momentum_buffer`, m.
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        """Raise ArgumentError if an option of `group` makes no sense."""
        at_least_zero("SGD", group, "lr", "momentum", "weight_decay")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ArgumentError("SGD: nesterov takes a momentum above 0 and a dampening of 0")

    def update(self, params: list[Tensor], group: Group) -> None:
        """Move `params`."""
        if not group["momentum"]:
            self._move(params, [], group, group["dampening"])
            return
        old: list[Tensor] = []
        new: list[Tensor] = []
        for param in params:
            started = self.state[param].get("momentum_buffer") is not None
            (old if started else new).append(param)
        for param in new:
            self.state[param]["momentum_buffer"] = zeros_like(param)
        # without dampening a first momentum, 0 before, becomes the gradient itself
        for part, dampening in ((new, 0.0), (old, group["dampening"])):
            if part:
                momenta = [self.state[param]["momentum_buffer"] for param in part]
                self._move(part, momenta, group, dampening)

    def _move(
        self, params: list[Tensor], momenta: list[Tensor], group: Group, dampening: float
    ) -> None:
        ops.sgd_step(
            params,
            grads_of(params),
            momenta,
            lr=float(group["lr"]),
            momentum=group["momentum"],
            dampening=dampening,
            weight_decay=group["weight_decay"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
        )
