"""Bad input to embeddings and the layers beside them: an error that says what to do."""

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
W, IDS = fe.ones(4, 3), fe.tensor([0, 3])
A, B, C = fe.ones(5, 3), fe.ones(5, 2), fe.ones(4, 3, 2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.embedding([0], W), OperandError, "expected tensors, got list"),
        (lambda: F.embedding(IDS, None), OperandError, "expected tensors, got NoneType"),
        (lambda: F.embedding(fe.tensor([4]), W), OutOfRangeError, "axis of size 4"),
        (lambda: F.embedding(fe.tensor([-1]), W), OutOfRangeError, "rows from 0, got -1"),
        (lambda: F.embedding(fe.tensor([1.0]), W), DTypeError, "integer indices"),
        (lambda: F.embedding(fe.tensor([True]), W), DTypeError, "integer indices"),
        (lambda: F.embedding(IDS, fe.ones(4)), ShapeError, r"weight \(n, d\)"),
        (lambda: F.embedding(IDS, fe.ones(4, 3, 2)), ShapeError, r"weight \(n, d\)"),
        (lambda: F.embedding(IDS, W.long()), ShapeError, "floating-point weight"),
        (lambda: F.embedding(IDS, fe.ones(0, 3)), OutOfRangeError, "axis of size 0"),
        (lambda: F.embedding(IDS, W, padding_idx=4), ArgumentError, "within 4 rows, got 4"),
        (lambda: F.embedding(IDS, W, padding_idx=-5), ArgumentError, "within 4 rows"),
        (lambda: F.embedding(IDS, W, padding_idx=1.0), OperandError, "integer as padding_idx"),
        (lambda: F.embedding(IDS, W, sparse=True), UnsupportedError, "leave out sparse"),
        (lambda: nn.Embedding(4, 3, padding_idx=4), ArgumentError, "within 4 rows"),
        (lambda: nn.Embedding(4, 3, padding_idx="1"), OperandError, "padding_idx, got '1'"),
        (lambda: nn.Embedding(4, 3, sparse=True), UnsupportedError, "sparse"),
        (lambda: nn.Embedding(4, 3, _weight=fe.ones(3, 4)), ShapeError, r"\(4, 3\)"),
        (lambda: nn.Embedding(-4, 3), ShapeError, "-4"),
        (lambda: nn.Embedding.from_pretrained([[1.0]]), OperandError, "expected a tensor"),
        (lambda: nn.Embedding.from_pretrained(fe.ones(3)), ArgumentError, r"table \(n, d\)"),
        (lambda: nn.Embedding(4, 3)(None), OperandError, "expected tensors"),
        (lambda: F.one_hot(5), OperandError, "expected tensors"),
        (lambda: F.one_hot(fe.tensor([0.5])), DTypeError, "integer classes"),
        (lambda: F.one_hot(fe.tensor([-1])), OutOfRangeError, "from 0 to"),
        (lambda: F.one_hot(IDS, 3), OutOfRangeError, "from 0 to 2, got 0 to 3"),
        (lambda: F.one_hot(IDS, 0), ArgumentError, "at least 1"),
        (lambda: F.one_hot(fe.zeros(0).long()), ArgumentError, "without elements"),
        (lambda: F.bilinear(A, B, None), OperandError, "got NoneType"),
        (lambda: F.bilinear(A, B, fe.ones(3, 2)), ShapeError, "out, in1, in2"),
        (lambda: F.bilinear(B, A, C), ShapeError, "out, in1, in2"),
        (lambda: F.bilinear(A, B[:4], C), ShapeError, "out, in1, in2"),
        (lambda: F.bilinear(A, B, C, fe.ones(3)), ShapeError, r"bias \(out,\)"),
        (lambda: F.bilinear(A.double(), B, C), DTypeError, "one dtype, got float64"),
        (lambda: nn.Bilinear(0, 2, 4), ArgumentError, "in1_features of at least 1"),
        (lambda: nn.Unflatten(1, (2, 2))(fe.ones(3, 6)), ShapeError, "size 6"),
        (lambda: nn.Unflatten(2, (2, 3))(fe.ones(3, 6)), fe.FerrumError, "2"),
        (lambda: nn.Unflatten(1, 2), OperandError, "tuple of integers as unflattened_size, got 2"),
        (lambda: nn.Unflatten(1, (2.5, 2)), OperandError, "Unflatten: expected a tuple"),
        (lambda: F.normalize("x"), OperandError, "expected tensors"),
        (lambda: F.normalize(fe.tensor([[1, 2]])), DTypeError, "floating-point"),
        (lambda: F.normalize(A, dim=2), fe.FerrumError, "2"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_nothing_has_been_scaled_where_a_row_is_refused():
    weight = fe.ones(4, 3) * 5
    with pytest.raises(OutOfRangeError):
        F.embedding(fe.tensor([0, 4]), weight, max_norm=1.0)
    assert fe.equal(weight, fe.ones(4, 3) * 5)


def test_empty_input_has_an_empty_result():
    assert F.embedding(fe.zeros(2, 0).long(), W).shape == (2, 0, 3)
    assert F.one_hot(fe.zeros(0, 2).long(), 3).shape == (0, 2, 3)
    assert F.bilinear(A[:0], B[:0], C).shape == (0, 4)
    assert F.normalize(fe.zeros(0, 3)).shape == (0, 3)
