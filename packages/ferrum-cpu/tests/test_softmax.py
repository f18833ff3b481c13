"""softmax and log_softmax in C, and their gradients, along any axis and in any layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrum.dtypes import FLOATS, bfloat16, float16, float32, float64
from ferrum_cpu.kernels.softmax import kernels

Array = np.ndarray[Any, Any]
KERNELS = {name.removeprefix("core."): kernel.function for name, kernel in kernels().items()}
TOLERANCE = {float16: 1e-3, bfloat16: 8e-3, float32: 1e-6, float64: 4e-15}


def softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True)) if x.size else x
    return e / e.sum(axis, keepdims=True)


def log_softmax(x: Array, axis: int) -> Array:
    centred = x - x.max(axis, keepdims=True) if x.size else x
    return centred - np.log(np.exp(centred).sum(axis, keepdims=True))


def check(name: str, x: Array, y: Array, axis: int) -> None:
    wide, out = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(all="ignore"):
        want = {
            "softmax": lambda: softmax(wide, axis),
            "log_softmax": lambda: log_softmax(wide, axis),
            "softmax_backward": lambda: out * (wide - (wide * out).sum(axis, keepdims=True)),
            "log_softmax_backward": lambda: wide - np.exp(out) * wide.sum(axis, keepdims=True),
        }[name]()
    backward = name.endswith("backward")
    got = KERNELS[name](x, y, axis=axis) if backward else KERNELS[name](x, axis=axis)
    assert got.dtype == x.dtype and got.shape == x.shape and got.flags.c_contiguous
    scale = 1 + np.abs(want)
    if backward:
        weight = np.exp(out) if "log" in name else np.abs(out) * np.abs(out).max(initial=1)
        scale = scale + np.abs(wide).sum(axis, keepdims=True) * weight
    error = np.abs(got.astype(np.float64) - want) / scale
    assert np.all(error <= TOLERANCE[x.dtype]), float(error.max())
    if name == "softmax":
        ratio = np.abs(got.astype(np.float64) / np.maximum(want, 1e-30) - 1)
        assert np.all((ratio <= 4 * TOLERANCE[x.dtype]) | (want < 1e-4))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_values(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(FLOATS))
    sizes = st.sampled_from([0, 1, 2, 5, 8, 17, 40, 70])
    shape = data.draw(
        st.lists(sizes, min_size=1, max_size=4).filter(lambda s: math.prod(s) < 60000)
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))

    def any_layout() -> Array:
        order = data.draw(st.permutations(range(len(shape))))
        steps = [data.draw(st.sampled_from([1, 1, 1, 2, -1])) for _ in shape]
        full = rng.uniform(-3, 3, [shape[axis] * abs(steps[axis]) for axis in order]).astype(dtype)
        x = full.transpose(np.argsort(order))
        return x[tuple(slice(None, None, step) for step in steps)]

    x, y = any_layout(), any_layout()
    axis = data.draw(st.integers(0, len(shape) - 1))
    for name in KERNELS:
        check(name, x, np.negative(np.abs(y)) if "log" in name else y, axis)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(3, 40_000), (300, 400), (9000, 10), (7, 90, 100), (2, 9000)])
def test_long_ones_have_the_same_bits_on_any_number_of_threads(
    dtype: Any, shape: tuple[int, ...], threads: Callable[[int], None], each_isa: str
) -> None:
    rng = np.random.default_rng(5)
    x, y = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    for name, kernel in KERNELS.items():
        operands = (x, -np.abs(y)) if name.endswith("backward") else (x,)
        for axis in range(len(shape)):
            results = []
            for count in (1, 2, 7):
                threads(count)
                results.append(kernel(*operands, axis=axis).tobytes())
            assert results[0] == results[1] == results[2]
    check("softmax", x, y, len(shape) - 1)
    check("log_softmax", x, y, 0)
    check("softmax_backward", x, y, 0)
    check("log_softmax_backward", x, -np.abs(y), len(shape) - 1)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [1, 2, 9, 63, 64, 130, 3000])
def test_far_numbers_and_none(dtype: Any, n: int, each_isa: str) -> None:
    inf, nan = np.inf, np.nan
    x = np.tile(np.linspace(-1, 1, n), (6, 1))
    x[1] += 1e4
    x[2] = -inf
    x[3, n // 2] = -inf
    x[4, n // 2] = nan
    x[5, n - 1] = inf
    x = x.astype(dtype)
    for name, function in (("softmax", softmax), ("log_softmax", log_softmax)):
        with np.errstate(all="ignore"):
            want = function(x.astype(np.float64), 1)
        for got in (KERNELS[name](x, axis=1), KERNELS[name](x.T, axis=0).T):
            got = got.astype(np.float64)
            assert np.isnan(got[[2, 4]]).all()
            finite = np.isfinite(want)
            assert np.array_equal(np.isnan(got), np.isnan(want))
            assert np.array_equal(got[np.isinf(want)], want[np.isinf(want)])
            room = 4 * TOLERANCE[dtype]
            np.testing.assert_allclose(got[finite], want[finite], rtol=room, atol=room)


def test_what_is_no_call_is_declined() -> None:
    x = np.ones((3, 4), np.float32)
    for bad in ("text", None, [1.0], 3, np.float32(2), x.astype(int), x.astype(complex)):
        assert KERNELS["softmax"](bad, axis=0) is NotImplemented
        assert KERNELS["softmax_backward"](bad, x, axis=0) is NotImplemented
        assert KERNELS["softmax_backward"](x, bad, axis=0) is NotImplemented
    for axis in (2, -1):
        assert KERNELS["log_softmax"](x, axis=axis) is NotImplemented
    assert KERNELS["softmax_backward"](x, x[:2], axis=0) is NotImplemented
    assert KERNELS["softmax_backward"](x, x.astype(float), axis=0) is NotImplemented
