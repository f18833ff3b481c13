"""What runs in a worker process: it makes batches until its parent hangs up."""

from __future__ import annotations

import os
import pickle
import random
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.random  # here, so that it is not imported in each process that is forked

from ferrum import default_device, manual_seed, set_default_device, set_default_dtype
from ferrum.dtypes import as_dtype
from ferrum_nn.data.fetch import EXHAUSTED, Fetch, WorkerInfo, draws_of, this_worker
from ferrum_nn.data.transport import Parcel, receive, take
from ferrum_nn.errors import WorkerError

GRACE = 0.5  # seconds that a worker has for the end of its batch when it is told to stop
Reply = tuple[str, Any]  # ("batch", it), ("exhausted", None), ("failed", (pickled error, text))


@dataclass(frozen=True)
class Recipe:
    """What the workers of a loader need to know."""

    fetch: Fetch
    init: Callable[[int], Any] | None
    num_workers: int
    device: str
    dtype: str


def work(
    end: socket.socket, parents: list[socket.socket], worker_id: int, recipe: Recipe | None
) -> None:
    """Make batches. Without a `recipe` one comes first; `parents` are ends that fork left open."""
    for other in parents:
        other.close()
    end.setblocking(True)  # whatever socket.setdefaulttimeout says here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then hangs up
    os.environ["OMP_NUM_THREADS"] = "1"  # for a backend that is yet to be loaded
    try:
        unpickle = None if recipe else receive(end, private=True)
    except (EOFError, OSError):
        return
    tasks: SimpleQueue[bytearray | None] = SimpleQueue()
    stopped = threading.Event()
    threading.Thread(target=_listen, args=(end, tasks, stopped), daemon=True).start()
    worker = _Worker(worker_id, unpickle or (lambda: recipe))
    while (task := tasks.get()) is not None and not stopped.is_set():
        reply = worker.answer(task)
        try:
            if reply is not None:
                _send(end, reply)
        except OSError:  # the parent hung up
            return


def _listen(
    end: socket.socket, tasks: SimpleQueue[bytearray | None], stopped: threading.Event
) -> None:
    """Take in tasks at once, so that the parent never waits, and leave when it hangs up or dies."""
    try:
        while True:
            tasks.put(take(end)[0])
    except (EOFError, OSError):
        stopped.set()
        tasks.put(None)
    time.sleep(GRACE)
    os._exit(1)


def _send(end: socket.socket, reply: Reply) -> None:
    try:
        parcel = Parcel(reply)
    except Exception as error:  # the batch cannot be pickled, or there is no memory left
        parcel = Parcel(_failed(error))
    try:
        parcel.send(end)
    finally:
        parcel.close()


def _failed(error: BaseException) -> Reply:
    """Return an error and its traceback; no error, where it would not survive the journey."""
    text = "".join(traceback.format_exception(error))
    try:
        data = None if isinstance(error, StopIteration) else pickle.dumps(error)
        pickle.loads(data or b"")
    except Exception:
        return "failed", (None, text)
    return "failed", (data, text)


class _Worker:
    """A worker's state. What goes wrong before the first batch is its first answer."""

    def __init__(self, worker_id: int, recipe: Callable[[], Any]) -> None:
        self.id = worker_id
        self.load: Callable[[], Any] | None = recipe
        self.failure: Reply | None = None

    def answer(self, task: bytearray) -> Reply | None:
        """Return the answer to a task; the beginning of a pass has none."""
        try:
            number, content = pickle.loads(task)
        except Exception as error:  # a sampler may give objects that are known to the parent alone
            return _failed(error)
        if number is not None:
            return self.batch(number, content)
        self.begin(content)
        return None

    def begin(self, seed: int) -> None:
        """Begin a pass; before the first one, load the data set and make the process ready."""
        try:
            if self.load is not None:
                self._make_ready(self.load(), seed)
                self.load = None
            self.seed = seed
            self.fetch.start()
        except Exception as error:
            self.failure = _failed(error)

    def _make_ready(self, recipe: Recipe, seed: int) -> None:
        set_default_device(recipe.device)
        set_default_dtype(as_dtype(recipe.dtype))
        default_device().backend.set_num_threads(1)
        self.fetch = recipe.fetch
        own = seed + self.id
        random.seed(own)
        np.random.seed(own & 0xFFFFFFFF)
        manual_seed(own)
        this_worker["info"] = WorkerInfo(self.id, recipe.num_workers, own, self.fetch.dataset)
        if recipe.init is not None:
            recipe.init(self.id)

    def batch(self, number: int, indices: Any) -> Reply:
        """Return the answer to one task."""
        if self.failure is not None:
            return self.failure
        try:
            with draws_of(self.seed, number):
                batch = self.fetch(indices)
            return ("exhausted", None) if batch is EXHAUSTED else ("batch", batch)
        except Exception as error:
            return _failed(error)


def raise_failure(content: tuple[bytes | None, str], worker_id: int, pid: int | None) -> None:
    """Raise a worker's error here, with its traceback as a note."""
    data, text = content
    note = f"DataLoader: raised in worker {worker_id} (pid {pid}):\n{text}"
    error: Any = None
    if data is not None:
        try:
            error = pickle.loads(data)
        except Exception:  # its class can be found in the worker alone
            error = None
    if not isinstance(error, Exception):
        raise WorkerError(note, worker_id, pid)
    error.add_note(note)
    raise error
