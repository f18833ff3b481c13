"""What becomes of NaN, infinities, zeros and empty tensors: the table of rules, pinned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ferrum as fe

INF, NAN = float("inf"), float("nan")
Function = Callable[[fe.Tensor], Any]

# Rule: function, argument, value, and gradient of its sum (None where it does not matter).
RULES: dict[str, tuple[Function, Any, Any, Any]] = {
    "max: NaN wins": (lambda x: x.max(), [1.0, NAN, 3.0], NAN, [0, 1, 0]),
    "min: NaN wins": (lambda x: x.min(), [1.0, NAN, 3.0], NAN, [0, 1, 0]),
    "max(dim): NaN wins": (lambda x: x.max(0).values, [1.0, NAN, 3.0], NAN, [0, 1, 0]),
    "amax: NaN wins": (lambda x: x.amax(), [1.0, NAN, INF], NAN, [0, 1, 0]),
    "amin: NaN wins": (lambda x: x.amin(), [1.0, NAN, -INF], NAN, [0, 1, 0]),
    "amax: equals share": (lambda x: x.amax(), [2.0, 1.0, 2.0], 2, [0.5, 0, 0.5]),
    "max: equals share": (lambda x: x.max(), [2.0, 1.0, 2.0], 2, [0.5, 0, 0.5]),
    "max(dim): the first of equals": (lambda x: x.max(0).values, [2.0, 1.0, 2.0], 2, [1, 0, 0]),
    "argmax: the first NaN": (lambda x: x.argmax(), [1.0, NAN, INF, NAN], 1, None),
    "argmin: the first NaN": (lambda x: x.argmin(), [1.0, NAN, -INF, NAN], 1, None),
    "argmax: the first of equals": (lambda x: x.argmax(), [1.0, 3.0, 3.0], 1, None),
    "maximum: NaN wins": (lambda x: fe.maximum(x, 2.0), [NAN, 1.0, 3.0], [NAN, 2, 3], [1, 0, 1]),
    "maximum: equals share": (lambda x: fe.maximum(x, 2.0), [2.0], [2], [0.5]),
    "clamp: NaN stays, flat": (lambda x: x.clamp(0, 1), [NAN, -INF, INF], [NAN, 0, 1], [0, 0, 0]),
    "clamp: the bound belongs to it": (lambda x: x.clamp(0, 1), [0.0, 1.0], [0, 1], [1, 1]),
    "relu: NaN stays": (lambda x: x.relu(), [NAN, -1.0, 0.0, INF], [NAN, 0, 0, INF], [1, 0, 0, 1]),
    "sort: NaN is the largest": (
        lambda x: x.sort().values, [NAN, INF, -INF, 1.0], [-INF, 1, INF, NAN], None),
    "sort: descending, NaN first": (
        lambda x: x.sort(descending=True).values, [1.0, NAN, INF], [NAN, INF, 1], None),
    "sort: equals keep their order": (lambda x: x.sort().indices, [1.0, 0.0, 1.0], [1, 0, 2], None),
    "where: the other side is cut off": (
        lambda x: fe.where(x > 0, x.sqrt(), 0.0), [4.0, 1.0], [2, 1], [0.25, 0.5]),
    "softmax of -inf alone": (lambda x: x.softmax(0), [-INF, -INF], [NAN, NAN], None),
    "softmax beside -inf": (lambda x: x.softmax(0), [-INF, 1.0], [0, 1], [0, 0]),
    "softmax of large numbers": (lambda x: x.softmax(0), [1e4, 1e4], [0.5, 0.5], [0, 0]),
    "log_softmax beside -inf": (lambda x: x.log_softmax(0), [-INF, 1.0], [-INF, 0], None),
    "logsumexp of -inf alone": (lambda x: x.logsumexp(0), [-INF, -INF], -INF, None),
    "logsumexp of inf": (lambda x: x.logsumexp(0), [INF, -INF], INF, None),
    "logsumexp of large numbers": (lambda x: x.logsumexp(0), [1e4], 1e4, [1]),
    "logsumexp of nothing": (lambda x: x.logsumexp(0), [], -INF, []),
    "0 times infinity": (lambda x: x * 0.0, [INF, NAN, 1.0], [NAN, NAN, 0], [0, 0, 0]),
    "0 to the power 0": (lambda x: x**0, [0.0, NAN, INF], [1, 1, 1], [0, 0, 0]),
    "x ** 2 at 0": (lambda x: x**2, [0.0], [0], [0]),
    "x ** 0.5 at 0": (lambda x: x**0.5, [0.0], [0], [INF]),
    "0 ** x": (lambda x: fe.tensor(0.0) ** x, [0.0, 1.0, 2.0], [1, 0, 0], [0, 0, 0]),
    "sqrt at 0": (lambda x: x.sqrt(), [0.0], [0], [INF]),
    "abs at 0": (lambda x: x.abs(), [0.0, -0.0], [0, 0], [0, 0]),
    "atan2 at the origin": (lambda x: fe.atan2(x, x), [0.0], [0], [0]),
    "norm at 0": (lambda x: x.norm(), [0.0, 0.0], 0, [0, 0]),
    "norm 3 at 0": (lambda x: x.norm(3), [0.0, 0.0], 0, [0, 0]),
    "norm inf of equals": (lambda x: x.norm(INF), [2.0, -2.0], 2, [0.5, -0.5]),
    "std of equals": (lambda x: x.std(), [3.0, 3.0], 0, [0, 0]),
    "var of one": (lambda x: x.var(), [3.0], NAN, [NAN]),
    "var of one, uncorrected": (lambda x: x.var(correction=0), [3.0], 0, [0]),
    "mean of nothing": (lambda x: x.mean(), [], NAN, []),
    "sum of nothing": (lambda x: x.sum(), [], 0, []),
    "prod of nothing": (lambda x: x.prod(), [], 1, []),
    "prod with one zero": (lambda x: x.prod(), [2.0, 0.0, 3.0], 0, [0, 6, 0]),
    "prod with two zeros": (lambda x: x.prod(), [2.0, 0.0, 0.0], 0, [0, 0, 0]),
    "sum of infinities": (lambda x: x.sum(), [INF, -INF], NAN, [1, 1]),
    "sign of NaN": (lambda x: x.sign(), [NAN, -0.0, -INF], [NAN, 0, -1], [0, 0, 0]),
    "floor of infinities": (lambda x: x.floor(), [INF, NAN, -0.5], [INF, NAN, -1], [0, 0, 0]),
    "round: half to even": (lambda x: x.round(), [0.5, 1.5, -2.5], [0, 2, -2], [0, 0, 0]),
    "remainder by 0": (lambda x: x % 0.0, [1.0, INF], [NAN, NAN], [1, 1]),
    "division by 0": (lambda x: x / 0.0, [1.0, -1.0, 0.0], [INF, -INF, NAN], [INF, INF, INF]),
    "sigmoid of large numbers": (lambda x: x.sigmoid(), [-1e4, 1e4, INF], [0, 1, 1], [0, 0, 0]),
    "exp of large numbers": (lambda x: x.exp(), [-1e4, 1e4], [0, INF], [0, INF]),
    "log of 0 and less": (lambda x: x.log(), [0.0, -1.0], [-INF, NAN], [INF, -1]),
    "cumsum past NaN": (lambda x: x.cumsum(0), [1.0, NAN, 1.0], [1, NAN, NAN], [3, 2, 1]),
    "nonzero counts NaN": (lambda x: x.nonzero(), [0.0, NAN, -0.0], [[1]], None),
    "NaN equals nothing": (lambda x: x == x, [NAN, INF], [False, True], None),
    "any and all of NaN": (lambda x: x.any() & x.all(), [NAN], True, None),
    "bool of NaN": (lambda x: x.bool(), [NAN, 0.0, -0.0], [True, False, False], None),
}  # fmt: skip


def check(function: Any, values: Any, value: Any, gradient: Any, library: Any) -> None:
    x = library.tensor(values, dtype=library.float64, requires_grad=True)
    out = function(x)
    np.testing.assert_array_equal(out.detach().numpy(), value)
    if gradient is not None:
        out.sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), gradient, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("rule", RULES)
def test_rules(rule: str) -> None:
    check(*RULES[rule], fe)


# The sign of NaN is 0 in PyTorch, its amax spoils all gradients; the others call functions of `fe`.
OTHERWISE = {
    "sign of NaN", "amax: NaN wins", "amin: NaN wins", "maximum: NaN wins", "maximum: equals share",
    "where: the other side is cut off", "0 ** x", "atan2 at the origin",
}  # fmt: skip


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in OTHERWISE])
def test_rules_are_those_of_pytorch(rule: str) -> None:
    check(*RULES[rule], pytest.importorskip("torch", reason="PyTorch is not installed"))


@pytest.mark.parametrize("name", ["max", "min", "amax", "amin", "argmax", "argmin"])
def test_the_extreme_of_nothing_is_refused(name: str) -> None:
    for shape, dim in (((0,), None), ((2, 0), 1), ((0, 3), 0)):
        with pytest.raises(fe.FerrumError, match="has no element along"):
            getattr(fe.zeros(shape), name)(dim)
