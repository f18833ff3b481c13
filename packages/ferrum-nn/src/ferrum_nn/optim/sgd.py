"""Stochastic gradient descent."""

from __future__ import annotations

from typing import ClassVar

from ferrum import Tensor
from ferrum.errors import ArgumentError
from ferrum_nn import ops
from ferrum_nn.optim.kept import Kept
from ferrum_nn.optim.optimizer import Optimizer, Options, Params
from ferrum_nn.optim.options import AT_LEAST_ZERO, FLAG, NUMBER


class SGD(Optimizer):
    """Gradient descent, with momentum if it is not 0.

    With the gradient g (negated by `maximize`) of a parameter p:
    g ← g + weight_decay p;  m ← momentum m + (1 - dampening) g, at first m ← g;
    p ← p - lr m, or p - lr (g + momentum m) with `nesterov`. The state is `momentum_buffer`, m.
    """

    options: ClassVar = {
        "lr": AT_LEAST_ZERO,
        "momentum": AT_LEAST_ZERO,
        "dampening": NUMBER,
        "weight_decay": AT_LEAST_ZERO,
        "nesterov": FLAG,
        "maximize": FLAG,
    }
    kept: ClassVar = {"momentum_buffer": Kept("momentum")}
    op = ops.sgd_step

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
        super().__init__(params, self._chosen(locals()))

    def check(self, options: Options) -> None:
        """Raise ArgumentError if Nesterov's momentum is asked for without one, or dampened."""
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ArgumentError("SGD: nesterov takes a momentum above 0 and a dampening of 0")

    def update(self, params: list[Tensor], grads: list[Tensor], options: Options) -> None:
        """Move `params`. A first momentum, 0 before, is the gradient itself, not dampened."""
        if not options["momentum"] or not options["dampening"]:
            super().update(params, grads, options)
            return
        begun = ["momentum_buffer" in self.state.get(param, ()) for param in params]
        for part, chosen in ((False, {**options, "dampening": 0.0}), (True, options)):
            places = [i for i, each in enumerate(begun) if each is part]
            if places:
                super().update([params[i] for i in places], [grads[i] for i in places], chosen)
