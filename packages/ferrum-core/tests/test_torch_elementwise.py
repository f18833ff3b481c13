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
