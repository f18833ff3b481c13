"""Sampling on grids, patches and shuffling beside PyTorch: values, gradients, errors."""

import numpy as np
import pytest
from beside_torch import both_refuse, close, pair, same_gradients, torch

import ferrum as fe
import ferrum_nn as nn
import ferrum_nn.functional as F

T = torch.nn.functional
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid:UserWarning"),
    pytest.mark.filterwarnings("ignore:Default (grid_sample|affine_grid):UserWarning"),
]
rng = np.random.default_rng(11)
MODES, PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")


def drawn(*shape):
    return rng.standard_normal(shape)


def same_first(ours, theirs, our_leaves, their_leaves):
    """Compare gradients of the first order: PyTorch has no second one of grid_sample."""
    seed = np.cos(np.arange(ours.numel())).reshape(ours.shape)
    one = fe.grad((ours * fe.tensor(seed)).sum(), our_leaves)
    two = torch.autograd.grad((theirs * torch.tensor(seed)).sum(), their_leaves)
    for a, b in zip(one, two, strict=True):
        close(a, b)


def same_samples(x, grid, *how):
    (x, y), (grid, other) = pair(x), pair(grid)
    one, two = F.grid_sample(x, grid, *how), T.grid_sample(y, other, *how)
    close(one, two)
    same_first(one, two, [x, grid], [y, other])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("align", [None, False, True])
@pytest.mark.parametrize("size", [(5, 4), (1, 3)])
@pytest.mark.parametrize("reach", [0.9, 3.0])
def test_grid_sample(mode, padding, align, size, reach):
    x, grid = drawn(2, 3, *size), rng.uniform(-reach, reach, (2, 3, 4, 2))
    same_samples(x, grid, mode, padding, align)


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("size", [(3, 4, 5), (2, 1, 3)])
def test_grid_sample_of_volumes(mode, padding, align, size):
    x, grid = drawn(2, 2, *size), rng.uniform(-1.7, 1.7, (2, 2, 3, 2, 3))
    same_samples(x, grid, mode, padding, align)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("align", [False, True])
def test_places_on_edges_and_centres(mode, padding, align):
    """Where weights have kinks: -1, 1 and the centres of entries."""
    line = np.array([-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, -1.25, 1.5, -3.0])
    grid = np.stack(np.meshgrid(line, line), -1)[None]
    same_samples(drawn(1, 2, 4, 5), grid, mode, padding, align)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("align", [False, True])
def test_places_that_are_no_numbers(mode, padding, align):
    nan, inf = np.nan, np.inf
    places = [[nan, -1.0], [nan, 0.2], [0.2, nan], [inf, 0.0], [-inf, 0.3], [3, -7]]
    x, y = pair(drawn(1, 2, 4, 4), requires_grad=False)
    grid, other = pair(np.array(places)[None, None], requires_grad=False)
    with np.errstate(invalid="ignore"):
        one, two = (
            f.grid_sample(*each, mode, padding, align) for f, *each in ((F, x, grid), (T, y, other))
        )
    close(one, two)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_grid_sample_of_narrow_dtypes(mode, dtype):
    if dtype == "bfloat16" and mode == "nearest":
        pytest.skip("a rounded place may be another one")
    x, grid = drawn(2, 3, 6, 5), rng.uniform(-1.2, 1.2, (2, 4, 4, 2))
    ours = [fe.tensor(each, dtype=getattr(fe, dtype)) for each in (x, grid)]
    theirs = [torch.tensor(each.float().numpy(), dtype=torch.float64) for each in ours]
    got, want = F.grid_sample(*ours, mode), T.grid_sample(*theirs, mode).numpy()
    assert got.dtype.name == dtype
    eps = {"float32": 2e-6, "bfloat16": 1e-2}[dtype] * np.abs(want).max()
    np.testing.assert_allclose(got.float().numpy(), want, rtol=0, atol=eps)


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 0, 3, 4)])
def test_grid_sample_of_nothing(shape):
    x, y = pair(drawn(*shape))
    grid, other = pair(np.zeros((shape[0], 2, 3, 2)))
    close(F.grid_sample(x, grid), T.grid_sample(y, other))


@pytest.mark.parametrize(
    ("mode", "padding", "align"),
    [
        ("bilinear", "zeros", False),
        ("bilinear", "border", True),
        ("bilinear", "reflection", False),
        ("bicubic", "border", True),
    ],
)
def test_second_order_of_grid_sample(mode, padding, align):
    x = fe.tensor(drawn(1, 1, 2, 3), requires_grad=True)
    grid = fe.tensor(rng.uniform(-1.2, 1.2, (1, 1, 1, 2)), requires_grad=True)
    assert fe.gradgradcheck(lambda a, b: F.grid_sample(a, b, mode, padding, align), (x, grid))


@pytest.mark.parametrize("size", [(2, 1, 3, 4), (2, 3, 1, 5), (2, 1, 1, 1), (2, 1, 2, 3, 4)])
@pytest.mark.parametrize("align", [None, False, True])
def test_affine_grid(size, align):
    axes = len(size) - 2
    x, y = pair(drawn(2, axes, axes + 1))
    one, two = F.affine_grid(x, size, align), T.affine_grid(y, list(size), align)
    close(one, two)
    same_gradients(one.square(), two.square(), [x], [y])


# ---- patches


PATCHES = [
    {"kernel_size": 2},
    {"kernel_size": (2, 3), "stride": 2},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": (1, 2), "dilation": (2, 3), "padding": (0, 2)},
    {"kernel_size": 2, "dilation": 2, "padding": 1, "stride": (1, 3)},
    {"kernel_size": 1, "stride": 3},
    {"kernel_size": (5, 6)},
]


@pytest.mark.parametrize("how", PATCHES)
@pytest.mark.parametrize("batch", [True, False])
def test_unfold_and_fold(how, batch):
    x, y = pair(drawn(*[2] * batch, 3, 5, 6))
    one, two = F.unfold(x, **how), T.unfold(y, **how)
    close(one, two)
    same_gradients(one.square(), two.square(), [x], [y])
    x, y = pair(drawn(*one.shape))
    one, two = F.fold(x, (5, 6), **how), T.fold(y, (5, 6), **how)
    close(one, two)
    same_gradients(one.square(), two.square(), [x], [y])
    ours, theirs = (lib.Fold((5, 6), **how) for lib in (nn, torch.nn))
    close(ours(x), theirs(y))
    assert repr(ours) == repr(theirs)
    ours, theirs = (lib.Unfold(**how) for lib in (nn, torch.nn))
    close(ours(one), theirs(two))
    assert repr(ours) == repr(theirs)


# ---- shuffling


@pytest.mark.parametrize(
    ("name", "layer", "shape", "number"),
    [
        ("pixel_shuffle", "PixelShuffle", (2, 8, 3, 2), 2),
        ("pixel_shuffle", "PixelShuffle", (9, 2, 3), 3),
        ("pixel_shuffle", "PixelShuffle", (2, 1, 4, 1, 3), 2),
        ("pixel_shuffle", "PixelShuffle", (2, 3, 4, 5), 1),
        ("pixel_unshuffle", "PixelUnshuffle", (2, 2, 4, 6), 2),
        ("pixel_unshuffle", "PixelUnshuffle", (3, 3, 6), 3),
        ("pixel_unshuffle", "PixelUnshuffle", (2, 1, 3, 4, 2), 2),
        ("channel_shuffle", "ChannelShuffle", (2, 6, 3, 2), 2),
        ("channel_shuffle", "ChannelShuffle", (2, 6, 3), 3),
        ("channel_shuffle", "ChannelShuffle", (1, 4, 2, 1, 3), 4),
        ("channel_shuffle", "ChannelShuffle", (1, 4, 2, 2), 1),
    ],
)
def test_shuffling(name, layer, shape, number):
    x, y = pair(drawn(*shape))
    one, two = getattr(F, name)(x, number), getattr(T, name)(y, number)
    close(one, two)
    same_gradients(one.square(), two.square(), [x], [y])
    ours, theirs = (getattr(lib, layer)(number) for lib in (nn, torch.nn))
    close(ours(x), theirs(y))
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_shuffling_of_whole_numbers(dtype):
    array = np.arange(48).reshape(1, 4, 4, 3).astype(dtype)
    x, y = pair(array)
    close(F.pixel_shuffle(x, 2), T.pixel_shuffle(y, 2))
    close(F.channel_shuffle(x, 2), T.channel_shuffle(y, 2))
    close(F.native_channel_shuffle(x, 2), T.channel_shuffle(y, 2))


# ---- what both refuse


SAMPLES = [
    lambda f, t: f.grid_sample(t.rand(1, 2, 3, 3), t.rand(2, 2, 2, 2)),
    lambda f, t: f.grid_sample(t.rand(1, 2, 3, 3), t.rand(1, 2, 2, 3)),
    lambda f, t: f.grid_sample(t.rand(1, 2, 3, 3), t.rand(1, 2, 2)),
    lambda f, t: f.grid_sample(t.rand(1, 2, 3, 3), t.rand(1, 2, 2, 2, 2)),
    lambda f, t: f.grid_sample(t.rand(1, 2, 3), t.rand(1, 2, 1)),
    lambda f, t: f.grid_sample(t.rand(2, 3, 3), t.rand(2, 2, 2)),
    lambda f, t: f.grid_sample(t.rand(1, 1, 1, 1, 1, 1), t.rand(1, 1, 1, 1, 1, 4)),
    lambda f, t: f.grid_sample(t.rand(1, 2, 0, 3), t.rand(1, 2, 2, 2)),
    lambda f, t: f.grid_sample(t.rand(1, 2, 3, 0), t.rand(1, 2, 2, 2)),
    lambda f, t: f.grid_sample(t.rand(1, 2, 3, 3), t.rand(1, 2, 2, 2), "linear"),
    lambda f, t: f.grid_sample(t.rand(1, 2, 3, 3), t.rand(1, 2, 2, 2), None),
    lambda f, t: f.grid_sample(t.rand(1, 2, 3, 3), t.rand(1, 2, 2, 2), "nearest", "wrap"),
    lambda f, t: f.grid_sample(t.rand(1, 2, 3, 3), t.rand(1, 2, 2, 2), padding_mode=1),
    lambda f, t: f.grid_sample(t.rand(1, 2, 3, 3, 3), t.rand(1, 2, 2, 2, 3), "bicubic"),
    lambda f, t: f.grid_sample(t.rand(1, 2, 3, 3, 3), t.rand(1, 2, 2, 2, 2)),
    lambda f, t: f.grid_sample(t.rand(1, 2, 3, 3).double(), t.rand(1, 2, 2, 2)),
    lambda f, t: f.grid_sample(t.ones(1, 2, 3, 3, dtype=t.int64), t.rand(1, 2, 2, 2)),
    lambda f, t: f.grid_sample(t.rand(1, 2, 3, 3), [[[[0.0, 0.0]]]]),
    lambda f, t: f.affine_grid(t.rand(1, 2, 2), (1, 1, 2, 2)),
    lambda f, t: f.affine_grid(t.rand(2, 3), (1, 1, 2, 2)),
    lambda f, t: f.affine_grid(t.rand(1, 3, 4), (1, 1, 2, 2)),
    lambda f, t: f.affine_grid(t.rand(1, 2, 3), (1, 1, 2, 2, 2)),
    lambda f, t: f.affine_grid(t.rand(1, 2, 3), (1, 1, 2)),
    lambda f, t: f.affine_grid(t.rand(1, 2, 3), (2, 1, 2, 2)),
    lambda f, t: f.affine_grid(t.rand(1, 2, 3), (1, 1, 0, 2)),
    lambda f, t: f.affine_grid(t.rand(1, 2, 3), (1, 1, -1, 2)),
    lambda f, t: f.affine_grid(t.rand(1, 2, 3), (1, 1, 2.5, 2)),
    lambda f, t: f.affine_grid(t.ones(1, 2, 3, dtype=t.int64), (1, 1, 2, 2)),
    lambda f, t: f.affine_grid(t.rand(1, 2, 3), 4),
    lambda f, t: f.affine_grid(t.rand(1, 2, 3), "1122"),
]

PLACES = [
    lambda f, t: f.unfold(t.rand(1, 2, 4, 4), 5),
    lambda f, t: f.unfold(t.rand(1, 2, 4, 4), 3, dilation=2),
    lambda f, t: f.unfold(t.rand(1, 2, 4, 4), 0),
    lambda f, t: f.unfold(t.rand(1, 2, 4, 4), -1),
    lambda f, t: f.unfold(t.rand(1, 2, 4, 4), (1, 1, 1)),
    lambda f, t: f.unfold(t.rand(1, 2, 4, 4), 1.5),
    lambda f, t: f.unfold(t.rand(1, 2, 4, 4), 2, stride=0),
    lambda f, t: f.unfold(t.rand(1, 2, 4, 4), 2, dilation=0),
    lambda f, t: f.unfold(t.rand(1, 2, 4, 4), 2, padding=-1),
    lambda f, t: f.unfold(t.rand(4, 4), 2),
    lambda f, t: f.unfold(t.rand(1, 1, 2, 4, 4), 2),
    lambda f, t: f.unfold(t.rand(1, 0, 4, 4), 2),
    lambda f, t: f.unfold(t.rand(1, 2, 0, 4), 2, padding=1),
    lambda f, t: f.fold(t.rand(1, 8, 9), 5, 2),
    lambda f, t: f.fold(t.rand(1, 7, 9), 4, 2),
    lambda f, t: f.fold(t.rand(1, 8, 8), 4, 2),
    lambda f, t: f.fold(t.rand(1, 1, 8, 9), 4, 2),
    lambda f, t: f.fold(t.rand(9), 4, 2),
    lambda f, t: f.fold(t.rand(1, 8, 9), (4, 4, 4), 2),
    lambda f, t: f.fold(t.rand(1, 8, 9), 4, 2, stride=0),
    lambda f, t: f.fold(t.rand(1, 8, 9), 4, 2, dilation=0),
    lambda f, t: f.fold(t.rand(1, 8, 9), 4, 0),
    lambda f, t: f.fold(t.rand(1, 8, 9), 1, 2),
    lambda f, t: f.fold(t.rand(1, 0, 9), 4, 2),
    lambda f, t: f.pixel_shuffle(t.rand(1, 6, 2, 2), 2),
    lambda f, t: f.pixel_shuffle(t.rand(4, 2), 2),
    lambda f, t: f.pixel_shuffle(t.rand(1, 4, 2, 2), 0),
    lambda f, t: f.pixel_shuffle(t.rand(1, 4, 2, 2), -1),
    lambda f, t: f.pixel_shuffle(t.rand(1, 4, 2, 2), 1.5),
    lambda f, t: f.pixel_unshuffle(t.rand(1, 1, 3, 2), 2),
    lambda f, t: f.pixel_unshuffle(t.rand(1, 1, 2, 3), 2),
    lambda f, t: f.pixel_unshuffle(t.rand(4, 2), 2),
    lambda f, t: f.pixel_unshuffle(t.rand(1, 1, 2, 2), 0),
    lambda f, t: f.channel_shuffle(t.rand(1, 4, 2, 2), 3),
    lambda f, t: f.channel_shuffle(t.rand(1, 4, 2, 2), 0),
    lambda f, t: f.channel_shuffle(t.rand(1, 4, 2, 2), -2),
    lambda f, t: f.channel_shuffle(t.rand(4, 4), 2),
    lambda f, t: f.channel_shuffle(t.rand(1, 4, 2, 2), "2"),
]


@pytest.mark.parametrize("call", SAMPLES + PLACES)
def test_calls_that_both_refuse(call):
    text = str(both_refuse(lambda: call(F, fe), lambda: call(T, torch)))
    assert "expected" in text or "does not fit" in text
