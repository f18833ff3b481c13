"""Promotion against PyTorch: every pair of dtypes, with dimensions, 0-d, and Python numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum.dtypes import CATEGORY, DTYPES, DType

pytestmark = pytest.mark.torch

# Exact in every dtype, and no op below overflows or divides by zero with them.
LEFT = {True: np.array([1.0, 3.0, 2.0, 1.0]), False: np.array(3.0)}
RIGHT = {True: np.array([1.0, 2.0, 1.0, 3.0]), False: np.array(2.0)}
NUMBERS = (2, 2.0, True)


def sides(dtype: DType, values: dict[bool, Any]) -> list[Any]:
    """Return a tensor with dimensions and a 0-d one, of `dtype`, as arrays."""
    return [each.astype(dtype) for each in values.values()]


def chosen(x: Any, y: Any) -> Any:
    """Return x where a condition holds, else y: a method of whichever is a tensor."""
    if not hasattr(x, "detach"):
        return y.where(y != y, x)
    return x.where(x == x, y)


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "floor_divide": lambda x, y: x // y,
    "remainder": lambda x, y: x % y,
    "pow": lambda x, y: x**y,
    "equal": lambda x, y: x == y,
    "less": lambda x, y: x < y,
    "bitwise_and": lambda x, y: x & y,
    "where": chosen,
}


def category(x: Any) -> int:
    """Return 0 for bool, 1 for integers, 2 for floats."""
    return CATEGORY[x.dtype] if isinstance(x, np.ndarray) else (bool, int, float).index(type(x))


def differs(name: str, x: Any, y: Any) -> bool:
    """Say where FERRUM differs from PyTorch on purpose."""
    kinds = {category(x), category(y)}
    if name == "subtract":  # bool stands for 0 and 1, as in add; PyTorch refuses some pairs
        return 0 in kinds and kinds != {0}
    # what they are of two bools is anyone's guess: refused, while PyTorch has some of them
    return name in ("floor_divide", "remainder", "pow") and kinds == {0}


def check(twins: Any, name: str, x: Any, y: Any) -> None:
    if not differs(name, x, y):
        twins.agree(OPERATIONS[name], x, y, order=0)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
class TestPromotion:
    def test_tensors(self, twins: Any, name: str, dtype: DType) -> None:
        for other in DTYPES:
            for x, y in product(sides(dtype, LEFT), sides(other, RIGHT)):
                check(twins, name, x, y)

    def test_numbers(self, twins: Any, name: str, dtype: DType) -> None:
        for x, number in product(sides(dtype, LEFT), NUMBERS):
            check(twins, name, x, number)
            check(twins, name, number, x)


IN_PLACE: dict[str, Callable[[Any, Any], Any]] = {
    "add_": lambda x, y: x.detach().clone().add_(y),
    "sub_": lambda x, y: x.detach().clone().sub_(y),
    "mul_": lambda x, y: x.detach().clone().mul_(y),
    "div_": lambda x, y: x.detach().clone().div_(y),
    "setitem": lambda x, y: put(x.detach().clone(), y),
    "fill_": lambda x, y: x.detach().clone().fill_(y),
}


def put(x: Any, value: Any) -> Any:
    x[...] = value
    return x


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_in_place_keeps_the_dtype_or_refuses(twins: Any, name: str, dtype: DType) -> None:
    others = [each for other in DTYPES for each in sides(other, RIGHT)]
    for x, y in product(sides(dtype, LEFT), [*others, *NUMBERS]):
        if not differs("subtract" if name == "sub_" else name, x, y):
            twins.agree(IN_PLACE[name], x, y, order=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_promote_types(twins: Any, dtype: DType) -> None:
    for other in DTYPES:
        theirs = twins.theirs.module.promote_types(*map(twins.theirs.dtype, (dtype, other)))
        assert f"torch.{fe.promote_types(dtype, other)}" == str(theirs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_result_type(twins: Any, dtype: DType) -> None:
    others = [each for other in DTYPES for each in sides(other, RIGHT)]
    for x, y in product(sides(dtype, LEFT), [*others, *NUMBERS]):
        ours, theirs = (
            [
                each if isinstance(each, (bool, int, float)) else library.tensor(each)
                for each in (x, y)
            ]
            for library in (twins.ours, twins.theirs)
        )
        assert f"torch.{fe.result_type(*ours)}" == str(twins.theirs.module.result_type(*theirs))


def test_bool_beside_numbers() -> None:
    mask, x = fe.tensor([True, False]), fe.tensor([5, 6])
    assert (x - mask).tolist() == [4, 6]
    assert (1 - mask).tolist() == [0, 1]
    with pytest.raises(fe.FerrumError, match=r"subtract: expected .*, got bool"):
        mask - mask
