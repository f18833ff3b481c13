"""Sizes that no memory holds: refused at once, or of no weight where nothing has elements."""

import pytest

import ferrum as fe
import ferrum_nn.functional as F
from ferrum.errors import ShapeError

LONG = 2**25  # a list of so many windows would take gigabytes

REFUSED = {
    "adaptive_max_pool2d": lambda: F.adaptive_max_pool2d(fe.ones(0, 3, 8, 8), 2**31),
    "adaptive_max_pool2d with elements": lambda: F.adaptive_max_pool2d(fe.ones(2, 3, 8, 8), 2**31),
    "adaptive_avg_pool2d": lambda: F.adaptive_avg_pool2d(fe.ones(0, 3, 8, 8), (2**31, 2**50)),
    "interpolate": lambda: F.interpolate(fe.ones(0, 3, 8, 8), (2**31, 2**31), mode="area"),
    "conv2d": lambda: F.conv2d(fe.ones(1, 3, 8, 8), fe.ones(0, 3, 3, 3), padding=2**40),
    "conv2d with elements": lambda: F.conv2d(
        fe.ones(1, 3, 8, 8), fe.ones(2, 3, 3, 3), padding=2**30
    ),
    "conv_transpose2d": lambda: F.conv_transpose2d(
        fe.ones(1, 3, 8, 8), fe.ones(3, 0, 3, 3), stride=2**40
    ),
    "unfold": lambda: F.unfold(fe.ones(0, 3, 8, 8), 3, padding=2**33),
    "matmul": lambda: fe.ones(2**33, 0) @ fe.ones(0, 2**33),
    "matmul of none": lambda: fe.ones(0, 2**33, 0) @ fe.ones(0, 0, 2**33),
    "reshape": lambda: fe.zeros(0).reshape(0, 2**62, 2**62),
}
NOTHING = {
    "adaptive_max_pool2d": (lambda x: F.adaptive_max_pool2d(x, LONG), (0, 3, LONG, LONG)),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, LONG), (0, 3, LONG, LONG)),
    "interpolate": (
        lambda x: F.interpolate(x, (LONG, 2**20), mode="bilinear"),
        (0, 3, LONG, 2**20),
    ),
    "conv2d": (lambda x: F.conv2d(x, fe.ones(2, 3, 3, 3), padding=2**24), None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_more_than_can_be_addressed_is_refused_at_once(name):
    with pytest.raises(ShapeError, match="too large to address"):
        REFUSED[name]()


@pytest.mark.parametrize("name", NOTHING)
def test_results_without_elements_may_have_any_axes(name):
    function, shape = NOTHING[name]
    x = fe.ones(0, 3, 8, 8, requires_grad=True)
    y = function(x)
    assert y.numel() == 0 and shape in (None, y.shape)
    y.sum().backward()
    assert x.grad.shape == x.shape


def test_windows_as_wide_as_their_padding():
    x = fe.ones(1, 3, 8, 8)
    y = F.avg_pool2d(x, 2**40, padding=2**39, stride=2**39, count_include_pad=False)
    assert y.tolist() == [[[[1.0]]] * 3]
