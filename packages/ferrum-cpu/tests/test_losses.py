"""Losses against float64, and against `ferrum.reference`."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ferrum as fe
from ferrum.errors import OutOfRangeError
from ferrum_cpu.kernels import losses as kernels
from ferrum_cpu.library import ISAS, isa, lib
from ferrum_nn.ops import losses

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = [np.dtype(name) for name in ("f2", "f4", "f8")] + [BFLOAT16]
TOLERANCE = {"float16": 4e-3, "bfloat16": 4e-2, "float32": 4e-6, "float64": 1e-13}
REDUCTIONS = ("none", "mean", "sum")


@pytest.fixture(params=ISAS)
def each_isa(request: pytest.FixtureRequest):
    if not lib.isa_choose(request.param.encode()):
        pytest.skip(f"this processor does not run {request.param}")
    yield request.param
    lib.isa_choose(isa.encode())


def close(got: np.ndarray, want: np.ndarray, dtype: np.dtype, scale: float = 1.0) -> None:
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    size = np.nanmax(abs(want), initial=scale)
    np.testing.assert_allclose(
        got, want, rtol=TOLERANCE[dtype.name], atol=TOLERANCE[dtype.name] * size
    )


def reduce(each: np.ndarray, total: float, reduction: str) -> np.ndarray:
    if reduction == "none":
        return each
    return each.sum() / total if reduction == "mean" else each.sum()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_mean_squared_error(each_isa, dtype, reduction):
    rng = np.random.default_rng(0)
    for shape in [(), (0, 2), (1,), (17,), (33, 31), (40, 1100)]:
        x, t = (np.asarray(rng.standard_normal(shape)).astype(dtype) for _ in range(2))
        layouts = [(x, t), (x.T, t.T)] + ([(x[::-1], t[::-1])] if shape else [])
        for a, b in layouts:
            wide = a.astype(np.float64), b.astype(np.float64)
            with np.errstate(all="ignore"):
                want = reduce((wide[0] - wide[1]) ** 2, a.size, reduction)
            got = kernels.mse_loss(a, b, reduction=reduction)
            assert got.dtype == dtype
            if dtype.name == "float16" and (abs(want) > 65504).any():
                assert got == np.inf
            elif not np.isnan(want).any():
                close(got, want, dtype)
            assert np.isnan(np.asarray(got, np.float64)).any() == np.isnan(want).any()
            g = np.asarray(rng.standard_normal(got.shape)).astype(dtype)
            count = max(a.size, 1) if reduction == "mean" else 1
            back = kernels.mse_loss_backward(g, a, b, reduction=reduction)
            close(back, 2 * (wide[0] - wide[1]) * g.astype(np.float64) / count, dtype)


def smooth(x, t, width, scaled):
    """Return the loss of smooth_l1_loss and its slope, float64."""
    d = x - t
    far = abs(d)
    sign = np.sign(d)
    if not width:
        return far, sign
    near = far < width
    each, slope = (
        np.where(near, d * d / 2 / width, far - width / 2),
        np.where(near, d / width, sign),
    )
    return (each * width, slope * width) if scaled else (each, slope)


def logits(x, t):
    """Return the binary cross entropy of scores and its slope, float64."""
    each = np.maximum(x, 0) - x * t + np.log1p(np.exp(-abs(x)))
    return each, 1 / (1 + np.exp(-x)) - t


POINTWISE = [
    ("bce_with_logits", {}, logits),
    ("smooth_l1_loss", {"beta": 0.0, "scaled": False}, lambda x, t: smooth(x, t, 0, False)),
    ("smooth_l1_loss", {"beta": 0.75, "scaled": False}, lambda x, t: smooth(x, t, 0.75, False)),
    ("smooth_l1_loss", {"beta": 1.25, "scaled": True}, lambda x, t: smooth(x, t, 1.25, True)),
]


@pytest.mark.parametrize(("name", "attrs", "expected"), POINTWISE)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_pointwise(each_isa, dtype, reduction, name, attrs, expected):
    rng = np.random.default_rng(0)
    for shape in [(), (0, 2), (17,), (33, 31), (3, 11000)]:
        x, t = (np.asarray(rng.standard_normal(shape)).astype(dtype) for _ in range(2))
        for a, b in [(x, t), (x.T, t.T)]:
            with np.errstate(all="ignore"):
                each, slope = expected(a.astype(np.float64), b.astype(np.float64))
                want = reduce(each, a.size, reduction)
            got = getattr(kernels, name)(a, b, **attrs, reduction=reduction)
            assert got.dtype == dtype
            if a.size:
                close(got, want, dtype)
            g = np.asarray(rng.standard_normal(got.shape)).astype(dtype)
            back = getattr(kernels, f"{name}_backward")(g, a, b, **attrs, reduction=reduction)
            count = max(a.size, 1) if reduction == "mean" else 1
            close(back, slope * g.astype(np.float64) / count, dtype)


def entropy(x, target, weight, ignore_index, smoothing):
    """Return loss and weight of each row, log_softmax, and what it is multiplied with, float64."""
    x = np.moveaxis(x.astype(np.float64), 1, -1)
    top = x.max(-1, keepdims=True)
    log_probs = x - top - np.log(np.exp(x - top).sum(-1, keepdims=True))
    weight = np.ones(x.shape[-1]) if weight is None else weight.astype(np.float64)
    kept = target != ignore_index
    q = np.eye(x.shape[-1])[np.where(kept, target, 0)] * weight * (1 - smoothing)
    q = (q + weight * smoothing / x.shape[-1]) * kept[..., None]
    each = -(q * log_probs).sum(-1)
    return each, (weight[np.where(kept, target, 0)] * kept).sum(), log_probs, q


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy_and_its_gradient(each_isa, dtype, reduction, smoothing):
    rng = np.random.default_rng(1)
    attrs = {"ignore_index": -7, "label_smoothing": smoothing, "reduction": reduction}
    for shape in [(5, 3), (1, 1), (70, 1030), (2, 4, 5), (3, 18, 7, 6)]:
        x = (3 * rng.standard_normal(shape)).astype(dtype)
        target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
        target.flat[:: max(target.size - 1, 2)][1:] = -7
        weight = rng.uniform(0.5, 2, shape[1]).astype(dtype)
        layouts = [x, np.repeat(x, 2, 1)[:, ::2], x.T.copy().T]
        for w in (None, weight, np.repeat(weight, 3)[::3]):
            each, total, log_probs, q = entropy(x, target, w, -7, smoothing)
            for a in layouts:
                out, lp, sum_of_weights = kernels.cross_entropy(a, target, w, **attrs)
                assert (out.dtype, lp.dtype) == (dtype, dtype)
                close(lp, np.moveaxis(log_probs, -1, 1), dtype)
                close(sum_of_weights, total, np.dtype("f4"))
                close(out, reduce(each, total, reduction), dtype)
                g = np.asarray(rng.uniform(0.5, 1, out.shape)).astype(dtype)
                back = kernels.cross_entropy_backward(g, lp, target, w, sum_of_weights, **attrs)
                assert back.dtype == dtype
                by = np.asarray(g, np.float64)[..., None] / (total if reduction == "mean" else 1)
                made = np.moveaxis(np.asarray(lp, np.float64), 1, -1)
                want = (np.exp(made) * q.sum(-1, keepdims=True) - q) * by
                close(back, np.moveaxis(want, -1, 1), dtype, scale=0.0)
                nll, again = kernels.nll_loss(lp, target, w, ignore_index=-7, reduction=reduction)
                close(again, total, np.dtype("f4"))
                if not smoothing:
                    close(nll, out, dtype)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_losses_agree_with_the_reference(data):
    draw = data.draw
    n, classes, rest = draw(st.integers(0, 4)), draw(st.integers(1, 5)), draw(st.integers(0, 3))
    shape = (n, classes, *(rest,) * draw(st.integers(0, 2)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.standard_normal(shape).astype(draw(st.sampled_from(["f4", "f8"])))
    target = rng.integers(0, classes, (n, *shape[2:]))
    ignored = draw(st.integers(-1, classes))
    weight = draw(st.sampled_from([None, rng.uniform(0.5, 2, classes).astype(x.dtype)]))
    smoothing = draw(st.sampled_from([0.0, 0.25, 1.0]))
    reduction = draw(st.sampled_from(REDUCTIONS))
    attrs = {"ignore_index": ignored, "label_smoothing": smoothing, "reduction": reduction}
    found = []
    for device in ("cpu", "reference"):
        scores = fe.tensor(x, device=device, requires_grad=True)
        others = fe.tensor(target, device=device)
        w = None if weight is None else fe.tensor(weight, device=device)
        out, lp, total = losses.cross_entropy(scores, others, w, **attrs)
        out.sum().backward()
        made = (out.detach(), lp.detach(), total.detach(), scores.grad)
        found.append([each.numpy() for each in made])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [-1, 3, 2**40, -(2**63)])
def test_a_target_that_is_no_class_is_out_of_range(bad):
    x, target = fe.zeros(40, 3), fe.tensor([0] * 39 + [bad])
    attrs = {"ignore_index": -100, "reduction": "mean"}
    with pytest.raises(OutOfRangeError, match=r"^nll_loss: expected classes from 0 to 2"):
        losses.nll_loss(x, target, None, **attrs)
    attrs["label_smoothing"] = 0.0
    with pytest.raises(OutOfRangeError, match=r"^cross_entropy: expected classes from 0 to 2"):
        losses.cross_entropy(x, target, None, **attrs)
    with pytest.raises(OutOfRangeError, match=r"^cross_entropy_backward: expected classes"):
        losses.cross_entropy_backward(fe.tensor(1.0), x, target, None, fe.tensor(40.0), **attrs)


def test_bits_do_not_depend_on_threads():
    rng = np.random.default_rng(3)
    x, t = rng.standard_normal((2, 300_001), np.float32)
    scores = rng.standard_normal((999, 130), np.float32)
    target = rng.integers(0, 130, 999)
    attrs = {"ignore_index": 5, "label_smoothing": 0.1, "reduction": "mean"}
    found = []
    for threads in (1, 2, 5):
        lib.threads_set(threads)
        out = kernels.cross_entropy(scores, target, scores[0] ** 2, **attrs)
        found.append([a.tobytes() for a in (kernels.mse_loss(x, t, reduction="mean"), *out)])
    lib.threads_set(2)
    assert found[0] == found[1] == found[2]


def test_what_is_not_arrays_is_declined():
    x = np.zeros((2, 3), np.float32)
    attrs = {"ignore_index": -100, "label_smoothing": 0.0, "reduction": "mean"}
    for bad in ("text", None, [1.0], 1.0, np.float32(1), np.zeros(3, complex), np.zeros(2, "i4")):
        assert kernels.mse_loss(bad, x, reduction="mean") is NotImplemented
        assert kernels.mse_loss(x, bad, reduction="mean") is NotImplemented
        assert kernels.cross_entropy(x, bad, None, **attrs) is NotImplemented
        assert kernels.cross_entropy(bad, np.zeros(2, "i8"), None, **attrs) is NotImplemented
    for bad in ("average", [], None):
        assert kernels.mse_loss(x, x, reduction=bad) is NotImplemented
    for bad in (2**63, 1.0):
        attrs["ignore_index"] = bad
        assert kernels.cross_entropy(x, np.zeros(2, "i8"), None, **attrs) is NotImplemented
