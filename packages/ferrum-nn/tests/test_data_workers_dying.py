"""Worker processes that fail, die, hang or lose their parent; nothing is left behind."""

import contextlib
import functools
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import worker_sets as sets
from worker_sets import gone

import ferrum as fe
from ferrum.errors import ArgumentError, GradientError, OperandError
from ferrum_nn.data import DataLoader, TensorDataset, WorkerError, workers

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


MAINS = {
    "fork": signal.SIGKILL,
    "forkserver": signal.SIGKILL,
    "spawn": signal.SIGKILL,
    "forkserver, Ctrl-C": signal.SIGINT,
}


@pytest.fixture(scope="module")
def mains(tmp_path_factory):
    """Trainings whose workers hold a lock: starting takes a while, so all start at once."""
    lock = tmp_path_factory.mktemp("mains") / "lock"
    children = {
        name: subprocess.Popen(
            [sys.executable, sets.__file__, "main", name.split(",")[0], str(lock)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(sets.__file__).parent,
            start_new_session=True,
        )
        for name in MAINS
    }
    yield children
    for child in children.values():
        child.kill()
        child.communicate()


@pytest.fixture(autouse=True)
def leftovers(mains):
    with sets.nothing_left():
        yield


@pytest.mark.parametrize(
    ("method", "last"),
    [("fork", 1), ("forkserver", 1), pytest.param("spawn", 0, marks=pytest.mark.slow)],
)
def test_a_killed_worker_is_named(method, last):
    loader = DataLoader(
        sets.Kinds(1000),
        num_workers=last + 1,
        collate_fn=sets.pid_batch,
        multiprocessing_context=method,
    )
    iterator = iter(loader)
    victim = [next(iterator) for _ in range(last + 1)][-1]
    os.kill(victim, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(
        WorkerError, match=rf"worker {last} \(pid {victim}\) was killed by signal 9 \(SIGKILL\)"
    ) as caught:
        list(iterator)
    assert time.monotonic() - start < 2
    assert (caught.value.worker_id, caught.value.pid, caught.value.signal) == (last, victim, 9)


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_worker_killed_while_another_is_waited_for(method):
    data = sets.Broken(time.sleep, 60)
    loader = DataLoader(data, 1, sampler=[5, 1, 5], num_workers=2, multiprocessing_context=method)
    iterator = iter(loader)
    victim = iterator.batches.pool.workers[1].pid
    os.kill(victim, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(WorkerError, match=rf"worker 1 \(pid {victim}\)"):
        next(iterator)
    assert time.monotonic() - start < 3  # 2 s to be told, 1 s for the sleeper to go


def test_a_worker_that_leaves():
    loader = DataLoader(sets.Broken(os._exit, 3), num_workers=2)
    with pytest.raises(WorkerError, match=r"worker 1 \(pid \d+\) ended with exit code 3"):
        list(loader)


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_what_a_worker_raises_is_raised_here(method):
    loader = DataLoader(sets.Broken(sets.lookup), num_workers=2, multiprocessing_context=method)
    with pytest.raises(KeyError, match="missing") as caught:
        list(loader)
    (note,) = caught.value.__notes__
    assert note.startswith("DataLoader: raised in worker 1 (pid")
    assert 'return {}["missing"]' in note
    assert "Traceback (most recent call last)" in note


@pytest.mark.parametrize("act", [sets.odd, functools.partial(sets.raise_, StopIteration(3))])
def test_an_error_that_cannot_travel_comes_as_text(act):
    with pytest.raises(WorkerError, match="(?s)raised in worker 1.*(OddError: odd|StopIteration)"):
        list(DataLoader(sets.Broken(act), num_workers=2))


def test_a_batch_that_cannot_be_pickled():
    with pytest.raises(AttributeError, match="local object"):
        list(DataLoader(sets.Kinds(2), collate_fn=sets.unpicklable, num_workers=1))
    grad = TensorDataset(fe.ones(4, requires_grad=True) * 2)
    loader = DataLoader(grad, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(GradientError, match="only leaves can be pickled"):
        list(loader)


def test_errors_before_the_first_batch():
    loader = DataLoader(sets.Kinds(2), num_workers=1, worker_init_fn=sets.bad_init)
    with pytest.raises(ValueError, match="no data for worker 0"):
        list(loader)
    with pytest.raises(OperandError, match="must be pickled .*multiprocessing_context='fork'"):
        iter(DataLoader(sets.Kinds(2), num_workers=1, collate_fn=lambda batch: batch))
    assert list(
        DataLoader([1], num_workers=1, collate_fn=lambda b: b, multiprocessing_context="fork")
    ) == [[1]]
    with pytest.raises(ArgumentError, match="a worker process cannot have workers itself"):
        list(DataLoader([1], num_workers=1, collate_fn=sets.nested))


@pytest.mark.usefixtures("hasty")
def test_a_stuck_worker():
    loader = DataLoader(
        sets.Broken(time.sleep, 60),
        num_workers=2,
        timeout=1,
        multiprocessing_context="fork",
    )
    iterator = iter(loader)
    for _ in range(5):
        next(iterator)
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"worker 1 \(pid \d+\) gave no batch .* of 1 s"):
        next(iterator)
    assert time.monotonic() - start < 2


def test_the_sampler_fails():
    def order():
        yield from (1, 2)
        raise RuntimeError("no more")

    loader = DataLoader(sets.Kinds(9), sampler=order(), num_workers=1)
    with pytest.raises(RuntimeError, match="no more"):
        list(loader)


# ---- what takes too long, or stops half-way


@pytest.fixture
def hasty(monkeypatch):
    """A stopped worker is killed soon."""
    monkeypatch.setattr(workers, "GRACE", 0.05)


def started(timeout, **options):
    """Return a loader whose two persistent workers have made a pass, and these workers."""
    options = {"multiprocessing_context": "fork", "num_workers": 2, **options}
    loader = DataLoader(sets.Kinds(4), timeout=20, persistent_workers=True, **options)
    list(loader)
    loader._pool.timeout = timeout  # from now on, for starting may take longer
    return loader, loader._pool.workers


def fails(act, pattern, seconds):
    """Check that it raises a WorkerError in time, and return it."""
    start = time.monotonic()
    with pytest.raises(WorkerError, match=pattern) as caught:
        act()
    assert time.monotonic() - start < seconds
    return caught.value


@pytest.mark.usefixtures("hasty")
def test_a_pass_left_with_a_stuck_worker():
    loader = DataLoader(
        sets.Broken(time.sleep, 60),
        num_workers=2,
        sampler=[1, 5],
        timeout=20,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    next(iter(loader))
    loader._pool.timeout = 0.3
    fails(lambda: iter(loader), r"worker 1 \(pid \d+\) gave no batch .* of 0.3 s", 1)
    assert next(iter(loader)).tolist() == [1]  # of new workers
    loader._pool.stop()


def half_sent(timeout):
    """Return the loader's iterator and its workers; the first is stopped while it sends a batch."""
    loader, pool = started(timeout, collate_fn=sets.long)
    iterator = iter(loader)
    poll = select.poll()
    poll.register(pool[0].end, select.POLLIN)
    assert poll.poll(5000)
    sets.stop(pool[0].pid)
    return iterator, pool


@pytest.mark.usefixtures("hasty")
def test_a_pass_left_with_a_dead_worker():
    iterator, pool = half_sent(0)
    threading.Timer(0.1, os.kill, (pool[1].pid, signal.SIGKILL)).start()
    fails(lambda: iter(iterator.loader), "worker 1 .* signal 9", 2)


@pytest.mark.usefixtures("hasty")
def test_a_worker_that_stops_while_it_sends():
    iterator, pool = half_sent(0.3)
    fails(lambda: next(iterator), rf"worker 0 \(pid {pool[0].pid}\) gave no batch .* 0.3 s", 1)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_death_while_another_sends(victim):
    iterator, pool = half_sent(0)
    threading.Timer(0.1, os.kill, (pool[victim].pid, signal.SIGKILL)).start()
    fails(lambda: next(iterator), f"worker {victim} .* signal 9", 2)


@pytest.mark.usefixtures("hasty")
def test_a_worker_that_takes_no_tasks():
    batches = [[0, 1]] * 2
    loader, pool = started(0.3, batch_sampler=batches)
    batches[:] = [[0] * 500_000] * 2  # more than a socket holds
    sets.stop(pool[0].pid)
    fails(lambda: iter(loader), "worker 0 .* within the timeout of 0.3 s", 1)


@pytest.mark.parametrize("number", [signal.SIGRTMIN + 5, signal.SIGTERM])
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_signals_with_and_without_a_name(number, method):
    loader, pool = started(0, multiprocessing_context=method)
    os.kill(pool[1].pid, number)
    text = rf"worker 1 \(pid {pool[1].pid}\) was killed by signal {int(number)}"
    name = r" \(SIGTERM\)" if number == signal.SIGTERM else ""
    error = fails(lambda: list(loader), f"{text}{name}$", 2)
    assert error.signal == number


def test_a_worker_whose_own_child_lives_on():
    loader, pool = started(0, collate_fn=sets.parent, num_workers=1)
    iterator = iter(loader)
    next(iterator)
    os.kill(pool[0].pid, signal.SIGKILL)
    fails(lambda: list(iterator), "worker 0 .* signal 9", 2)


def test_a_forked_copy_of_a_loader_ends_in_silence():
    """Of a warning there might come an import within an import, which breaks both."""
    options = {"num_workers": 1, "multiprocessing_context": "fork"}
    gc.disable()
    try:
        other = iter(DataLoader(sets.Kinds(4), **options))
        other.loader.other = other
        pid = other.batches.pool.workers[0].pid
        del other  # which is garbage, here and in the worker
        assert list(DataLoader([1], collate_fn=sets.collected, **options)) == [[]]
        assert sets.state(pid) != "Z"
    finally:
        gc.enable()


def test_an_index_that_no_worker_can_unpickle():
    loader = DataLoader(sets.Kinds(4), sampler=[sets.Unknown()], num_workers=1, timeout=5)
    with pytest.raises(KeyError, match="missing"):
        list(loader)


def test_a_worker_may_have_a_default_timeout_of_sockets():
    """Which is none of the loader's affair."""
    options = {"collate_fn": sets.odd_batch, "worker_init_fn": sets.default_timeout}
    for _ in DataLoader(sets.Kinds(3), num_workers=1, prefetch_factor=1, **options):
        time.sleep(0.1)
    assert socket.getdefaulttimeout() is None


# ---- the parent


@pytest.mark.parametrize("name", MAINS)
def test_when_the_parent_dies_so_do_the_workers(name, mains):
    child = mains[name]
    workers = [int(child.stdout.readline()) for _ in range(2)]
    try:
        start = time.monotonic()
        if MAINS[name] == signal.SIGINT:
            os.killpg(child.pid, signal.SIGINT)  # as a terminal does
            _, errors = child.communicate(timeout=10)
            assert time.monotonic() - start < 2
            assert "KeyboardInterrupt" in errors
        else:
            child.kill()
            child.communicate(timeout=10)
        assert gone(workers, 5)
    finally:
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
