"""Picking and placing elements by integer tensors, and the searches that yield such tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ferrum.dtypes import CATEGORY, bool_, int64
from ferrum.errors import DTypeError, OutOfRangeError, ShapeError
from ferrum.op import op
from ferrum.ops.views import getitem, view_scatter, zeros_of
from ferrum.spec import Needs, Shape, Spec, TensorLike, broadcast_shapes

if TYPE_CHECKING:
    from ferrum.samples import Sample, Sampler
    from ferrum.tensor import Tensor

Indices = Sequence[TensorLike | None]


def _whole(name: str, index: TensorLike) -> None:
    if CATEGORY[index.dtype] != 1:
        raise DTypeError(f"{name}: expected integer indices, got {index.dtype.name}")


def indexed_shape(name: str, x: TensorLike, indices: Indices) -> Shape:
    """Return the shape of `x[indices]`, one entry per axis, None for a whole axis: NumPy's rule.

    The broadcast shape of the indices stands where the first one is, or in front if they are apart.
    """
    if len(indices) != len(x.shape):
        raise ShapeError(
            f"{name}: expected {len(x.shape)} entries for {x.shape}, got {len(indices)}"
        )
    places = [i for i, index in enumerate(indices) if index is not None]
    if not places:
        raise ShapeError(f"{name}: expected at least one index tensor")
    for index in indices:
        if index is not None:
            _whole(name, index)
    joint = broadcast_shapes(name, *[index.shape for index in indices if index is not None])
    together = places == list(range(places[0], places[-1] + 1))
    rest = [size for size, index in zip(x.shape, indices, strict=True) if index is None]
    start = places[0] if together else 0
    return (*rest[:start], *joint, *rest[start:])


@op
def index(x: TensorLike, indices: Indices) -> Spec:
    """Return the elements of x that integer tensors pick, one per axis, or None for all of an axis.

    Indices may be negative, from the end. The kernel raises OutOfRangeError for those outside.
    """
    return Spec(indexed_shape("index", x, indices), x.dtype)


@index.gradient
def _(
    g: Tensor, indices: list[Tensor | None], *, needs: Needs
) -> tuple[Tensor | None, list[Tensor | None]]:
    assert needs[0] is not None  # indices are integers
    spread = index_put(zeros_of(g, needs[0].shape), g, indices, accumulate=True)
    return spread, [None] * len(indices)


@index.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(4, 3), [s.indices(0, 3, -1, 0), None])
    yield s(s.real(4, 3), [s.index(4, 2, 1), s.index(3, 2)])
    yield s(s.real(2, 3, 4), [s.index(2, 5), None, s.index(4, 5)])
    yield s(s.real(4, 3), [None, s.index(1, 0)])
    yield s.bad(OutOfRangeError, s.real(4), [s.indices(4)])
    yield s.bad(OutOfRangeError, s.real(4), [s.indices(-5)])
    yield s.bad(DTypeError, s.real(4), [s.typed(bool_, 4)])
    yield s.bad(ShapeError, s.real(4, 4), [s.indices(0, 1), s.indices(0, 1, 2)])


@op(ulp=2, scale=4.0)
def index_put(x: TensorLike, values: TensorLike, indices: Indices, *, accumulate: bool) -> Spec:
    """Return a copy of x with `values` at the elements that `indices` pick, or added to them.

    Where an element is picked more than once and not accumulated, the last value stays.
    """
    shape = indexed_shape("index_put", x, indices)
    if broadcast_shapes("index_put", values.shape, shape) != shape:
        raise ShapeError(f"index_put: values of shape {values.shape} do not fit {shape}")
    if values.dtype is not x.dtype:
        raise DTypeError(f"index_put: expected {x.dtype.name} values, got {values.dtype.name}")
    return Spec(x.shape, x.dtype)


@index_put.gradient
def _(
    g: Tensor, indices: list[Tensor | None], *, accumulate: bool, needs: Needs
) -> tuple[Tensor | None, Tensor | None, list[Tensor | None]]:
    base = g
    if not accumulate and needs[0] is not None:
        base = index_put(g, zeros_of(g, ()), indices, accumulate=False)
    return base, None if needs[1] is None else index(g, indices), [None] * len(indices)


@index_put.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(4, 3), s.real(2, 3), [s.indices(0, 3), None], accumulate=False)
    yield s(s.real(4, 3), s.real(3), [s.indices(1, 1, -3), None], accumulate=True)
    yield s(s.real(4, 3), s.real(1), [s.indices(0, 1), s.indices(2, 0)], accumulate=False)
    yield s.bad(OutOfRangeError, s.real(4), s.real(1), [s.indices(4)], accumulate=False)
    yield s.bad(ShapeError, s.real(4), s.real(3), [s.indices(0, 1)], accumulate=False)
    yield s.bad(DTypeError, s.real(4), s.typed(int64, 1), [s.indices(0)], accumulate=True)


def _beside(name: str, x: TensorLike, index: TensorLike, axis: int) -> None:
    """Check that `index` is no larger than x along every axis but `axis`."""
    _whole(name, index)
    if not 0 <= axis < len(x.shape):
        raise ShapeError(f"{name}: {axis} is not an axis of shape {x.shape}")
    fits = all(
        i == axis or n <= m for i, (n, m) in enumerate(zip(index.shape, x.shape, strict=False))
    )
    if len(index.shape) != len(x.shape) or not fits:
        raise ShapeError(
            f"{name}: an index of shape {index.shape} does not fit {x.shape} beside axis {axis}"
        )


@op
def gather(x: TensorLike, index: TensorLike, *, axis: int) -> Spec:
    """Return out[.., i, ..] = x[.., index[.., i, ..], ..] along `axis`, in the shape of `index`."""
    _beside("gather", x, index, axis)
    return Spec(index.shape, x.dtype)


@gather.gradient
def _(g: Tensor, index: Tensor, *, axis: int, needs: Needs) -> tuple[Tensor, None]:
    assert needs[0] is not None  # indices are integers
    return scatter_add(zeros_of(g, needs[0].shape), index, g, axis=axis), None


@gather.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), s.index(4, 3, 2), axis=1)
    yield s(s.real(3, 4), s.index(3, 5, 4), axis=0)
    yield s(s.real(3, 4), s.index(3, 2, 2), axis=0)
    yield s(s.real(3, 4), s.index(1, 3, 0), axis=1)
    yield s.bad(OutOfRangeError, s.real(3), s.indices(3), axis=0)
    yield s.bad(OutOfRangeError, s.real(3), s.indices(-1), axis=0)
    yield s.bad(ShapeError, s.real(3, 4), s.index(3, 4), axis=0)
    yield s.bad(DTypeError, s.real(3), s.real(3), axis=0)


@op(ulp=2, scale=4.0)
def scatter_add(x: TensorLike, index: TensorLike, src: TensorLike, *, axis: int) -> Spec:
    """Return a copy of x with out[.., index[.., i, ..], ..] += src[.., i, ..] along `axis`.

    Values that fall on one element are added in the row-major order of `index`.
    """
    _beside("scatter_add", x, index, axis)
    if len(src.shape) != len(index.shape) or any(
        n > m for n, m in zip(index.shape, src.shape, strict=True)
    ):
        raise ShapeError(
            f"scatter_add: an index of shape {index.shape} does not fit src {src.shape}"
        )
    if src.dtype is not x.dtype:
        raise DTypeError(f"scatter_add: expected {x.dtype.name} values, got {src.dtype.name}")
    return Spec(x.shape, x.dtype)


@scatter_add.gradient
def _(g: Tensor, index: Tensor, *, axis: int, needs: Needs) -> tuple[Tensor | None, ...]:
    if needs[2] is None:
        return g, None, None
    picked = gather(g, index, axis=axis)
    if needs[2].shape != index.shape:  # the rest of src was not read
        corner = tuple((0, n, 1) for n in index.shape)
        picked = view_scatter(
            zeros_of(g, needs[2].shape), picked, path=((getitem, {"key": corner}),)
        )
    return g, None, picked


@scatter_add.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), s.index(4, 3, 5), s.real(3, 5), axis=1)
    yield s(s.real(3, 4), s.index(3, 2, 4), s.real(3, 4), axis=0)
    yield s(s.real(3), s.index(3, 0), s.real(0), axis=0)
    yield s.bad(OutOfRangeError, s.real(3), s.indices(3), s.real(1), axis=0)
    yield s.bad(ShapeError, s.real(3), s.indices(0, 1), s.real(1), axis=0)
    yield s.bad(DTypeError, s.real(3), s.indices(0), s.typed(int64, 1), axis=0)


@op(differentiable=False)
def argsort(x: TensorLike, *, axis: int, descending: bool) -> Spec:
    """Return the indices that sort x along `axis`.

    Equals keep their order, NaN counts as largest.
    """
    if not 0 <= axis < len(x.shape):
        raise ShapeError(f"argsort: {axis} is not an axis of shape {x.shape}")
    return Spec(x.shape, int64)


@argsort.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), axis=1, descending=False)
    yield s(s.exact(2, 1, 2, 1, float("nan"), 0), axis=0, descending=True)
    yield s(s.exact(2, 1, 2, 1, float("nan"), 0), axis=0, descending=False)
    yield s(s.real(0, 2), axis=0, descending=False)
    yield s.bad(ShapeError, s.real(3), axis=1, descending=False)
    yield s.bad(ShapeError, s.real(), axis=0, descending=False)


@op(differentiable=False)
def nonzero(x: TensorLike) -> Spec:
    """Return the indices of the elements that are not 0, a tensor (count, ndim) in row-major order.

    The count depends on the values: the rule says -1 for it.
    """
    return Spec((-1, len(x.shape)), int64)


@nonzero.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.truth(3, 4))
    yield s(s.exact(0, 1, float("nan"), -0.0))
    yield s(s.truth())
    yield s(s.truth(0, 2))
    yield s.bad(TypeError, "text")
    yield s.bad(TypeError, s.real(2), s.real(2))
