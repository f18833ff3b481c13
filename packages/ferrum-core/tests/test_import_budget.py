"""What `import ferrum` loads: NumPy, and very little else. The system tests time it."""

from __future__ import annotations

import os
import subprocess
import sys

# Nothing of these: they take long to import, or belong to whoever asks for them.
LATER = {
    "asyncio",
    "ctypes",
    "dataclasses",
    "importlib.metadata",
    "inspect",
    "pluggy",
    "subprocess",
    "sysconfig",
    "traceback",
    "ferrum.cli",
    "ferrum.hookspecs",
    "ferrum.reference",
    "ferrum.testing",
}


def python(code: str) -> str:
    """Return what a new interpreter prints. It may write bytecode, as a user's does."""
    env = {name: each for name, each in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def loaded(module: str) -> set[str]:
    return set(python(f"import sys, {module}; print(*sys.modules)").split())


def test_nothing_is_loaded_beside_numpy_and_the_core() -> None:
    beside = loaded("ferrum") - loaded("numpy")
    packages = {name.partition(".")[0] for name in beside}
    assert packages <= {"ferrum", "ml_dtypes", "numpy", "threading", "__future__"}
    assert beside & LATER == set()
    assert "ferrum.tensor" in beside


def test_the_first_tensor_loads_its_backend() -> None:
    code = "import ferrum, sys; ferrum.zeros(1, device='reference'); print(*sys.modules)"
    assert {"pluggy", "ferrum.reference"} <= set(python(code).split())
