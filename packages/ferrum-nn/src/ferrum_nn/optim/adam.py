"""Adam."""

from __future__ import annotations

from typing import ClassVar

from ferrum import Tensor
from ferrum_nn import ops
from ferrum_nn.optim.kept import ALIKE, COUNT, Kept
from ferrum_nn.optim.optimizer import Optimizer, Params
from ferrum_nn.optim.options import AT_LEAST_ZERO, BETAS, FLAG


class Adam(Optimizer):
    """Adam (arXiv:1412.6980), with AMSGrad's largest v (openreview ryQu7f-RZ) if `amsgrad`.

    With the gradient g (negated by `maximize`) of a parameter p, at its step number t:
    g ← g + weight_decay p;  m ← β₁ m + (1 - β₁) g;  v ← β₂ v + (1 - β₂) g²;
    p ← p - lr m / (1 - β₁ᵗ) / (√(v / (1 - β₂ᵗ)) + eps).
    With `decoupled_weight_decay` p shrinks by lr weight_decay p instead (AdamW, arXiv:1711.05101).
    The state is `step`, t as a 0-d tensor; `exp_avg`, m; `exp_avg_sq`, v; and `max_exp_avg_sq`.
    """

    options: ClassVar = {
        "lr": AT_LEAST_ZERO,
        "betas": BETAS,
        "eps": AT_LEAST_ZERO,
        "weight_decay": AT_LEAST_ZERO,
        "amsgrad": FLAG,
        "maximize": FLAG,
        "decoupled_weight_decay": FLAG,
    }
    kept: ClassVar = {
        "step": COUNT,
        "exp_avg": ALIKE,
        "exp_avg_sq": ALIKE,
        "max_exp_avg_sq": Kept("amsgrad"),
    }
    op = ops.adam_step

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(params, self._chosen(locals()))
