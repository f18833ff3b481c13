"""Time FERRUM's float32 product of matrices on one thread beside a naive loop in C.

python benchmarks/naive_gemm.py [SIZE ...]: prints GFLOP/s of both, by the processor's time, and
their ratio. It needs a C compiler, called `cc`.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import ferrum as fe

SOURCE = Path(__file__).with_suffix(".c")


def seconds(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return min(times)


def main() -> None:
    sizes = [int(text) for text in sys.argv[1:]] or [256, 512, 1024]
    fe.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "naive.so"
        subprocess.run(["cc", "-O3", "-shared", "-fPIC", SOURCE, "-o", library], check=True)
        naive = ctypes.CDLL(str(library)).naive_sgemm
    naive.argtypes = [ctypes.c_long] * 3 + [ctypes.c_void_p] * 3
    print("   size   naive  ferrum   ratio")
    for n in sizes:
        generator = np.random.default_rng(0)
        a, b = (generator.standard_normal((n, n)).astype(np.float32) for _ in range(2))
        out = np.empty_like(a)
        pointers = [each.ctypes.data for each in (a, b, out)]
        x, y = fe.tensor(a, device="cpu"), fe.tensor(b, device="cpu")
        slow = seconds(lambda p=pointers, n=n: naive(n, n, n, *p), 2)  # type: ignore[misc]
        fast = seconds(lambda x=x, y=y: x @ y, 9)  # type: ignore[misc]
        np.testing.assert_allclose((x @ y).numpy(), out, atol=1e-3)
        flops = 2e-9 * n**3
        print(f"{n:7} {flops / slow:7.2f} {flops / fast:7.1f} {slow / fast:7.0f}")


if __name__ == "__main__":
    main()
