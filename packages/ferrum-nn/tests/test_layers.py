"""Linear, activations, containers, and first values."""

from collections import OrderedDict
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ferrum as fe
import ferrum_nn as nn
import ferrum_nn.functional as F
from ferrum.errors import ArgumentError, DTypeError, OperandError, OutOfRangeError, ShapeError

sizes = st.integers(0, 4)


@given(st.lists(sizes, max_size=3), sizes, sizes, st.booleans())
def test_linear_is_a_product_and_a_sum(lead, inputs, outputs, bias):
    layer = nn.Linear(inputs, outputs, bias=bias, dtype=fe.float64)
    x = fe.randn(*lead, inputs, dtype=fe.float64, requires_grad=True)
    y = layer(x)
    expected = x.detach().numpy() @ layer.weight.detach().numpy().T
    expected = expected + layer.bias.detach().numpy() if bias else expected
    np.testing.assert_allclose(y.detach().numpy(), expected, atol=1e-12)
    y.sum().backward()
    count = int(np.prod(lead))
    rows = x.detach().numpy().reshape(count, inputs)
    np.testing.assert_allclose(
        layer.weight.grad.numpy(), np.ones((outputs, count)) @ rows, atol=1e-12
    )
    if bias:
        assert layer.bias.grad.tolist() == [count] * outputs


def test_linear_starts_within_its_bound_from_ferrums_generator():
    fe.manual_seed(3)
    layer = nn.Linear(16, 50)
    bound = 1 / sqrt(16)
    for parameter in layer.parameters():
        values = parameter.detach().numpy()
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.9 * bound
        assert abs(values.mean()) < 0.05
    fe.manual_seed(3)
    again = nn.Linear(16, 50)
    assert fe.equal(layer.weight, again.weight)
    again.reset_parameters()
    assert not fe.equal(layer.weight, again.weight)


def test_linear_without_bias_or_inputs():
    layer = nn.Linear(3, 2, bias=False)
    assert layer.bias is None
    assert list(layer.state_dict()) == ["weight"]
    assert repr(layer) == "Linear(in_features=3, out_features=2, bias=False)"
    assert nn.Linear(0, 2)(fe.zeros(5, 0)).tolist() == [[0, 0]] * 5


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (fe.zeros(4, 2), ShapeError),
        (fe.zeros(()), ShapeError),
        (fe.zeros(4, 3, dtype=fe.float64), DTypeError),
        ([1.0, 2.0, 3.0], OperandError),
        ("text", OperandError),
    ],
)
def test_linear_refuses_what_does_not_fit(x, error):
    with pytest.raises(error, match=r"^linear: expected"):
        nn.Linear(3, 2)(x)


def test_negative_sizes_are_refused():
    with pytest.raises(ShapeError):
        nn.Linear(-1, 2)


def test_activations():
    x = fe.tensor([-1.0, 0.0, 2.0])
    assert nn.ReLU()(x).tolist() == F.relu(x).tolist() == [0, 0, 2]
    np.testing.assert_allclose(nn.Tanh()(x).numpy(), np.tanh(x.numpy()), rtol=1e-6)
    np.testing.assert_allclose(nn.Sigmoid()(x).numpy(), 1 / (1 + np.exp(-x.numpy())), rtol=1e-6)
    assert nn.Identity(3, unused=True)(x) is x
    assert F.softmax(x, 0).sum().item() == pytest.approx(1)
    assert F.log_softmax(x, dim=-1, dtype=fe.float64).exp().sum().item() == pytest.approx(1)
    assert repr(nn.ReLU(inplace=True)) == "ReLU(inplace=True)"
    assert nn.ReLU(inplace=True)(x) is x
    assert x.tolist() == [0, 0, 2]


def test_flatten():
    x = fe.zeros(2, 3, 4)
    assert nn.Flatten()(x).shape == (2, 12)
    assert nn.Flatten(0, 1)(x).shape == (6, 4)
    assert repr(nn.Flatten()) == "Flatten(start_dim=1, end_dim=-1)"


# ---- Sequential


def stack():
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


def test_sequential_is_a_sequence():
    net = stack()
    assert len(net) == 3
    assert [type(each).__name__ for each in net] == ["Linear", "Tanh", "Linear"]
    assert net[0].in_features == 2
    assert net[-1] is list(net)[2]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    x = fe.ones(1, 2)
    assert fe.equal(net(x), net[2](net[1](net[0](x))))
    assert fe.equal(nn.Sequential()(x), x)


def test_slices_share_the_modules():
    net = stack()
    tail = net[1:]
    assert type(tail) is nn.Sequential
    assert list(tail.state_dict()) == ["2.weight", "2.bias"]
    assert tail[1] is net[2]
    assert tail.append(nn.ReLU()) is tail
    assert [type(each).__name__ for each in tail] == ["Tanh", "Linear", "ReLU"]


def test_setting_and_extending():
    net = stack()
    net[1] = nn.ReLU()
    assert isinstance(net[1], nn.ReLU)
    net.extend([nn.Sigmoid()])
    assert isinstance(net[3], nn.Sigmoid)
    for index in (4, -5):
        with pytest.raises(OutOfRangeError, match="Sequential: index"):
            net[index]
    with pytest.raises(OperandError):
        net.append("text")
    with pytest.raises(OperandError):
        nn.Sequential([nn.Tanh()])


def test_named_by_an_ordered_dict():
    net = nn.Sequential(OrderedDict([("fc", nn.Linear(2, 2)), ("act", nn.ReLU())]))
    assert net.fc is net[0]
    assert list(net.state_dict()) == ["fc.weight", "fc.bias"]
    with pytest.raises(nn.NameTakenError, match="there is an attribute 'forward' already"):
        nn.Sequential(OrderedDict([("forward", nn.Tanh())]))


# ---- init


def test_init_writes_in_place():
    x = nn.Parameter(fe.zeros(3, 4))
    assert nn.init.ones_(x) is x
    assert x.detach().numpy().all()
    assert not nn.init.zeros_(x).any()
    assert nn.init.constant_(x, 2.5)[0, 0].item() == 2.5
    nn.init.uniform_(x, -3, -2, generator=fe.Generator(1))
    values = x.detach().numpy()
    assert ((values >= -3) & (values < -2)).all()
    y = nn.init.uniform_(fe.zeros(3, 4), -3, -2, generator=fe.Generator(1))
    assert fe.equal(x, y)
    assert x.requires_grad


def test_kaiming_bounds():
    x = fe.zeros(200, 10, 3)
    for mode, fan in (("fan_in", 30), ("fan_out", 600)):
        nn.init.kaiming_uniform_(x, mode=mode, nonlinearity="relu")
        bound = sqrt(2) * sqrt(3 / fan)
        assert 0.95 * bound < x.abs().amax().item() <= bound
    empty = fe.zeros(0, 3)
    assert nn.init.kaiming_uniform_(empty) is empty


def test_init_errors():
    with pytest.raises(ArgumentError, match="mode"):
        nn.init.kaiming_uniform_(fe.zeros(2, 2), mode="fan")
    with pytest.raises(ShapeError):
        nn.init.kaiming_uniform_(fe.zeros(2))
    with pytest.raises(
        ArgumentError, match="calculate_gain: expected one of conv1d, .*leaky_relu, linear"
    ):
        nn.init.calculate_gain("silu")
    assert nn.init.calculate_gain("leaky_relu") == pytest.approx(sqrt(2 / (1 + 0.01**2)))
    assert nn.init.calculate_gain("tanh") == 5 / 3


def test_linear_as_a_function():
    x, weight, bias = fe.ones(2, 3), fe.ones(4, 3), fe.arange(4.0)
    assert F.linear(x, weight).tolist() == [[3] * 4] * 2
    assert F.linear(x, weight, bias)[0].tolist() == [3, 4, 5, 6]


# ---- what is refused


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Parameter([1.0]), OperandError, "Parameter: expected a tensor, got list"),
        (lambda: nn.init.zeros_(5), OperandError, "zeros_: expected a tensor, got int"),
        (lambda: nn.init.uniform_([1]), OperandError, "uniform_: expected a tensor, got list"),
        (lambda: nn.init.uniform_(fe.ones(2), "a"), OperandError, "uniform_: expected a number as"),
        (
            lambda: nn.init.kaiming_uniform_([1]),
            OperandError,
            "kaiming_uniform_: expected a tensor",
        ),
        (
            lambda: nn.init.kaiming_uniform_(fe.ones(2, 2), a="x"),
            OperandError,
            "calculate_gain: expected a number as param, got 'x'",
        ),
        (lambda: nn.init.calculate_gain([5]), ArgumentError, "calculate_gain: expected one of"),
        (lambda: stack()["a"], OperandError, "Sequential: expected an integer or a slice, got 'a'"),
        (lambda: nn.Sequential().extend(5), OperandError, "Sequential: expected modules, got int"),
        (lambda: F.softmax([1], 0), OperandError, "softmax: expected a tensor"),
        (lambda: F.log_softmax([1], 0), OperandError, "log_softmax: expected a tensor"),
        (lambda: nn.ReLU()([1]), OperandError, "relu: expected at least one tensor"),
        (lambda: nn.ReLU(inplace=True)([1]), OperandError, "relu_: expected a tensor"),
        (lambda: stack().train("x"), ArgumentError, "train: expected True or False, got 'x'"),
    ],
)
def test_what_makes_no_sense(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()


def test_a_sequential_whose_modules_change_while_it_runs():
    net = nn.Sequential(nn.Identity(), nn.Identity())
    net[0].register_forward_hook(lambda module, args, output: net.append(nn.Tanh()) and None)
    x = fe.ones(2)
    assert fe.equal(net(x), x)
    assert len(net) == 3
