"""Activations: values that can be said without PyTorch, gradients of two orders, bad inputs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import ferrum as fe
import ferrum_nn as nn
import ferrum_nn.functional as F
from ferrum.errors import ArgumentError, DTypeError, GradientError, OperandError, ShapeError

INF, NAN = math.inf, math.nan
SMOOTH = {
    "gelu": F.gelu,
    "gelu of tanh": lambda x: F.gelu(x, "tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "softplus": lambda x: F.softplus(x, 1.5, 2.0),
    "logsigmoid": F.logsigmoid,
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 1.4),
    "softsign": F.softsign,
    "tanhshrink": F.tanhshrink,
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
    "glu": F.glu,
    "softmax": lambda x: F.softmax(x, 0),
    "log_softmax": lambda x: F.log_softmax(x, -1),
    "softmin": lambda x: F.softmin(x, 1),
}
STRAIGHT = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hardtanh": F.hardtanh,
    "threshold": lambda x: F.threshold(x, 0.1, 5.0),
    "leaky_relu": F.leaky_relu,
    "rrelu": F.rrelu,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "hardshrink": F.hardshrink,
    "softshrink": F.softshrink,
}
EVERY = SMOOTH | STRAIGHT
VALUES = np.array([[-3.3, -1.2, -0.3, 0.23], [0.7, 1.6, 2.4, 6.4]])


@pytest.mark.parametrize("function", EVERY.values(), ids=EVERY)
def test_gradients(function):
    x = fe.tensor(VALUES, requires_grad=True)
    assert fe.gradcheck(function, [x])
    assert fe.gradgradcheck(function, [x])


@pytest.mark.parametrize("function", STRAIGHT.values(), ids=STRAIGHT)
def test_straight_lines_have_a_second_gradient(function):
    x = fe.tensor(VALUES, requires_grad=True)
    first = fe.grad(function(x).sum(), [x], create_graph=True)[0]
    second = fe.grad(first.sum(), [x])[0]
    assert function is F.hardswish or not second.numpy().any()


def test_prelu_gradients():
    x, weight = fe.tensor(VALUES, requires_grad=True), fe.rand(4, dtype=fe.float64)
    for a in (weight, weight[:1], weight[0]):
        assert fe.gradcheck(F.prelu, [x, a.detach().requires_grad_()])
        assert fe.gradgradcheck(F.prelu, [x, a.detach().requires_grad_()])


finite = arrays.arrays(np.float64, st.integers(0, 8), elements=st.floats(-300, 300))


@settings(max_examples=50, deadline=None)
@given(finite)
def test_what_is_true_of_all_numbers(values):
    x = fe.tensor(values)

    def same(a, b, rtol=1e-12):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=rtol, atol=1e-12)

    same(F.relu6(x), x.clamp(0, 6))
    same(F.silu(x) - F.silu(-x), x)  # s(x) + s(-x) = 1
    same(F.gelu(x) - F.gelu(-x), x)
    same(F.softplus(x, threshold=INF) - F.softplus(-x, threshold=INF), x)
    same(F.logsigmoid(x), -F.softplus(-x, threshold=INF))
    same(F.softshrink(x), x - F.hardtanh(x, -0.5, 0.5))
    same(F.leaky_relu(x, 1.0), x)
    same(F.selu(x), F.elu(x, F.activations.SELU_ALPHA) * F.activations.SELU_SCALE)
    same(F.softsign(-x), -F.softsign(x))
    assert (F.mish(x) >= -0.31).all()
    assert (F.hardsigmoid(x) <= 1).all() and (F.hardsigmoid(x) >= 0).all()


def one(function, value, dtype=fe.float32):
    x = fe.tensor([value], dtype=dtype, requires_grad=True)
    y = function(x)
    return y.item(), fe.grad(y.sum(), [x])[0].item()


def test_far_values_are_exact():
    assert one(F.logsigmoid, -1e4) == (-1e4, 1.0)
    assert one(F.logsigmoid, 1e4) == (0.0, 0.0)
    assert one(F.softplus, 1e4) == (1e4, 1.0)
    assert one(lambda x: F.softplus(x, threshold=INF), 500.0) == (500.0, 1.0)
    assert one(lambda x: F.softplus(x, -1.0), -500.0)[0] == -500.0
    assert one(F.softplus, -200.0, fe.float64) == pytest.approx((math.exp(-200),) * 2, rel=1e-14)
    assert one(F.mish, 1e4) == (1e4, 1.0)
    assert one(F.mish, -1e4) == (0.0, 0.0)
    assert one(F.silu, -80.0)[0] == pytest.approx(-80 * math.exp(-80), rel=1e-5)
    assert math.isnan(one(F.silu, -INF)[0]) and one(F.silu, INF)[0] == INF
    for approximate in ("none", "tanh"):
        assert one(lambda x, how=approximate: F.gelu(x, how), 1e4) == (1e4, 1.0)
        assert one(lambda x, how=approximate: F.gelu(x, how), -1e4) == (0.0, 0.0)
    assert one(F.gelu, INF)[0] == INF
    assert one(F.elu, 1e4) == (1e4, 1.0)
    assert one(F.elu, -1e4) == (-1.0, 0.0)


@pytest.mark.parametrize("function", EVERY.values(), ids=EVERY)
def test_nan_stays(function):
    assert np.isnan(function(fe.tensor([[NAN, NAN], [NAN, NAN]])).numpy()).all()


def test_second_gradients_of_large_values_are_finite():
    for function in (F.elu, F.selu, F.celu, F.softplus, F.mish, F.silu, F.gelu, F.logsigmoid):
        x = fe.tensor([-300.0, -0.0, 0.0, 300.0], requires_grad=True)
        first = fe.grad(function(x).sum(), [x], create_graph=True)[0]
        assert np.isfinite(fe.grad(first.sum(), [x])[0].numpy()).all()


# ---- in place


def test_in_place_on_a_view_keeps_the_gradient():
    x = fe.tensor([[-1.0, 2.0], [-3.0, 4.0]], requires_grad=True)
    y = x * 1
    F.leaky_relu(y[0], 0.5, inplace=True)
    nn.Mish(inplace=True)(y[1])
    assert y.tolist()[0] == [-0.5, 2.0]
    expected = fe.cat([F.leaky_relu(x[:1], 0.5), F.mish(x[1:])])
    assert fe.allclose(fe.grad(y.sum(), [x])[0], fe.grad(expected.sum(), [x])[0])


def test_a_leaf_is_not_written():
    x = fe.ones(2, requires_grad=True)
    for function in (F.elu_, F.selu_, F.celu_, F.leaky_relu_, F.hardtanh_, F.rrelu_, F.relu_):
        with pytest.raises(GradientError, match="leaf"):
            function(x)
    with pytest.raises(GradientError):
        F.threshold_(x, 0.0, 1.0)


# ---- random ones


def test_rrelu_draws_from_the_default_generator():
    x = fe.full((50, 20), -2.0)
    layer = nn.RReLU(0.2, 0.4)
    fe.manual_seed(3)
    first, second = layer(x), layer(x)
    fe.manual_seed(3)
    assert fe.equal(layer(x), first)
    assert not fe.equal(second, first)
    assert ((first <= -0.4) & (first >= -0.8)).all()
    layer.eval()
    assert fe.allclose(layer(x), x * 0.3)


def test_rrelu_in_place_has_the_slopes_as_gradient():
    x = fe.tensor([-2.0, -2.0, 3.0], requires_grad=True)
    y = F.rrelu(x * 1, 0.2, 0.4, training=True, inplace=True)
    slopes = fe.grad(y.sum(), [x])[0]
    assert fe.allclose(y, x * slopes)
    assert slopes[2].item() == 1


def test_gumbel_softmax():
    fe.manual_seed(5)
    logits = fe.tensor(VALUES, requires_grad=True)
    soft = F.gumbel_softmax(logits, tau=0.5)
    assert fe.allclose(soft.sum(-1), fe.ones(2, dtype=fe.float64))
    fe.manual_seed(5)
    hard = F.gumbel_softmax(logits, tau=0.5, hard=True)
    assert fe.equal(hard.detach().argmax(-1), soft.detach().argmax(-1))
    np.testing.assert_allclose(np.sort(hard.detach().numpy()), [[0, 0, 0, 1]] * 2, atol=1e-12)
    seed = fe.tensor(np.arange(8.0).reshape(2, 4))
    one, two = (fe.grad((each * seed).sum(), [logits])[0] for each in (soft, hard))
    assert fe.allclose(one, two)
    assert F.gumbel_softmax(fe.zeros(4, 3), hard=True, dim=0).sum(0).tolist() == [1, 1, 1]
    assert F.gumbel_softmax(fe.zeros(3, dtype=fe.float16)).dtype is fe.float16
    assert np.isfinite(F.gumbel_softmax(fe.zeros(100000)).numpy()).all()


# ---- bad inputs

X = fe.ones(2, 3)
WHOLE, TRUTH = fe.ones(2, 4, dtype=fe.int64), fe.ones(2, 4, dtype=fe.bool)
FLOATS_ONLY = [
    F.leaky_relu, F.rrelu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.hardswish,
    F.hardsigmoid, F.hardshrink, F.softshrink, F.softplus, F.logsigmoid, F.glu, F.gumbel_softmax,
]  # fmt: skip
EVERY_ONE = [*FLOATS_ONLY, F.relu, F.relu6, F.hardtanh, F.softsign, F.tanhshrink, F.sigmoid, F.tanh]


@pytest.mark.parametrize("function", FLOATS_ONLY)
@pytest.mark.parametrize("x", [WHOLE, TRUTH], ids=["int64", "bool"])
def test_only_floats(function, x):
    with pytest.raises(DTypeError, match="expected"):
        function(x)


@pytest.mark.parametrize("function", EVERY_ONE)
@pytest.mark.parametrize(
    "x", ["text", [1.0], None, 2.0, np.ones(2)], ids=lambda x: type(x).__name__
)
def test_only_tensors(function, x):
    with pytest.raises(OperandError):
        function(x)


REFUSED = [
    (OperandError, lambda: F.leaky_relu(X, "0.1")),
    (OperandError, lambda: F.leaky_relu(X, fe.tensor(0.1))),
    (OperandError, lambda: F.elu(X, None)),
    (OperandError, lambda: F.celu(X, "1")),
    (ArgumentError, lambda: F.celu(X, 0)),
    (OperandError, lambda: F.softplus(X, None)),
    (OperandError, lambda: F.softplus(X, 1.0, "20")),
    (OperandError, lambda: F.hardtanh(X, None, 1.0)),
    (ArgumentError, lambda: F.hardtanh(X, 1.0, -1.0)),
    (ArgumentError, lambda: F.hardtanh(X, NAN, 1.0)),
    (ArgumentError, lambda: nn.Hardtanh(1.0, 1.0)),
    (OperandError, lambda: F.threshold(X, None, 1.0)),
    (OperandError, lambda: F.threshold(WHOLE, 0, "1")),
    (DTypeError, lambda: F.threshold(TRUTH, 0, 1)),
    (ArgumentError, lambda: F.threshold(WHOLE, NAN, 1)),
    (ArgumentError, lambda: F.threshold(WHOLE, 0, INF)),
    (OperandError, lambda: F.hardshrink(X, None)),
    (OperandError, lambda: F.softshrink(X, "0.5")),
    (ArgumentError, lambda: F.softshrink(X, -0.5)),
    (ArgumentError, lambda: F.softshrink(X, NAN)),
    (OperandError, lambda: F.rrelu(X, None)),
    (ArgumentError, lambda: F.rrelu(X, 0.5, 0.1)),
    (ArgumentError, lambda: F.rrelu(X, 0.5, INF)),
    (DTypeError, lambda: F.rrelu(WHOLE, training=True)),
    (ArgumentError, lambda: F.gelu(X, "erf")),
    (ArgumentError, lambda: F.gelu(X, None)),
    (OperandError, lambda: F.prelu(X, 0.25)),
    (ShapeError, lambda: F.prelu(X, fe.ones(2))),
    (ShapeError, lambda: F.prelu(X, fe.ones(0))),
    (ShapeError, lambda: F.prelu(X, fe.ones(3, 1))),
    (ShapeError, lambda: F.prelu(fe.ones(3), fe.ones(3))),
    (ShapeError, lambda: F.prelu(fe.ones(()), fe.ones(2))),
    (DTypeError, lambda: F.prelu(X, fe.ones(3, dtype=fe.float64))),
    (DTypeError, lambda: F.prelu(WHOLE, fe.ones(4, dtype=fe.int64))),
    (ShapeError, lambda: F.glu(X)),
    (ShapeError, lambda: F.glu(fe.ones(()))),
    (fe.FerrumError, lambda: F.glu(X, 2)),
    (fe.FerrumError, lambda: F.glu(X, None)),
    (fe.FerrumError, lambda: F.softmax(X, 2)),
    (fe.FerrumError, lambda: F.softmax(X, "1")),
    (fe.FerrumError, lambda: F.log_softmax(X, -3)),
    (OperandError, lambda: F.softmin([1.0], 0)),
    (DTypeError, lambda: F.softmax(WHOLE, 0)),
    (OperandError, lambda: F.gumbel_softmax(X, None)),
    (fe.FerrumError, lambda: F.gumbel_softmax(X, dim=5)),
    (ShapeError, lambda: nn.Softmax2d()(X)),
    (fe.FerrumError, lambda: nn.PReLU(-1)),
    (OperandError, lambda: nn.Hardtanh(None)),
    (OperandError, lambda: nn.Hardtanh(0, "1")),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_refused(number):
    error, call = REFUSED[number]
    with pytest.raises(error, match="expected|negative|not an axis|range|dimension"):
        call()
