"""Normalisation of images beside PyTorch's: values, gradients of two orders, running statistics."""

import itertools

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from beside_torch import close, pair, same_gradients  # noqa: E402
from test_torch_norms import EITHER, twins  # noqa: E402

pytestmark = pytest.mark.torch

SIZES = {1: (5,), 2: (3, 4), 3: (2, 3, 2)}


def images(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape) + 0.5


def layers(name, *args, **options):
    """Return the layer of either library, with the same numbers."""
    ours = getattr(nn, name)(*args, **options, dtype=fe.float64)
    return twins(ours, getattr(torch.nn, name)(*args, **options, dtype=torch.float64))


def same(ours, theirs, x, y):
    """Compare what layers make of a tensor, its gradients, and what they track."""
    close(ours(x), theirs(y))
    for layer in (ours, theirs):
        layer.zero_grad()
    leaves = [x, *ours.parameters()], [y, *theirs.parameters()]
    same_gradients(ours(x), theirs(y), *leaves)
    for one, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        close(one, other)


@pytest.mark.parametrize(("affine", "bias"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("tracking", EITHER)
@pytest.mark.parametrize("momentum", [0.3, None])
@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("training", EITHER)
def test_batch_norm(axes, momentum, tracking, affine, bias, training):
    options = {"momentum": momentum, "track_running_stats": tracking, "affine": affine}
    ours, theirs = layers(f"BatchNorm{axes}d", 3, bias=bias, eps=1e-3, **options)
    x, y = pair(images(4, 3, *SIZES[axes]))
    same(ours.train(training), theirs.train(training), x, y)


@pytest.mark.parametrize(("affine", "bias"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("tracking", EITHER)
@pytest.mark.parametrize("training", EITHER)
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("batch", [(), (4,)])
def test_instance_norm(axes, tracking, affine, bias, training, batch):
    options = {"track_running_stats": tracking, "affine": affine, "momentum": 0.3}
    ours, theirs = layers(f"InstanceNorm{axes}d", 3, bias=bias, **options)
    x, y = pair(images(*batch, 3, *SIZES[axes]))
    same(ours.train(training), theirs.train(training), x, y)


@pytest.mark.parametrize(("affine", "bias"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("sizes", [(), (5,), (3, 4), (2, 3, 2)])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_group_norm(groups, sizes, affine, bias, eps):
    ours, theirs = layers("GroupNorm", groups, 6, eps=eps, affine=affine, bias=bias)
    x, y = pair(images(4, 6, *sizes))
    same(ours, theirs, x, y)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("sizes", [(5,), (3, 4), (2, 3, 2)])
@pytest.mark.parametrize("numbers", [(), (0.5, 0.5, 2.0)])
def test_local_response_norm(size, sizes, numbers):
    ours, theirs = nn.LocalResponseNorm(size, *numbers), torch.nn.LocalResponseNorm(size, *numbers)
    assert repr(ours) == repr(theirs)
    x, y = pair(images(2, 6, *sizes))
    close(ours(x), theirs(y))
    same_gradients(ours(x), theirs(y), [x], [y])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["BatchNorm2d", "InstanceNorm2d", "GroupNorm"])
def test_narrow_dtypes(name, dtype):
    args = (2, 6) if name == "GroupNorm" else (6,)
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    values = images(4, 6, 3, 5)
    x = fe.tensor(values, dtype=dtype)
    got = ours.to(x.dtype)(x)
    want = theirs.to(getattr(torch, dtype))(torch.tensor(values).to(getattr(torch, dtype)))
    assert got.dtype is x.dtype
    bound = 3e-6 if dtype == "float32" else 3e-2
    np.testing.assert_allclose(
        got.detach().to(fe.float64).numpy(), want.detach().double().numpy(), rtol=bound, atol=bound
    )


def test_a_converted_network_is_the_same():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm3d(2)))
    state = {name: each.clone() for name, each in model.state_dict().items()}
    found = nn.SyncBatchNorm.convert_sync_batchnorm(model.eval())
    assert [type(each).__name__ for each in found.modules()].count("SyncBatchNorm") == 2
    assert found is model and not found[1].training
    assert list(found.state_dict()) == list(state)
    assert all((found.state_dict()[name] == each).all() for name, each in state.items())
    twin = torch.nn.SyncBatchNorm(4, momentum=None, bias=False)
    assert repr(nn.SyncBatchNorm(4, momentum=None, bias=False)) == repr(twin)
    x = fe.tensor(images(2, 4, 3, 3))
    plain = nn.BatchNorm2d(4, dtype=fe.float64)
    close_to = nn.SyncBatchNorm(4, dtype=fe.float64)
    assert (plain(x) == close_to(x)).all()


def test_options_of_another_order():
    """All combinations of what may be missing give PyTorch's running statistics."""
    for affine, tracking in itertools.product(EITHER, EITHER):
        ours, theirs = layers("InstanceNorm2d", 2, affine=affine, track_running_stats=tracking)
        for seed in range(3):
            x, y = pair(images(3, 2, 4, 4, seed=seed), requires_grad=False)
            close(ours(x), theirs(y))
        close(ours.eval()(x), theirs.eval()(y))
