"""Attention as a function."""

from __future__ import annotations

from math import sqrt

from ferrum import Tensor
from ferrum.errors import OperandError, ShapeError
from ferrum.random import default_generator
from ferrum.spec import broadcast_shapes
from ferrum_nn import ops
from ferrum_nn.functional.dropout import probability
from ferrum_nn.functional.losses_checks import number

__all__ = ["scaled_dot_product_attention"]

_NAME = "scaled_dot_product_attention"


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return softmax(scale q kᵀ + mask) v of q (..., l, e), k (..., s, e) and v (..., s, ev).

    The result is (..., l, ev), of any axes in front that broadcast together. `attn_mask` broadcasts
    to (..., l, s): a bool one is True where a query attends to a key, another is added to the
    scores. `is_causal`, in place of a mask, lets query i attend to keys 0 to i, and a query that
    may attend to nothing gives 0. Weights are dropped with probability `dropout_p`, always: pass 0
    when not training. `scale` None is 1 / √e. With `enable_gqa` heads, the axis before the last
    two, of key and value may be fewer than the query's, by a divisor: neighbours share one (Ainslie
    et al., "GQA", arXiv:2305.13245). From Vaswani et al., "Attention Is All You Need",
    arXiv:1706.03762.

    Raises ShapeError or DTypeError for tensors that do not go together, ArgumentError for a mask
    with `is_causal`, a `dropout_p` that is no probability or a `scale` that is not finite.
    """
    _check_tensors(query, key, value, attn_mask)
    p = probability(_NAME, dropout_p)
    query, key, value = _together(query, key, value, enable_gqa)
    factor = 1 / sqrt(query.shape[-1] or 1) if scale is None else number(_NAME, "scale", scale)
    drawn = default_generator.next_key() if p else (0, 0)
    return ops.scaled_dot_product_attention(
        query, key, value, attn_mask, scale=factor, causal=bool(is_causal), p=p, key=drawn
    )[0]


def _check_tensors(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None) -> None:
    for what, x in (("query", query), ("key", key), ("value", value), ("attn_mask", attn_mask)):
        if x is None and what == "attn_mask":
            continue
        if not isinstance(x, Tensor):
            raise OperandError(f"{_NAME}: expected a tensor as {what}, got {type(x).__name__}")
        if x.ndim < 2 and what != "attn_mask":
            raise ShapeError(f"{_NAME}: expected a {what} of 2 axes or more, got {x.shape}")


def _together(
    query: Tensor, key: Tensor, value: Tensor, grouped: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the three with the same axes in front, but for the heads if they are in groups."""
    given = query, key, value
    if grouped and min(x.ndim for x in given) < 3:
        raise ShapeError(
            f"{_NAME}: expected heads, (..., heads, length, size), with enable_gqa=True, got "
            f"{query.shape}, {key.shape} and {value.shape}"
        )
    inner = 3 if grouped else 2
    lead = broadcast_shapes(_NAME, *(x.shape[:-inner] for x in given))
    query, key, value = (x.expand(*lead, *x.shape[-inner:]) for x in given)
    if grouped and key.shape[-3] != value.shape[-3]:  # rare: no kernel knows groups of two sizes
        key, value = (_repeated(x, query.shape[-3]) for x in (key, value))
    return query, key, value


def _repeated(x: Tensor, heads: int) -> Tensor:
    """Return keys or values with that many heads, each repeated beside itself."""
    have = x.shape[-3]
    if have == heads:
        return x
    if not have or heads % have:
        raise ShapeError(
            f"{_NAME}: expected heads of key and value that divide the query's, got {have} "
            f"and {heads}"
        )
    each, *inner = heads // have, *x.shape[-2:]
    return x.unsqueeze(-3).expand(*x.shape[:-2], each, *inner).reshape(*x.shape[:-3], heads, *inner)
