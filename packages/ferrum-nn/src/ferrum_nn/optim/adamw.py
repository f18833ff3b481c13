"""AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ferrum import Tensor
from ferrum_nn.optim.adam import Adam
from ferrum_nn.optim.optimizer import Params


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter by lr weight_decay (arXiv:1711.05101).

    This is `Adam` with `decoupled_weight_decay`, and other defaults.
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
        )

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a copy of `state_dict`; an Adam's goes on with this class's weight decay."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
