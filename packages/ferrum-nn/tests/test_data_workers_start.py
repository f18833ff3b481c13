"""Worker processes of a busy parent: with threads of BLAS and of the device cpu, and with MPI."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import worker_sets as sets

METHODS = ["fork", "forkserver", "spawn"]
DEVICE = "cpu" if importlib.util.find_spec("ferrum_cpu") else "reference"
MPI = """import os
with open(os.environ["FERRUM_TEST_IMPORTS"], "a") as file:
    print(os.getpid(), file=file)
"""


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """What a training with a package mpi4py prints, and which processes imported that."""
    folder = tmp_path_factory.mktemp("busy")
    (folder / "mpi4py").mkdir()
    (folder / "mpi4py/__init__.py").write_text("")
    (folder / "mpi4py/MPI.py").write_text(MPI)
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        "FERRUM_TEST_IMPORTS": str(folder / "imports"),
        "FERRUM_DEVICE": DEVICE,
        "OPENBLAS_NUM_THREADS": "4",
        "OMPI_COMM_WORLD_RANK": "0",  # as under mpiexec
        "PMI_RANK": "0",
    }
    done = subprocess.run(
        [sys.executable, sets.__file__, "busy", *METHODS],
        env=env,
        cwd=Path(sets.__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    found = {method: rest for method, *rest in map(json.loads, done.stdout.splitlines())}
    return found, (folder / "imports").read_text().split()


@pytest.mark.parametrize("method", METHODS)
def test_workers_start_after_work_with_many_threads(method, busy):
    seconds, batches = busy[0][method]
    assert [batch[:3] for batch in batches] == [[DEVICE, 256.0**3, 600.0]] * 4
    assert seconds < 10


def test_no_worker_imports_mpi(busy):
    found, imports = busy
    assert len(imports) == 1  # the parent's
    assert not any(batch[3] for name in ("forkserver", "spawn") for batch in found[name][1])
