"""Resizing, sampling on grids, patches and shuffling: what holds of them whatever the numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ferrum as fe
import ferrum_nn as nn
import ferrum_nn.functional as F
from ferrum_nn.ops.resizing import Axis, resize, resize_adjoint

lengths = st.integers(1, 12)
MODES = ["nearest", "nearest-exact", "bilinear", "bicubic", "area"]


def drawn(*shape):
    return fe.tensor(np.random.default_rng(3).standard_normal(shape))


@pytest.mark.parametrize("mode", [*MODES, "lanczos"])
@given(h=lengths, w=lengths, rows=lengths, columns=lengths)
def test_what_is_the_same_everywhere_stays(mode, h, w, rows, columns):
    x = fe.full((1, 1, h, w), 2.5, dtype=fe.float64)
    out = F.interpolate(x, (rows, columns), mode=mode, antialias=mode == "lanczos")
    np.testing.assert_allclose(out.numpy(), 2.5, rtol=1e-12)


@pytest.mark.parametrize("kind", ["nearest", "nearest-exact", "linear", "cubic", "lanczos"])
@given(inner=lengths, outer=lengths, scale=st.floats(0.2, 4))
def test_adjoints(kind, inner, outer, scale):
    """<resize(x), g> = <x, adjoint(g)>."""
    axes = (Axis(inner, outer, kind, scale, False, kind == "lanczos"),)
    x, g = drawn(inner), drawn(outer)
    one = (resize(x, axes=axes) * g).sum().item()
    two = (x * resize_adjoint(g, axes=axes)).sum().item()
    assert one == pytest.approx(two, rel=1e-9, abs=1e-9)


@given(h=lengths, w=lengths)
def test_corners_that_meet_stay(h, w):
    x = drawn(1, 1, h, w)
    out = F.interpolate(x, (2 * h + 1, 3 * w + 1), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(out[0, 0, 0, 0].item(), x[0, 0, 0, 0].item())
    if min(h, w) > 1:
        np.testing.assert_allclose(out[0, 0, -1, -1].item(), x[0, 0, -1, -1].item())


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("align", [True, False])
def test_the_grid_of_the_identity_gives_the_image(mode, align):
    x = drawn(2, 3, 4, 5)
    theta = fe.tensor([[[1.0, 0, 0], [0, 1, 0]]] * 2, dtype=fe.float64)
    grid = F.affine_grid(theta, (2, 3, 4, 5), align)
    out = F.grid_sample(x, grid, mode, align_corners=align)
    np.testing.assert_allclose(out.numpy(), x.numpy(), atol=1e-12)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_resizing_is_sampling_on_a_grid(mode):
    x = drawn(1, 2, 5, 4)
    theta = fe.tensor([[[1.0, 0, 0], [0, 1, 0]]], dtype=fe.float64)
    grid = F.affine_grid(theta, (1, 2, 7, 9), align_corners=False)
    out = F.grid_sample(x, grid, mode, "border", align_corners=False)
    want = F.interpolate(x, (7, 9), mode=mode)
    np.testing.assert_allclose(out.numpy(), want.numpy(), atol=1e-12)


@given(r=st.integers(1, 3), c=st.integers(1, 3), h=st.integers(0, 3), w=st.integers(0, 3))
def test_shuffling_there_and_back(r, c, h, w):
    x = fe.arange(c * r * r * h * w).reshape(c * r * r, h, w)
    there = F.pixel_shuffle(x, r)
    assert there.shape == (c, h * r, w * r)
    assert np.array_equal(F.pixel_unshuffle(there, r).numpy(), x.numpy())
    y = fe.arange(c * r * 2).reshape(1, c * r, 2)
    assert np.array_equal(F.channel_shuffle(F.channel_shuffle(y, r), c).numpy(), y.numpy())


@given(k=st.integers(1, 3), stride=st.integers(1, 3), around=st.integers(0, 2))
def test_patches_add_up_as_often_as_they_meet(k, stride, around):
    x = drawn(1, 2, 5, 4)
    how = {"kernel_size": k, "stride": stride, "padding": around}
    back = F.fold(F.unfold(x, **how), (5, 4), **how)
    often = F.fold(F.unfold(fe.ones_like(x), **how), (5, 4), **how)
    np.testing.assert_allclose(back.numpy(), (x * often).numpy(), atol=1e-12)


def test_patches_are_what_a_convolution_sees():
    x, weight = drawn(2, 3, 5, 6), drawn(4, 3, 2, 3)
    columns = F.unfold(x, (2, 3), dilation=(2, 1), padding=1, stride=2)
    want = F.conv2d(x, weight, stride=2, padding=1, dilation=(2, 1))
    out = (weight.reshape(4, -1) @ columns).reshape(want.shape)
    np.testing.assert_allclose(out.numpy(), want.numpy(), atol=1e-12)


CALLS = [
    lambda x: F.interpolate(x, (3, 5), mode="bicubic"),
    lambda x: F.interpolate(x, scale_factor=0.7, mode="bilinear", antialias=True),
    lambda x: F.interpolate(x, (3, 5), mode="area"),
    lambda x: F.interpolate(x, (3, 5)),
    lambda x: F.unfold(x, 2, padding=1),
    lambda x: F.fold(x.reshape(1, 4, 6), (3, 4), 2),
    lambda x: F.pixel_shuffle(x.reshape(1, 4, 2, 3), 2),
    lambda x: F.pixel_unshuffle(x.reshape(1, 1, 4, 6), 2),
    lambda x: F.channel_shuffle(x, 2),
    lambda x: F.affine_grid(x.reshape(4, 2, 3), (4, 1, 2, 3)),
]


@pytest.mark.parametrize("call", CALLS)
def test_gradients(call):
    x = drawn(1, 2, 3, 4).requires_grad_()
    assert fe.gradcheck(call, (x,))
    assert fe.gradgradcheck(lambda a: call(a).square(), (x,))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes_stay(dtype):
    x = drawn(1, 4, 3, 4).to(getattr(fe, dtype))
    for call in CALLS[:5]:
        assert call(x).dtype.name == dtype


def test_views_are_as_good_as_copies():
    x = drawn(2, 6, 8, 3)
    part = x.transpose(1, 3)[:, :, ::2]
    for mode in MODES:
        out = F.interpolate(part, (5, 4), mode=mode)
        assert np.array_equal(out.numpy(), F.interpolate(part.clone(), (5, 4), mode=mode).numpy())


def test_long_axes_keep_nothing():
    x = fe.arange(40000.0).reshape(1, 1, 40000)
    out = F.interpolate(x, 20000, mode="linear")
    np.testing.assert_allclose(out.numpy().ravel(), np.arange(20000) * 2 + 0.5, rtol=1e-6)
    x.requires_grad_()
    F.interpolate(x, 20000, mode="linear").sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 0.5)


def test_layers_in_a_row():
    model = nn.Sequential(
        nn.PixelShuffle(2), nn.Upsample(scale_factor=1.5, mode="bilinear"), nn.Unfold(3)
    )
    assert model(drawn(2, 8, 4, 4)).shape == (2, 2 * 9, 10 * 10)
