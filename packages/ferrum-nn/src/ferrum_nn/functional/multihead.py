"""Attention of several heads as a function."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, sqrt
from typing import NamedTuple

from ferrum import Tensor, cat, zeros
from ferrum.dtypes import bool_, is_floating
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum_nn import ops
from ferrum_nn.cache import CrossCache, KeyValueCache, refuse_gradients
from ferrum_nn.functional.activations import softmax
from ferrum_nn.functional.attention import scaled_dot_product_attention
from ferrum_nn.functional.dropout import dropout, probability
from ferrum_nn.functional.padding import pad

__all__ = ["multi_head_attention_forward"]

_NAME = "multi_head_attention_forward"
_THREE = "query", "key", "value"


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    *,
    batch_first: bool = False,
    cache: KeyValueCache | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return what MultiheadAttention does, with its parameters given: the result and the weights.

    With e = `embed_dim_to_check`, `in_proj_weight` is (3 e, e), or with `use_separate_proj_weight`
    there are three of (e, features), and `in_proj_bias` is (3 e,). `static_k` and `static_v`,
    (n·num_heads, s, e / num_heads), stand for the projected keys and values. Sequences, masks,
    `cache` and errors are as in MultiheadAttention. From Vaswani et al., "Attention Is All You
    Need", arXiv:1706.03762.
    """
    each = q_proj_weight, k_proj_weight, v_proj_weight
    heads = _Heads(
        embed_dim_to_check, num_heads, None if use_separate_proj_weight else in_proj_weight,
        each if use_separate_proj_weight else None, in_proj_bias, (bias_k, bias_v), add_zero_attn,
        (static_k, static_v), cache,
    )  # fmt: skip
    heads.check()
    _check_inputs(heads, query, key, value)
    if is_causal and attn_mask is None and cache is None:
        raise ArgumentError(
            f"{_NAME}: expected an attn_mask with is_causal=True, which only says that the mask "
            f"is causal: True above the diagonal, or -inf"
        )
    given, padding, batched = _batched([query, key, value], key_padding_mask, batch_first)
    p = probability(_NAME, dropout_p) if training else 0.0
    out, weights = _attended(heads, given, attn_mask, padding, need_weights, is_causal, p)
    out = ops.linear(out, out_proj_weight, out_proj_bias)
    if weights is not None and average_attn_weights:
        weights = weights.mean(1)
    if not batched:
        return out.squeeze(0), None if weights is None else weights.squeeze(0)
    return out if batch_first else out.transpose(0, 1), weights


def divides(heads: object, width: object) -> bool:
    """Return whether both are positive integers, and that many heads make up the width."""
    for each in (heads, width):
        if isinstance(each, bool) or not isinstance(each, int) or each < 1:
            return False
    assert isinstance(heads, int) and isinstance(width, int)
    return width % heads == 0


class _Heads(NamedTuple):
    """What makes heads, (n, heads, length, size), of queries, keys and values."""

    width: int
    number: int
    packed: Tensor | None
    separate: tuple[Tensor | None, Tensor | None, Tensor | None] | None
    bias: Tensor | None
    last: tuple[Tensor | None, Tensor | None]
    add_zero: bool
    static: tuple[Tensor | None, Tensor | None]
    cache: KeyValueCache | None

    @property
    def more(self) -> int:
        """How many positions are appended, which no mask hides."""
        return (self.last[0] is not None) + bool(self.add_zero)

    def check(self) -> None:
        """Raise ArgumentError or ShapeError unless these go together."""
        e, number, packed, separate, _, last, _, static, cache = self
        if not divides(number, e):
            raise ArgumentError(
                f"{_NAME}: expected a width that num_heads divides, both positive, got "
                f"embed_dim_to_check={e} and num_heads={number}"
            )
        if packed is None and (separate is None or any(w is None for w in separate)):
            raise ArgumentError(
                f"{_NAME}: expected in_proj_weight, or with use_separate_proj_weight=True all of "
                f"q_proj_weight, k_proj_weight and v_proj_weight"
            )
        if packed is not None and packed.shape != (3 * e, e):
            raise ShapeError(
                f"{_NAME}: expected an in_proj_weight ({3 * e}, {e}), got {packed.shape}"
            )
        for what, pair in (("bias_k and bias_v", last), ("static_k and static_v", static)):
            if (pair[0] is None) != (pair[1] is None):
                raise ArgumentError(f"{_NAME}: expected both {what}, or none of them")
        if last[0] is not None and static[0] is not None:
            raise ArgumentError(f"{_NAME}: expected no bias_k and bias_v with static_k, static_v")
        if cache is not None and not isinstance(cache, KeyValueCache):
            raise OperandError(f"{_NAME}: expected a KeyValueCache, got {type(cache).__name__}")
        if cache is not None and (self.more or static[0] is not None):
            raise ArgumentError(
                f"{_NAME}: expected no cache with add_bias_kv, add_zero_attn or static keys"
            )

    def features(self) -> tuple[int, ...]:
        """Return the sizes of the last axes of query, key and value."""
        if self.separate is None:
            return (self.width,) * 3
        return tuple(w.shape[-1] for w in self.separate if w is not None)

    def of(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the heads of all three, (n, length, features) each."""
        if self.packed is not None and query is key is value:
            q, k, v = ops.linear(query, self.packed, self.bias).chunk(3, -1)
        else:
            q = self._projected(query, 0)
            if isinstance(self.cache, CrossCache) and self.cache.kept is not None:
                sources = self.packed, *(self.separate or ())[1:], self.bias
                refuse_gradients("CrossCache", key, value, *sources)
                return self._split(q), *self.cache.kept
            k, v = self._projected(key, 1), self._projected(value, 2)
        n, e = len(k), self.width
        if self.last[0] is not None and self.last[1] is not None:
            k = cat([k, self.last[0].expand(n, 1, e)], 1)
            v = cat([v, self.last[1].expand(n, 1, e)], 1)
        k, v = self._given(self._split(k), 0), self._given(self._split(v), 1)
        if self.add_zero:
            nothing = zeros(n, self.number, 1, k.shape[3], dtype=k.dtype, device=k.device)
            k, v = cat([k, nothing], 2), cat([v, nothing], 2)
        return self._split(q), k, v

    def _projected(self, x: Tensor, i: int) -> Tensor:
        part = slice(i * self.width, (i + 1) * self.width)
        weight = self.separate[i] if self.packed is None and self.separate else None
        if self.packed is not None:
            weight = self.packed[part]
        assert weight is not None  # `check` has seen to it
        return ops.linear(x, weight, None if self.bias is None else self.bias[part])

    def _split(self, x: Tensor) -> Tensor:
        size = self.width // self.number
        return x.reshape(*x.shape[:2], self.number, size).transpose(1, 2)

    def _given(self, x: Tensor, i: int) -> Tensor:
        """Return the keys (0) or values (1) that stand for those of the heads, if there are."""
        static, (n, heads, _, size) = self.static[i], x.shape
        if static is None:
            return x
        if static.ndim != 3 or (static.shape[0], static.shape[2]) != (n * heads, size):
            raise ShapeError(
                f"{_NAME}: expected a static_{'kv'[i]} ({n * heads}, s, {size}), got {static.shape}"
            )
        return static.reshape(n, heads, static.shape[1], size)


def _check_inputs(heads: _Heads, *inputs: Tensor) -> None:
    for what, x in zip(_THREE, inputs, strict=True):
        if not isinstance(x, Tensor):
            raise OperandError(f"{_NAME}: expected a tensor as {what}, got {type(x).__name__}")
    shapes = [x.shape for x in inputs]
    got = "{}, {} and {}".format(*shapes)
    if inputs[0].ndim not in (2, 3) or len({len(shape) for shape in shapes}) > 1:
        raise ShapeError(
            f"{_NAME}: expected query, key and value all of 3 axes, or of 2 without a batch, "
            f"got {got}"
        )
    sizes = heads.features()
    if tuple(shape[-1] for shape in shapes) != sizes:
        raise ShapeError(f"{_NAME}: expected {sizes} features of query, key and value, got {got}")


def _batched(
    given: list[Tensor], padding: Tensor | None, batch_first: bool
) -> tuple[list[Tensor], Tensor | None, bool]:
    """Return query, key and value as (n, length, features), the padding, and if they were that."""
    batched = given[0].ndim == 3
    if not batched:
        given = _each(given, lambda x: x.unsqueeze(0))
        padding = padding.unsqueeze(0) if isinstance(padding, Tensor) else padding
    elif not batch_first:
        given = _each(given, lambda x: x.transpose(0, 1))
    sizes = [x.shape[:2] for x in given]
    if sizes[0][0] != sizes[1][0] or sizes[1] != sizes[2]:
        raise ShapeError(
            f"{_NAME}: expected one batch, and as many keys as values, got (batch, length) "
            f"{sizes[0]}, {sizes[1]} and {sizes[2]}"
        )
    return given, padding, batched


def _each(given: list[Tensor], change: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Return the three changed; what was one tensor still is, and is projected by one product."""
    changed = {id(each): change(each) for each in given}
    return [changed[id(each)] for each in given]


def _attended(
    heads: _Heads,
    given: list[Tensor],
    mask: Tensor | None,
    padding: Tensor | None,
    need_weights: bool,
    is_causal: bool,
    p: float,
) -> tuple[Tensor, Tensor | None]:
    """Return what the heads found, beside each other, and the weights of each if needed."""
    q, k, v = heads.of(*given)
    s = k.shape[2] - heads.more
    masks = _shaped(q.shape, s if heads.cache is None else heads.cache.length(s), mask, padding)
    if heads.cache is not None:  # after the masks: what is refused leaves the cache as it was
        k, v = heads.cache.update(k, v)
    hint = is_causal and padding is None and not need_weights and not heads.more
    hint = hint and heads.cache is None
    total = None if hint else _merged(masks, q, k, heads)
    weights = None
    if need_weights:
        out, weights = _weighted(q, k, v, total, p)
    else:
        out = scaled_dot_product_attention(q, k, v, total, p, hint)
    return out.transpose(1, 2).reshape(*given[0].shape[:2], heads.width), weights


def _shaped(
    query: tuple[int, ...], s: int, mask: Tensor | None, padding: Tensor | None
) -> list[Tensor]:
    """Return the masks that are given, each broadcasting to (n, heads, l, s)."""
    n, heads, length, _ = query
    parts = []
    for name, each in (("attn_mask", mask), ("key_padding_mask", padding)):
        if each is not None and not isinstance(each, Tensor):
            raise OperandError(f"{_NAME}: expected a tensor as {name}, got {type(each).__name__}")
        if each is not None and each.dtype is not bool_ and not is_floating(each.dtype):
            raise DTypeError(f"{_NAME}: expected masks of bools or floats, got {each.dtype.name}")
    if mask is not None:
        if mask.shape not in ((length, s), (n * heads, length, s)):
            raise ShapeError(
                f"{_NAME}: expected an attn_mask ({length}, {s}) or ({n * heads}, {length}, "
                f"{s}), got {mask.shape}"
            )
        parts.append(mask if mask.ndim == 2 else mask.reshape(n, heads, length, s))
    if padding is not None:
        if padding.shape != (n, s):
            raise ShapeError(
                f"{_NAME}: expected a key_padding_mask ({n}, {s}), got {padding.shape}"
            )
        parts.append(padding.reshape(n, 1, 1, s))
    return parts


def _merged(masks: list[Tensor], q: Tensor, k: Tensor, heads: _Heads) -> Tensor | None:
    """Return all masks, the cache's among them, as one that is added to the scores, or None."""
    total = None
    for each in masks:
        added = _added(each, q)
        total = added if total is None else total + added
    if heads.more and total is not None:
        total = pad(total, (0, heads.more))
    seen = None if heads.cache is None else heads.cache.mask(q.shape[2], k.shape[2], q.device)
    if seen is not None:
        added = _added(~seen, q)
        total = added if total is None else total + added
    return total


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """Return a mask to add: -inf where a bool one is True."""
    if is_floating(mask.dtype):
        return mask
    return zeros(mask.shape, dtype=like.dtype, device=like.device).masked_fill(mask, -inf)


def _weighted(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, p: float
) -> tuple[Tensor, Tensor]:
    """Return the result and the weights, which the fused op does not show."""
    scores = (q * (1 / sqrt(q.shape[3]))) @ k.transpose(-2, -1)
    weights = softmax(scores if mask is None else scores + mask, -1)
    weights = dropout(weights, p) if p else weights
    return weights @ v, weights
