"""Elementwise functions against PyTorch: values, dtypes, gradients of two orders, extremes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum import dtypes
from ferrum.dtypes import DTYPES, DType

pytestmark = pytest.mark.torch

INF, NAN = float("inf"), float("nan")
EXTREME = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, 3.0, -3.0, INF, -INF, NAN])
RNG = np.random.default_rng(0)


def grid(*shape: int, low: float = -2.0, high: float = 2.0) -> Any:
    return np.asarray(RNG.uniform(low, high, shape))


def whole(dtype: DType, *shape: int) -> Any:
    """Return small integers as `dtype`, zeros among them, and negative ones where it has those."""
    values = RNG.integers(0, 4, shape)
    return (
        values if dtype.kind == "u" else values % 2 if dtype.kind == "b" else values - 1
    ).astype(dtype)


# ---- one operand

UNARY: dict[str, tuple[float, float]] = {
    "abs": (-2, 2), "neg": (-2, 2), "negative": (-2, 2), "sign": (-2, 2), "exp": (-2, 2),
    "expm1": (-2, 2), "log": (0.1, 3), "log1p": (-0.8, 3), "sqrt": (0.1, 3), "rsqrt": (0.1, 3),
    "sin": (-2, 2), "cos": (-2, 2), "tanh": (-2, 2), "erf": (-2, 2), "floor": (-2, 2),
    "ceil": (-2, 2), "trunc": (-2, 2), "round": (-2, 2), "square": (-2, 2),
    "reciprocal": (0.2, 3), "sigmoid": (-2, 2), "relu": (-2, 2), "isnan": (-2, 2),
    "isinf": (-2, 2), "isfinite": (-2, 2), "logical_not": (-2, 2), "bitwise_not": (-2, 2),
    "clone": (-2, 2),
}  # fmt: skip
SHAPES = [(3, 4), (), (0, 2), (1,), (2, 1, 3)]
LAYOUTS = {
    "transposed": lambda x: x.T,
    "strided": lambda x: x[1::2, ::3],
    "expanded": lambda x: x[:, :1].expand(4, 5),
}


@pytest.mark.parametrize("name", UNARY)
class TestUnary:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_shapes(self, twins: Any, name: str, shape: tuple[int, ...]) -> None:
        low, high = UNARY[name]
        twins.agree(name, grid(*shape, low=low, high=high))

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_dtypes(self, twins: Any, name: str, dtype: DType) -> None:
        if (name, dtype) != ("square", dtypes.bool_):  # for numbers, as the product of bools is
            twins.agree(name, whole(dtype, 2, 5))

    @pytest.mark.parametrize("dtype", [dtypes.float64, dtypes.float32], ids=str)
    def test_extremes(self, twins: Any, name: str, dtype: DType) -> None:
        # the sign of NaN is NaN, as in the array API; PyTorch has 0, also as the slope of abs
        points = EXTREME[:-1] if name in ("sign", "abs") else EXTREME
        twins.agree(name, points.astype(dtype))

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_layouts(self, twins: Any, name: str, layout: str) -> None:
        low, high = UNARY[name]
        x = grid(4, 6, low=low, high=high)
        twins.agree(lambda t: getattr(LAYOUTS[layout](t), name)(), x)


def test_the_sign_of_nan_is_nan() -> None:
    assert fe.tensor([NAN]).sign().isnan().all()


# ---- two operands

# The range of the first operand, and of the second.
BINARY: dict[str, tuple[float, float, float, float]] = {
    "add": (-2, 2, -2, 2), "sub": (-2, 2, -2, 2), "subtract": (-2, 2, -2, 2),
    "mul": (-2, 2, -2, 2), "multiply": (-2, 2, -2, 2), "div": (-2, 2, 0.3, 3),
    "divide": (-2, 2, -3, -0.3), "true_divide": (-2, 2, 0.3, 3), "floor_divide": (-9, 9, 0.6, 3),
    "remainder": (-9, 9, -3, -0.6), "pow": (0.1, 3, -2, 2), "maximum": (-2, 2, -2, 2),
    "minimum": (-2, 2, -2, 2), "atan2": (-2, 2, -2, 2), "eq": (-2, 2, -2, 2),
    "ne": (-2, 2, -2, 2), "lt": (-2, 2, -2, 2), "le": (-2, 2, -2, 2), "gt": (-2, 2, -2, 2),
    "ge": (-2, 2, -2, 2), "logical_and": (-2, 2, -2, 2), "logical_or": (-2, 2, -2, 2),
    "logical_xor": (-2, 2, -2, 2), "greater": (-2, 2, -2, 2), "less_equal": (-2, 2, -2, 2),
}  # fmt: skip
PAIRS = [
    ((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (2, 3)), ((2, 3), ()), ((), ()),
    ((0, 3), (3,)), ((2, 0, 1), (1, 4)), ((1,), ()), ((2, 1, 3), (4, 1)),
]  # fmt: skip
NUMBERS = [0, 1, 2, 3, -1, -2, True, False, 0.5, 2.0, -1.5, 1e10]
# PyTorch cannot differentiate it; ours has the gradient 0, as floor has.
ORDERS = {"floor_divide": 0, "//": 0}
# Numbers are welcome where PyTorch wants tensors, and a bool stands for 0 or 1.
WIDER = ("maximum", "minimum", "atan2", "logical_and", "logical_or", "logical_xor")


@pytest.mark.parametrize("name", BINARY)
class TestBinary:
    @pytest.mark.parametrize("shapes", PAIRS, ids=str)
    def test_shapes(self, twins: Any, name: str, shapes: Any) -> None:
        low, high, low2, high2 = BINARY[name]
        x, y = grid(*shapes[0], low=low, high=high), grid(*shapes[1], low=low2, high=high2)
        twins.agree(name, x, y, order=ORDERS.get(name, 2))

    @pytest.mark.parametrize("dtype", [dtypes.float64, dtypes.float32], ids=str)
    def test_extremes(self, twins: Any, name: str, dtype: DType) -> None:
        x, y = (each.ravel().astype(dtype) for each in np.meshgrid(EXTREME, EXTREME))
        twins.agree(name, x, y, order=ORDERS.get(name, 1))

    @pytest.mark.parametrize("number", NUMBERS, ids=repr)
    def test_numbers(self, twins: Any, name: str, number: float) -> None:
        low, high, *_ = BINARY[name]
        x = grid(4, low=low, high=high)
        if name in WIDER or (name in ("sub", "subtract") and isinstance(number, bool)):
            getattr(fe.tensor(x), name)(number)
        else:
            twins.agree(lambda t: getattr(t, name)(number), x, order=ORDERS.get(name, 2))


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
OPERANDS = {
    "float": np.array([0.3, 1.7, 2.2]),
    "int": np.array([1, 2, 5]),
    "bool": np.array([True, False]),
}


@pytest.mark.parametrize("symbol", OPERATORS)
@pytest.mark.parametrize("kind", OPERANDS)
class TestOperators:
    @pytest.mark.parametrize("number", NUMBERS, ids=repr)
    def test_numbers(self, twins: Any, symbol: str, kind: str, number: float) -> None:
        apply, x = OPERATORS[symbol], OPERANDS[kind]
        truth = isinstance(number, bool)
        if symbol == "-" and (truth or kind == "bool"):
            return  # bool stands for 0 and 1: see test_torch_promotion.py
        if symbol in ("//", "%", "**") and (kind == "bool" or (number == 0 and kind == "int")):
            return  # integers divided by 0 give 0, on every device; bools are no numbers
        twins.agree(lambda t: apply(t, number), x, order=ORDERS.get(symbol, 2))
        if symbol != "**" or not truth:  # PyTorch fails in the gradient of True ** x
            order = 0 if symbol in ("//", "%") else 1 if symbol == "**" else 2
            twins.agree(lambda t: apply(number, t), x, order=order)

    def test_tensors(self, twins: Any, symbol: str, kind: str) -> None:
        x = OPERANDS[kind]
        if kind != "bool" or symbol not in ("//", "%", "**"):
            twins.agree(OPERATORS[symbol], x, x[::-1].copy(), order=ORDERS.get(symbol, 2))


def test_integers_divided_by_zero_give_zero() -> None:
    x = fe.tensor([5, -3, 0])
    assert (x // 0).tolist() == (x % 0).tolist() == [0, 0, 0]
