"""The ops of embedding bags: sums, over bags, of rows that are picked from a table.

A bag is a run of `indices` (n,): bag b has those from offsets[b] on, before offsets[b + 1]. Its sum
is linear in the table and in the `scale` of each index, so that the op and its two adjoints are
each other's gradients. An index that is `padding_idx`, or lies in no bag, counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, arange, cat, ones_like, op, ops, where, zeros
from ferrum.dtypes import float32, float64, int64, is_floating
from ferrum.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError
from ferrum.spec import Needs
from ferrum_nn.ops.embedding import times_picked

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


def _check(
    name: str,
    table: TensorLike,
    indices: TensorLike,
    offsets: TensorLike,
    scale: TensorLike | None,
    padding_idx: int | None,
    rows: int,
) -> None:
    """Raise unless these are a table or gradient (..., d), a pick from `rows` rows, and bags."""
    if indices.dtype is not int64 or offsets.dtype is not int64:
        raise DTypeError(
            f"{name}: expected int64 indices and offsets, got {indices.dtype.name} and "
            f"{offsets.dtype.name}"
        )
    if len(table.shape) != 2 or not is_floating(table.dtype):
        raise ShapeError(
            f"{name}: expected a floating-point table of two axes, got {table.dtype.name} "
            f"{table.shape}"
        )
    if len(indices.shape) != 1 or len(offsets.shape) != 1 or not offsets.shape[0]:
        raise ShapeError(
            f"{name}: expected indices (n,) and offsets (bags + 1,), got {indices.shape} and "
            f"{offsets.shape}"
        )
    if scale is not None and (scale.shape != indices.shape or scale.dtype is not table.dtype):
        raise ShapeError(
            f"{name}: expected a scale of shape {indices.shape} and {table.dtype.name}, got "
            f"{scale.shape} {scale.dtype.name}"
        )
    if padding_idx is not None and not 0 <= padding_idx < rows:
        raise ArgumentError(f"{name}: expected padding_idx from 0 to {rows - 1}, got {padding_idx}")


def _check_sums(name: str, g: TensorLike, offsets: TensorLike, columns: int) -> None:
    """Raise unless g is one gradient for each bag."""
    if g.shape != (offsets.shape[0] - 1, columns):
        raise ShapeError(
            f"{name}: expected a gradient ({offsets.shape[0] - 1}, {columns}), got {g.shape}"
        )


def bags_of(indices: Tensor, offsets: Tensor, padding_idx: int | None) -> Tensor:
    """Return the bag of each index (n,); the number of bags for one that counts for nothing."""
    size, bags = indices.shape[0], offsets.shape[0] - 1
    none = zeros(size + 1, dtype=int64, device=indices.device)
    found = none.scatter_add(0, offsets, ones_like(offsets)).cumsum(0)[:size] - 1
    return found if padding_idx is None else where(indices == padding_idx, bags, found)


def _wide(x: Tensor) -> Tensor:
    """Return x in the dtype to add in."""
    return x.to(float64 if x.dtype is float64 else float32)


def _with_none(g: Tensor) -> Tensor:
    """Return a gradient (bags, d) with zeros behind, for what is in no bag."""
    return cat([_wide(g), zeros(1, g.shape[1], dtype=_wide(g).dtype, device=g.device)])


# ---- sums


@op(ulp=4, scale=16.0)
def embedding_bag(
    weight: TensorLike,
    indices: TensorLike,
    offsets: TensorLike,
    scale: TensorLike | None,
    *,
    padding_idx: int | None,
    scale_grad_by_freq: bool,
) -> Spec:
    """Return for each bag the sum of its rows of weight (rows, d), each times its scale: (bags, d).

    With `scale_grad_by_freq` the gradient of a row is divided by how often it was picked.
    """
    _check("embedding_bag", weight, indices, offsets, scale, padding_idx, weight.shape[0])
    return Spec((offsets.shape[0] - 1, weight.shape[1]), weight.dtype)


@embedding_bag.fallback
def _(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale: Tensor | None,
    *,
    padding_idx: int | None,
    scale_grad_by_freq: bool,
) -> Tensor:
    bags = offsets.shape[0] - 1
    rows = _wide(ops.index(weight, [indices, None]))
    if scale is not None:
        rows = rows * scale.unsqueeze(1)
    sums = zeros(bags + 1, weight.shape[1], dtype=rows.dtype, device=weight.device)
    into = bags_of(indices, offsets, padding_idx)
    return ops.index_put(sums, rows, [into, None], accumulate=True)[:bags].to(weight.dtype)


@embedding_bag.gradient
def _(
    g: Tensor,
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale: Tensor | None,
    *,
    padding_idx: int | None,
    scale_grad_by_freq: bool,
    needs: Needs,
) -> tuple[Tensor | None, None, None, Tensor | None]:
    of_weight = of_scale = None
    if needs[0] is not None:
        rows = needs[0].shape[0]
        of_weight = embedding_bag_weight(
            g, indices, offsets, scale, rows=rows, padding_idx=padding_idx
        )
        if scale_grad_by_freq:
            of_weight = of_weight / times_picked(indices, rows).clamp(min=1).to(g.dtype)
    if needs[3] is not None:
        of_scale = embedding_bag_scale(g, weight, indices, offsets, padding_idx=padding_idx)
    return of_weight, None, None, of_scale


embedding_bag.keep_for(weight="scale")


# ---- the gradient of the table


@op(ulp=4, scale=16.0)
def embedding_bag_weight(
    g: TensorLike,
    indices: TensorLike,
    offsets: TensorLike,
    scale: TensorLike | None,
    *,
    rows: int,
    padding_idx: int | None,
) -> Spec:
    """Return the gradient of the table (rows, d), of sums with gradient g (bags, d)."""
    _check("embedding_bag_weight", g, indices, offsets, scale, padding_idx, rows)
    _check_sums("embedding_bag_weight", g, offsets, g.shape[1])
    return Spec((rows, g.shape[1]), g.dtype)


@embedding_bag_weight.fallback
def _(
    g: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale: Tensor | None,
    *,
    rows: int,
    padding_idx: int | None,
) -> Tensor:
    each = ops.index(_with_none(g), [bags_of(indices, offsets, padding_idx), None])
    if scale is not None:
        each = each * scale.unsqueeze(1)
    table = zeros(rows, g.shape[1], dtype=each.dtype, device=g.device)
    return ops.index_put(table, each, [indices, None], accumulate=True).to(g.dtype)


@embedding_bag_weight.gradient
def _(
    gg: Tensor,
    g: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale: Tensor | None,
    *,
    rows: int,
    padding_idx: int | None,
    needs: Needs,
) -> tuple[Tensor | None, None, None, Tensor | None]:
    of_g = of_scale = None
    if needs[0] is not None:
        of_g = embedding_bag(
            gg, indices, offsets, scale, padding_idx=padding_idx, scale_grad_by_freq=False
        )
    if needs[3] is not None:
        of_scale = embedding_bag_scale(g, gg, indices, offsets, padding_idx=padding_idx)
    return of_g, None, None, of_scale


embedding_bag_weight.keep_for(g="scale")


# ---- the gradient of the scales


@op(ulp=4, scale=16.0)
def embedding_bag_scale(
    g: TensorLike,
    weight: TensorLike,
    indices: TensorLike,
    offsets: TensorLike,
    *,
    padding_idx: int | None,
) -> Spec:
    """Return the gradient of each index's scale (n,): its row times the gradient of its bag."""
    _check("embedding_bag_scale", weight, indices, offsets, None, padding_idx, weight.shape[0])
    _check_sums("embedding_bag_scale", g, offsets, weight.shape[1])
    if g.dtype is not weight.dtype:
        raise DTypeError(
            f"embedding_bag_scale: expected a gradient of {weight.dtype.name}, got {g.dtype.name}"
        )
    return Spec(indices.shape, weight.dtype)


@embedding_bag_scale.fallback
def _(
    g: Tensor, weight: Tensor, indices: Tensor, offsets: Tensor, *, padding_idx: int | None
) -> Tensor:
    bags = offsets.shape[0] - 1
    into = bags_of(indices, offsets, padding_idx)
    rows = _wide(ops.index(weight, [indices, None]))
    counts = ((into >= 0) & (into < bags)).unsqueeze(1)
    each: Tensor = where(counts, rows, 0.0) * ops.index(_with_none(g), [into, None])
    return each.sum(1).to(weight.dtype)


@embedding_bag_scale.gradient
def _(
    gg: Tensor,
    g: Tensor,
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    *,
    padding_idx: int | None,
    needs: Needs,
) -> tuple[Tensor | None, Tensor | None, None, None]:
    of_g = of_weight = None
    if needs[0] is not None:
        of_g = embedding_bag(
            weight, indices, offsets, gg, padding_idx=padding_idx, scale_grad_by_freq=False
        )
    if needs[1] is not None:
        rows = needs[1].shape[0]
        of_weight = embedding_bag_weight(
            g, indices, offsets, gg, rows=rows, padding_idx=padding_idx
        )
    return of_g, of_weight, None, None


embedding_bag_scale.keep_for(g="weight", weight="g")


# ---- the largest


@op(outputs=("out", "picked"))
def embedding_bag_max(
    weight: TensorLike, indices: TensorLike, offsets: TensorLike, *, padding_idx: int | None
) -> tuple[Spec, Spec]:
    """Return for each bag and column the largest element of its rows, and the row that has it.

    Both are (bags, d). A bag in which nothing counts has 0, of row -1. Of equals the first is
    taken; NaN counts as largest.
    """
    _check("embedding_bag_max", weight, indices, offsets, None, padding_idx, weight.shape[0])
    shape = (offsets.shape[0] - 1, weight.shape[1])
    return Spec(shape, weight.dtype), Spec(shape, int64)


@embedding_bag_max.fallback
def _(
    weight: Tensor, indices: Tensor, offsets: Tensor, *, padding_idx: int | None
) -> tuple[Tensor, Tensor]:
    bags, columns = offsets.shape[0] - 1, weight.shape[1]
    into = bags_of(indices, offsets, padding_idx)
    rows = ops.index(weight, [indices, None])
    # Sorted by bag, and in a bag from the largest on: sorting keeps the order of equals.
    order = ops.argsort(rows, axis=0, descending=True)
    by_bag = ops.argsort(ops.index(into, [order]), axis=0, descending=False)
    order = order.gather(0, by_bag)
    none = zeros(bags + 1, dtype=int64, device=weight.device)
    sizes = none.scatter_add(0, into, ones_like(into))[:bags].unsqueeze(1)
    if not rows.shape[0]:
        empty = zeros(bags, columns, dtype=weight.dtype, device=weight.device)
        return empty, empty.to(int64) - 1
    first = (sizes.cumsum(0) - sizes).clamp(max=rows.shape[0] - 1).expand(bags, columns)
    places = order.gather(0, first)
    found = where(sizes > 0, rows.gather(0, places), 0.0)
    return found, where(sizes > 0, ops.index(indices, [places]), -1)


@embedding_bag_max.gradient
def _(
    g: tuple[Tensor | None, ...], picked: Tensor, *, padding_idx: int | None, needs: Needs
) -> tuple[Tensor | None, None, None]:
    if g[0] is None or needs[0] is None:
        return None, None, None
    table = zeros(*needs[0].shape, dtype=g[0].dtype, device=picked.device)
    each = where(picked >= 0, g[0], 0.0)
    columns = arange(needs[0].shape[1], device=picked.device)
    return ops.index_put(table, each, [picked.clamp(min=0), columns], accumulate=True), None, None


# ---- samples of all four


@embedding_bag.samples
def _(s: Sampler) -> Iterator[Sample]:
    plain = {"padding_idx": None, "scale_grad_by_freq": False}
    table, indices, offsets = s.real(4, 3), s.indices(0, 3, 3, 1, 2), s.indices(0, 2, 2, 5)
    yield s(table, indices, offsets, None, **plain)
    yield s(table, indices, offsets, s.real(5), **plain)
    yield s(table, indices, s.indices(0, 2, 4), s.real(5), **plain)  # the last is in no bag
    yield s(table, indices, offsets, s.real(5), padding_idx=3, scale_grad_by_freq=False)
    # what this has in place of a derivative is a convention
    yield s.kink(table, indices, offsets, None, padding_idx=1, scale_grad_by_freq=True)
    yield s(table, s.indices(), s.indices(0, 0), None, **plain)
    yield s(table, s.indices(), s.indices(0), None, **plain)
    yield s(s.real(4, 0), indices, offsets, None, **plain)
    yield s.bad(OutOfRangeError, table, s.indices(4), s.indices(0, 1), None, **plain)
    yield s.bad(OutOfRangeError, table, indices, s.indices(0, 6), None, **plain)
    yield s.bad(DTypeError, table, s.real(5), offsets, None, **plain)
    yield s.bad(ShapeError, s.real(4), indices, offsets, None, **plain)
    yield s.bad(ShapeError, table, indices, s.indices(), None, **plain)
    yield s.bad(ShapeError, table, indices, offsets, s.real(4), **plain)
    far = {"padding_idx": 4, "scale_grad_by_freq": False}
    yield s.bad(ArgumentError, table, indices, offsets, None, **far)


@embedding_bag_weight.samples
def _(s: Sampler) -> Iterator[Sample]:
    g, indices, offsets = s.real(3, 2), s.indices(0, 3, 3, 1, 2), s.indices(0, 2, 2, 5)
    yield s(g, indices, offsets, None, rows=4, padding_idx=None)
    yield s(g, indices, offsets, s.real(5), rows=5, padding_idx=3)
    yield s(s.real(0, 2), s.indices(), s.indices(0), None, rows=4, padding_idx=None)
    yield s.bad(OutOfRangeError, g, indices, offsets, None, rows=3, padding_idx=None)
    yield s.bad(ShapeError, s.real(2, 2), indices, offsets, None, rows=4, padding_idx=None)
    yield s.bad(ArgumentError, g, indices, offsets, None, rows=4, padding_idx=-1)


@embedding_bag_scale.samples
def _(s: Sampler) -> Iterator[Sample]:
    g, table = s.real(3, 2), s.real(4, 2)
    indices, offsets = s.indices(0, 3, 3, 1, 2), s.indices(0, 2, 2, 5)
    yield s(g, table, indices, offsets, padding_idx=None)
    yield s(g, table, indices, offsets, padding_idx=3)
    yield s(s.real(1, 2), table, indices, s.indices(0, 4), padding_idx=None)
    yield s(s.real(0, 2), table, s.indices(), s.indices(0), padding_idx=None)
    yield s.bad(OutOfRangeError, g, s.real(3, 2), indices, offsets, padding_idx=None)
    yield s.bad(ShapeError, s.real(3, 3), table, indices, offsets, padding_idx=None)
    yield s.bad(ShapeError, s.real(2, 2), table, indices, offsets, padding_idx=None)


@embedding_bag_max.samples
def _(s: Sampler) -> Iterator[Sample]:
    table, indices, offsets = s.real(4, 3), s.indices(0, 3, 3, 1, 2), s.indices(0, 2, 2, 5)
    yield s(table, indices, offsets, padding_idx=None)
    yield s(table, indices, offsets, padding_idx=3)
    yield s(table, indices, s.indices(0, 1, 4), padding_idx=None)
    yield s(table, s.indices(), s.indices(0, 0), padding_idx=None)
    yield s(table, s.indices(2, 2), s.indices(0, 2), padding_idx=2)
    yield s.bad(OutOfRangeError, table, s.indices(4), s.indices(0, 1), padding_idx=None)
    yield s.bad(ShapeError, table, indices, s.indices(), padding_idx=None)
    yield s.bad(ArgumentError, table, indices, offsets, padding_idx=4)
