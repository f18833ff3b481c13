"""The ops of normalisation over a batch: x is (n, c, ...), everything else (c,)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, op
from ferrum.dtypes import float64, int64, is_floating
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.spec import Needs, Shape
from ferrum_nn.ops.norms import check, check_gradient, check_parameter, like, scaled

if TYPE_CHECKING:
    from typing import Any

    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


def _batch(
    name: str,
    x: TensorLike,
    weight: TensorLike | None,
    bias: TensorLike | None,
    eps: float,
    *statistics: TensorLike,
) -> Shape:
    """Check a call, and return (c,)."""
    check(name, x, eps)
    if len(x.shape) < 2:
        raise ShapeError(f"{name}: expected an input (n, channels, ...), got {x.shape}")
    shape = x.shape[1:2]
    check_parameter(name, "weight", weight, shape, x.dtype)
    check_parameter(name, "bias", bias, shape, x.dtype)
    for each in statistics:
        if each.shape != shape:
            raise ShapeError(f"{name}: expected mean and var of shape {shape}, got {each.shape}")
        if not is_floating(each.dtype):
            raise DTypeError(f"{name}: expected floating-point mean and var, got {each.dtype.name}")
    return shape


def _channels(each: Tensor, x: Tensor) -> Tensor:
    """Return (c,) in a shape that goes with x."""
    return each.reshape(-1, *(1,) * (x.ndim - 2))


def _scaled_channels(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * _channels(weight, x)
    return x if bias is None else x + _channels(bias, x)


def _others(x: TensorLike) -> tuple[int, ...]:
    """Return the axes but that of channels."""
    return (0, *range(2, len(x.shape)))


def _standard_batch(x: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    centred = x.to(float64) - _channels(mean, x)
    return centred * _channels((var.to(float64) + eps).rsqrt(), x)


@op(outputs=("out", "mean", "var"), ulp=8, scale=4.0)
def batch_norm(
    x: TensorLike, weight: TensorLike | None, bias: TensorLike | None, *, eps: float
) -> tuple[Spec, Spec, Spec]:
    """Return (x - mean) / √(var + eps) weight + bias, and mean and var, in float64.

    They are taken over all axes but the second, and var is without correction.
    """
    shape = _batch("batch_norm", x, weight, bias, eps)
    return Spec(x.shape, x.dtype), Spec(shape, float64), Spec(shape, float64)


@batch_norm.fallback
def _(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, *, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    wide = x.to(float64)
    mean = wide.mean(_others(x))
    var = (wide - _channels(mean, x)).square().mean(_others(x))
    standard = _standard_batch(x, mean, var, eps)
    return _scaled_channels(standard, weight, bias).to(x.dtype), mean, var


@batch_norm.gradient
def _(
    g: tuple[Tensor | None, ...],
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    var: Tensor,
    *,
    eps: float,
    needs: Needs,
) -> Any:
    of_out, *others = g
    if of_out is None or any(each is not None for each in others):
        return NotImplemented  # rare: the fallback's gradient serves
    dx, dweight, dbias = batch_norm_backward(of_out, x, mean, var, weight, eps=eps, training=True)
    return dx, like(dweight, needs[1]), like(dbias, needs[2])


@op(ulp=8, scale=4.0)
def batch_norm_eval(
    x: TensorLike,
    mean: TensorLike,
    var: TensorLike,
    weight: TensorLike | None,
    bias: TensorLike | None,
    *,
    eps: float,
) -> Spec:
    """Return (x - mean) / √(var + eps) weight + bias, with mean and var that are given."""
    _batch("batch_norm_eval", x, weight, bias, eps, mean, var)
    return Spec(x.shape, x.dtype)


@batch_norm_eval.fallback
def _(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, *, eps: float
) -> Tensor:
    standard = _standard_batch(x, mean, var, eps)
    return _scaled_channels(standard, weight, bias).to(x.dtype)


@batch_norm_eval.gradient
def _(
    g: Tensor,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    *,
    eps: float,
    needs: Needs,
) -> tuple[Tensor | None, ...]:
    dx, dweight, dbias = batch_norm_backward(g, x, mean, var, weight, eps=eps, training=False)
    of_mean = of_var = None
    if needs[1] is not None or needs[2] is not None:
        scale = scaled((var.to(float64) + eps).rsqrt(), weight, None)
        of_mean = like(-dbias * scale, needs[1])
        of_var = like(dweight * scale / (var.to(float64) + eps).sqrt() * -0.5, needs[2])
    return dx, of_mean, of_var, like(dweight, needs[3]), like(dbias, needs[4])


@op(outputs=("dx", "dweight", "dbias"), ulp=8, scale=16.0)
def batch_norm_backward(
    g: TensorLike,
    x: TensorLike,
    mean: TensorLike,
    var: TensorLike,
    weight: TensorLike | None,
    *,
    eps: float,
    training: bool,
) -> tuple[Spec, Spec, Spec]:
    """Return the gradients of batch_norm, or batch_norm_eval, by x, weight and bias.

    With y = (x - mean) / √(var + eps) the last two are the sums over all axes but the second of
    g y and of g. The first is g weight / √(var + eps) in evaluation; in `training` it is
    (g - mean(g) - y mean(g y)) weight / √(var + eps).
    """
    shape = _batch("batch_norm_backward", x, weight, None, eps, mean, var)
    check_gradient("batch_norm_backward", g, x)
    parameter = Spec(shape, x.dtype if weight is None else weight.dtype)
    return Spec(x.shape, x.dtype), parameter, parameter


@batch_norm_backward.fallback
def _(
    g: Tensor,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    *,
    eps: float,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    standard = _standard_batch(x, mean, var, eps)
    g = g.to(float64)
    dweight, dbias = (g * standard).sum(_others(x)), g.sum(_others(x))
    scale = scaled((var.to(float64) + eps).rsqrt(), weight, None)
    dx = g
    if training:
        count = max(x.numel() // max(x.shape[1], 1), 1)
        dx = g - _channels(dbias / count, x) - standard * _channels(dweight / count, x)
    dtype = x.dtype if weight is None else weight.dtype
    return (dx * _channels(scale, x)).to(x.dtype), dweight.to(dtype), dbias.to(dtype)


# ---- samples


@batch_norm.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {"eps": 0.1}
    yield s(s.real(5, 3), s.real(3), s.real(3), **attrs)
    yield s(s.real(3, 2, 4), s.real(2), None, **attrs)
    yield s(s.real(2, 3, 2, 10), None, s.real(3), **attrs)
    yield s(s.real(9, 2), None, None, eps=1e-2)
    yield s(s.real(3, 0), s.real(0), s.real(0), **attrs)
    yield s.bad(ShapeError, s.real(3), None, None, **attrs)
    yield s.bad(ShapeError, s.real(3, 4), s.real(3), None, **attrs)
    yield s.bad(ShapeError, s.real(3, 4), None, s.real(1), **attrs)
    yield s.bad(DTypeError, s.typed(int64, 3, 4), None, None, **attrs)
    yield s.bad(ArgumentError, s.real(3, 4), None, None, eps=None)


@batch_norm_eval.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {"eps": 0.1}
    yield s(s.real(5, 3), s.real(3), s.positive(3), s.real(3), s.real(3), **attrs)
    yield s(s.real(2, 2, 20), s.real(2), s.positive(2), None, s.real(2), eps=1e-2)
    yield s(s.real(0, 2), s.real(2), s.positive(2), s.real(2), None, **attrs)
    yield s.bad(ShapeError, s.real(3), s.real(3), s.positive(3), None, None, **attrs)
    yield s.bad(ShapeError, s.real(2, 3), s.real(2), s.positive(3), None, None, **attrs)
    yield s.bad(ShapeError, s.real(2, 3), s.real(3), s.positive(1), None, None, **attrs)
    yield s.bad(DTypeError, s.real(2, 3), s.real(3), s.typed(int64, 3), None, None, **attrs)


@batch_norm_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    for training in (True, False):
        attrs = {"eps": 0.1 if training else 0.5, "training": training}
        for shape in ((5, 3), (2, 3, 20), (0, 3)):
            weight = None if len(shape) == 3 else s.real(3)
            yield s(s.real(*shape), s.real(*shape), s.real(3), s.positive(3), weight, **attrs)
    yield s.bad(ShapeError, s.real(3), s.real(3, 4), s.real(4), s.real(4), None, **attrs)
    yield s.bad(ShapeError, s.real(3, 4), s.real(3, 4), s.real(4), s.real(3), None, **attrs)
