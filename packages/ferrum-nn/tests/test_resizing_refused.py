"""Bad input to resizing, sampling, patches and shuffling: what the errors say."""

import pytest

import ferrum as fe
import ferrum_nn.functional as F
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError

PLANE, LINE, VOLUME = fe.rand(1, 2, 4, 4), fe.rand(1, 2, 4), fe.rand(1, 2, 4, 4, 4)
GRID, WHOLE = fe.rand(1, 3, 3, 2), fe.ones(1, 2, 4, 4, dtype=fe.int64)
THETA = fe.rand(1, 2, 3)

REFUSED = [
    (OperandError, "expected tensors, got list", lambda: F.interpolate([[1.0]], 2)),
    (OperandError, "numbers as scale_factor", lambda: F.interpolate(PLANE, scale_factor="2")),
    (OperandError, "integers as size", lambda: F.interpolate(PLANE, 2.5)),
    (ArgumentError, "one of them", lambda: F.interpolate(PLANE)),
    (ArgumentError, "one of them", lambda: F.interpolate(PLANE, 2, 2.0)),
    (ArgumentError, "2 numbers as size", lambda: F.interpolate(PLANE, (2,))),
    (ArgumentError, "above 0", lambda: F.interpolate(PLANE, scale_factor=float("nan"))),
    (ArgumentError, "above 0", lambda: F.interpolate(PLANE, scale_factor=float("inf"))),
    (ArgumentError, "above 0", lambda: F.interpolate(PLANE, scale_factor=-2.0)),
    (ArgumentError, "2 of them", lambda: F.interpolate(PLANE, scale_factor=(2.0,))),
    (ArgumentError, "mode to be of", lambda: F.interpolate(PLANE, 2, mode="cubic")),
    (ArgumentError, "takes no align_corners", lambda: F.interpolate(PLANE, 2, align_corners=True)),
    (ArgumentError, "antialias goes with", lambda: F.interpolate(PLANE, 2, antialias=True)),
    (ArgumentError, "'lanczos' goes with", lambda: F.interpolate(PLANE, 2, mode="lanczos")),
    (ShapeError, "4 axes", lambda: F.interpolate(LINE, 2, mode="bicubic")),
    (ShapeError, "3 or 4 or 5 axes", lambda: F.interpolate(fe.rand(3, 4), 2)),
    (ShapeError, "at least 1 entry", lambda: F.interpolate(PLANE, scale_factor=0.1)),
    (ShapeError, "at least 1 entry", lambda: F.interpolate(fe.rand(1, 2, 0), 2)),
    (DTypeError, "floating-point", lambda: F.interpolate(WHOLE, 2)),
    (DTypeError, "floating-point", lambda: F.interpolate(WHOLE, 2, mode="area")),
    (OperandError, "expected tensors", lambda: F.grid_sample(PLANE, None)),
    (ShapeError, "expected a grid", lambda: F.grid_sample(PLANE, fe.rand(2, 3, 3, 2))),
    (ShapeError, "expected a grid", lambda: F.grid_sample(PLANE, fe.rand(1, 3, 3, 3))),
    (
        ShapeError,
        "unless bicubic",
        lambda: F.grid_sample(VOLUME, fe.rand(1, 1, 1, 1, 3), "bicubic"),
    ),
    (ShapeError, "of two axes", lambda: F.grid_sample(LINE, fe.rand(1, 2, 1))),
    (ShapeError, "not empty", lambda: F.grid_sample(fe.rand(1, 2, 0, 3), GRID)),
    (ArgumentError, "expected a mode", lambda: F.grid_sample(PLANE, GRID, "linear")),
    (ArgumentError, "a padding", lambda: F.grid_sample(PLANE, GRID, padding_mode="wrap")),
    (DTypeError, "one dtype", lambda: F.grid_sample(PLANE, GRID.double())),
    (DTypeError, "floating-point", lambda: F.grid_sample(WHOLE, GRID)),
    (ArgumentError, "expected size", lambda: F.affine_grid(THETA, (1, 1, 2))),
    (ArgumentError, "expected size", lambda: F.affine_grid(THETA, 4)),
    (ArgumentError, "at least 1", lambda: F.affine_grid(THETA, (1, 1, 0, 2))),
    (OperandError, "integers as size", lambda: F.affine_grid(THETA, (1, 1, 2.5, 2))),
    (ShapeError, "expected theta", lambda: F.affine_grid(THETA, (2, 1, 2, 2))),
    (DTypeError, "floating-point", lambda: F.affine_grid(THETA.long(), (1, 1, 2, 2))),
    (ShapeError, "does not fit", lambda: F.unfold(PLANE, 5)),
    (ShapeError, "expected \\(n, c, h, w\\)", lambda: F.unfold(VOLUME, 2)),
    (ArgumentError, "kernel_size", lambda: F.unfold(PLANE, 0)),
    (ArgumentError, "stride", lambda: F.unfold(PLANE, 2, stride=0)),
    (ArgumentError, "dilation", lambda: F.unfold(PLANE, 2, dilation=(1, 1, 1))),
    (ArgumentError, "padding", lambda: F.unfold(PLANE, 2, padding=-1)),
    (OperandError, "integers", lambda: F.unfold(PLANE, "2")),
    (DTypeError, "floating-point", lambda: F.unfold(WHOLE, 2)),
    (ShapeError, "rows a multiple of 4", lambda: F.fold(fe.rand(1, 7, 9), 4, 2)),
    (ShapeError, "rows, 9", lambda: F.fold(fe.rand(1, 8, 8), 4, 2)),
    (ShapeError, "does not fit", lambda: F.fold(fe.rand(1, 8, 9), 1, 2)),
    (DTypeError, "floating-point", lambda: F.fold(fe.ones(1, 8, 9, dtype=fe.int64), 4, 2)),
    (ArgumentError, "output_size", lambda: F.fold(fe.rand(1, 8, 9), 0, 2)),
    (OperandError, "expected tensors", lambda: F.fold(None, 4, 2)),
    (ShapeError, "multiple of 9", lambda: F.pixel_shuffle(PLANE, 3)),
    (ShapeError, "channels, h, w", lambda: F.pixel_shuffle(fe.rand(4, 4), 2)),
    (ArgumentError, "upscale_factor", lambda: F.pixel_shuffle(PLANE, 0)),
    (OperandError, "upscale_factor", lambda: F.pixel_shuffle(PLANE, 1.5)),
    (ShapeError, "multiples of 3", lambda: F.pixel_unshuffle(PLANE, 3)),
    (ArgumentError, "downscale_factor", lambda: F.pixel_unshuffle(PLANE, -1)),
    (ShapeError, "multiple of 3", lambda: F.channel_shuffle(PLANE, 3)),
    (ArgumentError, "groups", lambda: F.channel_shuffle(PLANE, 0)),
    (OperandError, "groups", lambda: F.native_channel_shuffle(PLANE, "2")),
]


@pytest.mark.parametrize(("error", "text", "call"), REFUSED)
def test_refused(error, text, call):
    with pytest.raises(error, match=text):
        call()
