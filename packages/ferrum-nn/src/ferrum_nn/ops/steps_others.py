"""The steps by signs, of Lion and Rprop, and that of averaged gradient descent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ferrum import Spec, where, writes
from ferrum.dtypes import float32, float64
from ferrum_nn.ops.stepping import Many, alike, counts, decayed, moves, refused

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


@writes("params", "exp_avgs", ulp=4, scale=4.0)
def lion_step(
    params: Many,
    grads: Many,
    exp_avgs: Many,
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    maximize: bool,
) -> tuple[Spec, ...]:
    """Move every parameter one step of Lion.

    param ← param - lr weight_decay param;  param ← param - lr sign(β₁ m + (1 - β₁) grad);
    m ← β₂ m + (1 - β₂) grad.
    """
    return alike("lion_step", params, grads=grads, exp_avgs=exp_avgs)


@moves(lion_step)
def _(
    p: Tensor, g: Tensor, m: Tensor, *, lr: float, betas: tuple[float, float], weight_decay: float
) -> tuple[Tensor, ...]:
    beta1, beta2 = betas
    p, g = decayed(p, g, lr, weight_decay, True)
    return p - (m * beta1 + g * (1 - beta1)).sign() * lr, m * beta2 + g * (1 - beta2)


@lion_step.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.0, "maximize": False}
    shapes = (3, 4), ()
    params, grads, m = ([s.real(*shape) for shape in shapes] for _ in range(3))
    yield s(params, grads, m, **attrs)
    p, g, m1 = s.real(3), s.real(3), s.real(3)
    yield s([p], [g], [m1], **{**attrs, "weight_decay": 0.1, "maximize": True})
    none = s.real(0, 2)
    yield s([none], [none], [none], **attrs)
    yield from refused(s, [[p], [g], [m1]], 0, **attrs)


# ---- Rprop


@writes("params", "steps", "prevs", "step_lengths", ulp=4, scale=4.0)
def rprop_step(
    params: Many,
    grads: Many,
    steps: Many,
    prevs: Many,
    step_lengths: Many,
    *,
    lr: float,
    etas: tuple[float, float],
    step_sizes: tuple[float, float],
    maximize: bool,
) -> tuple[Spec, ...]:
    """Move every parameter one step of Rprop. `steps` are counted up; `lr` is not used.

    Each element's step length is multiplied by the larger of `etas` where the gradient has the
    sign of the one before, `prev`, and by the smaller where it has the other, and is kept within
    `step_sizes`; where the sign has changed, the gradient counts as 0. Then
    param ← param - sign(grad) length;  prev ← grad.
    """
    counts("rprop_step", params, steps)
    return alike("rprop_step", params, grads=grads, prevs=prevs, step_lengths=step_lengths)


@moves(rprop_step)
def _(
    p: Tensor,
    g: Tensor,
    step: Tensor,
    prev: Tensor,
    length: Tensor,
    *,
    lr: float,
    etas: tuple[float, float],
    step_sizes: tuple[float, float],
) -> tuple[Tensor, ...]:
    agreed = g * prev
    turned = agreed < 0
    longer = where(agreed > 0, length * etas[1], where(turned, length * etas[0], length))
    length = longer.clamp(*step_sizes)
    g = where(turned, 0.0, g)
    return p - g.sign() * length, step + 1, g, length


@rprop_step.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {"lr": 0.1, "etas": (0.5, 1.2), "step_sizes": (0.3, 2.9), "maximize": False}
    one, two = s.typed(float32), s.typed(float32)
    shapes = (3, 4), ()
    params, grads, prevs = ([s.real(*shape) for shape in shapes] for _ in range(3))
    yield s(params, grads, [one, two], prevs, [s.positive(*shape) for shape in shapes], **attrs)
    p, g, prev, length = s.real(3), s.real(3), s.real(3), s.positive(3)
    yield s([p], [g], [one], [prev], [length], **{**attrs, "maximize": True})
    none = s.real(0, 2)
    yield s([none], [none], [one], [none], [none], **attrs)
    yield from refused(s, [[p], [g], [one], [prev], [length]], 1, **attrs)


# ---- averaged gradient descent


@writes("params", "steps", "rates", "mus", "averages", ulp=4, scale=4.0)
def asgd_step(
    params: Many,
    grads: Many,
    steps: Many,
    rates: Many,
    mus: Many,
    averages: Many,
    *,
    lr: float,
    lambd: float,
    alpha: float,
    t0: float,
    weight_decay: float,
    maximize: bool,
) -> tuple[Spec, ...]:
    """Move every parameter one step of averaged gradient descent.

    `steps`, `rates` and `mus` are 0-d. With the rate η and the weight μ of the step before, and t
    the new count, g ← grad + weight_decay param;  param ← param - lambd η param - η g;
    a ← a + μ (param - a);  η ← lr / (1 + lambd lr t)^alpha;  μ ← 1 / max(1, t - t0).
    """
    for numbers in (steps, rates, mus):
        counts("asgd_step", params, numbers)
    return alike("asgd_step", params, grads=grads, averages=averages)


@moves(asgd_step)
def _(
    p: Tensor,
    g: Tensor,
    step: Tensor,
    rate: Tensor,
    mu: Tensor,
    average: Tensor,
    *,
    lr: float,
    lambd: float,
    alpha: float,
    t0: float,
    weight_decay: float,
) -> tuple[Tensor, ...]:
    p, g = decayed(p, g, lr, weight_decay, False)
    eta = rate.to(float64)
    p = p * (1 - eta * lambd).to(p.dtype) - g * eta.to(p.dtype)
    average = where(mu == 1, p, average + (p - average) * mu.to(p.dtype))
    step = step + 1
    count = step.to(float64)
    rate = lr / (count * (lambd * lr) + 1) ** alpha
    return p, step, rate, 1 / (count - t0).clamp(min=1), average


@asgd_step.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {
        "lr": 0.1,
        "lambd": 0.01,
        "alpha": 0.75,
        "t0": 1e6,
        "weight_decay": 0.0,
        "maximize": False,
    }
    one, two = s.typed(float32), s.typed(float32)
    half = replace(s.real(low=0.75, high=0.75), dtype=float32)
    shapes = (3, 4), ()
    params, grads, averages = ([s.real(*shape) for shape in shapes] for _ in range(3))
    yield s(params, grads, [one, two], [half, one], [two, half], averages, **attrs)
    p, g, a = s.real(3), s.real(3), s.real(3)
    attrs |= {"weight_decay": 0.1, "maximize": True, "t0": -2.0}
    yield s([p], [g], [one], [half], [half], [a], **attrs)
    none = s.real(0, 2)
    yield s([none], [none], [one], [half], [half], [none], **attrs)
    yield from refused(s, [[p], [g], [one], [half], [half], [a]], 3, **attrs)
