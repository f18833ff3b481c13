"""Lion."""

from __future__ import annotations

from typing import ClassVar

from ferrum import Tensor
from ferrum_nn import ops
from ferrum_nn.optim.kept import ALIKE
from ferrum_nn.optim.optimizer import Optimizer, Params
from ferrum_nn.optim.options import AT_LEAST_ZERO, BETAS, FLAG


class Lion(Optimizer):
    """Lion (arXiv:2302.06675, algorithm 2), which moves each element by lr.

    With the gradient g (negated by `maximize`) of a parameter p:
    p ← p - lr weight_decay p;  p ← p - lr sign(β₁ m + (1 - β₁) g);  m ← β₂ m + (1 - β₂) g.
    The state is `exp_avg`, m. PyTorch has no Lion; the defaults are those of the paper's authors.
    """

    options: ClassVar = {
        "lr": AT_LEAST_ZERO,
        "betas": BETAS,
        "weight_decay": AT_LEAST_ZERO,
        "maximize": FLAG,
    }
    kept: ClassVar = {"exp_avg": ALIKE}
    op = ops.lion_step

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, self._chosen(locals()))
