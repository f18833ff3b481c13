"""The pools under ThreadSanitizer, as a C program of their own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCES = [HERE / "race.c", *[HERE.parent / "csrc" / name for name in ("threads.c", "pool.c")]]


@pytest.mark.slow
def test_the_pools_have_no_races(tmp_path):
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed")
    program = tmp_path / "race"
    flags = ["-std=c11", "-g", "-O1", "-fsanitize=thread", "-pthread"]
    built = subprocess.run(
        [compiler, *flags, f"-I{HERE.parent / 'csrc'}", "-o", program, *SOURCES],
        capture_output=True,
        text=True,
        check=False,
    )
    if "cannot find" in built.stderr:
        pytest.skip("ThreadSanitizer's library is not installed")
    assert built.returncode == 0, built.stderr
    # Without a fixed layout of memory the sanitizer does not start on new kernels.
    fixed = ["setarch", "-R"] if shutil.which("setarch") else []
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1"}
    found = subprocess.run(
        [*fixed, program], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout == "0 faults\n"
