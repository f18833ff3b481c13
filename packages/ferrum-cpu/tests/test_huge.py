"""Sizes that no memory holds, on the way past the rules: C refuses, or has nothing to do."""

import pytest

import ferrum as fe
import ferrum_nn.functional as F
from ferrum.errors import ShapeError

LONG = 2**25


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.adaptive_max_pool2d(x, 2**31),
        lambda x: F.adaptive_avg_pool2d(x, (2**31, 2**50)),
        lambda x: F.conv2d(x, fe.ones(0, 3, 3, 3), padding=2**40),
        lambda x: F.conv_transpose2d(x, fe.ones(3, 0, 3, 3), stride=2**40),
        lambda x: fe.ones(2**33, 0) @ fe.ones(0, 2**33),
        lambda x: fe.ones(0, 2**33, 0) @ fe.ones(0, 0, 2**33),
        lambda x: x.reshape(0, 2**62, 2**62),
        lambda x: fe.ones(0, 2**59, 1) + fe.ones(1, 1, 16).expand(1, 2**59, 16),
    ],
)
def test_more_than_can_be_addressed_is_refused(call):
    with pytest.raises(ShapeError, match="too large to address"):
        call(fe.ones(0, 3, 8, 8))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.adaptive_max_pool2d(x, LONG),
        lambda x: F.adaptive_avg_pool2d(x, LONG),
        lambda x: F.interpolate(x, (LONG, 2**20), mode="bicubic"),
        lambda x: F.conv2d(x, fe.ones(2, 3, 3, 3), padding=2**24),
    ],
)
def test_results_without_elements_may_have_any_axes(call):
    x = fe.ones(0, 3, 8, 8, requires_grad=True)
    y = call(x)
    assert y.numel() == 0 and y.shape[2] >= LONG
    y.sum().backward()
    assert x.grad.shape == x.shape


def test_rows_of_any_length_may_be_picked_none_of():
    table = fe.ones(0, 2**40)
    assert table[fe.zeros(0, dtype=fe.int64)].shape == (0, 2**40)
