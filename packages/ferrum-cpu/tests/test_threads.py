"""The pool of threads: the same bits with any number of them, and processes that fork."""

import multiprocessing
import os
import subprocess
import sys
import threading

import pytest
from heavy import put_work, work

COUNTS = (1, 2, 3, 7)


def test_bits_do_not_depend_on_threads(threads):
    found = set()
    for count in COUNTS:
        threads(count)
        found.add(work())
    assert len(found) == 1


def test_python_threads_share_the_pool(threads):
    threads(2)
    expected = work()
    found = []

    def often():
        found.extend(work() for _ in range(5))

    callers = [threading.Thread(target=often) for _ in range(6)]
    for each in callers:
        each.start()
    for each in callers:
        each.join(timeout=120)
    assert len(found) == 30
    assert set(found) == {expected}


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_children_work_after_heavy_use(method, threads):
    threads(2)
    expected = work()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=put_work, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=60) == expected
        child.join(timeout=60)
        assert child.exitcode == 0
    finally:
        child.kill()
    assert work() == expected


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_fork_in_the_middle_of_other_threads_work(threads):
    threads(2)
    expected = work()
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            work()

    other = threading.Thread(target=busy)
    other.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if work() == expected else 1)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
    finally:
        stop.set()
        other.join(timeout=60)


def run(code, **environment):
    """Run Python code in a process of its own, and return what it printed."""
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_the_environment_says_how_many_threads():
    code = "from ferrum_cpu.library import lib; print(lib.threads_get())"
    assert run(code, OMP_NUM_THREADS="3") == "3"
    without = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    usual = subprocess.run(
        [sys.executable, "-c", code], env=without, capture_output=True, text=True, check=True
    )
    assert int(usual.stdout) == len(os.sched_getaffinity(0))
    assert run(code, OMP_NUM_THREADS="none") == usual.stdout.strip()


SIGNALS = """
import re
from pathlib import Path
import ferrum as fe
fe.set_num_threads(3)
x = fe.ones(300, 300)
x.exp() @ x

def status(thread):
    try:
        return (thread / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # another library's thread that has just ended

every = [status(each) for each in Path("/proc/self/task").iterdir()]
ours = [each for each in every if each.startswith("Name:\\tferrum-cpu\\n")]
blocked = [re.search(r"SigBlk:\\s*(\\w+)", each)[1] for each in ours]
print(len(ours), all(int(each, 16) >> 9 & 1 for each in blocked))  # 10 is SIGUSR1
"""


def test_workers_leave_signals_to_the_program():
    assert run(SIGNALS) == "2 True"


OUT_OF_MEMORY = """
import resource
import ferrum as fe
from ferrum.errors import OutOfMemoryError
x = fe.ones(1000, 1000)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), used + (1 << 30)))
wide = x.expand(4000, 1000, 1000)
for op, make in {"full": lambda: fe.zeros(1 << 31), "add": lambda: wide + 1,
                 "greater": lambda: wide > 0, "matmul": lambda: wide @ x,
                 "uniform": lambda: fe.rand(40000, 40000), "arange": lambda: fe.arange(1 << 31),
                 "reshape": lambda: wide.reshape(-1), "softmax": lambda: wide.softmax(-1)}.items():
    try:
        make()
    except OutOfMemoryError as error:
        said = str(error)
        assert said.startswith(f"{op}: ") and "on 'cpu'" in said, (op, said)
    else:
        raise AssertionError("there was room")
print((x @ x).sum().item())
"""


def test_out_of_memory_is_an_error_and_no_end():
    assert run(OUT_OF_MEMORY, OMP_NUM_THREADS="2") == "1000000000.0"
