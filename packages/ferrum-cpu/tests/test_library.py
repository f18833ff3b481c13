"""What is said where the C side cannot be had, and what is shown of the device where it can."""

import os
import subprocess
import sys

import pytest

from ferrum import plugins
from ferrum_cpu.library import ISAS, isa, lib

IMPORT = "import ferrum_cpu.library"


def run(code, **environment):
    """Run code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def refused(code, *words, **environment):
    """Check that code ends with a PluginError that says all this."""
    done = run(code, **environment)
    assert done.returncode == 1, done.stderr
    last = done.stderr[done.stderr.rindex("PluginError: ") :]
    for each in words:
        assert each in last


def test_an_unknown_instruction_set_is_refused():
    words = ("expected FERRUM_CPU_ISA to be one of scalar, avx2, avx512, got 'sse9'", "unset")
    refused(IMPORT, *words, FERRUM_CPU_ISA="sse9")


def test_one_that_the_processor_lacks_is_refused():
    code = """
from ferrum_cpu import _kernels
class Old:
    def __getattr__(self, name):
        return getattr(lib, name)
    def isa_choose(self, name):
        return _kernels.ffi.NULL
lib, _kernels.lib = _kernels.lib, Old()
import ferrum_cpu.library
"""
    words = ("this processor does not run FERRUM_CPU_ISA=avx512", "unset")
    refused(code, *words, FERRUM_CPU_ISA="avx512")


@pytest.mark.parametrize("name", ISAS)
def test_the_instruction_set_is_the_one_that_was_asked_for(name):
    runs = lib.isa_choose(name.encode())
    lib.isa_choose(isa.encode())
    if not runs:
        pytest.skip(f"this processor does not run {name}")
    done = run(f"{IMPORT} as library; print(library.isa)", FERRUM_CPU_ISA=name)
    assert done.stdout == f"{name}\n", done.stderr


def test_other_systems_are_refused():
    mac = "import sys, platform; sys.platform = 'darwin'; platform.system = lambda: 'Darwin'\n"
    refused(mac + IMPORT, "expected Linux on x86-64, got Darwin", "device='reference'")
    arm = "import platform; platform.machine = lambda: 'aarch64'\n"
    refused(arm + IMPORT, "got Linux on aarch64", "device='reference'")


def test_a_python_without_its_lock_is_refused():
    code = f"import sys; sys._is_gil_enabled = lambda: False\n{IMPORT}"
    refused(code, "got a free-threaded one", "device='reference'")


def test_a_missing_openblas_is_refused():
    code = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "scipy_openblas32" else find(name, *a)
import ferrum_cpu.library
"""
    refused(code, "the library of openblas was not found", "pip install scipy-openblas32")


def test_an_openblas_that_does_not_load_is_refused(tmp_path):
    package = tmp_path / "scipy_openblas32"
    (package / "lib").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "lib" / "libscipy_openblas.so").write_bytes(b"no library")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{IMPORT}"
    refused(code, "openblas did not load", "libscipy_openblas.so", "pip install scipy-openblas32")


def test_doctor_shows_the_device():
    done = subprocess.run(
        [sys.executable, "-m", "ferrum", "doctor"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for each in (f"isa {isa}", "blas openblas", "threads", "pool", "bytes in use"):
        assert each in " ".join(done.stdout.split()), done.stdout


def test_the_device_says_what_it_runs_on(threads):
    threads(3)
    info = plugins.device("cpu").backend.info()
    assert info["isa"] in ISAS
    assert info["blas"].startswith(("openblas", "mkl"))
    assert info["threads"] == "3"
    assert "bytes in use" in info["pool"]
