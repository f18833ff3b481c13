"""The ops of optimizers: one call moves all parameters of a group.

They take lists, one entry per parameter, and write into them. Everything that may change between
two calls is an operand or an attribute, so a call depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, log
from typing import TYPE_CHECKING, Any, TypeAlias

from ferrum import Spec, TensorLike, is_grad_enabled, maximum, writes
from ferrum.dtypes import float32, int64, is_floating
from ferrum.errors import DTypeError, ShapeError

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler

Many: TypeAlias = Sequence[TensorLike]


def _alike(name: str, params: Many, **others: Many) -> tuple[Spec, ...]:
    """Check that each list of `others` has a tensor like each parameter."""
    for what, tensors in others.items():
        if len(tensors) != len(params):
            raise ShapeError(
                f"{name}: expected as many {what} as params, got {len(tensors)} for {len(params)}"
            )
        for each, param in zip(tensors, params, strict=True):
            if each.shape != param.shape:
                raise ShapeError(
                    f"{name}: expected {what} of the parameter's shape {param.shape}, got "
                    f"{each.shape}"
                )
            if each.dtype is not param.dtype or not is_floating(param.dtype):
                raise DTypeError(
                    f"{name}: expected {what} of the parameter's floating-point dtype, got "
                    f"{each.dtype.name} for {param.dtype.name}"
                )
    return tuple([Spec(param.shape, param.dtype) for param in params])


def _wide(x: Tensor) -> Tensor:
    """Return x as it is before it is written, with 16-bit floats in float32 until the end."""
    if x.dtype.itemsize == 2:
        return x.to(float32)
    return x.clone() if is_grad_enabled() else x  # backward may ask for it


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
    if momentum or momenta:
        return _alike("sgd_step", params, grads=grads, momenta=momenta)
    return _alike("sgd_step", params, grads=grads)


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
    for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
        p, g = _wide(param), _wide(grad)
        if maximize:
            g = -g
        if weight_decay:
            g = g + p * weight_decay
        if momentum:
            m = _wide(momenta[i]) * momentum + g * (1 - dampening)
            momenta[i].copy_(m)
            g = g + m * momentum if nesterov else m
        param.copy_(p - g * lr)
    return tuple(params)


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


@writes("params", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs", "steps", ulp=4, scale=4.0)
def adam_step(
    params: Many,
    grads: Many,
    exp_avgs: Many,
    exp_avg_sqs: Many,
    max_exp_avg_sqs: Many,
    steps: Many,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled_weight_decay: bool,
    maximize: bool,
) -> tuple[Spec, ...]:
    """Move every parameter one step of Adam. `max_exp_avg_sqs` is empty unless it is AMSGrad's.

    `steps` are 0-d: how many steps each parameter has made, counted up here. With t the new count,
    g ← grad + weight_decay param;  m ← m + (1 - β₁)(g - m);  v ← β₂ v + (1 - β₂) g²;
    param ← param - lr / (1 - β₁ᵗ) m / (√v / √(1 - β₂ᵗ) + eps). AMSGrad takes the largest v so far.
    `decoupled_weight_decay` shrinks the parameter by lr weight_decay instead of adding to g.
    """
    if any(step.shape != () or not is_floating(step.dtype) for step in steps):
        raise ShapeError("adam_step: expected steps that are 0-d floating-point tensors")
    if len(steps) != len(params):
        raise ShapeError(
            f"adam_step: expected as many steps as params, got {len(steps)} for {len(params)}"
        )
    state = {"grads": grads, "exp_avgs": exp_avgs, "exp_avg_sqs": exp_avg_sqs}
    if max_exp_avg_sqs:
        state["max_exp_avg_sqs"] = max_exp_avg_sqs
    return _alike("adam_step", params, **state)


@adam_step.fallback
def _(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    max_exp_avg_sqs: list[Tensor],
    steps: list[Tensor],
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled_weight_decay: bool,
    maximize: bool,
) -> Any:
    moments = zip(params, grads, exp_avgs, exp_avg_sqs, steps, strict=True)
    for i, (param, grad, exp_avg, exp_avg_sq, step) in enumerate(moments):
        step.copy_(step + 1)
        p, g = _wide(param), _wide(grad)
        if maximize:
            g = -g
        if weight_decay and decoupled_weight_decay:
            p = p * (1 - lr * weight_decay)
        elif weight_decay:
            g = g + p * weight_decay
        m, v = _wide(exp_avg), _wide(exp_avg_sq)
        m = m + (g - m) * (1 - beta1)
        v = v * beta2 + g * g * (1 - beta2)
        exp_avg.copy_(m)
        exp_avg_sq.copy_(v)
        if max_exp_avg_sqs:
            v = maximum(_wide(max_exp_avg_sqs[i]), v)
            max_exp_avg_sqs[i].copy_(v)
        count = step.to(p.dtype)
        less1, less2 = _power_less_one(beta1, count), _power_less_one(beta2, count)
        param.copy_(p + m / (v.sqrt() / (-less2).sqrt() + eps) * (lr / less1))
    return tuple(params)


def _power_less_one(beta: float, count: Tensor) -> Tensor:
    """Return beta**count - 1, exact also near 0, without waiting for the value of `count`."""
    return (count * (log(beta) if beta else -inf)).expm1()


@adam_step.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {
        "lr": 0.1,
        "beta1": 0.9,
        "beta2": 0.99,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "decoupled_weight_decay": False,
        "maximize": False,
    }
    one, two = s.typed(float32), s.typed(float32)
    shapes = (3, 4), ()
    params, grads, m = ([s.real(*shape) for shape in shapes] for _ in range(3))
    v = [s.positive(*shape) for shape in shapes]
    yield s(params, grads, m, v, [], [one, two], **attrs)
    p, g, m1, v1, v2 = s.real(3), s.real(3), s.real(3), s.positive(3), s.positive(3)
    attrs |= {"weight_decay": 0.1, "maximize": True}
    yield s([p], [g], [m1], [v1], [v2], [one], **attrs)
    attrs["decoupled_weight_decay"] = True
    yield s([p], [g], [m1], [v1], [], [one], **attrs)
    none = s.real(0, 2)
    yield s([none], [none], [none], [none], [], [one], **attrs)
    yield s.bad(ShapeError, [p], [s.real(4)], [m1], [v1], [], [one], **attrs)
    yield s.bad(ShapeError, [p], [g], [m1], [v1], [], [s.typed(float32, 1)], **attrs)
    yield s.bad(ShapeError, [p], [g], [], [v1], [], [one], **attrs)
    yield s.bad(ShapeError, [p], [g], [m1], [v1], [], [], **attrs)
    yield s.bad(TypeError, [], [], [], [], [], [], **attrs)
