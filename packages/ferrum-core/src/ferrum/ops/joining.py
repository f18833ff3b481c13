"""Joining tensors, and the part of a tensor along one axis that undoes it."""

from __future__ import annotations

from builtins import sum as total
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from ferrum.dtypes import float32, int64
from ferrum.errors import DTypeError, OperandError, ShapeError
from ferrum.op import op
from ferrum.ops.views import getitem
from ferrum.spec import Spec, TensorLike

if TYPE_CHECKING:
    from ferrum.samples import Sample, Sampler
    from ferrum.tensor import Tensor


def along(x: Tensor, axis: int, start: int, count: int, step: int = 1) -> Tensor:
    """Return the view of `count` entries of `axis`, from `start` on, `step` apart."""
    key = tuple((start, count, step) if i == axis else (0, n, 1) for i, n in enumerate(x.shape))
    return getitem(x, key=key)


@op
def concat(xs: Sequence[TensorLike], *, axis: int, sizes: tuple[int, ...]) -> Spec:
    """Return the tensors `xs`, of one dtype and of these sizes along `axis`, joined along it."""
    if not xs or tuple(x.shape[axis] for x in xs if 0 <= axis < len(x.shape)) != sizes:
        raise ShapeError(f"concat: expected tensors of sizes {sizes} along axis {axis}")
    first = xs[0]
    for x in xs:
        if x.dtype is not first.dtype:
            raise DTypeError(
                f"concat: expected one dtype, got {first.dtype.name} and {x.dtype.name}"
            )
        rest = (*x.shape[:axis], first.shape[axis], *x.shape[axis + 1 :])
        if len(x.shape) != len(first.shape) or rest != first.shape:
            raise ShapeError(f"concat: {first.shape} and {x.shape} differ beside axis {axis}")
    return Spec((*first.shape[:axis], total(sizes), *first.shape[axis + 1 :]), first.dtype)


@concat.gradient
def _(
    g: Tensor,
    *,
    axis: int,
    sizes: tuple[int, ...],
    needs: tuple[tuple[TensorLike | None, ...], ...],
) -> list[Tensor | None]:
    starts = accumulate((0, *sizes[:-1]))
    return [
        None if need is None else along(g, axis, start, size)
        for need, start, size in zip(needs[0], starts, sizes, strict=True)
    ]


@concat.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s([s.real(2, 3), s.real(4, 3)], axis=0, sizes=(2, 4))
    yield s([s.real(2, 3), s.real(2, 0), s.real(2, 1)], axis=1, sizes=(3, 0, 1))
    yield s([s.real(2)], axis=0, sizes=(2,))
    yield s.bad(ShapeError, [s.real(2, 3), s.real(2, 4)], axis=0, sizes=(2, 2))
    yield s.bad(ShapeError, [s.real(2)], axis=1, sizes=(2,))
    yield s.bad(OperandError, [], axis=0, sizes=())
    yield s.bad(DTypeError, [s.typed(int64, 2), s.typed(float32, 2)], axis=0, sizes=(2, 2))
