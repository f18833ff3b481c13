"""Distances and similarities, as functions."""

from __future__ import annotations

from operator import index

from numpy import triu_indices

from ferrum import Tensor, tensor
from ferrum.errors import ArgumentError, OperandError, ShapeError
from ferrum.spec import broadcast_shapes
from ferrum_nn.functional.losses_checks import (
    check_floating,
    check_tensors,
    clamp_through,
    number,
)

__all__ = ["cosine_similarity", "pairwise_distance", "pdist"]


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Return x₁·x₂ / (max(‖x₁‖, eps) max(‖x₂‖, eps)) along `dim`. The shapes broadcast."""
    name = "cosine_similarity"
    check_tensors(name, x1, x2)
    eps = number(name, "eps", eps)
    try:
        dim = index(dim)
    except TypeError as error:
        raise OperandError(f"{name}: expected an integer as dim, got {dim!r}") from error
    for each in (x1, x2):
        check_floating(name, each)
    shape = broadcast_shapes(name, x1.shape, x2.shape)
    x1, x2 = (x if x.shape == shape else x.expand(shape) for x in (x1, x2))
    one, two = (clamp_through(x.norm(2, dim, keepdim=True), eps) for x in (x1, x2))
    return ((x1 / one) * (x2 / two)).sum(dim)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """Return the p-norm of x₁ - x₂ + eps along the last axis: (..., d) to (...).

    The shapes broadcast. `keepdim` leaves an axis of size 1.
    """
    name = "pairwise_distance"
    check_tensors(name, x1, x2)
    p, eps = number(name, "p", p), number(name, "eps", eps)
    for each in (x1, x2):
        check_floating(name, each)
    if not broadcast_shapes(name, x1.shape, x2.shape):
        raise ShapeError(f"{name}: expected vectors (..., d), got tensors without an axis")
    return (x1 - x2 + eps).norm(p, -1, keepdim=keepdim)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """Return the p-norms of the differences of every two rows of (n, d), a tensor (n (n - 1) / 2,).

    In the order of the pairs (0, 1), (0, 2), ..., (1, 2), ... The gradient is 0 for equal rows.
    """
    check_tensors("pdist", input)
    p = number("pdist", "p", p)
    check_floating("pdist", input)
    if input.ndim != 2:
        raise ShapeError(f"pdist: expected rows (n, d), got {input.shape}")
    if not p >= 0:
        raise ArgumentError(f"pdist: expected p of at least 0, got {p}")
    one, two = (tensor(each, device=input.device) for each in triu_indices(input.shape[0], 1))
    differences = input[one] - input[two]
    return differences.norm(p, 1) if input.shape[1] else differences.sum(1)
