"""How many instructions the short paths take: no clock, so that noise cannot hide what they cost.

The counts that are allowed are in instructions.json. Where they rise for a good reason, or fall:

    FERRUM_RENEW=1 pytest packages/ferrum-cpu/tests/test_instructions.py
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
STORED = HERE / "instructions.json"
RISE = 0.03

# One thread, one set of kernels, and one order of the dicts: the same instructions every time.
# Valgrind knows no AVX-512.
FIXED = {
    "FERRUM_CPU_ISA": "avx2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}


def count(folder):
    """Return the instructions of a call, by what is called."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("valgrind is not installed")
    command = [valgrind, "--tool=callgrind", "--dump-before=getppid"]
    command += [f"--callgrind-out-file={folder}/counted", sys.executable, "instructions.py"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    found = subprocess.run(
        command,
        cwd=HERE,
        env={**inherited, **FIXED},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    counts = {}
    for number, line in enumerate(found.stdout.splitlines()):
        name, calls = line.split("\t")
        # of three dumps: what came before, N calls, 2N calls
        once, twice = (total(folder / f"counted.{3 * number + part}") for part in (2, 3))
        counts[name] = round((twice - once) / int(calls))
    return counts


def total(path):
    """Return what callgrind counted, which it says at the end of the file."""
    (found,) = re.findall(r"^totals: (\d+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return int(found)


@pytest.mark.slow
def test_short_paths_stay_short(tmp_path):
    version = ".".join(platform.python_version_tuple()[:2])
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    renew = "FERRUM_RENEW" in os.environ
    if version not in stored and not renew:
        pytest.skip(f"counts are stored for Python {', '.join(stored)}, not {version}")
    if "FERRUM_SANITIZED" in os.environ:
        pytest.skip("valgrind does not run sanitized code")
    counts = count(tmp_path)
    if renew:
        stored[version] = counts
        STORED.write_text(json.dumps(stored, indent=4) + "\n", encoding="utf-8")
    allowed = stored[version]
    assert counts.keys() == allowed.keys(), f"other work is counted; renew {STORED.name}"
    risen = [
        f"{name}: {now:,} instructions a call, {allowed[name]:,} before"
        for name, now in counts.items()
        if now > allowed[name] * (1 + RISE)
    ]
    assert not risen, "\n".join([*risen, f"If that is meant, set FERRUM_RENEW=1: {__doc__}"])
