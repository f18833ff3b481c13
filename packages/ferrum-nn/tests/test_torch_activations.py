"""Activations beside PyTorch's: values, gradients of two orders, kinks, extremes, errors."""

import math

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from beside_torch import both_refuse, close, pair, same_gradients  # noqa: E402

pytestmark = pytest.mark.torch
F, T = nn.functional, torch.nn.functional

# name, options: the functions of each element
CALLS = [
    ("relu", {}), ("relu6", {}), ("selu", {}), ("silu", {}), ("mish", {}), ("softsign", {}),
    ("tanhshrink", {}), ("logsigmoid", {}), ("hardsigmoid", {}), ("hardswish", {}),
    ("sigmoid", {}), ("tanh", {}), ("gelu", {}), ("gelu", {"approximate": "tanh"}),
    ("leaky_relu", {}), ("leaky_relu", {"negative_slope": 0.3}),
    ("leaky_relu", {"negative_slope": -0.5}), ("elu", {}), ("elu", {"alpha": 0.3}),
    ("elu", {"alpha": 2.0}), ("celu", {}), ("celu", {"alpha": 0.5}), ("celu", {"alpha": 3.0}),
    ("hardtanh", {}), ("hardtanh", {"min_val": -0.5, "max_val": 2.0}), ("hardshrink", {}),
    ("hardshrink", {"lambd": 1.0}), ("softshrink", {}), ("softshrink", {"lambd": 1.0}),
    ("softshrink", {"lambd": 0.0}), ("softplus", {}), ("softplus", {"beta": 2.0}),
    ("softplus", {"beta": 0.5, "threshold": 1.0}), ("softplus", {"threshold": 0.0}),
    ("threshold", {"threshold": 0.1, "value": 20.0}), ("threshold", {"threshold": -1, "value": 0}),
    ("rrelu", {}), ("rrelu", {"lower": 0.1, "upper": 0.9}),
]  # fmt: skip
KINKS = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 3.0, -3.0, 6.0, 2.0, 0.1, 10.0]
INPLACE = ["relu", "elu", "selu", "celu", "leaky_relu", "threshold", "hardtanh", "rrelu"]
NAMES = [f"{name} {options}" for name, options in CALLS]


@pytest.mark.parametrize(("name", "options"), CALLS, ids=NAMES)
def test_values_and_gradients(name, options):
    if name == "hardsigmoid":  # whose gradient PyTorch multiplies by 1/6 as a float32
        x, y = pair(np.random.default_rng(0).normal(size=(5, 7)) * 3)
        ours, theirs = F.relu6(x + 3) / 6, T.relu6(y + 3) / 6
        close(F.hardsigmoid(x), T.hardsigmoid(y))
    else:
        x, y = pair(np.random.default_rng(0).normal(size=(5, 7)) * 3)
        ours, theirs = getattr(F, name)(x, **options), getattr(T, name)(y, **options)
    close(ours, theirs)
    same_gradients(ours, theirs, [x], [y])


@pytest.mark.parametrize(("name", "options"), CALLS, ids=NAMES)
def test_kinks(name, options):
    x, y = pair(np.array(KINKS))
    ours, theirs = getattr(F, name)(x, **options), getattr(T, name)(y, **options)
    close(ours, theirs)
    (one,), (two,) = fe.grad(ours.sum(), [x]), torch.autograd.grad(theirs.sum(), [y])
    close(one, two, 1e-8 if name == "hardsigmoid" else 1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "options"), CALLS, ids=NAMES)
def test_extremes(name, options, dtype):
    values = [math.inf, -math.inf, math.nan, 1e4, -1e4, 1e-30, -1e-30, 88.0, -88.0, 700.0, -700.0]
    if name == "gelu" and dtype == "float32":
        values[0] = 1e30  # where PyTorch's float32 kernel has NaN for infinity
    x, y = pair(np.array(values, dtype))
    ours, theirs = getattr(F, name)(x, **options), getattr(T, name)(y, **options)
    close(ours, theirs, 2e-6 if dtype == "float32" else 1e-11)
    (one,), (two,) = fe.grad(ours.sum(), [x]), torch.autograd.grad(theirs.sum(), [y])
    finite = np.flatnonzero(np.isfinite(values))
    close(
        one[finite],
        two[finite],
        1e-8 if name == "hardsigmoid" else 2e-6 if dtype == "float32" else 1e-11,
    )


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(("name", "options"), CALLS, ids=NAMES)
def test_dtypes(name, options, dtype):
    x = np.random.default_rng(1).normal(size=64) * 3
    ours = getattr(F, name)(fe.tensor(x, dtype=dtype), **options)
    theirs = getattr(T, name)(torch.tensor(x, dtype=getattr(torch, dtype)), **options)
    assert ours.dtype.name == dtype
    rounding = {"float32": 1e-6, "float16": 4e-3, "bfloat16": 4e-2}[dtype]
    np.testing.assert_allclose(
        ours.double().numpy(), theirs.double().numpy(), rtol=rounding, atol=rounding
    )


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2)])
@pytest.mark.parametrize(("name", "options"), CALLS, ids=NAMES)
def test_shapes(name, options, shape):
    x, y = pair(np.random.default_rng(2).normal(size=shape))
    close(getattr(F, name)(x, **options), getattr(T, name)(y, **options))


@pytest.mark.parametrize("how", ["argument", "twin"])
@pytest.mark.parametrize(
    ("name", "options"),
    [c for c in CALLS if c[0] in INPLACE and c[1].get("negative_slope", 1) > 0],  # or PyTorch fails
)
def test_in_place(name, options, how):
    array = np.random.default_rng(3).normal(size=(4, 3)) * 3
    x, y = pair(array)
    one, two = x * 1, y * 1
    if how == "argument":
        ours = getattr(F, name)(one, **options, inplace=True)
        theirs = getattr(T, name)(two, **options, inplace=True)
    else:
        ours, theirs = (
            getattr(F, name + "_")(one, **options),
            getattr(T, name + "_")(two, **options),
        )
    assert ours is one
    close(one, two)
    close(
        fe.grad((ours * ours).sum(), [x])[0], torch.autograd.grad((theirs * theirs).sum(), [y])[0]
    )


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 3, 5), (), (0, 3)])
@pytest.mark.parametrize("count", [1, 3])
def test_prelu(shape, count):
    rng = np.random.default_rng(4)
    x, y = pair(rng.normal(size=shape))
    if count == 3 and len(shape) < 2:
        both_refuse(
            lambda: F.prelu(x, fe.ones(3).double()), lambda: T.prelu(y, torch.ones(3).double())
        )
        return
    w, v = pair(rng.normal(size=count))
    close(F.prelu(x, w), T.prelu(y, v))
    same_gradients(F.prelu(x, w), T.prelu(y, v), [x, w], [y, v])


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_glu_and_softmin(dim):
    x, y = pair(np.random.default_rng(5).normal(size=(4, 6)))
    close(F.glu(x, dim), T.glu(y, dim))
    same_gradients(F.glu(x, dim), T.glu(y, dim), [x], [y])
    close(F.softmin(x, dim), T.softmin(y, dim))
    same_gradients(F.softmin(x, dim), T.softmin(y, dim), [x], [y])
    close(F.softmin(x, dim, dtype=fe.float32), T.softmin(y, dim, dtype=torch.float32), 1e-6)


MODULES = [
    ("ReLU", {}), ("ReLU", {"inplace": True}), ("ReLU6", {}), ("ReLU6", {"inplace": True}),
    ("LeakyReLU", {}), ("LeakyReLU", {"negative_slope": 0.2, "inplace": True}), ("PReLU", {}),
    ("PReLU", {"num_parameters": 3, "init": 0.1}), ("RReLU", {}),
    ("RReLU", {"lower": 0.1, "upper": 0.2, "inplace": True}), ("ELU", {}), ("ELU", {"alpha": 2.0}),
    ("SELU", {}), ("SELU", {"inplace": True}), ("CELU", {}), ("CELU", {"alpha": 2.0}), ("GELU", {}),
    ("GELU", {"approximate": "tanh"}), ("SiLU", {}), ("SiLU", {"inplace": True}), ("Mish", {}),
    ("Hardswish", {}), ("Hardsigmoid", {}), ("Hardtanh", {}), ("Softplus", {}), ("Softsign", {}),
    ("Hardtanh", {"min_val": -2.0, "max_val": 0.5, "inplace": True}), ("Hardshrink", {}),
    ("Hardshrink", {"lambd": 0.2}), ("Softshrink", {}), ("Softshrink", {"lambd": 0.2}),
    ("Tanhshrink", {}), ("Softplus", {"beta": 2.0, "threshold": 3.0}), ("Sigmoid", {}),
    ("LogSigmoid", {}), ("Tanh", {}), ("Threshold", {"threshold": 0.1, "value": 2.0}),
    ("GLU", {}), ("GLU", {"dim": 0}), ("Softmax", {"dim": 1}), ("LogSoftmax", {"dim": 0}),
    ("Softmin", {"dim": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), MODULES)
def test_modules(name, options):
    ours, theirs = getattr(nn, name)(**options).eval(), getattr(torch.nn, name)(**options).eval()
    ours.double(), theirs.double()
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    assert repr(ours) == repr(theirs)
    shape = (4, 3) if name == "PReLU" else (4, 6)
    x, y = pair(np.random.default_rng(6).normal(size=shape) * 3, requires_grad=False)
    close(ours(x), theirs(y))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4, 5), (3, 4)])
def test_softmax2d(shape):
    x, y = pair(np.random.default_rng(7).normal(size=shape))
    ours, theirs = nn.Softmax2d(), torch.nn.Softmax2d()
    if len(shape) == 2:
        both_refuse(lambda: ours(x), lambda: theirs(y))
    else:
        close(ours(x), theirs(y))


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("glu", (0,)), ("glu", (2,)), ("hardtanh", (1.0, -1.0)), ("softshrink", (-1.0,)),
        ("gelu", ("exact",)), ("celu", (0.0,)), ("rrelu", (0.5, 0.1, True)), ("softmin", (2,)),
    ],
)  # fmt: skip
def test_both_refuse(name, args):
    x, y = pair(np.ones((3, 2)))
    both_refuse(lambda: getattr(F, name)(x, *args), lambda: getattr(T, name)(y, *args))
