"""Transformers: stacks of layers, and an encoder and a decoder together."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from math import inf
from typing import Any

from ferrum import Device, Tensor, arange, zeros
from ferrum.dtypes import DTypeLike, as_dtype, bool_, is_floating
from ferrum.errors import ArgumentError, OperandError, ShapeError
from ferrum_nn import functional, init
from ferrum_nn.cache import CrossCache, KeyValueCache
from ferrum_nn.containers import ModuleList
from ferrum_nn.module import Module
from ferrum_nn.normalization import LayerNorm
from ferrum_nn.transformer_layers import (
    Activation,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
)


class _Stack(Module):
    """Copies of one layer, one after another, and a norm behind them, or None."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None) -> None:
        name = type(self).__name__
        _check_module(name, "layer", layer)
        if norm is not None:
            _check_module(name, "norm", norm)
        number = _count(name, "num_layers", num_layers)
        self.layers = ModuleList([deepcopy(layer) for _ in range(number)])
        self.num_layers = number
        self.norm = norm

    def _through(self, x: Tensor, *rest: Any, cache: Sequence[Any] | None, **more: Any) -> Tensor:
        """Return x after all layers, each with its cache if there are any, and after the norm."""
        number = len(self.layers)  # which may have been cut since
        caches: Sequence[Any] = [None] * number if cache is None else cache
        if not isinstance(caches, (list, tuple)) or len(caches) != number:
            raise ArgumentError(
                f"{type(self).__name__}: expected as cache a list of {number}, one for each "
                f"layer, got {cache!r}"
            )
        for layer, each in zip(self.layers, caches, strict=True):
            x = layer(x, *rest, **more) if each is None else layer(x, *rest, **more, cache=each)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """`num_layers` copies of a TransformerEncoderLayer, and a `norm` behind them.

    The copies start alike and are learned apart. `enable_nested_tensor` and `mask_check` are taken
    for PyTorch's sake and change nothing: there are no nested tensors here, and padded positions
    come out as any others do, as in PyTorch's training. From Vaswani et al., "Attention Is All You
    Need", arXiv:1706.03762.

    Raises OperandError for what is no module, ArgumentError for a `num_layers` that is no number.
    """

    def __init__(
        self,
        encoder_layer: TransformerEncoderLayer,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__(encoder_layer, num_layers, norm)
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
        *,
        cache: Sequence[KeyValueCache] | None = None,
    ) -> Tensor:
        """Return a sequence shaped as `src`; masks are those of MultiheadAttention.

        `is_causal` None looks whether the mask is causal; say so or not to save the look, and to
        capture. With a `cache` for each layer, `src` is the newest positions.
        """
        causal = _is_causal(mask, is_causal)
        return self._through(
            src,
            src_mask=mask,
            src_key_padding_mask=src_key_padding_mask,
            is_causal=causal,
            cache=cache,
        )


class TransformerDecoder(_Stack):
    """`num_layers` copies of a TransformerDecoderLayer, and a `norm` behind them.

    The copies start alike and are learned apart. From Vaswani et al., "Attention Is All You Need",
    arXiv:1706.03762.

    Raises OperandError for what is no module, ArgumentError for a `num_layers` that is no number.
    """

    def __init__(
        self,
        decoder_layer: TransformerDecoderLayer,
        num_layers: int,
        norm: Module | None = None,
    ) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
        *,
        cache: Sequence[tuple[KeyValueCache, CrossCache]] | None = None,
    ) -> Tensor:
        """Return a sequence shaped as `tgt`; masks are those of MultiheadAttention.

        `tgt_is_causal` None looks whether `tgt_mask` is causal; say so or not to save the look, and
        to capture. To decode step by step, under `fe.no_grad()`, give the newest positions and a
        pair of caches for each layer, at every step the same:

            cache = [(nn.GrowingCache(), nn.CrossCache()) for _ in decoder.layers]
        """
        return self._through(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=_is_causal(tgt_mask, tgt_is_causal),
            memory_is_causal=memory_is_causal,
            cache=cache,
        )


class Transformer(Module):
    """An encoder of a source, and a decoder of a target that attends to what the encoder made.

    Sources are (s, n, d_model) and targets (t, n, d_model), or with `batch_first` (n, s, d_model)
    and (n, t, d_model), or without a batch (s, d_model) and (t, d_model). Behind either stack
    stands a LayerNorm. `custom_encoder` and `custom_decoder` take the place of the stacks. Matrices
    start by Glorot's uniform rule. From Vaswani et al., "Attention Is All You Need",
    arXiv:1706.03762; `norm_first` from Xiong et al., arXiv:2002.04745.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = functional.relu,
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)

        options = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias, device, dtype,
        )  # fmt: skip
        for what, each in (("encoder", custom_encoder), ("decoder", custom_decoder)):
            if each is not None:
                _check_module("Transformer", f"custom_{what}", each)
        self.encoder: Module = (
            TransformerEncoder(TransformerEncoderLayer(*options), num_encoder_layers, norm())
            if custom_encoder is None
            else custom_encoder
        )
        self.decoder: Module = (
            TransformerDecoder(TransformerDecoderLayer(*options), num_decoder_layers, norm())
            if custom_decoder is None
            else custom_decoder
        )
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Return a sequence shaped as `tgt`.

        Masks are those of MultiheadAttention: `src_mask` is (s, s), `tgt_mask` (t, t),
        `memory_mask` (t, s), paddings (n, s), (n, t) and (n, s). To decode step by step call
        `encoder` once, and `decoder` with caches.

        Raises ShapeError for a source and a target that do not go together.
        """
        self._check(src, tgt)
        memory = self.encoder(
            src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
        )
        decoded: Tensor = self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )
        return decoded

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: str | Device | None = None, dtype: DTypeLike | None = None
    ) -> Tensor:
        """Return the causal mask (sz, sz): -inf above the diagonal, or True if bool, and else 0."""
        size = _count("generate_square_subsequent_mask", "sz", sz)
        place = arange(size, device=device)
        above = place > place.unsqueeze(1)
        if dtype is not None and as_dtype(dtype) is bool_:
            return above
        return zeros(size, size, device=device, dtype=dtype).masked_fill(above, -inf)

    def _check(self, src: Tensor, tgt: Tensor) -> None:
        for what, x in (("src", src), ("tgt", tgt)):
            if not isinstance(x, Tensor):
                raise OperandError(
                    f"Transformer: expected a tensor as {what}, got {type(x).__name__}"
                )
        batch = 0 if self.batch_first else 1
        ndim = src.ndim
        if ndim not in (2, 3) or ndim != tgt.ndim:
            raise ShapeError(
                f"Transformer: expected src and tgt both of 3 axes, or of 2 without a batch, got "
                f"{src.shape} and {tgt.shape}"
            )
        if ndim == 3 and src.shape[batch] != tgt.shape[batch]:
            raise ShapeError(
                f"Transformer: expected one batch, which is axis {batch}, got src {src.shape} and "
                f"tgt {tgt.shape}"
            )
        if not src.shape[-1] == tgt.shape[-1] == self.d_model:
            raise ShapeError(
                f"Transformer: expected d_model = {self.d_model} features, got src {src.shape} "
                f"and tgt {tgt.shape}"
            )


def _is_causal(mask: Tensor | None, hint: bool | None) -> bool:
    """Return the hint, or without one whether the mask is that of a causal attention."""
    if hint is not None:
        return hint
    if not isinstance(mask, Tensor) or mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
        return False
    if mask.dtype is not bool_ and not is_floating(mask.dtype):
        return False
    made = Transformer.generate_square_subsequent_mask(len(mask), mask.device, mask.dtype)
    return bool((mask == made).all())


def _check_module(name: str, what: str, value: object) -> None:
    if not isinstance(value, Module):
        raise OperandError(f"{name}: expected a Module as {what}, got {type(value).__name__}")


def _count(name: str, what: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ArgumentError(f"{name}: expected a {what} of at least 0, got {value!r}")
    return value
