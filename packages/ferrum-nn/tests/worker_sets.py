"""Data sets for tests of worker processes, which import this module by its name."""

import contextlib
import fcntl
import gc
import json
import os
import signal
import socket
import sys
import time
import warnings
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import numpy as np

import ferrum as fe
from ferrum_nn.data import DataLoader, Dataset, IterableDataset, get_worker_info, workers


class Noisy(Dataset):
    """Images that draw, of which a batch of 8 is too large for the pipe; numbers; strings."""

    def __init__(self, size=29):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, i):
        return {"x": fe.rand(50, 60) + i, "i": i, "name": f"sample {i}"}


class Counting(IterableDataset):
    """0 to size - 1, each worker its share."""

    def __init__(self, size=20):
        self.size = size

    def __iter__(self):
        info = get_worker_info()
        return iter(
            range(self.size) if info is None else range(info.id, self.size, info.num_workers)
        )


class Broken(Noisy):
    """Does something when sample 5 is asked for."""

    def __init__(self, act, *arguments):
        super().__init__(40)
        self.act, self.arguments = act, arguments

    def __getitem__(self, i):
        if i == 5:
            self.act(*self.arguments)
        return i


class OddError(Exception):
    """Cannot be unpickled from its arguments."""

    def __init__(self, one, two):
        super().__init__("odd")


class TwoPids(Noisy):
    def __getitem__(self, i):
        return i, os.getpid()


class Kinds(Noisy):
    def __getitem__(self, i):
        return i


def odd_batch(samples):
    """One of each dtype, size zero, no axes, large and small, arrays and tensors that want grad."""
    large = np.arange(300_000, dtype=np.int32)
    tensors = [fe.ones(3, 2, dtype=getattr(fe, n)) for n in ("bfloat16", "float16", "bool", "int8")]
    return {
        "tensors": (*tensors, fe.zeros(0, 3), fe.tensor(5), fe.arange(200_000)[::2]),
        "arrays": [large, large[:0], np.float32(2)],
        "leaf": fe.ones(70_000, requires_grad=True),
        "samples": samples,
    }


def unpicklable(samples):
    return lambda: samples


def raise_(error):
    raise error


def lookup():
    return {}["missing"]


def odd():
    raise OddError(1, 2)


def pid_batch(samples):
    return os.getpid()


def facts(samples):
    """What a worker is."""
    info = get_worker_info()
    return {
        "info": (info.id, info.num_workers, len(info.dataset)),
        "seed": info.seed,
        "threads": fe.get_num_threads(),
        "device": str(fe.default_device()),
        "mpi": any(name.split(".")[0] == "mpi4py" for name in sys.modules),
        "numpy": np.random.rand(),
        "mark": os.environ.get("FERRUM_TEST_MARK"),
    }


def mark(worker_id):
    os.environ["FERRUM_TEST_MARK"] = f"worker {worker_id}"


def bad_init(worker_id):
    raise ValueError(f"no data for worker {worker_id}")


def long(samples):
    """More than a socket holds, and in the pickle itself."""
    return bytes(8 << 20)


def parent(samples):
    """Have a child that outlives this worker."""
    child = os.fork()
    if not child:
        time.sleep(4)
        os._exit(0)
    return child


def default_timeout(worker_id):
    socket.setdefaulttimeout(0.05)


def collected(samples):
    """Collect garbage; return what is said of sockets in it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        gc.collect()
    return [text for each in said if "socket" in (text := str(each.message))]


class Unknown:
    """An index that can be unpickled by no worker."""

    def __reduce__(self):
        return lookup, ()


def nested(samples):
    return list(DataLoader(range(3), num_workers=1))


def hold(lock, samples):
    """Hold a lock on a file for as long as this process lives, and take long."""
    handle = os.open(lock, os.O_RDWR | os.O_CREAT)
    fcntl.lockf(handle, fcntl.LOCK_SH)
    os.write(1, b"%d\n" % os.getpid())
    time.sleep(60)


class Holding:
    """A collate_fn: `hold` with a path."""

    def __init__(self, lock):
        self.lock = lock

    def __call__(self, samples):
        hold(self.lock, samples)


def main(method, lock):
    """A training that never gets its first batch."""
    loader = DataLoader(
        range(100), 4, num_workers=2, collate_fn=Holding(lock), multiprocessing_context=method
    )
    with contextlib.suppress(StopIteration):
        next(iter(loader))


def product(samples):
    """What a worker computes with many threads, and whether it has MPI."""
    whole = fe.ones(256, 256) @ fe.ones(256, 256)
    return (
        str(whole.device),
        float(whole.sum()),
        float((BIG @ BIG).max()),
        facts(samples)["mpi"],
    )


BIG = np.ones((600, 600), dtype=np.float32)


def busy(*methods):
    """A training that keeps all threads of BLAS busy, and has MPI, before it starts workers."""
    import mpi4py.MPI  # noqa: F401 - which writes down who imports it

    fe.set_num_threads(4)
    for _ in range(5):
        BIG @ BIG
        fe.ones(600, 600) @ fe.ones(600, 600)
    for method in methods:
        start = time.monotonic()
        loader = DataLoader(
            range(4), num_workers=1, collate_fn=product, multiprocessing_context=method, timeout=20
        )
        found = list(loader)
        print(json.dumps([method, time.monotonic() - start, found]), flush=True)


# ---- what becomes of processes


def stop(pid):
    """Stop a process, all of its threads."""
    os.kill(pid, signal.SIGSTOP)
    for each in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            while each.read_text().rpartition(")")[2].split()[0] != "T":
                time.sleep(0.001)


def descendants():
    """Return the processes that come from this one: of its session, and not multiprocessing's."""
    parents = {}
    for each in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            _, of, _, session = each.read_text().rpartition(")")[2].split()[:4]
            if int(session) == os.getsid(0):
                parents[int(each.parent.name)] = int(of)
    found = {os.getpid()}
    while more := {child for child, of in parents.items() if of in found} - found:
        found |= more
    servers = (forkserver._forkserver._forkserver_pid, resource_tracker._resource_tracker._pid)
    return found - {os.getpid(), *servers}


def state(pid):
    """Return a process's state, a letter; Z, a zombie, where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def within(seconds, condition):
    """Return whether something comes true in some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def gone(pids, seconds=5):
    """Return whether processes end within some seconds."""
    return within(seconds, lambda: all(state(pid) == "Z" for pid in pids))


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@contextlib.contextmanager
def nothing_left():
    """Fail where processes, descriptors or files in shared memory are left behind."""
    workers._preload()
    forkserver.ensure_running()
    before, shared, files = descendants(), set(Path("/dev/shm").iterdir()), descriptors()
    yield
    if not _clean(before, shared, files):
        gc.collect()  # which takes long, but an error may hold a loader
    assert within(2, lambda: _clean(before, shared, files))


def _clean(before, shared, files):
    memory = set(Path("/dev/shm").iterdir())
    return descendants() <= before and memory <= shared and descriptors() <= files


if __name__ == "__main__":
    import worker_sets  # so that classes pickle under a name that workers find

    signal.signal(signal.SIGINT, signal.default_int_handler)
    getattr(worker_sets, sys.argv[1])(*sys.argv[2:])
