"""The ops of normalisation over trailing axes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, op
from ferrum.dtypes import float32, int64, is_floating
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.spec import Needs

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


def _check(name: str, x: TensorLike, axes: int, eps: float, *others: TensorLike | None) -> Spec:
    """Return the spec of x, whose last `axes` axes are normalised; `others` have these axes."""
    if not is_floating(x.dtype):
        raise DTypeError(f"{name}: expected a floating-point tensor, got {x.dtype.name}")
    if not 0 < axes <= len(x.shape):
        raise ShapeError(f"{name}: expected from 1 to {len(x.shape)} axes of {x.shape}, got {axes}")
    if not eps >= 0:
        raise ArgumentError(f"{name}: expected eps of at least 0, got {eps}")
    shape = x.shape[len(x.shape) - axes :]
    for each in others:
        if each is None:
            continue
        if each.shape != shape:
            raise ShapeError(
                f"{name}: expected a weight and a bias of shape {shape}, got {each.shape}"
            )
        if each.dtype is not x.dtype:
            raise DTypeError(
                f"{name}: expected operands of one dtype, got {x.dtype.name} and {each.dtype.name}"
            )
    return Spec(x.shape, x.dtype)


def _wide(x: Tensor) -> Tensor:
    """Return x with 16-bit floats in float32."""
    return x.to(float32) if x.dtype.itemsize == 2 else x


def _dims(axes: int) -> tuple[int, ...]:
    return tuple(range(-axes, 0))


def _normal(x: Tensor, axes: int, eps: float) -> tuple[Tensor, Tensor]:
    """Return (x - mean) / √(var + eps), and what it was multiplied by."""
    far = x - x.mean(_dims(axes), keepdim=True)
    scale = ((far * far).mean(_dims(axes), keepdim=True) + eps).rsqrt()
    return far * scale, scale


# ---- layer_norm


@op(ulp=16, scale=4.0)
def layer_norm(
    x: TensorLike, weight: TensorLike | None, bias: TensorLike | None, *, axes: int, eps: float
) -> Spec:
    """Return (x - mean) / √(var + eps) weight + bias, over the last `axes` axes (1607.06450)."""
    return _check("layer_norm", x, axes, eps, weight, bias)


@layer_norm.fallback
def _(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, axes: int, eps: float) -> Tensor:
    out, _ = _normal(_wide(x), axes, eps)
    out = out if weight is None else out * weight
    out = out if bias is None else out + bias
    return out.to(x.dtype)


@layer_norm.gradient
def _(
    g: Tensor, x: Tensor, weight: Tensor | None, *, axes: int, eps: float, needs: Needs
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    to_x = to_weight = None
    if needs[0] is not None:
        to_x = layer_norm_backward(g, x, weight, axes=axes, eps=eps)
    if needs[1] is not None:
        to_weight = g * layer_norm(x, None, None, axes=axes, eps=eps)
    return to_x, to_weight, g  # the engine sums over the other axes


@layer_norm.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(4, 5), s.real(5), s.real(5), axes=1, eps=1e-5)
    yield s(s.real(4, 5), None, None, axes=1, eps=1e-5)
    yield s(s.real(2, 3, 4), s.real(3, 4), None, axes=2, eps=0.1)
    yield s(s.real(3, 4), None, s.real(3, 4), axes=2, eps=0.01)
    yield s(s.real(0, 4), s.real(4), s.real(4), axes=1, eps=1e-5)
    yield s.bad(ShapeError, s.real(4, 5), s.real(4), None, axes=1, eps=1e-5)
    yield s.bad(ShapeError, s.real(4, 5), None, None, axes=3, eps=1e-5)
    yield s.bad(ShapeError, s.real(4, 5), None, None, axes=0, eps=1e-5)
    yield s.bad(ArgumentError, s.real(4, 5), None, None, axes=1, eps=-1.0)
    yield s.bad(DTypeError, s.typed(int64, 4, 5), None, None, axes=1, eps=1e-5)


@op(ulp=32, scale=8.0)
def layer_norm_backward(
    g: TensorLike, x: TensorLike, weight: TensorLike | None, *, axes: int, eps: float
) -> Spec:
    """Return layer_norm's gradient of x: s (h - mean(h) - n mean(h n)).

    n = layer_norm(x), s = 1 / √(var + eps) and h = g weight.
    """
    if g.shape != x.shape or g.dtype is not x.dtype:
        raise ShapeError(f"layer_norm_backward: a gradient {g.shape} of a tensor {x.shape}")
    return _check("layer_norm_backward", x, axes, eps, weight)


@layer_norm_backward.fallback
def _(g: Tensor, x: Tensor, weight: Tensor | None, *, axes: int, eps: float) -> Tensor:
    normal, scale = _normal(_wide(x), axes, eps)
    h = _wide(g) if weight is None else _wide(g) * weight
    dims = _dims(axes)
    inner = normal * (h * normal).mean(dims, keepdim=True)
    return ((h - h.mean(dims, keepdim=True) - inner) * scale).to(x.dtype)


@layer_norm_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(4, 5), s.real(4, 5), s.real(5), axes=1, eps=0.1)
    yield s(s.real(2, 3, 4), s.real(2, 3, 4), None, axes=2, eps=0.1)
    yield s(s.real(0, 4), s.real(0, 4), None, axes=1, eps=0.1)
    yield s.bad(ShapeError, s.real(4), s.real(4, 5), None, axes=1, eps=0.1)
    yield s.bad(ShapeError, s.real(4, 5), s.real(4, 5), s.real(4), axes=1, eps=0.1)


# ---- rms_norm


@op(ulp=16, scale=4.0)
def rms_norm(x: TensorLike, weight: TensorLike | None, *, axes: int, eps: float) -> Spec:
    """Return x / √(mean(x²) + eps) weight, over the last `axes` axes (arXiv:1910.07467)."""
    return _check("rms_norm", x, axes, eps, weight)


@rms_norm.fallback
def _(x: Tensor, weight: Tensor | None, *, axes: int, eps: float) -> Tensor:
    wide = _wide(x)
    out = wide * ((wide * wide).mean(_dims(axes), keepdim=True) + eps).rsqrt()
    return (out if weight is None else out * weight).to(x.dtype)


@rms_norm.gradient
def _(
    g: Tensor, x: Tensor, weight: Tensor | None, *, axes: int, eps: float, needs: Needs
) -> tuple[Tensor | None, Tensor | None]:
    to_x = to_weight = None
    if needs[0] is not None:
        to_x = rms_norm_backward(g, x, weight, axes=axes, eps=eps)
    if needs[1] is not None:
        to_weight = g * rms_norm(x, None, axes=axes, eps=eps)
    return to_x, to_weight


@rms_norm.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(4, 5), s.real(5), axes=1, eps=1e-5)
    yield s(s.real(2, 3, 4), None, axes=2, eps=0.1)
    yield s(s.real(0, 4), s.real(4), axes=1, eps=1e-5)
    yield s.bad(ShapeError, s.real(4, 5), s.real(4), axes=1, eps=1e-5)
    yield s.bad(ShapeError, s.real(), None, axes=1, eps=1e-5)
    yield s.bad(ArgumentError, s.real(4, 5), None, axes=1, eps=-1.0)
    yield s.bad(DTypeError, s.typed(int64, 4, 5), None, axes=1, eps=1e-5)


@op(ulp=32, scale=8.0)
def rms_norm_backward(
    g: TensorLike, x: TensorLike, weight: TensorLike | None, *, axes: int, eps: float
) -> Spec:
    """Return rms_norm's gradient of x: s (h - n mean(h n)), with n = rms_norm(x), h = g weight."""
    if g.shape != x.shape or g.dtype is not x.dtype:
        raise ShapeError(f"rms_norm_backward: a gradient {g.shape} of a tensor {x.shape}")
    return _check("rms_norm_backward", x, axes, eps, weight)


@rms_norm_backward.fallback
def _(g: Tensor, x: Tensor, weight: Tensor | None, *, axes: int, eps: float) -> Tensor:
    wide, dims = _wide(x), _dims(axes)
    scale = ((wide * wide).mean(dims, keepdim=True) + eps).rsqrt()
    normal = wide * scale
    h = _wide(g) if weight is None else _wide(g) * weight
    return ((h - normal * (h * normal).mean(dims, keepdim=True)) * scale).to(x.dtype)


@rms_norm_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(4, 5), s.real(4, 5), s.real(5), axes=1, eps=0.1)
    yield s(s.real(2, 3, 4), s.real(2, 3, 4), None, axes=2, eps=0.1)
    yield s(s.real(0, 4), s.real(0, 4), None, axes=1, eps=0.1)
    yield s.bad(ShapeError, s.real(4), s.real(4, 5), None, axes=1, eps=0.1)
    yield s.bad(ShapeError, s.real(4, 5), s.real(4, 5), s.real(4), axes=1, eps=0.1)
