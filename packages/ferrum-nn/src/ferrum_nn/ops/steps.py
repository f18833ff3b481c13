"""The ops of optimizers: one call moves all parameters of a group.

They take lists, one entry per parameter, and write into them: the parameters, their gradients, and
what the optimizer keeps for them, in the order of its `kept`; a list is empty where an option has
switched it off. The attributes are the optimizer's options. Everything that may change between two
calls is an operand or an attribute, so a call depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf, log
from typing import TYPE_CHECKING, Any, TypeAlias

from ferrum import Spec, TensorLike, is_grad_enabled, maximum, writes
from ferrum.dtypes import float32, int64, is_floating
from ferrum.errors import DTypeError, ShapeError

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler

Many: TypeAlias = Sequence[TensorLike]


def _alike(name: str, params: Many, **others: Many | None) -> tuple[Spec, ...]:
    """Check that each list of `others` that is there has a tensor like each parameter."""
    for what, tensors in others.items():
        if tensors is None:
            continue
        _as_many(name, params, what, tensors)
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


def _counts(name: str, params: Many, steps: Many) -> None:
    """Check that there is a 0-d floating-point count of steps for each parameter."""
    if any(step.shape != () or not is_floating(step.dtype) for step in steps):
        raise ShapeError(f"{name}: expected steps that are 0-d floating-point tensors")
    _as_many(name, params, "steps", steps)


def _as_many(name: str, params: Many, what: str, tensors: Many) -> None:
    if len(tensors) != len(params):
        raise ShapeError(
            f"{name}: expected as many {what} as params, got {len(tensors)} for {len(params)}"
        )


def _each(
    move: Callable[..., tuple[Tensor, ...]],
    params: list[Tensor],
    grads: list[Tensor],
    *state: list[Tensor],
    maximize: bool,
) -> Any:
    """Write into each parameter and its state what `move` makes of them and the gradient.

    `move(param, grad, *state)` returns the new parameter and the new state. An empty list stands
    for what is switched off. 16-bit floats are moved in float32 and rounded as they are written.
    """
    kept = [tensors for tensors in state if tensors]
    for param, grad, *others in zip(params, grads, *kept, strict=True):
        g = _wide(grad)
        written = [param, *others]
        p, *old = map(_wide, written)
        new = move(p, -g if maximize else g, *old)
        for tensor, value in zip(written, new, strict=True):
            tensor.copy_(value)
    return tuple(params)


def _wide(x: Tensor) -> Tensor:
    """Return x as it is before it is written, with 16-bit floats in float32 until the end."""
    if x.dtype.itemsize == 2:
        return x.to(float32)
    return x.clone() if is_grad_enabled() else x  # backward may ask for it


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
    return _alike("sgd_step", params, grads=grads, momenta=used)


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

    return _each(move, params, grads, momenta if momentum else [], maximize=maximize)


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
    _counts("adam_step", params, steps)
    return _alike(
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
        largest = tuple([maximum(each, v) for each in largest])
        count = step.to(p.dtype)
        less1, less2 = _power_less_one(beta1, count), _power_less_one(beta2, count)
        scale = (largest[0] if largest else v).sqrt() / (-less2).sqrt() + eps
        return p + m / scale * (lr / less1), step, m, v, *largest

    largest = max_exp_avg_sqs if amsgrad else []
    return _each(move, params, grads, steps, exp_avgs, exp_avg_sqs, largest, maximize=maximize)


def _power_less_one(beta: float, count: Tensor) -> Tensor:
    """Return beta**count - 1, exact also near 0, without waiting for the value of `count`."""
    return (count * (log(beta) if beta else -inf)).expm1()


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
    yield s.bad(ShapeError, [p], [s.real(4)], [one], [m1], [v1], [], **attrs)
    yield s.bad(ShapeError, [p], [g], [s.typed(float32, 1)], [m1], [v1], [], **attrs)
    yield s.bad(ShapeError, [p], [g], [one], [], [v1], [], **attrs)
    yield s.bad(ShapeError, [p], [g], [], [m1], [v1], [], **attrs)
    yield s.bad(ShapeError, [p], [g], [one], [m1], [v1], [], **{**attrs, "amsgrad": True})
    yield s.bad(TypeError, [], [], [], [], [], [], **attrs)
