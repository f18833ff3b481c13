"""Elementwise ops on operands that lie in memory in other ways, large enough for every road."""

import numpy as np
import pytest

import ferrum as fe

# Rows long and short, more rows than a band has, stacks of matrices, and bands that end early.
SHAPES = [(300, 513), (64, 1024), (2, 256, 300), (3, 2, 100, 400), (70000, 3), (5, 70, 3, 70)]
DTYPES = [np.float32, np.float64, np.float16, np.int32, np.uint8]


def numbers(shape, dtype, seed):
    """Return whole numbers, whose sums are exact in every dtype."""
    return np.random.default_rng(seed).integers(0, 50, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_transposed_operands(shape, dtype, each_isa):
    a = numbers(shape, dtype, 0)
    b = numbers(shape[:-2] + shape[:-3:-1], dtype, 1)
    x, y = fe.tensor(a), fe.tensor(b).mT
    turned = b.swapaxes(-1, -2)
    assert np.array_equal((x + y).numpy(), a + turned)
    assert np.array_equal((y + x).numpy(), turned + a)
    assert np.array_equal((y + 3).numpy(), turned + dtype(3))
    assert np.array_equal((x < y).numpy(), a < turned)
    assert np.array_equal(fe.where(x > y, x, y).numpy(), np.where(a > turned, a, turned))
    x += y
    assert np.array_equal(x.numpy(), a + turned)


@pytest.mark.parametrize("shape", SHAPES)
def test_strides_of_all_kinds(shape):
    a = numbers(shape, np.float32, 2)
    x = fe.tensor(a)
    row, column = a[..., :1, :], a[..., :, :1]
    views = [
        (x[..., :1, :] + x, row + a),
        (x[..., :, :1] * x, column * a),
        (x[..., :, :1] + x[..., :1, :], column + row),
        (x[..., ::2, :] + x[..., ::2, :], a[..., ::2, :] * 2),
        (x[..., ::2] + 1, a[..., ::2] + 1),
        (x.flip(-1) + x.flip(0), a[..., ::-1] + a[::-1]),
        (
            x.mT[..., ::3] + x.mT[..., 1:2],
            a.swapaxes(-1, -2)[..., ::3] + a.swapaxes(-1, -2)[..., 1:2],
        ),
        (x.expand(2, *shape) + x, np.broadcast_to(a, (2, *shape)) + a),
    ]
    for got, expected in views:
        assert np.array_equal(got.numpy(), expected)


def test_writing_into_views():
    a = numbers((300, 400), np.float32, 3)
    x = fe.tensor(a)
    expected = a.copy()
    x.mT.add_(x.mT[:, :1])
    expected.T[...] += a.T[:, :1]
    assert np.array_equal(x.numpy(), expected)
    x[::2, 1::3].mul_(2)
    expected[::2, 1::3] *= 2
    assert np.array_equal(x.numpy(), expected)
    before = expected.copy()
    x[1:].add_(x[:-1])  # operands overlap: as if the second were copied first
    expected[1:] += before[:-1]
    assert np.array_equal(x.numpy(), expected)
