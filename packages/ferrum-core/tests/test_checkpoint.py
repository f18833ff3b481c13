"""`checkpoint`: the same bits for less memory, or an error where it cannot keep that promise."""

from __future__ import annotations

import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import ferrum as fe
from ferrum import Tensor, checkpoint
from ferrum.errors import GradientError, OperandError

WIDTH = 128


def leaf(*shape: int, seed: int = 0) -> Tensor:
    generator = fe.Generator(seed)
    return fe.randn(*shape, generator=generator, requires_grad=True)


def block(x: Tensor, w: Tensor) -> Tensor:
    return ((x @ w).tanh() * x).sigmoid().exp() + x.relu() * w.sum()


def dropout(x: Tensor, p: float = 0.5) -> Tensor:
    return x * (fe.rand_like(x.detach()) >= p) / (1 - p)


def gradients(run: Callable[..., Tensor], *leaves: Tensor) -> list[Any]:
    """Return the value and the gradients of a function that has `leaves` for arguments."""
    fe.manual_seed(3)
    out = run(*leaves)
    found = fe.grad((out * out).sum(), leaves)
    return [out.tolist(), *(g.tolist() for g in found), fe.get_rng_state()]


@pytest.mark.parametrize(
    "function",
    [
        block,
        lambda x, w: block(block(x, w), w),
        lambda x, w: dropout(block(x, w)) @ w,
        lambda x, w: fe.cat([x, w])[1:5].t().contiguous()[:, ::2] * 3,
        lambda x, w: (x * 1).mul_(w).add_(x).exp_(),
        lambda x, w: x.sort(0).values.softmax(1).log() + w.amax(0),
    ],
)
def test_the_bits_are_those_of_the_plain_call(function: Callable[..., Tensor]) -> None:
    x, w = leaf(6, 6), leaf(6, 6, seed=1)
    plain = gradients(function, x, w)
    assert gradients(lambda x, w: checkpoint(function, x, w), x, w) == plain
    nested = gradients(lambda x, w: checkpoint(lambda x: checkpoint(function, x, w) * 1, x), x, w)
    assert nested == gradients(lambda x, w: function(x, w) * 1, x, w)


def test_random_numbers_are_drawn_again_and_the_generator_goes_on() -> None:
    x = leaf(4, 4)
    seen: list[Any] = []

    def noisy(x: Tensor) -> Tensor:
        noise = fe.rand(4, 4)
        seen.append(noise.tolist())
        return (x * noise).exp()

    fe.manual_seed(1)
    y = checkpoint(noisy, x)
    between = fe.rand(2)
    state = fe.get_rng_state()
    y.sum().backward()
    assert seen[0] == seen[1]
    assert len(seen) == 2
    assert fe.get_rng_state() == state
    assert between.tolist() != seen[0][0][:2]


def test_keyword_arguments_and_structures() -> None:
    x, w = leaf(3, 3), leaf(3, 3, seed=1)

    def function(pair: list[Tensor], *, scale: float, extra: dict[str, Tensor]) -> dict[str, Any]:
        return {"out": (pair[0] @ extra["w"]).exp() * scale, "name": "block"}

    plain = function([x], scale=2.0, extra={"w": w})["out"]
    kept = checkpoint(function, [x], scale=2.0, extra={"w": w})
    assert kept["name"] == "block"
    expected = [g.tolist() for g in fe.grad(plain.sum(), [x, w])]
    assert [g.tolist() for g in fe.grad(kept["out"].sum(), [x, w])] == expected


def test_higher_orders() -> None:
    x, w = leaf(3, 3), leaf(3, 3, seed=1)
    found = []
    for run in (block, lambda x, w: checkpoint(block, x, w)):
        (g,) = fe.grad(run(x, w).sum(), x, create_graph=True)
        (h,) = fe.grad((g * g).sum(), x, create_graph=True)
        found.append([g.tolist(), h.tolist(), *(k.tolist() for k in fe.grad(h.sum(), [x, w]))])
    assert found[0] == found[1]


def test_parameters_of_a_closure_get_their_gradient() -> None:
    w = leaf(3, 3)
    x = leaf(3, 3, seed=1)
    checkpoint(lambda x: (x @ w).exp(), x).sum().backward()
    expected = fe.grad((x @ w).exp().sum(), w)[0]
    assert w.grad.tolist() == expected.tolist()


def test_without_recording_it_is_a_plain_call() -> None:
    x = leaf(3, 3)
    calls = []

    def function(x: Tensor) -> Tensor:
        calls.append(fe.is_grad_enabled())
        return x.exp()

    with fe.no_grad():
        assert not checkpoint(function, x).requires_grad
    constant = checkpoint(function, x.detach())
    assert not constant.requires_grad
    assert calls == [False, True]


def test_a_graph_that_is_retained_is_walked_twice() -> None:
    x, w = leaf(3, 3), leaf(3, 3, seed=1)
    y = checkpoint(block, x, w).sum()
    first = fe.grad(y, x, retain_graph=True)[0].tolist()
    assert fe.grad(y, x)[0].tolist() == first
    with pytest.raises(GradientError, match="freed"):
        fe.grad(y, x)


# ---- promises it could not keep


def test_a_function_that_changed_its_mind_is_found_out() -> None:
    moods: list[Callable[[Tensor], Tensor]] = [
        lambda x: x.exp().sin(),
        lambda x: x.exp(),
        lambda x: x.exp().sin().sin(),
        lambda x: x.exp().cos(),
        lambda x: x[:2].exp().sin(),
        lambda x: x.reshape(9).exp().sin(),
    ]
    for other in moods[1:]:
        turns = iter([moods[0], other])
        y = checkpoint(lambda x, turns=turns: next(turns)(x), leaf(3, 3))
        with pytest.raises(GradientError, match="checkpoint: the function did something else"):
            y.sum().backward()


def test_another_part_of_the_same_tensor_is_something_else() -> None:
    places = iter([0, 1])
    y = checkpoint(lambda x: x[next(places)].exp(), leaf(3, 3))
    with pytest.raises(GradientError, match="did something else"):
        y.sum().backward()


@pytest.mark.parametrize("function", [lambda x: (x + 1).exp(), lambda x: x.sin()])
@pytest.mark.parametrize("nest", [lambda x: x, lambda x: {"x": [x]}])
def test_an_argument_written_since_is_found_out(function: Any, nest: Any) -> None:
    def call(given: Any) -> Tensor:
        return function(given if isinstance(given, Tensor) else given["x"][0])

    h = leaf(3) * 1
    y = checkpoint(call, nest(h))
    h.add_(1)
    with pytest.raises(GradientError, match=r"checkpoint: an argument was changed in place"):
        y.sum().backward()


def test_a_parameter_written_since_is_found_out() -> None:
    x, w = leaf(3), leaf(3, seed=1)
    y = checkpoint(lambda x: x * w, x)
    with fe.no_grad():
        w.mul_(2)
    with pytest.raises(GradientError, match=r"checkpoint: core\.multiply read a tensor"):
        y.sum().backward()


def test_memory_that_was_read_but_not_saved_must_stay_too() -> None:
    """A quotient saves its value: computed again from another numerator, it would be another."""
    for requires_grad in (False, True):
        x = leaf(3, 3)
        top = leaf(3, 3, seed=1).detach().requires_grad_(requires_grad)
        y = checkpoint(lambda x, top=top: top / (x * x + 1), x)
        with fe.no_grad():
            top.add_(1)
        with pytest.raises(GradientError, match="^checkpoint: .* read a tensor that was changed"):
            y.sum().backward()
        assert x.grad is None


def test_state_that_no_gradient_reads_may_be_written() -> None:
    """As running statistics are, by both runs."""
    x, count = leaf(3, 3), fe.zeros(3)

    def function(x: Tensor) -> Tensor:
        with fe.no_grad():
            count.mul_(0.5).add_(x.mean(0))
        return (x * 2).exp()

    checkpoint(function, x).sum().backward()
    assert x.grad.tolist() == (2 * (x * 2).exp()).tolist()


def test_an_output_written_since_does_no_harm() -> None:
    """The saved output is computed anew, so that even this gradient is right."""
    x = leaf(3)
    y = checkpoint(lambda x: x.exp(), x)
    y.mul_(3)
    y.sum().backward()
    assert x.grad.tolist() == (x.detach().exp() * 3).tolist()


def test_an_error_of_the_second_run_leaves_the_generator_alone() -> None:
    turns = iter([False, True])

    def function(x: Tensor) -> Tensor:
        noise = fe.rand(3)
        if next(turns):
            raise ZeroDivisionError("on purpose")
        return x * noise

    x = leaf(3)
    y = checkpoint(function, x)
    state = fe.get_rng_state()
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        y.sum().backward()
    assert fe.get_rng_state() == state
    assert x.grad is None


# ---- memory


def held(run: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Return how many bytes the graph behind `run(x)` keeps alive."""
    tracemalloc.start()
    try:
        out = run(x)
        after, _ = tracemalloc.get_traced_memory()
        size = after - out.numel() * out.dtype.itemsize
        del out
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return size - left


def deep(x: Tensor) -> Tensor:
    for _ in range(20):
        x = x.sin().exp().tanh()
    return x


@pytest.mark.serial  # a thread that another test left behind would be counted
def test_what_is_saved_is_dropped() -> None:
    x = leaf(WIDTH, WIDTH)
    one = WIDTH * WIDTH * 4
    checkpoint(deep, x).sum().backward()  # imports, caches
    assert held(deep, x) > 38 * one
    assert held(lambda x: checkpoint(deep, x), x) < one
    per_block = held(lambda x: checkpoint(deep, checkpoint(deep, x)), x)
    assert per_block < 2 * one  # the input of the second block
    nested = held(lambda x: checkpoint(lambda x: checkpoint(deep, checkpoint(deep, x)), x), x)
    assert nested < one


@pytest.mark.serial
def test_the_second_run_is_dropped_as_backward_goes() -> None:
    """Two blocks are never computed again at the same time."""
    x = leaf(WIDTH, WIDTH)
    one = WIDTH * WIDTH * 4
    y = checkpoint(deep, checkpoint(deep, checkpoint(deep, checkpoint(deep, x))))
    tracemalloc.start()
    try:
        y.backward(fe.ones(WIDTH, WIDTH))
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60 * one  # one block needs 40 and a little more, two need 80
    assert left < 3 * one


def test_arguments_live_as_long_as_the_graph() -> None:
    x = leaf(3)
    h = x * 1
    alive = weakref.ref(h)
    y = checkpoint(lambda h: (h + 1).exp(), h)
    del h
    assert alive() is not None
    y.sum().backward()
    assert alive() is None


def test_only_functions_are_taken() -> None:
    with pytest.raises(OperandError, match="^checkpoint: expected a function, got int"):
        fe.checkpoint(5)  # type: ignore[arg-type]
