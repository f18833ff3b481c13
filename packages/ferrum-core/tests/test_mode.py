"""Recording on and off, and what else a mode holds, in calls, threads, tasks and generators."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ferrum as fe
from ferrum.errors import OperandError, StrictError
from ferrum.mode import Interposer, Observer, current, interposing, observing
from ferrum.op import Op

SWITCHES: dict[str, Callable[[], Any]] = {
    "no_grad": fe.no_grad,
    "enable_grad": fe.enable_grad,
    "on": lambda: fe.set_grad_enabled(True),
    "off": lambda: fe.set_grad_enabled(False),
}


def records() -> bool:
    """Return whether an op is recorded here, which must be what is_grad_enabled says."""
    x = fe.ones(1, requires_grad=True)
    found = (x * 2).requires_grad
    assert found is fe.is_grad_enabled()
    return found


# ---- nesting


@settings(deadline=None, derandomize=True, max_examples=60, database=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(SWITCHES)), st.booleans()), max_size=6))
def test_switches_nest_and_undo_themselves_whatever_is_raised(
    stack: list[tuple[str, bool]],
) -> None:
    def enter(rest: list[tuple[str, bool]]) -> None:
        if not rest:
            return
        (name, fails), *inner = rest
        before = records()
        try:
            with SWITCHES[name]():
                assert records() is (name in ("enable_grad", "on"))
                enter(inner)
                if fails:
                    raise KeyError(name)
        except KeyError:
            pass
        assert records() is before

    enter(stack)
    assert records()


def test_one_switch_may_be_entered_twice() -> None:
    switch = fe.no_grad()
    with switch:
        with fe.enable_grad(), switch:
            assert not records()
        assert not records()
    assert records()


def test_set_grad_enabled_switches_at_once_as_a_statement() -> None:
    with fe.enable_grad():
        fe.set_grad_enabled(False)
        assert not records()
        with fe.enable_grad():
            assert records()
        assert not records()
        with fe.set_grad_enabled(True):
            assert records()
        assert not records()
        fe.set_grad_enabled(True)
    assert records()


def test_set_grad_enabled_as_a_decorator_switches_nothing_else() -> None:
    @fe.set_grad_enabled(False)
    def evaluate() -> bool:
        return records()

    assert records()
    assert evaluate() is evaluate() is False
    assert records()


# ---- decorators


def test_decorated_functions_keep_name_arguments_and_result() -> None:
    @fe.no_grad()
    def evaluate(a: int, *, b: int) -> tuple[int, bool]:
        """Say whether it records."""
        return a + b, records()

    assert evaluate(1, b=2) == (3, False)
    assert (evaluate.__name__, evaluate.__doc__) == ("evaluate", "Say whether it records.")
    with fe.no_grad():
        assert fe.enable_grad()(records)() is True
    assert records()


def test_decorators_need_no_parentheses() -> None:
    @fe.no_grad
    def off(x: int) -> tuple[int, bool]:
        """Say so."""
        return x, fe.is_grad_enabled()

    assert (off(3), off.__doc__, fe.is_grad_enabled()) == ((3, False), "Say so.", True)
    assert fe.enable_grad(fe.is_grad_enabled)()
    with fe.no_grad():
        assert fe.enable_grad(fe.is_grad_enabled)()
    for switch in (fe.no_grad, fe.enable_grad):
        with pytest.raises(OperandError, match="expected a function, got int"):
            switch(5)  # type: ignore[call-overload]


def test_a_decorated_function_may_call_itself() -> None:
    @fe.no_grad()
    def down(n: int) -> bool:
        with fe.enable_grad():
            return down(n - 1) if n else fe.no_grad()(records)()

    assert down(5) is False
    assert records()


def test_a_decorated_generator_is_switched_in_its_steps_and_nowhere_else() -> None:
    log: list[Any] = []

    @fe.no_grad()
    def steps() -> Iterator[Any]:
        try:
            while True:
                try:
                    log.append(((yield records()), records()))
                except KeyError:
                    log.append(("caught", records()))
        finally:
            log.append(("closed", records()))

    generator = steps()
    assert next(generator) is False
    assert records()
    assert generator.send("sent") is False
    assert generator.throw(KeyError("k")) is False
    assert records()
    generator.close()
    assert log == [("sent", False), ("caught", False), ("closed", False)]
    assert records()


def test_a_decorated_generator_ends_and_fails_like_a_plain_one() -> None:
    @fe.no_grad()
    def counts(fail: bool) -> Any:
        yield 1
        if fail:
            raise ValueError("on purpose")
        return "result"

    def outer() -> Any:
        return (yield from counts(False))

    generator = outer()
    assert next(generator) == 1
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == "result"
    with pytest.raises(ValueError, match="on purpose"):
        list(counts(True))
    assert records()


def test_a_decorated_coroutine_is_switched_until_it_is_done() -> None:
    @fe.no_grad()
    async def evaluate() -> list[bool]:
        found = [records()]
        await asyncio.sleep(0)
        return [*found, records()]

    async def main() -> tuple[Any, bool]:
        return await evaluate(), records()

    assert asyncio.run(main()) == ([False, False], True)


def test_a_decorated_async_generator_is_refused() -> None:
    with pytest.raises(OperandError, match="async generator"):

        @fe.no_grad()
        async def steps() -> AsyncIterator[int]:
            yield 1


# ---- threads and tasks


def test_threads_start_on_their_own() -> None:
    """As in PyTorch, a thread does not inherit the switches of the one that started it."""
    with fe.no_grad(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(records).result() is True
        assert not records()


def test_threads_never_see_each_other() -> None:
    turn = threading.Barrier(4)
    wrong: list[str] = []

    def work(name: str) -> None:
        for _ in range(200):
            with SWITCHES[name]():
                turn.wait()
                if records() is not (name in ("enable_grad", "on")):
                    wrong.append(name)
                turn.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in SWITCHES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_tasks_inherit_and_never_see_each_other() -> None:
    async def evaluate(found: list[bool]) -> None:
        with fe.no_grad():
            for _ in range(5):
                await asyncio.sleep(0)
                found.append(records())

    async def train(found: list[bool]) -> None:
        for _ in range(10):
            await asyncio.sleep(0)
            found.append(records())

    async def main() -> tuple[list[bool], list[bool], list[bool]]:
        off: list[bool] = []
        on: list[bool] = []
        inherited: list[bool] = []
        await asyncio.gather(evaluate(off), train(on))
        with fe.no_grad():
            task = asyncio.create_task(train(inherited))
        await task
        return off, on, inherited

    assert asyncio.run(main()) == ([False] * 5, [True] * 10, [False] * 10)


def test_a_generator_that_ends_in_another_thread_harms_nobody() -> None:
    def inside() -> Iterator[bool]:
        with fe.no_grad():
            yield records()

    generator = inside()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(next, generator).result() is False
    generator.close()
    assert records()


# ---- observers and interposers


class Named(Interposer):
    def __init__(self, name: str, rank: int, log: list[str]) -> None:
        self.name, self.rank, self.log = name, rank, log

    def __call__(self, op: Op[..., Any], args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        self.log.append(f"{self.name} {op.name}")
        return op(*args, **attrs)


def test_interposers_nest_by_rank_whatever_the_order() -> None:
    log: list[str] = []
    x = fe.ones(2)
    capture, autocast = Named("capture", 3, log), Named("autocast", 0, log)
    with interposing(capture), interposing(autocast), interposing(Named("profiler", 2, log)):
        assert (x + x).tolist() == [2.0, 2.0]
    assert log == ["autocast core.add", "profiler core.add", "capture core.add"]
    x + x
    assert len(log) == 3
    assert not current().special


def test_an_interposer_may_change_the_call() -> None:
    class Doubled(Interposer):
        def __call__(self, op: Op[..., Any], args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
            return op(*args, **attrs) * 2

    x = fe.ones(2, requires_grad=True)
    with interposing(Doubled()):
        y = x + 1
    assert y.tolist() == [4.0, 4.0]
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_backward_runs_without_autocast_and_with_the_rest() -> None:
    log: list[str] = []
    x = fe.ones(2, requires_grad=True)
    with interposing(Named("autocast", 0, log)), interposing(Named("profiler", 2, log)):
        y, seed = (x * 3).sum(), fe.tensor(1.0)
        assert "autocast core.multiply" in log
        log.clear()
        y.backward(seed)
    assert "profiler core.multiply" in log
    assert {line.split()[0] for line in log} == {"profiler"}


def test_a_context_made_early_takes_the_mode_that_it_is_entered_in() -> None:
    log: list[str] = []

    class Watch(Observer):
        def ran(self, op: Any, device: Any, native: bool) -> None:
            log.append(op.name)

    for context in (observing(Watch()), interposing(Named("x", 2, log)), fe.strict()):
        with fe.no_grad(), context:
            assert not fe.is_grad_enabled()
            fe.ones(1, requires_grad=True) + 1
        assert fe.is_grad_enabled()
    assert "core.add" in log


def test_placement_counts_and_strict_refuses() -> None:
    x = fe.ones(2, 3)
    with fe.placement() as seen:
        x + x
        x.mean()
        x.mean()
    assert (seen.native["core.add"], seen.decomposed["core.mean"]) == (1, 2)
    assert seen.native["core.sum"] == 2
    lines = str(seen).splitlines()
    assert lines[0].split() == ["op", "native", "decomposed"]
    assert ["core.mean", "0", "2"] in [line.split() for line in lines]
    with fe.strict():
        x + x
        with pytest.raises(StrictError, match="core.mean.*'reference'"):
            x.mean()
    x.mean()


@contextmanager
def unsettled() -> Iterator[None]:
    with fe.no_grad():
        yield


def test_contexts_built_on_switches() -> None:
    with unsettled():
        assert not records()
    assert records()


def test_what_is_no_switch_is_refused() -> None:
    with pytest.raises(OperandError, match="^set_grad_enabled: expected True or False, got 'no'"):
        fe.set_grad_enabled("no")  # type: ignore[arg-type]
    with pytest.raises(OperandError, match="^no_grad: expected a function, got int"):
        fe.no_grad()(5)  # type: ignore[type-var]
    assert fe.is_grad_enabled()
