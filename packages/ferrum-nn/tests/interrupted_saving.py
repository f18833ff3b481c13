"""Ends a saving process at many moments, and looks each time whether anything is lost.

    python interrupted_saving.py kill|stop|fail|room FOLDER

kill: SIGKILL at a random moment. stop: the process is gone before its k-th call of the system, for
each k. fail: that call raises instead. room: files cannot grow beyond some size. Prints how often.
"""

import contextlib
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

os.environ["FERRUM_DEVICE"] = "reference"

import ferrum as fe
import ferrum_nn as nn

KEEP = 2
CALLS = ["open", "write", "fsync", "rename", "replace", "mkdir", "rmdir", "unlink", "close"]
REAL = {name: getattr(os, name) for name in CALLS}


def save(root: Path, step: int, size: int = 2000) -> None:
    tensors = {"w": fe.full((size,), step), "b": fe.full((3,), step)}
    nn.save_checkpoint(root, step=step, keep=KEEP, rng=False, model=tensors, optimizer=tensors)


def check(root: Path, low: int, high: int) -> None:
    """Load without a warning, and find what was saved in a step from `low` to `high`."""
    found = nn.load_checkpoint(root)
    assert low <= found.step <= high, (low, found.step, high)
    for part in ("model", "optimizer"):
        for tensor in found.values[part].values():
            assert (tensor == found.step).all(), (part, found.step)


def no_garbage(root: Path, step: int) -> None:
    save(root, step)
    names = sorted(path.name for path in root.iterdir())
    assert len(names) == KEEP and all(name.startswith("step-") for name in names), names


def count_calls(act, at: int) -> list[str]:
    """Let the `at`-th call of the system do `act` instead. Returns the list of calls so far."""
    seen: list[str] = []

    def counted(name):
        def call(*args, **kwargs):
            seen.append(name)
            if len(seen) == at:
                act(name, args)
            return REAL[name](*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, counted(name))
    return seen


def restore() -> None:
    for name in CALLS:
        setattr(os, name, REAL[name])


def child(work) -> int:
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(7)
    return pid


def kill(root: Path) -> int:
    draw = random.Random(5)
    for _ in range(50):
        last = nn.list_checkpoints(root)[-1]
        told, tell = os.pipe()

        def work(step=last, tell=tell):
            while True:
                step += 1
                save(root, step)
                os.write(tell, step.to_bytes(8, "little"))

        pid = child(work)
        os.close(tell)
        os.read(told, 8)  # it is under way
        time.sleep(draw.random() * 0.02)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        rest = b"".join(iter(lambda told=told: os.read(told, 4096), b""))
        os.close(told)
        finished = int.from_bytes(rest[-8:], "little") if rest else last + 1
        check(root, finished, finished + 1)
    no_garbage(root, finished + 2)
    return 50


def stop(root: Path) -> int:
    at, step = 0, nn.list_checkpoints(root)[-1]
    while True:
        at, step = at + 1, step + 1

        def work(at=at, step=step):
            count_calls(lambda *_: os._exit(9), at)
            save(root, step)

        _, status = os.waitpid(child(work), 0)
        check(root, step - 1, step)
        no_garbage(root, step + 1)
        step += 1
        if os.waitstatus_to_exitcode(status) == 7:  # it came to its end
            return at


def fail(root: Path) -> int:
    at, step = 0, nn.list_checkpoints(root)[-1]
    draw = random.Random(6)
    while True:
        at, step = at + 1, step + 1
        error = draw.choice([OSError(28, "no room"), OSError(5, "rot"), KeyboardInterrupt()])

        def act(name, args, error=error):
            if name == "close":
                REAL["close"](*args)  # it is closed all the same
            raise error

        seen = count_calls(act, at)
        with contextlib.suppress(OSError, KeyboardInterrupt):
            save(root, step)
        restore()
        check(root, step - 1, step)
        no_garbage(root, step + 1)
        step += 1
        if len(seen) < at:
            return at


def room(root: Path) -> int:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = sorted(path.name for path in root.iterdir())
    limits = [0, 1, 100, 500, 8000, 8100]
    for limit in limits:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            save(root, 999)
            raise AssertionError("it was saved")
        except OSError as error:
            assert "File too large" in str(error), error
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert sorted(path.name for path in root.iterdir()) == before
        check(root, 1, 1)
    save(root, 2)
    return len(limits)


if __name__ == "__main__":
    how, folder = sys.argv[1:]
    root = Path(folder)
    for first in range(KEEP):
        save(root, first)
    print({"kill": kill, "stop": stop, "fail": fail, "room": room}[how](root))
