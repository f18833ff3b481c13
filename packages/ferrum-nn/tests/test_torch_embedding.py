"""Embedding, Bilinear, Unflatten, one_hot and normalize beside PyTorch's."""

import itertools

import numpy as np
import pytest
from beside_torch import both_refuse, close, pair, same_gradients, torch

import ferrum as fe
import ferrum_nn as nn

pytestmark = pytest.mark.torch
F, T = nn.functional, torch.nn.functional
TABLE = np.random.default_rng(0).normal(size=(7, 3))
IDS = [np.array([0, 3, 3, 6, 1, 3]), np.array([[1, 2], [2, 5]]), np.array(4), np.zeros((0, 2), int)]


@pytest.mark.parametrize("dtype", ["int64", "int32"])
@pytest.mark.parametrize(
    ("ids", "padding", "norm", "by_freq"),
    list(itertools.product(IDS, [None, 3, -5], [None, (1.5, 2.0), (1.0, 1.0)], [False, True])),
)
def test_embedding(ids, padding, norm, by_freq, dtype):
    options = {"padding_idx": padding, "scale_grad_by_freq": by_freq}
    if norm is not None:
        options |= {"max_norm": norm[0], "norm_type": norm[1]}
    ours = nn.Embedding(7, 3, dtype=fe.float64, **options)
    theirs = torch.nn.Embedding(7, 3, dtype=torch.float64, **options)
    theirs.load_state_dict({"weight": torch.tensor(TABLE)})
    ours.load_state_dict(theirs.state_dict())
    x, y = fe.tensor(ids.astype(dtype)), torch.tensor(ids.astype(dtype))
    one, two = ours(x), theirs(y)
    close(one, two)
    close(ours.weight, theirs.weight)
    same_gradients(one, two, [ours.weight], [theirs.weight])
    assert repr(ours) == repr(theirs)


def test_embedding_starts_as_theirs_does():
    ours = nn.Embedding(2000, 5, padding_idx=-1)
    weight = ours.weight.detach().numpy()
    assert not weight[-1].any()
    assert abs(weight[:-1].mean()) < 0.05
    assert abs(weight[:-1].std() - 1) < 0.05


def test_embedding_from_pretrained():
    table, other = fe.tensor(TABLE), torch.tensor(TABLE)
    for freeze in (True, False):
        ours = nn.Embedding.from_pretrained(table, freeze=freeze, padding_idx=2)
        theirs = torch.nn.Embedding.from_pretrained(other, freeze=freeze, padding_idx=2)
        assert ours.weight.requires_grad == theirs.weight.requires_grad
        close(ours(fe.tensor([2, 0])), theirs(torch.tensor([2, 0])))


@pytest.mark.parametrize("ids", [[7], [-1], [0.5], [[-8]]])
def test_embedding_refuses_what_theirs_refuses(ids):
    x, y = fe.tensor(ids), torch.tensor(ids)
    both_refuse(
        lambda: F.embedding(x, fe.tensor(TABLE)), lambda: T.embedding(y, torch.tensor(TABLE))
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (0,)])
def test_bilinear(lead, bias):
    ours = nn.Bilinear(3, 2, 4, bias=bias, dtype=fe.float64)
    theirs = torch.nn.Bilinear(3, 2, 4, bias=bias, dtype=torch.float64)
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    assert repr(ours) == repr(theirs)
    rng = np.random.default_rng(1)
    x, y = pair(rng.normal(size=(*lead, 3)))
    u, v = pair(rng.normal(size=(*lead, 2)))
    close(ours(x, u), theirs(y, v))
    same_gradients(
        ours(x, u), theirs(y, v), [x, u, *ours.parameters()], [y, v, *theirs.parameters()]
    )


def test_bilinear_refuses():
    weight, other = fe.ones(4, 3, 2), torch.ones(4, 3, 2)
    for one, two in [((5, 2), (5, 2)), ((5, 3), (4, 2)), ((5, 3), (5, 3)), ((5, 3), (2,))]:
        both_refuse(
            lambda one=one, two=two: F.bilinear(fe.ones(one), fe.ones(two), weight),
            lambda one=one, two=two: T.bilinear(torch.ones(one), torch.ones(two), other),
        )


@pytest.mark.parametrize(("dim", "sizes"), [(1, (2, 3)), (-1, (-1, 2)), (0, (1, 4))])
def test_unflatten(dim, sizes):
    x, y = pair(np.random.default_rng(2).normal(size=(4, 6)))
    ours, theirs = nn.Unflatten(dim, sizes), torch.nn.Unflatten(dim, sizes)
    close(ours(x), theirs(y))
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("classes", [-1, 5, 9])
@pytest.mark.parametrize("values", [[0, 4, 2], [[1, 1], [0, 3]], 3])
def test_one_hot(values, classes):
    close(F.one_hot(fe.tensor(values), classes), T.one_hot(torch.tensor(values), classes))


@pytest.mark.parametrize(
    ("values", "classes"), [([0, -1], -1), ([5], 5), ([0.5], -1), ([], -1), ([1], 0), ([1], -2)]
)
def test_one_hot_refuses(values, classes):
    x, y = fe.tensor(values), torch.tensor(values)
    x, y = (x, y) if values else (x.long(), y.long())
    both_refuse(lambda: F.one_hot(x, classes), lambda: T.one_hot(y, classes))


def test_one_hot_of_nothing():
    empty, theirs = fe.zeros(0, 2, dtype=fe.int64), torch.zeros(0, 2, dtype=torch.int64)
    close(F.one_hot(empty, 3), T.one_hot(theirs, 3))


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, float("inf")])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_normalize(p, dim):
    array = np.random.default_rng(3).normal(size=(3, 4))
    array[1] *= 1e-14  # below eps
    x, y = pair(array)
    close(F.normalize(x, p, dim), T.normalize(y, p, dim))
    if dim:
        x, y = pair(array[::2])
        same_gradients(F.normalize(x, p, dim), T.normalize(y, p, dim), [x], [y])
