"""Bad input to normalisation: an error that says what to do, and nothing tracked."""

import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError

F = nn.functional
X, W, M, V = fe.ones(5, 3), fe.ones(3), fe.zeros(3), fe.ones(3)
WHOLE = fe.ones(5, 3).long()


def train(x=X, mean=M, var=V, *args, **options):
    return F.batch_norm(x, mean, var, *args, training=True, **options)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.layer_norm([1.0], (1,)), OperandError, "expected tensors, got list"),
        (lambda: F.layer_norm(X, 3), OperandError, "sequence of sizes, got 3"),
        (lambda: F.layer_norm(X, ()), ShapeError, "a size at least"),
        (lambda: F.layer_norm(X, (5,)), ShapeError, r"input \(\.\.\., 5\)"),
        (lambda: F.layer_norm(X, (2, 5, 3)), ShapeError, r"got \(5, 3\)"),
        (lambda: F.layer_norm(X, ("3",)), ShapeError, "normalized_shape"),
        (lambda: F.layer_norm(fe.ones(()), (1,)), ShapeError, r"got \(\)"),
        (lambda: F.layer_norm(X, (3,), fe.ones(5)), ShapeError, r"weight of shape \(3,\)"),
        (lambda: F.layer_norm(X, (3,), None, fe.ones(1)), ShapeError, r"bias of shape \(3,\)"),
        (lambda: F.layer_norm(X, (3,), W.double()), DTypeError, "weight of float32"),
        (lambda: F.layer_norm(X.double(), (3,), W), DTypeError, "weight of float64"),
        (lambda: F.layer_norm(WHOLE, (3,)), DTypeError, "floating-point tensor, got int64"),
        (lambda: F.layer_norm(X, (3,), "w"), OperandError, "str"),
        (lambda: F.layer_norm(X, (3,), eps="small"), ArgumentError, "eps, got 'small'"),
        (lambda: F.layer_norm(X, (3,), eps=float("nan")), ArgumentError, "eps, got nan"),
        (lambda: F.layer_norm(X, (3,), eps=10**400), ArgumentError, "a number as eps, got 1000"),
        (lambda: F.rms_norm(None, (3,)), OperandError, "got NoneType"),
        (lambda: F.rms_norm(X, [5]), ShapeError, "normalized_shape"),
        (lambda: F.rms_norm(X, (3,), W[:2]), ShapeError, r"weight of shape \(3,\)"),
        (lambda: F.rms_norm(X, (3,), W.long()), DTypeError, "weight of float32, got int64"),
        (lambda: F.rms_norm(WHOLE, (3,)), DTypeError, "floating-point"),
        (lambda: F.batch_norm([1.0], M, V), OperandError, "got list"),
        (lambda: F.batch_norm(X, [0.0] * 3, V), OperandError, "got list"),
        (lambda: F.batch_norm(X, M, None), ArgumentError, "or neither"),
        (lambda: F.batch_norm(X, None, None), ArgumentError, "in evaluation"),
        (lambda: F.batch_norm(X, M[:2], V), ShapeError, r"mean and var of shape \(3,\)"),
        (lambda: F.batch_norm(X, M, V.long()), DTypeError, "mean and var, got int64"),
        (lambda: F.batch_norm(W, M, V), ShapeError, r"input \(n, channels, \.\.\.\)"),
        (lambda: F.batch_norm(X, M, V, W[:1]), ShapeError, "weight of shape"),
        (lambda: F.batch_norm(X, M, V, None, W.double()), DTypeError, "bias of float32"),
        (lambda: F.batch_norm(X, M, V, eps=-1.0), ArgumentError, "at least 0"),
        (lambda: F.batch_norm(X, M, V, eps="small"), OperandError, "eps, got 'small'"),
        (lambda: F.instance_norm(fe.ones(2, 3, 4), eps=None), OperandError, "eps, got None"),
        (lambda: F.batch_norm(WHOLE, M, V), DTypeError, "floating-point"),
        (lambda: train(eps=0.0), ArgumentError, "positive in training"),
        (lambda: train(X[:1]), ShapeError, "more than one value per channel"),
        (lambda: nn.BatchNorm1d(3, momentum="x")(X), OperandError, "a number as momentum, got 'x'"),
        (lambda: train(fe.ones(1, 3, 1)), ShapeError, "more than one value per channel"),
        (lambda: train(X, M, V[:2]), ShapeError, "running statistics"),
        (lambda: train(X, M.long(), V.long()), ShapeError, "floating-point running"),
        (lambda: nn.LayerNorm("3"), OperandError, "got '3'"),
        (lambda: nn.LayerNorm(3.0), OperandError, "got 3.0"),
        (lambda: nn.LayerNorm((2, None)), OperandError, "None"),
        (lambda: nn.LayerNorm(-1), ShapeError, "-1"),
        (lambda: nn.LayerNorm([])(X), ShapeError, "a size at least"),
        (lambda: nn.LayerNorm(4)(X), ShapeError, "normalized_shape"),
        (lambda: nn.RMSNorm(None), OperandError, "got None"),
        (lambda: nn.RMSNorm(4)(X), ShapeError, "normalized_shape"),
        (lambda: nn.BatchNorm1d(-1), ShapeError, "-1"),
        (lambda: nn.BatchNorm1d(3)([1.0]), OperandError, "BatchNorm1d: expected a tensor"),
        (lambda: nn.BatchNorm1d(3)(W), ShapeError, "2 or 3 axes"),
        (lambda: nn.BatchNorm1d(3)(fe.ones(2, 3, 2, 2)), ShapeError, "2 or 3 axes"),
        (lambda: nn.BatchNorm1d(4)(X), ShapeError, "BatchNorm1d: expected 4 channels, got shape"),
        (lambda: nn.BatchNorm1d(3)(X.double()), DTypeError, "float64, got float32"),
        (lambda: nn.BatchNorm1d(3)(X[:1]), ShapeError, "take a larger batch"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
    assert M.tolist() == [0, 0, 0]
    assert V.tolist() == [1, 1, 1]


def test_one_value_per_channel_is_fine_in_evaluation():
    layer = nn.BatchNorm1d(3)
    layer.eval()
    assert layer(X[:1]).shape == (1, 3)
    with pytest.raises(ShapeError):
        nn.BatchNorm1d(3, track_running_stats=False).eval()(X[:1])
