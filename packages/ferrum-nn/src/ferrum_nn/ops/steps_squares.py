"""The steps that scale a gradient by the squares of those before: RMSprop, Adagrad, Adadelta."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ferrum import Spec, writes
from ferrum.dtypes import float32, float64
from ferrum.errors import ShapeError
from ferrum_nn.ops.stepping import Many, alike, counts, decayed, moves, refused, used

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


@writes("params", "steps", "square_avgs", "momenta", "grad_avgs", ulp=4, scale=4.0)
def rmsprop_step(
    params: Many,
    grads: Many,
    steps: Many,
    square_avgs: Many,
    momenta: Many,
    grad_avgs: Many,
    *,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
    maximize: bool,
) -> tuple[Spec, ...]:
    """Move every parameter one step of RMSprop.

    `momenta` is empty if `momentum` is 0, and `grad_avgs` unless `centered`; `steps` are counted
    up. g ← grad + weight_decay param;  v ← alpha v + (1 - alpha) g²;  a ← a + (1 - alpha)(g - a);
    d = g / (√v + eps), or g / (√(v - a²) + eps) if `centered`;
    param ← param - lr d, or m ← momentum m + d;  param ← param - lr m.
    """
    name = "rmsprop_step"
    counts(name, params, steps)
    return alike(
        name,
        params,
        grads=grads,
        square_avgs=square_avgs,
        momenta=used(name, "momenta", momenta, momentum > 0),
        grad_avgs=used(name, "grad_avgs", grad_avgs, centered),
    )


@moves(rmsprop_step)
def _(
    p: Tensor,
    g: Tensor,
    step: Tensor,
    v: Tensor,
    *others: Tensor,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
) -> tuple[Tensor, ...]:
    p, g = decayed(p, g, lr, weight_decay, False)
    v = v * alpha + g * g * (1 - alpha)
    averages = [old + (g - old) * (1 - alpha) for old in others[momentum > 0 :]]
    spread = v - averages[0] * averages[0] if centered else v
    move = g / (spread.sqrt() + eps)
    if momentum > 0:
        move = others[0] * momentum + move
        return p - move * lr, step + 1, v, move, *averages
    return p - move * lr, step + 1, v, *averages


@rmsprop_step.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {
        "lr": 0.1,
        "alpha": 0.9,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum": 0.0,
        "centered": False,
        "maximize": False,
    }
    heavy = {**attrs, "momentum": 0.9, "weight_decay": 0.1}
    centered = {**heavy, "centered": True, "maximize": True}
    one, two = s.typed(float32), s.typed(float32)
    shapes = (3, 4), ()
    params, grads = ([s.real(*shape) for shape in shapes] for _ in range(2))
    v = [s.positive(*shape) for shape in shapes]
    yield s(params, grads, [one, two], v, [], [], **attrs)
    p, g, m, a = s.real(3), s.real(3), s.real(3), s.real(3, low=-0.1, high=0.1)
    w = s.real(3, low=1.0, high=3.0)
    yield s([p], [g], [one], [w], [m], [], **heavy)
    yield s([p], [g], [one], [w], [m], [a], **centered)
    yield s([p], [g], [one], [w], [], [a], **{**centered, "momentum": 0.0})
    none = s.real(0, 2)
    yield s([none], [none], [one], [none], [none], [], **heavy)
    yield s.bad(ShapeError, [p], [g], [one], [w], [m], [a], **heavy)
    yield from refused(s, [[p], [g], [one], [w], [m], [a]], 1, **centered)


# ---- Adagrad


@writes("params", "steps", "sums", ulp=4, scale=4.0)
def adagrad_step(
    params: Many,
    grads: Many,
    steps: Many,
    sums: Many,
    *,
    lr: float,
    lr_decay: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> tuple[Spec, ...]:
    """Move every parameter one step of Adagrad. `steps` are counted up; t is the new count.

    g ← grad + weight_decay param;  s ← s + g²;
    param ← param - lr / (1 + (t - 1) lr_decay) g / (√s + eps).
    """
    counts("adagrad_step", params, steps)
    return alike("adagrad_step", params, grads=grads, sums=sums)


@moves(adagrad_step)
def _(
    p: Tensor,
    g: Tensor,
    step: Tensor,
    total: Tensor,
    *,
    lr: float,
    lr_decay: float,
    eps: float,
    weight_decay: float,
) -> tuple[Tensor, ...]:
    p, g = decayed(p, g, lr, weight_decay, False)
    rate = lr / (step.to(float64) * lr_decay + 1)
    total = total + g * g
    return p - g / (total.sqrt() + eps) * rate.to(p.dtype), step + 1, total


@adagrad_step.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {"lr": 0.1, "lr_decay": 0.0, "eps": 1e-8, "weight_decay": 0.0, "maximize": False}
    decaying = {**attrs, "lr_decay": 0.2, "weight_decay": 0.1, "maximize": True}
    one, two = s.typed(float32), s.typed(float32)
    shapes = (3, 4), ()
    params, grads = ([s.real(*shape) for shape in shapes] for _ in range(2))
    yield s(params, grads, [one, two], [s.positive(*shape) for shape in shapes], **attrs)
    p, g, total = s.real(3), s.real(3), s.positive(3)
    yield s([p], [g], [one], [total], **decaying)
    none = s.real(0, 2)
    yield s([none], [none], [one], [none], **attrs)
    yield from refused(s, [[p], [g], [one], [total]], 1, **attrs)


# ---- Adadelta


@writes("params", "steps", "square_avgs", "acc_deltas", ulp=4, scale=4.0)
def adadelta_step(
    params: Many,
    grads: Many,
    steps: Many,
    square_avgs: Many,
    acc_deltas: Many,
    *,
    lr: float,
    rho: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> tuple[Spec, ...]:
    """Move every parameter one step of Adadelta. `steps` are counted up.

    g ← grad + weight_decay param;  v ← rho v + (1 - rho) g²;  d = g √(u + eps) / √(v + eps);
    u ← rho u + (1 - rho) d²;  param ← param - lr d.
    """
    counts("adadelta_step", params, steps)
    return alike(
        "adadelta_step", params, grads=grads, square_avgs=square_avgs, acc_deltas=acc_deltas
    )


@moves(adadelta_step)
def _(
    p: Tensor,
    g: Tensor,
    step: Tensor,
    v: Tensor,
    u: Tensor,
    *,
    lr: float,
    rho: float,
    eps: float,
    weight_decay: float,
) -> tuple[Tensor, ...]:
    p, g = decayed(p, g, lr, weight_decay, False)
    v = v * rho + g * g * (1 - rho)
    move = (u + eps).sqrt() / (v + eps).sqrt() * g
    return p - move * lr, step + 1, v, u * rho + move * move * (1 - rho)


@adadelta_step.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "maximize": False}
    one, two = s.typed(float32), s.typed(float32)
    shapes = (3, 4), ()
    params, grads = ([s.real(*shape) for shape in shapes] for _ in range(2))
    v, u = ([s.positive(*shape) for shape in shapes] for _ in range(2))
    yield s(params, grads, [one, two], v, u, **attrs)
    p, g, v1, u1 = s.real(3), s.real(3), s.positive(3), s.positive(3)
    yield s([p], [g], [one], [v1], [u1], **{**attrs, "weight_decay": 0.1, "maximize": True})
    none = s.real(0, 2)
    yield s([none], [none], [one], [none], [none], **attrs)
    yield from refused(s, [[p], [g], [one], [v1], [u1]], 1, **attrs)
