"""Decoding step by step with a cache gives what the whole sequence gives at once."""

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, DTypeError, ShapeError

STEPS = 500


def stepwise(layer, x, cache, steps=1):
    with fe.no_grad():
        parts = [
            layer(*[x[:, i : i + steps]] * 3, need_weights=False, cache=cache)[0]
            for i in range(0, x.shape[1], steps)
        ]
        return fe.cat(parts, 1).numpy()


@pytest.mark.parametrize(("dtype", "limit"), [(fe.float64, 1e-10), (fe.float32, 1e-5)])
@pytest.mark.parametrize("kind", ["static", "growing", "sliding"])
@pytest.mark.parametrize("steps", [1, 7])
def test_equals_the_whole(kind, steps, dtype, limit):
    fe.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, batch_first=True, dtype=dtype)
    x = fe.randn(2, STEPS, 8, dtype=dtype)
    cache = {
        "static": lambda: nn.StaticCache(STEPS),
        "growing": nn.GrowingCache,
        "sliding": lambda: nn.SlidingCache(20),
    }[kind]()
    place = np.arange(STEPS)
    hidden = place[None] > place[:, None]
    if kind == "sliding":
        hidden |= place[None] <= place[:, None] - 20
    whole = layer(x, x, x, attn_mask=fe.tensor(hidden))[0].detach().numpy()
    got = stepwise(layer, x, cache, steps)
    assert cache.seen == STEPS
    assert np.abs(got - whole).max() <= limit * np.abs(whole).max()
    cache.reset()
    np.testing.assert_array_equal(stepwise(layer, x, cache, steps), got)


def test_memory_is_projected_once():
    layer, cache = nn.MultiheadAttention(8, 2, batch_first=True), nn.CrossCache()
    x, memory = fe.randn(2, 5, 8), fe.randn(2, 9, 8)
    whole = layer(x, memory, memory)[0].detach().numpy()
    for i in range(5):
        with fe.no_grad():
            step = layer(x[:, i : i + 1], memory, memory, cache=cache)[0].numpy()
        np.testing.assert_allclose(step, whole[:, i : i + 1], rtol=1e-5, atol=1e-6)
        memory = fe.zeros(2, 9, 8)  # the cache holds the first


def test_refuses():
    cache = nn.StaticCache(2)
    cache.update(fe.ones(1, 2, 2, 3), fe.ones(1, 2, 2, 3))
    with pytest.raises(fe.FerrumError, match="at most max_length = 2"):
        cache.update(fe.ones(1, 2, 1, 3), fe.ones(1, 2, 1, 3))
    assert cache.seen == 2
    with pytest.raises(fe.FerrumError, match="another batch"):
        cache.update(fe.ones(2, 2, 1, 3), fe.ones(2, 2, 1, 3))
    with pytest.raises(fe.FerrumError, match="of one length"):
        cache.update(fe.ones(1, 2, 1, 3), fe.ones(1, 2, 2, 3))
    for wrong in (0, -1, True, 1.5):
        with pytest.raises(fe.FerrumError, match="at least 1"):
            nn.SlidingCache(wrong)


@pytest.mark.parametrize("make", [nn.GrowingCache, lambda: nn.SlidingCache(4), nn.CrossCache])
def test_what_is_refused_leaves_the_cache_as_it_was(make):
    layer, cache = nn.MultiheadAttention(8, 2, batch_first=True), make()
    x = fe.randn(1, 3, 8)
    with fe.no_grad():
        for seen in (0, 3):
            with pytest.raises(ShapeError, match="expected an attn_mask"):
                layer(x, x, x, attn_mask=fe.zeros(3, 99), cache=cache)
            assert cache.seen == seen
            spans = cache.length(3)
            layer(x, x, x, attn_mask=fe.zeros(3, spans), cache=cache)


@pytest.mark.parametrize("make", [nn.GrowingCache, nn.CrossCache, lambda: nn.SlidingCache(4)])
def test_cuts_no_gradient(make):
    layer, x = nn.MultiheadAttention(8, 2, batch_first=True), fe.randn(1, 2, 8)
    with pytest.raises(ArgumentError, match=r"decode under fe.no_grad\(\)"):
        layer(x, x, x, cache=make())


@pytest.mark.parametrize("kdim", [8, 6])
def test_a_memory_that_was_kept_cuts_no_gradient(kdim):
    layer = nn.MultiheadAttention(8, 2, kdim=kdim, vdim=kdim, batch_first=True)
    x, memory, cache = fe.randn(1, 2, 8), fe.randn(1, 3, kdim), nn.CrossCache()
    with fe.no_grad():
        layer(x, memory, memory, cache=cache)
    with pytest.raises(ArgumentError, match=r"decode under fe.no_grad\(\)"):
        layer(x, memory, memory, cache=cache)  # the projections require gradients
    layer.requires_grad_(False)
    assert layer(x, memory, memory, cache=cache)[0].shape == (1, 2, 8)
    memory.requires_grad_()
    with pytest.raises(ArgumentError, match=r"decode under fe.no_grad\(\)"):
        layer(x, memory, memory, cache=cache)
    with pytest.raises(ArgumentError, match=r"decode under fe.no_grad\(\)"):
        cache.update(*[fe.ones(1, 2, 3, 4, requires_grad=True)] * 2)


def test_masks_are_bools_or_floats():
    layer, x = nn.MultiheadAttention(8, 2, batch_first=True), fe.randn(1, 2, 8)
    with pytest.raises(DTypeError, match="bools or floats, got int64"):
        layer(x, x, x, attn_mask=fe.zeros(2, 2, dtype=fe.int64))
