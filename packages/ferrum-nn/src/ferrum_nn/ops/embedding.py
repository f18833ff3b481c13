"""The op of embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, op, ops, where, zeros_like
from ferrum.dtypes import CATEGORY, float32, is_floating
from ferrum.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


@op
def embedding(
    weight: TensorLike, indices: TensorLike, *, padding_idx: int | None, scale_grad_by_freq: bool
) -> Spec:
    """Return rows of weight (n, d), one for each of `indices` (...): a tensor (..., d).

    Row `padding_idx` gets no gradient. With `scale_grad_by_freq` the gradient of a row is divided
    by how often it was picked: it is then a mean, not a sum.
    """
    if CATEGORY[indices.dtype] != 1:
        raise DTypeError(f"embedding: expected integer indices, got {indices.dtype.name}")
    if len(weight.shape) != 2 or not is_floating(weight.dtype):
        raise ShapeError(
            f"embedding: expected a floating-point weight (n, d), got {weight.dtype.name} "
            f"{weight.shape}"
        )
    if padding_idx is not None and not 0 <= padding_idx < weight.shape[0]:
        raise ArgumentError(
            f"embedding: expected padding_idx from 0 to {weight.shape[0] - 1}, got {padding_idx}"
        )
    return Spec((*indices.shape, weight.shape[1]), weight.dtype)


@embedding.fallback
def _(
    weight: Tensor, indices: Tensor, *, padding_idx: int | None, scale_grad_by_freq: bool
) -> Tensor:
    return ops.index(weight, [indices, None])


@embedding.gradient
def _(
    g: Tensor, weight: Tensor, indices: Tensor, *, padding_idx: int | None, scale_grad_by_freq: bool
) -> tuple[Tensor, None]:
    if padding_idx is not None:
        g = where((indices == padding_idx).unsqueeze(-1), 0.0, g)
    if scale_grad_by_freq:
        counts = ops.index(times_picked(indices, weight.shape[0]), [indices, None])
        g = g / counts.to(g.dtype)
    return ops.index_put(zeros_like(weight), g, [indices, None], accumulate=True), None


def times_picked(indices: Tensor, rows: int) -> Tensor:
    """Return how often each of so many rows is picked: a float32 tensor (rows, 1)."""
    one = ops.full(shape=(*indices.shape, 1), value=1.0, dtype=float32, device=indices.device)
    none = ops.full(shape=(rows, 1), value=0.0, dtype=float32, device=indices.device)
    return ops.index_put(none, one, [indices, None], accumulate=True)


@embedding.samples
def _(s: Sampler) -> Iterator[Sample]:
    plain = {"padding_idx": None, "scale_grad_by_freq": False}
    yield s(s.real(4, 3), s.indices(0, 3, 3, 1), **plain)
    # what these have in place of a derivative is a convention
    yield s.kink(s.real(4, 3), s.indices(2, 0, 2), padding_idx=2, scale_grad_by_freq=False)
    yield s.kink(s.real(4, 3), s.indices(0, 3, 3, 1, 3), padding_idx=1, scale_grad_by_freq=True)
    yield s(s.real(4, 0), s.indices(0, 3), **plain)
    yield s(s.real(4, 3), s.indices(), **plain)
    yield s.bad(OutOfRangeError, s.real(4, 3), s.indices(4), **plain)
    yield s.bad(DTypeError, s.real(4, 3), s.real(2), **plain)
    yield s.bad(ShapeError, s.real(4), s.indices(2), **plain)
    yield s.bad(ArgumentError, s.real(4, 3), s.indices(2), padding_idx=4, scale_grad_by_freq=False)
