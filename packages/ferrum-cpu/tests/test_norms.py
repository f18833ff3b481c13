"""Normalisation in C, on each instruction set: far from 0, in any layout, on any threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from ferrum.dtypes import FLOATS, bfloat16, float16, float32, float64
from ferrum_cpu.kernels import norms

Array = np.ndarray[Any, Any]
TOLERANCE = {float16: 1e-3, bfloat16: 8e-3, float32: 1e-6, float64: 1e-11}
SHAPES = [(3, 5), (7, 16), (2, 17), (9, 700), (33, 4001), (700, 6), (40000, 2), (1, 1)]
BATCHES = [(5, 3), (600, 7), (9, 700), (40000, 3), (4, 3, 5), (3, 2, 31), (5, 3, 32), (2, 3, 7000)]


def arrays(shape: tuple[int, ...], dtype: Any, offset: float = 0.0) -> Iterator[Array]:
    """Yield numbers in each layout."""
    dense = (np.random.default_rng(0).normal(size=shape) + offset).astype(dtype)
    yield dense
    yield np.asfortranarray(dense)
    yield np.repeat(dense, 2, axis=-1)[..., ::2]
    yield np.flip(np.flip(dense).copy())


def rows(x: Array, g: Array, w: Array, b: Array, axis: Any, centred: bool = True) -> list[Array]:
    """Return the result and the gradients, in float64: over the axes `axis`."""
    x, g = x.astype(np.float64), g.astype(np.float64)
    x = x - x.mean(axis, keepdims=True) if centred else x
    scale = 1 / np.sqrt((x**2).mean(axis, keepdims=True) + 1e-5)
    y, gw = x * scale, g * w
    dx = gw - y * (gw * y).mean(axis, keepdims=True)
    dx = (dx - gw.mean(axis, keepdims=True) if centred else dx) * scale
    return [y * w + b, dx, y * g]


def near(got: Array, want: Array, dtype: Any, count: int = 1) -> None:
    """Compare, the latter with as many more roundings as numbers were added."""
    scale = np.abs(want).max(initial=1.0) * TOLERANCE[dtype] * 2
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=0, atol=scale * count**0.25)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rows(shape: tuple[int, ...], dtype: Any, each_isa: str) -> None:
    weight, bias = np.linspace(0.5, 2, shape[1]).astype(dtype), np.ones(shape[1], dtype)
    offset = 1e4 if dtype is float32 and shape[1] > 3 else 0.0
    g = next(arrays(shape, dtype))[::-1]
    for x in arrays(shape, dtype, offset):
        for centred in (True, False):
            w = weight.astype(np.float64)
            if centred:
                out = norms.layer_norm(x, weight, bias, last=1, eps=1e-5)
                found = norms.layer_norm_backward(g, x, weight, last=1, eps=1e-5)
                near(found[2], g.astype(np.float64).sum(0), dtype, len(x))
            else:
                out = norms.rms_norm(x, weight, last=1, eps=1e-5)
                found = norms.rms_norm_backward(g, x, weight, last=1, eps=1e-5)
            want, dx, products = rows(x, g, w, np.full(1, 1.0 if centred else 0.0), 1, centred)
            near(out, want, dtype)
            if offset == 0 or centred:
                near(found[0], dx, dtype)
                near(found[1], products.sum(0), dtype, len(x))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", BATCHES)
def test_batches(shape: tuple[int, ...], dtype: Any, each_isa: str) -> None:
    along = (-1, *(1,) * (len(shape) - 2))
    axes = (0, *range(2, len(shape)))
    weight, bias = np.linspace(0.5, 2, shape[1]).astype(dtype), np.ones(shape[1], dtype)
    g = next(arrays(shape, dtype))[::-1]
    count = g.size // shape[1]
    for x in arrays(shape, dtype, 1e4 if dtype is float32 else 0.0):
        out, mean, var = norms.batch_norm(x, weight, bias, eps=1e-5)
        wide = x.astype(np.float64)
        np.testing.assert_allclose(mean, wide.mean(axes), rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(var, wide.var(axes), rtol=1e-9)
        w = weight.astype(np.float64).reshape(along)
        want, dx, products = rows(x, g, w, np.ones(1), axes)
        near(out, want, dtype)
        near(norms.batch_norm_eval(x, mean, var, weight, bias, eps=1e-5), want, dtype)
        found = norms.batch_norm_backward(g, x, mean, var, weight, eps=1e-5, training=True)
        near(found[0], dx, dtype)
        near(found[1], products.sum(axes), dtype, count)
        near(found[2], g.astype(np.float64).sum(axes), dtype, count)
        found = norms.batch_norm_backward(g, x, mean, var, weight, eps=1e-5, training=False)
        scale = w / np.sqrt(var.reshape(along) + 1e-5)
        near(found[0], g.astype(np.float64) * scale, dtype)


def results(x: Array, g: Array) -> Iterator[Array]:
    w, mean = np.ones(x.shape[1], x.dtype), np.zeros(x.shape[1])
    one = np.ones(x.shape[1:], x.dtype)
    last = x.ndim - 1
    yield norms.layer_norm(x, one, one, last=last, eps=1e-5)
    yield from norms.layer_norm_backward(g, x, one, last=last, eps=1e-5)
    yield norms.rms_norm(x, one, last=last, eps=1e-5)
    yield from norms.rms_norm_backward(g, x, one, last=last, eps=1e-5)
    yield from norms.batch_norm(x, w, w, eps=1e-5)
    yield norms.batch_norm_eval(x, mean, mean, w, w, eps=1e-5)
    yield from norms.batch_norm_backward(g, x, mean, mean + 1, w, eps=1e-5, training=True)


@pytest.mark.parametrize("shape", [(300, 1000), (50000, 7), (3, 90000), (40, 30, 200)])
@pytest.mark.parametrize("dtype", [float32, float64, bfloat16])
def test_bits_depend_on_neither_threads_nor_layout(
    shape: tuple[int, ...], dtype: Any, threads: Callable[[int], None]
) -> None:
    g = next(arrays(shape, dtype))[::-1]
    expected = None
    for count in (1, 2, 3, 7):
        threads(count)
        for x in arrays(shape, dtype):
            found = [each.tobytes() for each in results(x, g)]
            expected = expected or found
            assert found == expected


def test_large_numbers_do_not_overflow_on_the_way(each_isa: str) -> None:
    x = np.array([[3e38, -3e38, 1e38, 2e37]], np.float32)
    want = rows(x, x, np.ones(4), np.zeros(4), 1)[0]
    near(norms.layer_norm(x, None, None, last=1, eps=1e-5), want, float32)
    column = np.ascontiguousarray(x.T)
    near(norms.batch_norm(column, None, None, eps=1e-5)[0], want.T, float32)


def test_numbers_repeated_beyond_memory_are_no_danger() -> None:
    x, many = np.zeros((0, 2**58), np.float32), np.broadcast_to(np.float32(1), 2**58)
    assert norms.layer_norm(x, many, many, last=1, eps=0.1).shape == x.shape
    assert norms.batch_norm_eval(x, many, many, many, many, eps=0.1).shape == x.shape
