"""Resizing and sampling in C: against the fallback, at sizes that are cut into several units."""

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn.functional as F
from ferrum_cpu.kernels import resizing, sampling
from ferrum_nn.ops.resizing import Axis
from ferrum_nn.ops.sampling import How

RNG = np.random.default_rng(5)
CALLS = [
    {"size": (300, 333), "mode": "bilinear"},
    {"size": (300, 333)},
    {"size": (40, 61), "mode": "bicubic", "antialias": True},
    {"size": (17, 400), "mode": "bicubic"},
    {"size": (400, 9), "mode": "bilinear", "antialias": True},
]


def both(call, *arrays):
    """Return results and gradients on `cpu` and on `reference`."""
    found = []
    for device in ("cpu", "reference"):
        leaves = [fe.tensor(each, device=device, requires_grad=True) for each in arrays]
        out = call(*leaves)
        seed = fe.tensor(np.cos(np.arange(out.numel())).reshape(out.shape).astype(arrays[0].dtype))
        found.append([out, *fe.grad(out, leaves, seed.to(device))])
    return [[each.detach().numpy() for each in one] for one in found]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("given", CALLS)
def test_resizing_of_large_planes(given, dtype, each_isa):
    x = RNG.standard_normal((2, 2, 150, 210)).astype(dtype)
    for ours, theirs in zip(*both(lambda a: F.interpolate(a, **given), x), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 if dtype == "f4" else 1e-12)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_sampling_of_large_grids(mode, padding, each_isa):
    x, grid = RNG.standard_normal((2, 11, 20, 30)), RNG.uniform(-1.5, 1.5, (2, 19, 31, 2))
    found = both(lambda a, b: F.grid_sample(a, b, mode, padding, False), x, grid)
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_bits_do_not_depend_on_threads(threads):
    x = RNG.standard_normal((3, 5, 60, 70)).astype("f4")
    grid = RNG.uniform(-1.2, 1.2, (3, 50, 60, 2)).astype("f4")
    found = set()
    for count in (1, 2, 5):
        threads(count)
        leaf, places = (fe.tensor(each, requires_grad=True) for each in (x, grid))
        small = F.interpolate(leaf, (31, 90), mode="bicubic")
        out = F.grid_sample(small, places, align_corners=False)
        out.square().sum().backward()
        found.add(
            b"".join(each.numpy().tobytes() for each in (out.detach(), leaf.grad, places.grad))
        )
    assert len(found) == 1


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_entries_outside_of_the_image_are_not_read(value, each_isa):
    """What lies outside is none, not 0 times an entry, which would be NaN."""
    x = np.full((1, 1, 3, 3), value, "f4")
    far = fe.tensor(np.full((1, 4, 5, 2), 3.0, "f4"))
    assert np.array_equal(F.grid_sample(fe.tensor(x), far).numpy(), np.zeros((1, 1, 4, 5)))
    plain = fe.zeros(1, 1, 40, 40)
    plain[0, 0, 0, 0] = value
    out = F.interpolate(plain, (20, 17), mode="bilinear", antialias=True).numpy()
    assert np.isfinite(out[0, 0, 3:, 3:]).all()


def test_other_calls_are_declined():
    mixed = (
        Axis(4, 8, "nearest", 0.5, False, False),
        Axis(4, 8, "linear", 0.5, False, False),
    )
    assert resizing.resize(np.ones((4, 4), "f4"), axes=mixed) is NotImplemented
    four = (Axis(2, 4, "linear", 0.5, False, False),) * 4
    assert resizing.resize(np.ones((2, 2, 2, 2), "f4"), axes=four) is NotImplemented
    how = How("bilinear", "zeros", False)
    volume = np.ones((1, 1, 2, 2, 2), "f4"), np.zeros((1, 1, 1, 1, 3), "f4")
    assert sampling.grid_sample(*volume, how=how) is NotImplemented
