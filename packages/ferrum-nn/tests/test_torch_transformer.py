"""Stacks of layers and whole transformers beside PyTorch's."""

import itertools

import numpy as np
import pytest
from beside_torch import close, pair, torch
from transformer_pairs import (
    ACTIVATIONS,
    BOTH,
    DRAW,
    SRC,
    TGT,
    E,
    N,
    compare,
    masks,
    sequence,
)

import ferrum as fe
import ferrum_nn as nn

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.*(nested tensor|nested_tensor|mismatched)"),
]
LIBRARIES = [(nn, fe.float64), (torch.nn, torch.float64)]
KINDS = [None, "bool", "float", "causal", "causal bool", "padding", "causal and padding"]


def loaded(ours, theirs):
    """Return both, with the same weights, all of them drawn: the layers differ from each other."""
    with torch.no_grad():
        for each in theirs.parameters():
            each.copy_(torch.tensor(DRAW.normal(size=tuple(each.shape)) / 2))
    state = {name: fe.tensor(p.numpy()) for name, p in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    assert ours.load_state_dict(state) == ([], [])
    return ours.eval(), theirs.eval()


def stacks(part, norm, **options):
    def made(library, dtype):
        layer = getattr(library, f"Transformer{part}Layer")(E, 2, 6, dtype=dtype, **options)
        last = library.LayerNorm(E, dtype=dtype) if norm else None
        stack = library.TransformerEncoder if part == "Encoder" else library.TransformerDecoder
        return stack(layer, 2, last)

    return loaded(*(made(*each) for each in LIBRARIES))


def transformers(activation="relu", **options):
    sizes = {"d_model": E, "nhead": 2, "num_encoder_layers": 1, "num_decoder_layers": 2}
    ours, theirs = (
        library.Transformer(**sizes, dim_feedforward=6, activation=given, dtype=dtype, **options)
        for given, (library, dtype) in zip(ACTIVATIONS[activation], LIBRARIES, strict=True)
    )
    for layer in theirs.decoder.layers:  # PyTorch's copies put relu before a module given to them
        if "activation" in layer._modules:
            layer.__dict__.pop("activation", None)
    return loaded(ours, theirs)


@pytest.mark.parametrize(
    ("norm_first", "batch_first", "kind"), list(itertools.product(BOTH, BOTH, KINDS))
)
def test_encoder(norm_first, batch_first, kind):
    ours, theirs = stacks(
        "Encoder", norm_first != batch_first, norm_first=norm_first, batch_first=batch_first
    )
    mask, padding, _ = masks(kind, SRC, SRC)
    more = {"mask": pair(mask, False), "src_key_padding_mask": pair(padding, False)}
    compare(ours, theirs, [sequence(SRC, batch_first)], more)


@pytest.mark.parametrize(("batch_first", "kind"), list(itertools.product(BOTH, KINDS)))
def test_decoder(batch_first, kind):
    ours, theirs = stacks("Decoder", batch_first, norm_first=batch_first, batch_first=batch_first)
    mask, padding, hint = masks(kind, TGT, TGT)
    other, cross_padding, _ = masks(kind, TGT, SRC)
    more = {
        "tgt_mask": pair(mask, False),
        "tgt_key_padding_mask": pair(padding, False),
        "memory_mask": pair(other, False),
        "memory_key_padding_mask": pair(cross_padding, False),
        "memory_is_causal": (hint, hint),
    }
    compare(ours, theirs, [sequence(TGT, batch_first), sequence(SRC, batch_first)], more)


@pytest.mark.parametrize("hint", [None, False, True])
@pytest.mark.parametrize("kind", ["causal", "causal bool"])
def test_hints(kind, hint):
    more = {"is_causal": (hint, hint)}
    ours, theirs = stacks("Encoder", True)
    mask = pair(masks(kind, SRC, SRC)[0], False)
    compare(ours, theirs, [sequence(SRC, False)], {"mask": mask, **more})
    ours, theirs = stacks("Decoder", True)
    mask = pair(masks(kind, TGT, TGT)[0], False)
    inputs = [sequence(TGT, False), sequence(SRC, False)]
    compare(ours, theirs, inputs, {"tgt_mask": mask, "tgt_is_causal": (hint, hint)})


@pytest.mark.parametrize(
    ("norm_first", "batch_first", "bias", "activation"),
    list(itertools.product(BOTH, BOTH, BOTH, ACTIVATIONS)),
)
def test_transformer(norm_first, batch_first, bias, activation):
    ours, theirs = transformers(
        activation, norm_first=norm_first, batch_first=batch_first, bias=bias
    )
    more = {}
    for name, kind, keys in (("src", "float", SRC), ("tgt", "causal", TGT), ("memory", None, SRC)):
        length = SRC if name == "src" else TGT
        more[f"{name}_mask"] = pair(masks(kind, length, keys)[0], False)
        padding = masks("float padding", length, keys)[1] if name != "tgt" else None
        more[f"{name}_key_padding_mask"] = pair(padding, False)
    compare(ours, theirs, [sequence(SRC, batch_first), sequence(TGT, batch_first)], more)


def test_transformer_without_a_batch():
    x, y = pair(DRAW.normal(size=(SRC, E))), pair(DRAW.normal(size=(TGT, E)))
    compare(*transformers(), [x, y], {})


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"norm_first": True}])
def test_looks_and_state(options):
    for ours, theirs in (
        transformers(**options),
        stacks("Encoder", True, **options),
        stacks("Decoder", False, **options),
    ):
        assert repr(ours) == repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear")
        state = {key: torch.tensor(each.numpy()) for key, each in ours.state_dict().items()}
        theirs.load_state_dict(state)
        for key, each in theirs.state_dict().items():
            close(ours.state_dict()[key], each, 0)


def test_custom_parts():
    class Echo(nn.Module):
        def forward(self, x, *memory, **more):
            return x + 1

    class TheirEcho(torch.nn.Module):
        def forward(self, x, *memory, **more):
            return x + 1

    ours = nn.Transformer(E, 2, custom_encoder=Echo(), custom_decoder=Echo())
    theirs = torch.nn.Transformer(E, 2, custom_encoder=TheirEcho(), custom_decoder=TheirEcho())
    (a, b), (c, d) = sequence(SRC, False), sequence(TGT, False)
    close(ours(a, c), theirs(b, d))
    assert list(ours.parameters()) == []


@pytest.mark.parametrize("name", [None, "float32", "float64", "bool"])
@pytest.mark.parametrize("size", [0, 1, 5])
def test_masks(name, size):
    dtypes = [None if name is None else getattr(library, name) for library in (fe, torch)]
    ours = nn.Transformer.generate_square_subsequent_mask(size, dtype=dtypes[0])
    close(ours, torch.nn.Transformer.generate_square_subsequent_mask(size, dtype=dtypes[1]), 0)


@pytest.mark.parametrize("bias", BOTH)
def test_starts_as_theirs(bias):
    """By the bounds and the deviations of each parameter; both draw from their own generators."""
    fe.manual_seed(0)
    torch.manual_seed(0)
    sizes = {"d_model": 64, "nhead": 4, "num_encoder_layers": 2, "num_decoder_layers": 1}
    for ours, theirs in (
        (nn.Transformer(**sizes, bias=bias), torch.nn.Transformer(**sizes, bias=bias)),
        (
            nn.TransformerEncoderLayer(64, 4, 96, bias=bias),
            torch.nn.TransformerEncoderLayer(64, 4, 96, bias=bias),
        ),
    ):
        expected = dict(theirs.named_parameters())
        for name, each in ours.named_parameters():
            a, b = each.detach().numpy(), expected[name].detach().numpy()
            few = 5 / np.sqrt(a.size)  # how far apart two draws may be
            assert abs(a.std() - b.std()) <= few * b.std(), name
            assert abs(a.mean() - b.mean()) <= 2 * few * b.std(), name
            assert abs(np.abs(a).max() - np.abs(b).max()) <= 0.15 * np.abs(b).max(), name


def test_copies_start_alike_as_theirs():
    for library in (nn, torch.nn):
        stack = library.TransformerEncoder(library.TransformerEncoderLayer(E, 2, 6), 2)
        one, two = (layer.linear1.weight.detach().numpy() for layer in stack.layers)
        np.testing.assert_array_equal(one, two)


def test_batches_of_one_mask_per_head():
    ours, theirs = stacks("Encoder", False)
    mask = pair(DRAW.normal(size=(2 * N, SRC, SRC)), False)
    compare(ours, theirs, [sequence(SRC, False)], {"mask": mask})
