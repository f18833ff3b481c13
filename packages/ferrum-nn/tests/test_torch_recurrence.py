"""Recurrent layers and cells, and packed sequences, beside PyTorch's."""

import itertools

import numpy as np
import pytest
from beside_torch import close, pair, same_gradients, torch

import ferrum as fe
import ferrum_nn as nn

pytestmark = pytest.mark.torch
rnn, theirs_rnn = nn.utils.rnn, torch.nn.utils.rnn
KINDS = ("RNN", "relu", "LSTM", "GRU")
LENGTHS = [[5, 3, 3, 1], [2, 5, 1, 4], [4, 4, 4, 4], [1, 1, 2, 1]]


def drawn(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def layers(kind, *sizes, **options):
    """Return a layer or cell of either library, with the same parameters."""
    name = kind.replace("relu", "RNN")
    if kind.startswith("relu"):
        options["nonlinearity"] = "relu"
    theirs = getattr(torch.nn, name)(*sizes, **options, dtype=torch.float64)
    ours = getattr(nn, name)(*sizes, **options, dtype=fe.float64)
    assert repr(ours) == repr(theirs)
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict({key: fe.tensor(value.numpy()) for key, value in state.items()})
    return ours, theirs


def initial(kind, *shape, proj_size=0):
    """Return initial states for either library, and them as leaves."""
    shapes = [(*shape[:-1], proj_size or shape[-1])]
    shapes += [shape] if "LSTM" in kind else []
    pairs = [pair(drawn(*each, k + 1)[..., k]) for k, each in enumerate(shapes)]
    one, two = zip(*pairs, strict=True)
    return (one, two) if "LSTM" in kind else (one[0], two[0])


def flat(result):
    """Return all tensors of a nested result; of packed ones the rows."""
    if isinstance(result, rnn.PackedSequence | theirs_rnn.PackedSequence):
        return [result.data]
    if not isinstance(result, tuple | list):
        return [] if result is None else [result]
    return [each for part in result for each in flat(part)]


def total(parts, lib):
    """Return everything weighted and joined, so that each result has a gradient of its own."""
    return lib.cat([each.reshape(-1) * (k + 1) for k, each in enumerate(parts)])


def same(ours, theirs, given, states=(None, None)):
    """Compare a module of either library: results, and gradients of two orders."""
    one, two = (
        flat(each(x, hx)) for each, x, hx in zip((ours, theirs), given, states, strict=True)
    )
    for a, b in zip(one, two, strict=True):
        close(a, b, 1e-12)
    leaves = [
        [*flat(x), *flat(hx), *module.parameters()]
        for module, x, hx in zip((ours, theirs), given, states, strict=True)
    ]
    same_gradients(total(one, fe), total(two, torch), *leaves)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_layers(kind, bidirectional, num_layers, batch_first, bias):
    options = {"num_layers": num_layers, "bidirectional": bidirectional}
    ours, theirs = layers(kind, 3, 2, **options, batch_first=batch_first, bias=bias)
    states = initial(kind, num_layers * (1 + bidirectional), 4 if batch_first else 3, 2)
    same(ours, theirs, pair(drawn(4, 3, 3)), states)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_one_sequence(kind, bidirectional, batch_first, given):
    ours, theirs = layers(kind, 3, 2, bidirectional=bidirectional, batch_first=batch_first)
    states = initial(kind, 1 + bidirectional, 2) if given else (None, None)
    same(ours, theirs, pair(drawn(4, 3)), states)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("proj_size", [1, 2, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_projections(bidirectional, num_layers, bias, proj_size, packed):
    options = {"num_layers": num_layers, "bidirectional": bidirectional, "proj_size": proj_size}
    ours, theirs = layers("LSTM", 3, 4, **options, bias=bias)
    shape = num_layers * (1 + bidirectional), 4, 4
    given = packs([4, 2, 2, 1], True) if packed else pair(drawn(3, 4, 3))
    same(ours, theirs, given, initial("LSTM", *shape, proj_size=proj_size))


def packs(lengths, enforce_sorted):
    """Return packed rows that are leaves, for either library."""
    x, y = pair(drawn(max(lengths), len(lengths), 3), requires_grad=False)
    one = rnn.pack_padded_sequence(x, lengths, enforce_sorted=enforce_sorted)
    two = theirs_rnn.pack_padded_sequence(y, lengths, enforce_sorted=enforce_sorted)
    one = rnn.PackedSequence(one.data.detach().requires_grad_(), *one[1:])
    return one, theirs_rnn.PackedSequence(two.data.detach().requires_grad_(), *two[1:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("given", [False, True])
def test_packed(kind, bidirectional, num_layers, lengths, given):
    ours, theirs = layers(kind, 3, 2, num_layers=num_layers, bidirectional=bidirectional)
    states = initial(kind, num_layers * (1 + bidirectional), 4, 2) if given else (None, None)
    same(ours, theirs, packs(lengths, lengths == sorted(lengths)[::-1]), states)


@pytest.mark.parametrize("kind", ["RNNCell", "reluCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (4, 3)])
@pytest.mark.parametrize("given", [False, True])
def test_cells(kind, bias, shape, given):
    ours, theirs = layers(kind, 3, 2, bias=bias)
    states = initial(kind, *shape[:-1], 2) if given else (None, None)
    same(ours, theirs, pair(drawn(*shape)), states)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_narrow_dtypes(kind, dtype):
    ours, theirs = layers(kind, 3, 4, bidirectional=True)
    x, y = pair(drawn(5, 2, 3), requires_grad=False)
    one = ours.to(getattr(fe, dtype))(x.to(getattr(fe, dtype)))[0]
    two = theirs(y)[0]
    assert one.dtype.name == dtype
    bound = {"float32": 1e-6, "float16": 4e-3, "bfloat16": 3e-2}[dtype]
    np.testing.assert_allclose(one.detach().double().numpy(), two.detach().numpy(), atol=bound)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches(kind, batch):
    ours, theirs = layers(kind, 3, 2, num_layers=2)
    x, y = pair(drawn(3, batch, 3))
    for a, b in zip(flat(ours(x)), flat(theirs(y)), strict=True):
        close(a, b)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("rest", [(), (2,), (2, 3)])
@pytest.mark.parametrize("more", [None, 7])
def test_packing(lengths, batch_first, rest, more):
    shape = (4, 5, *rest) if batch_first else (5, 4, *rest)
    x, y = pair(drawn(*shape))
    one = rnn.pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    two = theirs_rnn.pack_padded_sequence(y, lengths, batch_first, enforce_sorted=False)
    close(one.batch_sizes, two.batch_sizes)
    np.testing.assert_array_equal(
        np.sort(one.sorted_indices.numpy()), np.sort(two.sorted_indices.numpy())
    )
    back, ours = rnn.pad_packed_sequence(one, batch_first, -1.5, more)
    there, theirs = theirs_rnn.pad_packed_sequence(two, batch_first, -1.5, more)
    close(ours, theirs)
    close(back, there)
    same_gradients(back, there, [x], [y])


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_padding(batch_first, side, lengths):
    leaves = [pair(drawn(each, 2)) for each in lengths]
    one, two = zip(*leaves, strict=True)
    ours = rnn.pad_sequence(one, batch_first, 2.5, side)
    theirs = theirs_rnn.pad_sequence(two, batch_first, 2.5, side)
    close(ours, theirs)
    same_gradients(ours, theirs, one, two)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_sequences_there_and_back(lengths):
    leaves = [pair(drawn(each, 2)) for each in lengths]
    one, two = zip(*leaves, strict=True)
    ours = rnn.unpack_sequence(rnn.pack_sequence(one, enforce_sorted=False))
    theirs = theirs_rnn.unpack_sequence(theirs_rnn.pack_sequence(two, enforce_sorted=False))
    for a, b, first in zip(ours, theirs, one, strict=True):
        close(a, b)
        np.testing.assert_array_equal(a.detach().numpy(), first.detach().numpy())
    padded, twice = rnn.pad_sequence(one, True), theirs_rnn.pad_sequence(two, True)
    parts = rnn.unpad_sequence(padded, fe.tensor(lengths), True)
    for a, b in zip(
        parts, theirs_rnn.unpad_sequence(twice, torch.tensor(lengths), True), strict=True
    ):
        close(a, b)


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_invert_permutation(order):
    ours = rnn.invert_permutation(fe.tensor(order))
    close(ours, theirs_rnn.invert_permutation(torch.tensor(order)))


def test_bases():
    ours, theirs = nn.RNNBase("LSTM", 3, 2), torch.nn.RNNBase("LSTM", 3, 2)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [len(each) for each in ours.all_weights] == [len(each) for each in theirs.all_weights]
    ours, theirs = nn.RNNCellBase(3, 2, True, 4), torch.nn.RNNCellBase(3, 2, True, 4)
    assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "LSTMCell"])
def test_parameters_start_in_the_same_range(kind):
    fe.manual_seed(0)
    for each in getattr(nn, kind)(30, 25).parameters():
        values = np.abs(each.detach().numpy())
        assert 0.18 < values.max() <= 0.2
        assert 0.05 < values.mean() < 0.15
