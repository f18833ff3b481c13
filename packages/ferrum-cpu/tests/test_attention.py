"""Attention in C, on each instruction set and any threads, against its fallback."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ferrum as fe
from ferrum_cpu.kernels import attention as kernels
from ferrum_nn import ops

Array = np.ndarray[Any, Any]

# batch, heads of queries and of keys, queries, keys, and the sizes of keys and of values
SHAPES = {
    "one of each": (1, 1, 1, 1, 1, 1, 1),
    "a step": (2, 3, 3, 1, 300, 16, 16),
    "few queries": (1, 2, 2, 4, 70, 33, 5),
    "more than few": (1, 2, 1, 5, 70, 3, 40),
    "whole tiles": (1, 2, 2, 128, 512, 32, 32),
    "tails of tiles": (2, 2, 2, 70, 259, 20, 12),
    "a tail of few": (1, 3, 3, 67, 257, 64, 64),
    "more queries than keys": (1, 2, 1, 150, 40, 8, 24),
    "groups": (2, 6, 2, 65, 130, 16, 8),
    "no size": (1, 2, 2, 3, 4, 0, 2),
}
MASKS = ("none", "causal", "bool", "bool of keys", "added", "added of heads", "all hidden")
RNG = np.random.default_rng(0)


def operands(shape: tuple[int, ...], mask: str) -> tuple[list[Any], dict[str, Any]]:
    """Return query, key, value and mask in float64, and attributes."""
    b, h, fewer, rows, s, e, ev = shape
    q = RNG.normal(size=(b, h, rows, e))
    k, v = RNG.normal(size=(b, fewer, s, e)), RNG.normal(size=(b, fewer, s, ev))
    made = {
        "bool": lambda: RNG.random((b, 1, rows, s)) < 0.7,
        "bool of keys": lambda: RNG.random((b, 1, 1, s)) < 0.7,
        "added": lambda: RNG.normal(size=(rows, s)),
        "added of heads": lambda: RNG.normal(size=(h, 1, s)),
        "all hidden": lambda: np.arange(rows)[:, None] + np.zeros(s, int) > 0,
    }
    how = {"scale": max(e, 1) ** -0.5, "causal": mask == "causal", "p": 0.0, "key": (0, 0)}
    return [q, k, v, made[mask]() if mask in made else None], how


def cast(given: list[Any], dtype: Any) -> list[Any]:
    return [each if each is None or each.dtype == bool else each.astype(dtype) for each in given]


def results(given: list[Any], how: dict[str, Any]) -> list[Array]:
    """Return what the kernels make of operands: the result, the sums, and the gradients."""
    out, lse = kernels.scaled_dot_product_attention(*given, **how)
    g = np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype)
    delta = (g.astype(lse.dtype) * out.astype(lse.dtype)).sum(-1)
    return [out, lse, *kernels.attention_backward(g, *given, lse, delta, **how)]


def expected(given: list[Any], how: dict[str, Any]) -> list[Array]:
    """Return the same of the fallback on the device `reference`, gradients by autograd."""
    leaves = [None if x is None else fe.tensor(x, device="reference") for x in given]
    for leaf in leaves[:3]:
        leaf.requires_grad_()
    out, lse = ops.scaled_dot_product_attention(*leaves, **how)
    g = np.cos(np.arange(out.numel())).reshape(out.shape)
    gradients = fe.grad((out * fe.tensor(g, device="reference")).sum(), leaves[:3])
    return [each.detach().numpy() for each in (out, lse, *gradients)]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_and_gradients(
    shape: tuple[int, ...], mask: str, p: float, dtype: str, each_isa: str
) -> None:
    given, how = operands(shape, mask)
    how |= {"p": p, "key": (7, 2**40)}
    bound = 1e-12 if dtype == "float64" else 3e-5
    for one, two in zip(results(cast(given, dtype), how), expected(given, how), strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, two, rtol=bound, atol=bound)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("mask", ["none", "added"])
def test_narrow_floats_are_computed_in_float32(dtype: str, mask: str, each_isa: str) -> None:
    narrow = np.dtype(dtype) if dtype == "float16" else np.dtype(ml_dtypes.bfloat16)
    given, how = operands((1, 4, 2, 70, 90, 20, 12), mask)
    given = cast(given, narrow)
    found, wide = results(given, how), results(cast(given, np.float32), how)
    assert found[0].tobytes() == wide[0].astype(narrow).tobytes()
    assert found[1].tobytes() == wide[1].tobytes()
    for one, two in zip(found[2:], expected(cast(given, np.float64), how)[2:], strict=True):
        assert one.dtype == narrow
        step = 2.0**-7 if dtype == "bfloat16" else 2.0**-9
        np.testing.assert_allclose(one.astype(float), two, rtol=step, atol=4 * step)


def layouts(x: Array) -> dict[str, Array]:
    """Return the same numbers in other places."""
    odd = np.frombuffer(bytearray(x.nbytes + 1), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    odd[...] = x
    return {
        "heads inside": x.swapaxes(1, 2).copy().swapaxes(1, 2),
        "columns first": x.swapaxes(2, 3).copy().swapaxes(2, 3),
        "backwards": x[:, :, ::-1].copy()[:, :, ::-1],
        "every other": np.repeat(x, 2, axis=3)[..., ::2],
        "unaligned": odd,
    }


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize(
    "layout", ["heads inside", "columns first", "backwards", "every other", "unaligned"]
)
def test_bits_do_not_depend_on_layout(which: int, layout: str, each_isa: str) -> None:
    given, how = operands((2, 2, 2, 70, 130, 32, 32), "added")
    given = [np.broadcast_to(x, (2, 2, *x.shape[-2:])).astype("f4") for x in given]
    moved = [layouts(x)[layout] if i == which else x for i, x in enumerate(given)]
    for one, two in zip(results(moved, how), results(given, how), strict=True):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("mask", ["none", "causal", "bool"])
@pytest.mark.parametrize("shape", [(1, 6, 2, 140, 600, 16, 8), (3, 3, 3, 70, 70, 8, 8)])
def test_bits_do_not_depend_on_threads(shape: tuple[int, ...], mask: str, threads: Any) -> None:
    """Whether a task takes a head or a tile included."""
    given, how = operands(shape, mask)
    given, found = cast(given, np.float32), []
    for count in (1, 2, 3, 8):
        threads(count)
        found.append([each.tobytes() for each in results(given, how | {"p": 0.2})])
    assert found[1:] == found[:1] * 3


def test_a_query_does_not_depend_on_its_tile(each_isa: str) -> None:
    given, how = operands((1, 1, 1, 70, 300, 24, 8), "none")
    q, k, v, _ = cast(given, np.float32)
    out, lse = kernels.scaled_dot_product_attention(q, k, v, None, **how)
    for start, end in ((0, 9), (5, 69), (60, 70)):
        some = kernels.scaled_dot_product_attention(q[:, :, start:end], k, v, None, **how)
        assert some[0].tobytes() == out[:, :, start:end].tobytes()
        assert some[1].tobytes() == lse[:, :, start:end].tobytes()


def test_scores_far_apart_and_far_from_zero(each_isa: str) -> None:
    """The largest score rises from tile to tile, by more than an exponential of float32 holds."""
    s = 1000
    k = np.linspace(-300, 300, s)[:, None]
    v = RNG.normal(size=(s, 3))
    given = [np.array([[1.0], [-1.0], [0.0], [0.3]]), k, v, None]
    how = {"scale": 1.0, "causal": False, "p": 0.0, "key": (0, 0)}
    for dtype, bound in (("f4", 1e-4), ("f8", 1e-12)):
        for one, two in zip(results(cast(given, dtype), how), expected(given, how), strict=True):
            np.testing.assert_allclose(one, two, rtol=bound, atol=bound)


def test_what_is_hidden_is_not_seen(each_isa: str) -> None:
    """NaN among the keys that a bool mask or `causal` hides, and only there."""
    given, how = operands((1, 1, 1, 80, 80, 4, 4), "none")
    q, k, v, _ = given
    k[:, :, 40:] = np.nan
    hidden = np.broadcast_to(np.arange(80) < 40, (80, 80))
    clean = [q, k[:, :, :40], v[:, :, :40], None]
    out, lse = kernels.scaled_dot_product_attention(q, k, v, hidden, **how)
    for one, two in zip(
        (out, lse), kernels.scaled_dot_product_attention(*clean, **how), strict=True
    ):
        np.testing.assert_allclose(one, two, rtol=1e-13)
    out, lse = kernels.scaled_dot_product_attention(q, k, v, None, **how | {"causal": True})
    assert np.isfinite(lse[0, 0, :40]).all() and np.isnan(lse[0, 0, 40:]).all()
    assert np.isfinite(out[0, 0, :40]).all() and np.isnan(out[0, 0, 40:]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers(value: float, each_isa: str) -> None:
    given, how = operands((1, 1, 1, 5, 300, 1, 3), "none")
    given[1][0, 0, 270] = value
    for dtype in ("f4", "f8"):
        with np.errstate(invalid="ignore"):
            found, wanted = results(cast(given, dtype), how), expected(given, how)
        for one, two in zip(found[:2], wanted[:2], strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rows", "keys", "heads"), [*product((0, 2), (0, 3), (0, 2))])
def test_empty_operands(rows: int, keys: int, heads: int) -> None:
    given, how = operands((1, heads, heads, rows, keys, 2, 3), "none")
    out, lse, dq, dk, dv = results(given, how)
    assert out.shape == (1, heads, rows, 3)
    assert [x.shape for x in (dq, dk, dv)] == [x.shape for x in given[:3]]
    if not keys:
        assert not out.any() and (lse == -np.inf).all() and not dq.any()
    if not rows:
        assert not dk.any() and not dv.any()


PEAK = """
import numpy as np
import ferrum_cpu
from ferrum_cpu.kernels.attention import attention_backward, scaled_dot_product_attention
from ferrum_cpu.library import lib

lib.threads_set({threads})
q, k, v = (np.full((1, 8, 4096, 64), 0.1, "f4") for _ in range(3))
how = {{"scale": 0.125, "causal": True, "p": 0.0, "key": (0, 0)}}
out, lse = scaled_dot_product_attention(q, k, v, None, **how)
print(ferrum_cpu.memory_statistics()["peak"])
attention_backward(q, q, k, v, None, lse, lse, **how)
print(ferrum_cpu.memory_statistics()["peak"])
"""


@pytest.mark.parametrize("threads", [1, 8])
def test_memory_does_not_grow_with_the_scores(threads: int) -> None:
    """They would be 16 times query, key, value and result together."""
    command = [sys.executable, "-c", PEAK.format(threads=threads)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    one, lse = 8 * 4096 * 64 * 4, 8 * 4096 * 4
    forward, backward = map(int, found.stdout.split())
    spare = 1.25  # that the pool's sizes are rounded up
    assert (one + lse) <= forward < (one + lse) * spare + 4 * one // 4
    assert 4 * one + lse <= backward < (4 * one + lse) * spare + 4 * one // 4


def test_large_heads_are_decomposed() -> None:
    given, how = operands((1, 1, 1, 2, 2, 1025, 1), "none")
    assert kernels.scaled_dot_product_attention(*given, **how) is NotImplemented
