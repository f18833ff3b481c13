"""The steps of Adam's kin: Adamax, NAdam, RAdam."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import log, sqrt
from typing import TYPE_CHECKING

from ferrum import Spec, maximum, where, writes
from ferrum.dtypes import float32, float64
from ferrum_nn.ops.stepping import Many, alike, counts, decayed, moves, power_less_one, refused

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


@writes("params", "steps", "exp_avgs", "exp_infs", ulp=4, scale=4.0)
def adamax_step(
    params: Many,
    grads: Many,
    steps: Many,
    exp_avgs: Many,
    exp_infs: Many,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> tuple[Spec, ...]:
    """Move every parameter one step of Adamax. `steps` are counted up; t is the new count.

    g ← grad + weight_decay param;  m ← m + (1 - β₁)(g - m);  u ← max(β₂ u, |g| + eps);
    param ← param - lr / (1 - β₁ᵗ) m / u.
    """
    counts("adamax_step", params, steps)
    return alike("adamax_step", params, grads=grads, exp_avgs=exp_avgs, exp_infs=exp_infs)


@moves(adamax_step)
def _(
    p: Tensor,
    g: Tensor,
    step: Tensor,
    m: Tensor,
    u: Tensor,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> tuple[Tensor, ...]:
    p, g = decayed(p, g, lr, weight_decay, False)
    step = step + 1
    m = m + (g - m) * (1 - betas[0])
    u = maximum(u * betas[1], g.abs() + eps)
    rate = lr / power_less_one(betas[0], step.to(float64))
    return p + m / u * rate.to(p.dtype), step, m, u


@adamax_step.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0, "maximize": False}
    one, two = s.typed(float32), s.typed(float32)
    shapes = (3, 4), ()
    params, grads, m = ([s.real(*shape) for shape in shapes] for _ in range(3))
    yield s(params, grads, [one, two], m, [s.positive(*shape) for shape in shapes], **attrs)
    p, g, m1, u1 = s.real(3), s.real(3), s.real(3), s.positive(3)
    yield s([p], [g], [one], [m1], [u1], **{**attrs, "weight_decay": 0.1, "maximize": True})
    none = s.real(0, 2)
    yield s([none], [none], [one], [none], [none], **attrs)
    yield from refused(s, [[p], [g], [one], [m1], [u1]], 1, **attrs)


# ---- NAdam


@writes("params", "steps", "mu_products", "exp_avgs", "exp_avg_sqs", ulp=4, scale=4.0)
def nadam_step(
    params: Many,
    grads: Many,
    steps: Many,
    mu_products: Many,
    exp_avgs: Many,
    exp_avg_sqs: Many,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    momentum_decay: float,
    maximize: bool,
    decoupled_weight_decay: bool,
) -> tuple[Spec, ...]:
    """Move every parameter one step of NAdam. `steps` are counted up; t is the new count.

    μ(t) = β₁ (1 - 0.96^(t momentum_decay) / 2), and `mu_products`, which are 0-d, are the products
    P ← P μ(t) of those so far.  g ← grad + weight_decay param;  m ← m + (1 - β₁)(g - m);
    v ← β₂ v + (1 - β₂) g²;
    param ← param - lr ((1 - μ(t)) g / (1 - P) + μ(t + 1) m / (1 - P μ(t + 1))) / d with
    d = √(v / (1 - β₂ᵗ)) + eps. `decoupled_weight_decay` shrinks the parameter by lr weight_decay
    instead of adding to g.
    """
    counts("nadam_step", params, steps)
    counts("nadam_step", params, mu_products)
    return alike("nadam_step", params, grads=grads, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs)


@moves(nadam_step)
def _(
    p: Tensor,
    g: Tensor,
    step: Tensor,
    product: Tensor,
    m: Tensor,
    v: Tensor,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    momentum_decay: float,
    decoupled_weight_decay: bool,
) -> tuple[Tensor, ...]:
    beta1, beta2 = betas
    p, g = decayed(p, g, lr, weight_decay, decoupled_weight_decay)
    step = step + 1
    m = m + (g - m) * (1 - beta1)
    v = v * beta2 + g * g * (1 - beta2)
    count = step.to(float64)
    now, then = (
        (1 - (t * (momentum_decay * log(0.96))).exp() * 0.5) * beta1 for t in (count, count + 1)
    )
    product = product * now.to(product.dtype)
    so_far = product.to(float64)
    of_g = (1 - now) * lr / (1 - so_far)
    of_m = then * lr / (1 - so_far * then)
    root = (-power_less_one(beta2, count)).sqrt()
    scale = v.sqrt() / root.to(p.dtype) + eps
    p = p - g / scale * of_g.to(p.dtype) - m / scale * of_m.to(p.dtype)
    return p, step, product, m, v


@nadam_step.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {
        "lr": 0.1,
        "betas": (0.9, 0.99),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum_decay": 0.004,
        "maximize": False,
        "decoupled_weight_decay": False,
    }
    one, two = s.typed(float32), s.typed(float32)
    shapes = (3, 4), ()
    params, grads, m = ([s.real(*shape) for shape in shapes] for _ in range(3))
    v = [s.positive(*shape) for shape in shapes]
    yield s(params, grads, [one, two], [two, one], m, v, **attrs)
    p, g, m1, v1 = s.real(3), s.real(3), s.real(3), s.positive(3)
    attrs |= {"weight_decay": 0.1, "maximize": True}
    yield s([p], [g], [one], [two], [m1], [v1], **attrs)
    yield s([p], [g], [one], [two], [m1], [v1], **{**attrs, "decoupled_weight_decay": True})
    none = s.real(0, 2)
    yield s([none], [none], [one], [two], [none], [none], **attrs)
    yield from refused(s, [[p], [g], [one], [two], [m1], [v1]], 2, **attrs)


# ---- RAdam


@writes("params", "steps", "exp_avgs", "exp_avg_sqs", ulp=4, scale=4.0)
def radam_step(
    params: Many,
    grads: Many,
    steps: Many,
    exp_avgs: Many,
    exp_avg_sqs: Many,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    maximize: bool,
    decoupled_weight_decay: bool,
) -> tuple[Spec, ...]:
    """Move every parameter one step of RAdam. `steps` are counted up; t is the new count.

    g ← grad + weight_decay param;  m ← m + (1 - β₁)(g - m);  v ← β₂ v + (1 - β₂) g²;
    ρ∞ = 2 / (1 - β₂) - 1;  ρ = ρ∞ - 2 t β₂ᵗ / (1 - β₂ᵗ);
    param ← param - lr / (1 - β₁ᵗ) m, times r √(1 - β₂ᵗ) / (√v + eps) if ρ > 5, where
    r² = (ρ - 4)(ρ - 2) ρ∞ / ((ρ∞ - 4)(ρ∞ - 2) ρ). `decoupled_weight_decay` shrinks the parameter
    by lr weight_decay instead of adding to g.
    """
    counts("radam_step", params, steps)
    return alike("radam_step", params, grads=grads, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs)


@moves(radam_step)
def _(
    p: Tensor,
    g: Tensor,
    step: Tensor,
    m: Tensor,
    v: Tensor,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled_weight_decay: bool,
) -> tuple[Tensor, ...]:
    beta1, beta2 = betas
    p, g = decayed(p, g, lr, weight_decay, decoupled_weight_decay)
    step = step + 1
    m = m + (g - m) * (1 - beta1)
    v = v * beta2 + g * g * (1 - beta2)
    count = step.to(float64)
    rate = lr / power_less_one(beta1, count)
    longest = 2 / (1 - beta2) - 1
    if longest <= 5:  # so is every length
        return p + m * rate.to(p.dtype), step, m, v
    less2 = power_less_one(beta2, count)
    length = count * 2 * (less2 + 1) / less2 + longest
    is_long = length > 5
    length = length.clamp(min=5)
    scale = sqrt(longest / ((longest - 4) * (longest - 2)))
    rectified = ((length - 4) * (length - 2) / length * -less2).sqrt() * scale
    rate = where(is_long, rate * rectified, rate)
    return p + m / where(is_long, v.sqrt() + eps, 1.0) * rate.to(p.dtype), step, m, v


@radam_step.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {
        "lr": 0.1,
        "betas": (0.9, 0.99),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "maximize": False,
        "decoupled_weight_decay": False,
    }
    first, late = s.typed(float32), replace(s.real(low=7.25, high=7.25), dtype=float32)
    shapes = (3, 4), ()
    params, grads, m = ([s.real(*shape) for shape in shapes] for _ in range(3))
    v = [s.positive(*shape) for shape in shapes]
    yield s(params, grads, [first, late], m, v, **attrs)
    p, g, m1, v1 = s.real(3), s.real(3), s.real(3), s.positive(3)
    attrs |= {"weight_decay": 0.1, "maximize": True}
    yield s([p], [g], [late], [m1], [v1], **attrs)
    yield s([p], [g], [late], [m1], [v1], **{**attrs, "decoupled_weight_decay": True})
    yield s([p], [g], [late], [m1], [v1], **{**attrs, "betas": (0.5, 0.6)})
    none = s.real(0, 2)
    yield s([none], [none], [late], [none], [none], **attrs)
    yield from refused(s, [[p], [g], [late], [m1], [v1]], 1, **attrs)
