"""The layers of transformers beside PyTorch's, which take its own normal path: with gradients."""

import itertools

import numpy as np
import pytest
from beside_torch import close, pair, torch
from transformer_pairs import ACTIVATIONS, BOTH, DRAW, SRC, TGT, E, N, compare, masks, sequence

import ferrum as fe
import ferrum_nn as nn

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:.*mismatched")]
KINDS = [
    None, "bool", "float", "heads", "causal", "causal bool", "padding", "float padding",
    "mask and padding", "causal and padding",
]  # fmt: skip
CASES = [  # every kind of mask with every layout, activations and biases in turn
    (*options, i % 3 > 0, kind, list(ACTIVATIONS)[i % len(ACTIVATIONS)])
    for i, (*options, kind) in enumerate(itertools.product(BOTH, BOTH, KINDS))
]


def both(name, activation="relu", **options):
    """Return a layer of either library, with the same weights, all of them drawn."""
    ours, theirs = (
        getattr(library, name)(
            E, 2, 6, activation=ACTIVATIONS[activation][i], dtype=dtype, **options
        ).eval()
        for i, (library, dtype) in enumerate([(nn, fe.float64), (torch.nn, torch.float64)])
    )
    with torch.no_grad():
        for each in theirs.parameters():
            each.copy_(torch.tensor(DRAW.normal(size=tuple(each.shape)) / 2))
    state = {name: fe.tensor(p.numpy()) for name, p in theirs.state_dict().items()}
    assert ours.load_state_dict(state) == ([], [])
    return ours, theirs


@pytest.mark.parametrize(("norm_first", "batch_first", "bias", "kind", "activation"), CASES)
def test_encoder_layer(norm_first, batch_first, bias, kind, activation):
    ours, theirs = both(
        "TransformerEncoderLayer",
        activation,
        norm_first=norm_first,
        batch_first=batch_first,
        bias=bias,
    )
    mask, padding, hint = masks(kind, SRC, SRC)
    more = {"src_mask": pair(mask, False), "src_key_padding_mask": pair(padding, False)}
    more["is_causal"] = hint, hint
    compare(ours, theirs, [sequence(SRC, batch_first)], more)


@pytest.mark.parametrize(("norm_first", "batch_first", "bias", "kind", "activation"), CASES)
def test_decoder_layer(norm_first, batch_first, bias, kind, activation):
    ours, theirs = both(
        "TransformerDecoderLayer",
        activation,
        norm_first=norm_first,
        batch_first=batch_first,
        bias=bias,
    )
    more = {}
    for name, keys in (("tgt", TGT), ("memory", SRC)):
        mask, padding, hint = masks(kind, TGT, keys)
        more[f"{name}_mask"] = pair(mask, False)
        more[f"{name}_key_padding_mask"] = pair(padding, False)
        more[f"{name}_is_causal"] = hint, hint
    compare(ours, theirs, [sequence(TGT, batch_first), sequence(SRC, batch_first)], more)


@pytest.mark.parametrize(("batch_first", "norm_first"), list(itertools.product(BOTH, BOTH)))
def test_without_a_batch(batch_first, norm_first):
    options = {"batch_first": batch_first, "norm_first": norm_first}
    x, y = pair(DRAW.normal(size=(TGT, E))), pair(DRAW.normal(size=(SRC, E)))
    mask, padding = pair(masks("causal", TGT, TGT)[0], False), pair(np.arange(TGT) == 2)
    more = {"src_mask": mask, "src_key_padding_mask": padding}
    compare(*both("TransformerEncoderLayer", **options), [x], more)
    more = {"tgt_mask": mask, "tgt_key_padding_mask": padding}
    compare(*both("TransformerDecoderLayer", **options), [x, y], more)


@pytest.mark.parametrize("name", ["TransformerEncoderLayer", "TransformerDecoderLayer"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", BOTH)
def test_looks_and_state(name, activation, bias):
    ours, theirs = both(name, activation, bias=bias)
    assert repr(ours) == repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear")
    state = {key: torch.tensor(each.numpy()) for key, each in ours.state_dict().items()}
    assert list(state) == list(theirs.state_dict())
    theirs.load_state_dict(state)
    for key, each in theirs.state_dict().items():
        close(ours.state_dict()[key], each, 0)


def test_an_activation_with_parameters_is_learned():
    ours = nn.TransformerEncoderLayer(E, 2, 6, activation=nn.PReLU())
    theirs = torch.nn.TransformerEncoderLayer(E, 2, 6, activation=torch.nn.PReLU())
    assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_gradients_padded_positions_too_are_those_of_training(dtype):
    """PyTorch's fast path may give others at padded positions: FERRUM has one path."""
    limit = {"float32": 1e-5, "float64": 1e-11}[dtype]
    ours, theirs = both("TransformerEncoderLayer", batch_first=True)
    ours.to(getattr(fe, dtype)), theirs.to(getattr(torch, dtype))
    padding = np.array([[False, False, True], [False, True, True]])
    x = DRAW.normal(size=(N, SRC, E)).astype(dtype)
    expected = theirs(torch.tensor(x), src_key_padding_mask=torch.tensor(padding)).detach()
    with fe.no_grad(), torch.no_grad():
        got = ours(fe.tensor(x), src_key_padding_mask=fe.tensor(padding))
        fast = theirs(torch.tensor(x), src_key_padding_mask=torch.tensor(padding))
    close(got, expected, limit)
    seen = ~padding
    np.testing.assert_allclose(got.numpy()[seen], fast.numpy()[seen], rtol=limit, atol=limit)
