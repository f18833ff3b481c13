"""Comparing results in units in the last place (ULP) of their dtype."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ferrum.dtypes import DType, float64, is_floating
from ferrum.testing.failures import ConformanceFailure, excerpt

Array = npt.NDArray[Any]
Float64s = npt.NDArray[np.float64]


def limits(dtype: DType) -> Any:
    """Return what NumPy's `finfo` says of a floating-point dtype, bfloat16 included."""
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


def spacing(values: Float64s, dtype: DType) -> Float64s:
    """Return the distance of neighbouring numbers of `dtype` at |values|, which are finite."""
    info = limits(dtype)
    exponents = np.where(values == 0, info.minexp, np.frexp(values)[1] - 1)
    steps: Float64s = np.ldexp(1.0, np.maximum(exponents, info.minexp) - info.nmant)
    return steps


def rounded(values: Float64s, dtype: DType) -> Float64s:
    """Return float64 values rounded once to `dtype`, to nearest and ties to even, still as float64.

    Casts to bfloat16 go by way of float32 and so may round twice. Here nothing rounds but `rint`.
    """
    if dtype is float64:
        return values
    finite = np.where(np.isfinite(values), values, 0.0)
    step = spacing(finite, dtype)
    near = np.rint(finite / step) * step
    largest = float(limits(dtype).max)
    near = np.where(np.abs(near) > largest, np.copysign(np.inf, near), near)
    return np.where(np.isfinite(values), np.copysign(near, values), values)


def errors_in_ulp(got: Array, want: Float64s, dtype: DType, scale: float) -> Float64s:
    """Return |got - want| in ULP of |want|, or of `scale` where that is larger.

    Infinity counts as the number after the largest, so that a result just past the edge is near.
    """
    found = got.astype(np.float64)
    same = (found == rounded(want, dtype)) | (np.isnan(found) & np.isnan(want))
    beyond = np.ldexp(1.0, limits(dtype).maxexp) if dtype is not float64 else np.inf
    one_infinite = np.isinf(found) & np.isfinite(want)
    found = np.where(one_infinite, np.copysign(beyond, found), found)
    size = np.maximum(np.where(np.isfinite(want), np.abs(want), 0.0), scale)
    with np.errstate(all="ignore"):
        off = np.abs(found - want) / spacing(size, dtype)
    return np.where(same, 0.0, np.where(np.isnan(off), np.inf, off))


def check_close(
    got: Array, want: Array, dtype: DType, *, ulp: float, scale: float, zeros: bool = False
) -> None:
    """Raise ConformanceFailure unless `got` is `want` within `ulp`; integers and bools exactly.

    With `ulp` 0, `got` must be `want` rounded to `dtype`; with `zeros`, to the sign of zeros.
    """
    if not is_floating(dtype):
        _check_same(got, want)
        return
    wide = want.astype(np.float64)
    off = errors_in_ulp(got, wide, dtype, scale)
    if not ulp:
        off = np.where(got.astype(np.float64) == rounded(wide, dtype), 0.0, np.maximum(off, 0.5))
        off = np.where(np.isnan(got) & np.isnan(wide), 0.0, off)
    worst = float(off.max(initial=0.0))
    if worst > ulp:
        place = _place(off.argmax(), got.shape)
        raise ConformanceFailure(
            f"the value is off by {worst:.4g} ULP at {place}, allowed are {ulp:g}",
            expected=excerpt(rounded(wide, dtype)),
            got=excerpt(got),
            ulp=worst,
        )
    if zeros and not ulp:
        _check_zeros(got, wide)


def _check_same(got: Array, want: Array) -> None:
    differ = got != want
    if differ.any():
        place = _place(differ.argmax(), got.shape)
        raise ConformanceFailure(
            f"{differ.sum()} of {differ.size} elements are wrong, the first at {place}",
            expected=excerpt(want),
            got=excerpt(got),
        )


def _check_zeros(got: Array, want: Float64s) -> None:
    wrong = (got == 0) & (want == 0) & (np.signbit(got) != np.signbit(want))
    if wrong.any():
        raise ConformanceFailure(
            f"a zero has the wrong sign at {_place(wrong.argmax(), got.shape)}",
            expected=excerpt(want),
            got=excerpt(got),
        )


def _place(index: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(int, np.unravel_index(index, shape)))
