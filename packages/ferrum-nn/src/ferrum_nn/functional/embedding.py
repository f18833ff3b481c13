"""Embeddings as functions: rows of a table, one by one or summed in bags."""

from __future__ import annotations

from operator import index

from ferrum import Tensor, arange, cat, no_grad, tensor, where
from ferrum.dtypes import int64
from ferrum.errors import (
    ArgumentError,
    DTypeError,
    OperandError,
    OutOfRangeError,
    ShapeError,
    UnsupportedError,
)
from ferrum.mode import current
from ferrum_nn import ops
from ferrum_nn.functional.layers import is_whole
from ferrum_nn.functional.losses_checks import check_tensors

__all__ = ["embedding", "embedding_bag"]


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Return rows of weight (n, d), one for each integer of input (...): a tensor (..., d).

    The row `padding_idx` gets no gradient. With `max_norm` the rows that are picked are first
    scaled, in place, so that their `norm_type`-norm is at most that. `scale_grad_by_freq` divides a
    row's gradient by how often it was picked. Gradients are never sparse: `sparse` is refused.

    Raises OutOfRangeError for an integer that is no row.
    """
    check_tensors("embedding", input, weight)
    if sparse:
        raise UnsupportedError("embedding: there are no sparse gradients; leave out sparse=True")
    if padding_idx is not None:
        padding_idx = row_of("embedding", padding_idx, weight.shape[0] if weight.ndim else 0)
    _check_rows("embedding", input)
    if max_norm is not None:
        _renormalize(weight, input, max_norm, norm_type)
    return ops.embedding(
        weight, input, padding_idx=padding_idx, scale_grad_by_freq=bool(scale_grad_by_freq)
    )


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Return for each bag the "sum", "mean" or "max" of the rows of weight (n, d) it picks.

    `input` are integers (bags, length), or (m,) with `offsets` (bags,): where each bag begins. With
    `include_last_offset` the last offset is where the last bag ends, and what follows is not read.
    An empty bag gives 0. `per_sample_weights`, of the shape of input, multiply rows before they are
    added, for "sum" only. Rows that are `padding_idx` count for nothing, in a mean too. The other
    arguments are those of `embedding`; `scale_grad_by_freq` is not for "max".

    The result is (bags, d). Raises OutOfRangeError for an integer that is no row, ArgumentError for
    offsets that do not begin at 0 and rise to at most m.
    """
    name = "embedding_bag"
    others = [each for each in (offsets, per_sample_weights) if each is not None]
    check_tensors(name, input, weight, *others)
    check_mode(name, mode, sparse, scale_grad_by_freq, per_sample_weights)
    _check_bags(input, weight, offsets, per_sample_weights)
    if padding_idx is not None:
        padding_idx = row_of(name, padding_idx, weight.shape[0])
    indices, ends = _bags(input, offsets, include_last_offset)
    _check_rows(name, indices)
    if max_norm is not None:
        _renormalize(weight, input, max_norm, norm_type)
    if mode == "max":
        return ops.embedding_bag_max(weight, indices, ends, padding_idx=padding_idx)[0]
    scale = None if per_sample_weights is None else per_sample_weights.reshape(-1)
    sums = ops.embedding_bag(
        weight,
        indices,
        ends,
        scale,
        padding_idx=padding_idx,
        scale_grad_by_freq=bool(scale_grad_by_freq),
    )
    if mode == "sum":
        return sums
    sizes = _sizes(indices, ends, padding_idx).clamp(min=1).to(sums.dtype)
    return sums / sizes.unsqueeze(1)


def check_mode(
    name: str, mode: str, sparse: bool, by_freq: bool, per_sample_weights: Tensor | None
) -> None:
    if mode not in ("sum", "mean", "max"):
        raise ArgumentError(f"{name}: expected mode 'sum', 'mean' or 'max', got {mode!r}")
    if sparse:
        raise UnsupportedError(f"{name}: there are no sparse gradients; leave out sparse=True")
    if by_freq and mode == "max":
        raise ArgumentError(f"{name}: scale_grad_by_freq is for modes 'sum' and 'mean', got 'max'")
    if per_sample_weights is not None and mode != "sum":
        raise UnsupportedError(f"{name}: per_sample_weights are for mode 'sum', got {mode!r}")


def _check_bags(
    input: Tensor, weight: Tensor, offsets: Tensor | None, per_sample_weights: Tensor | None
) -> None:
    name = "embedding_bag"
    for what, each in (("input", input), ("offsets", offsets)):
        if each is not None and not is_whole(each):
            raise DTypeError(f"{name}: expected integers as {what}, got {each.dtype.name}")
    if weight.ndim != 2 or input.ndim not in (1, 2):
        raise ShapeError(
            f"{name}: expected integers (bags, length) or (m,) and a weight (n, d), got "
            f"{input.shape} and {weight.shape}"
        )
    if input.ndim == 2 and offsets is not None:
        raise ArgumentError(
            f"{name}: rows of input (bags, length) are the bags; leave out offsets, or give "
            f"integers (m,)"
        )
    if input.ndim == 1 and (offsets is None or offsets.ndim != 1):
        raise ShapeError(
            f"{name}: expected offsets (bags,) of integers (m,), got "
            f"{None if offsets is None else offsets.shape}"
        )
    if per_sample_weights is None:
        return
    if per_sample_weights.shape != input.shape:
        raise ShapeError(
            f"{name}: expected per_sample_weights of the shape of input, {input.shape}, got "
            f"{per_sample_weights.shape}"
        )
    if per_sample_weights.dtype is not weight.dtype:
        raise DTypeError(
            f"{name}: expected per_sample_weights of {weight.dtype.name}, got "
            f"{per_sample_weights.dtype.name}"
        )


def _bags(input: Tensor, offsets: Tensor | None, ends_too: bool) -> tuple[Tensor, Tensor]:
    """Return the integers (m,) of all bags, and where bags begin and the last one ends."""
    if offsets is None:
        bags, length = input.shape
        ends = arange(bags + 1, dtype=int64, device=input.device) * length
        return input.reshape(-1).to(int64), ends
    size = input.shape[0]
    ends = offsets.to(int64)
    if ends_too and not len(ends):
        raise ShapeError("embedding_bag: expected at least one offset with include_last_offset")
    if not ends_too:
        ends = cat([ends, tensor([size], dtype=int64, device=input.device)])
    if not current().forbids_values:
        places = ends.tolist()
        if (len(offsets) and places[0]) or sorted(places) != places or places[-1] > size:
            raise ArgumentError(
                f"embedding_bag: expected offsets that begin at 0 and rise to at most {size}, got "
                f"{offsets.tolist()}"
            )
        if not len(offsets) and size:
            raise ArgumentError(f"embedding_bag: expected offsets for {size} integers, got none")
    return input.to(int64), ends


def _sizes(indices: Tensor, ends: Tensor, padding_idx: int | None) -> Tensor:
    """Return how many integers of each bag count (bags,)."""
    if padding_idx is not None:
        none = tensor([0], dtype=int64, device=indices.device)
        ends = cat([none, (indices != padding_idx).to(int64).cumsum(0)])[ends]
    return ends[1:] - ends[:-1]


def _check_rows(name: str, input: Tensor) -> None:
    """Raise OutOfRangeError for a negative integer: these do not count from the end."""
    if not current().forbids_values and is_whole(input) and (input < 0).any():
        raise OutOfRangeError(f"{name}: expected rows from 0, got {input.min().item()}")


def row_of(name: str, padding_idx: int, rows: int) -> int:
    """Return `padding_idx`, which may count from the end, as a row, or raise."""
    try:
        row = index(padding_idx)
    except TypeError as error:
        raise OperandError(
            f"{name}: expected an integer as padding_idx, got {padding_idx!r}"
        ) from error
    if not -rows <= row < rows:
        raise ArgumentError(f"{name}: expected padding_idx within {rows} rows, got {row}")
    return row % rows


@no_grad()
def _renormalize(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale the rows of weight that input picks down to a norm of at most `max_norm`."""
    if weight.ndim != 2 or not is_whole(input):
        return  # the op says what is wrong
    rows = input.reshape(-1)
    picked = weight[rows]
    norms = picked.norm(norm_type, dim=1, keepdim=True)
    weight[rows] = where(norms > max_norm, picked * (max_norm / (norms + 1e-7)), picked)
