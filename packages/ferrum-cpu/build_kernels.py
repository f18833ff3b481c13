"""The cffi builder of `ferrum_cpu._kernels`: the kernels in C, as csrc/kernels.h declares them."""

import os
from pathlib import Path

import numpy as np
from cffi import FFI

HERE = Path(__file__).resolve().parent
SOURCES = sorted(
    path.name for path in (HERE / "csrc").glob("*.c") if not path.name.startswith("front")
)
# The headers that say what Python calls.
HEADERS = [
    "kernels.h",
    "attention.h",
    "convolution.h",
    "copy.h",
    "ctc.h",
    "index.h",
    "losses.h",
    "norms.h",
    "pooling.h",
    "random.h",
    "recurrence.h",
    "reduce_calls.h",
    "resizing.h",
    "sampling.h",
    "steps.h",
]
# -ffp-contract=off: a fused multiply-add only where it is written, so that bits do not depend on
# the compiler. The next two let loops with conditions become vector code; they change no value.
FLAGS = [
    "-std=c11",
    os.environ.get("FERRUM_CPU_OPTIMIZE", "-O3"),  # less of it for the sanitizers' build
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-strict-aliasing",
    "-fvisibility=hidden",
    "-pthread",
]

ffi = FFI()
for name in HEADERS:
    ffi.cdef((HERE / "csrc" / name).read_text(encoding="utf-8"))
ffi.set_source(
    "ferrum_cpu._kernels",
    "\n".join(["#include <stdint.h>", *[f'#include "{name}"' for name in HEADERS]]),
    sources=[f"csrc/{name}" for name in SOURCES],
    include_dirs=["csrc", np.get_include()],
    extra_compile_args=FLAGS,
    libraries=["m", "dl"],
    extra_link_args=["-pthread"],
    depends=[str(path.relative_to(HERE)) for path in (HERE / "csrc").glob("*.h")],
    py_limited_api=True,
)
