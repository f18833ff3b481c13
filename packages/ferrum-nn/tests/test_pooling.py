"""Pooling: what it computes, its gradients, and the layers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ferrum as fe
import ferrum_nn as nn

F = nn.functional
SIZES = {1: (7,), 2: (3, 4), 3: (2, 3, 2)}
AXES = pytest.mark.parametrize("axes", [1, 2, 3])


def drawn(*shape):
    """Return distinct numbers far from each other."""
    count = int(np.prod(shape))
    values = np.random.default_rng(count).permutation(count) / 7 - count / 14 + 0.03
    return fe.tensor(values.reshape(shape), requires_grad=True)


def windows_by_hand(x, kernel, stride, padding, dilation, ceil):
    """Return for each window of a vector what it has, in order."""
    n, reach = len(x), dilation * (kernel - 1) + 1
    room = n + 2 * padding - reach
    count = -(-room // stride) + 1 if ceil else room // stride + 1
    starts = [i * stride - padding for i in range(count)]
    return [
        [start + k * dilation for k in range(kernel) if 0 <= start + k * dilation < n]
        for start in starts
        if start < n
    ]


@settings(max_examples=60, deadline=None)
@given(
    x=st.lists(st.integers(-3, 3), min_size=6, max_size=14),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 5),
    more=st.integers(0, 2),
    ceil=st.booleans(),
)
def test_vectors(x, kernel, stride, more, ceil):
    padding = min(more, kernel // 2)
    found = windows_by_hand(x, kernel, stride, padding, 1, ceil)
    vector = fe.tensor([[float(each) for each in x]], dtype=fe.float64)
    out, index = F.max_pool1d(vector, kernel, stride, padding, 1, ceil, return_indices=True)
    assert out.tolist() == [[max(x[i] for i in each) for each in found]]
    assert index.tolist() == [[max(each, key=lambda i: (x[i], -i)) for each in found]]
    mean = F.avg_pool1d(vector, kernel, stride, padding, ceil, count_include_pad=False)
    want = [[sum(x[i] for i in each) / len(each) for each in found]]
    np.testing.assert_allclose(mean.numpy(), want, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 12), m=st.integers(1, 14))
def test_adaptive_windows(n, m):
    x = fe.arange(n, dtype=fe.float64).unsqueeze(0)
    bounds = [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
    want = [[(a + b - 1) / 2 for a, b in bounds]]
    np.testing.assert_allclose(F.adaptive_avg_pool1d(x, m).numpy(), want, atol=1e-12)
    assert F.adaptive_max_pool1d(x, m).tolist() == [[b - 1.0 for _, b in bounds]]


@pytest.mark.parametrize(
    "call",
    [
        lambda x, a: getattr(F, f"max_pool{a}d")(x, 2, 1, 1),
        lambda x, a: getattr(F, f"max_pool{a}d")(x, 2, ceil_mode=True),
        lambda x, a: getattr(F, f"avg_pool{a}d")(x, 2, 1, 1),
        lambda x, a: getattr(F, f"avg_pool{a}d")(x, 2, 2, 1, True, False),
        lambda x, a: getattr(F, f"adaptive_avg_pool{a}d")(x, 2),
        lambda x, a: getattr(F, f"adaptive_max_pool{a}d")(x, 2),
        lambda x, a: getattr(F, f"lp_pool{a}d")(x.abs(), 2.5, 2),
        lambda x, a: getattr(F, f"lp_pool{a}d")(x.abs(), float("inf"), 2),
    ],
    ids=["max", "max-ceil", "avg", "avg-ceil", "adaptive-avg", "adaptive-max", "lp", "lp-inf"],
)
@AXES
def test_gradients(call, axes):
    x = drawn(1, 1, *SIZES[axes])
    assert fe.gradcheck(lambda z: call(z, axes), [x])
    assert fe.gradgradcheck(lambda z: call(z, axes), [x])


@AXES
def test_gradients_of_the_way_back(axes):
    x = drawn(2, *SIZES[axes]).detach()
    small, index = getattr(F, f"max_pool{axes}d")(x, 2, return_indices=True)
    small = fe.tensor(small.numpy(), requires_grad=True)
    size = x.shape[1:]
    call = getattr(F, f"max_unpool{axes}d")
    assert fe.gradcheck(lambda z: call(z, index, 2, output_size=size), [small])
    assert fe.gradgradcheck(lambda z: call(z, index, 2, output_size=size), [small])


@pytest.mark.parametrize("axes", [2, 3])
def test_gradients_of_windows_at_random(axes):
    x, u = drawn(1, 2, *(3, 4, 3)[:axes]), fe.full((1, 2, axes), 0.4, dtype=fe.float64)
    call = getattr(F, f"fractional_max_pool{axes}d")
    assert fe.gradcheck(lambda z: call(z, 2, 2, _random_samples=u), [x])
    assert fe.gradgradcheck(lambda z: call(z, 2, 2, _random_samples=u), [x])


@AXES
def test_back_and_forth(axes):
    x = drawn(2, 3, *(6,) * axes).detach()
    small, index = getattr(nn, f"MaxPool{axes}d")(2, return_indices=True)(x)
    wide = getattr(nn, f"MaxUnpool{axes}d")(2)(small, index)
    assert wide.shape == x.shape
    assert fe.equal(wide[wide != 0], x[wide != 0])
    again, where = getattr(F, f"max_pool{axes}d_with_indices")(wide.where(wide != 0, x.min()), 2)
    assert fe.equal(again, small)
    assert fe.equal(where, index)


def test_the_last_of_values_for_one_place_stays():
    x = fe.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    out = F.max_unpool1d(x, fe.tensor([[1, 1, 0]]), 1)
    assert out.tolist() == [[3.0, 2.0, 0.0]]
    out.sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0, 1.0]]  # as PyTorch has it


def test_the_gradient_goes_to_the_first_of_equals():
    x = fe.ones(1, 1, 4, 4, requires_grad=True)
    F.max_pool2d(x, 2, 1).sum().backward()
    want = np.zeros((4, 4))
    want[:3, :3] = 1
    assert x.grad.tolist() == [[want.tolist()]]


def test_windows_that_overlap_add_their_gradients():
    x = fe.tensor([[0.0, 5.0, 0.0, 1.0]], requires_grad=True)
    F.max_pool1d(x, 3, 1).sum().backward()
    assert x.grad.tolist() == [[0.0, 2.0, 0.0, 0.0]]


def test_random_windows_follow_the_generator():
    x = fe.rand(2, 3, 20, 20)
    layer = nn.FractionalMaxPool2d(2, output_ratio=0.6, return_indices=True)
    found = []
    for seed in (1, 1, 2):
        fe.manual_seed(seed)
        found.append(layer(x))
    assert fe.equal(found[0][0], found[1][0])
    assert fe.equal(found[0][1], found[1][1])
    assert not fe.equal(found[0][1], found[2][1])
    assert found[0][0].shape == (2, 3, 12, 12)
    flat = x.reshape(2, 3, 400).gather(-1, found[0][1].reshape(2, 3, 144))
    assert fe.equal(flat.reshape(2, 3, 12, 12), found[0][0])


@pytest.mark.parametrize("ours", [True, False])
def test_random_windows_reach_the_end(ours):
    x = fe.arange(30.0).reshape(1, 5, 6)
    u = fe.full((1, 1, 2), 0.99) if ours else None
    assert F.fractional_max_pool2d(x, 2, 3, _random_samples=u)[0, -1, -1].item() == 29.0


def test_an_example_is_a_batch_of_one():
    x = fe.rand(3, 8, 8)
    for layer in (
        nn.MaxPool2d(3, 2, 1),
        nn.AvgPool2d(2),
        nn.LPPool2d(2, 2),
        nn.AdaptiveAvgPool2d((3, None)),
        nn.AdaptiveMaxPool2d(5),
    ):
        assert fe.equal(layer(x), layer(x.unsqueeze(0))[0])


def test_layers_keep_what_they_were_given():
    layer = nn.MaxPool2d(2, ceil_mode=True)
    assert (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == (2, 2, 0, 1)
    assert layer.ceil_mode
    assert not layer.return_indices
    assert nn.AvgPool1d(3).kernel_size == (3,)
    assert nn.LPPool2d(2, 3).stride is None
    assert nn.MaxUnpool2d(2).stride == (2, 2)
    assert nn.FractionalMaxPool2d(2, output_ratio=0.5).output_ratio == (0.5, 0.5)
    samples = fe.rand(1, 2, 2)
    assert [*nn.FractionalMaxPool2d(2, 3, _random_samples=samples).state_dict()] == [
        "_random_samples"
    ]


def test_indices_lie_in_the_plane_and_layouts_do_not_matter():
    x = fe.rand(2, 3, 7, 9)
    turned = fe.tensor(np.asfortranarray(x.numpy()))
    for a, b in zip(
        F.max_pool2d(x, 3, 2, 1, return_indices=True),
        F.max_pool2d(turned.transpose(0, 1).transpose(0, 1), 3, 2, 1, return_indices=True),
        strict=True,
    ):
        assert fe.equal(a, b)
    index = F.adaptive_max_pool2d(x, 2, return_indices=True)[1]
    assert index.dtype is fe.int64
    assert 0 <= index.min().item() <= index.max().item() < 63


def test_no_positions():
    x = fe.rand(1, 2, 4, 4, requires_grad=True)
    for call in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
        out = call(x, (0, 3))
        assert out.shape == (1, 2, 0, 3)
        out.sum().backward()
        assert x.grad.abs().sum().item() == 0


@pytest.mark.parametrize("dtype", [fe.float16, fe.bfloat16])
def test_narrow_sums_are_wide(dtype):
    x = fe.ones(1, 1, 100, 100, dtype=dtype)
    assert F.adaptive_avg_pool2d(x, 1).item() == 1.0
    assert F.avg_pool2d(x, 100).item() == 1.0
