"""Which BLAS is used, and what is said where there is none."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

PRODUCT = """
import numpy as np
from ferrum_cpu import _front, library
rng = np.random.default_rng(0)
for name, tolerance in (("f4", 1e-4), ("f8", 1e-12)):
    for m, k, n in ((70, 90, 50), (1, 900, 30), (30, 900, 1), (300, 200, 520)):
        a, b = rng.standard_normal((m, k)).astype(name), rng.standard_normal((n, k)).astype(name)
        np.testing.assert_allclose(_front.matmul(a, b.T), a.astype("f8") @ b.T, atol=tolerance)
print(library.blas)
"""


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_openblas_says_its_kernel():
    done = run(PRODUCT, FERRUM_BLAS="openblas", OPENBLAS_CORETYPE="Haswell")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "openblas (Haswell)\n"


def test_mkl():
    try:
        importlib.metadata.version("mkl")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package mkl is not installed")
    done = run(PRODUCT, FERRUM_BLAS="mkl")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "mkl\n"


def test_mkl_that_is_not_there_is_an_error_that_says_what_to_do():
    code = """
import importlib.metadata, sys
def files(name): raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.files, sys.prefix = files, "/nowhere"
import ferrum_cpu.library
"""
    done = run(code, FERRUM_BLAS="mkl")
    assert done.returncode == 1
    assert "PluginError: ferrum-cpu: the library of mkl was not found" in done.stderr
    assert "pip install mkl" in done.stderr


def test_other_names_are_refused():
    done = run("import ferrum_cpu.library", FERRUM_BLAS="atlas")
    assert done.returncode == 1
    assert "expected FERRUM_BLAS to be openblas or mkl, got 'atlas'" in done.stderr


def test_openblas_stays_out_of_the_way_of_other_libraries():
    done = run(
        "import ctypes, ferrum_cpu.library\nprint(hasattr(ctypes.CDLL(None), 'scipy_cblas_sgemm'))"
    )
    assert done.stdout == "False\n", done.stderr
