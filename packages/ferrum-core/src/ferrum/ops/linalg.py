"""Products of matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ferrum.dtypes import bool_, float32, float64
from ferrum.errors import DTypeError, ShapeError
from ferrum.op import op
from ferrum.spec import Needs, Spec, TensorLike, broadcast_shapes

if TYPE_CHECKING:
    from ferrum.samples import Sample, Sampler
    from ferrum.tensor import Tensor


@op(ulp=4, scale=8.0)
def matmul(a: TensorLike, b: TensorLike) -> Spec:
    """Return the matrix products of a (..., n, k) and b (..., k, m), a tensor (..., n, m).

    Leading axes broadcast. float16 and bfloat16 add up in float32; integers wrap.
    """
    if a.dtype is not b.dtype:
        raise DTypeError(f"matmul: expected one dtype, got {a.dtype.name} and {b.dtype.name}")
    if a.dtype is bool_:
        raise DTypeError("matmul: expected numbers, got bool")
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: expected (..., n, k) and (..., k, m), got {a.shape} and {b.shape}"
        )
    if len(a.shape) == len(b.shape) == 2:
        return Spec((a.shape[0], b.shape[1]), a.dtype)
    batch = broadcast_shapes("matmul", a.shape[:-2], b.shape[:-2])
    return Spec((*batch, a.shape[-2], b.shape[-1]), a.dtype)


@matmul.gradient
def _(g: Tensor, a: Tensor, b: Tensor, *, needs: Needs) -> tuple[Tensor | None, Tensor | None]:
    return (
        None if needs[0] is None else matmul(g, b.mT),
        None if needs[1] is None else matmul(a.mT, g),
    )


matmul.keep_for(a="b", b="a")


@matmul.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), s.real(4, 2))
    yield s(s.real(5, 19), s.real(19, 9))
    yield s(s.real(2, 3, 4), s.real(2, 4, 5))
    yield s(s.real(2, 1, 3, 4), s.real(3, 4, 2))
    yield s(s.real(3, 4), s.real(2, 4, 2))
    yield s(s.real(3, 0), s.real(0, 2))
    yield s(s.real(0, 3), s.real(3, 2))
    yield s.bad(ShapeError, s.real(3, 4), s.real(3, 4))
    yield s.bad(ShapeError, s.real(4), s.real(4, 2))
    yield s.bad(DTypeError, s.typed(float32, 2, 2), s.typed(float64, 2, 2))
