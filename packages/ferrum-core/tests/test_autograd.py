"""`backward` and `grad`: every order, every way to start, what they leave behind and refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ferrum as fe
from ferrum import Tensor
from ferrum.errors import DTypeError, GradientError
from ferrum.op import OPS

QUIET = settings(deadline=None, derandomize=True, max_examples=60, database=None)
POINTS = np.linspace(0.3, 1.7, 5)


def leaf(values: Any, dtype: Any = fe.float64) -> Tensor:
    return fe.tensor(values, dtype=dtype, requires_grad=True)


def same(x: Tensor, expected: Any, rtol: float = 1e-12) -> None:
    np.testing.assert_allclose(x.numpy(force=True), expected, rtol=rtol, atol=1e-12)


# ---- orders


def chain(outer: Any, inner: Any) -> list[Callable[[Any], Any]]:
    """Return derivatives 0 to 4 of a polynomial of t, where dt/dx is the polynomial `inner`."""
    orders = [outer]
    for _ in range(4):
        orders.append(orders[-1].deriv() * inner)
    return orders


T = np.poly1d([1, 0])
TANH = chain(T, 1 - T * T)
SIGMOID = chain(T, T - T * T)
ANALYTIC: dict[str, tuple[Callable[[Tensor], Tensor], list[Callable[[Any], Any]]]] = {
    "power": (
        lambda x: x**5,
        [lambda x, k=k: np.poly1d([1, 0, 0, 0, 0, 0]).deriv(k)(x) if k else x**5 for k in range(5)],
    ),
    "exp": (lambda x: x.exp(), [np.exp] * 5),
    "sin": (
        lambda x: x.sin(),
        [np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin],
    ),
    "log": (
        lambda x: x.log(),
        [np.log, lambda x: 1 / x, lambda x: -(x**-2), lambda x: 2 * x**-3, lambda x: -6 * x**-4],
    ),
    "divide": (
        lambda x: 1 / x,
        [lambda x, k=k: (-1) ** k * np.prod(range(1, k + 1)) * x ** -(k + 1.0) for k in range(5)],
    ),
    "tanh": (lambda x: x.tanh(), [lambda x, p=p: p(np.tanh(x)) for p in TANH]),
    "sigmoid": (lambda x: x.sigmoid(), [lambda x, p=p: p(1 / (1 + np.exp(-x))) for p in SIGMOID]),
    "product": (
        lambda x: x * x.exp(),
        [lambda x, k=k: (x + k) * np.exp(x) for k in range(5)],
    ),
}


@pytest.mark.parametrize("name", ANALYTIC)
def test_four_orders_against_the_formula(name: str) -> None:
    function, orders = ANALYTIC[name]
    x = leaf(POINTS)
    y = function(x)
    for order, formula in enumerate(orders):
        same(y, formula(POINTS), rtol=1e-9)
        if order < 4:
            (y,) = fe.grad(y.sum(), x, create_graph=True)
    assert x.grad is None


def test_mixed_partial_derivatives_of_fourth_order() -> None:
    x, y = leaf(POINTS), leaf(POINTS[::-1].copy())
    z = (x * y).sin()
    for wrt in (x, y, y, x):
        (z,) = fe.grad(z.sum(), wrt, create_graph=True)
    p = POINTS * POINTS[::-1]
    # d4 sin(p) / dx dy dy dx, worked out by hand
    same(z, (p * p - 2) * np.sin(p) - 4 * p * np.cos(p), rtol=1e-10)


@QUIET
@given(st.lists(st.integers(-3, 3), min_size=3, max_size=6), st.integers(1, 3))
def test_polynomials_used_term_by_term(coefficients: list[int], order: int) -> None:
    polynomial = np.poly1d([1, 0, *coefficients])
    x = leaf(POINTS)
    y = x
    for coefficient in coefficients:  # Horner: x is used once a term
        y = y * x + coefficient
    for _ in range(order):
        (y,) = fe.grad(y.sum(), x, create_graph=True)
    same(y, polynomial.deriv(order)(POINTS), rtol=1e-9)


def test_gradient_with_respect_to_the_incoming_gradient() -> None:
    x, v = leaf([2.0, 3.0]), leaf([5.0, 7.0])
    (g,) = fe.grad(x * x, x, v, create_graph=True)
    same(g, [20, 42])
    dx, dv = fe.grad(g.sum(), [x, v])
    same(dx, [10, 14])
    same(dv, [4, 6])


# ---- what arrives


@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_a_tensor_used_many_times_gets_the_sum(count: int) -> None:
    x = leaf([1.0, -2.0])
    total = sum([x * k for k in range(1, count + 1)], start=x)
    total.backward(fe.tensor([1.0, 10.0], dtype=fe.float64))
    expected = 1 + count * (count + 1) / 2
    same(x.grad, [expected, 10 * expected])


def test_one_op_with_the_same_operand_twice() -> None:
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    (x @ x).sum().backward()
    ones = np.ones((2, 2))
    same(x.grad, ones @ x.detach().numpy().T + x.detach().numpy().T @ ones)


def test_gradients_add_up_over_backwards() -> None:
    x = leaf([1.0, 2.0])
    for _ in range(3):
        (x * x).sum().backward()
    same(x.grad, [6, 12])
    x.grad = None
    (x * 3).sum().backward()
    same(x.grad, [3, 3])


def test_adding_up_keeps_the_gradient_tensor() -> None:
    """An optimizer may hold on to `.grad`: it is written in place."""
    x = leaf([1.0])
    (x * 2).backward()
    held = x.grad
    (x * 5).backward()
    assert x.grad is held
    same(held, [7])


def test_grad_leaves_grad_alone() -> None:
    x = leaf([1.0, 2.0])
    (g,) = fe.grad((x * x).sum(), x)
    same(g, [2, 4])
    assert x.grad is None


def test_several_roots_in_one_walk() -> None:
    x = leaf([1.0, 2.0])
    shared = x * x
    runs = []
    shared.register_hook(lambda g: runs.append(g.tolist()))
    seed = fe.tensor([1.0, 0.5], dtype=fe.float64)
    fe.backward([shared.sum(), shared * 3, x], [None, seed, seed])
    assert runs == [[4.0, 2.5]]  # one visit, with the total
    same(x.grad, [2 * 4 + 1, 4 * 2.5 + 0.5])


def test_a_root_given_twice_counts_twice() -> None:
    x = leaf(3.0)
    y = x * x
    fe.backward([y, y])
    assert x.grad.item() == 12


def test_a_root_behind_another_root() -> None:
    x = leaf(3.0)
    y = x * x
    z = y * y
    fe.backward([y, z])
    assert x.grad.item() == 2 * 3 + 4 * 27


def test_a_leaf_as_root() -> None:
    x = leaf([1.0, 2.0])
    x.backward(fe.tensor([3.0, 4.0], dtype=fe.float64))
    same(x.grad, [3, 4])


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_element_starts_from_one(shape: tuple[int, ...]) -> None:
    x = leaf(np.full(shape, 3.0))
    (x * 2).backward()
    same(x.grad, np.full(shape, 2.0))


def test_gradients_of_intermediate_tensors() -> None:
    x = leaf(2.0)
    y = x * x
    z = y * x
    gy, gx, gz = fe.grad(z, [y, x, z])
    assert (gy.item(), gx.item(), gz.item()) == (2.0, 12.0, 1.0)


def test_inputs_restrict_who_receives() -> None:
    x, y = leaf(2.0), leaf(3.0)
    (x * y).backward(inputs=[x])
    assert x.grad.item() == 3.0
    assert y.grad is None


def test_inputs_must_be_leaves() -> None:
    x = leaf(2.0)
    y = x * x
    with pytest.raises(GradientError, match="leaves"):
        (y * 2).backward(inputs=y)
    assert x.grad is None


def test_rules_off_the_way_to_what_is_wanted_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do they compute beside it: `needs` is None for the operands that lead elsewhere."""
    ran: list[tuple[str, list[bool]]] = []

    def counted(name: str) -> None:
        op = OPS[f"core.{name}"]
        rule = op.vjp

        def count(*args: Any, needs: Any = None, **attrs: Any) -> Any:
            ran.append((name, [need is not None for need in needs or ()]))
            return rule(*args, **({"needs": needs} if takes_needs else {}), **attrs)

        takes_needs = op.wants_needs
        monkeypatch.setattr(op, "vjp", count)

    for name in ("multiply", "exp", "sin", "matmul", "concat"):
        counted(name)
    x, y, w = leaf([[0.5, 1.0], [2.0, 0.1]]), leaf([[1.0, 2.0]] * 2), leaf([[3.0, 0.2]] * 2)
    middle = x.exp()
    product = middle * y.sin()
    total = fe.cat([product @ w, w.sin()]).sum()
    expected = [g.tolist() for g in fe.grad(total, [x, y, w, middle], retain_graph=True)]
    ways: list[tuple[list[Tensor], list[tuple[str, list[bool]]]]] = [
        ([x], [("concat", [True]), ("matmul", [True, False]), ("multiply", [True, False])]),
        ([y], [("concat", [True]), ("matmul", [True, False]), ("multiply", [False, True])]),
        ([w], [("concat", [True]), ("sin", []), ("matmul", [False, True])]),
        ([middle], [("concat", [True]), ("matmul", [True, False]), ("multiply", [True, False])]),
        ([product], [("concat", [True]), ("matmul", [True, False])]),
        ([total], []),
    ]
    last = {0: ("exp", []), 1: ("sin", [])}
    for number, (wanted, rules) in enumerate(ways):
        ran.clear()
        (g,) = fe.grad(total, wanted, retain_graph=True)
        assert ran == rules + ([last[number]] if number in last else [])
        if number < 4:
            assert g.tolist() == expected[number]
    ran.clear()
    total.backward(inputs=[w], retain_graph=True)
    assert ran == ways[2][1]
    assert (w.grad.tolist(), x.grad, y.grad) == (expected[2], None, None)


def test_what_a_rule_did_not_compute_is_still_in_the_history() -> None:
    """The gradient by x alone depends on y and w, and by the same numbers as beside theirs."""
    x, y, w = (leaf(np.array(POINTS) + k) for k in range(3))
    total = (fe.stack([x * y, y]).exp() / (w + x)).sum()
    together = fe.grad(total, [x, y, w], create_graph=True)
    for wanted, beside in zip((x, y, w), together, strict=True):
        (alone,) = fe.grad(total, wanted, create_graph=True)
        assert alone.tolist() == beside.tolist()
        for options in ({"retain_graph": True}, {"create_graph": True}):
            mine, others = (fe.grad(g.sum(), [x, y, w], **options) for g in (alone, beside))
            assert [g.tolist() for g in mine] == [g.tolist() for g in others]


def test_unused_inputs() -> None:
    x, unused = leaf(2.0), leaf([1.0, 2.0])
    with pytest.raises(GradientError, match="not used.*allow_unused"):
        fe.grad(x * x, [x, unused])
    gx, none = fe.grad(x * x, [x, unused], allow_unused=True)
    assert (gx.item(), none) == (4.0, None)
    _, zeros = fe.grad(x * x, [x, unused], materialize_grads=True)
    assert (zeros.tolist(), zeros.dtype, zeros.requires_grad) == ([0.0, 0.0], fe.float64, False)


def test_broadcasting_is_undone_to_the_shape_of_each_input() -> None:
    a, b, c = leaf(np.ones((3, 1))), leaf(np.ones(4)), leaf(2.0)
    ((a + b) * c).sum().backward()
    same(a.grad, np.full((3, 1), 8.0))
    same(b.grad, np.full(4, 6.0))
    assert c.grad.item() == 24.0


# ---- dtypes


@pytest.mark.parametrize("dtype", [fe.float16, fe.bfloat16, fe.float32, fe.float64])
def test_a_gradient_has_the_dtype_of_its_tensor(dtype: Any) -> None:
    x = leaf([1.0, 2.0], dtype)
    other = leaf([3.0, 4.0])
    (x * other).sum().backward()
    assert x.grad.dtype is dtype
    assert other.grad.dtype is fe.float64
    assert x.grad.tolist() == [3.0, 4.0]


def test_gradients_go_through_casts() -> None:
    x = leaf([1.5, 2.5])
    (x.to(fe.float32) * 2).to(fe.float16).sum().backward()
    assert x.grad.dtype is fe.float64
    assert x.grad.tolist() == [2.0, 2.0]
    assert not x.to(fe.int64).requires_grad


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x > 0,
        lambda x: x == x,
        lambda x: x.argmax(),
        lambda x: x.argsort(),
        lambda x: x.sort().indices,
        lambda x: x.max(0).indices,
        lambda x: x.isnan(),
        lambda x: x.nonzero(),
        lambda x: x.to(fe.int32),
        lambda x: x.bool(),
        lambda x: x.any(),
        lambda x: x.detach(),
    ],
)
def test_what_is_not_differentiable_never_requires_grad(call: Callable[[Tensor], Tensor]) -> None:
    out = call(leaf([1.0, -2.0, 3.0]))
    assert not out.requires_grad
    assert out.grad_fn is None
    assert out.is_leaf


def test_only_floats_require_grad() -> None:
    with pytest.raises(DTypeError, match="requires_grad.*int64"):
        fe.tensor([1, 2], requires_grad=True)
    with pytest.raises(DTypeError, match="bool"):
        fe.tensor([True]).requires_grad_()


def test_seeds_are_cast_to_the_dtype_of_the_root() -> None:
    x = leaf([1.0, 2.0], fe.float32)
    (x * 2).backward(fe.tensor([1.0, 0.5], dtype=fe.float64))
    assert (x.grad.dtype, x.grad.tolist()) == (fe.float32, [2.0, 1.0])


# ---- the nodes


def test_nodes_can_be_looked_at() -> None:
    x, y = leaf([1.0]), leaf([2.0])
    node = (x * y + y).grad_fn
    assert repr(node).startswith("<core.add #")
    product, last = node.next_nodes
    assert (product.name, last) == ("core.multiply", y.edge.node)
    assert product.next_nodes == (x.edge.node, y.edge.node)
    assert [each.name for each in fe.cat([x, y]).grad_fn.next_nodes] == ["Leaf", "Leaf"]
    assert x.edge.node.sequence < y.edge.node.sequence < product.sequence < node.sequence
