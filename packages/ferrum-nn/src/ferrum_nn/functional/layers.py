"""Layers as functions."""

from __future__ import annotations

from ferrum import Tensor
from ferrum_nn import ops

__all__ = ["linear"]


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x Wᵀ + b of x (..., in), W (out, in) and b (out,): a tensor (..., out)."""
    return ops.linear(input, weight, bias)
