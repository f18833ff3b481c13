"""RAdam."""

from __future__ import annotations

from typing import ClassVar

from ferrum import Tensor
from ferrum_nn import ops
from ferrum_nn.optim.kept import ALIKE, COUNT
from ferrum_nn.optim.optimizer import Optimizer, Params
from ferrum_nn.optim.options import AT_LEAST_ZERO, BETAS, FLAG


class RAdam(Optimizer):
    """Adam with a rectified variance (arXiv:1908.03265).

    With the gradient g (negated by `maximize`) of a parameter p, at its step number t:
    g ← g + weight_decay p;  m ← β₁ m + (1 - β₁) g;  v ← β₂ v + (1 - β₂) g²;
    ρ∞ = 2 / (1 - β₂) - 1;  ρ = ρ∞ - 2 t β₂ᵗ / (1 - β₂ᵗ);
    p ← p - lr / (1 - β₁ᵗ) m, and if ρ > 5 that is multiplied by r √(1 - β₂ᵗ) / (√v + eps) with
    r² = (ρ - 4)(ρ - 2) ρ∞ / ((ρ∞ - 4)(ρ∞ - 2) ρ).
    With `decoupled_weight_decay` p shrinks by lr weight_decay p instead (AdamW, arXiv:1711.05101).
    The state is `step`, t as a 0-d tensor; `exp_avg`, m; and `exp_avg_sq`, v.
    """

    options: ClassVar = {
        "lr": AT_LEAST_ZERO,
        "betas": BETAS,
        "eps": AT_LEAST_ZERO,
        "weight_decay": AT_LEAST_ZERO,
        "maximize": FLAG,
        "decoupled_weight_decay": FLAG,
    }
    kept: ClassVar = {"step": COUNT, "exp_avg": ALIKE, "exp_avg_sq": ALIKE}
    op = ops.radam_step

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, self._chosen(locals()))
