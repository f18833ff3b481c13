"""Rprop."""

from __future__ import annotations

from typing import ClassVar

from ferrum import Tensor
from ferrum_nn import ops
from ferrum_nn.optim.kept import ALIKE, COUNT, Kept
from ferrum_nn.optim.optimizer import Optimizer, Params
from ferrum_nn.optim.options import AT_LEAST_ZERO, ETAS, FLAG, TWO


class Rprop(Optimizer):
    """Resilient propagation (Riedmiller and Braun, ICNN 1993), for gradients of all the data.

    Each element of a parameter has a step length, lr at first. It is multiplied by the larger of
    `etas` where the gradient (negated by `maximize`) has the sign of the one before, and by the
    smaller where it has the other, and is kept within `step_sizes`. Then p ← p - sign(g) length,
    but where the sign has changed, g counts as 0.
    The state is `step`; `prev`, the gradient before; and `step_size`, the lengths.
    """

    options: ClassVar = {
        "lr": AT_LEAST_ZERO,
        "etas": ETAS,
        "step_sizes": TWO,
        "maximize": FLAG,
    }
    kept: ClassVar = {"step": COUNT, "prev": ALIKE, "step_size": Kept(begin="lr")}
    op = ops.rprop_step

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, self._chosen(locals()))
