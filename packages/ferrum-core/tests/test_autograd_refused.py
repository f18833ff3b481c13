"""What `backward` and `grad` refuse: odd arguments, freed graphs and gradient rules gone wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum import Tensor
from ferrum.errors import ArgumentError, GradientError, OperandError, ShapeError
from ferrum.op import OPS


def leaf(values: Any, dtype: Any = fe.float64) -> Tensor:
    return fe.tensor(values, dtype=dtype, requires_grad=True)


def same(x: Tensor, expected: Any, rtol: float = 1e-12) -> None:
    np.testing.assert_allclose(x.numpy(force=True), expected, rtol=rtol, atol=1e-12)


def test_starting_needs_a_gradient_unless_there_is_one_element() -> None:
    x = leaf([1.0, 2.0])
    with pytest.raises(GradientError, match="needs a gradient to start from"):
        (x * x).backward()
    with pytest.raises(GradientError, match="needs a gradient to start from"):
        fe.grad(x * x, x)
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        (x * x).backward(fe.ones(3))
    with pytest.raises(ArgumentError, match="1 tensors, but 2 gradients"):
        fe.backward([x * x], [None, None])
    assert x.grad is None


def test_roots_and_inputs_must_require_grad() -> None:
    x, constant = leaf(1.0), fe.tensor(1.0)
    with pytest.raises(GradientError, match="does not require grad"):
        constant.backward()
    with pytest.raises(GradientError, match="does not require grad"):
        fe.grad(constant * 2, x)
    with pytest.raises(GradientError, match="does not require grad"):
        fe.grad(x * 2, constant)


X = fe.ones(2, dtype=fe.float64, requires_grad=True)
WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: (X * 1).backward(5), OperandError, r"^backward: expected tensors, got int; make one"),
    (lambda: (X * 1).backward(np.ones(2)), OperandError, "^backward: expected tensors, got ndarr"),
    (lambda: (X * 1).sum().backward([None, 5]), OperandError, "^backward: expected tensors, got i"),
    (lambda: fe.grad("x", "y"), OperandError, "^grad: expected tensors, got str"),
    (lambda: fe.grad(X.sum(), "y"), OperandError, "^grad: expected tensors, got str"),
    (lambda: fe.grad(X.sum(), [X, None]), OperandError, "^grad: expected a tensor, got None"),
    (lambda: fe.grad(X.sum(), []), ArgumentError, "^grad: expected at least one input, got none"),
    (lambda: fe.grad(None, X), OperandError, "^grad: expected a tensor, got None"),
    (lambda: fe.grad(X.sum(), X, 5), OperandError, "^grad: expected tensors, got int"),
    (lambda: X.sum().backward(inputs=[]), ArgumentError, "^backward: expected at least one input"),
    (lambda: X.sum().backward(inputs=3), OperandError, "^backward: expected tensors, got int"),
    (lambda: fe.backward(7), OperandError, "^backward: expected tensors, got int"),
    (
        lambda: X.sum().backward(create_graph="yes"),
        OperandError,
        "^backward: expected create_graph to be True or False, got 'yes'",
    ),
    (
        lambda: fe.grad(X.sum(), X, retain_graph=3),
        OperandError,
        "^grad: expected retain_graph to be True or False, got 3",
    ),
    (
        lambda: fe.grad(X.sum(), X, create_graph=None),
        OperandError,
        "^grad: expected create_graph to be True or False, got None",
    ),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_is_no_tensor_or_no_option_is_refused(number: int) -> None:
    call, error, text = WRONG[number]
    with pytest.raises(error, match=text):
        call()
    assert X.grad is None


def test_inputs_may_come_from_a_generator() -> None:
    x, y = leaf(2.0), leaf(3.0)
    gx, gy = fe.grad(x * y, (each for each in (x, y)))
    assert (gx.item(), gy.item()) == (3.0, 2.0)


def test_a_freed_graph_says_so_and_retain_graph_keeps_it() -> None:
    x = leaf([2.0])
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    same(x.grad, [8])
    with pytest.raises(GradientError, match=r"core\.multiply.*freed.*retain_graph=True"):
        y.backward()
    same(x.grad, [8])


def test_create_graph_retains_unless_told_otherwise() -> None:
    x = leaf(2.0)
    y = x * x
    fe.grad(y, x, create_graph=True)
    fe.grad(y, x, create_graph=True, retain_graph=False)
    with pytest.raises(GradientError, match="freed"):
        fe.grad(y, x)


def test_nodes_that_saved_nothing_may_be_walked_through_again() -> None:
    x = leaf([1.0, 2.0])
    y = (x[:1] + 1).sum()
    y.backward()
    y.backward()
    assert x.grad is not None and x.grad.tolist() == [2, 0]  # as in PyTorch


def test_parts_that_a_walk_does_not_need_are_not_freed() -> None:
    x, y = leaf(2.0), leaf(3.0)
    left, right = x * x, y * y
    total = left + right
    (g,) = fe.grad(total, x)
    assert g.item() == 4.0
    assert fe.grad(right, y)[0].item() == 6.0


def test_a_gradient_rule_of_the_wrong_dtype_is_named() -> None:
    class Wrong(fe.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return g.to(fe.float32)

    x = leaf([1.0])
    with pytest.raises(GradientError, match="float32.*float64"):
        Wrong.apply(x).backward()


@pytest.mark.parametrize("wrong", [5, "a", [1], np.ones(1), (leaf([1.0]),)], ids=str)
def test_a_gradient_rule_that_returns_no_tensor_is_named(
    wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, kind = leaf([1.0]), type(wrong).__name__
    monkeypatch.setattr(OPS["core.tanh"], "vjp", lambda *_, **__: wrong)
    with pytest.raises(GradientError, match=rf"^core\.tanh: expected .* input 0, got {kind}"):
        x.tanh().backward()
    y = leaf([2.0])
    monkeypatch.setattr(OPS["core.multiply"], "vjp", lambda *_, **__: (None, wrong))
    with pytest.raises(GradientError, match=rf"^core\.multiply: .* input 1, got {kind}"):
        (x * y).backward()
    for several in (wrong, [x]):
        monkeypatch.setattr(OPS["core.concat"], "vjp", lambda *_, several=several, **__: several)
        with pytest.raises(GradientError, match=r"^core\.concat: expected .* 2 tensors or None"):
            fe.cat([x, y]).backward(fe.ones(2))
    monkeypatch.setattr(OPS["core.multiply"], "vjp", lambda *_, **__: 5)
    with pytest.raises(GradientError, match=r"^core\.multiply: expected .* 2 gradients, got int"):
        (x * y).backward()


def test_a_gradient_rule_of_the_wrong_length_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = leaf([1.0]), leaf([2.0])
    monkeypatch.setattr(OPS["core.add"], "vjp", lambda g: (g,))
    with pytest.raises(GradientError, match=r"core\.add: its gradient has 1 values for 2 inputs"):
        (x + y).backward()
