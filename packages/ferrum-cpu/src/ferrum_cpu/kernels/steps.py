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


def _kind(name: str, *needed: str) -> Any:
    """Return the kernel of an op that is a kind of the table in C.

    `needed` are the options that switch on the last of its lists: each is empty without its option.
    """
    kind = getattr(lib, f"STEP_{name.upper()}")
    size = -len(needed) or None

    def step(
        params: list[Any],
        grads: list[Any],
        *state: list[Any],
        lr: float,
        weight_decay: float,
        maximize: bool,
        **options: Any,
    ) -> Any:
        get = options.get
        count = len(params)
        lists = [grads, *state[:size]]
        for option, tensors in zip(needed, state[len(state) - len(needed) :], strict=True):
            if get(option, 0) > 0:
                lists.append(tensors)
            elif tensors:
                return NotImplemented
        if any(len(tensors) != count for tensors in lists):
            return NotImplemented
        arrays = [*params]
        for tensors in lists:
            arrays += tensors
        if set(map(type, arrays)) != _ARRAYS:
            return NotImplemented
        alpha = get("alpha", get("rho", 0.0))
        code = lib.kind_step(
            kind,
            list(map(id, arrays)),
            count,
            len(lists) - 1,
            lr,
            *get("betas", (alpha, alpha)),
            get("eps", 0.0),
            weight_decay,
            get("momentum", get("momentum_decay", get("lr_decay", 0.0))),
            get("centered", False),
            maximize,
            get("decoupled_weight_decay", name == "lion"),
        )
        return NotImplemented if code else None

    return step


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    return {
        "nn.sgd_step": Kernel(sgd_step, checked=True),
        "nn.adam_step": Kernel(adam_step, checked=True),
        "nn.rmsprop_step": Kernel(_kind("rmsprop", "momentum", "centered"), checked=True),
        **{
            f"nn.{name}_step": Kernel(_kind(name), checked=True)
            for name in ("adadelta", "adagrad", "adamax", "lion", "nadam", "radam")
        },
    }
