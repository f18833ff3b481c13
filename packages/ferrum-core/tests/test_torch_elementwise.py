"""Elementwise functions against PyTorch: values, dtypes, gradients of two orders, extreme numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ferrum import dtypes
from ferrum.dtypes import DTYPES

pytestmark = [pytest.mark.torch]

INF, NAN = float("inf"), float("nan")
EXTREME = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, 3.0, -3.0, INF, -INF, NAN])
RNG = np.random.default_rng(0)


def grid(*shape: int, low: float = -2.0, high: float = 2.0) -> Any:
    return RNG.uniform(low, high, shape)


def whole(dtype: Any, *shape: int) -> Any:
    """Small numbers of any dtype, zeros among them; without a sign where the dtype has none."""
    values = RNG.integers(0, 4, shape) - (1 if dtype.kind in "if" else 0)
    return (values % 2 if dtype.kind == "b" else values).astype(dtype)


UNARY = {
    "abs": (-2, 2), "neg": (-2, 2), "negative": (-2, 2), "sign": (-2, 2), "exp": (-2, 2),
    "expm1": (-2, 2), "log": (0.1, 3), "log1p": (-0.8, 3), "sqrt": (0.1, 3), "rsqrt": (0.1, 3),
    "sin": (-2, 2), "cos": (-2, 2), "tanh": (-2, 2), "erf": (-2, 2), "floor": (-2, 2),
    "ceil": (-2, 2), "trunc": (-2, 2), "round": (-2, 2), "square": (-2, 2),
    "reciprocal": (0.2, 3), "sigmoid": (-2, 2), "relu": (-2, 2), "isnan": (-2, 2),
    "isinf": (-2, 2), "isfinite": (-2, 2), "logical_not": (-2, 2), "bitwise_not": (-2, 2),
    "clone": (-2, 2),
}  # fmt: skip
SHAPES = [(3, 4), (), (0, 2), (1,), (2, 1, 3)]


@pytest.mark.parametrize("name", UNARY)
class TestUnary:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_shapes(self, twins: Any, name: str, shape: tuple[int, ...]) -> None:
        low, high = UNARY[name]
        twins.agree(name, grid(*shape, low=low, high=high))

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_dtypes(self, twins: Any, name: str, dtype: Any) -> None:
        twins.agree(name, whole(dtype, 2, 5))

    @pytest.mark.parametrize("dtype", [dtypes.float64, dtypes.float32], ids=str)
    def test_extremes(self, twins: Any, name: str, dtype: Any) -> None:
        twins.agree(name, EXTREME.astype(dtype))

    def test_layouts(self, twins: Any, name: str) -> None:
        low, high = UNARY[name]
        x = grid(4, 6, low=low, high=high)
        for view in (lambda t: t.T, lambda t: t[1::2, ::3], lambda t: t[:, :1].expand(4, 5)):
            twins.agree(lambda t, view=view: getattr(view(t), name)(), x)


# ---- two operands

# The range of the first operand, and of the second.
BINARY = {
    "add": (-2, 2, -2, 2), "sub": (-2, 2, -2, 2), "subtract": (-2, 2, -2, 2),
    "mul": (-2, 2, -2, 2), "multiply": (-2, 2, -2, 2), "div": (-2, 2, 0.3, 3),
    "divide": (-2, 2, -3, -0.3), "true_divide": (-2, 2, 0.3, 3), "floor_divide": (-9, 9, 0.6, 3),
    "remainder": (-9, 9, -3, -0.6), "pow": (0.1, 3, -2, 2), "maximum": (-2, 2, -2, 2),
    "minimum": (-2, 2, -2, 2), "atan2": (-2, 2, -2, 2), "eq": (-2, 2, -2, 2),
    "ne": (-2, 2, -2, 2), "lt": (-2, 2, -2, 2), "le": (-2, 2, -2, 2), "gt": (-2, 2, -2, 2),
    "ge": (-2, 2, -2, 2), "logical_and": (-2, 2, -2, 2), "logical_or": (-2, 2, -2, 2),
    "logical_xor": (-2, 2, -2, 2),
}  # fmt: skip
PAIRS = [
    ((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (2, 3)), ((2, 3), ()), ((), ()),
    ((0, 3), (3,)), ((2, 0, 1), (1, 4)), ((1,), ()), ((2, 1, 3), (4, 1)),
]  # fmt: skip
OPERATORS = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "//": lambda x, y: x // y,
    "%": lambda x, y: x % y,
    "**": lambda x, y: x**y,
    "==": lambda x, y: x == y,
    "!=": lambda x, y: x != y,
    "<": lambda x, y: x < y,
    "<=": lambda x, y: x <= y,
    ">": lambda x, y: x > y,
    ">=": lambda x, y: x >= y,
    "&": lambda x, y: x & y,
    "|": lambda x, y: x | y,
    "^": lambda x, y: x ^ y,
    "<<": lambda x, y: x << y,
    ">>": lambda x, y: x >> y,
}
NUMBERS = [0, 1, 2, 3, -1, -2, True, False, 0.5, 2.0, -1.5, 1e10]


@pytest.mark.parametrize("name", BINARY)
class TestBinary:
    @pytest.mark.parametrize("shapes", PAIRS, ids=str)
    def test_shapes(self, twins: Any, name: str, shapes: Any) -> None:
        low, high, low2, high2 = BINARY[name]
        x, y = grid(*shapes[0], low=low, high=high), grid(*shapes[1], low=low2, high=high2)
        twins.agree(name, x, y)

    @pytest.mark.parametrize("dtype", [dtypes.float64, dtypes.float32], ids=str)
    def test_extremes(self, twins: Any, name: str, dtype: Any) -> None:
        x, y = (each.ravel().astype(dtype) for each in np.meshgrid(EXTREME, EXTREME))
        twins.agree(name, x, y, order=1)

    @pytest.mark.parametrize("number", NUMBERS, ids=repr)
    def test_numbers(self, twins: Any, name: str, number: float) -> None:
        low, high, *_ = BINARY[name]
        twins.agree(lambda x: getattr(x, name)(number), grid(4, low=low, high=high))


@pytest.mark.parametrize("symbol", OPERATORS)
class TestOperators:
    @pytest.mark.parametrize("number", NUMBERS, ids=repr)
    def test_numbers_on_both_sides(self, twins: Any, symbol: str, number: float) -> None:
        apply = OPERATORS[symbol]
        for x in (grid(4, low=0.2, high=3), np.array([1, 2, 5]), np.array([True, False])):
            twins.agree(lambda t: apply(t, number), x)
            twins.agree(lambda t: apply(number, t), x)

    def test_tensors(self, twins: Any, symbol: str) -> None:
        for x in (grid(4, low=0.2, high=3), np.array([1, 2, 5, 0]), np.array([True, False] * 2)):
            twins.agree(OPERATORS[symbol], x, x[::-1].copy() + (x.dtype.kind == "i"))
