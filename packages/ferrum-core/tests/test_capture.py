"""Recording and replay: the bits of eager, and a sentence where a recording cannot hold a step."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ferrum as fe
from ferrum import Generator, Tensor
from ferrum.capture import Graph, Watched, record
from ferrum.errors import CaptureError


@pytest.fixture(autouse=True)
def state() -> Iterator[None]:
    """The default generator, put back afterwards."""
    before = fe.get_rng_state()
    yield
    fe.set_rng_state(before)


def data(*shape: int, seed: int = 0) -> Tensor:
    return fe.randn(*shape, generator=Generator(seed))


def bits(value: Any) -> Any:
    """Return dtypes, shapes and bytes, in the structure of `value`."""
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [bits(each) for each in value]
    return value.dtype.name, value.shape, value.detach().numpy().tobytes()


def assert_replays(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Graph:
    """Check that a replay gives, for other tensors, what `function` gives, and draws as much."""
    graph = record(function, *[data(*shape, seed=i) for i, shape in enumerate(shapes)])
    for round_ in (10, 20):
        fresh = [data(*shape, seed=round_ + i) for i, shape in enumerate(shapes)]
        copies = [x.clone() for x in fresh]
        fe.manual_seed(round_)
        expected, after = bits(function(*fresh)), fe.get_rng_state()
        fe.manual_seed(round_)
        out = graph.replay(*copies)
        assert bits(out) == expected
        assert fe.get_rng_state() == after
        assert bits(copies) == bits(fresh)  # what is written, is written by both
    return graph


# ---- the bits of eager


UNARY = [fe.exp, fe.tanh, fe.neg, fe.abs, lambda x: x * 0.5, lambda x: x.softmax(-1)]
SHAPING = [
    lambda x: x.t(),
    lambda x: x.flip(0),
    lambda x: x.t().contiguous().reshape(x.shape),
    lambda x: x[::2].repeat(2, 1)[: x.shape[0]] if x.shape[0] > 1 else x,
    lambda x: fe.cat([x, x.t()], 1)[:, : x.shape[1]],
]
WRITING = [
    lambda x: x.clone().add_(1),
    lambda x: (y := x * 1, y[0].mul_(3), y)[2],
    lambda x: (y := x.clone(), y.t()[1:].exp_(), y[:, 0].copy_(x[0]), y)[3],
    lambda x: (y := x.clone(), y.__setitem__((slice(None), 1), 7.0), y)[2],
]
RANDOM = [
    lambda x: x + fe.randn(3, 3),
    lambda x: x * fe.rand_like(x.detach()),
    lambda x: x * fe.bernoulli(fe.full((3, 3), 0.5)),
]


@settings(derandomize=True, deadline=None, max_examples=120)
@given(st.lists(st.sampled_from([*UNARY, *SHAPING, *WRITING, *RANDOM]), max_size=6))
def test_any_program_and_its_gradient_replay_with_the_bits_of_eager(steps: list[Any]) -> None:
    def forward(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x * 1

    def train(x: Tensor) -> tuple[Tensor, ...]:
        leaf = x.detach().requires_grad_()
        out = forward(leaf)
        return out.detach(), *fe.grad((out * out).sum(), [leaf])

    assert_replays(forward, (3, 3))
    assert_replays(train, (3, 3))


def test_second_derivatives_replay() -> None:
    def function(x: Tensor) -> Tensor:
        leaf = x.detach().requires_grad_()
        (g,) = fe.grad((leaf**3).tanh().sum(), [leaf], create_graph=True)
        return fe.grad((g * g).sum(), [leaf])[0]

    assert_replays(function, (2, 4))


def test_several_inputs_and_outputs() -> None:
    graph = assert_replays(lambda x, y: (x @ y, (x + 1).sum(), y), (2, 3), (3, 4))
    assert isinstance(graph.replay(data(2, 3), data(3, 4)), tuple)
    assert assert_replays(lambda x: [x * 2, x], (2,)).replay(data(2))[1].shape == (2,)


def test_a_named_tuple_stays_one() -> None:
    graph = assert_replays(lambda x: x.sort(0), (4, 2))
    assert graph.replay(data(4, 2)).indices.dtype is fe.int64


def test_lists_of_tensors_are_operands() -> None:
    assert_replays(lambda x, y: fe.stack([x, y, x * 2]).sum(0), (2, 3), (2, 3))
    assert_replays(lambda x, y: fe.cat([fe.cat([x, y]), y], 0), (2, 3), (1, 3))


def test_inputs_are_written_as_eager_writes_them() -> None:
    assert_replays(lambda x, y: x.add_(y).t().mul_(2), (2, 3), (3,))
    graph = record(lambda x: x[0].zero_(), fe.ones(2, 2))
    x = fe.ones(2, 2)
    graph.replay(x)
    assert x.tolist() == [[0, 0], [1, 1]]
    assert x._version == 1


# ---- state


def test_state_is_read_and_written() -> None:
    """Tensors that the function finds outside are its memory: what it writes there stays."""
    count, weight = fe.zeros(2), fe.ones(2)

    def step(x: Tensor) -> Tensor:
        count.add_(1)
        return x * weight + count

    graph = record(step, fe.zeros(2))
    assert count.tolist() == [1, 1]
    assert graph.replay(fe.zeros(2)).tolist() == [2, 2]
    weight.fill_(10)
    assert graph.replay(fe.ones(2)).tolist() == [13, 13]
    assert count.tolist() == [3, 3]
    assert len(graph.state) == 2


def test_a_training_step_replays() -> None:
    """Five replayed steps of descent leave the bits of five eager ones."""

    def fit(replayed: bool) -> list[Any]:
        weight = data(3, 2, seed=1).requires_grad_()
        moment = fe.zeros(3, 2)

        def step(x: Tensor, y: Tensor) -> Tensor:
            loss = ((x @ weight).tanh() - y).square().mean()
            (g,) = fe.grad(loss, [weight])
            with fe.no_grad():
                moment.mul_(0.9).add_(g)
                weight.sub_(moment * 0.1)
            return loss.detach()

        batches = [(data(4, 3, seed=i), data(4, 2, seed=50 + i)) for i in range(6)]
        losses = [step(*batches[0])]
        run = step
        if replayed:
            weight_before, moment_before = weight.detach().clone(), moment.clone()
            graph = record(step, *batches[0])
            with fe.no_grad():
                weight.copy_(weight_before)
                moment.copy_(moment_before)
            run = graph.replay
        losses += [run(*each) for each in batches[1:]]
        return [bits(losses), bits(weight), bits(moment)]

    assert fit(replayed=True) == fit(replayed=False)


def test_data_made_inside_is_made_anew() -> None:
    """`fe.tensor` inside the function is a constant, although the function writes to it."""

    def function(x: Tensor) -> Tensor:
        total = fe.tensor([1.0, 2.0])
        total += x
        return total

    graph = record(function, fe.zeros(2))
    assert [graph.replay(fe.ones(2)).tolist() for _ in range(3)] == [[2.0, 3.0]] * 3


def test_views_of_state_made_outside_share_its_memory() -> None:
    base = fe.zeros(3)
    tail = base[1:]
    graph = record(lambda x: (tail.add_(x), base * 1)[1], fe.ones(2))
    assert graph.replay(fe.ones(2)).tolist() == [0, 2, 2]


def test_an_input_stays_one_where_a_function_closes_over_it() -> None:
    """A part of it that was taken before is state, which eager would read as well."""
    x = fe.ones(2)
    whole, part = x.detach(), x[:1]
    graph = record(lambda a: a + x + whole, x)
    assert graph.replay(fe.full((2,), 5.0)).tolist() == [15, 15]
    graph = record(lambda a: a + part, x)
    x.fill_(3)
    assert graph.replay(fe.full((2,), 5.0)).tolist() == [8, 8]


# ---- threads


def elsewhere(call: Callable[[], Any]) -> Any:
    """Return what `call` returns in a thread with a context of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def written_elsewhere(x: Tensor) -> Tensor:
    y = x * 2
    elsewhere(lambda: y.add_(1))
    return y


def part_written_elsewhere(x: Tensor) -> Tensor:
    y = x * 2
    elsewhere(lambda: y[0].mul_(3))
    return y + 1


def input_written_elsewhere(x: Tensor) -> Tensor:
    y = x * 2
    elsewhere(lambda: x.add_(1))
    return y


WEIGHT = fe.ones(2)


def gradient_taken_elsewhere(x: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_()
    return elsewhere(lambda: fe.grad((leaf**2).sum(), leaf)[0]) + x


UNSEEN: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "a value": (lambda x: x + elsewhere(lambda: x * 2), "add: .* by multiply while"),
    "a later value": (lambda x: x + elsewhere(lambda: (x * 2).exp()), "add: .* by exp while"),
    "a decomposed value": (lambda x: -elsewhere(lambda: x.softmax(0)), "neg.*: .* by "),
    "a view": (lambda x: elsewhere(lambda: x[:1]).exp(), "exp: .* by "),
    "a creation": (lambda x: x + elsewhere(lambda: fe.rand(2)), "add: .* by uniform while"),
    "of state": (lambda x: x + elsewhere(lambda: WEIGHT * 2), "add: .* by multiply while"),
    "in a list": (lambda x: fe.cat([x, elsewhere(lambda: x * 2)]), "concat: .* by multiply "),
    "an output": (lambda x: (x, elsewhere(lambda: x * 2)), "record: .* by multiply while"),
    "a gradient": (gradient_taken_elsewhere, "add: .* by "),
    "a result written": (written_elsewhere, "record: .* by (add|copy)_ while"),
    "a part written": (part_written_elsewhere, "add: .* in place while"),
    "an input written": (input_written_elsewhere, "record: .* by (add|copy)_ while"),
    "state written": (
        lambda x: (elsewhere(lambda: WEIGHT.add_(0)), x * WEIGHT)[1],
        "multiply: .* by (add|copy)_ while",
    ),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_other_threads_do_is_refused(name: str) -> None:
    function, text = UNSEEN[name]
    x = fe.ones(2)
    with pytest.raises(CaptureError, match=f"^{text}"):
        record(function, x)
    assert not isinstance(x.device.kernels, Watched)
    record(lambda x: x + WEIGHT, x)  # what was made or written before is state


def test_other_threads_may_go_on_with_what_is_their_own() -> None:
    """They read the same inputs and state, and their own values never meet the recording."""
    stop = threading.Event()
    x, seen = data(3, 3), []

    def work() -> None:
        weight = fe.zeros(3, 3)
        while not stop.is_set():
            weight.add_((x @ x).softmax(0).t())
        seen.append(record(lambda x: x.exp(), x).replay(x).tolist() == x.exp().tolist())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for each in threads:
        each.start()
    try:
        for _ in range(10):
            assert_replays(lambda y: (y @ x).tanh().sum(0), (3, 3))
    finally:
        stop.set()
        for each in threads:
            each.join()
    assert seen == [True] * 3
    assert not isinstance(x.device.kernels, Watched)


def test_recordings_inside_recordings() -> None:
    def outer(x: Tensor) -> Tensor:
        inner = record(lambda y: y * 3, x)
        return inner.replay(x) + 1

    assert_replays(outer, (2,))


def test_threads_that_are_given_the_context_are_recorded() -> None:
    async def both(x: Tensor) -> Tensor:
        return await asyncio.to_thread(lambda: x.exp()) + await asyncio.to_thread(lambda: x * 2)

    def function(x: Tensor) -> Tensor:
        context = contextvars.copy_context()
        y = elsewhere(lambda: context.run(lambda: x.sin()))
        return y * asyncio.run(both(x))

    assert_replays(function, (2, 2))


def test_a_checkpoint_made_before_cannot_be_computed_again() -> None:
    """It runs in the context that it was made in, which records nothing."""
    x = data(3, 3).requires_grad_()
    out = fe.checkpoint(lambda z: z.exp().sin(), x).sum()
    with pytest.raises(CaptureError, match=r"^\w+: a tensor was made or written by \w+ while"):
        record(lambda g: fe.grad(out, x, g, retain_graph=True)[0], fe.ones(()))
    plain = x.exp().sin().sum()
    graph = record(lambda g: fe.grad(plain, x, g, retain_graph=True)[0], fe.ones(()))
    assert bits(graph.replay(fe.full((), 2.0))) == bits(fe.grad(plain, x, fe.full((), 2.0))[0])


# ---- random numbers


def test_replays_draw_as_eager_would() -> None:
    graph = record(lambda x: x + fe.rand(4), fe.zeros(4))
    fe.manual_seed(5)
    drawn = [graph.replay(fe.zeros(4)).tolist() for _ in range(3)]
    fe.manual_seed(5)
    assert drawn == [fe.rand(4).tolist() for _ in range(3)]


def test_a_checkpoint_draws_the_same_numbers_twice() -> None:
    """What backward computes again uses the keys of the first time, in replays as well."""

    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        leaf = x.detach().requires_grad_()
        out = fe.checkpoint(lambda z: (z * fe.rand(3, 3)).exp() * fe.randn(3, 3), leaf)
        return out.detach(), fe.grad(out.sum(), [leaf])[0] + fe.rand(3, 3)

    graph = assert_replays(function, (3, 3))
    draws = [step.attrs["key"] for step in graph.steps if "key" in step.attrs]
    assert len(draws) == 5
    assert len(set(draws)) == 3


def test_generators_in_the_same_state_stay_two() -> None:
    a, b = Generator(1), Generator(1)
    graph = record(
        lambda x: (x + fe.rand(2, generator=a), x + fe.rand(2, generator=b)), fe.zeros(2)
    )
    b.manual_seed(2)
    first, second = graph.replay(fe.zeros(2))
    assert (a.get_state(), b.get_state()) == ((1, 2), (2, 1))
    assert first.tolist() == fe.rand(2, generator=Generator().set_state((1, 1))).tolist()
    assert second.tolist() == fe.rand(2, generator=Generator(2)).tolist()


# ---- modes


def test_recording_under_no_grad() -> None:
    weight = fe.ones(2, requires_grad=True)
    with fe.no_grad():
        graph = record(lambda x: x * weight, fe.ones(2))
    out = graph.replay(data(2, seed=4))
    assert not out.requires_grad
    assert bits(out) == bits(data(2, seed=4))


def test_a_replay_leaves_no_graph_behind() -> None:
    graph = record(lambda x: x * 2, fe.ones(2))
    x = fe.ones(2, requires_grad=True)
    out = graph.replay(x)
    assert not out.requires_grad
    assert out.tolist() == [2, 2]
    assert fe.is_grad_enabled()


def test_after_recording_values_are_known_again() -> None:
    with pytest.raises(ZeroDivisionError):
        record(lambda x: 1 / 0, fe.ones(1))
    assert fe.ones(1).item() == 1.0


def test_composite_ops_are_recorded_whole() -> None:
    graph = record(lambda x: x.log_softmax(1), data(2, 3))
    assert [step.op.name for step in graph.steps] == ["core.log_softmax"]


def test_masked_writes_keep_their_shape() -> None:
    def function(x: Tensor) -> Tensor:
        return fe.where(x > 0, x, 0.0) + x.masked_fill(x < 0, 5.0)

    assert_replays(function, (3, 2))


# ---- how it reads


def test_a_graph_is_readable() -> None:
    weight = fe.ones(2)
    graph = record(lambda x: (fe.cat([x * weight, x]), x.sum()), fe.ones(2))
    assert str(graph).splitlines() == [
        "inputs %0; state %1",
        "%2 = core.multiply(%0, %1)",
        "%3 = core.concat([%2, %0], axis=0, sizes=(2, 2))",
        "%4 = core.sum(%0, axes=(0,), keepdims=False)",
        "return (%3, %4)",
    ]
    assert str(record(lambda x: x, fe.ones(1))).endswith("return %0")
