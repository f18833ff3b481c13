"""Activations as functions."""

from __future__ import annotations

import ferrum as fe
from ferrum import Tensor, sigmoid, tanh
from ferrum.dtypes import DTypeLike

__all__ = ["log_softmax", "relu", "sigmoid", "softmax", "tanh"]


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """Return max(x, 0), or write it into x if `inplace`; NaN stays NaN."""
    return Tensor.relu_(input) if inplace else Tensor.relu(input)


def softmax(input: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return exp(x) / ∑exp(x) along `dim`, of x cast to `dtype` if one is given."""
    return fe.softmax(input, dim, dtype)


def log_softmax(input: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """Return x - log ∑exp(x) along `dim`, of x cast to `dtype` if one is given."""
    return fe.log_softmax(input, dim, dtype)
