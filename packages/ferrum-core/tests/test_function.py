"""Custom functions: what they save, what reaches their backward, and derivatives of any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum import Function, Tensor
from ferrum.errors import GradientError, OperandError, UnsupportedError
from ferrum.graph import Node
from ferrum.hookspecs import BackendHooks
from ferrum.node import Recall


def leaf(*values: float) -> Tensor:
    return fe.tensor(list(values), dtype=fe.float64, requires_grad=True)


def const(*values: float) -> Tensor:
    return fe.tensor(list(values), dtype=fe.float64)


class Exp(Function):
    """Saves its output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return g * y


class Cube(Function):
    """Saves its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g * x * x * 3


class Split(Function):
    """Two smooth outputs and one that is not; remembers what came to its backward."""

    came: tuple[Any, ...] = ()
    materialize = True

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(Split.materialize)
        rank = x.argsort()
        return x * 2, x * 3, rank

    @staticmethod
    def backward(ctx: Any, a: Any, b: Any, rank: Any) -> Any:
        Split.came = (a, b, rank)
        parts = [each * k for each, k in ((a, 2), (b, 3)) if each is not None]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]


# ---- the plain case


def test_values_and_gradient() -> None:
    x = leaf(0.0, 1.0)
    y = Exp.apply(x)
    assert (y.grad_fn.name, y.is_leaf) == ("Exp", False)
    np.testing.assert_allclose(y.detach().numpy(), np.exp([0.0, 1.0]))
    y.backward(const(2.0, 3.0))
    np.testing.assert_allclose(x.grad.numpy(), [2.0, 3 * np.e])


def test_forward_is_not_recorded_and_without_recording_nothing_is() -> None:
    modes: list[bool] = []

    class Watch(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            modes.append(fe.is_grad_enabled())
            return x * 2

    assert Watch.apply(leaf(1.0)).requires_grad
    assert not Watch.apply(const(1.0)).requires_grad
    with fe.no_grad():
        assert not Watch.apply(leaf(1.0)).requires_grad
    assert modes == [False] * 3
    assert fe.is_grad_enabled()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_higher_orders_through_saved_outputs_and_inputs(order: int) -> None:
    x = leaf(0.5, 1.5)
    exp, cube = Exp.apply(x), Cube.apply(x)
    for _ in range(order):
        exp, cube = (fe.grad(each.sum(), x, create_graph=True)[0] for each in (exp, cube))
    points = np.array([0.5, 1.5])
    np.testing.assert_allclose(exp.detach().numpy(), np.exp(points), rtol=1e-12)
    np.testing.assert_allclose(cube.detach().numpy(), np.poly1d([1, 0, 0, 0]).deriv(order)(points))


def test_gradcheck_agrees() -> None:
    x = leaf(0.4, 1.1, -0.7)
    for function in (Exp, Cube):
        assert fe.gradcheck(function.apply, x)
        assert fe.gradgradcheck(function.apply, x)


def test_arguments_that_are_no_tensors_and_needs_input_grad() -> None:
    seen: list[Any] = []

    class Scale(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, factor: float, y: Tensor, name: str) -> Tensor:
            seen.append((ctx.needs_input_grad, factor, name))
            ctx.factor = factor
            return (x + y) * factor

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            assert ctx.needs_input_grad == (True, False, False, False)
            return g * ctx.factor, None, g, None

    x, y = leaf(1.0), const(2.0)
    Scale.apply(x, 4.0, y, "scale").backward()
    assert seen == [((True, False, False, False), 4.0, "scale")]
    assert (x.grad.tolist(), y.grad) == ([4.0], None)


# ---- several outputs


@pytest.mark.parametrize("materialize", [True, False])
def test_missing_gradients_are_zeros_or_none(materialize: bool) -> None:
    Split.materialize = materialize
    x = leaf(3.0, 1.0)
    double, triple, rank = Split.apply(x)
    assert (rank.requires_grad, rank.dtype) == (False, fe.int64)
    triple.sum().backward(retain_graph=True)
    a, b, third = Split.came
    assert b.tolist() == [1.0, 1.0]
    assert x.grad.tolist() == [3.0, 3.0]
    if materialize:
        assert (a.tolist(), third.tolist(), third.dtype) == ([0.0, 0.0], [0, 0], fe.int64)
    else:
        assert a is None
        assert third is None
    (double + triple).sum().backward()
    assert x.grad.tolist() == [8.0, 8.0]


def test_marked_outputs_have_no_gradient() -> None:
    class Frozen(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            a, b = x * 2, x * 3
            ctx.mark_non_differentiable(b, x)
            ctx.save_for_backward(b)
            return a, b, x

        @staticmethod
        def backward(ctx: Any, ga: Tensor, gb: Tensor, gx: Tensor) -> Tensor:
            assert (gb.tolist(), gx.tolist()) == ([0.0], [0.0])
            assert not ctx.saved_tensors[0].requires_grad
            return ga * 2 + ga * ctx.saved_tensors[0]

    x = leaf(1.0)
    a, b, same = Frozen.apply(x)
    assert (a.requires_grad, b.requires_grad, same.requires_grad) == (True, False, False)
    fe.grad(a, x, create_graph=True)
    a.backward()
    assert x.grad.tolist() == [5.0]


# ---- outputs that are no new memory


def test_an_argument_returned_as_it_is_stays_itself() -> None:
    class Reverse(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return -g

    x = leaf(1.0, 2.0)
    y = Reverse.apply(x)
    assert y is not x
    assert x.is_leaf
    y.mul_(10)
    assert x.tolist() == [1.0, 2.0]
    y.sum().backward()
    assert x.grad.tolist() == [-10.0, -10.0]


def test_views_returned_keep_the_custom_gradient_whatever_is_written() -> None:
    class Halves(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
            return x[:1], (x * 1).reshape(2, 1)

        @staticmethod
        def backward(ctx: Any, ga: Tensor, gb: Tensor) -> Tensor:
            return fe.cat([ga * 100, ga * 100]) + gb.reshape(2) * 7

    x = leaf(1.0, 2.0)
    base = x * 1
    first, whole = Halves.apply(base)
    base.mul_(3)
    first.mul_(2)
    assert (base.tolist(), first.tolist(), whole.tolist()) == ([3.0, 6.0], [2.0], [[1.0], [2.0]])
    (first.sum() + whole.sum()).backward()
    assert x.grad.tolist() == [207.0, 207.0]


def test_a_foreign_tensor_returned_keeps_its_own_history() -> None:
    w = leaf(5.0)

    class Foreign(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return w

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return g * 2

    x = leaf(1.0)
    Foreign.apply(x).backward()
    assert w.is_leaf
    assert (x.grad.tolist(), w.grad) == ([2.0], None)


# ---- what is saved


def test_saved_tensors_are_checked_for_writes() -> None:
    x = leaf(1.0)
    y = Exp.apply(x)
    y.add_(1)
    with pytest.raises(GradientError, match="Exp: a tensor saved.*changed in place"):
        y.backward()
    h = x * 1
    z = Cube.apply(h)
    h.add_(1)
    with pytest.raises(GradientError, match="Cube: a tensor saved.*changed in place"):
        z.backward()


def test_intermediates_and_none_can_be_saved() -> None:
    class Sigmoid(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            e = (-x).exp()
            ctx.save_for_backward(None, e, x)
            return 1 / (1 + e)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            none, e, x = ctx.saved_tensors
            assert none is None
            assert (e.requires_grad, x.requires_grad) == (False, fe.is_grad_enabled())
            return g * e / ((1 + e) * (1 + e))

    x = leaf(0.3, -0.8)
    y = Sigmoid.apply(x)
    (g,) = fe.grad(y.sum(), x, retain_graph=True)
    value = y.detach()
    np.testing.assert_allclose(g.numpy(), (value * (1 - value)).numpy(), rtol=1e-12)
    fe.grad(y.sum(), x, create_graph=True)


def test_a_saved_tensor_from_outside_keeps_its_history() -> None:
    w = leaf(3.0)

    class Times(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(w)
            return x * w

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return g * ctx.saved_tensors[0]

    x = leaf(2.0)
    (g,) = fe.grad(Times.apply(x), x, create_graph=True)
    assert fe.grad(g, w)[0].tolist() == [1.0]


def test_the_graph_is_freed_like_any_other() -> None:
    x = leaf(1.0)
    y = Exp.apply(x)
    y.backward()
    with pytest.raises(GradientError, match="Exp.*freed"):
        y.backward()


# ---- faults


def returning(result: Any) -> type[Function]:
    class Returning(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
            return x * y

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return result(g)

    return Returning


def test_a_wrong_number_of_gradients_is_named() -> None:
    x, y = leaf(1.0), leaf(2.0)
    for wrong in (lambda g: g, lambda g: (g,), lambda g: (g, g, g)):
        with pytest.raises(GradientError, match=r"Returning: backward returned \d gradients for 2"):
            returning(wrong).apply(x, y).backward()
    returning(lambda g: (g, None, None, None)).apply(x, y).backward()
    assert (x.grad.tolist(), y.grad) == ([1.0], None)


def test_gradients_that_are_no_tensors_are_named() -> None:
    with pytest.raises(
        GradientError, match="Returning: expected backward to return tensors.*float"
    ):
        returning(lambda g: (1.0, g)).apply(leaf(1.0), leaf(2.0)).backward()


def test_a_backward_that_writes_its_gradient_is_refused() -> None:
    """The same gradient has gone to the other side of the sum as well."""
    x, other = leaf(1.0), leaf(1.0)
    y = returning(lambda g: (g.mul_(2), None)).apply(x, const(1.0))
    with pytest.raises(GradientError, match="Returning: backward wrote into a gradient"):
        (y + other).backward()


def test_a_gradient_that_a_function_keeps_is_not_grad() -> None:
    kept = fe.ones(1, dtype=fe.float64)
    x = leaf(1.0)
    returning(lambda g: (kept, None)).apply(x, const(1.0)).backward()
    x.grad.fill_(9)
    assert kept.tolist() == [1.0]


def test_forward_must_return_tensors() -> None:
    for wrong in (None, 3.0, ("text",)):

        class Wrong(Function):
            result = wrong

            @classmethod
            def forward(cls, ctx: Any, x: Tensor) -> Any:
                return cls.result

        with pytest.raises(OperandError, match="Wrong: expected forward to return tensors"):
            Wrong.apply(leaf(1.0))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda ctx: ctx.save_for_backward(5),
            "save_for_backward: expected tensors, got int; keep",
        ),
        (lambda ctx: ctx.save_for_backward(None, [1]), "save_for_backward: .* got list; keep"),
        (lambda ctx: ctx.mark_non_differentiable("y"), "mark_non_differentiable: .* got str"),
        (lambda ctx: ctx.set_materialize_grads("no"), "set_materialize_grads: .* False, got 'no'"),
    ],
)
def test_what_a_context_refuses(call: Any, text: str) -> None:
    class Wrong(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            call(ctx)
            return x * 1

    with pytest.raises(OperandError, match=f"^{text}"):
        Wrong.apply(leaf(1.0))


def test_help_tells_what_a_context_can_do() -> None:
    text = Function.__doc__ or ""
    for name in (*(n for n in vars(fe.function.Context) if n[0] != "_"), "needs_input_grad"):
        assert f"ctx.{name}" in text


def test_what_a_function_does_not_define() -> None:
    with pytest.raises(UnsupportedError, match="^Function: define forward"):
        Function.apply(leaf(1.0))

    class Forward(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 2

    with pytest.raises(NotImplementedError):
        Forward.apply(leaf(1.0)).backward()


def test_what_classes_and_plugins_define_is_said() -> None:
    for abstract, name in (
        (lambda: Node.pull(object.__new__(Node), [], False, []), "pull"),
        (lambda: Recall().recall(), "recall"),
        (lambda: BackendHooks().ferrum_backend(0), "ferrum_backend"),
        (lambda: BackendHooks().ferrum_device_count(), "ferrum_device_count"),
    ):
        with pytest.raises(UnsupportedError, match=f"{name}.*") as caught:
            abstract()
        assert "defines" in str(caught.value)
