"""The C side: which variant of the kernels runs, which BLAS, how many threads."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ferrum import errors
from ferrum.errors import PluginError

if sys.platform != "linux" or platform.machine() != "x86_64":
    raise PluginError(
        f"ferrum-cpu: expected Linux on x86-64, got {platform.system()} on {platform.machine()}",
        mend="use device='reference', which is NumPy and runs everywhere",
    )
if not getattr(sys, "_is_gil_enabled", lambda: True)():
    raise PluginError(
        "ferrum-cpu: expected CPython with its global lock, got a free-threaded one",
        mend="use the usual build of Python, or device='reference'",
    )

from ferrum_cpu import _front, _kernels

lib, ffi = _kernels.lib, _kernels.ffi

ISAS = ("scalar", "avx2", "avx512")


def text(pointer: object) -> str | None:
    """Return what a `const char *` points to."""
    return None if pointer == ffi.NULL else ffi.string(pointer).decode()


def choose_isa() -> str:
    """Take the best variant of the kernels, or the one that FERRUM_CPU_ISA names."""
    asked = os.environ.get("FERRUM_CPU_ISA", "")
    if asked and asked not in ISAS:
        raise PluginError(
            f"ferrum-cpu: expected FERRUM_CPU_ISA to be one of {', '.join(ISAS)}, got {asked!r}",
            mend="unset FERRUM_CPU_ISA",
        )
    chosen = text(lib.isa_choose(asked.encode() if asked else ffi.NULL))
    if chosen is None:
        raise PluginError(
            f"ferrum-cpu: this processor does not run FERRUM_CPU_ISA={asked}",
            mend="unset FERRUM_CPU_ISA",
        )
    return chosen


def _inside(package: str, pattern: str) -> Path | None:
    """Return a file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob(pattern)):
            return path
    return None


def _mkl() -> Path | None:
    """Return MKL's library, from the distribution `mkl` or from the environment's own lib."""
    import importlib.metadata

    try:
        listed = importlib.metadata.files("mkl") or []
    except importlib.metadata.PackageNotFoundError:
        listed = []
    found = [Path(str(each.locate())) for each in listed if each.name.startswith("libmkl_rt.so")]
    found += sorted((Path(sys.prefix) / "lib").glob("libmkl_rt.so*"))
    return next((path.resolve() for path in found if path.exists()), None)


def load_blas() -> str:
    """Load OpenBLAS, or MKL where FERRUM_BLAS asks for it; return what it is."""
    asked = os.environ.get("FERRUM_BLAS", "openblas")
    if asked == "openblas":
        # Importing scipy_openblas32 would make its symbols global, in the way of SciPy's own.
        path, prefix = _inside("scipy_openblas32", "lib/libscipy_openblas*.so"), b"scipy_"
        mend = "pip install scipy-openblas32"
    elif asked == "mkl":
        # Threads are FERRUM's own, and MKL's would bring an OpenMP library with them.
        os.environ.setdefault("MKL_THREADING_LAYER", "SEQUENTIAL")
        path, prefix = _mkl(), b""
        mend = "pip install mkl, or unset FERRUM_BLAS"
    else:
        raise PluginError(
            f"ferrum-cpu: expected FERRUM_BLAS to be openblas or mkl, got {asked!r}",
            mend="unset FERRUM_BLAS",
        )
    if path is None:
        raise PluginError(f"ferrum-cpu: the library of {asked} was not found", mend=mend)
    fault = text(lib.blas_load(os.fsencode(path), prefix))
    if fault is not None:
        raise PluginError(f"ferrum-cpu: {asked} did not load: {fault}", mend=mend)
    kernel = text(lib.blas_kernel())
    return f"{asked} ({kernel})" if kernel else asked


def check_pool_bytes() -> None:
    """Refuse a FERRUM_CPU_POOL_BYTES that is no number of bytes."""
    asked = os.environ.get("FERRUM_CPU_POOL_BYTES", "")
    fits = asked.isascii() and asked.isdigit() and len(asked) < 20  # of more, int() may say no
    if asked and not (fits and int(asked) < 2**63):
        raise PluginError(
            f"ferrum-cpu: expected FERRUM_CPU_POOL_BYTES to be a number of bytes, got {asked!r}",
            mend="unset FERRUM_CPU_POOL_BYTES",
        )


check_pool_bytes()
isa = choose_isa()
blas = load_blas()
lib.arrays_init(_front.connect(lib.front_table(), np.dtype(ml_dtypes.bfloat16), errors))

# As csrc/base.h numbers what a kernel may answer.
NO_MEMORY, OUT_OF_RANGE = 2, 3


def id_of(array: Any) -> int:
    """Return how C is given an array that may be missing."""
    return 0 if array is None else id(array)


def refused(op: str, code: int) -> Any:
    """Return NotImplemented for a call that C declined; raise where it had no memory."""
    if code == NO_MEMORY:
        raise errors.OutOfMemoryError(
            f"{op}: no room for the work on 'cpu'; delete tensors that are not needed any more, or "
            f"work in smaller batches"
        )
    return NotImplemented
