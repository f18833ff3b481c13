"""Bad input to convolution and padding: an error that says what to do."""

import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError

F = nn.functional
X, W, B = fe.ones(2, 4, 5, 5), fe.ones(6, 4, 3, 3), fe.ones(6)
LINE, KERNEL = fe.ones(2, 4, 5), fe.ones(6, 4, 3)
BACK = fe.ones(4, 6, 3, 3)  # a weight of a transposed convolution


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.conv2d([1.0], W), OperandError, "expected tensors, got list"),
        (lambda: F.conv2d(X, None), OperandError, "got NoneType"),
        (lambda: F.conv2d(X, W, 1.0), OperandError, "got float"),
        (lambda: F.conv2d(X[0, 0], W), ShapeError, r"an input \(n, c, \.\.\.\) or \(c, \.\.\.\)"),
        (lambda: F.conv2d(X, KERNEL), ShapeError, "of 2 axes for .* and 4 in all"),
        (lambda: F.conv2d(LINE[None, None], W), ShapeError, "and 4 in all"),
        (lambda: F.conv1d(X, W), ShapeError, "of 1 axes for .* and 3 in all"),
        (lambda: F.conv3d(X, W), ShapeError, "and 5 in all"),
        (lambda: F.conv2d(X[:, :3], W), ShapeError, "an input of 4 channels .* got 3 channels"),
        (lambda: nn.Conv2d(3, 6, 3)(X), ShapeError, "an input of 3 channels .* got 4 channels"),
        (lambda: F.conv2d(X, W, B[:5]), ShapeError, r"a bias of shape \(6,\), got \(5,\)"),
        (lambda: F.conv2d(X, W, B[:, None]), ShapeError, "a bias of shape"),
        (lambda: F.conv2d(X, W.double()), DTypeError, "got float32 and float64"),
        (lambda: F.conv2d(X.long(), W.long()), DTypeError, "floating-point"),
        (lambda: F.conv2d(X, W, B.double()), DTypeError, "a bias of float32, got float64"),
        (lambda: F.conv2d(X, W, stride=0), ArgumentError, "stride to be a number of at least 1"),
        (lambda: F.conv2d(X, W, stride=(1, 2, 3)), ArgumentError, r"or 2 of them, got \(1, 2, 3\)"),
        (lambda: F.conv2d(X, W, stride=1.5), OperandError, "integers as stride, got 1.5"),
        (lambda: F.conv2d(X, W, stride=()), ArgumentError, "stride"),
        (lambda: F.conv2d(X, W, padding=-1), ArgumentError, "padding to be a number of at least 0"),
        (lambda: F.conv2d(X, W, padding="full"), ArgumentError, "'valid', 'same' or integers"),
        (
            lambda: F.conv2d(X, W, None, 2, "same"),
            ArgumentError,
            "goes with stride 1, got stride 2",
        ),
        (lambda: F.conv2d(X, W, padding=None), OperandError, "integers as padding, got None"),
        (lambda: F.conv2d(X, W, padding=2**70), ArgumentError, "padding to be at most 2⁶⁰"),
        (lambda: F.conv2d(X, W, stride=2**70), ArgumentError, "stride to be at most 2⁶⁰"),
        (lambda: F.conv2d(X, W, groups=0), ArgumentError, "number of at least 1, got 0"),
        (lambda: F.conv2d(X, W, dilation=0), ArgumentError, "dilation"),
        (lambda: F.conv2d(X, W, dilation=3), ShapeError, "does not fit into an input"),
        (
            lambda: F.conv2d(X[:, :, :2], W),
            ShapeError,
            r"kernel of \(3, 3\) with dilation \(1, 1\)",
        ),
        (lambda: F.conv2d(X, fe.ones(6, 4, 0, 3)), ShapeError, "does not fit"),
        (lambda: F.conv2d(X, W, groups=0), ArgumentError, "groups to be a number of at least 1"),
        (lambda: F.conv2d(X, W, groups=3), ShapeError, "an input of 12 channels .* groups=3"),
        (lambda: F.conv2d(X, W, groups=2.0), OperandError, "integers as groups, got 2.0"),
        (lambda: F.conv2d(X, W[:5, :2], groups=2), ShapeError, "2 groups"),
        (lambda: F.conv_transpose2d(X, W), ShapeError, "an input of 6 channels .* got 4"),
        (lambda: F.conv_transpose2d(X, BACK, B[:4]), ShapeError, r"a bias of shape \(6,\)"),
        (lambda: F.conv_transpose2d(X, BACK, output_padding=1), ArgumentError, "less than stride"),
        (lambda: F.conv_transpose2d(X, BACK, output_padding=-1), ArgumentError, "output_padding"),
        (lambda: F.conv_transpose2d(X, BACK, padding=9), ShapeError, "would give a result of"),
        (lambda: F.conv_transpose2d(X, BACK, padding="same"), OperandError, "integers as padding"),
        (lambda: F.conv_transpose2d(X, BACK.double()), DTypeError, "float32 and float64"),
        (lambda: F.conv_transpose1d(X, BACK), ShapeError, "and 3 in all"),
        (lambda: nn.Conv2d(-1, 6, 3), ArgumentError, "in_channels"),
        (lambda: nn.Conv2d(4, -6, 3), ArgumentError, "out_channels"),
        (lambda: nn.Conv2d(4, 6, 0), ArgumentError, "kernel_size"),
        (lambda: nn.Conv2d(4, 6, (3, 3, 3)), ArgumentError, "kernel_size"),
        (lambda: nn.Conv2d(4, 6, 3, groups=3), ArgumentError, "groups"),
        (lambda: nn.Conv2d(4, 6, 3, padding="full"), ArgumentError, "padding"),
        (lambda: nn.Conv2d(4, 6, 3, 2, "same"), ArgumentError, "'same'"),
        (lambda: nn.Conv2d(4, 6, 3, padding_mode="mirror"), ArgumentError, "padding_mode"),
        (
            lambda: nn.ConvTranspose2d(4, 6, 3, padding_mode="reflect"),
            ArgumentError,
            "padding_mode",
        ),
        (lambda: nn.Conv2d(4, 6, 3)(LINE[0]), ShapeError, "an input"),
        (lambda: F.pad(X, (1,)), ArgumentError, "pad"),
        (lambda: F.pad(X, (1,) * 10), ArgumentError, "pad"),
        (lambda: F.pad(X, (1.0, 1)), OperandError, "pad"),
        (lambda: F.pad(X, (-6, 0)), ShapeError, "pad"),
        (lambda: F.pad(X, (5, 0), mode="reflect"), ArgumentError, "takes 4 or 6 numbers .* got 2"),
        (lambda: F.pad(X, (6, 0), mode="circular"), ArgumentError, "circular"),
        (lambda: F.pad(B, (1, 1), mode="reflect"), ArgumentError, "of 2 to 5 axes, got one of"),
        (lambda: F.pad(X, (5, 0, 0, 0), mode="reflect"), ShapeError, "reflect"),
        (lambda: F.pad(X, (6, 0, 0, 0), mode="circular"), ShapeError, "circular"),
        (
            lambda: nn.ConvTranspose2d(4, 6, 3, 2)(X, output_size=[9, 11]),
            ArgumentError,
            r"from \(11, 11\) to \(12, 12\), got \(9, 11\)",
        ),
        (lambda: F.pad(X, (1, 1), mode="mirror"), ArgumentError, "mode"),
        (lambda: F.pad("x", (1, 1)), OperandError, "got str"),
    ],
)
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
