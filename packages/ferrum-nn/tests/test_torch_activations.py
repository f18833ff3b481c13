"""Activations beside PyTorch's: names, values, gradients of two orders, corners, errors."""

import inspect
import itertools
import warnings

import numpy as np
import pytest
from beside_torch import both_refuse, close, pair, same_gradients, torch

import ferrum as fe
import ferrum_nn as nn
import ferrum_nn.functional as F

pytestmark = pytest.mark.torch
TF = torch.nn.functional
INF, NAN = float("inf"), float("nan")

CALLS = [
    ("relu", {}),
    ("relu6", {}),
    ("hardtanh", {}),
    ("hardtanh", {"min_val": -0.3, "max_val": 2.2}),
    ("hardtanh", {"min_val": 0.5, "max_val": 0.5}),
    ("threshold", {"threshold": 0.1, "value": 20.0}),
    ("threshold", {"threshold": -0.5, "value": -3.0}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("leaky_relu", {"negative_slope": -0.3}),
    ("leaky_relu", {"negative_slope": 0.0}),
    ("rrelu", {}),
    ("rrelu", {"lower": 0.2, "upper": 0.6, "training": False}),
    ("rrelu", {"lower": 0.25, "upper": 0.25, "training": True}),
    ("hardsigmoid", {}),
    ("hardswish", {}),
    ("hardshrink", {}),
    ("hardshrink", {"lambd": 1.1}),
    ("hardshrink", {"lambd": -1.0}),
    ("softshrink", {}),
    ("softshrink", {"lambd": 0.0}),
    ("softshrink", {"lambd": 1.3}),
    ("elu", {}),
    ("elu", {"alpha": 2.5}),
    ("elu", {"alpha": -0.5}),
    ("selu", {}),
    ("celu", {}),
    ("celu", {"alpha": 2.5}),
    ("celu", {"alpha": -1.5}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("silu", {}),
    ("mish", {}),
    ("softplus", {}),
    ("softplus", {"beta": 2.0, "threshold": 3.0}),
    ("softplus", {"beta": 0.3}),
    ("softplus", {"beta": -1.0}),
    ("logsigmoid", {}),
    ("softsign", {}),
    ("tanhshrink", {}),
    ("sigmoid", {}),
    ("tanh", {}),
    *[("glu", {"dim": dim}) for dim in (-1, 1, 0)],
    *[(name, {"dim": dim}) for name in ("softmax", "log_softmax", "softmin") for dim in (0, -1)],
]
IDS = [f"{name}-{'-'.join(map(str, options.values()))}" for name, options in CALLS]
IN_PLACE = [
    call for call in CALLS if "inplace" in inspect.signature(getattr(F, call[0])).parameters
]
ELEMENTWISE = [call for call in CALLS if "dim" not in call[1]]


def both(name, options, x, y):
    return getattr(F, name)(x, **options), getattr(TF, name)(y, **options)


def values(*shape):
    return np.random.default_rng(3).normal(size=shape) * 2.5


@pytest.mark.parametrize(("name", "options"), CALLS, ids=IDS)
def test_values_and_gradients(name, options):
    x, y = pair(values(2, 4, 6))
    ours, theirs = both(name, options, x, y)
    close(ours, theirs)
    if name == "hardsigmoid":  # PyTorch has no second gradient of it, and a sixth in float32
        close(fe.grad(ours.sum(), [x])[0], torch.autograd.grad(theirs.sum(), y)[0], 1e-7)
    else:
        same_gradients(ours, theirs, [x], [y])


@pytest.mark.parametrize(("name", "options"), CALLS, ids=IDS)
def test_narrower_dtypes(name, options):
    for dtype, tolerance in (("float32", 2e-6), ("bfloat16", 0.02), ("float16", 3e-3)):
        if name == "rrelu" and options.get("training") and dtype == "float16":
            continue  # PyTorch lacks it
        x = fe.tensor(values(4, 6), dtype=getattr(fe, dtype), requires_grad=True)
        y = torch.tensor(values(4, 6), dtype=getattr(torch, dtype), requires_grad=True)
        ours, theirs = both(name, options, x, y)
        gradients = fe.grad(ours.sum(), [x])[0], torch.autograd.grad(theirs.sum(), y)[0]
        for a, b in ((ours, theirs), gradients):
            assert a.dtype.name == dtype
            close(a.to(fe.float32), b.float(), tolerance)


@pytest.mark.parametrize(("name", "options"), CALLS, ids=IDS)
def test_shapes_without_elements_and_axes(name, options):
    for shape in ((), (0,), (3, 0, 2), (2, 0)):
        if options.get("dim", -1) == 1 or (name == "glu" and shape in ((), (3, 0, 2))):
            continue
        x, y = pair(values(*shape))
        ours, theirs = both(name, options, x, y)
        close(ours, theirs)
        close(fe.grad(ours.sum(), [x])[0], torch.autograd.grad(theirs.sum(), y)[0])


@pytest.mark.parametrize(("name", "options"), ELEMENTWISE)
def test_views_are_taken_as_they_are(name, options):
    ours, theirs = both(name, options, *(each.T[::2] for each in pair(values(4, 6))))
    close(ours, theirs)


def corners(options):
    found = {0.0, 1.0, -1.0, 3.0, -3.0, 6.0, 0.5, -0.5}
    found |= {float(each) for each in options.values() if isinstance(each, (int, float))}
    return np.array([*sorted(found), -0.0, NAN])


@pytest.mark.parametrize(("name", "options"), ELEMENTWISE)
def test_corners_have_pytorchs_gradients(name, options):
    if name == "rrelu" and options.get("training"):
        return
    x, y = pair(corners(options))
    ours, theirs = both(name, options, x, y)
    close(ours, theirs, 1e-14)
    one = fe.grad(ours.sum(), [x], create_graph=True)[0]
    two = torch.autograd.grad(theirs.sum(), y, create_graph=True)[0]
    close(one, two, 1e-7 if name == "hardsigmoid" else 1e-14)
    if name not in ("hardsigmoid", "tanhshrink"):
        second = torch.autograd.grad(two.sum(), y, materialize_grads=True)[0]
        mine = fe.grad(one.sum(), [x], materialize_grads=True)[0]
        close(mine[:-1], second[:-1], 1e-12)  # of NaN, PyTorch answers 0 here and there


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "options"), ELEMENTWISE)
def test_far_values(name, options, dtype):
    if name == "gelu":  # PyTorch's of infinity is NaN for some lengths and infinite for others
        far = np.array([-1e4, -40.0, -6.0, 6.0, 40.0, 1e4], dtype)
    else:
        far = np.array([-INF, -1e4, -100.0, -30.0, 30.0, 100.0, 1e4, INF], dtype)
    x, y = pair(far)
    ours, theirs = both(name, options, x, y)
    if name == "softplus" and options.get("beta", 1) < 0:
        return  # PyTorch's overflows
    close(ours, theirs, 1e-6 if dtype == "float32" else 1e-14)
    one, two = fe.grad(ours.sum(), [x])[0], torch.autograd.grad(theirs.sum(), y)[0]
    close(one, two, 1e-6 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize(("name", "options"), IN_PLACE)
def test_in_place(name, options):
    x, y = pair(values(3, 4))
    if any(each < 0 for each in (options.get("negative_slope", 0), options.get("alpha", 0))):
        y2 = getattr(TF, name)(y * 1, **options)  # PyTorch refuses its gradient in place
    else:
        y2 = getattr(TF, name)(y * 1, **options, inplace=True)
    before = x * 1
    after = getattr(F, name)(before, **options, inplace=True)
    assert after is before
    close(after, y2)
    tolerance = 1e-7 if name == "hardsigmoid" else 1e-11
    close(fe.grad(after.sum(), [x])[0], torch.autograd.grad(y2.sum(), y)[0], tolerance)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("relu_", ()),
        ("elu_", (0.7,)),
        ("selu_", ()),
        ("celu_", (0.7,)),
        ("leaky_relu_", (0.2,)),
        ("threshold_", (0.3, 9.0)),
        ("hardtanh_", (-0.4, 0.9)),
        ("rrelu_", (0.2, 0.4)),
    ],
)
def test_twins_in_place(name, args):
    x, y = pair(values(3, 4), requires_grad=False)
    assert getattr(F, name)(x, *args) is x
    getattr(TF, name)(y, *args)
    close(x, y)


@pytest.mark.parametrize(
    ("shape", "weight"),
    [((2, 3, 4), (3,)), ((2, 3), (3,)), ((5, 3, 2, 2), (1,)), ((4,), (1,)), ((), (1,)), ((4,), ()),
     ((), ()), ((0, 3), (3,)), ((2, 1), (1,))],
)  # fmt: skip
def test_prelu(shape, weight):
    x, y = pair(values(*shape))
    a, b = pair(np.abs(values(*weight)) + 0.1)
    ours, theirs = F.prelu(x, a), TF.prelu(y, b)
    close(ours, theirs)
    same_gradients(ours, theirs, [x, a], [y, b])


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4), (2, 3, 2, 2)])
def test_dimension_is_chosen_as_pytorch_does(name, shape):
    x, y = pair(values(*shape), requires_grad=False)
    with pytest.warns(UserWarning, match="dim"):
        theirs = getattr(TF, name)(y)
    with pytest.warns(UserWarning, match=name):
        close(getattr(F, name)(x), theirs)
    given = getattr(F, name)(x.to(fe.float32), -1, dtype=fe.float64)
    close(given, getattr(TF, name)(y.float(), -1, dtype=torch.float64))


MODULES = [
    *[(name, ()) for name in (
        "ReLU", "ReLU6", "LeakyReLU", "PReLU", "RReLU", "ELU", "SELU", "CELU", "GELU", "SiLU",
        "Mish", "Hardswish", "Hardsigmoid", "Hardtanh", "Hardshrink", "Softshrink", "Tanhshrink",
        "Softplus", "Softsign", "Sigmoid", "LogSigmoid", "Tanh", "GLU", "Softmax2d",
    )],
    ("LeakyReLU", (0.2, True)), ("PReLU", (4, 0.1)), ("RReLU", (0.1, 0.2, True)),
    ("ELU", (0.5, True)), ("SELU", (True,)), ("CELU", (0.5, True)), ("GELU", ("tanh",)),
    ("SiLU", (True,)), ("Mish", (True,)), ("Hardswish", (True,)), ("Hardsigmoid", (True,)),
    ("Hardtanh", (-2.0, 1.0, True)), ("ReLU6", (True,)), ("Hardshrink", (1.0,)),
    ("Softshrink", (1.0,)), ("Softplus", (2, 10)), ("Threshold", (0.1, 20)),
    ("Threshold", (0.1, 20, True)), ("GLU", (0,)), ("Softmax", (1,)), ("LogSoftmax", (0,)),
    ("Softmin", (-1,)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), MODULES)
def test_modules(name, args):
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    assert repr(ours) == repr(theirs)
    ours.double().eval(), theirs.double().eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x, y = pair(values(2, 4, 3, 2) if name != "GLU" else values(2, 4, 6))
    one, two = ours(x * 1), theirs(y * 1)
    close(one, two)
    leaves = [x, *ours.parameters()], [y, *theirs.parameters()]
    gradients = fe.grad(one.sum(), leaves[0]), torch.autograd.grad(two.sum(), leaves[1])
    for a, b in zip(*gradients, strict=True):
        close(a, b, 1e-7 if name == "Hardsigmoid" else 1e-11)


def test_names_and_arguments_are_pytorchs():
    for name in dict(CALLS) | {"prelu": 0, "gumbel_softmax": 0}:
        try:
            theirs = inspect.signature(getattr(TF, name)).parameters
        except ValueError:  # a function in C++ does not tell
            continue
        ours = inspect.signature(getattr(F, name)).parameters
        assert list(ours) == [each for each in theirs if each != "_stacklevel"], name
        for each, argument in ours.items():
            assert argument.default == theirs[each].default, (name, each)
    for name in dict(MODULES):
        theirs = inspect.signature(getattr(torch.nn, name)).parameters
        ours = dict(inspect.signature(getattr(nn, name)).parameters)
        if "args" in theirs:  # of a module without arguments
            continue
        assert list(ours) == [each for each in theirs if not each.endswith("_value")], name
        for each, argument in ours.items():
            assert argument.default == theirs[each].default, (name, each)


WHOLE = np.arange(-3, 4)


@pytest.mark.parametrize("name", [name for name, options in ELEMENTWISE if not options])
def test_integers_where_pytorch_takes_them(name):
    x, y = fe.tensor(WHOLE), torch.tensor(WHOLE)
    try:
        theirs = getattr(TF, name)(y)
    except NotImplementedError:
        both_refuse(lambda: getattr(F, name)(x), lambda: getattr(TF, name)(y))
    else:
        close(getattr(F, name)(x), theirs, 1e-6)


def test_thresholds_of_integers():
    for args in itertools.product((0, 0.5, -1.5), (1, 1.5)):
        close(F.threshold(fe.tensor(WHOLE), *args), TF.threshold(torch.tensor(WHOLE), *args))
    close(F.hardtanh_(fe.tensor(WHOLE), -1, 2), TF.hardtanh_(torch.tensor(WHOLE), -1, 2))


REFUSED = {
    "celu of alpha 0": lambda f, lib, x: f.celu(x, 0.0),
    "softshrink below 0": lambda f, lib, x: f.softshrink(x, -1.0),
    "hardtanh upside down": lambda f, lib, x: f.hardtanh(x, 1.0, -1.0),
    "rrelu upside down": lambda f, lib, x: f.rrelu(x, 0.5, 0.2),
    "rrelu of NaN": lambda f, lib, x: f.rrelu(x, NAN, 1.0, True),
    "gelu of another kind": lambda f, lib, x: f.gelu(x, approximate="erf"),
    "glu of an odd size": lambda f, lib, x: f.glu(x),
    "glu of a number": lambda f, lib, x: f.glu(x.sum()),
    "glu of no dimension": lambda f, lib, x: f.glu(x, 2),
    "prelu of two weights": lambda f, lib, x: f.prelu(x, lib.ones(2)),
    "prelu of a matrix": lambda f, lib, x: f.prelu(x, lib.ones(2, 3)),
    "prelu of a dtype": lambda f, lib, x: f.prelu(x, lib.ones(3, dtype=lib.float64)),
    "prelu of channels of a row": lambda f, lib, x: f.prelu(x[0], lib.ones(3)),
    "prelu of channels of a number": lambda f, lib, x: f.prelu(x.sum(), lib.ones(2)),
    "softmax of no dimension": lambda f, lib, x: f.softmax(x, 2),
    "softmax of text": lambda f, lib, x: f.softmax(x, "1"),
    "gumbel_softmax of integers": lambda f, lib, x: f.gumbel_softmax(x.to(lib.int64)),
    "softmax of integers": lambda f, lib, x: f.softmax(x.to(lib.int64), 0),
    "glu of integers": lambda f, lib, x: f.glu(x.to(lib.int64), 0),
    "threshold of text": lambda f, lib, x: f.threshold(x, "0", 1.0),
    "a leaf in place": lambda f, lib, x: f.elu(x.requires_grad_(), inplace=True),
    "a list": lambda f, lib, x: f.hardshrink([1.0]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_both_refuse(what):
    call = REFUSED[what]
    both_refuse(lambda: call(F, fe, fe.ones(2, 3)), lambda: call(TF, torch, torch.ones(2, 3)))


def test_rrelu_draws_evenly():
    x = fe.full((20000,), -1.0, dtype=fe.float64)
    slopes = -F.rrelu(x, 0.2, 0.7, training=True).numpy()
    theirs = -TF.rrelu(torch.full((20000,), -1.0, dtype=torch.float64), 0.2, 0.7, True).numpy()
    for statistic in (np.mean, np.std, np.min, np.max):
        assert statistic(slopes) == pytest.approx(statistic(theirs), abs=0.01)


def test_gumbel_softmax_has_pytorchs_distribution():
    logits = np.log([0.1, 0.2, 0.7])
    x = fe.tensor(np.tile(logits, (20000, 1)))
    y = torch.tensor(np.tile(logits, (20000, 1)))
    for options in ({"hard": True}, {"tau": 0.5}, {"tau": 2.0}):
        ours, theirs = F.gumbel_softmax(x, **options), TF.gumbel_softmax(y, **options)
        np.testing.assert_allclose(ours.numpy().mean(0), theirs.numpy().mean(0), atol=0.015)
        np.testing.assert_allclose(ours.numpy().std(0), theirs.numpy().std(0), atol=0.015)


def test_nothing_warns_but_a_missing_dimension():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, options in CALLS:
            getattr(F, name)(fe.tensor(values(2, 4, 6)), **options)


@pytest.mark.parametrize("x", [0.5, 0.49, 0.51, np.nan])
def test_softplus_at_its_threshold(x):
    one, two = pair(np.array([x]))
    ours, theirs = F.softplus(one, 2, 1), torch.nn.functional.softplus(two, 2, 1)
    close(ours, theirs)
    same_gradients(ours, theirs, [one], [two])
