"""Ops that are large enough to keep the processor busy, each beside its floor.

A row's floor is the time that no program on this machine can beat: the bytes that must go through
memory over the best bandwidth, or the arithmetic over the best rate, that any framework reaches in
this run. Two threads, or as many as --threads says.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from harness import Build, Case, Row, Work, main

LARGE = 10**7
MATRIX = 4096


def gemm(n: int, dtype: str) -> Build:
    """Return the product of two n x n matrices."""

    def build(library: Any) -> Work:
        t = library.t
        kind = getattr(t, dtype)
        a, b = t.rand(n, n).to(kind), t.rand(n, n).to(kind)
        return lambda: a @ b

    return build


def numpy_gemm(n: int, dtype: str) -> Build:
    """Return the same in NumPy."""

    def build(np: Any) -> Work:
        generator = np.random.default_rng(0)
        a, b = (generator.random((n, n)).astype(dtype) for _ in range(2))
        return lambda: a @ b

    return build


def on_tensor(work: Callable[..., Any], *shape: int) -> Build:
    """Return `work(x, t)` on a float32 tensor of random numbers."""

    def build(library: Any) -> Work:
        t = library.t
        t.manual_seed(0)
        x = t.rand(*shape)
        return lambda: work(x, t)

    return build


def on_array(work: Callable[..., Any], *shape: int) -> Build:
    """Return the same in NumPy."""

    def build(np: Any) -> Work:
        x = np.random.default_rng(0).random(shape).astype(np.float32)
        return lambda: work(x, np)

    return build


def layer_norm(library: Any) -> Work:
    """Return layer normalisation of a matrix's rows."""
    t, nn = library.t, library.nn
    x = t.rand(MATRIX, MATRIX)
    return lambda: nn.functional.layer_norm(x, (MATRIX,))


def mlp_step(library: Any) -> Work:
    """Return the training step of a 784-512-512-10 network on 64 rows, with Adam."""
    t, nn = library.t, library.nn
    t.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
    )
    optimizer = library.optim.Adam(model.parameters())
    x, y = t.rand(64, 784), t.randint(0, 10, (64,))
    loss_of = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss_of(model(x), y).backward()
        optimizer.step()

    return step


def transposed(x: Any, t: Any) -> object:
    """Return a dense copy of the transpose."""
    return x.T.copy() if t.__name__ == "numpy" else x.T.contiguous()


def elementwise(name: str, work: Callable[..., Any], passes: int, numpy: bool = True) -> list[Case]:
    """Return rows of 10⁵ and 10⁷ elements that go through memory `passes` times."""
    return [
        Case(
            f"{name} {count:.0e}".replace("e+0", "e"),
            on_tensor(work, count),
            bytes=4.0 * passes * count,
            numpy=on_array(work, count) if numpy else None,
        )
        for count in (10**5, LARGE)
    ]


def on_matrix(name: str, work: Callable[..., Any], passes: float, numpy: bool = True) -> Case:
    """Return a row on a 4096 x 4096 matrix."""
    return Case(
        f"{name} {MATRIX}x{MATRIX}",
        on_tensor(work, MATRIX, MATRIX),
        bytes=4.0 * passes * MATRIX**2,
        numpy=on_array(work, MATRIX, MATRIX) if numpy else None,
    )


CASES = [
    *[
        Case(f"gemm {n} {dtype}", gemm(n, dtype), flops=2.0 * n**3, numpy=numpy_gemm(n, dtype))
        for dtype in ("float32", "float64")
        for n in (256, 512, 1024, 2048)
    ],
    Case("gemm 1024 bfloat16", gemm(1024, "bfloat16")),
    *elementwise("add", lambda x, t: x + x, 2),
    *elementwise("times a number", lambda x, t: x * 2.0, 2),
    *elementwise("exp", lambda x, t: t.exp(x), 2),
    *elementwise("tanh", lambda x, t: t.tanh(x), 2),
    *elementwise("sigmoid", lambda x, t: t.sigmoid(x), 2, numpy=False),
    *elementwise("greater", lambda x, t: x > 0.5, 1.25),  # type: ignore[arg-type]
    *elementwise("sum", lambda x, t: x.sum(), 1),
    *elementwise("max", lambda x, t: x.max(), 1),
    *elementwise("mean", lambda x, t: x.mean(), 1),
    on_matrix("sum of columns", lambda x, t: x.sum(0), 1),
    on_matrix("sum of rows", lambda x, t: x.sum(1), 1),
    on_matrix("argmax of rows", lambda x, t: x.argmax(1), 1),
    on_matrix("add a row", lambda x, t: x + x[0], 2),
    on_matrix("softmax", lambda x, t: x.softmax(1), 2, numpy=False),
    on_matrix("log_softmax", lambda x, t: x.log_softmax(1), 2, numpy=False),
    Case(f"layer_norm {MATRIX}x{MATRIX}", layer_norm, bytes=8.0 * MATRIX**2),
    on_matrix(
        "transpose copy", lambda x, t: x.T.copy() if t.__name__ == "numpy" else x.T.contiguous(), 2
    ),
    on_matrix("transpose add", lambda x, t: x + x.T, 3),
    Case("MLP step, Adam", mlp_step, flops=6.0 * 64 * (784 * 512 + 512 * 512 + 512 * 10)),
]


def floors(rows: list[Row]) -> dict[str, float]:
    """Return each row's floor, from the best bandwidth and the best arithmetic in the run."""

    def best(amount: Callable[[Case], float], among: str) -> float:
        rates = [
            amount(row.case) / min(seconds)
            for row in rows
            if among in row.case.name
            for seconds in row.seconds.values()
        ]
        return max(rates, default=0.0)

    bandwidth = max(best(lambda case: case.bytes, "1e7"), best(lambda case: case.bytes, "4096"))
    arithmetic = best(lambda case: case.flops, "float32")
    half = best(lambda case: case.flops, "float64")
    found = {}
    for row in rows:
        rate = half if "float64" in row.case.name else arithmetic
        if row.case.flops and rate:
            found[row.case.name] = row.case.flops / rate
        elif row.case.bytes > 3e7 and bandwidth:
            found[row.case.name] = row.case.bytes / bandwidth
    return found


if __name__ == "__main__":
    main(__file__, CASES, threads=len(os.sched_getaffinity(0)), floors=floors)
