"""The pools under ThreadSanitizer, as a C program of their own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parent / "csrc"


def build(folder, *sources):
    """Return the program race.c with the pools, or skip the test where it cannot be built."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed")
    program = folder / "race"
    flags = ["-std=c11", "-g", "-O1", "-fsanitize=thread", "-pthread", f"-I{CSRC}"]
    built = subprocess.run(
        [compiler, *flags, "-o", program, HERE / "race.c", *sources],
        capture_output=True,
        text=True,
        check=False,
    )
    if "cannot find" in built.stderr:
        pytest.skip("ThreadSanitizer's library is not installed")
    assert built.returncode == 0, built.stderr
    return program


def run(program):
    """Run the program, which stops at the first race."""
    # Without a fixed layout of memory the sanitizer does not start on new kernels.
    fixed = ["setarch", "-R"] if shutil.which("setarch") else []
    options = {"TSAN_OPTIONS": "halt_on_error=1:die_after_fork=0"}
    return subprocess.run(
        [*fixed, program],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "LD_PRELOAD": "", **options},
        check=False,
    )


@pytest.mark.slow
def test_the_pools_have_no_races(tmp_path):
    found = run(build(tmp_path, CSRC / "threads.c", CSRC / "pool.c"))
    assert found.returncode == 0, found.stderr
    assert found.stdout == "0 faults\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "safe", "racy"),
    [
        # the number of a round as a plain integer, read with no order
        ("threads.c", "atomic_load(&round_number)", "*(volatile unsigned *)&round_number"),
        # a lock of its own for each thread
        ("pool.c", "static pthread_mutex_t lock", "static __thread pthread_mutex_t lock"),
    ],
    ids=["round", "lock"],
)
def test_a_race_is_found(tmp_path, file, safe, racy):
    """The sanitizer sees what the atomics and the locks are for."""
    for name in ("threads.c", "pool.c"):
        text = (CSRC / name).read_text(encoding="utf-8")
        if name == file:
            assert safe in text
            text = text.replace(safe, racy)
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = run(build(tmp_path, tmp_path / "threads.c", tmp_path / "pool.c"))
    assert found.returncode
    assert "ThreadSanitizer: data race" in found.stderr
