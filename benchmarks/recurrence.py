"""Recurrent layers: forward, and forward with backward, over 64 steps of 16 sequences.

A row such as "LSTM 128-256, 16 x 64: both" has the inputs, the units, the batch and the steps.
Two threads, or as many as --threads says.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from harness import Build, Case, Work, main

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


class Shape(NamedTuple):
    """A layer of one direction, over `steps` steps of a batch."""

    kind: str
    inputs: int
    units: int
    batch: int
    steps: int

    @property
    def name(self) -> str:
        """Return such as "LSTM 128-256, 16 x 64"."""
        return f"{self.kind} {self.inputs}-{self.units}, {self.batch} x {self.steps}"

    @property
    def flops(self) -> float:
        """Return the additions and multiplications of the products of one forward pass."""
        rows = self.batch * self.steps
        return 2.0 * rows * GATES[self.kind] * self.units * (self.inputs + self.units)


def build(shape: Shape, wanted: str) -> Build:
    """Return a pass through a layer: "forward" without recording, or "both"."""

    def build(library: Any) -> Work:
        t = library.t
        t.manual_seed(0)
        layer = getattr(library.nn, shape.kind)(shape.inputs, shape.units)
        x = t.randn(shape.steps, shape.batch, shape.inputs)
        seed = t.randn(shape.steps, shape.batch, shape.units)

        def forward() -> object:
            with t.no_grad():
                return layer(x)

        def both() -> object:
            return t.autograd.grad(layer(x)[0], list(layer.parameters()), seed)

        return forward if wanted == "forward" else both

    return build


SHAPES = [
    *(Shape(kind, 128, 256, 16, 64) for kind in GATES),
    *(Shape("LSTM", 128, 256, batch, 64) for batch in (1, 64)),
    Shape("LSTM", 512, 512, 32, 64),
]
CASES = [
    Case(f"{shape.name}: {wanted}", build(shape, wanted), flops=shape.flops * times)
    for shape in SHAPES
    for wanted, times in (("forward", 1), ("both", 3))
]


if __name__ == "__main__":
    main(__file__, CASES, threads=len(os.sched_getaffinity(0)))
