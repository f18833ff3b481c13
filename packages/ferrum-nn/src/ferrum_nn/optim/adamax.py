"""Adamax."""

from __future__ import annotations

from typing import ClassVar

from ferrum import Tensor
from ferrum_nn import ops
from ferrum_nn.optim.kept import ALIKE, COUNT
from ferrum_nn.optim.optimizer import Optimizer, Params
from ferrum_nn.optim.options import AT_LEAST_ZERO, BETAS, FLAG


class Adamax(Optimizer):
    """Adamax (arXiv:1412.6980, section 7.1).

    With the gradient g (negated by `maximize`) of a parameter p, at its step number t:
    g ← g + weight_decay p;  m ← β₁ m + (1 - β₁) g;  u ← max(β₂ u, |g| + eps);
    p ← p - lr / (1 - β₁ᵗ) m / u.
    The state is `step`, t as a 0-d tensor; `exp_avg`, m; and `exp_inf`, u.
    """

    options: ClassVar = {
        "lr": AT_LEAST_ZERO,
        "betas": BETAS,
        "eps": AT_LEAST_ZERO,
        "weight_decay": AT_LEAST_ZERO,
        "maximize": FLAG,
    }
    kept: ClassVar = {"step": COUNT, "exp_avg": ALIKE, "exp_inf": ALIKE}
    op = ops.adamax_step

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, self._chosen(locals()))
