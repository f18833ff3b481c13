"""Worker processes of a loader: batches are dealt out in turn, and come back in that order.

Each worker has a pair of sockets of its own: numbers of samples go one way, batches the other. The
parent waits for the worker whose turn it is, for the death of any, and no longer than `timeout`,
not in the middle of a message either; a worker whose parent hangs up leaves, whatever the reason.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import select
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from signal import Signals
from typing import Any, TypeVar

from ferrum.errors import ArgumentError, OperandError
from ferrum_nn.data.transport import Parcel, Ready, receive, send
from ferrum_nn.data.worker import GRACE, Recipe, raise_failure, work
from ferrum_nn.errors import WorkerError

PATIENCE = 2.0  # seconds after which a dying worker's exit code is waited for no longer
GLANCE = 1.0  # seconds after which one looks whether a worker is gone that a child of it outlives

T = TypeVar("T")


@dataclass(frozen=True)
class _Worker:
    id: int
    process: Any
    end: socket.socket
    pid: int
    sentinel: int


class Pool:
    """Running workers; they stop with `stop()`, or when nothing refers to the pool any more."""

    def __init__(self, recipe: Recipe, context: BaseContext, timeout: float) -> None:
        if multiprocessing.current_process().daemon:
            raise ArgumentError(
                "DataLoader: a worker process cannot have workers itself; use num_workers=0 there"
            )
        method = context.get_start_method()
        if method == "forkserver":
            _preload()
        parcel = None if method == "fork" else _packed(recipe)
        self.workers: list[_Worker] = []
        self.stop = weakref.finalize(self, _stop, self.workers, os.getpid())
        self.due: deque[_Worker] = deque()  # who owes an answer, in the order of the answers
        self.run: Run | None = None
        self.timeout = timeout
        try:
            for worker_id in range(recipe.num_workers):
                self._start(worker_id, context, recipe if parcel is None else None)
            for worker in self.workers:
                if parcel is not None:
                    self._exchange(worker, partial(parcel.send, worker.end))
        except BaseException:
            self.stop()
            raise
        finally:
            if parcel is not None:
                parcel.close()

    def _start(self, worker_id: int, context: Any, recipe: Recipe | None) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(True)  # whatever socket.setdefaulttimeout says
        theirs.setblocking(True)
        parents = [] if recipe is None else [ours, *(each.end for each in self.workers)]
        process = context.Process(
            target=work,
            args=(theirs, parents, worker_id, recipe),
            name=f"ferrum-worker-{worker_id}",
            daemon=True,
        )
        try:
            process.start()
        except (EOFError, OSError) as error:
            ours.close()
            raise WorkerError(
                f"DataLoader: worker {worker_id} cannot be started: {error!r}; a script that uses "
                f"workers needs `if __name__ == '__main__':` before what it does",
                worker_id,
            ) from error
        finally:
            theirs.close()
        self.workers.append(_Worker(worker_id, process, ours, process.pid, process.sentinel))

    def begin(self, run: Run, seed: int) -> None:
        """Begin a pass; an earlier one that was left half-way ends."""
        self.run = run
        while self.due:
            self.reply(self.due.popleft())
        for worker in self.workers:
            self.tell(worker, (None, seed))

    def tell(self, worker: _Worker, task: tuple[int | None, Any]) -> None:
        """Send a worker its task."""
        data = pickle.dumps(task, protocol=5)
        self._exchange(worker, lambda ready: send(worker.end, data, ready=ready))

    def reply(self, worker: _Worker) -> Callable[[], Any]:
        """Return a function that unpickles the worker's next answer; WorkerError without one."""

        def answer(ready: Ready) -> Callable[[], Any]:
            ready(select.POLLIN)
            return receive(worker.end, ready)

        return self._exchange(worker, answer)

    def _exchange(self, worker: _Worker, act: Callable[[Ready], T]) -> T:
        """Send or receive; WorkerError when any worker dies, or after the timeout."""
        deadline = time.monotonic() + (self.timeout or math.inf)
        try:
            return act(lambda event: self._wait(worker, event, deadline))
        except (EOFError, ConnectionError):
            raise _death(worker) from None

    def _wait(self, worker: _Worker, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(worker.end, event)
        for each in self.workers:
            poll.register(each.sentinel, select.POLLIN)
        ready: set[int] = set()
        while not ready:
            left = deadline - time.monotonic()
            if left <= 0:
                raise WorkerError(
                    f"DataLoader: worker {worker.id} (pid {worker.pid}) gave no batch within the "
                    f"timeout of {self.timeout} s",
                    worker.id,
                    worker.pid,
                )
            ready = {file for file, _ in poll.poll(math.ceil(1000 * min(left, GLANCE)))}
            for each in self.workers:
                if each.sentinel in ready or (not ready and each.process.exitcode is not None):
                    raise _death(each)


class Run:
    """One pass: an iterator of batches, numbered from `first` on."""

    def __init__(
        self,
        pool: Pool,
        batches: Iterator[Any],
        seed: int,
        first: int,
        ahead: int,
        keep: bool,
    ) -> None:
        self.pool = pool
        self.tasks = enumerate(batches, first)
        self.keep = keep
        self.over = False
        try:
            pool.begin(self, seed)
            for worker in pool.workers * ahead:
                self._assign(worker)
        except BaseException:
            pool.stop()
            raise

    def _assign(self, worker: _Worker) -> None:
        for task in self.tasks:
            self.pool.tell(worker, task)
            self.pool.due.append(worker)
            break

    def __iter__(self) -> Run:
        return self

    def __next__(self) -> Any:
        if self.over:
            raise StopIteration
        pool = self.pool
        if pool.run is not self:
            raise WorkerError(
                "DataLoader: another pass has begun with the same persistent workers, which ended "
                "this one"
            )
        try:
            while pool.due:
                worker = pool.due.popleft()
                kind, content = pool.reply(worker)()
                if kind == "failed":
                    raise_failure(content, worker.id, worker.pid)
                if kind == "batch":
                    self._assign(worker)
                    return content
        except BaseException:
            self.over = True
            pool.stop()
            raise
        self.over = True
        if not self.keep:
            pool.stop()
        raise StopIteration


def _packed(recipe: Recipe) -> Parcel:
    try:
        return Parcel(recipe)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise OperandError(
            f"DataLoader: the data set and the functions must be pickled for worker processes: "
            f"{error}; define them at the top of a module, or use multiprocessing_context='fork'"
        ) from error


def _preload() -> None:
    """Let the server of forks import this once, before it starts: workers then start at once."""
    server = forkserver._forkserver
    wanted = list(getattr(server, "_preload_modules", ["__main__"]))
    if __name__ not in wanted:
        server.set_forkserver_preload([*wanted, __name__])


def _death(worker: _Worker) -> WorkerError:
    worker.process.join(PATIENCE)
    code = worker.process.exitcode
    name = f"DataLoader: worker {worker.id} (pid {worker.pid})"
    if code is None or code >= 0:
        told = "hung up" if code is None else f"ended with exit code {code}"
        return WorkerError(
            f"{name} {told}; see what it printed. A script that uses workers needs "
            f"`if __name__ == '__main__':` before what it does",
            worker.id,
            worker.pid,
        )
    text = f"{name} was killed by signal {-code}"
    with suppress(ValueError):  # most real-time signals have no name
        text += f" ({Signals(-code).name})"
    if -code == Signals.SIGKILL:
        text += ", as the system does where memory runs out"
    return WorkerError(text, worker.id, worker.pid, -code)


def _stop(workers: list[_Worker], owner: int) -> None:
    """Hang up, which ends the workers, and see to it that they are gone."""
    if os.getpid() != owner:  # a forked copy of the loader
        for worker in workers:
            worker.end.close()
        return
    for worker in workers:
        with suppress(OSError):  # shut down, for a forked process may have the socket open still
            worker.end.shutdown(socket.SHUT_RDWR)
        worker.end.close()
    deadline = time.monotonic() + 2 * GRACE
    try:
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
    finally:  # after a second Ctrl-C too
        for worker in workers:
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join(PATIENCE)
            with suppress(ValueError):  # it does not end even when killed: a dead file system
                worker.process.close()
