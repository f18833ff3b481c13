"""Embedding bags beside PyTorch's: values and gradients, and higher orders beside differences."""

import itertools

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from beside_torch import both_refuse, close, pair  # noqa: E402

pytestmark = pytest.mark.torch
F, T = nn.functional, torch.nn.functional
MODES = ["sum", "mean", "max"]
# integers, and where bags begin
BAGS = [
    ([0, 3, 3, 6, 1, 3], [0, 2, 5]),
    ([0, 3, 3, 6, 1, 3], [0, 0, 4, 6]),  # the first and the last are empty
    ([5], [0]),
    ([3, 3, 3], [0, 1, 2]),
    ([], [0, 0]),
    ([[1, 2, 0], [2, 5, 5]], None),
    ([[4]], None),
]


def operands(ids, offsets, kind="int64", seed=0):
    table = np.random.default_rng(seed).normal(size=(7, 3))
    ids = np.array(ids, kind)
    return table, ids, None if offsets is None else np.array(offsets, kind)


def both(table, ids, offsets, scale=None, **options):
    """Compare values, and the gradients of a weighted sum."""
    w, v = pair(table)
    s, r = pair(scale)
    ours = F.embedding_bag(fe.tensor(ids), w, pair(offsets)[0], per_sample_weights=s, **options)
    theirs = T.embedding_bag(
        torch.tensor(ids), v, pair(offsets)[1], per_sample_weights=r, **options
    )
    close(ours, theirs)
    close(w, v)
    seed = np.cos(np.arange(ours.numel())).reshape(ours.shape)
    one = fe.grad((ours * fe.tensor(seed)).sum(), [w] if s is None else [w, s])
    two = torch.autograd.grad((theirs * torch.tensor(seed)).sum(), [v] if s is None else [v, r])
    for a, b in zip(one, two, strict=True):
        close(a, b)


@pytest.mark.parametrize("kind", ["int64", "int32"])
@pytest.mark.parametrize(
    ("bags", "mode", "padding"), list(itertools.product(BAGS, MODES, [None, 3, -2]))
)
def test_values_and_gradients(bags, mode, padding, kind):
    both(*operands(*bags, kind), mode=mode, padding_idx=padding)


@pytest.mark.parametrize(("bags", "padding"), list(itertools.product(BAGS, [None, 3])))
def test_weights_of_samples(bags, padding):
    table, ids, offsets = operands(*bags)
    scale = np.random.default_rng(1).normal(size=ids.shape)
    both(table, ids, offsets, scale, mode="sum", padding_idx=padding)


@pytest.mark.parametrize(
    ("bags", "mode", "padding"), list(itertools.product(BAGS, MODES[:2], [None, 3]))
)
def test_gradients_by_frequency(bags, mode, padding):
    """PyTorch divides the wrong rows on the CPU, so its plain gradients are divided here."""
    table, ids, offsets = operands(*bags)
    w, v = pair(table)
    options = {"mode": mode, "padding_idx": padding}
    ours = F.embedding_bag(fe.tensor(ids), w, pair(offsets)[0], scale_grad_by_freq=True, **options)
    theirs = T.embedding_bag(torch.tensor(ids), v, pair(offsets)[1], **options)
    counts = np.maximum(np.bincount(ids.ravel().astype(int), minlength=7), 1)[:, None]
    (one,), (two,) = fe.grad(ours.sum(), w), torch.autograd.grad(theirs.sum(), v)
    close(one, two / torch.tensor(counts))


@pytest.mark.parametrize(
    ("bags", "mode", "norm"),
    list(itertools.product(BAGS, MODES, [(1.5, 2.0), (1.0, 1.0), (0.5, float("inf"))])),
)
def test_rows_are_scaled_first(bags, mode, norm):
    both(*operands(*bags), mode=mode, max_norm=norm[0], norm_type=norm[1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ends", [[0, 2, 6], [0, 6], [0, 0, 6], [0, 2, 6, 6]])
def test_the_last_offset_is_the_end(ends, mode):
    both(*operands([0, 3, 3, 6, 1, 3], ends), mode=mode, include_last_offset=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ends", [[0, 2, 5], [0, 3], [0, 0, 0]])
def test_what_follows_the_last_offset_is_not_read(ends, mode):
    """PyTorch reads it for sums of float64 and not of float32, so it gets what is to be read."""
    table, ids, ends = operands([0, 3, 3, 6, 1, 3], ends)
    ours = F.embedding_bag(
        fe.tensor(ids), fe.tensor(table), fe.tensor(ends), mode=mode, include_last_offset=True
    )
    read = torch.tensor(ids[: ends[-1]])
    close(ours, T.embedding_bag(read, torch.tensor(table), torch.tensor(ends[:-1]), mode=mode))


@pytest.mark.parametrize("mode", MODES)
def test_the_first_of_equals_is_the_largest(mode):
    _, ids, offsets = operands([5, 1, 2, 1], [0, 3])
    both(np.ones((7, 3)), ids, offsets, mode=mode)


@pytest.mark.parametrize(
    ("bags", "mode", "padding"), list(itertools.product(BAGS, MODES, [None, 3]))
)
def test_second_order_is_that_of_differences(bags, mode, padding):
    table, ids, offsets = operands(*bags)
    scale = np.random.default_rng(1).normal(size=ids.shape) if mode == "sum" else None
    leaves = [pair(table)[0], pair(scale)[0]][: 1 + (scale is not None)]
    options = {"mode": mode, "padding_idx": padding}
    index, starts = fe.tensor(ids), pair(offsets)[0]

    def cubed(weight, scale=None):
        found = F.embedding_bag(index, weight, starts, per_sample_weights=scale, **options)
        return found * found * found

    assert fe.gradcheck(cubed, tuple(leaves))
    assert fe.gradgradcheck(cubed, tuple(leaves))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("mode", MODES)
def test_narrow_tables(mode, dtype):
    table, ids, offsets = operands([0, 3, 3, 6, 1, 3], [0, 2, 5])
    kinds = getattr(fe, dtype), getattr(torch, dtype)
    ours = F.embedding_bag(
        fe.tensor(ids), fe.tensor(table).to(kinds[0]), fe.tensor(offsets), mode=mode
    )
    theirs = T.embedding_bag(
        torch.tensor(ids), torch.tensor(table).to(kinds[1]), torch.tensor(offsets), mode=mode
    )
    assert ours.dtype is kinds[0]
    near = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 1e-6}[dtype]
    np.testing.assert_allclose(ours.double().numpy(), theirs.double().numpy(), rtol=near, atol=near)


LAYERS = [
    {},
    {"mode": "sum", "padding_idx": -1, "max_norm": 1.0},
    {"mode": "max", "norm_type": 1.0, "max_norm": 2.0},
    {"mode": "mean", "scale_grad_by_freq": True, "padding_idx": 2},
    {"mode": "sum", "include_last_offset": True},
]


@pytest.mark.parametrize("options", LAYERS, ids=str)
def test_the_layer(options):
    ours = nn.EmbeddingBag(7, 3, dtype=fe.float64, **options)
    theirs = torch.nn.EmbeddingBag(7, 3, dtype=torch.float64, **options)
    assert repr(ours) == repr(theirs)
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    ids, offsets = [0, 3, 5, 6, 1], [0, 2, 5]
    one = ours(fe.tensor(ids), fe.tensor(offsets))
    two = theirs(torch.tensor(ids), torch.tensor(offsets))
    close(one, two)
    one.sum().backward()
    two.sum().backward()
    close(ours.weight.grad, theirs.weight.grad)
    close(ours.weight, theirs.weight)


def test_the_layer_starts_as_theirs_does():
    weight = nn.EmbeddingBag(2000, 5, padding_idx=-1).weight.detach().numpy()
    assert not weight[-1].any()
    assert abs(weight[:-1].mean()) < 0.05
    assert abs(weight[:-1].std() - 1) < 0.05


@pytest.mark.parametrize("freeze", [True, False])
def test_from_pretrained(freeze):
    table, ids, _ = operands([[1, 2], [2, 0]], None)
    options = {"freeze": freeze, "mode": "sum", "padding_idx": 2}
    ours = nn.EmbeddingBag.from_pretrained(fe.tensor(table), **options)
    theirs = torch.nn.EmbeddingBag.from_pretrained(torch.tensor(table), **options)
    assert ours.weight.requires_grad == theirs.weight.requires_grad
    assert repr(ours) == repr(theirs)
    close(ours(fe.tensor(ids)), theirs(torch.tensor(ids)))


@pytest.mark.parametrize(
    ("ids", "offsets", "options"),
    [
        ([0, 7], [0], {}),
        ([0, -1], [0], {}),
        ([0, 1], [0, 3], {}),
        ([0, 1], [1], {}),
        ([0, 1], None, {}),
        ([[0, 1]], [0], {}),
        (0, [0], {}),
        ([[[0]]], None, {}),
        ([0, 1], [[0]], {}),
        ([0.5], [0], {}),
        ([0], [0.5], {}),
        ([0], [0], {"mode": "min"}),
        ([0], [0], {"mode": None}),
        ([0], [0], {"mode": "max", "scale_grad_by_freq": True}),
        ([0], [0], {"padding_idx": 7}),
        ([0], [0], {"padding_idx": -8}),
    ],
)
def test_refuses_what_theirs_refuses(ids, offsets, options):
    table = np.ones((7, 3))

    def made(make):
        return make(ids), make(table), None if offsets is None else make(offsets)

    both_refuse(
        lambda: F.embedding_bag(*made(fe.tensor), **options),
        lambda: T.embedding_bag(*made(torch.tensor), **options),
    )
