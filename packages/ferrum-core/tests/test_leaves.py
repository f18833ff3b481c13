"""Leaves: what is one, whose gradient it holds, and whose memory that is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum import Tensor
from ferrum.errors import GradientError, OperandError, ShapeError


def leaf(values: Any, dtype: Any = fe.float64) -> Tensor:
    return fe.tensor(values, dtype=dtype, requires_grad=True)


def same(x: Tensor, expected: Any) -> None:
    np.testing.assert_allclose(x.numpy(force=True), expected, rtol=1e-12, atol=1e-12)


def test_leaves_and_what_they_are_not() -> None:
    x, constant = leaf([1.0]), fe.tensor([1.0])
    y = x * 2
    assert (x.is_leaf, x.requires_grad, x.grad_fn) == (True, True, None)
    assert (constant.is_leaf, constant.requires_grad, constant.grad_fn) == (True, False, None)
    assert (y.is_leaf, y.requires_grad, y.grad_fn.name) == (False, True, "core.multiply")
    assert (constant * 2).is_leaf
    assert [node.name for node in y.grad_fn.next_nodes] == ["Leaf"]
    assert y.detach().is_leaf


def test_requires_grad_can_be_given_and_taken_from_leaves_only() -> None:
    x = fe.tensor([1.0])
    assert x.requires_grad_() is x
    (x * 2).backward()
    x.requires_grad = False
    assert not (x * 2).requires_grad
    assert x.grad.tolist() == [2.0]
    x.requires_grad_()
    assert x.grad.tolist() == [2.0]
    y = x * 2
    with pytest.raises(GradientError, match=r"leaves.*detach\(\)"):
        y.requires_grad_(False)
    assert y.requires_grad_().grad_fn is not None


def test_grad_can_be_assigned_and_is_checked() -> None:
    x = leaf([1.0, 2.0])
    given = fe.tensor([5.0, 6.0], dtype=fe.float64)
    x.grad = given
    (x * 2).sum().backward()
    assert x.grad.tolist() == [7.0, 8.0]
    with pytest.raises(ShapeError, match=r"grad: expected \(2,\) float64"):
        x.grad = fe.ones(3)
    with pytest.raises(ShapeError):
        x.grad = fe.ones(2, dtype=fe.float32)
    with pytest.raises(OperandError):
        x.grad = [1.0, 2.0]
    assert x.grad.tolist() == [7.0, 8.0]
    constant = fe.ones(2)
    assert constant.grad is None
    constant.grad = fe.zeros(2)
    assert constant.grad.tolist() == [0.0, 0.0]


def test_detach_shares_memory_and_nothing_else() -> None:
    x = leaf([1.0, 2.0])
    y = x * 2
    cut = y.detach()
    assert not cut.requires_grad
    cut.add_(1)
    assert y.tolist() == [3.0, 5.0]
    (y * cut).sum().backward()
    same(x.grad, [2 * 3, 2 * 5])


def test_detach_in_place() -> None:
    x = leaf([1.0])
    y = x * 2
    assert y.detach_() is y
    assert (y.is_leaf, y.requires_grad) == (True, False)
    with pytest.raises(GradientError, match="detach_"):
        (x * 2)[0].detach_()


def test_backward_in_another_thread_reaches_the_same_leaf() -> None:
    x = leaf([1.0])
    y = (x * 3).sum()
    thread = threading.Thread(target=y.backward)
    thread.start()
    thread.join()
    same(x.grad, [3])


# ---- whose memory a gradient is


ALIASES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "itself": lambda x, y: x,
    "sum with another": lambda x, y: x + y,
    "sum with itself": lambda x, y: x + x,
    "copy": lambda x, y: x.clone(),
    "reshaped": lambda x, y: x.reshape(4).reshape(2, 2),
    "transposed": lambda x, y: x.t().t(),
    "expanded": lambda x, y: x.expand(1, 2, 2)[0],
    "cast to itself": lambda x, y: x.to(fe.float64) * 1,
    "joined": lambda x, y: fe.cat([x, y])[:2],
    "written": lambda x, y: (x * 1).add_(y),
    "placed": lambda x, y: (y * 1).copy_(x),
}


@pytest.mark.parametrize("name", ALIASES)
def test_grad_is_nobody_elses_memory(name: str) -> None:
    x, y = leaf(np.ones((2, 2))), leaf(np.ones((2, 2)))
    seed = fe.ones(2, 2, dtype=fe.float64)
    ALIASES[name](x, y).backward(seed)
    others = [seed] + ([y.grad] if y.grad is not None else [])
    before = [each.tolist() for each in others]
    x.grad.fill_(77)
    assert [each.tolist() for each in others] == before
    assert not any(np.shares_memory(x.grad.numpy(), each.numpy()) for each in others)


def test_grad_is_not_a_view_of_an_expanded_gradient() -> None:
    x = leaf(np.ones((2, 3)))
    x.sum().backward()
    x.grad[0, 0] = 5.0
    assert x.grad.tolist() == [[5.0, 1.0, 1.0], [1.0, 1.0, 1.0]]


def test_grad_of_pieces_of_one_gradient() -> None:
    x, y = leaf(np.ones(2)), leaf(np.ones(2))
    fe.cat([x, y]).backward(fe.ones(4, dtype=fe.float64))
    x.grad.fill_(3)
    assert y.grad.tolist() == [1.0, 1.0]


def test_a_second_walk_does_not_write_into_the_seed_of_the_first() -> None:
    x = leaf(np.ones(2))
    seed = fe.ones(2, dtype=fe.float64)
    for _ in range(2):
        (x + 0).backward(seed)
    assert (x.grad.tolist(), seed.tolist()) == ([2.0, 2.0], [1.0, 1.0])


def test_a_gradient_that_has_a_graph_is_not_written() -> None:
    x = leaf([2.0])
    (x * x * x).backward(create_graph=True)
    first = x.grad
    (x * 5).backward()
    assert (first.tolist(), x.grad.tolist()) == ([12.0], [17.0])
    assert not x.grad.requires_grad
    assert fe.grad(first, x)[0].tolist() == [12.0]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.prod(1),
        lambda x: x.prod((), True),
        lambda x: x[0, 0].prod(),
        lambda x: x.sum(1),
        lambda x: x.mean(1, True),
        lambda x: x.amax(1),
        lambda x: x.max(1).values,
        lambda x: x.sort(1).values,
        lambda x: x.cumsum(1),
        lambda x: x.clamp(-9, 9),
        lambda x: x.flip(1),
        lambda x: x.repeat(1, 1),
        lambda x: fe.cat([x]),
        lambda x: x[[0, 1]],
        lambda x: x.to(fe.float64, copy=True),
        lambda x: x.clone(),
        lambda x: x.abs(),
    ],
)
@pytest.mark.parametrize("grad", [True, False])
def test_an_op_that_is_no_view_returns_memory_of_its_own(call: Any, grad: bool) -> None:
    """Also where there is nothing to do: along an axis of size 1, of a tensor of one dimension."""
    x = fe.ones(2, 1, dtype=fe.float64, requires_grad=grad)
    y = x * 1
    out = call(y)
    out.mul_(5)
    assert y.tolist() == [[1.0], [1.0]]


# ---- another memory for the same leaf


def test_adopting_keeps_identity_gradient_and_hooks() -> None:
    x = leaf([1.0, 2.0])
    calls: list[str] = []
    x.register_hook(lambda g: calls.append("hook"))
    x.register_post_accumulate_grad_hook(lambda t: calls.append("accumulated"))
    (x * 3).sum().backward()
    source = fe.tensor([5.0, 6.0])
    assert x.adopt(source) is x
    assert (x.tolist(), x.dtype, x.is_leaf, x.requires_grad) == ([5.0, 6.0], fe.float32, True, True)
    assert (x.grad.tolist(), x.grad.dtype) == ([3.0, 3.0], fe.float32)
    (x * 2).sum().backward()
    assert x.grad.tolist() == [5.0, 5.0]
    assert calls == ["hook", "accumulated"] * 2
    constant = fe.ones(2).adopt(source)
    assert not constant.requires_grad
    source.fill_(9)
    assert (x.tolist(), constant.tolist()) == ([9.0, 9.0], [9.0, 9.0])


def test_adopted_memory_has_one_version() -> None:
    x, source = leaf([1.0, 2.0]), fe.tensor([5.0, 6.0])
    x.adopt(source)
    y = x * x
    source.add_(1)
    with pytest.raises(GradientError, match="changed in place"):
        y.sum().backward()


def test_only_leaves_adopt() -> None:
    x = leaf([1.0, 2.0])
    for other in (x * 2, fe.ones(3)[:2]):
        with pytest.raises(GradientError, match="adopt: expected a leaf that is no view"):
            other.adopt(fe.ones(2))
