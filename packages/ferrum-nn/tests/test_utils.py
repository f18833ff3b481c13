"""Clipping gradients, parameters as one vector, modules without first values."""

from math import inf, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import (
    ArgumentError,
    DTypeError,
    FerrumError,
    GradientError,
    OperandError,
    ShapeError,
    UnsupportedError,
)

U = nn.utils


def with_grads(*grads):
    made = []
    for grad in grads:
        made.append(nn.Parameter(fe.zeros(fe.tensor(grad).shape)))
        made[-1].grad = fe.tensor(grad)
    return made


# ---- norms


@given(
    st.lists(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=5), max_size=4),
    st.sampled_from([0.5, 1, 2, 3.5, inf]),
)
def test_the_norm_is_that_of_all_elements(parts, p):
    flat = np.array([x for part in parts for x in part])
    expected = np.linalg.norm(flat, p) if flat.size else 0.0
    tensors = [fe.tensor(part, dtype=fe.float64) for part in parts]
    found = U.get_total_norm(tensors, p)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    params = [nn.Parameter(fe.zeros_like(each)) for each in tensors]
    for param, grad in zip(params, tensors, strict=True):
        param.grad = grad.clone()
    assert U.clip_grad_norm_(iter(params), 1.0, p).item() == found.item()
    after = U.get_total_norm([param.grad for param in params], p).item()
    assert after == pytest.approx(min(expected, 1.0), rel=1e-5, abs=1e-6)
    for param, grad in zip(params, tensors, strict=True):  # the direction stays
        np.testing.assert_allclose(
            param.grad.numpy() * expected, grad.numpy() * after, rtol=1e-5, atol=1e-3
        )


def test_gradients_are_clipped_in_place():
    one, two = with_grads([3.0, 4.0], 12.0)
    none = nn.Parameter(fe.ones(2))
    grads = one.grad, two.grad
    assert U.clip_grad_norm_([one, none, two], 1.3).item() == 13
    assert (one.grad, two.grad) == grads
    np.testing.assert_allclose(grads[0].numpy(), [0.3, 0.4], rtol=1e-6)
    assert none.grad is None
    assert U.clip_grad_norm_(one, inf).item() == pytest.approx(0.5)
    np.testing.assert_allclose(grads[0].numpy(), [0.3, 0.4], rtol=1e-6)
    U.clip_grads_with_norm_([one], 0.0, fe.tensor(1.0))
    assert not grads[0].any()


def test_the_norm_names_like_pytorchs():
    one, two = with_grads([3.0, -4.0], [0.0])
    assert U.get_total_norm([one.grad, two.grad], "inf").item() == 4
    assert U.get_total_norm([one.grad, two.grad], -inf).item() == 0
    assert U.get_total_norm([one.grad, two.grad], 0).item() == 1  # the norm of (2, 0)
    assert U.get_total_norm(one.grad, foreach=True).item() == 5
    assert U.get_total_norm([]).item() == 0
    assert U.get_total_norm([fe.zeros(0)], inf).item() == 0
    assert U.clip_grad_norm_([], 1.0).item() == 0


def test_16_bits_add_up_in_more():
    x = fe.full((100,), 200.0, dtype=fe.float16)
    total = U.get_total_norm([x])
    assert total.dtype is fe.float16
    assert total.item() == 2000
    assert U.get_total_norm([x, fe.ones(2)]).dtype is fe.float32
    param = nn.Parameter(fe.zeros(100, dtype=fe.float16))
    param.grad = x
    U.clip_grad_norm_([param], 1.0)
    assert x.dtype is fe.float16
    assert x[0].item() == pytest.approx(0.1, rel=1e-2)


def test_what_is_not_finite():
    for bad in (inf, nan):
        (param,) = with_grads([1.0, bad])
        with pytest.raises(GradientError, match="error_if_nonfinite=False"):
            U.clip_grad_norm_([param], 1.0, error_if_nonfinite=True)
        assert param.grad[0].item() == 1
        U.clip_grad_norm_([param], 1.0)
        assert param.grad[1].isnan().item()
        assert param.grad[0].item() == 0 or bad is nan


def test_clipping_values():
    one, two = with_grads([3.0, -4.0, 0.5, nan], -inf)
    grads = one.grad, two.grad
    assert U.clip_grad_value_([one, two, nn.Parameter(fe.ones(1))], 1.5) is None
    assert (one.grad, two.grad) == grads
    assert str(grads[0].tolist()) == "[1.5, -1.5, 0.5, nan]"
    assert grads[1].item() == -1.5
    U.clip_grad_value_(one, 0)
    assert not grads[0][:3].any()


def test_nothing_is_recorded_and_history_stays():
    x = nn.Parameter(fe.ones(2))
    (x * x).sum().backward(create_graph=True)
    U.clip_grad_norm_([x], 1.0)
    total = U.get_total_norm([x])
    assert not total.requires_grad
    assert total.item() == pytest.approx(sqrt(2))


# ---- one vector


def test_parameters_as_a_vector(net):
    vector = U.parameters_to_vector(net.parameters())
    assert vector.shape == (sum(p.numel() for p in net.parameters()),)
    vector.sum().backward()
    assert all((p.grad == 1).all() for p in net.parameters())
    new = fe.arange(vector.numel(), dtype=fe.float64)
    arrays = [p.array for p in net.parameters()]
    assert U.vector_to_parameters(new, net.parameters()) is None
    assert [p.array for p in net.parameters()] == arrays
    assert U.parameters_to_vector(net.parameters()).tolist() == new.tolist()
    assert all(p.requires_grad and p.dtype is fe.float32 for p in net.parameters())


def test_a_vector_of_another_size_writes_nothing():
    layer = nn.Linear(2, 1)
    before = U.parameters_to_vector(layer.parameters()).tolist()
    for size in (2, 4):
        with pytest.raises(ShapeError, match="expected a vector of 3 elements"):
            U.vector_to_parameters(fe.ones(size), layer.parameters())
    assert U.parameters_to_vector(layer.parameters()).tolist() == before


# ---- without first values


def test_skip_init_draws_nothing():
    state = fe.get_rng_state()
    layer = U.skip_init(nn.Linear, 3, 4, bias=False, dtype=fe.float64)
    assert fe.get_rng_state() == state
    assert layer.weight.shape == (4, 3)
    assert layer.weight.dtype is fe.float64
    assert nn.Linear(3, 4).weight.any()  # and only there
    with pytest.raises(RuntimeError, match="skip_init: Tanh takes no `device`"):
        U.skip_init(nn.Tanh)


P = nn.Parameter(fe.ones(2))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: U.clip_grad_norm_(5, 1.0), OperandError),
        (lambda: U.clip_grad_norm_([5], 1.0), OperandError),
        (lambda: U.clip_grad_norm_("ab", 1.0), OperandError),
        (lambda: U.clip_grad_norm_(None, 1.0), OperandError),
        (lambda: U.clip_grad_norm_(nn.Linear(1, 1), 1.0), OperandError),
        (lambda: U.clip_grad_norm_([P], "x"), OperandError),
        (lambda: U.clip_grad_norm_([P], None), OperandError),
        (lambda: U.clip_grad_norm_([P], -1.0), ArgumentError),
        (lambda: U.clip_grad_norm_([P], nan), ArgumentError),
        (lambda: U.clip_grad_norm_([P], 1.0, "x"), OperandError),
        (lambda: U.clip_grad_norm_([P], 1.0, nan), ArgumentError),
        (lambda: U.clip_grads_with_norm_([P], 1.0, 2.0), OperandError),
        (lambda: U.clip_grads_with_norm_([P], 1.0, fe.ones(2)), ShapeError),
        (lambda: U.clip_grads_with_norm_([P], -1, fe.ones(())), ArgumentError),
        (lambda: U.clip_grads_with_norm_([[P]], 1, fe.ones(())), OperandError),
        (lambda: U.clip_grad_value_(5, 1.0), OperandError),
        (lambda: U.clip_grad_value_([P, 5], 1.0), OperandError),
        (lambda: U.clip_grad_value_([P], None), OperandError),
        (lambda: U.clip_grad_value_([P], -0.5), ArgumentError),
        (lambda: U.clip_grad_value_([P], nan), ArgumentError),
        (lambda: U.get_total_norm([fe.tensor([1, 2])]), DTypeError),
        (lambda: U.get_total_norm([[1.0]]), OperandError),
        (lambda: U.get_total_norm([P], None), OperandError),
        (lambda: U.parameters_to_vector([]), ArgumentError),
        (lambda: U.parameters_to_vector([1.0]), OperandError),
        (lambda: U.parameters_to_vector(5), OperandError),
        (lambda: U.vector_to_parameters([1.0, 2.0], [P]), OperandError),
        (lambda: U.vector_to_parameters(fe.ones(1, 2), [P]), ShapeError),
        (lambda: U.vector_to_parameters(fe.ones(2), 5), OperandError),
        (lambda: U.vector_to_parameters(fe.ones(2), []), ShapeError),
        (lambda: U.skip_init(5), OperandError),
        (lambda: U.skip_init(int, 5), OperandError),
        (lambda: U.skip_init(nn.ReLU), UnsupportedError),
    ],
)
def test_what_makes_no_sense(call, error):
    P.grad = fe.ones(2)
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, FerrumError)
    assert P.tolist() == P.grad.tolist() == [1, 1]
