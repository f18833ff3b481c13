"""Convolution in C, on each instruction set: every way to compute it, on any threads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferrum.dtypes import FLOATS, bfloat16, float16, float32, float64
from ferrum_cpu.kernels import convolution as kernels
from ferrum_nn.ops.convolution import Geometry

Array = np.ndarray[Any, Any]
TOLERANCE = {float16: 1e-3, bfloat16: 8e-3, float32: 1e-6, float64: 1e-14}

# What is called: batch, inner and outer channels, groups, and of each axis the length, kernel,
# stride, padding and dilation.
Call = tuple[int, int, int, int, Sequence[tuple[int, int, int, int, int]]]
CALLS: dict[str, Call] = {
    "pointwise": (2, 40, 30, 1, [(23, 1, 1, 0, 1), (31, 1, 1, 0, 1)]),
    "pointwise over small images": (5, 300, 20, 1, [(5, 1, 1, 0, 1), (3, 1, 1, 0, 1)]),
    "first layer": (2, 3, 20, 1, [(41, 7, 2, 3, 1), (38, 7, 2, 3, 1)]),
    "many channels": (2, 70, 33, 1, [(9, 3, 2, 1, 1), (8, 3, 2, 1, 1)]),
    "large kernel": (1, 2, 3, 1, [(40, 19, 1, 4, 1), (36, 17, 1, 0, 1)]),
    "squares": (3, 33, 40, 1, [(13, 3, 1, 1, 1), (18, 3, 1, 1, 1)]),
    "squares at odd edges": (2, 64, 32, 1, [(23, 3, 1, 0, 1), (31, 3, 1, 2, 1)]),
    "squares of groups": (9, 64, 70, 2, [(7, 3, 1, 1, 1), (7, 3, 1, 1, 1)]),
    "squares in more channels than are multiplied at once": (4, 300, 32, 1, [(9, 3, 1, 1, 1)] * 2),
    "wide dilation": (2, 5, 4, 1, [(30, 3, 1, 4, 5), (29, 2, 3, 1, 7)]),
    "padding that takes away": (2, 5, 4, 1, [(30, 3, 2, -2, 1), (29, 2, 1, -5, 1)]),
    "groups": (2, 12, 18, 3, [(14, 3, 1, 1, 1), (15, 3, 2, 1, 1)]),
    "one axis": (3, 6, 8, 1, [(700, 5, 3, 2, 2)]),
    "three axes": (2, 4, 5, 1, [(6, 2, 1, 1, 1), (7, 3, 2, 1, 1), (9, 3, 1, 1, 2)]),
    "depthwise": (2, 5, 5, 5, [(30, 3, 1, 1, 1), (37, 3, 1, 1, 1)]),
    "depthwise by twos": (2, 5, 5, 5, [(30, 3, 2, 1, 1), (67, 3, 2, 1, 1)]),
    "depthwise of five": (2, 4, 8, 4, [(19, 5, 1, 2, 1), (21, 5, 2, 2, 1)]),
    "depthwise by threes": (2, 4, 4, 4, [(19, 4, 3, 1, 2), (40, 3, 3, 0, 1)]),
    "depthwise with two kernels": (2, 4, 8, 4, [(9, 3, 1, 1, 1), (40, 3, 1, 1, 1)]),
    "depthwise of one axis": (2, 6, 6, 6, [(90, 9, 1, 4, 1)]),
    "stride beyond the kernel": (2, 3, 4, 1, [(17, 1, 4, 0, 1), (19, 2, 5, 0, 1)]),
}


def operands(call: Call) -> tuple[Array, Array, Array, Geometry]:
    """Return an inner tensor, a weight and an outer tensor in float64, and how they meet."""
    n, c, o, groups, axes = call
    inner, kernel, stride, padding, dilation = zip(*axes, strict=True)
    outer = [(i + 2 * p - d * (k - 1) - 1) // s + 1 for i, k, s, p, d in axes]
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(n, c, *inner)), rng.normal(size=(n, o, *outer))
    weight = rng.normal(size=(o, c // groups, *kernel))
    return x, weight, g, Geometry(stride, padding, dilation, groups)


def expected(x: Array, weight: Array, g: Array, how: Geometry) -> list[Array]:
    """Return the outer tensor, the inner one and the weight that the others give, in float64."""
    groups, kernel = how.groups, weight.shape[2:]
    xs = x.reshape(len(x), groups, -1, *x.shape[2:])
    gs = g.reshape(len(g), groups, -1, *g.shape[2:])
    ws = weight.reshape(groups, -1, *weight.shape[1:])
    outs = [np.zeros_like(each) for each in (gs, xs, ws)]
    for place, ins, to in how.meetings(kernel, x.shape[2:], g.shape[2:]):
        w = ws[(..., *place)]
        read, written = xs[(..., *ins)], gs[(..., *to)]
        outs[0][(..., *to)] += np.einsum("goc,ngc...->ngo...", w, read)
        outs[1][(..., *ins)] += np.einsum("goc,ngo...->ngc...", w, written)
        flat = [each.reshape(*each.shape[:3], -1) for each in (written, read)]
        outs[2][(..., *place)] += np.einsum("ngoi,ngci->goc", *flat)
    return [out.reshape(like.shape) for out, like in zip(outs, (g, x, weight), strict=True)]


def found(
    x: Array, weight: Array, g: Array, how: Geometry, bias: Any = (None, None)
) -> list[Array]:
    """Return what the kernels give."""
    return [
        kernels.convolution(x, weight, bias[0], size=g.shape[2:], geometry=how),
        kernels.convolution_input(g, weight, bias[1], size=x.shape[2:], geometry=how),
        kernels.convolution_weight(x, g, size=weight.shape[2:], geometry=how),
    ]


def near(got: Sequence[Array], want: Sequence[Array], dtype: Any, summed: float) -> None:
    """Compare, with the error of sums of so many."""
    for one, other in zip(got, want, strict=True):
        assert one.dtype == dtype and one.flags.c_contiguous
        bound = TOLERANCE[dtype] * max(1.0, np.abs(other).max(initial=1.0)) * summed**0.25
        np.testing.assert_allclose(one.astype(np.float64), other, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", CALLS)
def test_values(name: str, dtype: Any, each_isa: str) -> None:
    x, weight, g, how = operands(CALLS[name])
    x, weight, g = (each.astype(dtype) for each in (x, weight, g))
    want = expected(*(each.astype(np.float64) for each in (x, weight, g)), how)
    bias = np.arange(g.shape[1], dtype=np.float64), np.arange(x.shape[1], dtype=np.float64)
    ones = (1,) * (x.ndim - 2)
    want[0] += bias[0].reshape(-1, *ones)
    want[1] += bias[1].reshape(-1, *ones)
    narrow = [each.astype(dtype) for each in bias]
    near(found(x, weight, g, how, narrow), want, dtype, prod(g.shape) / g.shape[1])


@pytest.mark.parametrize("name", ["pointwise", "first layer", "squares", "groups", "depthwise"])
def test_operands_in_any_layout(name: str) -> None:
    x, weight, g, how = operands(CALLS[name])
    want = expected(x, weight, g, how)

    def last_first(x: Array) -> Array:
        return np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)

    def every_second(x: Array) -> Array:
        return np.repeat(x, 2, axis=-1)[..., ::2]

    def backwards(x: Array) -> Array:
        return np.flip(np.flip(x).copy())

    def misaligned(x: Array) -> Array:
        room = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
        room[...] = x
        return room

    layouts: list[Callable[[Array], Array]] = [last_first, every_second, backwards, misaligned]
    for layout in layouts:
        near(found(*map(layout, (x, weight, g)), how), want, float64, 100)


@pytest.mark.parametrize("name", CALLS)
def test_bits_do_not_depend_on_the_number_of_threads(
    name: str, threads: Callable[[int], None]
) -> None:
    x, weight, g, how = operands(CALLS[name])
    x, weight, g = (each.astype(np.float32) for each in (x, weight, g))
    threads(1)
    alone = found(x, weight, g, how)
    for count in (2, 5):
        threads(count)
        for one, other in zip(found(x, weight, g, how), alone, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["squares", "pointwise", "first layer", "depthwise"])
def test_what_is_not_finite_stays_where_it_is_read(name: str, each_isa: str) -> None:
    x, weight, g, how = operands(CALLS[name])
    x, weight, g = (each.astype(np.float32) for each in (x, weight, g))
    whole = found(x, weight, g, how)[0]
    x[1, 1, 2, 3] = np.nan
    marked = np.zeros_like(x)
    marked[1, 1, 2, 3] = 1
    read = kernels.convolution(marked, np.ones_like(weight), None, size=g.shape[2:], geometry=how)
    got = found(x, weight, g, how)[0]
    far = np.zeros_like(read, dtype=bool)  # squares of 2 x 2 positions share what they read
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            far |= np.roll(read, (dy, dx), (2, 3)) != 0
    assert np.isnan(got[read != 0]).all()
    np.testing.assert_array_equal(got[~far], whole[~far])


def test_small_factors_cost_no_accuracy() -> None:
    """Transformed squares are off by no more than a direct sum in float32."""
    x, weight, g, how = operands((2, 256, 32, 1, [(16, 3, 1, 1, 1)] * 2))
    want = expected(x, weight, g, how)
    got = found(*(each.astype(np.float32) for each in (x, weight, g)), how)
    for one, other in zip(got[:2], want[:2], strict=True):
        assert np.abs(one - other).max() < 8e-7 * np.abs(other).max()


MEASURE = """
import sys
import numpy as np
import ferrum_cpu
from test_convolution import Geometry, found

size, stride = map(int, sys.argv[1:])
x = np.ones((4, 64, 128, 128), np.float32)
weight = np.ones((64, 64, size, size), np.float32)
g = np.ones((4, 64, 128 // stride, 128 // stride), np.float32)
outs = found(x, weight, g, Geometry((stride, stride), (size // 2, size // 2), (1, 1), 1))
print(ferrum_cpu.memory_statistics()["peak"] - sum(out.nbytes for out in outs))
"""


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 1), (1, 1)])
def test_memory_is_that_of_tiles_and_kernels(size: int, stride: int) -> None:
    """Unfolded (4, 64, 128, 128) takes 151 MB for a kernel of 3 x 3."""
    here = Path(__file__).parent
    command = [sys.executable, "-c", MEASURE, str(size), str(stride)]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 24 << 20


@pytest.mark.parametrize("name", ["pointwise", "squares", "depthwise", "one axis"])
def test_nothing_to_compute(name: str) -> None:
    x, weight, g, how = operands(CALLS[name])
    empty = found(x[:0], weight, g[:0], how)
    assert [out.shape for out in empty] == [g[:0].shape, x[:0].shape, weight.shape]
    assert not empty[2].any()
    how = how._replace(groups=1)
    bias = np.arange(len(weight), dtype=np.float64)
    out = kernels.convolution(x[:, :0], weight[:, :0], bias, size=g.shape[2:], geometry=how)
    np.testing.assert_array_equal(
        out, np.broadcast_to(bias.reshape(-1, *(1,) * (g.ndim - 2)), g.shape)
    )
