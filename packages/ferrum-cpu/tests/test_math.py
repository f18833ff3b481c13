"""The functions that are not exactly rounded: their errors in ULP, their edges, their tails."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest

from ferrum_cpu import _front
from ferrum_cpu.kernels.elementwise import NUMBER
from ferrum_cpu.library import ISAS, ffi, lib, text
from ferrum_cpu.library import isa as chosen

FLOATS = ("float32", "float64")
# Largest errors in ULP. They are those measured and a little more; 4 and 2 are what is promised.
LIMITS = {
    "exp": (1, 1), "expm1": (1.5, 1.5), "log": (1, 1), "log1p": (1, 1), "sin": (1.7, 1),
    "cos": (1.7, 1), "tanh": (1.3, 1.3), "erf": (1.2, 1.3), "sigmoid": (2.5, 1.7),
    "pow": (0.6, 0.8), "atan2": (1.5, 1.7),
}  # fmt: skip


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


def log1p(x: Any) -> Any:
    return mpmath.log1p(x) if abs(x) < 0.5 else mpmath.log(1 + x)


ORACLES: dict[str, Callable[..., Any]] = {
    "exp": mpmath.exp, "expm1": mpmath.expm1, "log": mpmath.log, "log1p": log1p,
    "sin": mpmath.sin, "cos": mpmath.cos, "tanh": mpmath.tanh, "erf": mpmath.erf,
    "sigmoid": sigmoid, "pow": mpmath.power, "atan2": mpmath.atan2,
}  # fmt: skip


def kernel(name: str) -> Callable[..., Any]:
    return _front.elementwise_kernel(NUMBER[name])


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each variant of the kernels that this processor runs."""
    if lib.isa_choose(request.param.encode()) == ffi.NULL:
        pytest.skip(f"this processor does not run {request.param}")
    yield request.param
    assert text(lib.isa_choose(chosen.encode())) == chosen


@cache
def points(name: str, dtype: str) -> tuple[np.ndarray, ...]:
    """Return operands: over all exponents, and thick where reductions and branches meet."""
    rng = np.random.default_rng(7)
    single = dtype == "float32"
    low, high = (-149, 127.9) if single else (-1074, 1023.9)

    def flat(start: float, stop: float, n: int = 400) -> np.ndarray:
        return rng.uniform(start, stop, n)

    def scaled(start: float, stop: float, n: int = 400) -> np.ndarray:
        return rng.choice([-1.0, 1.0], n) * np.exp2(rng.uniform(start, stop, n))

    ln2 = np.log(2)
    halves = (np.arange(-200, 200) + 0.5) * ln2
    angles = np.arange(-200, 200) * (np.pi / 4)
    if name == "pow":
        x = np.concatenate([abs(scaled(low, high)), flat(0.5, 2), 1 + scaled(-20, -3)])
        x = x.astype(dtype).astype("float64")
        with np.errstate(divide="ignore"):
            y = flat(low * ln2, high * ln2, len(x)) / np.log(x)
        keep = np.isfinite(y.astype(dtype)) & (x > 0)
        return x[keep].astype(dtype), y[keep].astype(dtype)
    if name == "atan2":
        pairs = [
            np.concatenate([scaled(low / 2, high / 2), flat(-2, 2), flat(-1, 1, 300) * 1e-3])
            for _ in "yx"
        ]
        return pairs[0].astype(dtype), pairs[1].astype(dtype)
    wave = [scaled(-20, 4), scaled(4, 31), scaled(31, high), scaled(16.5, 17.5), scaled(29.5, 30.5),
            angles, np.round(scaled(0, 25)) * (np.pi / 2), flat(-7, 7)]  # fmt: skip
    groups = {
        "exp": [flat(low * ln2, high * ln2), flat(low * ln2, (low + 25) * ln2), flat(-2, 2),
                scaled(low, 6), halves],
        "expm1": [flat(-50, high * ln2), scaled(low, 6), flat(-2, 2), halves],
        "log": [abs(scaled(low, high, 800)), flat(0.3, 3), 1 + scaled(-24, -2)],
        "log1p": [scaled(low, -1), abs(scaled(0, high)), flat(-1, 3), abs(scaled(-24, -1)) - 1],
        "sin": wave,
        "cos": wave,
        "tanh": [scaled(low, 5, 800), flat(-3, 3), halves / 2],
        "erf": [scaled(low, 3, 800), flat(-6, 6), flat(0.9, 1.1)],
        "sigmoid": [scaled(low, 6), flat(-20, 20), flat(low * ln2, 0), halves],
    }  # fmt: skip
    return (np.concatenate(groups[name]).astype(dtype),)


@cache
def truths(name: str, dtype: str) -> list[Any]:
    with mpmath.workprec(160):
        operands = zip(*points(name, dtype), strict=True)
        return [ORACLES[name](*(mpmath.mpf(float(x)) for x in each)) for each in operands]


def error(got: float, true: Any, dtype: str) -> float:
    """Return the distance in units of the last place that `true` has in `dtype`."""
    kind = np.finfo(dtype)
    if not np.isfinite(got):
        edge = mpmath.mpf(float(kind.max)) * (1 + mpmath.mpf(2) ** -int(kind.nmant) / 4)
        overflows = abs(true) >= edge
        return 0.0 if overflows and (true > 0) == (got > 0) else np.inf
    if true == 0:
        return 0.0 if got == 0 else np.inf
    exponent = max(int(mpmath.floor(mpmath.log(abs(true), 2))), int(kind.minexp))
    return abs(float((mpmath.mpf(got) - true) / mpmath.mpf(2) ** (exponent - int(kind.nmant))))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ORACLES)
def test_error_in_ulp(name: str, dtype: str, isa: str) -> None:
    operands = points(name, dtype)
    assert len(operands[0]) >= 1000
    with mpmath.workprec(160):
        got = kernel(name)(*operands)
        errors = [
            error(float(x), true, dtype) for x, true in zip(got, truths(name, dtype), strict=True)
        ]
    worst = int(np.argmax(errors))
    assert errors[worst] <= LIMITS[name][FLOATS.index(dtype)], [float(x[worst]) for x in operands]


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two arrays are the same, signs of zeros included; NaN is NaN."""
    nan = np.isnan(a) & np.isnan(b)
    return bool(np.all(nan | ((a == b) & (np.signbit(a) == np.signbit(b)))))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ORACLES)
def test_tails(name: str, dtype: str, isa: str) -> None:
    operands = tuple(x[:1000] for x in points(name, dtype))
    whole = kernel(name)(*operands)
    for n, start in itertools.product(range(1, 71), (0, 13, 800)):
        part = kernel(name)(*(x[start : start + n].copy() for x in operands))
        np.testing.assert_array_equal(
            part.view(np.uint8), whole[start : start + n].view(np.uint8), err_msg=f"{n} of {start}"
        )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ORACLES)
def test_vectors_of_any_length_give_the_same_bits(name: str, dtype: str) -> None:
    found = [
        kernel(name)(*points(name, dtype))
        for each in (b"avx2", b"avx512")
        if lib.isa_choose(each) != ffi.NULL
    ]
    assert text(lib.isa_choose(chosen.encode())) == chosen
    if len(found) < 2:
        pytest.skip("this processor does not run both")
    np.testing.assert_array_equal(found[0].view(np.uint8), found[1].view(np.uint8))


INF, NAN = float("inf"), float("nan")
EDGES = {
    "exp": [(0, 1), (-0.0, 1), (INF, INF), (-INF, 0.0), (1e30, INF), (-1e30, 0.0)],
    "expm1": [(0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1), (1e30, INF), (-1e30, -1)],
    "log": [(0, -INF), (-0.0, -INF), (1, 0.0), (INF, INF), (-1, NAN), (-INF, NAN)],
    "log1p": [(0, 0.0), (-0.0, -0.0), (-1, -INF), (INF, INF), (-2, NAN), (-INF, NAN)],
    "sin": [(0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0, 1), (-0.0, 1), (INF, NAN), (-INF, NAN), (1e-30, 1)],
    "tanh": [(0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (1e30, 1), (-1e30, -1)],
    "erf": [(0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (1e30, 1), (-1e30, -1)],
    "sigmoid": [(0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0.0), (1e30, 1), (-1e30, 0.0)],
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", EDGES)
def test_edges(name: str, dtype: str, isa: str) -> None:
    x, want = np.array([*EDGES[name], (NAN, NAN)], dtype).T.copy()
    got = kernel(name)(x)
    assert same_bits(got, want), (x, got, want)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["expm1", "log1p", "sin", "tanh"])
def test_least_numbers_are_their_own_results(name: str, dtype: str, isa: str) -> None:
    least = np.finfo(dtype).smallest_subnormal * np.array([1, 2, 3, 1001], dtype)
    x = np.concatenate([least, -least, [np.finfo(dtype).tiny]]).astype(dtype)
    assert same_bits(kernel(name)(x), x)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_large_angles_are_repaired_in_place(name: str, dtype: str, isa: str) -> None:
    x = np.linspace(-3, 3, 3000).astype(dtype)
    x[[0, 1023, 1024, 2999]] = [1e20, -1e30, 2.0**31, NAN]
    want = kernel(name)(x)
    in_place = x.copy()
    _front.in_place_kernel(NUMBER[name])(in_place)
    assert same_bits(in_place, want)
    assert np.isnan(want[2999])
    exact = getattr(np, name)(x.astype("float64"))
    np.testing.assert_allclose(want[:2999], exact[:2999], rtol=0, atol=2e-7)


def special(dtype: str) -> list[np.ndarray]:
    kind = np.finfo(dtype)
    one = [0.0, 0.5, 1, 1.5, 2, 3, 4, 7, 2.0**24, 2.0**53, INF, kind.tiny, kind.max]
    x = np.array([sign * each for each in one for sign in (1, -1)] + [NAN], dtype)
    return [each.ravel().copy() for each in np.meshgrid(x, x)]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["pow", "atan2"])
def test_special_pairs_are_those_of_c99(name: str, dtype: str, isa: str) -> None:
    a, b = special(dtype)
    got = kernel(name)(a, b)
    with np.errstate(all="ignore"):
        oracle = {"pow": np.power, "atan2": np.arctan2}[name]
        want = oracle(a.astype("float64"), b.astype("float64")).astype(dtype)
    # What is zero, infinite or NaN is so exactly, and all signs are right.
    plain = np.isfinite(want) & (want != 0)
    assert same_bits(np.where(plain, 0, got), np.where(plain, 0, want))
    assert np.array_equal(np.signbit(got[plain]), np.signbit(want[plain]))
    np.testing.assert_array_max_ulp(got[plain], want[plain], 2, dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_powers_of_small_whole_numbers_are_exact(dtype: str, isa: str) -> None:
    base, exponent = np.meshgrid(np.arange(-12.0, 13.0), np.arange(0.0, 7.0))
    want = (base**exponent).astype(dtype)
    got = kernel("pow")(base.astype(dtype), exponent.astype(dtype))
    assert np.array_equal(got, want)
