"""Recurrent layers: what holds of them whatever the numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ferrum as fe
import ferrum_nn as nn

rnn = nn.utils.rnn
KINDS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}


def states(result):
    """Return the last states of a layer's result, as a list."""
    return list(result[1]) if isinstance(result[1], tuple) else [result[1]]


def close(one, two):
    np.testing.assert_allclose(one.detach().numpy(), two.detach().numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_packed_is_padded(kind, lengths, seed):
    """Each sequence has among others the outputs, last states and gradients that it has alone."""
    layer = KINDS[kind](3, 2, 2, bidirectional=True, dtype=fe.float64)
    x = fe.tensor(np.random.default_rng(seed).normal(size=(5, len(lengths), 3)), requires_grad=True)
    packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    result = layer(packed)
    outs, found = rnn.pad_packed_sequence(result[0], total_length=5)
    assert found.tolist() == lengths
    (grad,) = fe.grad((outs * outs).sum(), [x])
    for k, length in enumerate(lengths):
        alone = layer(x[:length, k])
        close(outs[:length, k], alone[0])
        assert not outs[length:, k].detach().numpy().any()
        for one, two in zip(states(result), states(alone), strict=True):
            close(one[:, k], two)
        (own,) = fe.grad((alone[0] * alone[0]).sum(), [x])
        close(grad[:, k], own[:, k])


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_makes_the_steps_of_its_layer(kind):
    layer, cell = KINDS[kind](3, 4), getattr(nn, f"{kind}Cell")(3, 4)
    cell.load_state_dict({key[:-3]: value for key, value in layer.state_dict().items()})
    x, hx = fe.randn(6, 2, 3), None
    outs, _ = layer(x)
    for t in range(6):
        hx = cell(x[t], hx)
        h = hx[0] if kind == "LSTM" else hx
        np.testing.assert_allclose(h.detach().numpy(), outs[t].detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_two_halves_are_the_whole(kind):
    """The states that a layer ends with go on where it stopped."""
    layer = KINDS[kind](3, 4, 2, dtype=fe.float64)
    x = fe.tensor(np.random.default_rng(0).normal(size=(7, 2, 3)))
    whole, first = layer(x), layer(x[:3])
    second = layer(x[3:], first[1])
    close(fe.cat([first[0], second[0]]), whole[0])
    for one, two in zip(states(second), states(whole), strict=True):
        close(one, two)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_between_layers(kind):
    """It acts in training only, and not on what the last layer gives."""
    layer = KINDS[kind](3, 4, 2, dropout=1.0, bias=False)
    other = KINDS[kind](3, 4, 1, dropout=0.0, bias=False)
    x = fe.randn(5, 2, 3)
    assert not layer(x)[0].detach().numpy().any()  # the second layer is given zeros
    assert layer.eval()(x)[0].detach().numpy().any()
    assert other(x)[0].detach().numpy().all()


def test_packed_sequences_are_converted():
    packed = rnn.pack_sequence([fe.ones(2), fe.ones(3)], enforce_sorted=False)
    assert packed.to(fe.float32) is packed
    assert packed.double().data.dtype is fe.float64
    assert packed.double().float().data.dtype is fe.float32
    assert packed.half().data.dtype is fe.float16
    assert packed.double().sorted_indices.tolist() == [1, 0]
