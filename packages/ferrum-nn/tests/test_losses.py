"""Losses against their formulas, their special cases, and what they refuse."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ferrum as fe
import ferrum_nn as nn
import ferrum_nn.functional as F
from ferrum.errors import ArgumentError, DTypeError, OperandError, OutOfRangeError, ShapeError

REDUCTIONS = ("none", "mean", "sum")


def reduced(each, reduction, total=None):
    if reduction == "none":
        return each
    return (
        each.sum() / (each.size if total is None else total) if reduction == "mean" else each.sum()
    )


def log_softmax(x):
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


# ---- mean squared error


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_mse(reduction):
    x, y = np.random.default_rng(0).normal(size=(2, 3, 4))
    loss = nn.MSELoss(reduction=reduction)(fe.tensor(x), fe.tensor(y))
    np.testing.assert_allclose(loss.numpy(), reduced((x - y) ** 2, reduction))


def test_mse_of_nothing_is_nan():
    empty = fe.zeros(0, 3, requires_grad=True)
    loss = F.mse_loss(empty, fe.zeros(0, 3))
    assert math.isnan(loss.item())
    loss.backward()
    assert empty.grad.shape == (0, 3)


def test_mse_refuses_to_broadcast():
    with pytest.raises(ShapeError, match=r"mse_loss: expected input and target of one shape"):
        F.mse_loss(fe.zeros(32, 1), fe.zeros(32))
    with pytest.raises(DTypeError, match=r"mse_loss: .*int64"):
        F.mse_loss(fe.tensor([0, 0, 0]), fe.tensor([1, 2, 3]))
    assert F.mse_loss(fe.zeros(3), fe.tensor([1, 2, 3]), reduction="sum").item() == 14
    with pytest.raises(OperandError):
        F.mse_loss(fe.zeros(3), 1.0)


# ---- cross entropy


@st.composite
def problems(draw):
    """Return scores, classes some of which are ignored, and perhaps weights."""
    classes = draw(st.integers(1, 4))
    shape = (draw(st.integers(1, 4)), *draw(st.lists(st.integers(1, 3), max_size=2)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(scale=3, size=(shape[0], classes, *shape[1:]))
    target = rng.integers(0, classes, shape)
    target[rng.random(shape) < 0.2] = -100
    weight = rng.uniform(0.1, 2, classes) if draw(st.booleans()) else None
    return x, target, weight


def expected_cross_entropy(x, target, weight, smoothing, reduction):
    classes = x.shape[1]
    weight = np.ones(classes) if weight is None else weight
    kept = target != -100
    q = np.moveaxis(np.eye(classes)[np.where(kept, target, 0)], -1, 1)
    q = (q * (1 - smoothing) + smoothing / classes) * kept[:, None]
    q = q * weight.reshape(-1, *[1] * (x.ndim - 2))
    each = -(q * log_softmax(x)).sum(1)
    return reduced(each, reduction, (weight[np.where(kept, target, 0)] * kept).sum())


@given(problems(), st.sampled_from(REDUCTIONS), st.sampled_from([0.0, 0.1, 1.0]))
def test_cross_entropy_is_its_formula(problem, reduction, smoothing):
    x, target, weight = problem
    if reduction == "mean" and (target == -100).all():
        return
    loss = nn.CrossEntropyLoss(
        None if weight is None else fe.tensor(weight),
        reduction=reduction,
        label_smoothing=smoothing,
    )(fe.tensor(x), fe.tensor(target))
    expected = expected_cross_entropy(x, target, weight, smoothing, reduction)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-10, atol=1e-10)


@given(problems(), st.sampled_from(REDUCTIONS), st.sampled_from([0.0, 0.3]))
def test_class_indices_and_their_probabilities_agree(problem, reduction, smoothing):
    x, target, _ = problem
    target = np.abs(target) % x.shape[1]
    hot = np.moveaxis(np.eye(x.shape[1])[target], -1, 1)
    results = []
    for y in (target, hot):
        scores = fe.tensor(x, requires_grad=True)
        loss = F.cross_entropy(scores, fe.tensor(y), reduction=reduction, label_smoothing=smoothing)
        loss.sum().backward()
        results.append((loss.detach().numpy(), scores.grad.numpy()))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@given(problems(), st.sampled_from(REDUCTIONS))
def test_cross_entropy_is_nll_of_log_softmax(problem, reduction):
    x, target, weight = problem
    weight = None if weight is None else fe.tensor(weight)
    options = {"ignore_index": -100, "reduction": reduction}
    one = F.cross_entropy(fe.tensor(x), fe.tensor(target), weight, **options)
    two = F.nll_loss(F.log_softmax(fe.tensor(x), 1), fe.tensor(target), weight, **options)
    np.testing.assert_array_equal(one.numpy(), two.numpy())


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
def test_one_sample_needs_no_batch(loss, reduction):
    x, target = fe.tensor([1.0, 2.0, 3.0]), fe.tensor(1)
    alone = loss(x, target, reduction=reduction)
    batch = loss(x.unsqueeze(0), target.unsqueeze(0), reduction=reduction)
    assert alone.shape == ()
    assert alone.item() == batch.item()


def test_probabilities_without_a_batch():
    x = fe.tensor([1.0, 2.0, 3.0])
    alone = F.cross_entropy(x, fe.softmax(x, 0), fe.ones(3))
    assert alone.item() == pytest.approx(-(fe.softmax(x, 0) * x.log_softmax(0)).sum().item())


def test_where_everything_is_ignored_the_gradient_is_zero():
    x = fe.zeros(2, 3, requires_grad=True)
    loss = F.cross_entropy(x, fe.tensor([-100, -100]))
    assert math.isnan(loss.item())  # no sample has a mean; PyTorch says so, too
    loss.backward()
    assert x.grad.tolist() == [[0] * 3] * 2


@pytest.mark.parametrize("dtype", [fe.uint8, fe.int8, fe.int16, fe.int32])
def test_small_integers_are_classes_and_not_wrapped(dtype):
    x = fe.randn(3, 200)
    target = [0, 100, 126]
    small = F.cross_entropy(x, fe.tensor(target, dtype=dtype), ignore_index=-130)
    assert small.item() == F.cross_entropy(x, fe.tensor(target)).item()


def test_extreme_scores():
    x = fe.tensor([[1e4, -1e4, 0.0], [-math.inf, 0.0, 0.0]], requires_grad=True)
    loss = F.cross_entropy(x, fe.tensor([0, 1]), reduction="none")
    np.testing.assert_allclose(loss.detach().numpy(), [0, math.log(2)], rtol=1e-6)
    loss.sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [fe.float16, fe.bfloat16])
def test_sixteen_bits_count_many_samples(dtype):
    """The mean over 5000 samples: a sum of weights kept in 16 bits would stop at 256 or 2048."""
    x = fe.zeros(5000, 4, dtype=dtype)
    loss = F.cross_entropy(x, fe.zeros(5000, dtype=fe.int64))
    assert loss.dtype is dtype
    assert loss.item() == pytest.approx(math.log(4), rel=1e-2)


def test_weights_move_with_the_module_and_are_saved():
    loss = nn.CrossEntropyLoss(fe.tensor([1.0, 2.0]))
    assert list(loss.state_dict()) == ["weight"]
    assert loss.double().weight.dtype is fe.float64
    assert list(nn.CrossEntropyLoss().state_dict()) == []


@pytest.mark.parametrize("target", [[0, 3], [0, -1], [-101, 0]])
@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
def test_a_target_that_is_no_class(loss, target):
    message = f"{loss.__name__}: expected classes from 0 to 2, or ignore_index=-100"
    with pytest.raises(OutOfRangeError, match=message):
        loss(fe.zeros(2, 3), fe.tensor(target))


PROBABILITIES = fe.ones(2, 3) / 3


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        ((fe.zeros(2, 3), fe.tensor([0])), {}, ShapeError, "class probabilities are floating"),
        ((fe.zeros(2, 3), fe.tensor([True, False])), {}, DTypeError, "int64 class indices"),
        ((fe.zeros(()), fe.tensor(0)), {}, ShapeError, "expected scores"),
        ((fe.tensor([[1, 2]]), fe.tensor([0])), {}, DTypeError, "floating-point scores"),
        ((fe.zeros(2, 3), fe.tensor([0, 1]), fe.ones(2)), {}, ShapeError, r"shape \(3,\)"),
        ((fe.zeros(2, 3), fe.tensor([0, 1])), {"reduction": "x"}, ArgumentError, "'mean' or 'sum'"),
        ((fe.zeros(2, 3), fe.tensor([0, 1])), {"label_smoothing": -1}, ArgumentError, "from 0 to"),
        ((fe.zeros(2, 3), [0, 1]), {}, OperandError, "got list"),
        ((fe.zeros(2, 4), PROBABILITIES), {}, ShapeError, "class indices are integers"),
        ((fe.tensor([[1, 2, 3]]), PROBABILITIES[:1]), {}, DTypeError, "floating-point scores"),
        ((fe.zeros(2, 3), PROBABILITIES), {"ignore_index": 1}, ArgumentError, "class indices"),
        ((fe.zeros(2, 3), PROBABILITIES), {"label_smoothing": 2}, ArgumentError, "from 0 to 1"),
        ((fe.zeros(2, 3), PROBABILITIES, fe.ones(2)), {}, ShapeError, r"shape \(3,\)"),
        ((fe.zeros(2, 3), PROBABILITIES), {"reduction": "x"}, ArgumentError, "'mean' or 'sum'"),
    ],
)
def test_cross_entropy_refuses(args, options, error, message):
    with pytest.raises(error, match=f"cross_entropy: .*{message}"):
        F.cross_entropy(*args, **options)


def test_losses_refuse_a_reduction_when_they_are_made():
    for kind in (nn.MSELoss, nn.CrossEntropyLoss):
        with pytest.raises(ArgumentError, match=f"{kind.__name__}: expected reduction"):
            kind(reduction="average")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"label_smoothing": "x"},
            OperandError,
            "expected an integer as ignore_index and a number",
        ),
        (
            {"label_smoothing": None},
            OperandError,
            "expected an integer as ignore_index and a number",
        ),
        ({"label_smoothing": 1.5}, ArgumentError, "expected label_smoothing from 0 to 1, got 1.5"),
        ({"ignore_index": "x"}, OperandError, "expected an integer as ignore_index"),
        ({"ignore_index": 2.5}, OperandError, "expected an integer as ignore_index"),
    ],
)
@pytest.mark.parametrize("target", [fe.tensor([0, 1]), fe.ones(2, 3)])
def test_cross_entropy_refuses_options(options, error, message, target):
    with pytest.raises(error, match=f"^cross_entropy: {message}"):
        F.cross_entropy(fe.zeros(2, 3), target, **options)
    with pytest.raises(error, match=f"^CrossEntropyLoss: {message}"):
        nn.CrossEntropyLoss(**options)


def test_nll_loss_refuses_an_index_that_is_none():
    with pytest.raises(OperandError, match=r"^nll_loss: expected an integer as ignore_index"):
        F.nll_loss(fe.zeros(2, 3), fe.tensor([0, 1]), ignore_index=2.5)


@pytest.mark.parametrize("kind", [float, np.float32, np.float64])
def test_numbers_may_be_numpy_s(kind):
    x, t = fe.tensor([0.0, 2.0]), fe.tensor([0.25, 0.0])
    expected = F.huber_loss(x, t, delta=0.5).item()
    assert F.huber_loss(x, t, delta=kind(0.5)).item() == expected
