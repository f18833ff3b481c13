"""Activations that draw, and what all of them refuse."""

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError

F = nn.functional
X = fe.ones(3, 4)


def test_rrelu_draws_its_slopes_between_the_bounds():
    x = fe.full((200, 50), -1.0)
    fe.manual_seed(1)
    slopes = -F.rrelu(x, 0.2, 0.6, training=True).numpy()
    assert slopes.min() >= 0.2
    assert slopes.max() < 0.6
    assert abs(slopes.mean() - 0.4) < 0.005
    assert abs(slopes.std() - 0.4 / 12**0.5) < 0.005
    fe.manual_seed(1)
    assert np.array_equal(-F.rrelu(x, 0.2, 0.6, training=True).numpy(), slopes)
    x = fe.tensor([-2.0, 3.0], requires_grad=True)
    y = F.rrelu(x, training=True)
    assert fe.grad(y.sum(), [x])[0].tolist() == [y[0].item() / -2, 1.0]


def test_rrelu_takes_a_generator():
    x = fe.full((9,), -1.0)
    one, two = (
        F.rrelu(x, training=True, generator=fe.Generator().manual_seed(4)).tolist()
        for _ in range(2)
    )
    assert one == two
    module = nn.RReLU()
    assert module(x).tolist() != module(x).tolist()
    assert fe.equal(module.eval()(x), F.leaky_relu(x, (1 / 8 + 1 / 3) / 2))


def test_gumbel_softmax():
    fe.manual_seed(0)
    logits = fe.tensor([1.0, 2.0, 0.0], dtype=fe.float64).expand(20000, 3)
    hard = F.gumbel_softmax(logits, hard=True)
    assert fe.equal(hard.sum(1), fe.ones(20000).double())
    want = logits[0].softmax(0).numpy()  # the probability of each to be the largest
    np.testing.assert_allclose(hard.mean(0).numpy(), want, atol=0.012)
    soft = F.gumbel_softmax(logits, tau=5.0)
    np.testing.assert_allclose(soft.sum(1).numpy(), 1, atol=1e-12)
    x = fe.randn(4, 3, dtype=fe.float64, requires_grad=True)
    weights = fe.arange(12, dtype=fe.float64).reshape(4, 3)
    gradients = []
    for hard_ in (False, True):
        y = F.gumbel_softmax(x, hard=hard_, generator=fe.Generator().manual_seed(2))
        gradients.append(fe.grad((y * weights).sum(), [x])[0])
    np.testing.assert_allclose(gradients[0].numpy(), gradients[1].numpy())


def test_in_place_forms_write_into_what_they_are_given():
    for function in (F.silu, F.mish, F.hardswish, F.hardsigmoid, F.relu6, F.elu_, F.threshold_):
        x = fe.linspace(-5, 5, 11)
        args = (0.5, 2.0) if function is F.threshold_ else ()
        options = {} if function.__name__.endswith("_") else {"inplace": True}
        plain = getattr(F, function.__name__.removesuffix("_"))(x.clone(), *args)
        assert function(x, *args, **options) is x
        assert fe.equal(x, plain)


ELEMENTWISE = [
    F.relu6, F.selu, F.silu, F.mish, F.hardsigmoid, F.hardswish, F.leaky_relu, F.elu, F.celu,
    F.gelu, F.hardtanh, F.hardshrink, F.softshrink, F.softplus, F.logsigmoid, F.softsign,
    F.tanhshrink, F.glu, F.rrelu,
]  # fmt: skip


@pytest.mark.parametrize("function", ELEMENTWISE)
def test_all_refuse_what_is_no_tensor_of_floats(function):
    for bad in (None, "x", [1.0], 3.0, np.ones(2)):
        with pytest.raises(OperandError, match=f"{function.__name__}: expected a tensor"):
            function(bad)
    for dtype in ("int64", "bool"):
        with pytest.raises(DTypeError, match=f"{function.__name__}.*got {dtype}"):
            function(fe.zeros(4, dtype=dtype))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.glu(X[:, :3]), ShapeError, "an even size along dim -1"),
        (lambda: F.glu(fe.tensor(1.0)), ShapeError, "at least one axis"),
        (lambda: F.glu(X, 2), fe.FerrumError, "2"),
        (lambda: F.gelu(X, "exact"), ArgumentError, "'none' or 'tanh', got 'exact'"),
        (lambda: F.gelu(X, None), ArgumentError, "got None"),
        (lambda: F.hardtanh(X, 1, -1), ArgumentError, "min_val <= max_val, got 1 and -1"),
        (lambda: F.softshrink(X, -0.5), ArgumentError, "at least 0, got -0.5"),
        (lambda: F.softshrink(X, float("nan")), ArgumentError, "at least 0, got nan"),
        (lambda: F.celu(X, 0.0), ArgumentError, "not 0"),
        (lambda: F.rrelu(X, 0.5, 0.1), ArgumentError, "lower <= upper"),
        (lambda: F.rrelu(X, training=True, generator=5), OperandError, "Generator"),
        (lambda: F.prelu(X, 0.25), OperandError, "expected a tensor, got float"),
        (lambda: F.prelu(X, fe.ones(3)), ShapeError, "of 4, one a channel"),
        (lambda: F.prelu(X, fe.ones(1, 4)), ShapeError, r"got \(1, 4\)"),
        (lambda: F.prelu(X, fe.ones(1).double()), DTypeError, "weight of float32"),
        (lambda: F.gumbel_softmax(X, tau=0), ArgumentError, "tau above 0"),
        (lambda: F.gumbel_softmax(X, dim=7), fe.FerrumError, "7"),
        (lambda: F.softmin(X, 5), fe.FerrumError, "5"),
        (lambda: F.softmin("x", 0), OperandError, "expected a tensor"),
        (lambda: nn.Softmax2d()(X), ShapeError, r"\(c, h, w\)"),
        (lambda: nn.Softmax(3)(X), fe.FerrumError, "3"),
        (lambda: nn.PReLU(-1), ShapeError, "-1"),
        (lambda: nn.GELU("exact")(X), ArgumentError, "'exact'"),
        (lambda: F.silu(X.requires_grad_(), inplace=True), fe.FerrumError, "leaf"),
    ],
)
def test_bad_arguments(call, error, words):
    try:
        with pytest.raises(error, match=words):
            call()
    finally:
        X.requires_grad_(False)


@pytest.mark.parametrize(
    "function", [F.elu, F.selu, F.celu, F.softplus, F.mish, F.logsigmoid, F.silu]
)
def test_no_gradient_is_lost_in_an_overflow(function):
    x = fe.tensor([-1e4, -800.0, 0.3, 800.0, 1e4], requires_grad=True)
    assert function(x).sum().isfinite().item()
    gradient = fe.grad(function(x).sum(), [x], create_graph=True)[0]
    assert gradient.isfinite().all().item()
    assert fe.grad(gradient.sum(), [x])[0].isfinite().all().item()


@pytest.mark.parametrize("function", ELEMENTWISE)
def test_gradients(function):
    x = fe.randn(3, 4, dtype=fe.float64, generator=fe.Generator().manual_seed(0)) * 2 + 0.013
    x.requires_grad_()
    assert fe.gradcheck(function, (x,))
    assert fe.gradgradcheck(function, (x,))
