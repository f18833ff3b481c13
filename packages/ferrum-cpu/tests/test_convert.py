"""From one dtype to another: all float16 and bfloat16 numbers, ties, NaN, and every length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ferrum_cpu import _front
from ferrum_cpu.library import ISAS, ffi, lib, text
from ferrum_cpu.library import isa as chosen

BF16 = np.dtype(ml_dtypes.bfloat16)
WHOLE = ("bool", "uint8", "int8", "int16", "int32", "int64")
NARROW = (np.dtype("float16"), BF16)


def converted(x: np.ndarray, dtype: Any) -> np.ndarray:
    out = _front.empty("test", x.shape, np.dtype(dtype))
    assert lib.copy_into(id(x), id(out)) == 0
    return out


@pytest.fixture(params=ISAS, autouse=True)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each variant of the kernels that this processor runs."""
    if lib.isa_choose(request.param.encode()) == ffi.NULL:
        pytest.skip(f"this processor does not run {request.param}")
    yield request.param
    assert text(lib.isa_choose(chosen.encode())) == chosen


def every(dtype: np.dtype[Any]) -> np.ndarray:
    return np.arange(2**16, dtype=np.uint16).view(dtype)


def ties(dtype: np.dtype[Any], wide: str) -> np.ndarray:
    """Return the numbers half-way between neighbours, and those next to them."""
    with np.errstate(all="ignore"):
        x = every(dtype).astype(wide)
        x = x[np.isfinite(x) & (x >= 0)]
        middle = (x[1:] + x[:-1]) / 2
        near = [middle, np.nextafter(middle, 0), np.nextafter(middle, np.inf), x]
    half = np.concatenate(near).astype(wide)
    return np.concatenate([half, -half, np.array([np.inf, -np.inf, 65520, 3.4e38, 1e-30], wide)])


@pytest.mark.parametrize("wide", ["float32", "float64"])
@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_every_narrow_float_widens_exactly(dtype: np.dtype[Any], wide: str) -> None:
    x = every(dtype)
    got = converted(x, wide)
    with np.errstate(invalid="ignore"):
        want = x.astype(wide)
    number = ~np.isnan(want)
    assert np.array_equal(np.isnan(got), ~number)
    assert np.array_equal(got[number], want[number])
    assert np.array_equal(np.signbit(got), np.signbit(want))


@pytest.mark.parametrize("wide", ["float32", "float64"])
@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_narrowing_rounds_once_to_nearest_even(dtype: np.dtype[Any], wide: str) -> None:
    x = ties(dtype, wide)
    # By way of exact whole numbers of the least step where NumPy or ml_dtypes might round twice.
    with np.errstate(all="ignore"):
        bits = converted(x, dtype).view(np.uint16)
        values = bits.view(dtype).astype("float64")
        up = (bits + np.uint16(1)).view(dtype).astype("float64")
        down = (bits - np.uint16(1)).view(dtype).astype("float64")
        exact = x.astype("float64")
        finite = np.isfinite(values) & np.isfinite(up) & np.isfinite(down) & (values != 0)
        gap = abs(exact - values)
        for other in (up, down):
            far = abs(exact - other)
            assert np.all((gap < far)[finite] | ((gap == far) & (bits % 2 == 0))[finite])
    assert np.array_equal(np.signbit(values), np.signbit(x))
    if dtype == np.dtype("float16"):
        with np.errstate(over="ignore"):
            assert np.array_equal(bits, x.astype(dtype).view(np.uint16))


def test_float16_nan_is_what_f16c_makes_it() -> None:
    payload = np.array([0x7F800001, 0x7FC00000, 0xFFC02000, 0x7F802000, 0xFFFFFFFF], np.uint32)
    half = converted(payload.view(np.float32), "float16").view(np.uint16)
    assert half.tolist() == [0x7E00, 0x7E00, 0xFE01, 0x7E01, 0xFFFF]
    wide = converted(np.array([0x7C01, 0xFE00, 0x7FFF], np.uint16).view("f2"), "float32")
    assert wide.view(np.uint32).tolist() == [0x7FC02000, 0xFFC00000, 0x7FFFE000]


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize("whole", WHOLE)
def test_whole_numbers_and_narrow_floats(whole: str, dtype: np.dtype[Any]) -> None:
    if whole == "bool":
        x = np.arange(600) % 3 == 0
    else:
        kind = np.iinfo(whole)
        low, high = max(kind.min, -(2**17)), min(kind.max, 2**17)
        x = np.linspace(low, high, 4001).astype(whole)
    got = converted(x, dtype)
    with np.errstate(over="ignore"):
        want = x.astype("float64").astype(dtype)
    assert np.array_equal(got.view(np.uint16), want.view(np.uint16))
    small = np.linspace(0, 100, 777).astype(dtype)
    assert np.array_equal(converted(small, whole), small.astype("float64").astype(whole))


@pytest.mark.parametrize("target", ["float32", "float64", "int32", "uint8"])
def test_every_length(target: str) -> None:
    half = np.linspace(0, 90, 600).astype("float16")
    back = half.astype(target)
    for n in [*range(1, 71), 255, 256, 257, 511, 513]:
        assert np.array_equal(converted(half[:n].copy(), target), half[:n].astype(target))
        assert np.array_equal(converted(back[:n].copy(), "float16"), back[:n].astype("float16"))
