"""Adafactor."""

from __future__ import annotations

from typing import ClassVar

from ferrum import Tensor
from ferrum_nn import ops
from ferrum_nn.ops.steps_factors import column_shape, row_shape
from ferrum_nn.optim.kept import COUNT, Kept
from ferrum_nn.optim.optimizer import Optimizer, Params
from ferrum_nn.optim.options import (
    AT_LEAST_ONE,
    AT_LEAST_ZERO,
    AT_MOST_ZERO,
    FLAG,
    MAYBE_AND_AT_LEAST_ZERO,
)


class Adafactor(Optimizer):
    """Adafactor (arXiv:1804.04235), which keeps n + m numbers for a matrix of n m.

    With the gradient g (negated by `maximize`) of a parameter p, at its step number t, with
    w = t^beta2_decay and the root mean square RMS:
    α = max(eps₂, RMS(p)) min(lr, 1 / √t);  p ← p - lr weight_decay p;
    r ← (1 - w) r + w mean(g², last axis);  c ← (1 - w) c + w mean(g², last axis but one);
    v = r c / max(mean(r, last axis but one), eps₁);  u = g / max(√v, eps₁);
    p ← p - α u / max(1, RMS(u) / d).
    A parameter of fewer than two axes has v ← (1 - w) v + w g² instead. An eps₁ of None is the
    machine epsilon of p's dtype. The state is `step`, t as a 0-d tensor, and `row_var`, r, and
    `col_var`, c, or else `variance`, v.
    """

    options: ClassVar = {
        "lr": AT_LEAST_ZERO,
        "beta2_decay": AT_MOST_ZERO,
        "eps": MAYBE_AND_AT_LEAST_ZERO,
        "d": AT_LEAST_ONE,
        "weight_decay": AT_LEAST_ZERO,
        "maximize": FLAG,
    }
    kept: ClassVar = {
        "step": COUNT,
        "row_var": Kept(shape_of=row_shape),
        "col_var": Kept(shape_of=column_shape),
        "variance": Kept(shape_of=lambda shape: shape if len(shape) < 2 else None),
    }
    op = ops.adafactor_step

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, self._chosen(locals()))
