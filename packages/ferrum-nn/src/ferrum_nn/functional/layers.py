"""Layers as functions."""

from __future__ import annotations

from operator import index

from ferrum import Tensor, arange, no_grad, where
from ferrum.dtypes import CATEGORY, int64
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
from ferrum_nn.functional.losses_checks import check_tensors

__all__ = ["bilinear", "embedding", "linear", "normalize", "one_hot"]


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x Wᵀ + b of x (..., in), W (out, in) and b (out,): a tensor (..., out)."""
    return ops.linear(input, weight, bias)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x₁ᵀ Wₖ x₂ + bₖ for each k: of (..., in1), (..., in2), W (out, in1, in2) and b (out,).

    The result is (..., out). Raises ShapeError or DTypeError for operands that do not fit.
    """
    check_tensors("bilinear", input1, input2, weight, *(() if bias is None else (bias,)))
    fits = (
        weight.ndim == 3
        and input1.shape[-1:] == weight.shape[1:2]
        and input2.shape[-1:] == weight.shape[2:]
        and input1.shape[:-1] == input2.shape[:-1]
        and (bias is None or bias.shape == weight.shape[:1])
    )
    if not fits:
        raise ShapeError(
            f"bilinear: expected (..., in1), (..., in2), a weight (out, in1, in2) and a bias "
            f"(out,), got {input1.shape}, {input2.shape}, {weight.shape} and "
            f"{None if bias is None else bias.shape}"
        )
    if not input1.dtype is input2.dtype is weight.dtype:
        raise DTypeError(
            f"bilinear: expected operands of one dtype, got {input1.dtype.name}, "
            f"{input2.dtype.name} and {weight.dtype.name}"
        )
    outputs, one, two = weight.shape
    half = input1 @ weight.movedim(0, 1).reshape(one, outputs * two)
    whole = half.reshape(*input1.shape[:-1], outputs, two) @ input2.unsqueeze(-1)
    out = whole.squeeze(-1)
    return out if bias is None else out + bias


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
    if not current().forbids_values and is_whole(input) and (input < 0).any():
        raise OutOfRangeError(f"embedding: expected rows from 0, got {input.min().item()}")
    if max_norm is not None:
        _renormalize(weight, input, max_norm, norm_type)
    return ops.embedding(
        weight, input, padding_idx=padding_idx, scale_grad_by_freq=bool(scale_grad_by_freq)
    )


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


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Return 1 at the class of each element of an integer tensor (...), else 0: (..., classes).

    There are as many classes as the largest one needs if `num_classes` is -1. Raises
    OutOfRangeError for a class outside of them.
    """
    check_tensors("one_hot", tensor)
    if not is_whole(tensor):
        raise DTypeError(f"one_hot: expected integer classes, got {tensor.dtype.name}")
    if not tensor.numel():
        if num_classes <= 0:
            raise ArgumentError("one_hot: expected num_classes for a tensor without elements")
    else:
        least, most = int(tensor.min().item()), int(tensor.max().item())
        if num_classes == -1:
            num_classes = max(most, 0) + 1
        if num_classes < 1:
            raise ArgumentError(f"one_hot: expected num_classes of at least 1, got {num_classes}")
        if least < 0 or most >= num_classes:
            raise OutOfRangeError(
                f"one_hot: expected classes from 0 to {num_classes - 1}, got {least} to {most}"
            )
    return (tensor.unsqueeze(-1) == arange(num_classes, device=tensor.device)).to(int64)


def normalize(
    input: Tensor, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12
) -> Tensor:
    """Return x / max(‖x‖, eps) with the p-norm along `dim`."""
    check_tensors("normalize", input)
    return input / input.norm(p, dim, keepdim=True).clamp_min(eps)


def is_whole(x: Tensor) -> bool:
    """Return whether x has an integer dtype."""
    return CATEGORY[x.dtype] == 1
