"""Layers as functions."""

from __future__ import annotations

from ferrum import Tensor, arange
from ferrum.dtypes import CATEGORY, int64
from ferrum.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError
from ferrum_nn import ops
from ferrum_nn.functional.losses_checks import check_tensors

__all__ = ["bilinear", "linear", "normalize", "one_hot"]


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
