"""F.multi_head_attention_forward beside PyTorch's, and what both refuse."""

import itertools

import numpy as np
import pytest
from beside_torch import close, pair, same_gradients, torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformer_pairs import BOTH, DRAW, SRC, TGT, E, N, masks
from transformer_refusals import CALLING, MAKING

import ferrum as fe
import ferrum_nn as nn

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:.*(nested|mismatched)")]
KINDS = [None, "bool", "heads", "float padding"]
EXTRAS = ["", "bias", "zeros", "separate", "static"]


def arguments(extra, keys, bias):
    """Return what is drawn for a call, by name."""
    given = {
        "in_proj_weight": DRAW.normal(size=(3 * E, E)),
        "in_proj_bias": DRAW.normal(size=3 * E) if bias else None,
        "bias_k": None,
        "bias_v": None,
        "out_proj_weight": DRAW.normal(size=(E, E)),
        "out_proj_bias": DRAW.normal(size=E) if bias else None,
    }
    if extra == "bias":
        given.update({name: DRAW.normal(size=(1, 1, E)) for name in ("bias_k", "bias_v")})
    if extra == "static":
        given.update(
            {f"static_{name}": DRAW.normal(size=(2 * N, keys, E // 2)) for name in ("k", "v")}
        )
    if extra == "separate":
        given["in_proj_weight"] = None
        given.update({f"{name}_proj_weight": DRAW.normal(size=(E, E)) for name in ("q", "k", "v")})
    return {name: pair(each) for name, each in given.items()}


def called(functional, i, inputs, given, **more):
    drawn = {name: each[i] for name, each in given.items()}
    query, key, value = (each[i] for each in inputs)
    return functional.multi_head_attention_forward(
        query, key, value, embed_dim_to_check=E, num_heads=2, dropout_p=0.0, **drawn, **more
    )


@pytest.mark.parametrize(
    ("extra", "kind", "weights", "bias"),
    [(*each, i % 2 > 0) for i, each in enumerate(itertools.product(EXTRAS, KINDS, BOTH))],
)
def test_function(extra, kind, weights, bias):
    mask, padding, _ = masks(kind, TGT, SRC)
    query, key, value = (pair(DRAW.normal(size=(length, N, E))) for length in (TGT, SRC, SRC))
    hidden = {"attn_mask": pair(mask, False), "key_padding_mask": pair(padding, False)}
    given = {**arguments(extra, SRC, bias), **hidden}
    more = {"add_zero_attn": extra == "zeros", "use_separate_proj_weight": extra == "separate"}
    more.update(need_weights=weights, training=False, average_attn_weights=bias)
    inputs = [query, key, value]
    one, seen = called(nn.functional, 0, inputs, given, **more)
    with sdpa_kernel(SDPBackend.MATH):  # the others have no second order
        two, expected = called(torch.nn.functional, 1, inputs, given, **more)
    close(one, two)
    assert (seen is None) == (expected is None)
    if seen is not None:
        close(seen, expected)
    used = inputs[:1] if extra == "static" else inputs
    leaves = [*used, *(each for name, each in given.items() if each[0] is not None)]
    leaves = [each for each in leaves if each[0].requires_grad]
    if extra == "static":  # of which the projections of keys and values are not used
        one, two = (each[:, :, : E // 2] for each in (one, two))
    same_gradients(one, two, *([each[i] for each in leaves] for i in (0, 1)))


def test_the_module_and_the_function_are_one():
    layer = nn.MultiheadAttention(E, 2, dtype=fe.float64)
    x = fe.randn(3, 2, E, dtype=fe.float64)
    out, weights = nn.functional.multi_head_attention_forward(
        x, x, x, E, 2, layer.in_proj_weight, layer.in_proj_bias, None, None, False, 0.0,
        layer.out_proj.weight, layer.out_proj.bias,
    )  # fmt: skip
    expected = layer(x, x, x)
    assert fe.equal(out, expected[0])
    assert fe.equal(weights, expected[1])
    turned = [each.transpose(0, 1) for each in (x, out)]
    layer.batch_first = True
    np.testing.assert_array_equal(layer(*[turned[0]] * 3)[0].detach(), turned[1].detach())


def test_dropout_in_training_alone():
    x = pair(np.ones((3, 2, E)))
    given = arguments("", 3, True)
    drawn = {name: each[0] for name, each in given.items()}

    def run(p, training):
        return nn.functional.multi_head_attention_forward(
            x[0], x[0], x[0], E, 2, add_zero_attn=False, dropout_p=p, training=training, **drawn
        )[1].detach()

    fe.manual_seed(0)
    first = run(0.5, True)
    assert (first == 0).any()
    fe.manual_seed(0)
    assert fe.equal(run(0.5, True), first)
    assert fe.equal(run(0.5, False), run(0.0, True))


@pytest.mark.parametrize("call", [call for call, *_ in (*MAKING, *CALLING)])
def test_pytorch_refuses_too(call):
    with pytest.raises((RuntimeError, ValueError, TypeError, AssertionError, AttributeError)):
        call(torch.nn, torch)
