"""Bad input to transformers: an error that says what was expected, what came, and what to do."""

import pytest
from transformer_refusals import CALLING, MAKING, decoder, encoder, heads, layer

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, OperandError, OutOfRangeError, ShapeError

X = fe.ones(3, 2, 4)


@pytest.mark.parametrize(("call", "error", "words"), [*MAKING, *CALLING])
def test_refuses(call, error, words):
    with pytest.raises(error, match=words):
        call(nn, fe)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.TransformerEncoder(None, 2), OperandError, "Module as layer, got NoneType"),
        (lambda: nn.TransformerEncoder(layer(nn), -1), ArgumentError, "at least 0, got -1"),
        (lambda: nn.TransformerEncoder(layer(nn), True), ArgumentError, "num_layers"),
        (lambda: nn.TransformerEncoder(layer(nn), 2, "norm"), OperandError, "norm, got str"),
        (lambda: nn.Transformer(4, 2, custom_encoder=3), OperandError, "custom_encoder, got int"),
        (lambda: nn.Transformer(4, 2, custom_decoder=[]), OperandError, "custom_decoder, got list"),
        (lambda: layer(nn, activation=3), ArgumentError, "a function of a tensor, got 3"),
        (lambda: layer(nn)(X, cache=nn.CrossCache()), OperandError, "got CrossCache"),
        (lambda: layer(nn)(X, cache={}), OperandError, "GrowingCache.*got dict"),
        (lambda: layer(nn, "Decoder")(X, X, cache=nn.GrowingCache()), OperandError, "a pair"),
        (
            lambda: layer(nn, "Decoder")(X, X, cache=(nn.CrossCache(), nn.GrowingCache())),
            OperandError,
            r"got \['CrossCache', 'GrowingCache'\]",
        ),
        (
            lambda: layer(nn, "Decoder")(X, X, cache=(nn.CrossCache(), nn.CrossCache())),
            OperandError,
            "its own keys and values",
        ),
        (lambda: encoder(nn)(X, cache=[nn.GrowingCache()]), ArgumentError, "a list of 2"),
        (lambda: decoder(nn)(X, X, cache=nn.GrowingCache()), ArgumentError, "a list of 2"),
        (lambda: heads(nn, fe, cache=3), OperandError, "KeyValueCache, got int"),
        (lambda: heads(nn, fe, cache=nn.GrowingCache(), add_zero_attn=True), ArgumentError, "no c"),
        (lambda: heads(nn, fe, static_k=fe.ones(4, 3, 2)), ArgumentError, "both static_k"),
        (
            lambda: layer(nn)(X, fe.zeros(2, 2), is_causal=True),  # a hint hides no wrong mask
            ShapeError,
            r"attn_mask \(3, 3\)",
        ),
    ],
)
def test_refuses_what_pytorch_has_not_or_takes(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_full_cache_refuses_before_anything_is_written():
    stack = encoder(nn)
    caches = [nn.StaticCache(2) for _ in stack.layers]
    with fe.no_grad():
        stack(X[:2], cache=caches)
        with pytest.raises(OutOfRangeError, match="at most max_length = 2"):
            stack(X[:1], cache=caches)
    assert [each.seen for each in caches] == [2, 2]
