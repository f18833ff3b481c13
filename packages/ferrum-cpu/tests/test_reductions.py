"""Reductions in C: values in every layout, accuracy, and bits that no thread count changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrum.dtypes import DTYPES, FLOATS, bfloat16, bool_, float16, float32, float64
from ferrum_cpu.kernels.reductions import kernels
from ferrum_cpu.library import lib

Array = np.ndarray[Any, Any]
KERNELS = {name.removeprefix("core."): kernel.function for name, kernel in kernels().items()}

# Of the absolute values that are added up; results are rounded once, by half of these.
TOLERANCE = {float16: 2e-3, bfloat16: 2e-2, float32: 5e-7, float64: 1e-14}


@st.composite
def arrays(draw: st.DrawFn, dtypes: Any = DTYPES) -> Array:
    """Return an array of any dtype, shape and layout."""
    dtype = draw(st.sampled_from(dtypes))
    sizes = st.sampled_from([0, 1, 2, 3, 5, 9, 17, 40, 70])
    shape = draw(st.lists(sizes, min_size=0, max_size=4).filter(lambda s: math.prod(s) < 60000))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 1, 1, 2, -1, -3])) for _ in shape]
    full = [shape[axis] * abs(steps[axis]) for axis in order]
    if dtype.kind in "biu":
        values = rng.integers(0, 2 if dtype is bool_ else 100, full).astype(dtype)
    else:
        values = rng.uniform(-1, 1, full).astype(dtype)
    x = values.transpose(np.argsort(order)) if shape else values
    x = x[tuple(slice(None, None, step) for step in steps)] if shape else x
    if shape and draw(st.integers(0, 4)) == 0:
        axis = draw(st.integers(0, len(shape) - 1))
        x = (
            np.broadcast_to(
                x[tuple(slice(0, 1) if i == axis else slice(None) for i in range(x.ndim))], shape
            )
            if x.shape[axis]
            else x
        )
    return x


def axes_of(draw: Any, x: Array) -> tuple[int, ...]:
    return tuple(axis for axis in range(x.ndim) if draw(st.booleans()))


def expected(name: str, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    wide = x.astype(np.int64 if x.dtype.kind in "iub" else np.float64)
    function = getattr(np, name)
    with np.errstate(all="ignore"):
        return np.asarray(function(wide, axis=axes, keepdims=keepdims))


def check(got: Any, want: Array, x: Array, scale: Any = 1.0) -> None:
    assert isinstance(got, np.ndarray) and got.shape == want.shape
    if got.dtype.kind in "biu":
        np.testing.assert_array_equal(got, want)
    else:
        room = TOLERANCE[x.dtype]
        error = np.abs(got.astype(np.float64) - want)
        assert np.all(error <= room * (np.abs(want) + scale)), float(np.max(error))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_sums_and_extrema(data: st.DataObject) -> None:
    x = data.draw(arrays())
    axes, keepdims = axes_of(data.draw, x), data.draw(st.booleans())
    total = expected("sum", np.abs(x.astype(np.float64)), axes, keepdims)
    check(
        KERNELS["sum"](x, axes=axes, keepdims=keepdims),
        expected("sum", x, axes, keepdims),
        x,
        total,
    )
    for name in ("any", "all"):
        got = KERNELS[name](x, axes=axes, keepdims=keepdims)
        assert got.dtype == bool
        np.testing.assert_array_equal(got, expected(name, x, axes, keepdims))
    if all(x.shape[axis] for axis in axes):
        for name in ("max", "min"):
            got = KERNELS[name](x, axes=axes, keepdims=keepdims)
            assert got.dtype == x.dtype
            np.testing.assert_array_equal(
                got.astype(np.float64), expected(name, x.astype(np.float64), axes, keepdims)
            )


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_means_and_variances(data: st.DataObject) -> None:
    x = data.draw(arrays(FLOATS))
    axes, keepdims = axes_of(data.draw, x), data.draw(st.booleans())
    count = math.prod(x.shape[axis] for axis in axes)
    if count:
        check(
            KERNELS["mean"](x, axes=axes, keepdims=keepdims), expected("mean", x, axes, keepdims), x
        )
    else:
        assert np.isnan(KERNELS["mean"](x, axes=axes, keepdims=keepdims)).all()
    for correction in (0, 1, 0.5):
        got = KERNELS["var"](x, axes=axes, correction=correction, keepdims=keepdims)
        if count > correction:
            want = expected("var", x, axes, keepdims) * count / (count - correction)
            check(got, want, x)
        else:
            assert np.isnan(got).all()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_products(data: st.DataObject) -> None:
    x = data.draw(arrays())
    axes = axes_of(data.draw, x)
    got = KERNELS["prod"](x, axes=axes, keepdims=False)
    with np.errstate(all="ignore"):
        check(got, expected("prod", x, axes, False), x)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_along_one_axis(data: st.DataObject) -> None:
    x = data.draw(arrays().filter(lambda x: x.ndim))
    axis = data.draw(st.integers(0, x.ndim - 1))
    wide = x.astype(np.int64 if x.dtype.kind in "iub" else np.float64)
    total = np.cumsum(np.abs(x.astype(np.float64)), axis)
    check(KERNELS["cumulative_sum"](x, axis=axis), np.cumsum(wide, axis), x, total)
    if x.shape[axis]:
        coarse = np.round(x.astype(np.float32) * 3).astype(x.dtype) if x.dtype != bool else x
        for values in (x, coarse):
            for name in ("argmax", "argmin"):
                got = KERNELS[name](values, axis=axis, keepdims=True)
                plain = values.astype(np.float64)
                want = getattr(np, name)(plain, axis=axis, keepdims=True)
                assert got.dtype == np.int64
                np.testing.assert_array_equal(got, want)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_sum_to_undoes_broadcasting(data: st.DataObject) -> None:
    x = data.draw(arrays(FLOATS))
    lead = data.draw(st.integers(0, x.ndim))
    shape = tuple(1 if data.draw(st.booleans()) else n for n in x.shape[lead:])
    axes = (*range(lead), *(lead + i for i, n in enumerate(shape) if n != x.shape[lead + i]))
    want = expected("sum", x, axes, False).reshape(shape)
    total = expected("sum", np.abs(x.astype(np.float64)), axes, False).reshape(shape)
    check(KERNELS["sum_to"](x, shape=shape), want, x, total)


def long_arrays() -> Iterator[tuple[str, Array, tuple[int, ...]]]:
    """Yield arrays that are cut into tasks in all the ways there are, and axes."""
    rng = np.random.default_rng(3)
    for dtype in (float32, float64, bfloat16, np.dtype(np.int32)):
        x = (rng.standard_normal(700_001) * 100).astype(dtype)
        square = x[: 800 * 800].reshape(800, 800)
        yield f"all {dtype}", x, (0,)
        yield f"backwards {dtype}", x[::-1], (0,)
        yield f"every third {dtype}", x[::3], (0,)
        yield f"columns {dtype}", square, (0,)
        yield f"rows {dtype}", square, (1,)
        yield f"transposed {dtype}", square.T, (0,)
        yield f"few columns {dtype}", x[:700_000].reshape(-1, 5), (0,)
        yield f"short rows {dtype}", x[:700_000].reshape(-1, 5), (1,)
        yield f"middle {dtype}", x[:700_000].reshape(10, 7000, 10), (1,)
        yield f"ends {dtype}", x[:700_000].reshape(100, 70, 100), (0, 2)
        yield f"wide {dtype}", x[:700_000].reshape(7, -1), (0,)


@pytest.mark.parametrize("case", list(long_arrays()), ids=lambda case: case[0])
def test_long_ones_have_the_same_bits_on_any_number_of_threads(
    case: Any, threads: Callable[[int], None], each_isa: str
) -> None:
    _, x, axes = case
    names = ["sum", "max", "min", "any"] + (["mean", "var"] if x.dtype in FLOATS else [])
    for name in names:
        extra = {"correction": 1} if name == "var" else {}
        results = []
        for count in (1, 2, 7):
            threads(count)
            results.append(KERNELS[name](x, axes=axes, keepdims=False, **extra))
        assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()
        if name in ("sum", "max", "min", "mean"):
            total = expected("sum", np.abs(x.astype(np.float64)), axes, False)
            check(results[0], expected(name, x, axes, False), x, total)
        elif name == "var":
            want = np.var(x.astype(np.float64), axis=axes, ddof=1)
            assert np.all(np.abs(results[0].astype(np.float64) / want - 1) < 8 * TOLERANCE[x.dtype])
    for name in ("argmax", "argmin", "cumulative_sum"):
        results = []
        for count in (1, 2, 7):
            threads(count)
            extra = {} if name == "cumulative_sum" else {"keepdims": False}
            results.append(KERNELS[name](x, axis=axes[0], **extra))
        assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()
        if name != "cumulative_sum":
            want = getattr(np, name)(x.astype(np.float64), axis=axes[0])
            np.testing.assert_array_equal(results[0], want)


def test_ten_million_float32(each_isa: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.random(10_000_000, dtype=np.float32)
    for values in (x, x - np.float32(0.25), x + np.float32(1e4)):
        want = values.sum(dtype=np.float64)
        got = float(KERNELS["sum"](values, axes=(0,), keepdims=False))
        assert abs(got / want - 1) < 1e-7
        table = values.reshape(2500, 4000)
        for axis in (0, 1):
            exact = table.sum(axis, dtype=np.float64)
            error = KERNELS["sum"](table, axes=(axis,), keepdims=False) / exact - 1
            assert np.abs(error).max() < 2e-7


@pytest.mark.parametrize("dtype", [float32, float64])
def test_variance_far_from_zero(dtype: Any) -> None:
    """At an offset of 1e4 the squares of float32 have no digit left that counts."""
    x = (np.random.default_rng(2).standard_normal((300, 1000)) + 1e4).astype(dtype)
    for axes in ((0,), (1,), (0, 1)):
        got = KERNELS["var"](x, axes=axes, correction=1, keepdims=False)
        want = np.var(x.astype(np.float64), axis=axes, ddof=1)
        np.testing.assert_allclose(got, want, rtol=3e-7 if dtype == float32 else 1e-12)
    first = np.array([1e8, *range(1000)], dtype)
    got = KERNELS["var"](first, axes=(0,), correction=0, keepdims=False)
    np.testing.assert_allclose(got, np.var(first.astype(np.float64)), rtol=3e-7)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [1, 3, 16, 63, 64, 65, 200, 5000])
def test_not_a_number_wins(dtype: Any, n: int, each_isa: str) -> None:
    for place in {0, n // 2, n - 1}:
        x = np.zeros((n, 3), dtype)
        x[:, 1] = -np.inf
        x[place, 0] = np.nan
        x[place, 2] = np.inf
        for name in ("max", "min", "sum", "prod"):
            for view, axis in ((x, 0), (np.ascontiguousarray(x.T), 1), (x.T, 1)):
                got = KERNELS[name](view, axes=(axis,), keepdims=False).astype(np.float64)
                with np.errstate(all="ignore"):
                    want = getattr(np, name)(view.astype(np.float64), axis=axis)
                assert np.isnan(got[0])
                np.testing.assert_array_equal(got, want)
        for name in ("argmax", "argmin"):
            for view, axis in ((x, 0), (np.ascontiguousarray(x.T), 1), (x.T, 1)):
                got = KERNELS[name](view, axis=axis, keepdims=False)
                np.testing.assert_array_equal(got, getattr(np, name)(view.astype(float), axis=axis))


def test_integers_wrap_and_products_do_not_overflow_on_the_way() -> None:
    big = np.full(100, 2**62, np.int64)
    assert KERNELS["sum"](big, axes=(0,), keepdims=False) == 100 * 2**62 % 2**64
    assert KERNELS["prod"](big, axes=(0,), keepdims=False) == 0
    x = np.array([1e30] * 2 + [1e-30] * 2, np.float32)
    assert abs(KERNELS["prod"](x, axes=(0,), keepdims=False) - 1) < 1e-6


def test_nothing_at_all() -> None:
    x = np.empty((0, 3), np.float32)
    for name, want in (("sum", 0), ("prod", 1), ("any", False), ("all", True)):
        np.testing.assert_array_equal(KERNELS[name](x, axes=(0,), keepdims=False), [want] * 3)
        assert KERNELS[name](x, axes=(1,), keepdims=False).shape == (0,)


def test_what_is_no_call_is_declined() -> None:
    x = np.ones((3, 4), np.float32)
    for name, bad in product(("sum", "mean"), ("text", None, [1.0], 3, np.float32(2))):
        assert KERNELS[name](bad, axes=(0,), keepdims=False) is NotImplemented
        assert KERNELS["sum_to"](bad, shape=()) is NotImplemented
    for axes in ((2,), (-1,), (0, 0)):
        assert KERNELS["sum"](x, axes=axes, keepdims=False) is NotImplemented
    for shape in ((3,), (2, 3, 4), (4, 4), (0,)):
        assert KERNELS["sum_to"](x, shape=shape) is NotImplemented
    assert KERNELS["mean"](x.astype(int), axes=(0,), keepdims=False) is NotImplemented
    assert KERNELS["sum"](x.astype(complex), axes=(0,), keepdims=False) is NotImplemented


def test_c_declines_results_that_do_not_fit() -> None:
    x, wide = np.ones((3, 4), np.float32), np.ones((3, 8), np.float32)
    for out in (np.ones(3, np.float32), np.ones(4), wide[0, ::2], np.ones(4, complex)):
        assert lib.reduce(0, id(x), id(out), 1, 0.0) == 1
        assert lib.reduce_index(0, id(x), id(out), 0) == 1
        assert lib.cumulative_sum(id(x), id(out), 0) == 1
    good = np.empty(4, np.float32)
    for op, axes in ((-1, 1), (8, 1), (0, 5), (0, 2**63)):
        assert lib.reduce(op, id(x), id(good), axes, 0.0) == 1
    assert lib.reduce(0, id(x), id(good), 1, 0.0) == 0 and good.tolist() == [3.0] * 4


@pytest.mark.parametrize("size", [1, 5, 3000])
@pytest.mark.parametrize(("value", "want"), [(2.0**700, 0.0), (1.7e308, math.inf)])
def test_variance_of_values_whose_squares_are_too_large(
    value: float, want: float, size: int
) -> None:
    x = np.full((2 * size, 3), value)
    got = KERNELS["var"](x, axes=(0,), correction=1, keepdims=False)
    assert (got == want).all()
    got = KERNELS["var"](x.T.copy(), axes=(1,), correction=1, keepdims=False)
    assert (got == want).all()
    x[1] = np.nan
    assert np.isnan(KERNELS["var"](x, axes=(0,), correction=1, keepdims=False)).all()
