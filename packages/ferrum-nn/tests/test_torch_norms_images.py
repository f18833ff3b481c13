"""Normalisation of images beside PyTorch's: values, gradients of two orders, running statistics."""

import itertools

import numpy as np
import pytest
from beside_torch import close, pair, same_gradients, torch
from test_torch_norms import EITHER, twins

import ferrum as fe
import ferrum_nn as nn

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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("wide", EITHER)
def test_groups_in_narrow_dtypes_are_rounded_once(dtype, wide):
    values = images(4, 6, 3, 5)
    x = fe.tensor(values, dtype=dtype, requires_grad=True)
    factors = [fe.linspace(0.5, 2, 6).to(fe.float32 if wide else x.dtype) for _ in "wb"]
    got = nn.functional.group_norm(x, 2, *factors)
    got.backward(fe.tensor(images(4, 6, 3, 5, seed=2), dtype=dtype))
    y = torch.tensor(x.detach().to(fe.float64).numpy(), requires_grad=True)
    numbers = [torch.tensor(each.to(fe.float64).numpy()) for each in factors]
    want = torch.nn.functional.group_norm(y, 2, *numbers)
    want.backward(torch.tensor(images(4, 6, 3, 5, seed=2)))
    assert got.dtype is x.dtype and x.grad.dtype is x.dtype
    bound = {"float32": 1e-6, "bfloat16": 2**-8, "float16": 2**-11}[dtype]
    for ours, theirs, slack in ((got, want, 1.01), (x.grad, y.grad, 6)):
        ours, theirs = ours.detach().to(fe.float64).numpy(), theirs.detach().numpy()
        np.testing.assert_allclose(ours, theirs, rtol=slack * bound, atol=slack * bound)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["BatchNorm2d", "InstanceNorm2d", "SyncBatchNorm"])
def test_narrow_dtypes(name, dtype):
    ours = getattr(nn, name)(6)
    theirs = getattr(torch.nn, name.replace("SyncBatchNorm", "BatchNorm2d"))(6)
    values = images(4, 6, 3, 5)
    x, y = fe.tensor(values, dtype=dtype), torch.tensor(values).to(getattr(torch, dtype))
    got, want = ours.to(x.dtype)(x), theirs.to(y.dtype)(y)
    assert got.dtype is x.dtype
    bound = 3e-6 if dtype == "float32" else 3e-2
    np.testing.assert_allclose(
        got.detach().to(fe.float64).numpy(), want.detach().double().numpy(), rtol=bound, atol=bound
    )


@pytest.mark.parametrize("name", ["BatchNorm2d", "BatchNorm3d", "InstanceNorm2d", "GroupNorm"])
def test_pytorch_loads_our_states(name):
    options = {} if name == "GroupNorm" else {"track_running_stats": True}
    args = (2, 6) if name == "GroupNorm" else (6,)
    ours = getattr(nn, name)(*args, affine=True, **options)
    ours(fe.tensor(images(4, 6, *SIZES[3 if name == "BatchNorm3d" else 2]), dtype=fe.float32))
    theirs = getattr(torch.nn, name)(*args, affine=True, **options)
    state = {key: torch.tensor(each.numpy()) for key, each in ours.state_dict().items()}
    assert str(theirs.load_state_dict(state)) == "<All keys matched successfully>"
    for key, each in theirs.state_dict().items():
        close(ours.state_dict()[key], each)


@pytest.mark.parametrize("transpose", EITHER)
def test_convolutions_with_normed_weights(transpose):
    results = []
    for library, make in ((nn, fe.tensor), (torch.nn, torch.tensor)):
        kind = library.ConvTranspose2d if transpose else library.Conv2d
        conv = kind(3, 4, 2, dtype=(fe if library is nn else torch).float64)
        rng = np.random.default_rng(0)
        state = {k: make(rng.normal(size=tuple(v.shape))) for k, v in conv.state_dict().items()}
        conv.load_state_dict(state)
        library.utils.parametrizations.weight_norm(conv, dim=int(transpose))
        x = make(images(2, 3, 5, 5))
        out = conv(x)
        (out * out).sum().backward()
        names = sorted(name for name, _ in conv.named_parameters())
        results.append((out, names, [dict(conv.named_parameters())[n].grad for n in names]))
    (ours, names, grads), (theirs, their_names, their_grads) = results
    close(ours, theirs)
    assert names == their_names
    for one, other in zip(grads, their_grads, strict=True):
        close(one, other, 1e-10)


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
    x = fe.tensor(images(2, 4, 3, 3), requires_grad=True)
    plain, synced = (kind(4, dtype=fe.float64) for kind in (nn.BatchNorm2d, nn.SyncBatchNorm))
    outs = plain(x), synced(x)
    assert (outs[0] == outs[1]).all()
    grads = [
        fe.grad((out * out * out).sum(), [x, *layer.parameters()])
        for out, layer in zip(outs, (plain, synced), strict=True)
    ]
    for one, other in zip(*grads, strict=True):
        assert (one == other).all()
    for one, other in zip(plain.buffers(), synced.buffers(), strict=True):
        assert (one == other).all()


def test_options_of_another_order():
    """All combinations of what may be missing give PyTorch's running statistics."""
    for affine, tracking in itertools.product(EITHER, EITHER):
        ours, theirs = layers("InstanceNorm2d", 2, affine=affine, track_running_stats=tracking)
        for seed in range(3):
            x, y = pair(images(3, 2, 4, 4, seed=seed), requires_grad=False)
            close(ours(x), theirs(y))
        close(ours.eval()(x), theirs.eval()(y))


def test_instance_norm_takes_eps_0():
    x = np.random.default_rng(0).normal(size=(2, 3, 5))
    want = torch.nn.functional.instance_norm(torch.tensor(x), eps=0.0)
    out = nn.functional.instance_norm(fe.tensor(x), eps=0.0)
    np.testing.assert_allclose(out.numpy(), want.numpy(), rtol=1e-12)
