"""Normalisation beside PyTorch's: values, gradients of two orders, running statistics, errors."""

import itertools
import warnings

import numpy as np
import pytest
from beside_torch import both_refuse, close, pair, same_gradients, torch

import ferrum as fe
import ferrum_nn as nn

pytestmark = pytest.mark.torch

EITHER = (False, True)
DTYPES = {"float64": 1e-11, "float32": 3e-6, "bfloat16": 2e-2, "float16": 3e-3}


def twins(ours, theirs, seed=0):
    """Give both layers the same numbers, none of which is the one they start with."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, each in theirs.state_dict().items():
        values = rng.uniform(0.5, 2, size=tuple(each.shape))
        state[name] = each if name == "num_batches_tracked" else torch.tensor(values).to(each.dtype)
    theirs.load_state_dict(state)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.load_state_dict(state) == ([], [])
    assert repr(ours) == repr(theirs)
    return ours, theirs


def narrow(values, dtype):
    ours = fe.tensor(values, dtype=dtype, requires_grad=True)
    return ours, torch.tensor(values, dtype=getattr(torch, dtype), requires_grad=True)


def near(ours, theirs, tolerance):
    assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
    a, b = ours.detach().to(fe.float64).numpy(), theirs.detach().double().numpy()
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("affine", "bias"), [*itertools.product(EITHER, EITHER)])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
@pytest.mark.parametrize(
    ("shape", "sizes"), [((4,), 4), ((5, 4), (4,)), ((2, 3, 4), [3, 4]), ((2, 3, 4), (2, 3, 4))]
)
def test_layer_norm(shape, sizes, eps, affine, bias):
    options = {"eps": eps, "elementwise_affine": affine, "bias": bias}
    ours, theirs = twins(
        nn.LayerNorm(sizes, **options, dtype=fe.float64),
        torch.nn.LayerNorm(sizes, **options, dtype=torch.float64),
    )
    x, y = pair(np.random.default_rng(1).normal(size=shape))
    close(ours(x), theirs(y))
    same_gradients(ours(x), theirs(y), [x, *ours.parameters()], [y, *theirs.parameters()])


@pytest.mark.parametrize("affine", EITHER)
@pytest.mark.parametrize("eps", [None, 1e-5, 0.1])
@pytest.mark.parametrize(("shape", "sizes"), [((4,), 4), ((5, 4), (4,)), ((2, 3, 4), [3, 4])])
def test_rms_norm(shape, sizes, eps, affine):
    options = {"eps": eps, "elementwise_affine": affine}
    ours, theirs = twins(
        nn.RMSNorm(sizes, **options, dtype=fe.float64),
        torch.nn.RMSNorm(sizes, **options, dtype=torch.float64),
    )
    x, y = pair(np.random.default_rng(1).normal(size=shape))
    close(ours(x), theirs(y))
    same_gradients(ours(x), theirs(y), [x, *ours.parameters()], [y, *theirs.parameters()])


@pytest.mark.parametrize("dtype", DTYPES)
def test_rms_norm_without_eps_has_the_precision_of_what_is_computed_in(dtype):
    x, y = narrow(np.full((2, 3), 3e-4), dtype)
    near(nn.functional.rms_norm(x, (3,)), torch.nn.functional.rms_norm(y, (3,)), DTYPES[dtype])


OPTIONS = [*itertools.product((0.1, None, 0.0, 1.0), EITHER, EITHER, EITHER)]


@pytest.mark.parametrize(("momentum", "affine", "track", "bias"), OPTIONS)
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2)])
def test_batch_norm(shape, momentum, affine, track, bias):
    options = {"momentum": momentum, "affine": affine, "track_running_stats": track, "bias": bias}
    ours, theirs = twins(
        nn.BatchNorm1d(3, **options, dtype=fe.float64),
        torch.nn.BatchNorm1d(3, **options, dtype=torch.float64),
    )
    rng = np.random.default_rng(2)
    for i in range(3):
        x, y = pair(rng.normal(size=shape) * (i + 1) + i)
        one, two = ours(x), theirs(y)
        close(one, two)
        same_gradients(one, two, [x, *ours.parameters()], [y, *theirs.parameters()])
        for name, each in theirs.state_dict().items():
            close(ours.state_dict()[name].to(fe.float64), each.double())
    ours.eval()
    theirs.eval()
    one, two = ours(x), theirs(y)
    close(one, two)
    same_gradients(one, two, [x, *ours.parameters()], [y, *theirs.parameters()])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", EITHER)
def test_dtypes(dtype, training):
    rng, tolerance = np.random.default_rng(3), DTYPES[dtype]
    kinds = {"dtype": dtype}, {"dtype": getattr(torch, dtype)}
    for name in ("LayerNorm", "RMSNorm", "BatchNorm1d"):
        ours, theirs = twins(
            getattr(nn, name)(6, **kinds[0]), getattr(torch.nn, name)(6, **kinds[1])
        )
        ours.train(training)
        theirs.train(training)
        x, y = narrow(rng.normal(size=(20, 6)), dtype)
        seed = rng.normal(size=(20, 6))
        one, two = ours(x), theirs(y)
        near(one, two, 2 * tolerance)
        one.backward(fe.tensor(seed, dtype=dtype))
        two.backward(torch.tensor(seed, dtype=two.dtype))
        near(x.grad, y.grad, 2 * tolerance)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            near(a.grad, b.grad, 8 * tolerance)
        for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
            near(a, b, 2 * tolerance)


@pytest.mark.parametrize("values", [[1.0, np.nan, 2.0], [1.0, np.inf, 2.0], [3.0, 3.0, 3.0]])
def test_odd_numbers(values):
    x, y = pair(np.array([values, [1.0, 2.0, 4.0]]))
    ours, theirs = nn.functional, torch.nn.functional
    for name in ("layer_norm", "rms_norm"):
        close(getattr(ours, name)(x, (3,)), getattr(theirs, name)(y, (3,)))
    close(
        ours.batch_norm(x, None, None, training=True),
        theirs.batch_norm(y, None, None, training=True),
    )


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2), (2, 3, 0)])
def test_batches_of_nothing(shape):
    ours, theirs = twins(nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3))
    for _ in range(2):
        x, y = pair(np.zeros(shape, np.float32))
        one, two = ours(x), theirs(y)
        close(one, two)
        one.sum().backward()
        two.sum().backward()
        close(x.grad, y.grad)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            close(a.grad, b.grad)
        for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
            close(a, b)
        ours.eval()
        theirs.eval()


@pytest.mark.parametrize(
    ("name", "args", "shape"),
    [
        ("LayerNorm", (4,), (5, 3)),
        ("LayerNorm", ([],), (5, 3)),
        ("RMSNorm", (4,), (5, 3)),
        ("RMSNorm", ((2, 5, 3),), (5, 3)),
        ("BatchNorm1d", (4,), (5, 3)),
        ("BatchNorm1d", (3,), (1, 3)),
        ("BatchNorm1d", (3,), (1, 3, 1)),
        ("BatchNorm1d", (3,), (3,)),
        ("BatchNorm1d", (3,), (2, 3, 2, 2)),
        ("BatchNorm1d", (3, 0.0), (5, 3)),
        ("BatchNorm1d", (3, -1.0), (5, 3)),
    ],
)
def test_the_same_calls_are_refused(name, args, shape):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both_refuse(
            lambda: getattr(nn, name)(*args)(fe.ones(*shape)),
            lambda: getattr(torch.nn, name)(*args)(torch.ones(*shape)),
        )
