"""Hooks on tensors, on nodes and on accumulation, retained gradients, and anomaly mode."""

from __future__ import annotations

from typing import Any

import pytest

import ferrum as fe
from ferrum import Tensor
from ferrum.errors import GradientError, OperandError


def leaf(*values: float) -> Tensor:
    return fe.tensor(list(values), dtype=fe.float64, requires_grad=True)


def seed(*values: float) -> Tensor:
    return fe.tensor(list(values), dtype=fe.float64)


# ---- on tensors


def test_a_hook_sees_the_total_once_a_walk() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    seen: list[tuple[str, Any]] = []
    y.register_hook(lambda g: seen.append(("y", g.tolist())))
    x.register_hook(lambda g: seen.append(("x", g.tolist())))
    z = (y * y).sum() + y.sum() + x.sum()
    z.backward(retain_graph=True)
    expected = [("y", [5.0, 9.0]), ("x", [11.0, 19.0])]
    assert seen == expected
    fe.grad(z, x)
    assert seen == expected * 2


def test_hooks_run_in_the_order_of_registration_and_replace_the_gradient() -> None:
    x = leaf(1.0)
    y = x * 3
    y.register_hook(lambda g: g + 1)
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: None)
    (y * 2).backward()
    assert x.grad.tolist() == [(2 + 1) * 10 * 3.0]


def test_a_replaced_gradient_of_a_leaf_is_what_arrives() -> None:
    x = leaf(1.0)
    x.register_hook(lambda g: g * 5)
    (x + x).backward()
    assert x.grad.tolist() == [10.0]
    assert fe.grad(x + x, x)[0].tolist() == [10.0]


def test_removal() -> None:
    x = leaf(1.0)
    y = x * 1
    calls = []
    handles = [y.register_hook(lambda g, k=k: calls.append(k)) for k in range(3)]
    handles[1].remove()
    handles[1].remove()
    y.backward(retain_graph=True)
    with handles[2]:
        pass
    y.backward()
    assert calls == [0, 2, 0]


def test_a_hook_may_remove_itself_and_add_others() -> None:
    x = leaf(1.0)
    y = x * 1
    calls = []

    def once(g: Tensor) -> None:
        calls.append("once")
        handle.remove()
        y.register_hook(lambda g: calls.append("later"))

    handle = y.register_hook(once)
    y.backward(retain_graph=True)
    y.backward()
    assert calls == ["once", "later"]


def test_a_hook_may_write_into_its_gradient_and_nobody_else_notices() -> None:
    a, b = leaf(1.0), leaf(1.0)
    left, right = a * 1, b * 1
    left.register_hook(lambda g: g.mul_(10) and None)
    given = seed(1.0)
    (left + right).backward(given)
    assert (a.grad.tolist(), b.grad.tolist(), given.tolist()) == ([10.0], [1.0], [1.0])


def test_a_hook_may_keep_its_gradient_and_write_later() -> None:
    x = leaf(1.0)
    kept = []
    x.register_hook(kept.append)
    (x * 4).backward()
    kept[0].fill_(0)
    assert x.grad.tolist() == [4.0]


def test_hooks_of_tensors_that_do_not_matter_do_not_run() -> None:
    a, b = leaf(2.0), leaf(3.0)
    middle = b * 1
    calls: list[str] = []
    b.register_hook(lambda g: calls.append("leaf"))
    middle.register_hook(lambda g: calls.append("middle"))
    (g,) = fe.grad(a * middle, a)
    assert (g.tolist(), calls) == ([3.0], [])


def test_a_hook_is_part_of_the_graph_of_the_gradient() -> None:
    x = leaf(3.0)
    y = x * x
    y.register_hook(lambda g: g * x)
    (g,) = fe.grad(y, x, create_graph=True)  # 2x * x
    assert g.tolist() == [18.0]
    assert fe.grad(g, x)[0].tolist() == [12.0]


def test_wrong_replacements_are_refused() -> None:
    for wrong in (lambda g: g.to(fe.float32), lambda g: fe.cat([g, g]), lambda g: 3.0):
        x = leaf(1.0)
        y = x * 1
        y.register_hook(wrong)
        with pytest.raises(GradientError, match=r"hook: expected a gradient \(1,\) float64"):
            y.backward()
        assert x.grad is None


def test_an_array_is_no_gradient() -> None:
    """Although it has the shape and the dtype of one."""
    x = leaf(1.0)
    y = x * 1
    y.register_hook(lambda g: g.numpy())  # type: ignore[arg-type, return-value]
    with pytest.raises(GradientError, match=r"^hook: expected .* on '.*' or None, got ndarray "):
        y.backward()
    for register in ("register_hook", "register_prehook"):
        y = x.exp()
        getattr(y.grad_fn, register)(lambda *grads: [5.0])
        with pytest.raises(GradientError, match="^hook: expected gradients that are .*got float"):
            y.backward()
    assert x.grad is None


def test_a_hook_is_something_to_call() -> None:
    x = leaf(1.0)
    y = x * 1
    for register in (
        x.register_hook,
        y.register_hook,
        y.grad_fn.register_hook,
        y.grad_fn.register_prehook,
    ):
        with pytest.raises(OperandError, match="^register_hook: expected a function, got int"):
            register(5)
    name = "register_post_accumulate_grad_hook"
    with pytest.raises(OperandError, match=f"^{name}: expected a function, got int"):
        x.register_post_accumulate_grad_hook(5)


def test_hooks_need_a_gradient_to_come() -> None:
    with pytest.raises(GradientError, match="register_hook.*require grad"):
        fe.ones(2).register_hook(print)
    with pytest.raises(GradientError, match="require grad"):
        fe.ones(2).retain_grad()


# ---- on nodes


def test_hooks_before_and_after_a_node() -> None:
    x, w = leaf(2.0), leaf(5.0)
    y = x * w
    seen: list[Any] = []

    def before(grads: list[Tensor | None]) -> list[Any]:
        seen.append(("before", grads[0].tolist()))
        return [grads[0] * 2]

    def after(pieces: Any, grads: Any) -> list[Any]:
        seen.append(("after", [each.tolist() for each in pieces], grads[0].tolist()))
        return [pieces[0] + 1, None]

    y.register_hook(lambda g: seen.append(("tensor", g.tolist())))
    handles = [y.grad_fn.register_prehook(before), y.grad_fn.register_hook(after)]
    y.backward(retain_graph=True)
    assert seen == [
        ("tensor", [1.0]),
        ("before", [1.0]),
        ("after", [[10.0], [4.0]], [2.0]),
    ]
    assert x.grad.tolist() == [11.0]
    assert w.grad is None
    for handle in handles:
        handle.remove()
    y.backward()
    assert (x.grad.tolist(), w.grad.tolist()) == ([16.0], [2.0])


def test_hooks_of_nodes_must_return_as_many_gradients() -> None:
    x = leaf(2.0)
    for register in ("register_prehook", "register_hook"):
        y = x * x
        getattr(y.grad_fn, register)(lambda *grads: [])
        with pytest.raises(GradientError, match="hook: expected a sequence of"):
            y.backward()


def test_a_node_hook_may_keep_what_it_saw() -> None:
    x = leaf(2.0)
    y = x * 3
    kept = []
    y.grad_fn.register_hook(lambda pieces, grads: kept.extend(pieces))
    y.backward()
    kept[0].fill_(0)
    assert x.grad.tolist() == [3.0]


# ---- on accumulation


def test_accumulation_hooks_run_after_grad_is_complete() -> None:
    x, y = leaf(1.0), leaf(2.0)
    seen: list[Any] = []
    for each in (x, y):
        each.register_post_accumulate_grad_hook(lambda t: seen.append((t, t.grad.tolist())))
    ((x + x) * y).backward()
    assert [(tensor is x, g) for tensor, g in seen] == [(False, [2.0]), (True, [4.0])]
    fe.grad(x * y, [x, y])
    assert len(seen) == 2  # nothing was accumulated


def test_an_accumulation_hook_may_take_the_gradient_away() -> None:
    """The optimizer step inside backward: gradients are never all alive at once."""
    x = leaf(1.0)

    def step(tensor: Tensor) -> None:
        with fe.no_grad():
            tensor.sub_(tensor.grad * 0.1)
        tensor.grad = None

    handle = x.register_post_accumulate_grad_hook(step)
    for _ in range(2):
        (x * 5).backward()
    assert x.grad is None
    assert x.tolist() == pytest.approx([0.0], abs=1e-12)
    handle.remove()
    (x * 5).backward()
    assert x.grad.tolist() == [5.0]


def test_accumulation_hooks_are_for_leaves() -> None:
    with pytest.raises(GradientError, match="leaf"):
        (leaf(1.0) * 2).register_post_accumulate_grad_hook(print)


# ---- retained gradients


def test_retained_gradients() -> None:
    x = leaf(1.0, 2.0)
    y = x * 3
    assert y.grad is None
    y.retain_grad()
    y.retain_grad()
    x.retain_grad()
    z = (y * y).sum()
    z.backward(retain_graph=True)
    assert y.grad.tolist() == [6.0, 12.0]
    z.backward()
    assert y.grad.tolist() == [12.0, 24.0]
    assert x.grad.tolist() == [36.0, 72.0]
    y.grad = None
    assert y.grad is None


def test_a_retained_gradient_is_its_own_memory() -> None:
    a, b = leaf(1.0), leaf(1.0)
    left, right = a * 1, b * 1
    for each in (left, right):
        each.retain_grad()
    given = seed(1.0)
    total = left + right
    total.retain_grad()
    total.backward(given)
    total.grad.fill_(7)
    left.grad.fill_(8)
    assert (right.grad.tolist(), given.tolist()) == ([1.0], [1.0])
    assert (a.grad.tolist(), b.grad.tolist()) == ([1.0], [1.0])


def test_a_retained_gradient_is_the_one_that_hooks_made() -> None:
    x = leaf(1.0)
    y = x * 1
    y.retain_grad()
    y.register_hook(lambda g: g * 4)
    y.backward()
    assert (y.grad.tolist(), x.grad.tolist()) == ([4.0], [4.0])


def test_what_is_retained_stays_so_when_the_tensor_is_written() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    y[0].mul_(3)
    (y * seed(5.0, 7.0)).sum().backward()
    assert y.grad.tolist() == [5.0, 7.0]
    assert x.grad.tolist() == [30.0, 14.0]


# ---- anomaly mode


def test_anomaly_names_the_op_that_returned_nan_and_the_line() -> None:
    x = leaf(0.0)
    with fe.detect_anomaly():
        y = x.sqrt()  # the line
    z = y * 0
    with pytest.raises(GradientError, match=r"core\.sqrt: its backward returned NaN") as caught:
        z.backward()
    assert "y = x.sqrt()  # the line" in "".join(caught.value.__notes__)
    assert x.grad is None


def test_anomaly_names_the_line_of_an_error() -> None:
    class Broken(fe.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            raise ZeroDivisionError("on purpose")

    x = leaf(1.0)
    with fe.detect_anomaly():
        y = Broken.apply(x)  # the broken line
    with pytest.raises(ZeroDivisionError, match="on purpose") as caught:
        y.backward()
    (note,) = caught.value.__notes__
    assert note.startswith("in the backward of Broken")
    assert "y = Broken.apply(x)  # the broken line" in note


def test_anomaly_names_the_line_that_saved_what_was_written() -> None:
    x = leaf(1.0)
    with fe.detect_anomaly():
        y = x.exp()  # saved here
    y.add_(1)
    with pytest.raises(GradientError, match=r"core\.exp.*changed in place") as caught:
        y.backward()
    assert "# saved here" in str(caught.value) + "".join(getattr(caught.value, "__notes__", []))


def test_without_anomaly_nan_passes() -> None:
    x = leaf(0.0)
    (x.sqrt() * 0).backward()
    assert x.grad.isnan().all()
