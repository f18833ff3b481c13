"""The ops of normalisation over the last axes; `ferrum_nn.ops.batch_norms` has those over a batch.

Their fallbacks compute in float64, so that what lies far from 0 is right: at 10⁴ the mean of
float32 numbers, in float32, is off by as much as 5 · 10⁻⁴. Kernels need not, but must be as right.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from sys import float_info
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, op
from ferrum.dtypes import DType, float32, float64, int64, is_floating
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.spec import Needs, Shape

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


def check(name: str, x: TensorLike, eps: float) -> None:
    """Refuse an x that is no floating-point tensor, and an eps that is no number."""
    if not is_floating(x.dtype):
        raise DTypeError(f"{name}: expected a floating-point tensor, got {x.dtype.name}")
    number: object = eps
    if not isinstance(number, (int, float)) or not (number <= float_info.max or number == inf):
        raise ArgumentError(f"{name}: expected a number as eps, got {eps!r}")


def check_parameter(
    name: str, what: str, given: TensorLike | None, shape: Shape, dtype: DType
) -> None:
    """Refuse a parameter of another shape, or dtype; float16 and bfloat16 may have float32."""
    if given is None:
        return
    if given.shape != shape:
        raise ShapeError(f"{name}: expected a {what} of shape {shape}, got {given.shape}")
    if given.dtype is not dtype and not (given.dtype is float32 and dtype.itemsize == 2):
        raise DTypeError(f"{name}: expected a {what} of {dtype.name}, got {given.dtype.name}")


def check_gradient(name: str, g: TensorLike, x: TensorLike) -> None:
    """Refuse a gradient of another shape or dtype than x."""
    if g.shape != x.shape or g.dtype is not x.dtype:
        raise ShapeError(
            f"{name}: expected a gradient like the input, {x.shape} {x.dtype.name}, got "
            f"{g.shape} {g.dtype.name}"
        )


def scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Return x weight + bias, of those that there are."""
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def like(gradient: Tensor, wanted: TensorLike | None) -> Tensor | None:
    """Return a gradient in the dtype that is wanted, None where none is."""
    return None if wanted is None else gradient.to(wanted.dtype)


# ---- over the last axes


def _rows(
    name: str,
    x: TensorLike,
    weight: TensorLike | None,
    bias: TensorLike | None,
    last: int,
    eps: float,
) -> Shape:
    """Check a call, and return the sizes of the `last` axes."""
    check(name, x, eps)
    if not 1 <= last <= len(x.shape):
        raise ShapeError(f"{name}: {x.shape} has no {last} last axes to normalise over")
    shape = x.shape[-last:]
    check_parameter(name, "weight", weight, shape, x.dtype)
    check_parameter(name, "bias", bias, shape, x.dtype)
    return shape


def _standard_rows(x: Tensor, last: int, eps: float, centred: bool) -> tuple[Tensor, Tensor]:
    """Return x without its mean, if `centred`, over its root mean square, and 1 over that."""
    axes = tuple(range(-last, 0))
    wide = x.to(float64)
    if centred:
        wide = wide - wide.mean(axes, keepdim=True)
    scale = (wide.square().mean(axes, keepdim=True) + eps).rsqrt()
    return wide * scale, scale


def _rows_backward(
    g: Tensor, x: Tensor, weight: Tensor | None, last: int, eps: float, centred: bool
) -> tuple[Tensor, Tensor, Tensor]:
    axes, lead = tuple(range(-last, 0)), tuple(range(x.ndim - last))
    standard, scale = _standard_rows(x, last, eps, centred)
    g = g.to(float64)
    products = g * standard
    of_standard = scaled(g, weight, None)
    dx = of_standard - standard * scaled(products, weight, None).mean(axes, keepdim=True)
    if centred:
        dx = dx - of_standard.mean(axes, keepdim=True)
    dtype = x.dtype if weight is None else weight.dtype
    dweight, dbias = (each.sum(lead) if lead else each for each in (products, g))
    return (dx * scale).to(x.dtype), dweight.to(dtype), dbias.to(dtype)


@op(ulp=8, scale=4.0)
def layer_norm(
    x: TensorLike, weight: TensorLike | None, bias: TensorLike | None, *, last: int, eps: float
) -> Spec:
    """Return (x - mean) / √(var + eps) weight + bias, with mean and var over the `last` axes."""
    _rows("layer_norm", x, weight, bias, last, eps)
    return Spec(x.shape, x.dtype)


@layer_norm.fallback
def _(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, last: int, eps: float) -> Tensor:
    return scaled(_standard_rows(x, last, eps, centred=True)[0], weight, bias).to(x.dtype)


@layer_norm.gradient
def _(
    g: Tensor, x: Tensor, weight: Tensor | None, *, last: int, eps: float, needs: Needs
) -> tuple[Tensor | None, ...]:
    dx, dweight, dbias = layer_norm_backward(g, x, weight, last=last, eps=eps)
    return dx, like(dweight, needs[1]), like(dbias, needs[2])


@op(outputs=("dx", "dweight", "dbias"), ulp=8, scale=16.0)
def layer_norm_backward(
    g: TensorLike, x: TensorLike, weight: TensorLike | None, *, last: int, eps: float
) -> tuple[Spec, Spec, Spec]:
    """Return the gradients of layer_norm by x, weight and bias.

    With y = (x - mean) / √(var + eps) they are (gw - mean(gw) - y mean(gw y)) / √(var + eps), where
    gw is g weight, and the sums over the other axes of g y and of g. Mean and variance are computed
    anew: a row is at hand anyway, and nothing needs to be kept.
    """
    shape = _rows("layer_norm_backward", x, weight, None, last, eps)
    check_gradient("layer_norm_backward", g, x)
    parameter = Spec(shape, x.dtype if weight is None else weight.dtype)
    return Spec(x.shape, x.dtype), parameter, parameter


@layer_norm_backward.fallback
def _(
    g: Tensor, x: Tensor, weight: Tensor | None, *, last: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    return _rows_backward(g, x, weight, last, eps, centred=True)


@op(ulp=8, scale=4.0)
def rms_norm(x: TensorLike, weight: TensorLike | None, *, last: int, eps: float) -> Spec:
    """Return x / √(mean(x²) + eps) weight, with the mean over the `last` axes."""
    _rows("rms_norm", x, weight, None, last, eps)
    return Spec(x.shape, x.dtype)


@rms_norm.fallback
def _(x: Tensor, weight: Tensor | None, *, last: int, eps: float) -> Tensor:
    return scaled(_standard_rows(x, last, eps, centred=False)[0], weight, None).to(x.dtype)


@rms_norm.gradient
def _(
    g: Tensor, x: Tensor, weight: Tensor | None, *, last: int, eps: float, needs: Needs
) -> tuple[Tensor | None, ...]:
    dx, dweight = rms_norm_backward(g, x, weight, last=last, eps=eps)
    return dx, like(dweight, needs[1])


@op(outputs=("dx", "dweight"), ulp=8, scale=16.0)
def rms_norm_backward(
    g: TensorLike, x: TensorLike, weight: TensorLike | None, *, last: int, eps: float
) -> tuple[Spec, Spec]:
    """Return the gradients of rms_norm by x and weight.

    With y = x / √(mean(x²) + eps) they are (gw - y mean(gw y)) / √(mean(x²) + eps), where gw is
    g weight, and the sum over the other axes of g y.
    """
    shape = _rows("rms_norm_backward", x, weight, None, last, eps)
    check_gradient("rms_norm_backward", g, x)
    return Spec(x.shape, x.dtype), Spec(shape, x.dtype if weight is None else weight.dtype)


@rms_norm_backward.fallback
def _(
    g: Tensor, x: Tensor, weight: Tensor | None, *, last: int, eps: float
) -> tuple[Tensor, Tensor]:
    return _rows_backward(g, x, weight, last, eps, centred=False)[:2]


# ---- samples


@layer_norm.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {"last": 1, "eps": 1e-2}
    yield s(s.real(3, 4), s.real(4), s.real(4), **attrs)
    yield s(s.real(2, 3, 4), s.real(3, 4), None, last=2, eps=0.1)
    yield s(s.real(5, 19), None, s.real(19), **attrs)
    yield s(s.real(2, 70), None, None, **attrs)
    yield s(s.real(4), s.real(4), s.real(4), **attrs)
    yield s(s.real(0, 3), s.real(3), s.real(3), **attrs)
    yield s(s.real(3, 0), s.real(0), s.real(0), **attrs)
    yield s.bad(ShapeError, s.real(3, 4), s.real(3), None, **attrs)
    yield s.bad(ShapeError, s.real(3, 4), None, s.real(1), **attrs)
    yield s.bad(ShapeError, s.real(), None, None, **attrs)
    yield s.bad(ShapeError, s.real(3), None, None, last=0, eps=0.1)
    yield s.bad(DTypeError, s.typed(int64, 3), None, None, **attrs)
    yield s.bad(DTypeError, s.real(3), s.typed(int64, 3), None, **attrs)
    yield s.bad(ArgumentError, s.real(3), None, None, last=1, eps="small")


@rms_norm.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {"last": 1, "eps": 1e-2}
    yield s(s.real(3, 4), s.real(4), **attrs)
    yield s(s.real(2, 3, 4), s.real(3, 4), last=2, eps=0.1)
    yield s(s.real(2, 70), None, **attrs)
    yield s(s.real(4), None, **attrs)
    yield s(s.real(0, 3), s.real(3), **attrs)
    yield s(s.real(3, 0), s.real(0), **attrs)
    yield s.bad(ShapeError, s.real(3, 4), s.real(3), **attrs)
    yield s.bad(ShapeError, s.real(3), None, last=2, eps=0.1)
    yield s.bad(DTypeError, s.typed(int64, 3), None, **attrs)
    yield s.bad(ArgumentError, s.real(3), None, last=1, eps=None)


@layer_norm_backward.samples
@rms_norm_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    attrs = {"last": 1, "eps": 0.1}
    yield s(s.real(3, 4), s.real(3, 4), s.real(4), **attrs)
    yield s(s.real(2, 3, 4), s.real(2, 3, 4), None, last=2, eps=0.5)
    yield s(s.real(6, 19), s.real(6, 19), s.real(19), **attrs)
    yield s(s.real(0, 3), s.real(0, 3), s.real(3), **attrs)
    yield s(s.real(3, 0), s.real(3, 0), s.real(0), **attrs)
    yield s.bad(ShapeError, s.real(3, 1), s.real(3, 4), None, **attrs)
    yield s.bad(ShapeError, s.real(3, 4), s.real(3, 4), s.real(3), **attrs)
    yield s.bad(DTypeError, s.typed(int64, 3), s.typed(int64, 3), None, **attrs)
