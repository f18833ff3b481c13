"""Bad input to normalisation: an error that says what to do, and nothing is changed."""

import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError

F = nn.functional
X, ONES = fe.ones(4, 3), fe.ones(3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: F.layer_norm([1.0], (1,)),
            OperandError,
            "layer_norm: expected a tensor, got list",
        ),
        (lambda: F.layer_norm(X, (4,)), ShapeError, r"such as \(3,\), got \(4,\)"),
        (lambda: F.layer_norm(X, ()), ShapeError, r"got \(\)"),
        (lambda: F.layer_norm(X, 3), ShapeError, "got 3"),
        (lambda: F.layer_norm(X, (2, 4, 3)), ShapeError, "normalized_shape"),
        (lambda: F.layer_norm(X.long(), (3,)), DTypeError, "got int64"),
        (lambda: F.layer_norm(X, (3,), fe.ones(4)), ShapeError, r"shape \(3,\), got \(4,\)"),
        (lambda: F.layer_norm(X, (3,), ONES.double()), DTypeError, "float32 and float64"),
        (lambda: F.layer_norm(X, (3,), None, ONES[:2]), ShapeError, r"got \(2,\)"),
        (lambda: F.layer_norm(X, (3,), eps=-1), ArgumentError, "at least 0, got -1"),
        (lambda: F.layer_norm(X, (3,), eps=float("nan")), ArgumentError, "got nan"),
        (lambda: F.layer_norm(X, (3,), "w"), OperandError, "str"),
        (lambda: F.rms_norm(None, (3,)), OperandError, "rms_norm: expected a tensor"),
        (lambda: F.rms_norm(X, (4,)), ShapeError, "normalized_shape"),
        (lambda: F.rms_norm(X, (3,), fe.ones(1)), ShapeError, r"got \(1,\)"),
        (lambda: F.rms_norm(X.bool(), (3,)), DTypeError, "got bool"),
        (lambda: F.rms_norm(X, (3,), eps=-0.1), ArgumentError, "at least 0"),
        (lambda: F.batch_norm("x", None, None), OperandError, "batch_norm: expected a tensor"),
        (lambda: F.batch_norm(X.long(), ONES, ONES), DTypeError, "got int64"),
        (lambda: F.batch_norm(X[0], ONES, ONES), ShapeError, r"\(n, c, ...\)"),
        (lambda: F.batch_norm(X, None, ONES), ArgumentError, "running_mean and running_var"),
        (lambda: F.batch_norm(X, ONES, None), ArgumentError, "running_mean and running_var"),
        (lambda: F.batch_norm(X, fe.ones(4), ONES), ShapeError, "3 channels"),
        (lambda: F.batch_norm(X, ONES, ONES, fe.ones(1)), ShapeError, "3 channels"),
        (lambda: F.batch_norm(X[:1], None, None, training=True), ArgumentError, "more than 1"),
        (lambda: nn.BatchNorm1d(3)(X[0]), ShapeError, "2 or 3 axes"),
        (lambda: nn.BatchNorm1d(4)(X), ShapeError, "expected 4 channels"),
        (lambda: nn.BatchNorm1d(3)(None), OperandError, "BatchNorm1d: expected a tensor"),
        (lambda: nn.BatchNorm1d(-3), ShapeError, "-3"),
        (lambda: nn.LayerNorm("3"), OperandError, "integers as normalized_shape"),
        (lambda: nn.LayerNorm((3, 0.5)), OperandError, "integers as normalized_shape"),
        (lambda: nn.LayerNorm(-1), ShapeError, "-1"),
        (lambda: nn.LayerNorm(4)(X), ShapeError, "normalized_shape"),
        (lambda: nn.RMSNorm(None), OperandError, "integers as normalized_shape"),
        (lambda: nn.RMSNorm(4)(X), ShapeError, "normalized_shape"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_statistics_stay_where_a_batch_is_refused():
    norm = nn.BatchNorm1d(3)
    with pytest.raises(ArgumentError):
        norm(X[:1])
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert norm.num_batches_tracked.item() == 0


def test_update_bn():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    batches = [fe.randn(8, 3) for _ in range(3)]
    nn.optim.swa_utils.update_bn(batches, model)
    means = fe.stack([model[0](x).mean(0) for x in batches]).mean(0)
    assert fe.allclose(model[1].running_mean, means, atol=1e-6)
    assert model[1].num_batches_tracked.item() == 3
    assert model[1].momentum == 0.1
