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
    weighted = g * out
    return weighted - out * sum(weighted, axes=(axis,), keepdims=True)


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
    return g - out.exp() * sum(g, axes=(axis,), keepdims=True)


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
