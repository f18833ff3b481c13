"""Memory: graphs die with the last tensor that needs them, and training does not grow."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ferrum as fe
from ferrum import Function, Tensor, checkpoint
from ferrum.errors import GradientError
from ferrum.graph import Node

DEEP = 100_000


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Whatever dies here dies by its reference count, at once."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def leaf(*shape: int) -> Tensor:
    return fe.ones(*shape, dtype=fe.float64, requires_grad=True)


def nodes_behind(*roots: Tensor) -> list[weakref.ref[Node]]:
    """Return weak references to all nodes that lead to `roots`."""
    found: dict[int, Node] = {}
    stack = [root.edge.node for root in roots if root.edge is not None]
    while stack:
        node = stack.pop()
        if id(node) not in found:
            found[id(node)] = node
            stack += node.next_nodes
    return [weakref.ref(node) for node in found.values()]


def alive(refs: list[weakref.ref[Node]]) -> list[Node]:
    return [node for ref in refs if (node := ref()) is not None]


# ---- no cycle


class Saving(Function):
    """Saves everything that it can, and keeps an attribute as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        inner, out = x.exp(), x * 2
        ctx.save_for_backward(x, inner, out)
        ctx.scale = 2.0
        return out, inner

    @staticmethod
    def backward(ctx: Any, g: Tensor, h: Tensor) -> Tensor:
        _, inner, _ = ctx.saved_tensors
        return g * ctx.scale + h * inner


def plain(x: Tensor) -> Tensor:
    return (x @ x).softmax(1).log().sum() + (x.exp() * x).mean()


def written(x: Tensor) -> Tensor:
    y = x * 1
    y[0].mul_(x[1])
    views = [y.t(), y[1:], y.reshape(-1)]
    y.t()[0].add_(views[1][0])
    y[:, fe.tensor([0, 1])] = x[:, :2].exp()
    return y.sum() + views[2].sum()


def hooked(x: Tensor) -> Tensor:
    y = x * 2
    y.register_hook(lambda g: g * 2)
    y.retain_grad()
    y.grad_fn.register_hook(lambda pieces, grads: None)
    y.grad_fn.register_prehook(lambda grads: None)
    return y.exp().sum()


def custom(x: Tensor) -> Tensor:
    out, inner = Saving.apply(x)
    return (out * inner).sum()


def kept(x: Tensor) -> Tensor:
    return checkpoint(lambda x: checkpoint(plain, checkpoint(custom, x) * x), x)


def traced(x: Tensor) -> Tensor:
    with fe.detect_anomaly(), fe.placement():
        return plain(x)


BUILDS = [plain, written, hooked, custom, kept, traced]


@pytest.mark.parametrize("build", BUILDS)
def test_no_node_outlives_the_loss(build: Callable[[Tensor], Tensor]) -> None:
    x = leaf(3, 3)
    loss = build(x)
    refs = nodes_behind(loss)
    assert len(refs) > 3
    del loss
    assert [node for node in alive(refs) if node is not x.edge.node] == []


@pytest.mark.parametrize("order", ["backward", "retained", "second order", "backward twice"])
@pytest.mark.parametrize("build", BUILDS)
def test_no_node_outlives_the_walk(build: Callable[[Tensor], Tensor], order: str) -> None:
    x = leaf(3, 3)
    loss = build(x)
    refs = nodes_behind(loss)
    if order == "second order":
        (g,) = fe.grad(loss, x, create_graph=True)
        refs += nodes_behind(g)
        (g * g).sum().backward()
        del g
    else:
        loss.backward(retain_graph=order != "backward")
        if order == "backward twice":
            loss.backward()
    del loss
    assert [node for node in alive(refs) if node is not x.edge.node] == []
    assert not x.grad.requires_grad


@pytest.mark.parametrize("build", BUILDS)
def test_nothing_is_left_for_the_collector(build: Callable[[Tensor], Tensor]) -> None:
    x = leaf(3, 3)
    for create_graph in (False, True):  # the second time for imports and caches
        build(x).backward()
        (g,) = fe.grad(build(x), x, create_graph=create_graph)
        if g.requires_grad:
            g.sum().backward()
    del g
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        left = [each for each in gc.garbage if type(each).__module__.startswith("ferrum")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert left == []


def test_a_walk_that_fails_leaves_nothing_either() -> None:
    x = leaf(3)
    h = x * 1
    loss = (h.sin() * h.exp()).sum()
    refs = nodes_behind(loss)
    h.add_(1)
    with pytest.raises(GradientError):
        loss.backward()
    del loss, h
    assert [node for node in alive(refs) if node is not x.edge.node] == []


def test_a_gradient_with_a_graph_lives_until_it_is_dropped() -> None:
    """The one cycle there is, as in PyTorch: `backward(create_graph=True)` puts it into .grad."""
    x = leaf(3)
    (x * x * x).sum().backward(create_graph=True)
    refs = nodes_behind(x.grad)
    assert len(alive(refs)) > 1
    x.grad = None
    assert [node for node in alive(refs) if node is not x.edge.node] == []


def test_a_freed_graph_gives_its_arrays_back_though_the_loss_lives() -> None:
    x = leaf(3)
    y = x * 1
    arrays = [weakref.ref(each) for each in (y.array, y.sin().array)]
    loss = (y.sin() * y).sum()
    saved = weakref.ref(y.array)
    del y
    assert saved() is not None
    loss.backward()
    assert saved() is None
    assert [ref() for ref in arrays] == [None, None]


def test_views_that_died_are_forgotten() -> None:
    x = fe.zeros(4)
    kept = [x[k:] for k in range(3)]
    for k in range(10_000):
        x[k % 4 :]
    assert len(x.storage._views) < 50
    assert {id(view) for view in kept} == {id(view) for view in x.storage.views()}


# ---- depth


def deep_sum(x: Tensor) -> Tensor:
    for _ in range(DEEP):
        x = x + 1.0
    return x


def deep_views(x: Tensor) -> Tensor:
    for _ in range(DEEP // 10):
        x = x.t().clone()
    return x


def deep_writes(x: Tensor) -> Tensor:
    y = x * 1
    for _ in range(DEEP // 20):
        y[0].add_(1.0)
    return y


def deep_functions(x: Tensor) -> Tensor:
    for _ in range(DEEP // 10):
        x, _ = Saving.apply(x * 0.5)
    return x


def wide(x: Tensor) -> Tensor:
    parts = [x * 1.0 for _ in range(DEEP // 10)]
    return fe.stack(parts).sum(0)


@pytest.mark.slow
@pytest.mark.parametrize("build", [deep_sum, deep_views, deep_writes, deep_functions, wide])
def test_deep_graphs_are_walked_and_freed_without_recursion(build: Any) -> None:
    x = leaf(1, 1)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        y = build(x)
        refs = nodes_behind(y)
        y.backward(retain_graph=True)
        assert x.grad.item() == (DEEP // 10 if build is wide else 1)
        del y
        assert [node for node in alive(refs) if node is not x.edge.node] == []
    finally:
        sys.setrecursionlimit(limit)
    assert len(refs) >= DEEP // 10


# ---- growth


@pytest.mark.serial
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="it reads Linux's /proc")
def test_ten_thousand_steps_of_training_do_not_grow() -> None:
    """At most 1 MiB, after a warm-up, with the collector off."""
    done = subprocess.run(
        [sys.executable, "-c", GROWTH],
        env={**os.environ, "FERRUM_DEVICE": "reference", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    first, last, grown = map(float, done.stdout.split())
    assert last < first / 2
    assert grown <= 2**20, f"{grown / 2**20:.2f} MiB"


GROWTH = """
import gc
gc.disable()
import os, pathlib
import ferrum as fe

fe.manual_seed(0)
x, target = fe.randn(16, 8), fe.randn(16, 1).tanh()
sizes = [(8, 16), (16,), (16, 1), (1,)]
parameters = [(fe.randn(*size) * 0.3).requires_grad_() for size in sizes]
w1, b1, w2, b2 = parameters
seen = []
b2.register_hook(lambda g: g * 1.0)
w2.register_post_accumulate_grad_hook(lambda t: seen.clear())

def step(k):
    hidden = (x @ w1 + b1).tanh() + 0.0
    if k % 4 == 0:
        hidden = fe.checkpoint(lambda h: (h * 1.0).relu() + h * 0.1, hidden)
    hidden[k % 16].mul_(0.99)
    loss = ((hidden @ w2 + b2 - target) ** 2).mean()
    loss.backward()
    with fe.no_grad():
        for p in parameters:
            p.sub_(p.grad * 0.05)
            p.grad = None if k % 2 else p.grad.zero_()
    return loss.item()

def resident():
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")

first = step(0)
for k in range(1000):
    step(k)
before = resident()
for k in range(10000):
    last = step(k)
print(first, last, resident() - before)
"""
