"""The two extension modules; everything else is in pyproject.toml."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class Build(build_ext):
    """Compiles as many files at a time as there are processors."""

    def build_extensions(self) -> None:
        """Build all."""
        compile_these = self.compiler.compile

        def compile_each(sources: list[str], **options: object) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                found = pool.map(lambda source: compile_these([source], **options), sources)
                return list(chain(*found))

        self.compiler.compile = compile_each
        super().build_extensions()


setup(
    cmdclass={"build_ext": Build},
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
