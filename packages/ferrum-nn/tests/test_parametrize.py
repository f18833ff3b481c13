"""Parameters that are computed from others."""

import copy
import pickle

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import (
    ArgumentError,
    DTypeError,
    FerrumError,
    OperandError,
    ShapeError,
    UnsupportedError,
)

P = nn.utils.parametrize


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT


class Scaled(nn.Module):
    def __init__(self, factor=2.0):
        self.factor = nn.Parameter(fe.tensor(factor))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * self.factor

    def right_inverse(self, x):
        return x / self.factor


class RankOne(nn.Module):
    def forward(self, x, y):
        return x.unsqueeze(-1) * y

    def right_inverse(self, z):
        return z[:, 0], z[0] / z[0, 0]


class Odd(nn.Module):
    """Returns what it is told to."""

    def __init__(self, forward=None, right_inverse=None):
        self.does = forward
        if right_inverse is not None:
            self.right_inverse = right_inverse

    def forward(self, *args):
        return self.does(*args) if self.does else args[0]


@pytest.fixture
def layer():
    """A layer of 3 by 3."""
    return nn.Linear(3, 3)


def test_a_tensor_is_computed_from_its_original(layer):
    weight = layer.weight
    before = weight.detach().clone()
    assert P.register_parametrization(layer, "weight", Symmetric()) is layer
    assert isinstance(layer, nn.Linear)
    assert type(layer).__name__ == "ParametrizedLinear"
    assert layer.parametrizations.weight.original is weight
    assert fe.equal(layer.weight, layer.weight.mT)
    assert fe.equal(layer.weight.triu(), before.triu())
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    layer(fe.ones(1, 3)).sum().backward()
    assert weight.grad is not None
    assert not weight.grad.tril(-1).any()
    assert P.is_parametrized(layer)
    assert P.is_parametrized(layer, "weight")
    assert not P.is_parametrized(layer, "bias")
    assert not P.is_parametrized(nn.Linear(1, 1))
    assert P.type_before_parametrizations(layer) is nn.Linear
    assert P.type_before_parametrizations(nn.Tanh()) is nn.Tanh
    assert type(nn.Linear(1, 1)).__name__ == "Linear"  # the others' class is what it was


def test_right_inverse_keeps_the_value_and_lets_it_be_assigned(layer):
    weight, before = layer.weight, layer.weight.tolist()
    P.register_parametrization(layer, "weight", Scaled())
    assert layer.weight.tolist() == before
    assert (weight * 2).tolist() == before
    assert layer.parametrizations.weight.original is weight
    P.register_parametrization(layer, "weight", Scaled(-4.0))
    assert layer.weight.tolist() == (fe.tensor(before) * -4).tolist()
    layer.weight = fe.full((3, 3), 16.0)
    assert weight.tolist() == [[-2.0] * 3] * 3
    assert weight.requires_grad
    assert len(layer.parametrizations.weight) == 2
    names = [f"parametrizations.weight.{name}" for name in ("original", "0.factor", "1.factor")]
    assert list(layer.state_dict()) == ["bias", *names]


def test_several_originals():
    layer = nn.Linear(3, 2)
    P.register_parametrization(layer, "weight", RankOne())
    assert np.linalg.matrix_rank(layer.weight.detach().numpy()) == 1
    assert list(layer.state_dict()) == [
        "bias",
        "parametrizations.weight.original0",
        "parametrizations.weight.original1",
    ]
    layer.weight = fe.tensor([[1.0, 2, 3], [2, 4, 6]])
    assert layer.parametrizations.weight.original0.tolist() == [1, 2]
    layer.weight.sum().backward()
    assert layer.parametrizations.weight.original1.grad.tolist() == [3, 3, 3]
    with pytest.raises(ArgumentError, match="computed from 2 tensors"):
        P.remove_parametrizations(layer, "weight", leave_parametrized=False)
    assert P.is_parametrized(layer, "weight")
    P.remove_parametrizations(layer, "weight")
    assert layer.weight.tolist() == [[1, 2, 3], [2, 4, 6]]
    assert isinstance(layer.weight, nn.Parameter)


@pytest.mark.parametrize("leave", [True, False])
def test_removing(layer, leave):
    weight, before = layer.weight, layer.weight.detach().clone()
    P.register_parametrization(layer, "weight", Symmetric())
    P.register_parametrization(layer, "bias", Scaled())
    symmetric = layer.weight.detach()
    assert P.remove_parametrizations(layer, "weight", leave) is layer
    assert layer.weight is weight
    assert fe.equal(weight, symmetric if leave else before)
    assert weight.requires_grad
    assert type(layer).__name__ == "ParametrizedLinear"
    P.remove_parametrizations(layer, "bias")
    assert type(layer) is nn.Linear
    assert sorted(layer.state_dict()) == ["bias", "weight"]
    assert not hasattr(layer, "parametrizations")


def test_buffers(block):
    P.register_parametrization(block, "mean", Scaled())
    assert [name for name, _ in block.named_buffers()] == [
        "seen",
        "parametrizations.mean.original",
    ]
    block.mean = fe.ones(3)
    assert block.mean.tolist() == [1, 1, 1]
    P.remove_parametrizations(block, "mean")
    assert [name for name, _ in block.named_buffers()] == ["seen", "mean"]
    assert block.mean.tolist() == [1, 1, 1]


def test_an_optimizer_goes_on(layer):
    optimizer = nn.optim.SGD(layer.parameters(), lr=0.1)
    P.register_parametrization(layer, "weight", Symmetric())
    before = layer.weight.tolist()
    layer(fe.ones(1, 3)).sum().backward()
    optimizer.step()
    assert layer.weight.tolist() != before
    after = layer.weight.tolist()
    P.remove_parametrizations(layer, "weight")
    layer.weight.grad = fe.ones(3, 3)
    optimizer.step()
    assert layer.weight.tolist() != after


def test_caching(layer):
    scaled = Scaled()
    P.register_parametrization(layer, "weight", scaled)
    scaled.calls = 0
    assert layer.weight is not layer.weight
    with P.cached():
        one = layer.weight
        with P.cached():
            assert layer.weight is one
        assert layer.weight is one
        assert scaled.calls == 3
        with fe.no_grad():
            assert not layer.weight.requires_grad
        assert layer.weight.requires_grad  # what was computed without history is not used here
        layer.weight = fe.zeros(3, 3)
        assert not layer.weight.any()
        P.register_parametrization(layer, "weight", Odd(lambda x: x + 1))
        assert (layer.weight == 1).all()
        P.remove_parametrizations(layer, "weight")
        assert (layer.weight == 1).all()
    assert layer.weight is layer.weight


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_parametrized_too(layer, copied):
    P.register_parametrization(layer, "weight", Scaled())
    P.register_parametrization(layer, "bias", Scaled(3.0))
    other = copied(nn.Sequential(layer, nn.Tanh()).eval())[0]
    assert repr(other) == repr(layer)
    assert other.weight.tolist() == layer.weight.tolist()
    other.weight = fe.zeros(3, 3)
    assert layer.weight.any()
    assert not other.training
    P.remove_parametrizations(other, "weight")
    P.remove_parametrizations(other, "bias")
    assert type(other) is nn.Linear


def test_the_state_of_one_loads_into_another(layer):
    other = nn.Linear(3, 3).double()
    for each in (layer, other):
        P.register_parametrization(each, "weight", Symmetric())
    assert other.load_state_dict(layer.state_dict()) == ([], [])
    assert other.weight.tolist() == layer.weight.tolist()
    assert other.float().weight.dtype is fe.float32


def test_transferring(layer):
    P.register_parametrization(layer, "weight", RankOne())
    P.register_parametrization(layer, "bias", Scaled())
    other = nn.Module()
    assert P.transfer_parametrizations_and_params(layer, other) is other
    assert sorted(other.state_dict()) == sorted(layer.state_dict())
    assert other.parametrizations.bias.original is layer.parametrizations.bias.original
    assert other.weight.tolist() == layer.weight.tolist()
    one = nn.Linear(3, 3)
    P.transfer_parametrizations_and_params(layer, one, "bias")
    assert one.bias.tolist() == layer.bias.tolist()
    assert not P.is_parametrized(one, "weight")
    P.transfer_parametrizations_and_params(nn.Linear(3, 3), one)


def test_training_reaches_the_parametrization(layer):
    layer.eval()
    scaled = Scaled()
    P.register_parametrization(layer, "weight", scaled)
    assert not scaled.training
    layer.train()
    assert scaled.training


def test_unsafe_parametrizations_may_change_the_shape(layer):
    P.register_parametrization(layer, "weight", Odd(lambda x: x[:2]), unsafe=True)
    assert layer.weight.shape == (2, 3)


def parametrized():
    return P.register_parametrization(nn.Linear(3, 3), "weight", Scaled())


def register(module, unsafe=False, name="weight", layer=None):
    P.register_parametrization(layer or nn.Linear(3, 3), name, module, unsafe=unsafe)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: register(5), OperandError),
        (lambda: register(None), OperandError),
        (lambda: P.register_parametrization(5, "weight", Scaled()), OperandError),
        (lambda: register(Scaled(), name="nothing"), nn.UnknownNameError),
        (lambda: register(Scaled(), name="in_features"), nn.UnknownNameError),
        (lambda: register(Scaled(), name=["weight"]), nn.UnknownNameError),
        (lambda: register(Scaled(), name=None), nn.UnknownNameError),
        (
            lambda: register(Scaled(), layer=nn.Linear(1, 1, bias=False), name="bias"),
            AttributeError,
        ),
        (lambda: register(Odd(lambda x: 5)), OperandError),
        (lambda: register(Odd(lambda x: x[0])), ShapeError),
        (lambda: register(Odd(lambda x: x.double())), DTypeError),
        (lambda: register(Odd(None, lambda x: 5)), OperandError),
        (lambda: register(Odd(None, lambda x: [])), OperandError),
        (lambda: register(Odd(None, lambda x: [x, 5])), OperandError),
        (lambda: register(Odd(None, lambda x: x.double()), unsafe=True), DTypeError),
        (lambda: register(Odd(None, lambda x: x[0])), ShapeError),
        (lambda: register(Odd(lambda x: 5), layer=parametrized()), OperandError),
        (lambda: register(Odd(lambda x: x[0]), layer=parametrized()), ShapeError),
        (lambda: register(Odd(lambda x: x.double()), layer=parametrized()), DTypeError),
        (lambda: register(Odd(None, lambda x: (x, x)), layer=parametrized()), OperandError),
        (lambda: register(Odd(None, lambda x: x[0]), layer=parametrized()), ShapeError),
        (lambda: setattr(parametrized(), "weight", 5), OperandError),
        (lambda: P.remove_parametrizations(nn.Linear(1, 1), "weight"), ArgumentError),
        (lambda: P.remove_parametrizations(parametrized(), "bias"), ArgumentError),
        (lambda: P.remove_parametrizations(parametrized(), ["weight"]), ArgumentError),
        (lambda: P.ParametrizationList([], fe.ones(1)), ArgumentError),
        (lambda: P.transfer_parametrizations_and_params(parametrized(), 5), OperandError),
        (lambda: P.transfer_parametrizations_and_params(5, nn.Tanh()), OperandError),
        (lambda: P.is_parametrized(5), OperandError),
        (lambda: P.transfer_parametrizations_and_params(parametrized(), nn.Tanh(), "x"), KeyError),
    ],
)
def test_what_makes_no_sense(call, error):
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, FerrumError)


def test_a_refused_parametrization_leaves_the_module_as_it_was(layer):
    before = repr(layer), layer.weight.tolist(), layer.weight
    for odd in (Odd(lambda x: x[0], lambda x: x * 2), Odd(None, lambda x: (x, 5))):
        with pytest.raises(FerrumError):
            P.register_parametrization(layer, "weight", odd)
        assert (repr(layer), layer.weight.tolist(), layer.weight) == before
        assert type(layer) is nn.Linear


def test_what_has_no_right_inverse_cannot_be_assigned(layer):
    P.register_parametrization(layer, "weight", Symmetric())
    with pytest.raises(UnsupportedError, match="Symmetric defines no right_inverse"):
        layer.weight = fe.ones(3, 3)
    P.register_parametrization(
        layer, "bias", Odd(None, lambda x: x.double() if (x == 1).all() else x)
    )
    with pytest.raises(DTypeError):
        layer.bias = fe.ones(3)


def test_right_inverse_must_go_on_returning_as_many():
    layer = nn.Linear(3, 2)
    inverse = [lambda z: (z[:, 0], z[0])]
    odd = Odd(lambda x, y: x.unsqueeze(-1) * y, lambda z: inverse[0](z))
    P.register_parametrization(layer, "weight", odd)
    inverse[0] = lambda z: (z[:, 0], z[0], z)
    with pytest.raises(ArgumentError, match="expected 2 tensors of right_inverse, got 3"):
        layer.weight = fe.ones(2, 3)


def test_a_buffer_that_is_a_view_is_copied():
    net, base = nn.Module(), fe.ones(4)
    net.register_buffer("part", base[:2])
    P.register_parametrization(net, "part", Scaled())
    net.part = fe.zeros(2)
    assert base.tolist() == [1, 1, 1, 1]
    assert net.part.tolist() == [0, 0]


def test_a_right_inverse_that_is_not_implemented_counts_as_none(layer):
    def refuse(value):
        raise NotImplementedError

    before = layer.weight.tolist()
    P.register_parametrization(layer, "weight", Odd(None, refuse))
    P.register_parametrization(layer, "weight", Odd(None, refuse))
    assert layer.weight.tolist() == before
    with pytest.raises(NotImplementedError):
        layer.weight = fe.ones(3, 3)


def test_an_op_that_is_missing_is_not_taken_for_no_inverse(layer):
    def inverse(x):
        raise UnsupportedError("device 'new' has no sort")

    with pytest.raises(UnsupportedError, match="has no sort"):
        P.register_parametrization(layer, "weight", Odd(None, inverse))
