"""Adam."""

from __future__ import annotations

from typing import Any

from ferrum import Tensor, float32, zeros, zeros_like
from ferrum.errors import ArgumentError
from ferrum_nn import ops
from ferrum_nn.optim.optimizer import Group, Optimizer, Params, at_least_zero, grads_of


class Adam(Optimizer):
    """Adam (arXiv:1412.6980), with AMSGrad's largest v (openreview ryQu7f-RZ) if `amsgrad`.

    With the gradient g (negated by `maximize`) of a parameter p, at its step number t:
    g ← g + weight_decay p;  m ← β₁ m + (1 - β₁) g;  v ← β₂ v + (1 - β₂) g²;
    p ← p - lr m / (1 - β₁ᵗ) / (√(v / (1 - β₂ᵗ)) + eps).
    With `decoupled_weight_decay` p shrinks by lr weight_decay p instead (AdamW, arXiv:1711.05101).
    The state is `step`, t as a 0-d tensor; `exp_avg`, m; `exp_avg_sq`, v; and `max_exp_avg_sq`.
    """

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
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        """Raise ArgumentError if an option of `group` makes no sense."""
        at_least_zero("Adam", group, "lr", "eps", "weight_decay")
        for beta in group["betas"]:
            if not 0 <= beta < 1:
                raise ArgumentError(f"Adam: expected betas from 0 up to 1, got {group['betas']}")

    def update(self, params: list[Tensor], group: Group) -> None:
        """Move `params`."""
        amsgrad = group["amsgrad"]
        states = [self.state[param] or self._started(param, amsgrad) for param in params]
        beta1, beta2 = group["betas"]
        ops.adam_step(
            params,
            grads_of(params),
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["max_exp_avg_sq"] for state in states] if amsgrad else [],
            [state["step"] for state in states],
            lr=float(group["lr"]),
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled_weight_decay=group["decoupled_weight_decay"],
            maximize=group["maximize"],
        )

    def _started(self, param: Tensor, amsgrad: bool) -> dict[str, Any]:
        state = self.state[param]
        state["step"] = zeros((), dtype=float32, device=param.device)
        for name in ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if amsgrad else [])):
            state[name] = zeros_like(param)
        return state
