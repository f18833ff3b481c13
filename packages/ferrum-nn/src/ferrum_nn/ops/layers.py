"""The ops of layers."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, op
from ferrum.dtypes import bool_, float32, float64
from ferrum.errors import DTypeError, ShapeError
from ferrum.spec import Needs

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


@op(ulp=4, scale=8.0)
def linear(x: TensorLike, weight: TensorLike, bias: TensorLike | None) -> Spec:
    """Return x Wᵀ + b of x (..., in), W (out, in) and b (out,) or None: a tensor (..., out)."""
    if x.dtype is not weight.dtype or (bias is not None and bias.dtype is not x.dtype):
        names = [each.dtype.name for each in (x, weight, bias) if each is not None]
        raise DTypeError(f"linear: expected operands of one dtype, got {', '.join(names)}")
    if x.dtype is bool_:
        raise DTypeError("linear: expected numbers, got bool")
    if len(weight.shape) != 2 or not x.shape or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: expected x (..., in) and weight (out, in), got {x.shape} and {weight.shape}"
        )
    features = weight.shape[0]
    if bias is not None and bias.shape != (features,):
        raise ShapeError(f"linear: expected a bias of shape ({features},), got {bias.shape}")
    return Spec((*x.shape[:-1], features), x.dtype)


@linear.fallback
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out = _rows(x) @ weight.mT
    out = out if bias is None else out + bias
    return out if x.ndim == 2 else out.reshape(*x.shape[:-1], weight.shape[0])


@linear.gradient
def _(
    g: Tensor, x: Tensor, weight: Tensor, *, needs: Needs
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    rows = _rows(g)
    to_x = to_weight = None
    if needs[0] is not None:
        to_x = rows @ weight if x.ndim == 2 else (rows @ weight).reshape(x.shape)
    if needs[1] is not None:
        to_weight = rows.mT @ _rows(x)
    return to_x, to_weight, g  # the engine sums g over the rows for the bias


def _rows(x: Tensor) -> Tensor:
    """Return x as a matrix, so that a batch of any shape costs one product."""
    return x if x.ndim == 2 else x.reshape(prod(x.shape[:-1]), x.shape[-1])


@linear.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(5, 3), s.real(4, 3), s.real(4))
    yield s(s.real(5, 3), s.real(4, 3), None)
    yield s(s.real(3), s.real(4, 3), s.real(4))
    yield s(s.real(2, 5, 3), s.real(4, 3), s.real(4))
    yield s(s.real(0, 3), s.real(4, 3), s.real(4))
    yield s(s.real(2, 0), s.real(4, 0), s.real(4))
    yield s.bad(ShapeError, s.real(5, 3), s.real(4, 2), s.real(4))
    yield s.bad(ShapeError, s.real(5, 3), s.real(4, 3), s.real(3))
    yield s.bad(ShapeError, s.real(), s.real(4, 3), None)
    yield s.bad(DTypeError, s.typed(float32, 5, 3), s.typed(float64, 4, 3), None)
