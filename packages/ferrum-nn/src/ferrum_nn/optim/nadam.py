"""NAdam."""

from __future__ import annotations

from typing import ClassVar

from ferrum import Tensor
from ferrum_nn import ops
from ferrum_nn.optim.kept import ALIKE, COUNT, number
from ferrum_nn.optim.optimizer import Optimizer, Params
from ferrum_nn.optim.options import AT_LEAST_ZERO, BETAS, FLAG


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, openreview OM0jvwB8jIp57ZJjtNEZ, 2016).

    With the gradient g (negated by `maximize`) of a parameter p, at its step number t, and
    μₜ = β₁ (1 - 0.96^(t momentum_decay) / 2), the products of which up to t are Pₜ:
    g ← g + weight_decay p;  m ← β₁ m + (1 - β₁) g;  v ← β₂ v + (1 - β₂) g²;
    p ← p - lr ((1 - μₜ) g / (1 - Pₜ) + μₜ₊₁ m / (1 - Pₜ₊₁)) / (√(v / (1 - β₂ᵗ)) + eps).
    With `decoupled_weight_decay` p shrinks by lr weight_decay p instead (AdamW, arXiv:1711.05101).
    The state is `step`, t, and `mu_product`, Pₜ, as 0-d tensors; `exp_avg`, m; `exp_avg_sq`, v.
    """

    options: ClassVar = {
        "lr": AT_LEAST_ZERO,
        "betas": BETAS,
        "eps": AT_LEAST_ZERO,
        "weight_decay": AT_LEAST_ZERO,
        "momentum_decay": AT_LEAST_ZERO,
        "decoupled_weight_decay": FLAG,
        "maximize": FLAG,
    }
    kept: ClassVar = {
        "step": COUNT,
        "mu_product": number(1.0),  # a product of nothing
        "exp_avg": ALIKE,
        "exp_avg_sq": ALIKE,
    }
    op = ops.nadam_step

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, self._chosen(locals()))
