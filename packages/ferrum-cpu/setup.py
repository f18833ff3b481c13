"""The two extension modules; everything else is in pyproject.toml."""

import os
from pathlib import Path

import numpy as np
from setuptools import Extension, setup

setup(
    cffi_modules=["build_kernels.py:ffi"],
    ext_modules=[
        Extension(
            "ferrum_cpu._front",
            sorted(map(str, Path("csrc").glob("front*.c"))),
            include_dirs=["csrc", np.get_include()],
            extra_compile_args=[
                "-std=c11",
                os.environ.get("FERRUM_CPU_OPTIMIZE", "-O3"),
                "-fvisibility=hidden",
            ],
            depends=[str(path) for path in Path("csrc").glob("*.h")],
            py_limited_api=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
