"""Normalisation beside PyTorch's: values, gradients of two orders, running statistics, errors."""

import copy

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from beside_torch import both_refuse, close, pair, same_gradients  # noqa: E402

pytestmark = pytest.mark.torch
F, T = nn.functional, torch.nn.functional


def operands(shape, *others):
    rng = np.random.default_rng(0)
    pairs = [pair(rng.normal(size=shape) * 3 + 1)]
    return pairs + [pair(rng.normal(size=each)) if each is not None else (None, None)
                    for each in others]  # fmt: skip


def same_where_theirs_works(ours, theirs, pairs):
    """Compare gradients; PyTorch has none of second order for a bias without a weight."""
    one, two = leaves(pairs, 0), leaves(pairs, 1)
    if pairs[1][0] is None and len(pairs) == 3 and pairs[2][0] is not None:
        for a, b in zip(
            fe.grad(ours.sin().sum(), one),
            torch.autograd.grad(theirs.sin().sum(), two),
            strict=True,
        ):
            close(a, b)
    else:
        same_gradients(ours, theirs, one, two)


def leaves(pairs, which):
    return [each[which] for each in pairs if each[which] is not None]


@pytest.mark.parametrize("eps", [1e-5, 0.1])
@pytest.mark.parametrize("given", [(), ("weight",), ("bias",), ("weight", "bias")])
@pytest.mark.parametrize(
    ("shape", "inner"), [((4, 5), (5,)), ((2, 3, 4), (4,)), ((2, 3, 4), (3, 4)), ((5,), (5,)),
                         ((0, 4), (4,)), ((2, 1, 3, 4), (1, 3, 4))]
)  # fmt: skip
def test_layer_norm(shape, inner, given, eps):
    pairs = operands(shape, *(inner if name in given else None for name in ("weight", "bias")))
    ours = F.layer_norm(pairs[0][0], inner, pairs[1][0], pairs[2][0], eps)
    theirs = T.layer_norm(pairs[0][1], inner, pairs[1][1], pairs[2][1], eps)
    close(ours, theirs)
    same_where_theirs_works(ours, theirs, pairs)


@pytest.mark.parametrize("eps", [None, 1e-5, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("shape", "inner"), [((4, 5), (5,)), ((2, 3, 4), (3, 4)), ((0, 4), (4,))])
def test_rms_norm(shape, inner, weighted, eps):
    pairs = operands(shape, inner if weighted else None)
    ours = F.rms_norm(pairs[0][0], inner, pairs[1][0], eps)
    theirs = T.rms_norm(pairs[0][1], inner, pairs[1][1], eps)
    close(ours, theirs)
    same_gradients(ours, theirs, leaves(pairs, 0), leaves(pairs, 1))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm", "batch_norm"])
def test_dtypes(name, dtype):
    x = np.random.default_rng(1).normal(size=(16, 8)) * 3
    one, two = fe.tensor(x, dtype=dtype), torch.tensor(x, dtype=getattr(torch, dtype))
    if name == "batch_norm":
        ours, theirs = (
            F.batch_norm(one, None, None, training=True),
            T.batch_norm(two, None, None, training=True),
        )
    else:
        ours, theirs = getattr(F, name)(one, (8,)), getattr(T, name)(two, (8,))
    assert ours.dtype.name == dtype
    rounding = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 4e-2}[dtype]
    np.testing.assert_allclose(ours.double().numpy(), theirs.double().numpy(), atol=rounding)


@pytest.mark.parametrize("name", ["layer_norm", "batch_norm"])
def test_far_from_zero(name):
    x = np.random.default_rng(2).normal(size=(64, 32)) + 1e4
    want = x - x.mean(1 if name == "layer_norm" else 0, keepdims=True)
    want /= x.std(1 if name == "layer_norm" else 0, keepdims=True)
    one = fe.tensor(x, dtype=fe.float32)
    exact = one.double().numpy()
    axis = 1 if name == "layer_norm" else 0
    want = (exact - exact.mean(axis, keepdims=True)) / exact.std(axis, keepdims=True)
    if name == "layer_norm":
        ours = F.layer_norm(one, (32,))
    else:
        ours = F.batch_norm(one, None, None, training=True)
    np.testing.assert_allclose(ours.numpy(), want, atol=5e-3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5), (0, 3)])
def test_batch_norm(shape, affine, training):
    if shape[0] == 0 and training:
        pytest.skip("there are no statistics of nothing")
    pairs = operands(shape, (3,) if affine else None, (3,) if affine else None)
    mean, var = np.array([0.1, -0.2, 0.5]), np.array([1.5, 0.3, 2.0])
    ours = [fe.tensor(mean), fe.tensor(var)]
    theirs = [torch.tensor(mean), torch.tensor(var)]
    one = F.batch_norm(pairs[0][0], *ours, pairs[1][0], pairs[2][0], training, 0.3, 0.01)
    two = T.batch_norm(pairs[0][1], *theirs, pairs[1][1], pairs[2][1], training, 0.3, 0.01)
    close(one, two)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)
    same_gradients(one, two, leaves(pairs, 0), leaves(pairs, 1))


@pytest.mark.parametrize(
    "options",
    [
        {}, {"momentum": None}, {"momentum": 0.5, "eps": 0.1}, {"affine": False}, {"bias": False},
        {"track_running_stats": False}, {"affine": False, "track_running_stats": False},
    ],
)  # fmt: skip
def test_batch_norm_1d(options):
    ours = nn.BatchNorm1d(3, **options, dtype=fe.float64)
    theirs = torch.nn.BatchNorm1d(3, **options, dtype=torch.float64)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    rng = np.random.default_rng(3)
    for shape in [(5, 3), (4, 3, 2), (6, 3)]:
        x, y = pair(rng.normal(size=shape) * 2 + 1)
        close(ours(x), theirs(y))
    for name, value in theirs.state_dict().items():
        close(ours.state_dict()[name], value)
    ours.eval(), theirs.eval()
    x, y = pair(rng.normal(size=(5, 3)))
    close(ours(x), theirs(y))
    same_gradients(ours(x), theirs(y), [x], [y])
    again = copy.deepcopy(theirs)
    ours.reset_running_stats(), again.reset_running_stats()
    for name, value in again.state_dict().items():
        close(ours.state_dict()[name], value)
    fresh = nn.BatchNorm1d(3, **options, dtype=fe.float64)
    assert fresh.load_state_dict(theirs.state_dict()) == ([], [])
    close(fresh.eval()(x), theirs(y))


@pytest.mark.parametrize(
    ("name", "args", "options"),
    [
        ("LayerNorm", (5,), {}), ("LayerNorm", ((4, 5),), {"eps": 0.1}),
        ("LayerNorm", ([5],), {"elementwise_affine": False}), ("LayerNorm", (5,), {"bias": False}),
        ("RMSNorm", (5,), {}), ("RMSNorm", ((4, 5),), {"eps": 0.1}),
        ("RMSNorm", (5,), {"elementwise_affine": False}),
    ],
)  # fmt: skip
def test_modules(name, args, options):
    ours = getattr(nn, name)(*args, **options, dtype=fe.float64)
    theirs = getattr(torch.nn, name)(*args, **options, dtype=torch.float64)
    assert repr(ours) == repr(theirs)
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    x, y = pair(np.random.default_rng(4).normal(size=(3, 4, 5)))
    close(ours(x), theirs(y))


@pytest.mark.parametrize(
    ("name", "shape", "args"),
    [
        ("layer_norm", (4, 5), ((4,),)), ("layer_norm", (4, 5), ((2, 4, 5),)),
        ("layer_norm", (4, 5), ((),)), ("rms_norm", (4, 5), ((4,),)),
        ("batch_norm", (1, 3), (None, None, None, None, True)),
        ("batch_norm", (4, 3), (None, None)), ("batch_norm", (4, 3), ("ones 4", "ones 4")),
    ],
)  # fmt: skip
def test_both_refuse(name, shape, args):
    def made(library):
        return [library.ones(4) if each == "ones 4" else each for each in args]

    both_refuse(
        lambda: getattr(F, name)(fe.ones(shape), *made(fe)),
        lambda: getattr(T, name)(torch.ones(shape), *made(torch)),
    )


@pytest.mark.parametrize("shape", [(4,), (4, 2), (2, 3, 4, 5)])
def test_batch_norm_1d_refuses(shape):
    both_refuse(
        lambda: nn.BatchNorm1d(3)(fe.ones(shape)),
        lambda: torch.nn.BatchNorm1d(3)(torch.ones(shape)),
    )
