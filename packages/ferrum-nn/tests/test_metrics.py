"""Metrics, batch by batch, beside scikit-learn where it is installed, and beside their formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ferrum as fe
from ferrum.errors import (
    ArgumentError,
    DTypeError,
    FerrumError,
    OperandError,
    OutOfRangeError,
    ShapeError,
    UnsupportedError,
)
from ferrum_nn import metrics
from ferrum_nn.metrics import (
    F1,
    Accuracy,
    ConfusionMatrix,
    MeanAbsoluteError,
    MeanLoss,
    MeanSquaredError,
    Precision,
    Recall,
)

CLASSES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


def fed(metric, predicted, true, cuts=(0, 1, 5)):
    """The metric of two lists, given in several batches."""
    ends = [*cuts[1:], len(true)]
    for start, end in zip(cuts, ends, strict=True):
        a, b = predicted[start:end], true[start:end]
        metric.update(fe.tensor(a, dtype=fe.int64), fe.tensor(b, dtype=fe.int64))
    return metric.compute()


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
@settings(deadline=None, max_examples=40)  # the first one imports scikit-learn
@given(pairs=CLASSES)
def test_beside_scikit_learn(average, pairs):
    sklearn = pytest.importorskip("sklearn.metrics")
    predicted, true = (list(each) for each in zip(*pairs, strict=True))
    more = {"average": average, "zero_division": 0}
    if average is None:
        more["labels"] = range(4)
    for metric, name in [(Precision, "precision"), (Recall, "recall"), (F1, "f1")]:
        expected = getattr(sklearn, f"{name}_score")(true, predicted, **more)
        assert fed(metric(4, average), predicted, true) == pytest.approx(expected, rel=1e-12)
    assert fed(Accuracy(), predicted, true) == sklearn.accuracy_score(true, predicted)
    assert np.array_equal(
        fed(ConfusionMatrix(4), predicted, true),
        sklearn.confusion_matrix(true, predicted, labels=range(4)),
    )


@pytest.mark.parametrize("k", [2, 3, 9])
def test_top_k_beside_its_definition(k):
    rng = np.random.default_rng(k)
    scores, true = rng.standard_normal((40, 5)).astype(np.float32), rng.integers(0, 5, 40)
    metric = Accuracy(top_k=k)
    for rows in (slice(0, 7), slice(7, 40)):
        metric.update(fe.from_numpy(scores[rows]), fe.from_numpy(true[rows]))
    better = (scores > scores[np.arange(40), true][:, None]).sum(1)
    assert metric.compute() == (better < k).mean()


def test_scores_with_more_axes_and_equal_ones():
    scores = fe.tensor([[[1.0, 2.0], [3.0, 0.0], [3.0, 2.0]]])  # (1, classes 3, 2)
    for metric, expected in [(Accuracy(), 1.0), (Accuracy(top_k=2), 1.0), (Accuracy(3), 1.0)]:
        metric.update(scores, fe.tensor([[1, 0]]))
        assert metric.compute() == expected
    wrong = Accuracy()
    wrong.update(scores, fe.tensor([[2, 2]]))
    assert wrong.compute() == 0


def test_precision_and_recall_by_hand():
    predicted, true = [0, 0, 1, 1, 1], [0, 1, 1, 1, 2]
    assert fed(Precision(4, None), predicted, true).tolist() == [1 / 2, 2 / 3, 0, 0]
    assert fed(Recall(4, None), predicted, true).tolist() == [1, 2 / 3, 0, 0]
    assert fed(F1(4, None), predicted, true).tolist() == pytest.approx([2 / 3, 2 / 3, 0, 0])
    assert fed(Precision(4), predicted, true) == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert fed(ConfusionMatrix(4), predicted, true).tolist() == [
        [1, 0, 0, 0], [1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [fe.float16, fe.bfloat16, fe.float32, fe.int64, fe.uint8])
def test_mean_errors(dtype):
    absolute, squared = MeanAbsoluteError(), MeanSquaredError()
    for a, b in [([1, 2], [3, 1]), ([5], [5])]:
        for metric in (absolute, squared):
            metric.update(fe.tensor(a, dtype=dtype), fe.tensor(b, dtype=dtype))
    assert (absolute.compute(), squared.compute()) == (1.0, 5 / 3)


def test_the_mean_loss_is_weighted_by_the_batches():
    metric = MeanLoss()
    metric.update(fe.tensor(2.0, requires_grad=True), 30)
    metric.update(fe.tensor([5.0]), 10)
    assert metric.compute() == 2.75
    metric.reset()
    metric.update(1.5)
    assert metric.compute() == 1.5


SCORES = fe.zeros(4, 2), fe.zeros(4, dtype=fe.int64)


@pytest.mark.parametrize(
    "metric, batch",
    [
        (Accuracy(), SCORES),
        (Accuracy(2), SCORES),
        (Precision(2), SCORES),
        (F1(2, "weighted"), SCORES),
        (MeanAbsoluteError(), (fe.ones(4), fe.zeros(4))),
    ],
)
def test_of_nothing_it_is_nan_and_reset_forgets(metric, batch):
    assert np.isnan(metric.compute())
    metric.update(*[each[:0] for each in batch])
    assert np.isnan(metric.compute())
    metric.update(*batch)
    assert metric.compute() == 1.0
    metric.reset()
    assert np.isnan(metric.compute())


ints = fe.zeros(3, dtype=fe.int64)
scores = fe.zeros(3, 2)


@pytest.mark.parametrize(
    "make, input, target, error",
    [
        (Accuracy, [1], ints, OperandError),
        (Accuracy, ints, None, OperandError),
        (Accuracy, scores, fe.zeros(3), DTypeError),
        (Accuracy, scores, ints[:2], ShapeError),
        (Accuracy, scores, fe.zeros(3, 2, dtype=fe.int64), ShapeError),
        (Accuracy, fe.zeros(3), ints, ShapeError),
        (Accuracy, fe.tensor(1.0), fe.tensor(1), ShapeError),
        (Accuracy, ints[:2], ints, ShapeError),
        (lambda: Accuracy(2), ints, ints, DTypeError),
        (MeanAbsoluteError, scores, fe.zeros(2), ShapeError),
        (MeanAbsoluteError, 1.0, 2.0, OperandError),
        (MeanLoss, scores, 3, ShapeError),
        (lambda: ConfusionMatrix(2), ints + 2, ints, OutOfRangeError),
        (lambda: ConfusionMatrix(2), ints, ints - 1, OutOfRangeError),
        (lambda: Recall(2), ints, ints + 5, OutOfRangeError),
        (lambda: ConfusionMatrix(1), scores * 0 - fe.tensor([1.0, 0.0]), ints, OutOfRangeError),
    ],
)
def test_what_cannot_be_counted(make, input, target, error):
    metric = make()
    with pytest.raises(error) as caught:
        metric.update(input, target)
    assert str(caught.value).startswith(type(metric).__name__)
    assert isinstance(caught.value, FerrumError)


@pytest.mark.parametrize(
    "make, error",
    [
        (lambda: Accuracy(0), ArgumentError),
        (lambda: Accuracy(1.0), OperandError),
        (lambda: Accuracy(True), OperandError),
        (lambda: ConfusionMatrix(0), ArgumentError),
        (lambda: ConfusionMatrix("2"), OperandError),
        (lambda: Precision(-1), ArgumentError),
        (lambda: Precision(2, "mean"), ArgumentError),
        (lambda: F1(2, average=0), ArgumentError),
    ],
)
def test_what_cannot_be_made(make, error):
    with pytest.raises(error):
        make()


def test_the_base_says_what_is_missing():
    class Empty(metrics.Metric):
        def reset(self):
            pass

    for act, name in [
        (metrics.Metric, "reset"),
        (lambda: Empty().update(ints, ints), "update"),
        (lambda: Empty().compute(), "compute"),
    ]:
        with pytest.raises(UnsupportedError, match=f"the class defines no {name}"):
            act()
