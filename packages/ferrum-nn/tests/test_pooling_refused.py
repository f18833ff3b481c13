"""Bad input to pooling: an error that says what to do."""

import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, DTypeError, OperandError, OutOfRangeError, ShapeError

F = nn.functional
X1, X, X3 = fe.ones(1, 2, 6), fe.ones(1, 2, 6, 6), fe.ones(1, 2, 6, 6, 6)
SMALL, INDEX = fe.ones(1, 2, 3, 3), fe.zeros(1, 2, 3, 3, dtype=fe.int64)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.max_pool2d([1.0], 2), OperandError, "expected tensors, got list"),
        (lambda: F.max_pool2d(X, "2"), OperandError, "integers as kernel_size, got '2'"),
        (lambda: F.max_pool2d(X, 2.0), OperandError, "integers as kernel_size, got 2.0"),
        (lambda: F.max_pool2d(X, None), OperandError, "integers as kernel_size, got None"),
        (lambda: F.max_pool2d(X, 0), ArgumentError, "kernel_size to be a number of at least 1"),
        (lambda: F.max_pool2d(X, (2, 2, 2)), ArgumentError, "or 2 of them"),
        (lambda: F.max_pool2d(X, 2, 0), ArgumentError, "stride to be a number of at least 1"),
        (lambda: F.max_pool2d(X, 2, (1, -1)), ArgumentError, "stride"),
        (lambda: F.max_pool2d(X, 2, 2, -1), ArgumentError, "padding to be a number of at least 0"),
        (lambda: F.max_pool2d(X, 2, 2, 2), ArgumentError, "at most half"),
        (lambda: F.max_pool2d(X, 2, 2, 0, 0), ArgumentError, "dilation"),
        (lambda: F.max_pool2d(X, 7), ShapeError, r"does not fit into planes of \(6, 6\)"),
        (lambda: F.max_pool2d(X, 3, 1, 0, 3), ShapeError, "dilation"),
        (lambda: F.max_pool2d(X1[0], 2), ShapeError, "planes of 2 axes"),
        (lambda: F.max_pool2d(X3, 2), ShapeError, "planes of 2 axes"),
        (lambda: F.max_pool1d(X, 2), ShapeError, "planes of 1 axes"),
        (lambda: F.max_pool3d(X1, 2), ShapeError, "planes of 3 axes"),
        (lambda: F.max_pool2d(X[:, :, :0], 2), ShapeError, "with elements"),
        (lambda: F.max_pool2d(X[:, :0], 2), ShapeError, "with elements"),
        (lambda: F.max_pool2d(X > 0, 2), DTypeError, "expected numbers, got bool"),
        (lambda: F.max_pool1d(X1[..., :2], 2, 1, 1, 3), ShapeError, "meets no element"),
        (lambda: F.avg_pool2d(X.long(), 2), DTypeError, "floating-point input, got int64"),
        (lambda: F.avg_pool2d(X, 2, divisor_override=0), ArgumentError, "not 0"),
        (lambda: F.avg_pool2d(X, 2, divisor_override=0.5), OperandError, "divisor_override"),
        (lambda: F.avg_pool2d(X, 3, 1, 2), ArgumentError, "at most half"),
        (lambda: F.avg_pool1d(X1, 7), ShapeError, "does not fit"),
        (lambda: F.avg_pool3d(X3, (2, 2)), ArgumentError, "or 3 of them"),
        (lambda: F.adaptive_avg_pool2d(X, (1, 2, 3)), ArgumentError, "2 numbers as output_size"),
        (lambda: F.adaptive_avg_pool2d(X, -1), ArgumentError, "output_size"),
        (lambda: F.adaptive_avg_pool2d(X, 1.5), OperandError, "output_size"),
        (lambda: F.adaptive_avg_pool2d(X.int(), 1), DTypeError, "floating-point"),
        (lambda: F.adaptive_avg_pool1d(X1[0, 0], 1), ShapeError, "planes of 1 axes"),
        (lambda: F.adaptive_max_pool2d(X, ()), ArgumentError, "2 numbers as output_size"),
        (lambda: F.adaptive_max_pool3d(X3, (1, "a", 1)), OperandError, "output_size"),
        (lambda: F.lp_pool2d(X, 0, 2), ArgumentError, "norm_type that is not 0"),
        (lambda: F.lp_pool2d(X, "2", 2), OperandError, "norm_type"),
        (lambda: F.lp_pool2d(X.long(), 2, 2), DTypeError, "floating-point"),
        (lambda: F.lp_pool1d(X1, 2, 7), ShapeError, "does not fit"),
        (lambda: F.max_unpool2d(SMALL, INDEX[:, :1], 2), ShapeError, "indices of the input's"),
        (lambda: F.max_unpool2d(SMALL, INDEX.int(), 2), DTypeError, "int64 indices, got int32"),
        (lambda: F.max_unpool2d(SMALL, INDEX + 36, 2), OutOfRangeError, "from 0 to 35"),
        (lambda: F.max_unpool2d(SMALL, INDEX - 1, 2), OutOfRangeError, "got -1 to -1"),
        (lambda: F.max_unpool2d(SMALL, None, 2), OperandError, "got NoneType"),
        (lambda: F.max_unpool2d(SMALL, INDEX, 2, output_size=(8, 6)), ArgumentError, r"\(5, 5\)"),
        (lambda: F.max_unpool2d(SMALL, INDEX, 2, output_size=(6,)), ArgumentError, "output_size"),
        (lambda: F.max_unpool2d(SMALL, INDEX, 2, output_size="5"), OperandError, "output_size"),
        (lambda: F.max_unpool2d(SMALL, INDEX, 1, 1, 2), ArgumentError, "at least 1 of the result"),
        (lambda: F.max_unpool1d(SMALL, INDEX, 2), ShapeError, "planes of 1 axes"),
        (lambda: F.fractional_max_pool2d(X, 2), ArgumentError, "output_size or output_ratio"),
        (lambda: F.fractional_max_pool2d(X, 3, 5), ShapeError, "do not fit"),
        (lambda: F.fractional_max_pool2d(X, 2, 0), ArgumentError, "output_size"),
        (lambda: F.fractional_max_pool2d(X, 2, None, 1.5), ArgumentError, "between 0 and 1"),
        (lambda: F.fractional_max_pool2d(X, 2, None, (0.5,)), ArgumentError, "or 2 of them"),
        (lambda: F.fractional_max_pool2d(X, 2, None, "half"), OperandError, "output_ratio"),
        (lambda: F.fractional_max_pool2d(X.long(), 2, 2), DTypeError, "floating-point"),
        (
            lambda: F.fractional_max_pool2d(X, 2, 2, _random_samples=fe.ones(1, 1, 2)),
            ShapeError,
            r"_random_samples of shape \(1, 2, 2\)",
        ),
        (
            lambda: F.fractional_max_pool2d(X, 2, 2, _random_samples=fe.rand(1, 2, 2).double()),
            DTypeError,
            "_random_samples of float32, got float64",
        ),
        (lambda: nn.FractionalMaxPool2d(2), ArgumentError, "one of output_size and output_ratio"),
        (lambda: nn.FractionalMaxPool2d(2, 2, 0.5), ArgumentError, "one of output_size"),
        (lambda: nn.FractionalMaxPool3d(2, output_ratio=0), ArgumentError, "between 0 and 1"),
        (lambda: nn.FractionalMaxPool3d((2, 2), 2), ArgumentError, "or 3 of them"),
        (lambda: nn.MaxUnpool2d("2"), OperandError, "kernel_size"),
        (lambda: nn.AvgPool1d((2, 2)), ArgumentError, "kernel_size"),
        (lambda: nn.MaxPool2d(2)(X1[0]), ShapeError, "planes of 2 axes"),
        (lambda: nn.MaxPool2d(0)(X), ArgumentError, "kernel_size"),
        (lambda: nn.AdaptiveAvgPool2d((1, 2, 3))(X), ArgumentError, "2 numbers"),
        (lambda: nn.LPPool2d(0, 2)(X), ArgumentError, "norm_type"),
    ],
)
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("pool", [F.adaptive_max_pool2d, F.adaptive_avg_pool2d])
@pytest.mark.parametrize(("count", "size"), [(0, (2**40, 2)), (1, (2**40, 0))])
def test_results_without_elements_cost_nothing(pool, count, size):
    x = fe.ones(count, 2, 6, 6, requires_grad=True)
    out = pool(x, size)
    out.sum().backward()
    assert out.shape == (count, 2, *size)
    assert x.grad is not None
    assert x.grad.tolist() == fe.zeros(count, 2, 6, 6).tolist()


@pytest.mark.parametrize("flag", ["same", 1, None, ()])
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda flag: F.max_pool2d(X, 2, ceil_mode=flag), "ceil_mode to be True or False"),
        (lambda flag: F.lp_pool2d(X, 2, 2, ceil_mode=flag), "ceil_mode to be True or False"),
        (lambda flag: F.avg_pool2d(X, 2, count_include_pad=flag), "count_include_pad to be True"),
        (lambda flag: F.batch_norm(X, training=flag, running_mean=None, running_var=None), "train"),
        (lambda flag: F.instance_norm(X, use_input_stats=flag), "use_input_stats to be True"),
    ],
)
def test_flags_are_true_or_false(call, words, flag):
    with pytest.raises(OperandError, match=words):
        call(flag)


@pytest.mark.parametrize("flag", ["same", 1, ()])
@pytest.mark.parametrize(
    "call",
    [
        lambda flag: F.interpolate(X, 3, mode="bilinear", align_corners=flag),
        lambda flag: F.grid_sample(X, fe.zeros(1, 2, 2, 2), align_corners=flag),
        lambda flag: F.affine_grid(fe.ones(1, 2, 3), (1, 1, 2, 2), align_corners=flag),
    ],
)
def test_align_corners_is_true_false_or_none(call, flag):
    with pytest.raises(OperandError, match="align_corners to be True or False"):
        call(flag)
