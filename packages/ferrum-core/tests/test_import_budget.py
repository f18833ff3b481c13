"""What `import ferrum` costs, and what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.serial

BUDGET = 0.060  # seconds beyond NumPy's own import
STARTS = 7

# Loaded when they are first needed: plugins, what finds them, what files and reports need.
LAZY = (
    "ferrum_cpu",
    "ferrum_cuda",
    "ferrum_nn",
    "ferrum.cli",
    "ferrum.doctor",
    "ferrum.new_backend",
    "ferrum.probe",
    "ferrum.reference",
    "ferrum.safetensors_io",
    "ferrum.testing",
    "importlib.metadata",
    "json",
    "mmap",
    "pluggy",
    "pytest",
    "safetensors",
    "torch",
)


def run(code: str, *, device: str | None = "reference") -> str:
    """Return what a fresh interpreter prints; bytecode is kept, as on a user's machine."""
    dropped = {"PYTHONDONTWRITEBYTECODE", "FERRUM_DEVICE", "COVERAGE_PROCESS_START"}
    env = {name: value for name, value in os.environ.items() if name not in dropped}
    env |= {} if device is None else {"FERRUM_DEVICE": device}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def seconds(code: str) -> float:
    """Return the processor's time for a start: what else the machine does, does not count."""
    return float(run(f"{code}; import time; print(time.process_time())"))


def test_import_costs_at_most_60_ms_beyond_numpy() -> None:
    run("import ferrum")  # writes the bytecode
    numpy, ferrum = [], []
    for _ in range(STARTS):
        numpy.append(seconds("import numpy"))
        ferrum.append(seconds("import ferrum"))
    beyond = min(ferrum) - min(numpy)
    assert beyond <= BUDGET, (
        f"import ferrum: {1000 * beyond:.0f} ms beyond the {1000 * min(numpy):.0f} ms of NumPy"
    )


def test_import_loads_nothing_that_can_wait() -> None:
    found = run(
        "import numpy, sys; before = set(sys.modules); import ferrum; "
        "print(*(set(sys.modules) - before))"
    ).split()
    early = [name for name in found if name.startswith(LAZY)]
    assert "ferrum.tensor" in found  # so that the question has been asked
    assert early == []


@pytest.mark.parametrize("first", ["import ferrum.op", "from ferrum import ops", "import ferrum"])
def test_the_first_tensor_loads_the_backend_and_no_other_plugin(first: str) -> None:
    loaded = "*[name in sys.modules for name in ('ferrum.reference', 'ferrum_nn')]"
    code = (
        f"{first}; import sys; import ferrum as fe; print({loaded}); fe.zeros(1); print({loaded})"
    )
    assert run(code).split() == ["False", "False", "True", "False"]


def test_a_name_is_no_device_until_it_is_asked_for() -> None:
    """A wrong FERRUM_DEVICE does not break the import, only the first tensor."""
    code = "import ferrum as fe\ntry:\n    fe.zeros(1)\nexcept fe.FerrumError as e:\n    "
    code += "print(type(e).__name__, e)"
    said = run(code, device="warp")
    assert said.startswith("DeviceError no backend for device 'warp'")
