"""Threads: shared leaves, tensors and graphs, and graphs of their own, with serial bits."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import ferrum as fe
from ferrum import Tensor
from ferrum.errors import GradientError
from ferrum.random import default_generator

THREADS = 8


@pytest.fixture(autouse=True)
def many_switches() -> Iterator[None]:
    """Let threads change places as often as Python can, so that races have a chance."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work: Callable[[int], Any], count: int = THREADS) -> list[Any]:
    """Return what `work(0)`, `work(1)` ... return, started together in a thread each."""
    start = threading.Barrier(count)

    def begin(number: int) -> Any:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return [each.result(timeout=120) for each in [pool.submit(begin, n) for n in range(count)]]


def whole(*shape: int, seed: int = 0) -> Tensor:
    """Return small whole numbers: their sums have no rounding errors in any order."""
    return fe.randint(-3, 4, shape, generator=fe.Generator(seed)).to(fe.float64)


# ---- sums into shared leaves


@pytest.mark.parametrize("rounds", [60])
def test_gradients_of_all_threads_add_up_in_shared_leaves(rounds: int) -> None:
    w, b = whole(3, 3).requires_grad_(), whole(3, seed=1).requires_grad_()

    def work(number: int) -> None:
        for k in range(rounds):
            x = whole(2, 3, seed=number * rounds + k)
            ((x @ w + b) * x).sum().backward()

    in_threads(work)
    found = w.grad.tolist(), b.grad.tolist()
    w.grad = b.grad = None
    for number in range(THREADS):
        work(number)
    assert (w.grad.tolist(), b.grad.tolist()) == found


def test_hooks_run_once_a_walk_whichever_thread_walks() -> None:
    x = whole(4).requires_grad_()
    seen: list[int] = []
    accumulated: list[int] = []
    x.register_hook(lambda g: seen.append(threading.get_ident()))
    x.register_post_accumulate_grad_hook(lambda t: accumulated.append(threading.get_ident()))

    def work(number: int) -> int:
        for _ in range(50):
            (x * x).sum().backward()
        return threading.get_ident()

    idents = in_threads(work)
    assert sorted(seen) == sorted(accumulated) == sorted(idents * 50)
    assert x.grad.tolist() == (x * 2 * 50 * THREADS).tolist()


def test_a_hook_may_walk_another_graph() -> None:
    x, y = whole(2).requires_grad_(), whole(2).requires_grad_()

    @fe.enable_grad()  # hooks run in the mode of their walk, which records nothing
    def walk(tensor: Tensor) -> None:
        (y * 2).sum().backward()

    x.register_post_accumulate_grad_hook(walk)
    in_threads(lambda number: (x * 3).sum().backward())
    assert x.grad.tolist() == [3.0 * THREADS] * 2
    assert y.grad.tolist() == [2.0 * THREADS] * 2


def test_one_graph_walked_by_all_threads() -> None:
    x, w = whole(3, 3).requires_grad_(), whole(3, 3, seed=1).requires_grad_()
    y = ((x @ w).exp() * x).sum() * 0 + (x @ w).sum()
    expected = [g.tolist() for g in fe.grad(y, [x, w], retain_graph=True)]

    def work(number: int) -> list[Any]:
        found = [fe.grad(y, [x, w], retain_graph=True, create_graph=bool(k % 2)) for k in range(20)]
        return [[g.tolist() for g in each] for each in found]

    assert all(each == expected for found in in_threads(work) for each in found)


# ---- bits


def train(seed: int) -> bytes:
    """Return the bits of a few values and gradients that depend on `seed` alone."""
    generator = fe.Generator(seed)
    x, w = (fe.randn(4, 4, generator=generator, requires_grad=True) for _ in range(2))
    h = (x @ w).tanh() + x
    h[1:].mul_(w[0])
    y = (h.softmax(1) * h.t()).exp().sum()
    y.backward()
    with fe.no_grad():
        w.sub_(w.grad * 0.1)
    return b"".join(each.numpy(force=True).tobytes() for each in (y, x.grad, w.grad, w))


@pytest.mark.slow
@pytest.mark.serial  # alone, and without coverage's tracing, which eight threads would fight for
def test_a_thousand_rounds_have_serial_bits() -> None:
    rounds = 1000
    serial = [train(seed) for seed in range(rounds)]

    def work(number: int) -> int:
        order = range(number, rounds + number)
        return sum(train(seed % rounds) != serial[seed % rounds] for seed in order)

    assert in_threads(work) == [0] * THREADS


# ---- tensors that threads share


def test_a_shared_tensor_has_one_version_however_many_save_it_first() -> None:
    """The version cell is made when a tensor is first saved: here by all threads at once."""
    weight = whole(2, 2).requires_grad_()
    for _ in range(150):
        shared = fe.ones(2, 2, dtype=fe.float64)
        outs = in_threads(lambda number, shared=shared: (weight * shared).sum())
        shared.add_(1)
        for out in outs:
            with pytest.raises(GradientError, match="changed in place"):
                out.backward()


def test_no_view_is_forgotten_however_many_are_made_at_once() -> None:
    """A write renews the history of every view that is alive."""
    for _ in range(40):
        base = fe.zeros(4, dtype=fe.float64)

        def work(number: int, base: Tensor = base) -> list[Tensor]:
            kept = []
            for k in range(40):
                view = base[k % 4 :]
                if k % 3 == 0:
                    kept.append(view)
            return kept

        views = [view for kept in in_threads(work) for view in kept]
        base.add_(whole(4).requires_grad_())
        assert all(view.requires_grad for view in views)


def test_kernels_of_one_op_are_resolved_once() -> None:
    shared = whole(3, 3)
    expected = shared.t().cumsum(0).tolist()
    found = in_threads(lambda number: [shared.t().cumsum(0).tolist() for _ in range(100)])
    assert all(each == expected for mine in found for each in mine)


# ---- generators


def test_threads_never_draw_the_same_numbers() -> None:
    state = default_generator.get_state()
    drawn = [
        key
        for keys in in_threads(lambda n: [default_generator.next_key() for _ in range(500)])
        for key in keys
    ]
    seed, offset = state
    assert sorted(drawn) == [(seed, offset + k) for k in range(500 * THREADS)]
    assert default_generator.get_state() == (seed, offset + 500 * THREADS)


def test_a_generator_of_ones_own_repeats_itself_beside_others() -> None:
    expected = fe.rand(5, generator=fe.Generator(7)).tolist()
    found = in_threads(
        lambda n: [fe.rand(5, generator=fe.Generator(7)).tolist() for _ in range(50)]
    )
    assert all(each == expected for mine in found for each in mine)


# Python 3.13 nests destructors up to a fixed depth, however small the stack is: there a chain of
# plain objects with __slots__, without FERRUM, ends a thread of 512 KiB as well, and none of 1 MiB.
LITTLE = 1024 if sys.version_info >= (3, 13) else 256


def test_deep_graphs_die_in_threads_of_little_stack() -> None:
    def work() -> None:
        x = whole(1).requires_grad_()
        y = x
        for _ in range(100_000):
            y = y * 1.0
        y.backward()
        done.append(x.grad.tolist())

    done: list[Any] = []
    before = threading.stack_size(LITTLE * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert done == [[1.0]]
