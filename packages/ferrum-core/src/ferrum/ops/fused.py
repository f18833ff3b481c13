"""Ops that a backend may do in one pass over memory; otherwise they are composed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ferrum.dtypes import bool_, int64, is_floating
from ferrum.errors import DTypeError, ShapeError
from ferrum.op import op
from ferrum.ops.elementwise import maximum, minimum, where
from ferrum.ops.memory import check_number
from ferrum.ops.reduce import max, sum, widened
from ferrum.spec import Spec, TensorLike

if TYPE_CHECKING:
    from ferrum.samples import Sample, Sampler
    from ferrum.tensor import Tensor


def _normalized(name: str, x: TensorLike, axis: int) -> Spec:
    if not is_floating(x.dtype):
        raise DTypeError(f"{name}: expected a floating-point tensor, got {x.dtype.name}")
    if not 0 <= axis < len(x.shape):
        raise ShapeError(f"{name}: {axis} is not an axis of shape {x.shape}")
    return Spec(x.shape, x.dtype)


@op(ulp=8)
def softmax(x: TensorLike, *, axis: int) -> Spec:
    """Return exp(x) / sum(exp(x)) along `axis`, computed from x - max(x)."""
    return _normalized("softmax", x, axis)


@softmax.fallback
def _(x: Tensor, *, axis: int) -> Tensor:
    if 0 in x.shape:
        return x + 0
    wide = widened(x)
    e = (wide - max(wide, axes=(axis,), keepdims=True)).exp()
    return (e / sum(e, axes=(axis,), keepdims=True)).to(x.dtype)


@softmax.gradient
def _(g: Tensor, out: Tensor, *, axis: int) -> Tensor:
    return softmax_backward(g, out, axis=axis)


@op(ulp=8, scale=2.0)
def log_softmax(x: TensorLike, *, axis: int) -> Spec:
    """Return x - log(sum(exp(x))) along `axis`, computed from x - max(x)."""
    return _normalized("log_softmax", x, axis)


@log_softmax.fallback
def _(x: Tensor, *, axis: int) -> Tensor:
    if 0 in x.shape:
        return x + 0
    wide = widened(x)
    centred = wide - max(wide, axes=(axis,), keepdims=True)
    return (centred - sum(centred.exp(), axes=(axis,), keepdims=True).log()).to(x.dtype)


@log_softmax.gradient
def _(g: Tensor, out: Tensor, *, axis: int) -> Tensor:
    return log_softmax_backward(g, out, axis=axis)


@softmax.samples
@log_softmax.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), axis=1)
    yield s(s.real(3, 4, 2), axis=1)
    yield s(s.exact(1000.0, 1000.5, -1000.0), axis=0)
    yield s(s.real(0, 3), axis=1)
    yield s(s.real(3, 0), axis=1)
    yield s.kink(s.exact(1.0, float("-inf"), 2.0), axis=0)
    yield s.kink(s.exact(1.0, float("nan"), 2.0), axis=0)
    yield s.bad(ShapeError, s.real(3), axis=1)
    yield s.bad(DTypeError, s.typed(int64, 3), axis=0)


def _like_output(name: str, g: TensorLike, out: TensorLike, axis: int) -> Spec:
    if g.dtype is not out.dtype:
        raise DTypeError(f"{name}: expected equal dtypes, got {g.dtype.name} and {out.dtype.name}")
    if g.shape != out.shape:
        raise ShapeError(f"{name}: expected equal shapes, got {g.shape} and {out.shape}")
    return _normalized(name, out, axis)


@op(ulp=8, scale=4.0)
def softmax_backward(g: TensorLike, out: TensorLike, *, axis: int) -> Spec:
    """Return out * (g - sum(g * out)) along `axis`, the gradient of softmax from its output."""
    return _like_output("softmax_backward", g, out, axis)


@softmax_backward.fallback
def _(g: Tensor, out: Tensor, *, axis: int) -> Tensor:
    weighted = widened(g) * widened(out)
    total = sum(weighted, axes=(axis,), keepdims=True)
    return (weighted - widened(out) * total).to(g.dtype)


@op(ulp=8, scale=4.0)
def log_softmax_backward(g: TensorLike, out: TensorLike, *, axis: int) -> Spec:
    """Return g - exp(out) * sum(g) along `axis`, the gradient of log_softmax from its output."""
    return _like_output("log_softmax_backward", g, out, axis)


@log_softmax_backward.fallback
def _(g: Tensor, out: Tensor, *, axis: int) -> Tensor:
    total = sum(widened(g), axes=(axis,), keepdims=True)
    return (widened(g) - widened(out).exp() * total).to(g.dtype)


@softmax_backward.samples
@log_softmax_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), s.real(3, 4, low=-0.9, high=0.9), axis=1)
    yield s(s.real(3, 4, 2), s.real(3, 4, 2, low=-0.9, high=0.9), axis=1)
    yield s(s.real(3, 19), s.real(3, 19, low=-0.9, high=0.9), axis=1)
    yield s(s.real(0, 3), s.real(0, 3), axis=1)
    yield s(s.real(3, 0), s.real(3, 0), axis=1)
    yield s.bad(ShapeError, s.real(3), s.real(3), axis=1)
    yield s.bad(ShapeError, s.real(3), s.real(1), axis=0)
    yield s.bad(DTypeError, s.typed(int64, 3), s.typed(int64, 3), axis=0)


@op
def clip(x: TensorLike, *, low: float | None, high: float | None) -> Spec:
    """Return x with what is below `low` raised to it and what is above `high` lowered to it."""
    if x.dtype is bool_:
        raise DTypeError("clip: expected integer or float tensors, got bool")
    for bound in (low, high):
        if bound is not None:
            check_number("clip", bound, x.dtype)
    return Spec(x.shape, x.dtype)


@clip.fallback
def _(x: Tensor, *, low: float | None, high: float | None) -> Tensor:
    if low is not None:
        x = maximum(x, low)
    return x if high is None else minimum(x, high)


@clip.gradient
def _(g: Tensor, x: Tensor, *, low: float | None, high: float | None) -> Tensor:
    if low is not None:
        g = where(x >= low, g, 0)  # 0 where x is not a number, as in PyTorch
    return g if high is None else where(x <= high, g, 0)


@clip.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), low=-1, high=1)
    yield s(s.positive(3, 4), low=None, high=2)
    yield s(s.positive(2), low=1, high=None)
    yield s.kink(s.exact(1.0, float("nan"), 9.0, -9.0), low=0, high=1)
    yield s.bad(TypeError, "text", low=0, high=1)
    yield s.bad(DTypeError, s.typed(bool_, 2), low=0, high=1)
