"""Random numbers: the bits of `ferrum.philox`."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrum import philox
from ferrum_cpu.kernels import random
from ferrum_cpu.library import ISAS, isa, lib

FLOATS = [np.dtype(name) for name in ("f2", "f4", "f8")] + [np.dtype(ml_dtypes.bfloat16)]
WHOLE = [np.dtype(name) for name in ("?", "u1", "i1", "i2", "i4", "i8")]
KEYS = [(0, 0), (2**64 - 1, 2**64 - 1), (-3, 2**64 + 7), (2**33 + 5, 2**32)]
SIZES = [0, 1, 2, 3, 127, 129, 1023, 1025, 16383, 40001]


@pytest.fixture(params=ISAS)
def each_isa(request: pytest.FixtureRequest):
    if not lib.isa_choose(request.param.encode()):
        pytest.skip(f"this processor does not run {request.param}")
    yield request.param
    lib.isa_choose(isa.encode())


@pytest.fixture(params=[1, 2, 5])
def threads(request: pytest.FixtureRequest):
    before = lib.threads_get()
    lib.threads_set(request.param)
    yield request.param
    lib.threads_set(before)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", ["uniform", "normal"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floats_have_the_bits_of_philox(each_isa, threads, name, dtype):
    for key in KEYS:
        for size in SIZES:
            got = getattr(random, name)(shape=(size,), dtype=dtype, key=key)
            assert same_bits(got, getattr(philox, name)((size,), dtype, key)), (key, size)


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_integers_have_the_bits_of_philox(each_isa, threads, dtype):
    most = 2 if dtype.kind == "b" else int(np.iinfo(dtype).max) + 1
    least = 0 if dtype.kind == "b" else int(np.iinfo(dtype).min)
    for low, high in [(least, most), (0, 1), (least, least + 1), (0, most), (least, most - 1)]:
        for key in KEYS[:2]:
            got = random.randint(low=low, high=high, shape=(2051,), dtype=dtype, key=key)
            assert same_bits(got, philox.randint(low, high, (2051,), dtype, key)), (low, high)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 2**64), st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_any_range_of_integers_has_the_bits_of_philox(low, span, seed):
    high, int64 = min(low + span, 2**63), np.dtype(np.int64)
    got = random.randint(low=low, high=high, shape=(33,), dtype=int64, key=(seed, 1))
    assert same_bits(got, philox.randint(low, high, (33,), int64, (seed, 1)))


@pytest.mark.parametrize("n", [0, 1, 2, 47, 48, 49, 1000, 2047, 2049, 70001])
def test_permutations_are_those_of_philox(threads, n):
    for key in KEYS:
        assert same_bits(random.randperm(n=n, key=key), philox.permutation(n, key))


def test_a_million_normal_numbers_reach_into_the_tails(each_isa):
    got = random.normal(shape=(1000, 1000), dtype=np.dtype("f8"), key=(11, 12))
    assert same_bits(got, philox.normal((1000, 1000), np.dtype("f8"), (11, 12)))
    assert abs(got).max() > 4.5


def test_the_far_tail_is_computed(each_isa):
    """Draws so far out come once in 10¹¹: the loop is called with them."""
    from ferrum_cpu.library import ffi

    words = np.array([0, 1 << 11, 5 << 20, 2**64 - 1, 2**63, 3 << 60] * 7, np.uint64)
    out = np.empty(words.size)
    lib.normal_quantiles(ffi.from_buffer("uint64_t[]", words), ffi.from_buffer("double[]", out), 42)
    assert out.tobytes() == philox._quantile(words).tobytes()
    assert abs(out).max() == pytest.approx(8.2924, abs=1e-3)
