"""Transformers: decoding with caches, dropout, captures, copies."""

import copy
import pickle

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.capture import record
from ferrum.errors import CaptureError

STEPS = 500
E = 8


@pytest.fixture(autouse=True)
def _seed():
    fe.manual_seed(0)


def causal(length, dtype):
    return nn.Transformer.generate_square_subsequent_mask(length, dtype=dtype)


def encoder(layers=2, **options):
    layer = nn.TransformerEncoderLayer(E, 2, 16, **options)
    return nn.TransformerEncoder(layer, layers, nn.LayerNorm(E, dtype=options.get("dtype")))


def decoder(layers=2, **options):
    layer = nn.TransformerDecoderLayer(E, 2, 16, **options)
    return nn.TransformerDecoder(layer, layers, nn.LayerNorm(E, dtype=options.get("dtype")))


def stepwise(step, x, axis, size):
    with fe.no_grad():
        parts = [step(x.narrow(axis, i, size)) for i in range(0, x.shape[axis], size)]
        return fe.cat(parts, axis).numpy()


def pairs(stack, own=nn.GrowingCache):
    return [(own(), nn.CrossCache()) for _ in stack.layers]


@pytest.mark.parametrize(("dtype", "limit"), [(fe.float64, 1e-10), (fe.float32, 1e-5)])
@pytest.mark.parametrize(("norm_first", "batch_first"), [(False, True), (True, False)])
@pytest.mark.parametrize("size", [1, 20])
def test_decoding_with_caches_equals_the_whole(size, norm_first, batch_first, dtype, limit):
    options = {"norm_first": norm_first, "batch_first": batch_first, "dtype": dtype}
    stack = decoder(**options).eval()
    shape = (2, STEPS, E) if batch_first else (STEPS, 2, E)
    x, memory = fe.randn(*shape, dtype=dtype), fe.randn(*shape, dtype=dtype)
    memory = memory.narrow(int(batch_first), 0, 7)
    padding = fe.tensor([[False] * 7, [False] * 5 + [True] * 2])
    hidden = {"memory_key_padding_mask": padding}
    whole = stack(x, memory, tgt_mask=causal(STEPS, dtype), **hidden).detach().numpy()
    cache = pairs(stack)
    got = stepwise(lambda new: stack(new, memory, **hidden, cache=cache), x, int(batch_first), size)
    assert [own.seen for own, _ in cache] == [STEPS, STEPS]
    assert np.abs(got - whole).max() <= limit * np.abs(whole).max()


@pytest.mark.parametrize(("dtype", "limit"), [(fe.float64, 1e-10), (fe.float32, 1e-5)])
@pytest.mark.parametrize("size", [1, 20])
def test_an_encoder_alone_decodes_too(size, dtype, limit):
    """A stack of causal self-attention is what GPT is made of."""
    stack = encoder(norm_first=True, batch_first=True, activation="gelu", dtype=dtype).eval()
    x = fe.randn(2, STEPS, E, dtype=dtype)
    whole = stack(x, causal(STEPS, dtype)).detach().numpy()
    cache = [nn.StaticCache(STEPS) for _ in stack.layers]
    got = stepwise(lambda new: stack(new, cache=cache), x, 1, size)
    assert np.abs(got - whole).max() <= limit * np.abs(whole).max()


def test_a_window_slides_over_the_targets():
    stack = decoder(1, batch_first=True, dtype=fe.float64).eval()
    x, memory = fe.randn(2, 60, E, dtype=fe.float64), fe.randn(2, 3, E, dtype=fe.float64)
    place = np.arange(60)
    far = (place > place[:, None]) | (place <= place[:, None] - 9)
    whole = stack(x, memory, tgt_mask=fe.tensor(far)).detach().numpy()
    cache = pairs(stack, lambda: nn.SlidingCache(9))
    got = stepwise(lambda new: stack(new, memory, cache=cache), x, 1, 1)
    np.testing.assert_allclose(got, whole, rtol=1e-11, atol=1e-11)


def test_a_memory_is_projected_once():
    stack, x = decoder().eval(), fe.randn(2, 1, E)
    cache, other = pairs(stack), pairs(stack)
    with fe.no_grad():
        memory = fe.randn(4, 1, E)
        stack(x[:1], memory, cache=cache)
        stack(x[:1], memory, cache=other)
        one = stack(x[1:], memory, cache=cache)
        two = stack(x[1:], fe.zeros(4, 1, E), cache=other)
    assert fe.equal(one, two)


def test_decoding_cuts_no_gradient():
    stack, x = decoder(), fe.randn(1, 1, E)
    with pytest.raises(fe.FerrumError, match=r"decode under fe.no_grad\(\)"):
        stack(x, x, cache=pairs(stack))


@pytest.mark.parametrize("dtype", [fe.float32, fe.bool])
def test_a_causal_mask_is_found(dtype):
    stack, x = encoder().eval(), fe.randn(5, 2, E)
    seen = []
    stack.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["is_causal"]), with_kwargs=True
    )
    mask = causal(5, dtype)
    other = fe.cat([mask[1:], mask[:1]])  # as many are hidden, but not the same
    for given in (mask, other, fe.stack([mask] * 4), None):
        stack(x, given)
    for hint in (True, False):
        stack(x, mask, is_causal=hint)
    assert seen == [True, False, False, False, True, False]


def test_masks_hide():
    """What a position must not see does not change it."""
    stack = nn.Transformer(E, 2, 1, 1, 16, dtype=fe.float64).eval()
    src, tgt = fe.randn(4, 2, E, dtype=fe.float64), fe.randn(5, 2, E, dtype=fe.float64)
    padding = fe.tensor([[False] * 4, [False, False, True, True]])
    more = {"src_key_padding_mask": padding, "memory_key_padding_mask": padding}
    before = stack(src, tgt, tgt_mask=causal(5, fe.float64), **more).detach()
    src[2:, 1], tgt[3] = 100.0, -100.0
    after = stack(src, tgt, tgt_mask=causal(5, fe.float64), **more).detach()
    assert fe.equal(before[:3], after[:3])
    assert not fe.equal(before[3:], after[3:])


def test_dropout_drops_in_training_alone():
    layer = nn.TransformerEncoderLayer(E, 2, 16, dropout=0.5)
    x = fe.randn(6, 3, E)
    fe.manual_seed(3)
    one = layer(x)
    two = layer(x)
    fe.manual_seed(3)
    assert fe.equal(layer(x), one)
    assert not fe.equal(one, two)
    layer.eval()
    assert fe.equal(layer(x), layer(x))
    assert not fe.equal(layer(x), one)
    still = nn.TransformerEncoderLayer(E, 2, 16, dropout=0.0)
    still.load_state_dict(layer.state_dict())
    assert fe.equal(still(x), layer(x))


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_as_much_is_dropped_as_was_asked_for(p):
    """Where attention gives nothing but its bias, a residual shows what became of the bias."""
    layer = nn.TransformerEncoderLayer(E, 2, 16, dropout=p, norm_first=True)
    with fe.no_grad():
        for each in layer.parameters():
            each.zero_()
        layer.self_attn.out_proj.bias.fill_(1.0)
        out = layer(fe.zeros(500, 20, E)).numpy()
    np.testing.assert_allclose(np.unique(out), [0, 1 / (1 - p)], rtol=1e-6)
    assert abs((out == 0).mean() - p) < 4 * np.sqrt(p * (1 - p) / out.size)


@pytest.mark.parametrize("made", [encoder, decoder, nn.Transformer])
def test_copies_are_apart(made):
    net = made() if made is not nn.Transformer else made(E, 2, 1, 2, 16)
    layers = list((net if made is not nn.Transformer else net.decoder).layers)
    for one, two in zip(layers[0].parameters(), layers[1].parameters(), strict=True):
        assert one is not two
    with fe.no_grad():
        layers[0].linear1.weight.zero_()
    assert layers[1].linear1.weight.any()
    assert len(list(net.parameters())) == len(net.state_dict())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("activation", ["gelu", nn.functional.silu, nn.PReLU()])
def test_copies_and_pickles(copied, activation):
    net = nn.Transformer(E, 2, 1, 1, 16, activation=activation).eval()
    other = copied(net)
    x, y = fe.randn(3, 2, E), fe.randn(4, 2, E)
    assert fe.equal(net(x, y), other(x, y))
    assert not other.training
    with fe.no_grad():
        other.encoder.layers[0].linear1.weight.zero_()
    assert not fe.equal(net(x, y), other(x, y))


def test_a_stack_of_none_is_its_norm():
    layer, x = nn.TransformerEncoderLayer(E, 2, 16), fe.randn(3, 2, E)
    assert fe.equal(nn.TransformerEncoder(layer, 0)(x), x)
    norm = nn.LayerNorm(E)
    assert fe.equal(nn.TransformerEncoder(layer, 0, norm)(x), norm(x))


def test_a_stack_may_be_cut():
    stack, x = encoder(3).eval(), fe.randn(3, 2, E)
    expected = stack.norm(stack.layers[0](x))
    del stack.layers[1:]
    assert fe.equal(stack(x), expected)


def test_records_where_the_hint_is_given():
    stack, x = encoder().eval(), fe.randn(3, 2, E)
    mask = causal(3, fe.float32)
    with fe.no_grad():
        graph = record(lambda x: stack(x, mask, is_causal=True), x)
        other = fe.randn(3, 2, E)
        assert fe.equal(graph.replay(other), stack(other, mask))
        with pytest.raises(CaptureError, match="bool"):
            record(lambda x: stack(x, mask), x)


def test_learns():
    """To say a sequence backwards, which takes positions of the memory."""
    net = nn.Transformer(16, 2, 1, 1, 32, dropout=0.0, batch_first=True)
    places = fe.randn(4, 16)
    optimizer = nn.optim.Adam(net.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        src = fe.randn(16, 4, 16)
        out = net(src + places, places.expand(16, 4, 16))
        loss = nn.functional.mse_loss(out, nn.functional.layer_norm(src.flip(1), (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
