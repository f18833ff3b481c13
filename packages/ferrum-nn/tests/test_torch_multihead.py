"""MultiheadAttention beside PyTorch's."""

import itertools

import numpy as np
import pytest
from beside_torch import both_refuse, close, pair, same_gradients, torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import ferrum as fe
import ferrum_nn as nn

pytestmark = pytest.mark.torch
DRAW = np.random.default_rng(0)
OPTIONS = [
    {},
    {"bias": False},
    {"add_bias_kv": True},
    {"add_zero_attn": True},
    {"add_bias_kv": True, "add_zero_attn": True, "kdim": 3},
    {"kdim": 3, "vdim": 5},
]
MASKS = [None, "bool", "float", "heads", "causal"]


def both(**options):
    ours = nn.MultiheadAttention(4, 2, dtype=fe.float64, **options)
    theirs = torch.nn.MultiheadAttention(4, 2, dtype=torch.float64, **options)
    state = {name: fe.tensor(p.detach().numpy()) for name, p in theirs.state_dict().items()}
    ours.load_state_dict(state)
    return ours, theirs


def masks(kind):
    if kind is None:
        return None
    if kind == "causal":
        return np.triu(np.ones((3, 3), bool), 1)
    if kind == "bool":
        return np.array([[False, True, False], [False, False, True], [True, False, False]])
    return DRAW.normal(size=(3, 3) if kind == "float" else (4, 3, 3))


@pytest.mark.parametrize(
    ("options", "kind", "first", "weights"),
    list(itertools.product(OPTIONS, MASKS, [False, True], [False, True])),
)
def test_attention(options, kind, first, weights):
    ours, theirs = both(batch_first=first, **options)
    sizes = 4, options.get("kdim", 4), options.get("vdim", 4)
    shape = (2, 3) if first else (3, 2)
    inputs = [pair(DRAW.normal(size=(*shape, size))) for size in sizes]
    mask = pair(masks(kind), False)
    more = {"need_weights": weights, "is_causal": kind == "causal"}
    one, seen = ours(*(a for a, _ in inputs), attn_mask=mask[0], **more)
    if options.get("add_bias_kv") or options.get("add_zero_attn"):
        # without weights PyTorch's hint hides what is appended, and with them its mask shows it:
        # FERRUM gives the latter either way
        more["is_causal"] = False
    with sdpa_kernel(SDPBackend.MATH):  # the others have no second order
        two, expected = theirs(*(b for _, b in inputs), attn_mask=mask[1], **more)
    close(one, two)
    assert (seen is None) == (expected is None)
    if seen is not None:
        close(seen, expected)
    mine = [a for a, _ in inputs] + [p for _, p in sorted(ours.named_parameters())]
    other = [b for _, b in inputs] + [p for _, p in sorted(theirs.named_parameters())]
    same_gradients(one, two, mine, other)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("batched", [False, True])
def test_padding_and_shared_inputs(average, batched):
    ours, theirs = both(batch_first=True)
    x, y = pair(DRAW.normal(size=(2, 3, 4) if batched else (3, 4)))
    padding = np.array([[False, False, True], [False, True, False]])
    p, q = pair(padding if batched else padding[0], False)
    one, seen = ours(x, x, x, key_padding_mask=p, average_attn_weights=average)
    two, expected = theirs(y, y, y, key_padding_mask=q, average_attn_weights=average)
    close(one, two)
    close(seen, expected)
    same_gradients(one, two, [x], [y])


@pytest.mark.parametrize("sizes", [[(4, 4)], [(3, 2, 5)], [(3, 2, 4), (3, 3, 4)]])
def test_refuses_shapes(sizes):
    ours, theirs = both()
    last = sizes[-1]
    one, two = pair(np.zeros((1, *sizes[0]) if sizes[0] == (4, 4) else sizes[0]))
    a, b = pair(np.zeros(last))
    with pytest.raises((RuntimeError, AssertionError)):
        theirs(two, b, b)
    with pytest.raises(fe.errors.ShapeError, match="multi_head_attention_forward: expected"):
        ours(one, a, a)


def test_refuses_arguments():
    ours, theirs = both()
    x, y = pair(np.zeros((3, 2, 4)))
    both_refuse(
        lambda: ours(x, x, x, is_causal=True),
        lambda: theirs(y, y, y, is_causal=True, need_weights=False),
    )
    m, t = pair(np.zeros((2, 3)), False)
    both_refuse(lambda: ours(x, x, x, attn_mask=m), lambda: theirs(y, y, y, attn_mask=t))
    with pytest.raises(fe.FerrumError, match="num_heads divides"):
        nn.MultiheadAttention(5, 2)
