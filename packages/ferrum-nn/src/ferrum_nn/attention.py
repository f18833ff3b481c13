"""Attention of several heads."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, sqrt

from ferrum import Device, Tensor, cat, empty, zeros
from ferrum.dtypes import DTypeLike, bool_, is_floating
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum_nn import functional, init, ops
from ferrum_nn.cache import CrossCache, KeyValueCache, refuse_gradients
from ferrum_nn.functional.dropout import probability
from ferrum_nn.linear import Linear
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter

_NAME = "MultiheadAttention"


class MultiheadAttention(Module):
    """Attend with several heads: Concat(head₁ ...) Wᵒ, headᵢ = attention(q Wᵢᵠ, k Wᵢᵏ, v Wᵢᵛ).

    Sequences are (length, n, embed_dim), (n, length, embed_dim) with `batch_first`, or (length,
    embed_dim). Keys have `kdim` features and values `vdim`, both embed_dim if None. `add_bias_kv`
    appends a learned position to keys and values, `add_zero_attn` one of zeros. From Vaswani et
    al., "Attention Is All You Need", arXiv:1706.03762.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ArgumentError(
                f"{_NAME}: expected an embed_dim that num_heads divides, both positive, got "
                f"embed_dim={embed_dim} and num_heads={num_heads}"
            )
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = probability(_NAME, dropout)
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.batch_first, self.add_zero_attn = batch_first, add_zero_attn

        def make(*shape: int) -> Parameter:
            return Parameter(empty(*shape, device=device, dtype=dtype))

        packed = self.kdim == self.vdim == embed_dim
        self.in_proj_weight = make(3 * embed_dim, embed_dim) if packed else None
        self.q_proj_weight = None if packed else make(embed_dim, embed_dim)
        self.k_proj_weight = None if packed else make(embed_dim, self.kdim)
        self.v_proj_weight = None if packed else make(embed_dim, self.vdim)
        self.in_proj_bias = make(3 * embed_dim) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, device, dtype)
        self.bias_k = make(1, 1, embed_dim) if add_bias_kv else None
        self.bias_v = make(1, 1, embed_dim) if add_bias_kv else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projections of the input anew, and set the biases to 0."""
        for weight in (
            self.in_proj_weight,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
        ):
            if weight is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        cache: KeyValueCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the result, shaped as the query, and the weights (n, l, s) or None.

        Masks that are bool are True where **not** to attend, others are added to the scores:
        `key_padding_mask` is (n, s), `attn_mask` (l, s) or (n·num_heads, l, s). `is_causal` says
        that `attn_mask` is the causal one. Without `average_attn_weights` weights are (n,
        num_heads, l, s). With a `cache`, key and value are the newest positions, masks span all
        that the cache returns, and it does the causal masking itself.

        Raises ShapeError for tensors that do not go together, ArgumentError for `is_causal`
        without a mask, and for a cache together with `add_bias_kv` or `add_zero_attn`.
        """
        self._check(query, key, value, attn_mask, is_causal, cache)
        batched = query.ndim == 3
        if not batched:
            query, key, value = _each(query, key, value, lambda x: x.unsqueeze(0))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = _each(query, key, value, lambda x: x.transpose(0, 1))
        if query.shape[0] != key.shape[0] or key.shape[:2] != value.shape[:2]:
            raise ShapeError(
                f"{_NAME}: expected one batch, and as many keys as values, got (batch, length) "
                f"{query.shape[:2]}, {key.shape[:2]} and {value.shape[:2]}"
            )
        q, k, v = self._projected(query, key, value, cache)
        hint = is_causal and key_padding_mask is None and not need_weights and cache is None
        hint = hint and self.bias_k is None and not self.add_zero_attn
        mask = None if hint else self._mask(q, k, key_padding_mask, attn_mask, cache)
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = (q * (1 / sqrt(self.head_dim))) @ k.transpose(-2, -1)
            weights = functional.softmax(scores if mask is None else scores + mask, -1)
            weights = functional.dropout(weights, p) if p else weights
            out = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            out = functional.scaled_dot_product_attention(q, k, v, mask, p, hint)
        out = self.out_proj(out.transpose(1, 2).reshape(*query.shape[:2], self.embed_dim))
        if not batched:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return out if self.batch_first else out.transpose(0, 1), weights

    def _check(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None,
        is_causal: bool,
        cache: KeyValueCache | None,
    ) -> None:
        if query.ndim not in (2, 3) or not query.ndim == key.ndim == value.ndim:
            raise ShapeError(
                f"{_NAME}: expected query, key and value all of 3 axes, or of 2 without a batch, "
                f"got {query.shape}, {key.shape} and {value.shape}"
            )
        sizes = self.embed_dim, self.kdim, self.vdim
        if (query.shape[-1], key.shape[-1], value.shape[-1]) != sizes:
            raise ShapeError(
                f"{_NAME}: expected {sizes} features of query, key and value, got "
                f"{query.shape}, {key.shape} and {value.shape}"
            )
        if is_causal and attn_mask is None and cache is None:
            raise ArgumentError(
                f"{_NAME}: expected an attn_mask with is_causal=True, which only says that the "
                f"mask is causal: True above the diagonal, or -inf"
            )
        if cache is not None and (self.bias_k is not None or self.add_zero_attn):
            raise ArgumentError(f"{_NAME}: expected no cache with add_bias_kv or add_zero_attn")

    def _projected(
        self, query: Tensor, key: Tensor, value: Tensor, cache: KeyValueCache | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values as (n, heads, length, head_dim)."""
        e = self.embed_dim
        weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        bias = self.in_proj_bias
        if self.in_proj_weight is not None and query is key is value:
            q, k, v = ops.linear(query, self.in_proj_weight, bias).chunk(3, -1)
        else:

            def of(x: Tensor, i: int) -> Tensor:
                part = slice(i * e, (i + 1) * e)
                whole = self.in_proj_weight
                weight = weights[i] if whole is None else whole[part]
                assert weight is not None
                return ops.linear(x, weight, None if bias is None else bias[part])

            q = of(query, 0)
            if isinstance(cache, CrossCache) and cache.kept is not None:
                refuse_gradients("CrossCache", key, value, self.in_proj_weight, *weights[1:], bias)
                return self._split(q), *cache.kept
            k, v = of(key, 1), of(value, 2)
        if self.bias_k is not None and self.bias_v is not None:
            n = k.shape[0]
            k = cat([k, self.bias_k.expand(n, 1, e)], 1)
            v = cat([v, self.bias_v.expand(n, 1, e)], 1)
        if self.add_zero_attn:
            nothing = zeros(k.shape[0], 1, e, dtype=k.dtype, device=k.device)
            k, v = cat([k, nothing], 1), cat([v, nothing], 1)
        q, k, v = self._split(q), self._split(k), self._split(v)
        return (q, k, v) if cache is None else (q, *cache.update(k, v))

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def _mask(
        self,
        q: Tensor,
        k: Tensor,
        padding: Tensor | None,
        mask: Tensor | None,
        cache: KeyValueCache | None,
    ) -> Tensor | None:
        """Return all masks as one that is added, broadcasting to (n, heads, l, s), or None."""
        (n, heads, length, _), s = q.shape, k.shape[2]
        more = (self.bias_k is not None) + self.add_zero_attn
        parts = []
        if mask is not None:
            if mask.shape not in ((length, s - more), (n * heads, length, s - more)):
                raise ShapeError(
                    f"{_NAME}: expected an attn_mask ({length}, {s - more}) or ({n * heads}, "
                    f"{length}, {s - more}), got {mask.shape}"
                )
            parts.append(mask if mask.ndim == 2 else mask.reshape(n, heads, length, s - more))
        if padding is not None:
            if padding.shape != (n, s - more):
                raise ShapeError(
                    f"{_NAME}: expected a key_padding_mask ({n}, {s - more}), got {padding.shape}"
                )
            parts.append(padding.reshape(n, 1, 1, s - more))
        total = None
        for part in parts:
            added = _added(part, q)
            total = added if total is None else total + added
        if more and total is not None:
            total = functional.pad(total, (0, more))
        seen = None if cache is None else cache.mask(length, s, q.device)
        if seen is not None:
            added = _added(~seen, q)
            total = added if total is None else total + added
        return total


def _each(
    query: Tensor, key: Tensor, value: Tensor, change: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """Return the three changed; what was one tensor still is, and is projected by one product."""
    given = query, key, value
    changed = {id(each): change(each) for each in given}
    return [changed[id(each)] for each in given]


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """Return a mask to add: -inf where a bool one is True."""
    if is_floating(mask.dtype):
        return mask
    if mask.dtype is not bool_:
        raise DTypeError(f"{_NAME}: expected masks of bools or floats, got {mask.dtype.name}")
    return zeros(mask.shape, dtype=like.dtype, device=like.device).masked_fill(mask, -inf)
