"""Ops whose gradient reads extra outputs: a third party's, declared here with the public decorator.

Under `create_graph` such a rule gives way to the gradient of the op's fallback, which must reach
every input just once, however the inputs hang together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum import Spec, Tensor, TensorLike, op
from ferrum.errors import GradientError
from ferrum.op import OPS

Rules = dict[str, Any]


@pytest.fixture(scope="module")
def rules() -> Iterator[Rules]:
    """The ops of this file; taken from the table again, for its other readers."""
    known = set(OPS)
    yield {"standardize": standardize_op(), "mix": mix_op(), "lonely": lonely_op()}
    for name in set(OPS) - known:
        del OPS[name]


def standardize_op() -> Any:
    @op(outputs=("out", "mean", "rstd"))
    def standardize(x: TensorLike, w: TensorLike) -> tuple[Spec, Spec, Spec]:
        """Return (x - mean) / std * w along the last axis, and mean and 1 / std."""
        row = Spec((*x.shape[:-1], 1), x.dtype)
        return Spec(x.shape, x.dtype), row, row

    @standardize.fallback
    def _(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        return plain_standardize(x, w)

    @standardize.gradient
    def _(g: Any, x: Tensor, w: Tensor, mean: Tensor, rstd: Tensor, *, needs: Any) -> Any:
        calls.append("rule")
        out, _, _ = g
        hat = (x - mean) * rstd
        inner = out * w
        along = inner - inner.mean(-1, keepdim=True) - hat * (inner * hat).mean(-1, keepdim=True)
        return along * rstd, out * hat

    return standardize


def plain_standardize(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    mean = x.mean(-1, keepdim=True)
    rstd = ((x - mean) * (x - mean)).mean(-1, keepdim=True) ** -0.5
    return (x - mean) * rstd * w, mean, rstd


def mix_op() -> Any:
    @op(outputs=("out", "total"))
    def mix(xs: list[TensorLike], y: TensorLike) -> tuple[Spec, Spec]:
        """Return exp(sum of xs) * y, and that exponential."""
        return Spec(y.shape, y.dtype), Spec(y.shape, y.dtype)

    @mix.fallback
    def _(xs: list[Tensor], y: Tensor) -> tuple[Tensor, Tensor]:
        return plain_mix(xs, y)

    @mix.gradient
    def _(g: Any, y: Tensor, total: Tensor, *, needs: Any) -> Any:
        calls.append("rule")
        first = g[0]
        return [None if each is None else first * total * y for each in needs[0]], first * total

    return mix


def plain_mix(xs: list[Tensor], y: Tensor) -> tuple[Tensor, Tensor]:
    total = sum(xs[1:], start=xs[0]).exp()
    return total * y, total


def lonely_op() -> Any:
    @op(outputs=("out", "extra"))
    def lonely(x: TensorLike) -> tuple[Spec, Spec]:
        """Have no fallback, except while `x` is computed."""
        return Spec(x.shape, x.dtype), Spec(x.shape, x.dtype)

    lonely.fallback(lambda x: (x * 2, x * 3))

    @lonely.gradient
    def _(g: Any, extra: Tensor) -> Tensor:
        return g[0] * 2 + extra * 0

    return lonely


calls: list[str] = []


def leaf(*shape: int, seed: int = 0) -> Tensor:
    values = np.random.default_rng(seed).normal(size=shape)
    return fe.tensor(values, dtype=fe.float64, requires_grad=True)


def close(ours: Tensor, theirs: Tensor) -> None:
    np.testing.assert_allclose(
        ours.numpy(force=True), theirs.numpy(force=True), rtol=1e-9, atol=1e-10
    )


def test_first_order_uses_the_rule(rules: Rules) -> None:
    x, w = leaf(3, 5), leaf(5, seed=1)
    out, mean, rstd = rules["standardize"](x, w)
    assert out.grad_fn is mean.grad_fn is rstd.grad_fn
    np.testing.assert_allclose(mean.numpy(force=True), x.numpy(force=True).mean(-1, keepdims=True))
    expected = fe.grad((plain_standardize(x, w)[0] ** 2).sum(), [x, w])
    calls.clear()
    (out * out).sum().backward()
    assert calls == ["rule"]
    close(x.grad, expected[0])
    close(w.grad, expected[1])


def test_gradcheck_of_both_orders(rules: Rules) -> None:
    def first(x: Tensor, w: Tensor) -> Tensor:
        return rules["standardize"](x, w)[0]

    x, w = leaf(2, 4), leaf(4, seed=1)
    assert fe.gradcheck(first, (x, w))
    calls.clear()
    assert fe.gradgradcheck(first, (x, w))
    assert calls == []


@pytest.mark.parametrize("order", [2, 3])
def test_higher_orders_go_through_the_fallback(rules: Rules, order: int) -> None:
    x, w = leaf(2, 4), leaf(4, seed=1)
    ours, theirs = rules["standardize"](x, w)[0], plain_standardize(x, w)[0]
    calls.clear()
    for _ in range(order):
        ours, theirs = (
            sum((g * g).sum() for g in fe.grad(each.sum(), [x, w], create_graph=True))
            if each.ndim == 0
            else (each * each * each).sum()
            for each in (ours, theirs)
        )
    close(ours, theirs)
    for mine, yours in zip(fe.grad(ours, [x, w]), fe.grad(theirs, [x, w]), strict=True):
        close(mine, yours)


def both(rules: Rules, build: Any, leaves: list[Tensor]) -> None:
    """Compare second gradients of `build`, with the op and with its plain formula."""
    found = []
    for function in (rules["standardize"], plain_standardize):
        y = build(lambda x, w, f=function: f(x, w)[0])
        first = fe.grad((y * y).sum(), leaves, create_graph=True)
        second = fe.grad(sum((g * g).sum() for g in first), leaves)
        found.append([*first, *second])
    for mine, yours in zip(*found, strict=True):
        close(mine, yours)


def test_inputs_that_are_not_leaves(rules: Rules) -> None:
    x, w = leaf(2, 4), leaf(4, seed=1)
    both(rules, lambda f: f(x * 2, w * w), [x, w])


def test_inputs_that_depend_on_each_other(rules: Rules) -> None:
    x = leaf(4)

    def build(f: Any) -> Tensor:
        h = x * x
        return f(h, h.exp() + x) + f(x, h) * h

    both(rules, build, [x])


def test_the_same_input_twice(rules: Rules) -> None:
    x = leaf(4)
    both(rules, lambda f: f(x, x), [x])

    def inner(f: Any) -> Tensor:
        h = x * 3
        return f(h, h)

    both(rules, inner, [x])


def test_hooks_of_inputs_run_once_with_the_total(rules: Rules) -> None:
    for function in (rules["standardize"], plain_standardize):
        x, w = leaf(4), leaf(4, seed=1)
        h = x * 2
        seen: list[str] = []
        h.register_hook(lambda g, seen=seen: seen.append("h"))
        w.register_hook(lambda g, seen=seen: seen.append("w"))
        out = function(h, w)[0] + h * w
        fe.grad((out * out).sum(), [x, w], create_graph=True)
        assert sorted(seen) == ["h", "w"]


def test_lists_of_inputs(rules: Rules) -> None:
    a, b, y = leaf(3), leaf(3, seed=1), leaf(3, seed=2)
    found = []
    for function in (rules["mix"], plain_mix):
        out, _ = function([a, b * 2, a], y)
        first = fe.grad((out * out).sum(), [a, b, y], create_graph=True)
        second = fe.grad(sum((g * g).sum() for g in first), [a, b, y])
        found.append([*first, *second])
    for mine, yours in zip(*found, strict=True):
        close(mine, yours)
    constant = fe.ones(3, dtype=fe.float64)
    (g,) = fe.grad(rules["mix"]([constant, a], y)[0].sum(), a)
    close(g, plain_mix([constant, a], y)[0])


def test_a_freed_graph_and_changed_inputs_are_named(rules: Rules) -> None:
    x, w = leaf(4), leaf(4, seed=1)
    out, seed = rules["standardize"](x, w)[0], fe.ones(4, dtype=fe.float64)
    out.backward(seed)
    for create_graph in (False, True):
        with pytest.raises(GradientError, match=r"standardize.*freed"):
            out.backward(seed, create_graph=create_graph)
    h = x * 1
    out = rules["standardize"](h, w)[0].sum()
    h.add_(1)
    for create_graph in (False, True):
        with pytest.raises(GradientError, match=r"standardize.*changed in place"):
            fe.grad(out, x, create_graph=create_graph, retain_graph=True)


def test_an_extra_output_that_is_written_raises(rules: Rules) -> None:
    x, w = leaf(4), leaf(4, seed=1)
    out, mean, _ = rules["standardize"](x, w)
    mean.mul_(2)
    with pytest.raises(GradientError, match=r"standardize.*changed in place"):
        out.sum().backward()


def test_without_a_fallback_the_second_order_says_so(rules: Rules) -> None:
    x = leaf(3)
    out, _ = rules["lonely"](x)
    fallback, rules["lonely"].compose = rules["lonely"].compose, None
    try:
        assert fe.grad(out.sum(), x, retain_graph=True)[0].tolist() == [2.0] * 3
        with pytest.raises(GradientError, match="lonely.*fallback"):
            fe.grad(out.sum(), x, create_graph=True)
    finally:
        rules["lonely"].compose = fallback


def test_checkpoint_drops_and_restores_the_inputs(rules: Rules) -> None:
    x, w = leaf(2, 4), leaf(4, seed=1)

    def build(x: Tensor, w: Tensor) -> Tensor:
        return rules["standardize"](x * 2, w)[0].exp()

    plain = fe.grad((build(x, w) ** 2).sum(), [x, w], create_graph=True)
    kept = fe.grad((fe.checkpoint(build, x, w) ** 2).sum(), [x, w], create_graph=True)
    for mine, yours in zip(kept, plain, strict=True):
        assert mine.tolist() == yours.tolist()
    second = [fe.grad(sum((g * g).sum() for g in each), [x, w]) for each in (plain, kept)]
    for mine, yours in zip(*second, strict=True):
        assert mine.tolist() == yours.tolist()


def test_one_gradient_for_two_lists_is_not_shared() -> None:
    known = set(OPS)

    @op
    def pour(xs: list[TensorLike], ys: list[TensorLike], z: TensorLike) -> Spec:
        """Return xs[0] + ys[0] + z."""
        return Spec(z.shape, z.dtype)

    pour.fallback(lambda xs, ys, z: xs[0] + ys[0] + z)

    @pour.gradient
    def _(g: Tensor) -> Any:
        double = g * 1
        return [double], [double], None

    try:
        x, y, z = (fe.ones(2, requires_grad=each) for each in (True, True, False))
        pour([x], [y], z).backward(fe.ones(2))
        assert x.grad is not None
        x.grad += 1
        assert y.grad is not None
        assert y.grad.tolist() == [1, 1]
    finally:
        for name in set(OPS) - known:
            del OPS[name]
