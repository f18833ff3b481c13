"""RMSprop."""

from __future__ import annotations

from typing import ClassVar

from ferrum import Tensor
from ferrum_nn import ops
from ferrum_nn.optim.kept import ALIKE, COUNT, Kept
from ferrum_nn.optim.optimizer import Optimizer, Params
from ferrum_nn.optim.options import AT_LEAST_ZERO, FLAG


class RMSprop(Optimizer):
    """RMSprop (Hinton, lecture 6 of *Neural Networks for Machine Learning*, 2012).

    With the gradient g (negated by `maximize`) of a parameter p:
    g ← g + weight_decay p;  v ← alpha v + (1 - alpha) g²;  d = g / (√v + eps);  p ← p - lr d.
    With `centered`, a ← a + (1 - alpha)(g - a) and v - a² is in the place of v (arXiv:1308.0850);
    with `momentum`, b ← momentum b + d is in the place of d. The state is `step`; `square_avg`, v;
    `momentum_buffer`, b; and `grad_avg`, a.
    """

    options: ClassVar = {
        "lr": AT_LEAST_ZERO,
        "momentum": AT_LEAST_ZERO,
        "alpha": AT_LEAST_ZERO,
        "eps": AT_LEAST_ZERO,
        "centered": FLAG,
        "weight_decay": AT_LEAST_ZERO,
        "maximize": FLAG,
    }
    kept: ClassVar = {
        "step": COUNT,
        "square_avg": ALIKE,
        "momentum_buffer": Kept("momentum"),
        "grad_avg": Kept("centered"),
    }
    op = ops.rmsprop_step

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, self._chosen(locals()))
