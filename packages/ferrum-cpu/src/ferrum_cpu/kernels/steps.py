"""Optimizers' steps: one call into C moves all parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from ferrum.backend import Kernel
from ferrum_cpu.library import lib

_ARRAYS = {np.ndarray}


def sgd_step(
    params: list[Any],
    grads: list[Any],
    momenta: list[Any],
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> Any:
    """Move every parameter one step of gradient descent."""
    count = len(params)
    if len(grads) != count or len(momenta) != (count if momentum else 0):
        return NotImplemented
    arrays = [*params, *grads, *momenta]
    if set(map(type, arrays)) != _ARRAYS:
        return NotImplemented
    code = lib.sgd_step(
        list(map(id, arrays)),
        count,
        lr,
        momentum,
        dampening,
        weight_decay,
        nesterov,
        maximize,
    )
    return NotImplemented if code else None


def adam_step(
    params: list[Any],
    grads: list[Any],
    steps: list[Any],
    exp_avgs: list[Any],
    exp_avg_sqs: list[Any],
    max_exp_avg_sqs: list[Any],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    amsgrad: bool,
    maximize: bool,
    decoupled_weight_decay: bool,
) -> Any:
    """Move every parameter one step of Adam."""
    count = len(params)
    if not len(grads) == len(steps) == len(exp_avgs) == len(exp_avg_sqs) == count or len(
        max_exp_avg_sqs
    ) != (count if amsgrad else 0):
        return NotImplemented
    arrays = [*params, *grads, *steps, *exp_avgs, *exp_avg_sqs, *max_exp_avg_sqs]
    if set(map(type, arrays)) != _ARRAYS:
        return NotImplemented
    code = lib.adam_step(
        list(map(id, arrays)),
        count,
        lr,
        *betas,
        eps,
        weight_decay,
        amsgrad,
        maximize,
        decoupled_weight_decay,
    )
    return NotImplemented if code else None


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    return {
        "nn.sgd_step": Kernel(sgd_step, checked=True),
        "nn.adam_step": Kernel(adam_step, checked=True),
    }
