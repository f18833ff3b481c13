"""Resizing beside PyTorch: values, gradients of two orders, errors."""

import itertools

import numpy as np
import pytest
from beside_torch import both_refuse, close, pair, same_gradients, torch

import ferrum as fe
import ferrum_nn as nn
import ferrum_nn.functional as F

T = torch.nn.functional
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.*upsample.*deprecated"),
]

rng = np.random.default_rng(7)


def drawn(*shape):
    return rng.standard_normal(shape)


def same(shape, *args, **kwargs):
    """Compare interpolate on the last call's arguments, and the gradients of its square."""
    x, y = pair(drawn(*shape))
    one, two = F.interpolate(x, *args, **kwargs), T.interpolate(y, *args, **kwargs)
    close(one, two)
    same_gradients(one.square(), two.square(), [x], [y])


MODES = {
    1: ["nearest", "nearest-exact", "linear", "area"],
    2: ["nearest", "nearest-exact", "bilinear", "bicubic", "area"],
    3: ["nearest", "nearest-exact", "trilinear", "area"],
}
SHAPES = {1: (2, 1, 5), 2: (1, 2, 5, 4), 3: (1, 1, 3, 4, 3)}
ALIGNED = ("linear", "bilinear", "bicubic", "trilinear")


@pytest.mark.parametrize(("axes", "mode"), [(n, mode) for n in MODES for mode in MODES[n]])
@pytest.mark.parametrize("size", [1, 2, 5, 7])
@pytest.mark.parametrize("align", [None, False, True])
def test_sizes(axes, mode, size, align):
    if align is not None and mode not in ALIGNED:
        align = None
    same(SHAPES[axes], size=size, mode=mode, align_corners=align)


@pytest.mark.parametrize(("axes", "mode"), [(n, mode) for n in MODES for mode in MODES[n]])
@pytest.mark.parametrize("factor", [0.45, 1.0, 1.3, 2])
@pytest.mark.parametrize("recompute", [None, True])
def test_factors(axes, mode, factor, recompute):
    if mode == "nearest" and factor == 1.3 and axes == 3 and not recompute:
        pytest.skip("PyTorch's gradient is not that of its values where a length stays")
    same(SHAPES[axes], scale_factor=factor, mode=mode, recompute_scale_factor=recompute)


@pytest.mark.parametrize("mode", ["linear", "bilinear", "bicubic", "trilinear"])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("factor", [0.6, 1.1, 2.3])
def test_factors_with_corners(mode, recompute, factor):
    axes = {"linear": 1, "trilinear": 3}.get(mode, 2)
    given = {"mode": mode, "recompute_scale_factor": recompute, "align_corners": True}
    same(SHAPES[axes], scale_factor=factor, **given)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 7), (9, 5), (3, 12), (20, 2)])
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("shape", [(2, 1, 9, 7), (1, 1, 1, 11)])
def test_antialias(mode, size, align, shape):
    if mode == "lanczos" and align:
        align = None
    same(shape, size=size, mode=mode, align_corners=align, antialias=True)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("factor", [0.3, (0.51, 1.7), (2.5, 0.9), 1.0])
@pytest.mark.parametrize("recompute", [False, True])
def test_antialias_with_factors(mode, factor, recompute):
    given = {"mode": mode, "recompute_scale_factor": recompute, "antialias": True}
    same((1, 2, 8, 7), scale_factor=factor, **given)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("factor", [1.3, (1.2, 0.9), (1.0, 1.1)])
def test_antialias_where_lengths_stay(mode, factor):
    """PyTorch's gradient there is not that of its values: differences are what ours is held to."""
    array, how = drawn(1, 1, 3, 4), {"scale_factor": factor, "mode": mode, "antialias": True}
    close(F.interpolate(fe.tensor(array), **how), T.interpolate(torch.tensor(array), **how))
    x = fe.tensor(array, requires_grad=True)
    assert fe.gradcheck(lambda x: F.interpolate(x, **how), x)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialias_of_images_one_wide(mode):
    """PyTorch's is wrong where height grows in an image that is one wide by then, not before."""
    array, how = drawn(1, 2, 5, 8), {"mode": mode, "antialias": True}
    higher = T.interpolate(torch.tensor(array), size=(6, 8), **how)
    expected = T.interpolate(higher, size=(6, 1), **how)
    close(F.interpolate(fe.tensor(array), size=(6, 1), **how), expected)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 2, 1, 4), (2, 1, 3, 1), (0, 2, 3, 4)])
def test_axes_of_one_entry(mode, shape):
    if mode == "area" and shape[0] == 0:
        pytest.skip("PyTorch refuses it")
    same(shape, size=(3, 2), mode=mode)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_which_entry_is_nearest(mode, dtype):
    """Every length to many others: where a product rounds decides."""
    wrong = []
    for length in range(1, 40):
        array = np.arange(length, dtype=dtype).reshape(1, 1, 1, length)
        x, y = fe.tensor(array), torch.tensor(array)
        for size in range(1, 40):
            one, two = (f.interpolate(a, size=(1, size), mode=mode) for f, a in ((F, x), (T, y)))
            if not np.array_equal(one.numpy(), two.numpy()):
                wrong.append((length, size))
    assert not wrong


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("mode", "antialias"),
    [("nearest", False), ("bilinear", False), ("bicubic", False), ("bilinear", True)],
)
@pytest.mark.parametrize("size", [(5, 20), (17, 3)])
def test_narrow_dtypes(dtype, mode, antialias, size):
    if dtype == "bfloat16" and antialias:
        pytest.skip("PyTorch has none")
    array = drawn(2, 3, 9, 8)
    x = fe.tensor(array, dtype=getattr(fe, dtype), requires_grad=True)
    y = torch.tensor(array, dtype=getattr(torch, dtype), requires_grad=True)
    one, two = (f.interpolate(a, size, mode=mode, antialias=antialias) for f, a in ((F, x), (T, y)))
    one.float().square().sum().backward()
    two.float().square().sum().backward()
    eps = {"float32": 2e-6, "bfloat16": 4e-2}[dtype]
    for a, b in [(one, two), (x.grad, y.grad)]:
        assert a.dtype.name == dtype
        want = b.detach().float().numpy()
        atol = eps * np.abs(want).max()
        np.testing.assert_allclose(a.detach().float().numpy(), want, rtol=0, atol=atol)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_bytes_are_picked(mode):
    array = np.arange(40, dtype=np.uint8).reshape(1, 2, 4, 5)
    x, y = fe.tensor(array), torch.tensor(array)
    close(F.interpolate(x, (3, 7), mode=mode), T.interpolate(y, (3, 7), mode=mode))


def test_what_is_not_a_number_stays_where_it_is():
    array = drawn(1, 1, 6, 6)
    array[0, 0, 2, 3], array[0, 0, 5, 0] = np.nan, np.inf
    for mode, size in itertools.product(["nearest", "bilinear"], [(3, 3), (4, 9), (12, 12)]):
        x, y = pair(array)
        close(F.interpolate(x, size, mode=mode), T.interpolate(y, size, mode=mode))


def test_older_names():
    x, y = pair(drawn(1, 2, 3, 4))
    for f, t in ((F, T),):
        close(f.upsample(x, scale_factor=2), t.upsample(y, scale_factor=2))
        close(f.upsample(x, (5, 6), mode="bicubic"), t.upsample(y, (5, 6), mode="bicubic"))
        close(f.upsample_nearest(x, 5), t.upsample_nearest(y, 5))
        close(f.upsample_bilinear(x, None, 2), t.upsample_bilinear(y, None, 2))


LAYERS = [
    lambda lib: lib.Upsample(5),
    lambda lib: lib.Upsample((5, 2), mode="bilinear"),
    lambda lib: lib.Upsample(scale_factor=2, mode="bicubic", align_corners=True),
    lambda lib: lib.Upsample(scale_factor=(2, 1.5)),
    lambda lib: lib.Upsample(scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
    lambda lib: lib.Upsample(scale_factor=0.5, mode="area"),
    lambda lib: lib.UpsamplingNearest2d(scale_factor=2),
    lambda lib: lib.UpsamplingNearest2d((2, 9)),
    lambda lib: lib.UpsamplingBilinear2d(size=7),
    lambda lib: lib.UpsamplingBilinear2d(scale_factor=(2, 3)),
]


@pytest.mark.parametrize("make", LAYERS)
def test_layers(make):
    ours, theirs = make(nn), make(torch.nn)
    x, y = pair(drawn(1, 2, 4, 5))
    one, two = ours(x), theirs(y)
    close(one, two)
    same_gradients(one, two, [x], [y])
    assert repr(ours) == repr(theirs)
    assert not ours.state_dict()


REFUSED = [
    lambda f, t: f.interpolate(t.rand(1, 2, 4)),
    lambda f, t: f.interpolate(t.rand(1, 2, 4), 2, 2.0),
    lambda f, t: f.interpolate(t.rand(1, 2, 4), (2, 2)),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), (2,)),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), (2, 2, 2)),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), (2, 2.5)),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), 0),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), -1),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), "2"),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), scale_factor="2"),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), scale_factor=(2,)),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), scale_factor=(2.0, "2")),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), scale_factor=0.0),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), scale_factor=-1.0),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), scale_factor=0.1),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), 2, recompute_scale_factor=True),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), 2, mode="linear"),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), 2, mode="trilinear"),
    lambda f, t: f.interpolate(t.rand(1, 2, 4), 2, mode="bilinear"),
    lambda f, t: f.interpolate(t.rand(1, 2, 4), 2, mode="bicubic"),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4, 4), 2, mode="bicubic"),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4, 4), 2, mode="linear"),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), 2, mode="cubic"),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), 2, mode=None),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), 2, mode="nearest", align_corners=True),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), 2, mode="area", align_corners=False),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), 2, mode="nearest", antialias=True),
    lambda f, t: f.interpolate(t.rand(1, 2, 4), 2, mode="linear", antialias=True),
    lambda f, t: f.interpolate(t.rand(1, 2, 4, 4), 2, mode="lanczos"),
    lambda f, t: f.interpolate(
        t.rand(1, 2, 4, 4), 2, mode="lanczos", antialias=True, align_corners=True
    ),
    lambda f, t: f.interpolate(t.rand(2, 4), 2),
    lambda f, t: f.interpolate(t.rand(1, 1, 1, 1, 1, 4), 2),
    lambda f, t: f.interpolate(t.rand(1, 2, 0, 4), 2),
    lambda f, t: f.interpolate(t.ones(1, 2, 4, 4, dtype=t.int64), 2, mode="bilinear"),
    lambda f, t: f.interpolate(t.ones(1, 2, 4, 4, dtype=t.int64), 2),
    lambda f, t: f.upsample(t.rand(1, 2, 4, 4)),
    lambda f, t: f.upsample_bilinear(t.rand(1, 2, 4), 2),
    lambda f, t: f.upsample_nearest(t.rand(1, 2, 4), (2, 2)),
]


@pytest.mark.parametrize("call", REFUSED)
def test_calls_that_both_refuse(call):
    error = both_refuse(lambda: call(F, fe), lambda: call(T, torch))
    assert str(error).split(":")[0] in ("interpolate", "sizes", "adaptive_avg_pool2d")
