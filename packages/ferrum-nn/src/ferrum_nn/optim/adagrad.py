"""Adagrad."""

from __future__ import annotations

from typing import ClassVar

from ferrum import Tensor, full_like
from ferrum_nn import ops
from ferrum_nn.optim.kept import ALIKE, COUNT
from ferrum_nn.optim.optimizer import Optimizer, Options, Params
from ferrum_nn.optim.options import AT_LEAST_ZERO, FLAG


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, JMLR 12, 2011).

    With the gradient g (negated by `maximize`) of a parameter p, at its step number t:
    g ← g + weight_decay p;  s ← s + g²;  p ← p - lr / (1 + (t - 1) lr_decay) g / (√s + eps).
    The state is `step`, t as a 0-d tensor, and `sum`, s, which is `initial_accumulator_value`
    before a first step: the one given to the constructor, in all groups.
    """

    options: ClassVar = {
        "lr": AT_LEAST_ZERO,
        "lr_decay": AT_LEAST_ZERO,
        "eps": AT_LEAST_ZERO,
        "weight_decay": AT_LEAST_ZERO,
        "initial_accumulator_value": AT_LEAST_ZERO,
        "maximize": FLAG,
    }
    kept: ClassVar = {"step": COUNT, "sum": ALIKE}
    op = ops.adagrad_step

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, self._chosen(locals()))

    def update(self, params: list[Tensor], grads: list[Tensor], options: Options) -> None:
        """Move `params`. The op has no use for the value that sums begin with."""
        known = {k: v for k, v in options.items() if k != "initial_accumulator_value"}
        super().update(params, grads, known)

    def start(self, name: str, param: Tensor, options: Options) -> Tensor | None:
        """Return what is kept as `name` before a first step."""
        if name == "sum":
            return full_like(param, float(self.defaults["initial_accumulator_value"]))
        return super().start(name, param, options)
