"""Bad input to recurrent layers, cells and packed sequences: an error that says what to do."""

import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError, UnsupportedError

rnn = nn.utils.rnn
X, H = fe.ones(5, 2, 3), fe.ones(1, 2, 4)
LSTM, GRU, RNN = nn.LSTM(3, 4), nn.GRU(3, 4), nn.RNN(3, 4)
CELL, PAIR = nn.GRUCell(3, 4), nn.LSTMCell(3, 4)
PACKED = rnn.pack_padded_sequence(X, [5, 2])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.LSTM(0, 4), ArgumentError, "input_size to be a number of at least 1"),
        (lambda: nn.LSTM(3, 0), ArgumentError, "hidden_size"),
        (lambda: nn.LSTM(3, 4.0), OperandError, "integers as hidden_size, got 4.0"),
        (lambda: nn.GRU("3", 4), OperandError, "integers as input_size"),
        (lambda: nn.GRU(3, 4, 0), ArgumentError, "num_layers"),
        (lambda: nn.GRU(3, 4, bias=1), OperandError, "bias to be a bool, got 1"),
        (lambda: nn.GRU(3, 4, batch_first=None), OperandError, "batch_first to be a bool"),
        (lambda: nn.LSTM(3, 4, 2, dropout=1.5), ArgumentError, "1.5"),
        (lambda: nn.LSTM(3, 4, proj_size=4), ArgumentError, "proj_size below hidden_size 4, got 4"),
        (lambda: nn.LSTM(3, 4, proj_size=-1), ArgumentError, "proj_size"),
        (lambda: nn.RNN(3, 4, nonlinearity="gelu"), ArgumentError, "'tanh' or 'relu', got 'gelu'"),
        (lambda: nn.RNNBase("CNN", 3, 4), ArgumentError, "a mode of LSTM, GRU"),
        (lambda: nn.RNNBase("GRU", 3, 4, proj_size=2), ArgumentError, "only LSTM has projections"),
        (lambda: nn.RNNBase("GRU", 3, 4)(X), UnsupportedError, "RNN, LSTM or GRU to be used"),
        (lambda: nn.RNNCellBase(3, 4, True, 1)(X), UnsupportedError, "to be used"),
        (lambda: LSTM([1.0]), OperandError, "expected a tensor, got list"),
        (lambda: LSTM(X[0, 0]), ShapeError, "2 or 3 axes, the last of 3, got"),
        (lambda: LSTM(X[None]), ShapeError, "2 or 3 axes"),
        (lambda: LSTM(X[:, :, :2]), ShapeError, r"the last of 3, got \(5, 2, 2\)"),
        (lambda: LSTM(X[:0]), ShapeError, "at least one step"),
        (lambda: LSTM(X.double()), DTypeError, "an input of float32 as the weights are"),
        (lambda: LSTM(X, H), OperandError, r"hx to be a pair \(h, c\)"),
        (lambda: LSTM(X, (H,)), OperandError, "a pair"),
        (lambda: LSTM(X, (H, None)), OperandError, "got NoneType"),
        (lambda: LSTM(X, (H, H[:, :1])), ShapeError, r"c of shape \(1, 2, 4\), got \(1, 1, 4\)"),
        (lambda: GRU(X, H[:, :, :3]), ShapeError, r"h of shape \(1, 2, 4\)"),
        (lambda: GRU(X, H[0]), ShapeError, r"h of shape \(1, 2, 4\), got \(2, 4\)"),
        (lambda: GRU(X[:, 0], H), ShapeError, r"h of shape \(1, 4\), got \(1, 2, 4\)"),
        (lambda: GRU(X, H.double()), DTypeError, "h of float32, got float64"),
        (lambda: RNN(X, (H, H)), OperandError, "hx of tensors, got tuple"),
        (lambda: GRU(PACKED, H[:, :1]), ShapeError, r"h of shape \(1, 2, 4\)"),
        (
            lambda: GRU(rnn.PackedSequence(X[0], fe.tensor([1, 2]))),
            ArgumentError,
            "batch_sizes that never grow",
        ),
        (
            lambda: GRU(rnn.PackedSequence(X[0], fe.tensor([2, 1]))),
            ArgumentError,
            "make up the 2 rows",
        ),
        (lambda: CELL(X), ShapeError, "1 or 2 axes, the last of 3"),
        (lambda: CELL(X[0], fe.ones(2, 3)), ShapeError, r"h of shape \(2, 4\)"),
        (lambda: CELL(X[0].double()), DTypeError, "float32"),
        (lambda: PAIR(X[0], H[0]), OperandError, "a pair"),
        (lambda: PAIR(X[0], (H[0], H[0, 0])), ShapeError, r"c of shape \(2, 4\), got \(4,\)"),
        (lambda: nn.RNNCell(3, 4, nonlinearity=""), ArgumentError, "'tanh' or 'relu'"),
        (lambda: rnn.PackedSequence(X, [2, 1]), OperandError, "expected tensors, got list"),
        (lambda: rnn.PackedSequence(X, fe.ones(2)), ArgumentError, "of int64, got"),
        (lambda: rnn.pack_padded_sequence([X], [5]), OperandError, "got list"),
        (lambda: rnn.pack_padded_sequence(X, [5]), ArgumentError, "each of 2 sequences, got 1"),
        (lambda: rnn.pack_padded_sequence(X, [6, 2]), ArgumentError, "from 0 to 5"),
        (lambda: rnn.pack_padded_sequence(X, [5, 0]), ArgumentError, "at least 1"),
        (lambda: rnn.pack_padded_sequence(X, [2, 5]), ArgumentError, "enforce_sorted=False"),
        (lambda: rnn.pack_padded_sequence(X, [5.0, 2]), OperandError, "integers as lengths"),
        (lambda: rnn.pack_padded_sequence(X, 5), OperandError, "integers as lengths, got 5"),
        (lambda: rnn.pack_padded_sequence(X[0, 0], [1]), ShapeError, "with elements"),
        (lambda: rnn.pad_packed_sequence(X), OperandError, "expected a PackedSequence, got Tensor"),
        (lambda: rnn.pad_packed_sequence(PACKED, total_length=3), ArgumentError, "5 or more"),
        (lambda: rnn.pad_sequence([]), ArgumentError, "at least one sequence"),
        (lambda: rnn.pad_sequence(3), OperandError, "expected tensors, got int"),
        (lambda: rnn.pad_sequence([X, X[:, :1]]), ShapeError, "differ in length only"),
        (lambda: rnn.pad_sequence([X], padding_side="top"), ArgumentError, "'left' or 'right'"),
        (lambda: rnn.pack_sequence([X[:2], X]), ArgumentError, "never grow"),
        (lambda: rnn.unpad_sequence(X, [5, 6]), ArgumentError, "from 0 to 5"),
        (lambda: rnn.unpad_sequence(X[0, 0], [1]), ShapeError, r"\(t, b, \.\.\.\)"),
        (lambda: rnn.unpack_sequence(X), OperandError, "a PackedSequence"),
    ],
)
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_dropout_of_one_layer_warns():
    with pytest.warns(UserWarning, match="dropout acts between layers, and there is one"):
        nn.LSTM(3, 4, dropout=0.5)
