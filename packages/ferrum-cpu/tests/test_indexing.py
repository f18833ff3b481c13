"""Indexing, sorting and searching, against `ferrum.reference`, to the bit."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrum import reference
from ferrum.errors import OutOfRangeError
from ferrum_cpu.kernels import indexing
from ferrum_cpu.library import lib

DTYPES = [np.dtype(name) for name in ("?", "u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8")]
DTYPES.append(np.dtype(ml_dtypes.bfloat16))
INDICES = ["u1", "i1", "i2", "i4", "i8"]


@pytest.fixture(params=[1, 2, 5])
def threads(request: pytest.FixtureRequest):
    before = lib.threads_get()
    lib.threads_set(request.param)
    yield request.param
    lib.threads_set(before)


def same(a: np.ndarray, b: np.ndarray) -> None:
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert a.flags.c_contiguous
    assert a.tobytes() == np.ascontiguousarray(b).tobytes()


@st.composite
def arrays(draw, shape, dtype=None):
    """Draw an array of any dtype and layout."""
    dtype = draw(st.sampled_from(DTYPES)) if dtype is None else dtype
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    values = rng.integers(0, 2, shape) if dtype.kind == "b" else rng.integers(-9, 9, shape) * 0.75
    x = np.asarray(values).astype(dtype)
    layout = draw(st.integers(0, 3))
    if layout == 1:
        return x.T.copy().T
    if layout == 2 and x.ndim:
        return np.repeat(x, 3, -1)[..., ::3]
    if layout == 3 and x.ndim:
        return x[::-1].copy()[::-1]
    return x


@st.composite
def indices(draw, shape, size, negative=True):
    """Draw integers from an axis of a size."""
    dtype = np.dtype(draw(st.sampled_from(INDICES)))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    least = -size if negative and dtype.kind == "i" else 0
    index = np.asarray(rng.integers(least, max(size, 1), shape)).astype(dtype)
    return np.asarray(index.T.copy().T if draw(st.booleans()) else index)


def shapes(least=0, axes=(1, 3)):
    return st.lists(st.integers(least, 5), min_size=axes[0], max_size=axes[1]).map(tuple)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_picking_and_placing(data):
    draw = data.draw
    shape = draw(shapes(1))
    x = draw(arrays(shape))
    joint = draw(shapes(0, (0, 2)))
    used = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    lists = []
    for axis, size in enumerate(shape):
        own = tuple(n if draw(st.booleans()) else 1 for n in joint)
        lists.append(draw(indices(own, size)) if axis in used else None)
    want = reference.index(x, lists)
    same(indexing.index(x, lists), want)
    cut = draw(st.integers(0, want.ndim))
    values = draw(arrays(tuple(n if draw(st.booleans()) else 1 for n in want.shape[cut:]), x.dtype))
    # NumPy's add.at reads past the end of values that broadcast, where x has one axis.
    spread = np.broadcast_to(values, want.shape).copy()
    for accumulate in (False, True):
        got = indexing.index_put(x, values, lists, accumulate=accumulate)
        same(got, reference.index_put(x, spread, lists, accumulate=accumulate))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_gathering_and_scattering(data):
    draw = data.draw
    shape = draw(shapes(1))
    axis = draw(st.integers(0, len(shape) - 1))
    x = draw(arrays(shape))
    smaller = tuple(draw(st.integers(0, 9 if i == axis else n)) for i, n in enumerate(shape))
    index = draw(indices(smaller, shape[axis], negative=False))
    same(indexing.gather(x, index, axis=axis), reference.gather(x, index, axis=axis))
    src = draw(arrays(tuple(n + draw(st.integers(0, 2)) for n in smaller), x.dtype))
    got = indexing.scatter_add(x, index, src, axis=axis)
    same(got, reference.scatter_add(x, index, src, axis=axis))


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_sorting_and_searching(data):
    draw = data.draw
    shape = draw(shapes())
    x = draw(arrays(shape))
    if x.dtype.kind == "f" and x.size and draw(st.booleans()):
        x = x.copy()
        x.flat[0], x.flat[-1] = np.nan, -0.0
    for axis in range(len(shape)):
        for descending in (False, True):
            got = indexing.argsort(x, axis=axis, descending=descending)
            same(got, reference.argsort(x, axis=axis, descending=descending))
    same(indexing.nonzero(x), reference.nonzero(x))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sorting_long_rows(threads, dtype):
    rng = np.random.default_rng(5)
    for n in (47, 48, 49, 300, 2047, 2048, 20_000):
        x = (rng.standard_normal((3, n)) * 90).astype(dtype)
        if dtype.kind in "fV" or dtype.name == "bfloat16":
            x[0, ::7], x[1, ::5], x[2, ::11], x[0, ::3] = np.nan, np.inf, -np.inf, -0.0
            x[0, 1::3] = 0.0
        for descending in (False, True):
            got = indexing.argsort(x, axis=1, descending=descending)
            same(got, reference.argsort(x, axis=1, descending=descending))
        want = reference.argsort(x.T, axis=0, descending=False)
        same(indexing.argsort(x.T, axis=0, descending=False), want)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "?"])
def test_large_ones_with_many_meetings(threads, dtype):
    rng = np.random.default_rng(6)
    x = rng.integers(-3, 3, (50, 67)).astype(dtype)
    values = rng.standard_normal((3001, 67)).astype(dtype)
    rows = rng.integers(-50, 50, 3001)
    same(indexing.index(x, [rows, None]), reference.index(x, [rows, None]))
    for accumulate in (False, True):
        got = indexing.index_put(x, values, [rows, None], accumulate=accumulate)
        same(got, reference.index_put(x, values, [rows, None], accumulate=accumulate))
        got = indexing.index_put(x.T, values.T, [None, rows], accumulate=accumulate)
        same(got, reference.index_put(x.T, values.T, [None, rows], accumulate=accumulate))
    for axis, size in ((0, 50), (1, 67)):
        index = rng.integers(0, size, (50, 67) if axis else (3001, 67))
        same(indexing.gather(x, index, axis=axis), reference.gather(x, index, axis=axis))
        got = indexing.scatter_add(x, index, values, axis=axis)
        same(got, reference.scatter_add(x, index, values, axis=axis))
    same(indexing.nonzero(values), reference.nonzero(values))


@pytest.mark.parametrize("bad", [4, -5, 2**40, -(2**63)])
def test_indices_outside_are_named_as_the_reference_names_them(bad):
    x, index = np.arange(12.0).reshape(4, 3), np.array([0, bad])
    src = np.ones((2, 3))
    grid = np.broadcast_to(index[:, None], (2, 3))
    calls = [
        ("index", (x, [index, None]), {}),
        ("index_put", (x, src, [index, None]), {"accumulate": True}),
        ("gather", (x, grid), {"axis": 0}),
        ("scatter_add", (x, grid, src), {"axis": 0}),
    ]
    for name, args, attrs in calls:
        with pytest.raises(OutOfRangeError) as theirs:
            getattr(reference, name)(*args, **attrs)
        with pytest.raises(OutOfRangeError) as ours:
            getattr(indexing, name)(*args, **attrs)
        assert str(ours.value) == str(theirs.value)
    assert x.tolist() == np.arange(12.0).reshape(4, 3).tolist()


def test_an_axis_of_no_elements_has_no_index():
    x = np.zeros((0, 3), np.float32)
    with pytest.raises(OutOfRangeError, match="axis of size 0"):
        indexing.index(x, [np.array([0]), None])
    with pytest.raises(OutOfRangeError, match="axis 0 of size 0"):
        indexing.gather(x, np.zeros((1, 3), np.int64), axis=0)
    same(indexing.index(x, [np.zeros(0, np.int64), None]), np.zeros((0, 3), np.float32))


def test_empty_axes_around_the_picked_one():
    x = np.zeros((500, 0, 4, 300, 0), np.float32)
    index = np.zeros(7, np.int64)
    for lists in ([None, None, index, None, None], [None, None, index, None, index[:0]]):
        if lists[4] is not None:
            lists[2] = index[:0]
        same(indexing.index(x, lists), reference.index(x, lists))
        same(indexing.index_put(x, np.ones((), "f4"), lists, accumulate=True), x)


def test_an_index_outside_that_picks_nothing_is_refused():
    x, none = np.ones((2, 3), "f4"), np.zeros(0, "i8")
    for bad in (np.array([2]), np.array([-3]), np.array(99)):
        with pytest.raises(OutOfRangeError, match="axis of size 2"):
            indexing.index(x, [bad, none])
        with pytest.raises(OutOfRangeError, match="axis of size 2"):
            indexing.index_put(x, np.ones((), "f4"), [bad, none], accumulate=False)
    assert indexing.index(x, [np.array([-2]), none]).shape == (0,)


def test_values_at_odd_addresses_are_added():
    memory = np.zeros(17, np.uint8)
    memory[1:] = np.arange(4, dtype=np.int32).view(np.uint8)
    values = np.ndarray((4,), np.int32, memory, offset=1)
    assert not values.flags.aligned
    x, picked = np.arange(40, dtype=np.int32), np.array([3, 3, 0, 39])
    got = indexing.index_put(x, values, [picked], accumulate=True)
    want = x.copy()
    np.add.at(want, picked, np.arange(4))
    assert got.tolist() == want.tolist()
