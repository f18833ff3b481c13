"""The tests of ferrum-cpu run on the device `cpu`."""

import os
import sys
from pathlib import Path

os.environ["FERRUM_DEVICE"] = "cpu"
sys.path.insert(0, str(Path(__file__).parent))  # for heavy.py, which child processes import

import pytest
from hypothesis import settings

from ferrum_cpu.library import ISAS, isa, lib

settings.register_profile("same every time", derandomize=True, deadline=None, database=None)
settings.load_profile("same every time")


def _runs(name):
    found = bool(lib.isa_choose(name.encode()))
    lib.isa_choose(isa.encode())
    return found


RUNNABLE = [name for name in ISAS if _runs(name)]


@pytest.fixture(params=ISAS)
def each_isa(request):
    """Run a test with each variant of the kernels that this processor runs."""
    if request.param not in RUNNABLE:
        pytest.skip(f"this processor does not run {request.param}")
    lib.isa_choose(request.param.encode())
    yield request.param
    lib.isa_choose(isa.encode())


@pytest.fixture
def threads():
    """Set the number of threads; what it was comes back after the test."""
    before = lib.threads_get()
    yield lib.threads_set
    lib.threads_set(before)
