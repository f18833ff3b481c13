"""The step of Adafactor, which keeps the squares of a matrix's gradients as two factors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import sqrt
from typing import TYPE_CHECKING, Any

from ferrum import Spec, writes
from ferrum.dtypes import bfloat16, float16, float32, float64, int64
from ferrum.errors import DTypeError, ShapeError
from ferrum_nn.ops.stepping import Many, alike, counts, decayed, each

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler
    from ferrum.spec import Shape


EPSILON = {float16: 2.0**-10, bfloat16: 2.0**-7, float32: 2.0**-23, float64: 2.0**-52}
"""How much more than 1 the next number is."""


def row_shape(shape: Shape) -> Shape | None:
    """Return the shape of the means of the rows of matrices, None if these have no two axes."""
    return (*shape[:-1], 1) if len(shape) > 1 else None


def column_shape(shape: Shape) -> Shape | None:
    """Return the shape of the means of the columns of matrices, None if there are no two axes."""
    return (*shape[:-2], 1, shape[-1]) if len(shape) > 1 else None


@writes("params", "steps", "row_vars", "col_vars", "variances", ulp=4, scale=4.0)
def adafactor_step(
    params: Many,
    grads: Many,
    steps: Many,
    row_vars: Many,
    col_vars: Many,
    variances: Many,
    *,
    lr: float,
    beta2_decay: float,
    eps: tuple[float | None, float],
    d: float,
    weight_decay: float,
    maximize: bool,
) -> tuple[Spec, ...]:
    """Move every parameter one step of Adafactor. `steps` are counted up; t is the new count.

    `row_vars` and `col_vars` are those of the parameters with two axes or more, in their order,
    and `variances` those of the others. With w = t^beta2_decay and the root mean square RMS,
    α = max(eps₂, RMS(param)) min(lr, 1 / √t);  param ← param - lr weight_decay param;
    r ← r + w (mean of grad² along the last axis - r), c along the last but one, and
    v = r c / max(mean of r along the last but one, eps₁);  without two axes v ← v + w (grad² - v);
    u = grad / √max(v, eps₁²);  param ← param - α u / max(1, RMS(u) / d).
    An eps₁ of None is that of the parameter's dtype.
    """
    name = "adafactor_step"
    counts(name, params, steps)
    matrices = [param for param in params if len(param.shape) > 1]
    for what, tensors, shape_of in (
        ("row_vars", row_vars, row_shape),
        ("col_vars", col_vars, column_shape),
    ):
        shapes = [Spec(shape_of(param.shape) or (), param.dtype) for param in matrices]
        alike(name, shapes, **{what: tensors})
    others = [param for param in params if len(param.shape) < 2]
    alike(name, others, variances=variances)
    return alike(name, params, grads=grads)


@adafactor_step.fallback
def _(
    params: list[Tensor],
    grads: list[Tensor],
    steps: list[Tensor],
    row_vars: list[Tensor],
    col_vars: list[Tensor],
    variances: list[Tensor],
    *,
    eps: tuple[float | None, float],
    maximize: bool,
    **options: Any,
) -> Any:
    rows, columns, others = iter(row_vars), iter(col_vars), iter(variances)
    for param, grad, step in zip(params, grads, steps, strict=True):
        least = EPSILON[param.dtype] if eps[0] is None else eps[0]
        state = [next(rows), next(columns)] if len(param.shape) > 1 else [next(others)]
        move = partial(_moved, eps1=least, eps2=eps[1], **options)
        each(move, [param], [grad], [step], *[[tensor] for tensor in state], maximize=maximize)
    return tuple(params)


def _moved(
    p: Tensor,
    g: Tensor,
    step: Tensor,
    *state: Tensor,
    eps1: float,
    eps2: float,
    lr: float,
    beta2_decay: float,
    d: float,
    weight_decay: float,
) -> tuple[Tensor, ...]:
    step = step + 1
    count = step.to(float64)
    weight = (count**beta2_decay).to(p.dtype)
    rate = count.rsqrt().clamp(max=lr) * _rms(p).clamp(min=eps2)
    p, _ = decayed(p, g, lr, weight_decay, True)
    squares = g * g
    news = [squares]
    if len(state) == 2:
        news = [squares.mean(-1, keepdim=True), squares.mean(-2, keepdim=True)]
    kept = [old + (new - old) * weight for old, new in zip(state, news, strict=True)]
    v = kept[0]
    if len(state) == 2:
        v = v / v.mean(-2, keepdim=True).clamp(min=eps1) * kept[1]  # r c may be too large
    move = v.clamp(min=eps1 * eps1).rsqrt() * g
    rate = rate / (_rms(move) / d).clamp(min=1.0)
    return p - move * rate.to(p.dtype), step, *kept


def _rms(x: Tensor) -> Tensor:
    """Return the root of the mean of the squares of x as a 0-d float64 tensor, 0 of nothing."""
    return x.norm().to(float64) / sqrt(max(x.numel(), 1))


@adafactor_step.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {
        "lr": 0.1,
        "beta2_decay": -0.8,
        "eps": (1e-4, 1e-3),
        "d": 1.0,
        "weight_decay": 0.0,
        "maximize": False,
    }
    heavy = {**attrs, "d": 2.0, "weight_decay": 0.1, "maximize": True}
    # at the first step of a vector only the sign of a gradient counts, which has no gradient
    one, late = s.typed(float32), replace(s.real(low=7.25, high=7.25), dtype=float32)
    shapes = (3, 4), (), (2, 2, 3), (5,)
    params, grads = ([s.real(*shape) for shape in shapes] for _ in range(2))
    rows, columns = (
        [s.positive(*shape) for shape in found]
        for found in (((3, 1), (2, 2, 1)), ((1, 4), (2, 1, 3)))
    )
    v = [s.positive(), s.positive(5)]
    yield s(params, grads, [one, late, one, late], rows, columns, v, **attrs)
    p, g, r, c = s.real(2, 3), s.real(2, 3), s.positive(2, 1), s.positive(1, 3)
    yield s([p], [g], [one], [r], [c], [], **heavy)
    none = s.real(0)
    yield s([none], [none], [one], [], [], [none], **attrs)
    yield s.bad(ShapeError, [p], [s.real(2)], [one], [r], [c], [], **attrs)
    yield s.bad(ShapeError, [p], [g], [one], [r], [], [], **attrs)
    yield s.bad(ShapeError, [p], [g], [one], [c], [r], [], **attrs)
    yield s.bad(ShapeError, [p], [g], [one], [r], [c], [none], **attrs)
    yield s.bad(ShapeError, [p], [g], [s.typed(float32, 1)], [r], [c], [], **attrs)
    yield s.bad(DTypeError, [p], [g], [one], [s.typed(int64, 2, 1)], [c], [], **attrs)
    yield s.bad(TypeError, [], [], [], [], [], [], **attrs)
