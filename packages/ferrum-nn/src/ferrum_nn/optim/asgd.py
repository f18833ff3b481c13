"""Averaged stochastic gradient descent."""

from __future__ import annotations

from typing import ClassVar

from ferrum import Tensor
from ferrum_nn import ops
from ferrum_nn.optim.kept import ALIKE, COUNT, number
from ferrum_nn.optim.optimizer import Optimizer, Params
from ferrum_nn.optim.options import AT_LEAST_ZERO, FLAG, NUMBER


class ASGD(Optimizer):
    """Averaged gradient descent (Polyak and Juditsky, SIAM J. Control Optim. 30, 1992).

    With the gradient g (negated by `maximize`) of a parameter p, at its step number t, the rate η,
    lr at first, and the weight μ, 1 at first: g ← g + weight_decay p;  p ← p - lambd η p - η g;
    a ← a + μ (p - a);  η ← lr / (1 + lambd lr t)^alpha;  μ ← 1 / max(1, t - t0).
    The state is `step`, `eta` and `mu` as 0-d tensors, and `ax`, the average a.
    """

    options: ClassVar = {
        "lr": AT_LEAST_ZERO,
        "lambd": NUMBER,
        "alpha": NUMBER,
        "t0": NUMBER,
        "weight_decay": AT_LEAST_ZERO,
        "maximize": FLAG,
    }
    kept: ClassVar = {"step": COUNT, "eta": number("lr"), "mu": number(1.0), "ax": ALIKE}
    op = ops.asgd_step

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, self._chosen(locals()))
