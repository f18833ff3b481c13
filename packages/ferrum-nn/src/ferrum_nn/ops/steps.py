"""The ops of optimizers: one call moves all parameters of a group.

They take lists, one entry per parameter, and write into them: the parameters, their gradients, and
what the optimizer keeps for them, in the order of its `kept`; a list is empty where an option has
switched it off. The attributes are the optimizer's options. Everything that may change between two
calls is an operand or an attribute, so a call depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ferrum import Spec, maximum, writes
from ferrum.dtypes import float32, int64
from ferrum.errors import DTypeError, ShapeError
from ferrum_nn.ops.stepping import Many, alike, counts, each, power_less_one, refused

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler

# ---- gradient descent


@writes("params", "momenta", ulp=4, scale=4.0)
def sgd_step(
    params: Many,
    grads: Many,
    momenta: Many,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> tuple[Spec, ...]:
    """Move every parameter one step of gradient descent. `momenta` is empty if `momentum` is 0.

    g ← grad + weight_decay param;  m ← momentum m + (1 - dampening) g;  param ← param - lr m, or
    - lr (g + momentum m) with `nesterov`, or - lr g without momentum.
    """
    used = momenta if momentum or momenta else None
    return alike("sgd_step", params, grads=grads, momenta=used)


@sgd_step.fallback
def _(
    params: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor],
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> Any:
    def move(p: Tensor, g: Tensor, *m: Tensor) -> tuple[Tensor, ...]:
        g = g + p * weight_decay if weight_decay else g
        if not m:
            return (p - g * lr,)
        new = m[0] * momentum + g * (1 - dampening)
        return p - (g + new * momentum if nesterov else new) * lr, new

    return each(move, params, grads, momenta if momentum else [], maximize=maximize)


@sgd_step.samples
def _(s: Sampler) -> Iterator[Sample]:
    plain = {
        "lr": 0.1,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "maximize": False,
    }
    heavy = {**plain, "momentum": 0.9, "weight_decay": 0.01}
    yield s([s.real(3, 4), s.real(4)], [s.real(3, 4), s.real(4)], [], **plain)
    yield s([s.real(3, 4), s.real()], [s.real(3, 4), s.real()], [s.real(3, 4), s.real()], **heavy)
    heavy |= {"nesterov": True, "maximize": True}
    yield s([s.real(3)], [s.real(3)], [s.real(3)], **heavy)
    heavy |= {"nesterov": False, "dampening": 0.3}
    yield s([s.real(0, 3)], [s.real(0, 3)], [s.real(0, 3)], **heavy)
    yield s.bad(ShapeError, [s.real(3)], [s.real(4)], [], **plain)
    yield s.bad(ShapeError, [s.real(3)], [s.real(3)], [], **heavy)
    yield s.bad(DTypeError, [s.typed(int64, 3)], [s.typed(int64, 3)], [], **plain)
    yield s.bad(TypeError, [], [], [], **plain)


# ---- Adam


@writes("params", "steps", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs", ulp=4, scale=4.0)
def adam_step(
    params: Many,
    grads: Many,
    steps: Many,
    exp_avgs: Many,
    exp_avg_sqs: Many,
    max_exp_avg_sqs: Many,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    amsgrad: bool,
    maximize: bool,
    decoupled_weight_decay: bool,
) -> tuple[Spec, ...]:
    """Move every parameter one step of Adam. `max_exp_avg_sqs` is empty unless `amsgrad`.

    `steps` are 0-d: how many steps each parameter has made, counted up here. With t the new count,
    g ← grad + weight_decay param;  m ← m + (1 - β₁)(g - m);  v ← β₂ v + (1 - β₂) g²;
    param ← param - lr / (1 - β₁ᵗ) m / (√v / √(1 - β₂ᵗ) + eps). AMSGrad takes the largest v so far.
    `decoupled_weight_decay` shrinks the parameter by lr weight_decay instead of adding to g.
    """
    counts("adam_step", params, steps)
    return alike(
        "adam_step",
        params,
        grads=grads,
        exp_avgs=exp_avgs,
        exp_avg_sqs=exp_avg_sqs,
        max_exp_avg_sqs=max_exp_avg_sqs if amsgrad or max_exp_avg_sqs else None,
    )


@adam_step.fallback
def _(
    params: list[Tensor],
    grads: list[Tensor],
    steps: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    max_exp_avg_sqs: list[Tensor],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    amsgrad: bool,
    maximize: bool,
    decoupled_weight_decay: bool,
) -> Any:
    beta1, beta2 = betas

    def move(
        p: Tensor, g: Tensor, step: Tensor, m: Tensor, v: Tensor, *largest: Tensor
    ) -> tuple[Tensor, ...]:
        if weight_decay and decoupled_weight_decay:
            p = p * (1 - lr * weight_decay)
        elif weight_decay:
            g = g + p * weight_decay
        step = step + 1
        m = m + (g - m) * (1 - beta1)
        v = v * beta2 + g * g * (1 - beta2)
        largest = tuple([maximum(old, v) for old in largest])
        count = step.to(p.dtype)
        less1, less2 = power_less_one(beta1, count), power_less_one(beta2, count)
        scale = (largest[0] if largest else v).sqrt() / (-less2).sqrt() + eps
        return p + m / scale * (lr / less1), step, m, v, *largest

    largest = max_exp_avg_sqs if amsgrad else []
    return each(move, params, grads, steps, exp_avgs, exp_avg_sqs, largest, maximize=maximize)


@adam_step.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {
        "lr": 0.1,
        "betas": (0.9, 0.99),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "amsgrad": False,
        "maximize": False,
        "decoupled_weight_decay": False,
    }
    one, two = s.typed(float32), s.typed(float32)
    shapes = (3, 4), ()
    params, grads, m = ([s.real(*shape) for shape in shapes] for _ in range(3))
    v = [s.positive(*shape) for shape in shapes]
    yield s(params, grads, [one, two], m, v, [], **attrs)
    p, g, m1, v1, v2 = s.real(3), s.real(3), s.real(3), s.positive(3), s.positive(3)
    attrs |= {"weight_decay": 0.1, "maximize": True}
    yield s([p], [g], [one], [m1], [v1], [v2], **{**attrs, "amsgrad": True})
    attrs["decoupled_weight_decay"] = True
    yield s([p], [g], [one], [m1], [v1], [], **attrs)
    none = s.real(0, 2)
    yield s([none], [none], [one], [none], [none], [], **attrs)
    yield from refused(s, [[p], [g], [one], [m1], [v1], [v2]], 1, **{**attrs, "amsgrad": True})
