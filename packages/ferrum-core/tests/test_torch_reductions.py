"""Reductions, norms, sorting and softmax against PyTorch: dims, keepdim, empty, ties, NaN, inf."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum import dtypes
from ferrum.dtypes import DTYPES, DType

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:.*degrees of freedom")]

INF, NAN = float("inf"), float("nan")
RNG = np.random.default_rng(0)


def grid(*shape: int) -> Any:
    """Return distinct numbers of both signs."""
    return np.asarray(RNG.permutation(prod(shape)).reshape(shape) * 0.7 - 3.1)


ARRAYS = {
    "(3, 4)": grid(3, 4), "0-d": grid(), "(0, 3)": grid(0, 3), "(3, 0)": grid(3, 0),
    "(2, 3, 4)": grid(2, 3, 4), "(1,)": grid(1), "ties": np.array([[1.0, 2, 2], [2, 2, 1]]),
    "float32": grid(3, 4).astype(np.float32), "float16": grid(3, 4).astype(np.float16),
    "int64": RNG.integers(-4, 5, (3, 4)), "bool": np.array([[True, False], [True, True]]),
    "uint8": np.array([[250, 3, 9], [7, 200, 1]], np.uint8),
    "int8": np.array([[-100, 90]], np.int8),
}  # fmt: skip
EXTREMES = {
    "nan": np.array([[1.0, NAN, 3.0], [INF, 2.0, -INF]]),
    "inf": np.array([[INF, 1.0, INF], [-INF, 0.0, 2.0]]),
}
DIMS = [None, 0, 1, -1, -2, 2, -4, (0, 1), (0, -1), (-1,), (0, 0), (5,)]
EVERY = {**ARRAYS, **EXTREMES}


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", DIMS, ids=str)
class TestAlongDims:
    @pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "any", "all"])
    def test_reductions(self, twins: Any, name: str, dim: Any, keepdim: bool) -> None:
        for label, x in EVERY.items():
            if label == "uint8" and name in ("any", "all"):
                continue  # PyTorch answers in uint8
            # where NaN wins, PyTorch's amax spoils the gradient of all elements
            order = 0 if label == "nan" and name in ("amax", "amin") else 2
            twins.agree(name, x, dim=dim, keepdim=keepdim, order=order)

    @pytest.mark.parametrize("name", ["var", "std"])
    @pytest.mark.parametrize("correction", [0, 1, 2])
    def test_deviations(
        self, twins: Any, name: str, dim: Any, keepdim: bool, correction: float
    ) -> None:
        for label, x in EVERY.items():
            # PyTorch's second gradients differ where the variance is 0 or no number
            order = 0 if label in EXTREMES or label in ("0-d", "(1,)") else 1
            shape = [
                x.shape[i]
                for i in np.atleast_1d(range(x.ndim) if dim is None else dim)
                if -x.ndim <= i < x.ndim
            ]
            order = 0 if prod(shape) <= correction else order
            twins.agree(name, x, dim, correction=correction, keepdim=keepdim, order=order)

    def test_norms(self, twins: Any, dim: Any, keepdim: bool) -> None:
        for p, x in product((2, 1, 0, 3, 1.5, 0.5, INF, -INF, "fro"), EVERY.values()):
            order = 1 if np.isfinite(x).all() else 0
            twins.agree("norm", x, p, dim, keepdim, order=order)


@pytest.mark.parametrize("label", EVERY)
class TestOneDim:
    @pytest.mark.parametrize("dim", [0, 1, -1, -2, 2, -4])
    @pytest.mark.parametrize(
        "name", ["argmax", "argmin", "max", "min", "logsumexp", "prod", "cumsum", "softmax",
                 "log_softmax", "sort", "argsort"],
    )  # fmt: skip
    def test_dims(self, twins: Any, name: str, dim: int, label: str) -> None:
        x = EVERY[label]
        if name in ("argmax", "argmin") and label == "bool":
            return  # False < True; PyTorch refuses
        # PyTorch's prod divides by inf and NaN, its logsumexp in the second gradient by 0
        order = 0 if name == "prod" and label in EXTREMES else 1 if 0 in x.shape else 2
        twins.agree(name, x, dim, order=order)
        if name in ("argmax", "argmin", "max", "min", "logsumexp", "prod"):
            twins.agree(name, x, dim, True, order=order)
        if name in ("sort", "argsort"):
            twins.agree(name, x, dim=dim, descending=True, stable=True, order=order)

    @pytest.mark.parametrize(
        "name", ["sum", "mean", "prod", "amax", "amin", "any", "all", "argmax", "argmin", "max",
                 "min", "var", "std", "norm", "sort", "argsort"],
    )  # fmt: skip
    def test_without_a_dim(self, twins: Any, name: str, label: str) -> None:
        x = EVERY[label]
        if (label == "uint8" and name in ("any", "all")) or (
            label == "bool" and name in ("argmax", "argmin")
        ):
            return
        finite = label not in EXTREMES and x.size > 1
        twins.agree(name, x, order=2 if finite and name not in ("var", "std", "norm") else 0)

    @pytest.mark.parametrize("k", [0, 1, 2, 3, -1, 9])
    def test_topk(self, twins: Any, k: int, label: str) -> None:
        x = EVERY[label]
        if label in ("bool", "ties", "inf", "int64") or (k == 0 and not x.ndim):
            return  # PyTorch does not sort bools, and orders equals as it likes
        for dim, largest in product((0, -1, 1), (True, False)):
            twins.agree("topk", x, k, dim, largest)

    @pytest.mark.parametrize("dtype", [*DTYPES[:6], dtypes.float32, dtypes.float64], ids=str)
    @pytest.mark.parametrize("name", ["sum", "prod", "cumsum", "mean", "softmax", "log_softmax"])
    def test_dtype(self, twins: Any, name: str, dtype: DType, label: str) -> None:
        x = EVERY[label]
        if (
            label == "uint8"
            or (label in EXTREMES and dtype.kind != "f")
            or (name == "cumsum" and dtype is dtypes.bool_)
            or (name.endswith("softmax") and dtype.kind != "f")
        ):
            return  # what wraps or cannot be cast says nothing of `dtype`
        x = np.abs(x).astype(np.float32) if x.dtype.kind == "f" else x
        dims = () if name in ("sum", "prod", "mean") else (0,)
        twins.agree(name, x, *dims, dtype=dtype, order=0)


@pytest.mark.parametrize("values", [
    [1000.0, 1001.0, -1e30], [-INF, -INF], [INF, 1.0], [INF, -INF], [-INF, 1.0, 2.0], [NAN, 1.0],
    [-1e308, 1e308], [0.0], [],
], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "sum", "mean", "prod"])
def test_extreme_rows(twins: Any, name: str, values: list[float]) -> None:
    order = 1 if name != "prod" and np.isfinite(values).all() else 0
    twins.agree(name, np.array(values, np.float64), 0, order=order)


def test_ties_and_nan_share_the_gradient() -> None:
    x = fe.tensor([[1.0, NAN, 2.0], [4.0, 4.0, 1.0]], requires_grad=True)
    x.amax(1).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0, 1, 0], [0.5, 0.5, 0]]


def test_no_dims_are_all_dims() -> None:
    """PyTorch has it so for sum and mean; for any and all it reduces nothing."""
    x = fe.tensor([[True, False]])
    assert x.any(()).item() is True
    assert x.all(()).item() is False
    assert x.sum(()).item() == 1
