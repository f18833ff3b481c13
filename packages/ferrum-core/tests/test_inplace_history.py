"""What the graph makes of writes in place: new histories, of bases and of views; and `copy_`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum import Tensor
from ferrum.errors import ShapeError


def leaf(values: Any, dtype: Any = fe.float64) -> Tensor:
    return fe.tensor(values, dtype=dtype, requires_grad=True)


def const(values: Any) -> Tensor:
    return fe.tensor(values, dtype=fe.float64)


# ---- what the graph makes of it


def test_an_in_place_op_returns_its_tensor_with_a_new_history() -> None:
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    y = x * 1
    before = y.grad_fn
    assert y.mul_(w) is y
    assert y.grad_fn is not before
    y.sum().backward()
    assert (x.grad.tolist(), w.grad.tolist()) == ([3.0, 4.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("write", "gradient"),
    [
        (lambda y: y.add_(5), 1.0),
        (lambda y: y.sub_(y), 0.0),
        (lambda y: y.mul_(y), 4.0),
        (lambda y: y.div_(4), 0.25),
        (lambda y: y.pow_(3), 12.0),
        (lambda y: y.neg_(), -1.0),
        (lambda y: y.square_(), 4.0),
        (lambda y: y.reciprocal_(), -0.25),
        (lambda y: y.exp_(), np.exp(2.0)),
        (lambda y: y.log_(), 0.5),
        (lambda y: y.sqrt_(), 0.5 / np.sqrt(2.0)),
        (lambda y: y.tanh_(), 1 - np.tanh(2.0) ** 2),
        (lambda y: y.clamp_(0, 1), 0.0),
        (lambda y: y.zero_(), 0.0),
        (lambda y: y.fill_(3.0), 0.0),
        (lambda y: y.masked_fill_(y > 0, 1.0), 0.0),
    ],
)
def test_gradients_of_in_place_ops(write: Callable[[Tensor], Tensor], gradient: float) -> None:
    x = leaf([2.0])
    y = x * 1
    write(y)
    (g,) = fe.grad(y.sum(), x, materialize_grads=True)
    np.testing.assert_allclose(g.numpy(), [gradient], rtol=1e-12)


def test_writing_a_view_rewrites_the_history_of_its_base() -> None:
    x = leaf(np.ones((2, 3)))
    base = x * 2
    row, turned, sibling = base[0], base.t(), base[:, 1:]
    row.mul_(10)
    assert base.tolist() == [[20.0] * 3, [2.0] * 3]
    assert (base.grad_fn.name, row.grad_fn.name, turned.grad_fn.name) == (
        "core.view_scatter",
        "core.getitem",
        "core.permute",
    )
    for whole in (base, turned):
        (g,) = fe.grad(whole.sum(), x, retain_graph=True)
        assert g.tolist() == [[20.0] * 3, [2.0] * 3]
    (g,) = fe.grad(sibling.sum(), x, retain_graph=True)
    assert g.tolist() == [[0.0, 20.0, 20.0], [0.0, 2.0, 2.0]]
    assert fe.grad(row.sum(), x)[0].tolist() == [[20.0] * 3, [0.0] * 3]


def test_writing_the_base_renews_its_views() -> None:
    x = leaf([1.0, 2.0, 3.0])
    base = x * 1
    view = base[1:]
    inner = view[1:]
    base.mul_(const([2.0, 3.0, 4.0]))
    assert (view.tolist(), inner.tolist()) == ([6.0, 12.0], [12.0])
    (view.sum() + inner.sum()).backward()
    assert x.grad.tolist() == [0.0, 3.0, 8.0]


def test_a_view_of_a_view_writes_through_to_the_root() -> None:
    x, w = leaf(np.zeros((2, 2, 2))), leaf([5.0, 7.0])
    base = x + 1
    base.permute(2, 0, 1)[1].reshape(4)[::2].mul_(w)
    expected = np.ones((2, 2, 2))
    expected[:, 0, 1] = [5.0, 7.0]
    assert base.tolist() == expected.tolist()
    base.sum().backward()
    assert x.grad.tolist() == expected.tolist()
    assert w.grad.tolist() == [1.0, 1.0]


def test_a_constant_becomes_part_of_the_graph_by_what_is_written_into_it() -> None:
    w = leaf([2.0, 3.0])
    buffer = fe.zeros(2, 2, dtype=fe.float64)
    view = buffer[1]
    buffer[0] = w
    buffer[:, 1].mul_(w[0])
    assert buffer.requires_grad
    assert view.requires_grad
    assert buffer.tolist() == [[2.0, 6.0], [0.0, 0.0]]
    (buffer * const([[1.0, 10.0], [1.0, 1.0]])).sum().backward()
    assert w.grad.tolist() == [1 + 10 * 3.0, 10 * 2.0]


def test_overwriting_cuts_the_old_history() -> None:
    x, w = leaf([1.0, 2.0]), leaf([3.0])
    y = x * 5
    y[:1] = w
    y.sum().backward()
    assert (x.grad.tolist(), w.grad.tolist()) == ([0.0, 5.0], [1.0])


def test_a_tensor_written_between_two_uses() -> None:
    x = leaf([3.0])
    y = x * 1
    first = y + 0
    y.mul_(y)
    (first * 10 + y).backward()
    assert x.grad.tolist() == [10 + 6.0]


def test_a_mutated_accumulator_over_a_loop() -> None:
    x = leaf([1.0, 2.0, 3.0])
    total = fe.zeros(3, dtype=fe.float64)
    for k in range(1, 5):
        total[: k % 3 + 1].add_(x[: k % 3 + 1] * k)
    total.sum().backward()
    assert x.grad.tolist() == [10.0, 1 + 2 + 4.0, 2.0]


def test_second_order_through_writes() -> None:
    x = leaf([2.0, 3.0])
    y = x * x
    y[0].mul_(x[1])  # y = (x0**2 x1, x1**2)
    (g,) = fe.grad(y.sum(), x, create_graph=True)
    assert g.tolist() == [2 * 2 * 3.0, 4 + 6.0]
    (h,) = fe.grad(g[0], x, retain_graph=True)
    assert h.tolist() == [2 * 3.0, 2 * 2.0]


def test_a_layout_that_only_the_original_has() -> None:
    """The reshape is a view of this base, whose memory runs by columns, but of no copy by rows."""
    x, w = leaf(np.ones((2, 3))), leaf(np.arange(1.0, 7.0))
    base = x.t() + 0
    flat = base.t().reshape(-1)
    assert np.shares_memory(flat.detach().numpy(), base.detach().numpy())
    flat.mul_(w)
    base.sum().backward()
    assert x.grad.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert w.grad.tolist() == [1.0] * 6


# ---- copy_


def test_copy_broadcasts_casts_and_sends_the_gradient_back() -> None:
    x = leaf([1.0, 2.0], fe.float32)
    y = fe.zeros(3, 2, dtype=fe.float64)
    assert y.copy_(x) is y
    assert y.tolist() == [[1.0, 2.0]] * 3
    (y * const([[1.0], [2.0], [3.0]])).sum().backward()
    assert (x.grad.tolist(), x.grad.dtype) == ([6.0, 6.0], fe.float32)


def test_integers_have_no_history_whatever_is_written_into_them() -> None:
    w = leaf([1.5, 2.5])
    for write in (lambda x: x.copy_(w), lambda x: x[:2].copy_(w), lambda x: x.__setitem__(0, w)):
        x = fe.zeros(2, 2, dtype=fe.int64)
        write(x)
        assert (x.requires_grad, x[0].requires_grad) == (False, False)
        assert x[0].tolist() == [1, 2]


def test_memory_that_overlaps_is_read_before_it_is_written() -> None:
    x = fe.arange(6)
    x[1:].copy_(x[:-1])
    assert x.tolist() == [0, 0, 1, 2, 3, 4]
    x[:3] = x.flip(0)[:3]
    x.add_(x[::1])
    assert x.tolist() == [8, 6, 4, 4, 6, 8]


def test_assignment_drops_leading_axes_of_size_one() -> None:
    x = fe.zeros(2, 3)
    x[0] = fe.ones(1, 1, 3)
    x[:, fe.tensor([0, 2])] = fe.full((1, 1, 2), 5.0)
    assert x.tolist() == [[5.0, 1.0, 5.0], [5.0, 0.0, 5.0]]
    with pytest.raises(ShapeError):
        x[0] = fe.ones(2, 3)
