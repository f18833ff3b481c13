"""Pooling in C, on each instruction set: as NumPy does it, in any layout, on any threads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from ferrum.dtypes import FLOATS, bfloat16, float16, float32, float64
from ferrum_cpu.kernels import pooling

Array = np.ndarray[Any, Any]
TOLERANCE = {float16: 2e-3, bfloat16: 1.6e-2, float32: 2e-6, float64: 1e-14}


class Windows(NamedTuple):
    """As `ferrum_nn.ops.windows` has them."""

    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()


def square(*numbers: int) -> Windows:
    """Return windows that are alike along two axes."""
    return Windows(*((each, each) for each in numbers))


CASES = [
    ((2, 3, 40, 57), (20, 28), square(2, 2, 0, 1)),
    ((2, 3, 33, 65), (17, 33), square(3, 2, 1, 1)),
    ((1, 2, 19, 31), (19, 31), square(3, 1, 1, 1)),
    ((3, 2, 21, 39), (9, 18), square(3, 2, 0, 2)),
    ((3, 2, 21, 39), (7, 13), square(3, 3, 0, 1)),
    ((3, 40, 41), (19, 19), square(5, 2, 1, 1)),
    ((4, 5, 7, 7), (1, 1), square(7, 7, 0, 1)),
    ((4, 5, 9, 11), (1, 1), Windows()),
    ((4, 5, 9, 30), (4, 17), Windows()),
    ((4, 5, 9, 30), (3, 10), Windows()),
    ((600, 2, 6, 6), (3, 3), square(2, 2, 0, 1)),
    ((5, 2, 14, 15), (7, 7), square(2, 2, 0, 1)),
    ((5, 2, 9, 10), (5, 5), square(3, 2, 1, 1)),
    ((2, 2, 20, 50), (5, 12), square(4, 4, 0, 1)),
    ((3, 300), (149,), Windows((3,), (2,), (0,), (1,))),
    ((2, 5, 6, 20), (3, 3, 10), Windows((2, 2, 3), (2, 2, 2), (1, 0, 1), (1, 1, 1))),
]


def layouts(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> list[Array]:
    """Return numbers, many of them equal, in each layout."""
    dense = np.random.default_rng(seed).integers(-40, 40, shape).astype(np.float64) / 8
    dense = dense.astype(dtype)
    wide = np.repeat(dense, 2, axis=-1)[..., ::2]
    return [dense, np.asfortranarray(dense), wide, np.flip(np.flip(dense).copy())]


def elements(shape: tuple[int, ...], size: tuple[int, ...], windows: Windows) -> list[list[int]]:
    """Return the indices in the flat plane of each position's window."""
    found: list[list[int]] = [[0]]
    plane = shape[len(shape) - len(size) :]
    positions = np.ndindex(*size)
    found = []
    for position in positions:
        each = [0]
        for axis, (o, n, m) in enumerate(zip(position, plane, size, strict=True)):
            if windows.kernel:
                kernel, stride, padding, step = (numbers[axis] for numbers in windows)
                along = range(o * stride - padding, o * stride - padding + kernel * step, step)
            else:
                along = range(o * n // m, -(-(o + 1) * n // m))
            each = [i * n + k for i in each for k in along if 0 <= k < n]
        found.append(each)
    return found


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("shape", "size", "windows"), CASES)
def test_pooling(
    shape: tuple[int, ...], size: tuple[int, ...], windows: Windows, dtype: Any, each_isa: str
) -> None:
    places, axes = elements(shape, size, windows), len(size)
    small = (*shape[:-axes], *size)
    g = layouts(small, dtype, 1)
    how = {"windows": windows, "padded": False, "divisor": None}
    for x, slope in zip(layouts(shape, dtype), g, strict=True):
        flat = x.astype(np.float64).reshape(-1, int(np.prod(shape[-axes:])))
        index = np.stack([np.take(each, flat[:, each].argmax(1)) for each in places], 1)
        out, at = pooling.max_pool(x, size=size, windows=windows)
        np.testing.assert_array_equal(at.reshape(index.shape), index)
        largest = np.take_along_axis(flat, index, 1)
        np.testing.assert_array_equal(out.astype(np.float64).reshape(index.shape), largest)
        slopes = slope.astype(np.float64).reshape(index.shape)
        want, spread = np.zeros_like(flat), np.zeros_like(flat)
        means = np.empty_like(slopes)
        for position, each in enumerate(places):
            np.add.at(want, (np.arange(len(flat)), index[:, position]), slopes[:, position])
            spread[:, each] += slopes[:, position, None] / len(each)
            means[:, position] = flat[:, each].mean(1)
        plane = shape[-axes:]
        for found, expected in (
            (pooling.max_pool_input(slope, at, size=plane), want),
            (pooling.average_pool(x, size=size, **how), means),
            (pooling.average_pool_input(slope, size=plane, **how), spread),
        ):
            got = found.astype(np.float64).reshape(expected.shape)
            scale = TOLERANCE[dtype] * max(np.abs(expected).max(), 1)
            np.testing.assert_allclose(got, expected, rtol=0, atol=scale)


@pytest.mark.parametrize("dtype", [float32, float64])
@pytest.mark.parametrize("place", range(9))
def test_nan_in_any_lane(dtype: Any, place: int, each_isa: str) -> None:
    x = np.zeros((1, 4, 40), dtype)
    x[0, 1, place] = x[0, 2, place] = np.nan
    out, index = pooling.max_pool(x, size=(3, 39), windows=square(2, 1, 0, 1))
    hit = np.isnan(x)
    want = hit[:, :-1, :-1] | hit[:, 1:, :-1] | hit[:, :-1, 1:] | hit[:, 1:, 1:]
    np.testing.assert_array_equal(np.isnan(out), want)
    assert np.isnan(x.reshape(-1)[index[np.isnan(out)]]).all()
    assert index[0, 1, place] == 80 + place  # the last one


def test_bits_do_not_depend_on_threads(threads: Any, each_isa: str) -> None:
    x = np.random.default_rng(0).normal(size=(64, 3, 33, 35)).astype(np.float32)
    found = []
    for count in (1, 2, 5):
        threads(count)
        out, index = pooling.max_pool(x, size=(17, 18), windows=square(3, 2, 1, 1))
        how = {"windows": square(3, 2, 1, 1), "padded": True, "divisor": None}
        mean = pooling.average_pool(x, size=(17, 18), **how)
        back = pooling.max_pool_input(mean, index, size=(33, 35))
        spread = pooling.average_pool_input(mean, size=(33, 35), **how)
        found.append([each.tobytes() for each in (out, index, mean, back, spread)])
    assert found[0] == found[1] == found[2]


def test_indices_outside_are_left_to_the_rule() -> None:
    g = np.ones((2, 3), np.float32)
    for wrong in (-1, 7, 2**62):
        index = np.array([[0, 1, 2], [3, wrong, 0]])
        assert pooling.max_pool_input(g, index, size=(7,)) is NotImplemented


def test_windows_that_c_does_not_know_are_left_to_the_fallback() -> None:
    x = np.ones((2, 3), np.float32)
    how = {"padded": False, "divisor": None}
    for bad in (
        Windows((1,), (1,), (0,), (0,)),
        Windows((2**31,), (1,), (0,), (1,)),
    ):
        assert pooling.average_pool(x, size=(2,), windows=bad, **how) is NotImplemented
    whole = np.ones((2, 4), np.int64)
    assert pooling.max_pool(whole, size=(2,), windows=square(2, 2, 0, 1)) is NotImplemented
    four = np.ones((1, 1, 2, 2, 2, 2), np.float32)
    assert pooling.max_pool(four, size=(1,) * 4, windows=Windows()) is NotImplemented
