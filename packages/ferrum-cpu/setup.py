"""The two extension modules; everything else is in pyproject.toml."""

import numpy as np
from setuptools import Extension, setup

setup(
    cffi_modules=["build_kernels.py:ffi"],
    ext_modules=[
        Extension(
            "ferrum_cpu._front",
            ["csrc/front.c"],
            include_dirs=["csrc", np.get_include()],
            extra_compile_args=["-std=c11", "-O3", "-fvisibility=hidden"],
            depends=[
                "csrc/base.h",
                "csrc/arrays.h",
                "csrc/elementwise.h",
                "csrc/gemm.h",
                "csrc/isa.h",
                "csrc/front.h",
            ],
            py_limited_api=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
