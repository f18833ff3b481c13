"""Bad input to embedding bags: an error that says what to do, and nothing written before it."""

import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import (
    ArgumentError,
    DTypeError,
    OperandError,
    OutOfRangeError,
    ShapeError,
    UnsupportedError,
)

F = nn.functional
W, IDS, ENDS = fe.ones(4, 3), fe.tensor([0, 3, 1]), fe.tensor([0, 2])
NONE = fe.zeros(0, dtype=fe.int64)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.embedding_bag([0], W, ENDS), OperandError, "expected tensors, got list"),
        (lambda: F.embedding_bag(IDS, None, ENDS), OperandError, "got NoneType"),
        (lambda: F.embedding_bag(IDS, W, [0, 2]), OperandError, "got list"),
        (lambda: F.embedding_bag(IDS, W, ENDS, mode="min"), ArgumentError, "'mean' or 'max'"),
        (lambda: F.embedding_bag(IDS, W, ENDS, mode=0), ArgumentError, "'mean' or 'max', got 0"),
        (lambda: F.embedding_bag(IDS, W, ENDS, sparse=True), UnsupportedError, "leave out sparse"),
        (
            lambda: F.embedding_bag(IDS, W, ENDS, mode="max", scale_grad_by_freq=True),
            ArgumentError,
            "for modes 'sum' and 'mean'",
        ),
        (
            lambda: F.embedding_bag(IDS, W, ENDS, per_sample_weights=fe.ones(3)),
            UnsupportedError,
            "for mode 'sum', got 'mean'",
        ),
        (
            lambda: F.embedding_bag(IDS, W, ENDS, mode="sum", per_sample_weights=fe.ones(2)),
            ShapeError,
            r"of the shape of input, \(3,\), got \(2,\)",
        ),
        (
            lambda: F.embedding_bag(
                IDS, W, ENDS, mode="sum", per_sample_weights=fe.ones(3, dtype=fe.float64)
            ),
            DTypeError,
            "per_sample_weights of float32, got float64",
        ),
        (
            lambda: F.embedding_bag(IDS, W, ENDS, mode="sum", per_sample_weights=[1, 1, 1]),
            OperandError,
            "got list",
        ),
        (lambda: F.embedding_bag(IDS.float(), W, ENDS), DTypeError, "as input, got float32"),
        (lambda: F.embedding_bag(IDS == 0, W, ENDS), DTypeError, "as input, got bool"),
        (lambda: F.embedding_bag(IDS, W, ENDS.float()), DTypeError, "as offsets, got float32"),
        (lambda: F.embedding_bag(IDS, fe.ones(4), ENDS), ShapeError, r"a weight \(n, d\)"),
        (lambda: F.embedding_bag(IDS, W.long(), ENDS), ShapeError, "floating-point table"),
        (lambda: F.embedding_bag(fe.tensor(0), W, ENDS), ShapeError, r"\(bags, length\)"),
        (lambda: F.embedding_bag(IDS, W), ShapeError, r"offsets \(bags,\).* got None"),
        (lambda: F.embedding_bag(IDS, W, fe.tensor(0)), ShapeError, r"offsets \(bags,\)"),
        (lambda: F.embedding_bag(IDS.unsqueeze(0), W, ENDS), ArgumentError, "leave out offsets"),
        (lambda: F.embedding_bag(IDS, W, fe.tensor([1, 2])), ArgumentError, "begin at 0"),
        (lambda: F.embedding_bag(IDS, W, fe.tensor([0, -1])), ArgumentError, "begin at 0"),
        (lambda: F.embedding_bag(IDS, W, fe.tensor([0, 2, 1])), ArgumentError, "rise to at most 3"),
        (lambda: F.embedding_bag(IDS, W, fe.tensor([0, 4])), ArgumentError, r"got \[0, 4\]"),
        (lambda: F.embedding_bag(IDS, W, NONE), ArgumentError, "for 3 integers, got none"),
        (
            lambda: F.embedding_bag(IDS, W, NONE, include_last_offset=True),
            ShapeError,
            "at least one offset",
        ),
        (lambda: F.embedding_bag(fe.tensor([4]), W, ENDS[:1]), OutOfRangeError, "size 4"),
        (lambda: F.embedding_bag(fe.tensor([-1]), W, ENDS[:1]), OutOfRangeError, "got -1"),
        (
            lambda: F.embedding_bag(fe.tensor([4]), W, ENDS[:1], mode="max"),
            OutOfRangeError,
            "size 4",
        ),
        (lambda: F.embedding_bag(IDS, W, ENDS, padding_idx=4), ArgumentError, "within 4 rows"),
        (lambda: F.embedding_bag(IDS, W, ENDS, padding_idx=0.5), OperandError, "padding_idx"),
        (
            lambda: nn.EmbeddingBag(4, 3, mode="median"),
            ArgumentError,
            "EmbeddingBag: expected mode",
        ),
        (lambda: nn.EmbeddingBag(4, 3, sparse=True), UnsupportedError, "EmbeddingBag: there are"),
        (lambda: nn.EmbeddingBag(4, 3, padding_idx=4), ArgumentError, "within 4 rows"),
        (lambda: nn.EmbeddingBag(4, 3, _weight=fe.ones(3, 4)), ShapeError, r"\(4, 3\)"),
        (lambda: nn.EmbeddingBag(-4, 3), ShapeError, "-4"),
        (lambda: nn.EmbeddingBag.from_pretrained([[1.0]]), OperandError, "expected a tensor"),
        (lambda: nn.EmbeddingBag.from_pretrained(fe.ones(3)), ArgumentError, r"table \(n, d\)"),
        (lambda: nn.EmbeddingBag(4, 3)(None), OperandError, "expected tensors"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("ids", [[0, 4], [0, -1]])
def test_nothing_has_been_scaled_where_a_row_is_refused(ids):
    weight = fe.ones(4, 3) * 5
    with pytest.raises(OutOfRangeError):
        F.embedding_bag(fe.tensor([ids]), weight, max_norm=1.0)
    assert fe.equal(weight, fe.ones(4, 3) * 5)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_what_is_not_finite_stays_in_its_bag(mode):
    weight = fe.tensor([[1.0], [float("nan")], [2.0]])
    found = F.embedding_bag(fe.tensor([0, 2, 1, 0]), weight, fe.tensor([0, 2, 3]), mode=mode)
    assert fe.isnan(found).flatten().tolist() == [False, True, False]


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_padding_that_is_not_finite_is_not_read(mode):
    weight = fe.tensor([[1.0], [float("nan")]], requires_grad=True)
    found = F.embedding_bag(fe.tensor([[0, 1]]), weight, mode=mode, padding_idx=1)
    assert found.tolist() == [[1.0]]
    assert fe.grad(found.sum(), weight)[0].tolist() == [[1.0], [0.0]]
