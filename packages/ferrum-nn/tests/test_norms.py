"""Normalisation: what it is, what becomes of running statistics, numbers far from 0."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ferrum as fe
import ferrum_nn as nn
from ferrum.capture import record

F = nn.functional
RNG = np.random.default_rng(0)


def real(*shape, dtype=fe.float64, grad=True):
    return fe.tensor(RNG.normal(size=shape), dtype=dtype, requires_grad=grad)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    last=st.integers(1, 4),
    offset=st.sampled_from([0.0, 1e4]),
)
def test_rows_have_mean_0_and_mean_square_1(shape, last, offset):
    last = min(last, len(shape))
    axes = tuple(range(-last, 0))
    values = RNG.normal(size=shape)
    x = fe.tensor(values + offset)
    spread = values.var(axes, keepdims=True)
    y = F.layer_norm(x, shape[-last:], eps=1e-3).numpy()
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-8)
    np.testing.assert_allclose((y**2).mean(axes, keepdims=True), spread / (spread + 1e-3), 1e-6)
    y = F.rms_norm(fe.tensor(values), shape[-last:], eps=0.0).numpy()
    np.testing.assert_allclose((y**2).mean(axes), 1, 1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_what_lies_far_from_0_is_right_in_float32(offset):
    values = (RNG.normal(size=(6, 50)) + offset).astype(np.float32)
    wide = values.astype(np.float64)
    x = fe.tensor(values, requires_grad=True)
    for axis, norm in ((1, lambda x: F.layer_norm(x, (50,))), (0, by_batch)):
        centred = wide - wide.mean(axis, keepdims=True)
        scale = 1 / np.sqrt((centred**2).mean(axis, keepdims=True) + 1e-5)
        np.testing.assert_allclose(norm(x).detach().numpy(), centred * scale, atol=1e-6)
        g = np.cos(np.arange(300.0)).reshape(6, 50)
        (found,) = fe.grad((norm(x) * fe.tensor(g, dtype=fe.float32)).sum(), [x])
        y = centred * scale
        mean, slope = g.mean(axis, keepdims=True), (g * y).mean(axis, keepdims=True)
        np.testing.assert_allclose(found.numpy(), (g - mean - y * slope) * scale, atol=3e-6)


def by_batch(x):
    return F.batch_norm(x, None, None, training=True)


def test_a_row_without_spread_becomes_the_bias():
    bias = fe.tensor([1.0, 2.0, 3.0])
    x = fe.full((4, 3), 12345.678)
    assert F.layer_norm(x, (3,), fe.ones(3), bias).tolist() == [[1.0, 2.0, 3.0]] * 4
    assert F.batch_norm(x, None, None, None, bias, training=True).tolist() == [[1, 2, 3]] * 4


def test_gradients_of_two_orders():
    x, w, b = real(3, 4), real(4), real(4)
    assert fe.gradcheck(lambda *a: F.layer_norm(a[0], (4,), a[1], a[2]), (x, w, b))
    assert fe.gradgradcheck(lambda *a: F.layer_norm(a[0], (4,), a[1], a[2]), (x, w, b))
    assert fe.gradcheck(lambda x: F.layer_norm(x, (3, 4)), (x,))
    assert fe.gradcheck(lambda x, w: F.rms_norm(x, (4,), w), (x, w))
    assert fe.gradgradcheck(lambda x, w: F.rms_norm(x, (4,), w), (x, w))
    x, w, b = real(3, 2, 2), real(2), real(2)
    mean, var = real(2), (real(2, grad=False).abs() + 0.5).requires_grad_()
    for check in (fe.gradcheck, fe.gradgradcheck):
        assert check(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), (x, w, b))
        assert check(lambda *a: F.batch_norm(*a), (x, mean, var, w, b))


def test_a_third_order():
    x = real(2, 3)
    for norm in (lambda x: F.layer_norm(x, (3,)), lambda x: F.rms_norm(x, (3,)), by_batch):

        def second(x, norm=norm):
            (first,) = fe.grad((norm(x) ** 3).sum(), [x], create_graph=True)
            return fe.grad((first**2).sum(), [x], create_graph=True)[0]

        assert fe.gradcheck(second, (x,))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3), (3, 0), (0, 0)])
def test_nothing_normalised_is_nothing(shape):
    x = fe.zeros(*shape, requires_grad=True)
    for layer in (nn.LayerNorm(shape[-1]), nn.RMSNorm(shape[-1])):
        out = layer(x)
        assert out.shape == shape
        out.sum().backward()
        assert fe.equal(layer.weight.grad, fe.zeros(shape[-1]))


def test_a_batch_of_nothing_moves_nothing():
    layer = nn.BatchNorm1d(3)
    x = fe.zeros(0, 3, requires_grad=True)
    out = layer(x)
    out.sum().backward()
    assert out.shape == (0, 3)
    assert x.grad.shape == (0, 3)
    for grad in (layer.weight.grad, layer.bias.grad):
        assert grad.tolist() == [0, 0, 0]
    assert layer.running_mean.tolist() == [0, 0, 0]
    assert layer.running_var.tolist() == [1, 1, 1]
    assert layer.num_batches_tracked.item() == 1
    assert layer.eval()(x).shape == (0, 3)


def test_momentum_none_averages_all_batches():
    layer = nn.BatchNorm1d(3, momentum=None, dtype=fe.float64)
    batches = [RNG.normal(size=(5, 3)) * (i + 1) + i for i in range(4)]
    for batch in batches:
        layer(fe.tensor(batch))
    mean = np.mean([batch.mean(0) for batch in batches], 0)
    var = np.mean([batch.var(0, ddof=1) for batch in batches], 0)
    np.testing.assert_allclose(layer.running_mean.numpy(), mean, 1e-12)
    np.testing.assert_allclose(layer.running_var.numpy(), var, 1e-12)
    layer.reset_running_stats()
    assert layer.num_batches_tracked.item() == 0
    assert layer.running_var.tolist() == [1, 1, 1]


def test_evaluation_moves_nothing_and_knows_no_neighbours():
    layer = nn.BatchNorm1d(3)
    layer(real(9, 3, dtype=fe.float32))
    layer.eval()
    kept = {name: each.clone() for name, each in layer.state_dict().items()}
    x = real(4, 3, dtype=fe.float32)
    whole = layer(x)
    assert fe.equal(whole[:1], layer(x[:1]))
    assert all(fe.equal(kept[name], each) for name, each in layer.state_dict().items())


def test_frozen_statistics_get_no_gradient_and_cut_none():
    layer = nn.BatchNorm1d(3).eval()
    x = real(4, 3, dtype=fe.float32)
    layer(x).sum().backward()
    assert layer.running_mean.grad is None
    np.testing.assert_allclose(x.grad.numpy(), 1 / np.sqrt(1 + 1e-5), 1e-6)


def test_a_recorded_step_tracks_as_eager_does():
    for momentum in (0.1, None):
        ours, other = (nn.BatchNorm1d(3, momentum=momentum) for _ in range(2))
        batches = [real(5, 3, dtype=fe.float32, grad=False) for _ in range(3)]
        graph = record(ours, batches[0])
        other(batches[0])
        for batch in batches:
            assert fe.equal(graph.replay(batch), other(batch))
        for name, each in other.state_dict().items():
            assert fe.equal(ours.state_dict()[name], each)


@pytest.mark.parametrize("dtype", [fe.float16, fe.bfloat16])
def test_narrow_input_may_have_wide_parameters(dtype):
    x = real(6, 5, dtype=dtype)
    w, b = real(5, dtype=fe.float32), real(5, dtype=fe.float32)
    mean, var = fe.zeros(5), fe.ones(5)
    for found in (
        F.layer_norm(x, (5,), w, b),
        F.rms_norm(x, (5,), w),
        F.batch_norm(x, mean, var, w, b, training=True),
        F.batch_norm(x, mean, var, w, b),
    ):
        assert found.dtype is dtype
        grads = fe.grad(found.sum(), [x, w])
        assert [each.dtype for each in grads] == [dtype, fe.float32]


def test_a_family_is_a_few_lines():
    class BatchNorm2d(nn.normalization._BatchNorm):
        _axes = (4,)

    layer = BatchNorm2d(2)
    assert layer(real(3, 2, 2, 2, dtype=fe.float32)).shape == (3, 2, 2, 2)
    with pytest.raises(fe.errors.ShapeError, match="BatchNorm2d: expected an input of 4 axes"):
        layer(fe.ones(3, 2))
