"""Adadelta."""

from __future__ import annotations

from typing import ClassVar

from ferrum import Tensor
from ferrum_nn import ops
from ferrum_nn.optim.kept import ALIKE, COUNT
from ferrum_nn.optim.optimizer import Optimizer, Params
from ferrum_nn.optim.options import AT_LEAST_ZERO, FLAG, FRACTION


class Adadelta(Optimizer):
    """Adadelta (arXiv:1212.5701).

    With the gradient g (negated by `maximize`) of a parameter p:
    g ← g + weight_decay p;  v ← rho v + (1 - rho) g²;  d = g √(u + eps) / √(v + eps);
    u ← rho u + (1 - rho) d²;  p ← p - lr d.
    The state is `step`; `square_avg`, v; and `acc_delta`, u.
    """

    options: ClassVar = {
        "lr": AT_LEAST_ZERO,
        "rho": FRACTION,
        "eps": AT_LEAST_ZERO,
        "weight_decay": AT_LEAST_ZERO,
        "maximize": FLAG,
    }
    kept: ClassVar = {"step": COUNT, "square_avg": ALIKE, "acc_delta": ALIKE}
    op = ops.adadelta_step

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, self._chosen(locals()))
