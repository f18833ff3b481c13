"""Attention of several heads."""

from __future__ import annotations

from ferrum import Device, Tensor, empty
from ferrum.dtypes import DTypeLike
from ferrum.errors import ArgumentError
from ferrum_nn import functional, init
from ferrum_nn.cache import KeyValueCache
from ferrum_nn.functional.dropout import probability
from ferrum_nn.functional.multihead import divides
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
        if not divides(num_heads, embed_dim):
            raise ArgumentError(
                f"{_NAME}: expected an embed_dim that num_heads divides, both positive, got "
                f"embed_dim={embed_dim!r} and num_heads={num_heads!r}"
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
        return functional.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            self.training,
            key_padding_mask,
            need_weights,
            attn_mask,
            self.in_proj_weight is None,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
            batch_first=self.batch_first,
            cache=cache,
        )
