"""Bad input to transformers: calls of either library, and what FERRUM's error says."""

from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError


def layer(nn, part="Encoder", **options):
    return getattr(nn, f"Transformer{part}Layer")(4, 2, 6, **options)


def encoder(nn):
    return nn.TransformerEncoder(layer(nn), 2, enable_nested_tensor=False)


def decoder(nn):
    return nn.TransformerDecoder(layer(nn, "Decoder"), 2)


def whole(nn, **options):
    return nn.Transformer(4, 2, 1, 1, 6, **options)


def heads(nn, fe, **changed):
    """Call F.multi_head_attention_forward with something else in it."""
    x = fe.ones(3, 2, 4)
    given = {
        "query": x, "key": x, "value": x, "embed_dim_to_check": 4, "num_heads": 2,
        "in_proj_weight": fe.ones(12, 4), "in_proj_bias": fe.ones(12), "bias_k": None,
        "bias_v": None, "add_zero_attn": False, "dropout_p": 0.0,
        "out_proj_weight": fe.ones(4, 4), "out_proj_bias": fe.ones(4),
    }  # fmt: skip
    return nn.functional.multi_head_attention_forward(**{**given, **changed})


# Each with (ferrum_nn, ferrum) or (torch.nn, torch).
MAKING = [
    (lambda nn, fe: nn.TransformerEncoderLayer(5, 2), ArgumentError, "num_heads divides"),
    (lambda nn, fe: nn.TransformerDecoderLayer(4, 3), ArgumentError, "num_heads=3"),
    (lambda nn, fe: nn.TransformerEncoderLayer(4, 0), ArgumentError, "num_heads=0"),
    (lambda nn, fe: nn.TransformerEncoderLayer(0, 2), ArgumentError, "embed_dim=0"),
    (lambda nn, fe: nn.TransformerEncoderLayer(4, "2"), ArgumentError, "num_heads='2'"),
    (lambda nn, fe: nn.TransformerEncoderLayer(4.0, 2), ArgumentError, "embed_dim=4.0"),
    (lambda nn, fe: nn.TransformerEncoderLayer(4, 2, -3), ShapeError, "-3"),
    (lambda nn, fe: layer(nn, activation="tanh"), ArgumentError, "'gelu' or a function"),
    (lambda nn, fe: layer(nn, "Decoder", activation=""), ArgumentError, "got ''"),
    (lambda nn, fe: layer(nn, dropout=1.5), ArgumentError, "1.5"),
    (lambda nn, fe: layer(nn, dropout=-0.1), ArgumentError, "-0.1"),
    (lambda nn, fe: nn.TransformerDecoder(layer(nn), 2.0), ArgumentError, "num_layers .* 2.0"),
    (lambda nn, fe: nn.Transformer(5, 2), ArgumentError, "num_heads divides"),
    (lambda nn, fe: whole(nn, activation="swish"), ArgumentError, "'swish'"),
    (lambda nn, fe: nn.Transformer.generate_square_subsequent_mask(-1), ArgumentError, "sz .* -1"),
    (lambda nn, fe: nn.Transformer.generate_square_subsequent_mask("3"), ArgumentError, "'3'"),
]
CALLING = [
    (lambda nn, fe: layer(nn)([1.0]), OperandError, "a tensor as query, got list"),
    (lambda nn, fe: layer(nn)(fe.ones(4)), ShapeError, "of 3 axes"),
    (lambda nn, fe: layer(nn)(fe.ones(1, 3, 2, 4)), ShapeError, "of 3 axes"),
    (lambda nn, fe: layer(nn)(fe.ones(3, 2, 5)), ShapeError, r"\(3, 2, 5\)"),
    (lambda nn, fe: layer(nn)(fe.ones(3, 2, 4, dtype=fe.float64)), DTypeError, "float64"),
    (lambda nn, fe: layer(nn)(fe.ones(3, 2, 4, dtype=fe.int64)), DTypeError, "int64"),
    (lambda nn, fe: layer(nn)(fe.ones(3, 2, 4), fe.ones(2, 2)), ShapeError, r"attn_mask \(3, 3\)"),
    (lambda nn, fe: layer(nn)(fe.ones(3, 2, 4), fe.ones(2, 3, 3)), ShapeError, r"\(4, 3, 3\)"),
    (lambda nn, fe: layer(nn)(fe.ones(3, 2, 4), fe.ones(1, 4, 3, 3)), ShapeError, "attn_mask"),
    (
        lambda nn, fe: layer(nn)(fe.ones(3, 2, 4), fe.ones(3, 3, dtype=fe.int64)),
        DTypeError,
        "bools or floats, got int64",
    ),
    (
        lambda nn, fe: layer(nn)(fe.ones(3, 2, 4), None, fe.ones(3, 2) > 2),
        ShapeError,
        r"key_padding_mask \(2, 3\), got \(3, 2\)",
    ),
    (
        lambda nn, fe: layer(nn)(fe.ones(3, 4), None, fe.ones(1, 3) > 2),
        ShapeError,
        "key_padding_mask",
    ),
    (
        lambda nn, fe: layer(nn)(fe.ones(3, 2, 4), None, fe.ones(2, 3, dtype=fe.int64)),
        DTypeError,
        "bools or floats",
    ),
    (lambda nn, fe: layer(nn)(fe.ones(3, 2, 4), "causal"), OperandError, "as attn_mask, got str"),
    (lambda nn, fe: layer(nn)(fe.ones(3, 2, 4), is_causal=True), ArgumentError, "an attn_mask"),
    (lambda nn, fe: encoder(nn)(fe.ones(3, 2, 4), is_causal=True), ArgumentError, "an attn_mask"),
    (lambda nn, fe: encoder(nn)(fe.ones(3, 2, 4), fe.ones(4, 4)), ShapeError, r"\(3, 3\)"),
    (lambda nn, fe: decoder(nn)(fe.ones(3, 2, 4), fe.ones(3, 1, 4)), ShapeError, "one batch"),
    (lambda nn, fe: decoder(nn)(fe.ones(3, 2, 4), fe.ones(3, 4)), ShapeError, "of 3 axes"),
    (lambda nn, fe: decoder(nn)(fe.ones(3, 2, 4), fe.ones(3, 2, 6)), ShapeError, "features"),
    (
        lambda nn, fe: decoder(nn)(fe.ones(3, 2, 4), fe.ones(5, 2, 4), None, fe.ones(5, 3)),
        ShapeError,
        r"attn_mask \(3, 5\)",
    ),
    (lambda nn, fe: whole(nn)(fe.ones(3, 2, 4), fe.ones(3, 1, 4)), ShapeError, "which is axis 1"),
    (
        lambda nn, fe: whole(nn, batch_first=True)(fe.ones(2, 3, 4), fe.ones(1, 3, 4)),
        ShapeError,
        "which is axis 0",
    ),
    (lambda nn, fe: whole(nn)(fe.ones(3, 2, 5), fe.ones(3, 2, 4)), ShapeError, "d_model = 4"),
    (lambda nn, fe: whole(nn)(fe.ones(3, 2, 4), fe.ones(3, 2, 5)), ShapeError, "d_model = 4"),
    (lambda nn, fe: whole(nn)(fe.ones(3, 2, 4), fe.ones(3, 4)), ShapeError, "both of 3 axes"),
    (lambda nn, fe: whole(nn)(None, fe.ones(3, 2, 4)), OperandError, "as src, got NoneType"),
    (lambda nn, fe: heads(nn, fe, embed_dim_to_check=6), ShapeError, "in_proj_weight|features"),
    (lambda nn, fe: heads(nn, fe, num_heads=3), ArgumentError, "num_heads=3"),
    (lambda nn, fe: heads(nn, fe, in_proj_weight=None), ArgumentError, "expected in_proj_weight"),
    (
        lambda nn, fe: heads(nn, fe, use_separate_proj_weight=True, q_proj_weight=fe.ones(4, 4)),
        ArgumentError,
        "k_proj_weight and v_proj_weight",
    ),
    (lambda nn, fe: heads(nn, fe, in_proj_weight=fe.ones(12, 3)), ShapeError, r"\(12, 4\)"),
    (lambda nn, fe: heads(nn, fe, in_proj_bias=fe.ones(11)), ShapeError, "bias"),
    (lambda nn, fe: heads(nn, fe, bias_k=fe.ones(1, 1, 4)), ArgumentError, "both bias_k"),
    (
        lambda nn, fe: heads(nn, fe, static_k=fe.ones(3, 3, 2), static_v=fe.ones(4, 3, 2)),
        ShapeError,
        r"static_k \(4, s, 2\)",
    ),
    (lambda nn, fe: heads(nn, fe, dropout_p=2.0), ArgumentError, "2.0"),
    (lambda nn, fe: heads(nn, fe, out_proj_weight=fe.ones(4, 5)), ShapeError, "linear"),
]
