"""The layers that transformers are stacked from."""

from __future__ import annotations

from collections.abc import Callable

from ferrum import Device, Tensor
from ferrum.dtypes import DTypeLike
from ferrum.errors import ArgumentError, OperandError
from ferrum_nn import functional
from ferrum_nn.attention import MultiheadAttention
from ferrum_nn.cache import CrossCache, KeyValueCache
from ferrum_nn.dropout import Dropout
from ferrum_nn.linear import Linear
from ferrum_nn.module import Module
from ferrum_nn.normalization import LayerNorm

Activation = Callable[[Tensor], Tensor]
_ACTIVATIONS: dict[str, Activation] = {"relu": functional.relu, "gelu": functional.gelu}


class _Layer(Module):
    """Attention and a feed-forward network, each with dropout, a residual and a norm around it."""

    self_attn: MultiheadAttention
    norm1: LayerNorm
    norm2: LayerNorm
    dropout1: Dropout
    dropout2: Dropout

    def __init__(
        self,
        attentions: tuple[str, ...],
        d_model: int,
        nhead: int,
        dim_feedforward: int,
        dropout: float,
        activation: str | Activation,
        layer_norm_eps: float,
        batch_first: bool,
        norm_first: bool,
        bias: bool,
        device: str | Device | None,
        dtype: DTypeLike | None,
    ) -> None:
        found = _activation(type(self).__name__, activation)
        for name in attentions:
            attention = MultiheadAttention(
                d_model, nhead, dropout, bias, batch_first=batch_first, device=device, dtype=dtype
            )
            setattr(self, name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias, device, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, device, dtype)
        self.norm_first = norm_first
        numbers = range(1, len(attentions) + 2)  # one for each attention, one for the network
        for i in numbers:
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
            setattr(self, f"norm{i}", norm)
        for i in numbers:
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = found

    def _around(self, part: Activation, norm: Module, x: Tensor) -> Tensor:
        """Return x and `part` of it, with the norm before the part or behind the sum."""
        if self.norm_first:
            return x + part(norm(x))
        normed: Tensor = norm(x + part(x))
        return normed

    def _fed(self, x: Tensor) -> Tensor:
        """Return what the feed-forward network makes of each position."""
        fed: Tensor = self.linear2(self.dropout(self.activation(self.linear1(x))))
        return fed


class TransformerEncoderLayer(_Layer):
    """Self-attention, then W₂ f(W₁ x + b₁) + b₂ at each position: (length, n, d_model) to the same.

    Around both stands a residual: norm(x + dropout(part(x))), or with `norm_first` x +
    dropout(part(norm(x))). Sequences are (n, length, d_model) with `batch_first`, or without a
    batch (length, d_model). The network between is `dim_feedforward` wide, its `activation` "relu",
    "gelu" or a function of a tensor. From Vaswani et al., "Attention Is All You Need",
    arXiv:1706.03762; `norm_first` from Xiong et al., "On Layer Normalization in the Transformer
    Architecture", arXiv:2002.04745.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = functional.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__(
            ("self_attn",), d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps,
            batch_first, norm_first, bias, device, dtype,
        )  # fmt: skip

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Return a sequence shaped as `src`.

        Masks, `is_causal`, `cache` and errors are those of MultiheadAttention: with a cache `src`
        is the newest positions, and each attends to itself and to those before it.
        """
        _check_own(type(self).__name__, cache)

        def attended(x: Tensor) -> Tensor:
            out = self.self_attn(
                x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal, cache=cache
            )
            dropped: Tensor = self.dropout1(out[0])
            return dropped

        x = self._around(attended, self.norm1, src)
        return self._around(lambda x: self.dropout2(self._fed(x)), self.norm2, x)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to a memory, then W₂ f(W₁ x + b₁) + b₂ at each position.

    Shapes and arguments are those of TransformerEncoderLayer; the memory, which an encoder made, is
    (its length, n, d_model). From Vaswani et al., "Attention Is All You Need", arXiv:1706.03762;
    `norm_first` from Xiong et al., arXiv:2002.04745.
    """

    multihead_attn: MultiheadAttention
    norm3: LayerNorm
    dropout3: Dropout

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = functional.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__(
            ("self_attn", "multihead_attn"), d_model, nhead, dim_feedforward, dropout, activation,
            layer_norm_eps, batch_first, norm_first, bias, device, dtype,
        )  # fmt: skip

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
        *,
        cache: tuple[KeyValueCache, CrossCache] | None = None,
    ) -> Tensor:
        """Return a sequence shaped as `tgt`.

        Masks, hints and errors are those of MultiheadAttention. A `cache` is a pair, such as
        `(nn.GrowingCache(), nn.CrossCache())`: `tgt` is then the newest positions, each attends to
        itself and to those before it, and the memory is projected at the first step alone.
        """
        own, cross = _pair(type(self).__name__, cache)

        def attended(x: Tensor) -> Tensor:
            out = self.self_attn(
                x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal, cache=own
            )
            dropped: Tensor = self.dropout1(out[0])
            return dropped

        def remembered(x: Tensor) -> Tensor:
            out = self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask,
                is_causal=memory_is_causal, cache=cross,
            )  # fmt: skip
            dropped: Tensor = self.dropout2(out[0])
            return dropped

        x = self._around(attended, self.norm1, tgt)
        x = self._around(remembered, self.norm2, x)
        return self._around(lambda x: self.dropout3(self._fed(x)), self.norm3, x)


def _activation(name: str, activation: object) -> Activation:
    if isinstance(activation, str) and activation in _ACTIVATIONS:
        return _ACTIVATIONS[activation]
    if isinstance(activation, str) or not callable(activation):
        raise ArgumentError(
            f"{name}: expected an activation 'relu', 'gelu' or a function of a tensor, got "
            f"{activation!r}"
        )
    return activation


def _check_own(name: str, cache: object) -> None:
    """Raise OperandError unless self-attention can go on from a cache."""
    if cache is None or (isinstance(cache, KeyValueCache) and not isinstance(cache, CrossCache)):
        return
    raise OperandError(
        f"{name}: expected a cache of its own keys and values, such as nn.GrowingCache(), got "
        f"{type(cache).__name__}"
    )


def _pair(name: str, cache: object) -> tuple[KeyValueCache | None, CrossCache | None]:
    """Return the caches of a decoder layer: its own, and that of the memory."""
    if cache is None:
        return None, None
    if not isinstance(cache, tuple) or len(cache) != 2 or not isinstance(cache[1], CrossCache):
        got = [type(each).__name__ for each in cache] if isinstance(cache, tuple) else cache
        raise OperandError(
            f"{name}: expected a pair as cache, such as (nn.GrowingCache(), nn.CrossCache()), got "
            f"{got}"
        )
    own: KeyValueCache = cache[0]
    _check_own(name, own)
    return own, cache[1]
