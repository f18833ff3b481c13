"""Scaled dot-product attention of float32, forward and with its gradients.

A row such as "(2, 12, 512, 64) causal: forward" has the batch, the heads, the length and the size
of a head of query, key and value, what is masked, and what is timed: the attention itself
("forward") or the gradients of all three ("backward"). Rates count every score for "full", "added"
and "grouped", and half of them for "causal". Two threads, or as many as --threads says.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from harness import Build, Case, Work, main


class Shape(NamedTuple):
    """An attention of a sequence to itself; `kind` is full, causal, added (a mask) or grouped."""

    batch: int
    heads: int
    length: int
    size: int
    kind: str = "full"
    queries: int = 0
    """How many queries there are, if not as many as keys: 1 for a step with a cache."""

    @property
    def name(self) -> str:
        """Return such as "(2, 12, 512, 64) causal" or "(1, 12, 1 of 512, 64) full"."""
        length = f"{self.queries} of {self.length}" if self.queries else str(self.length)
        return f"({self.batch}, {self.heads}, {length}, {self.size}) {self.kind}"

    def flops(self, wanted: str) -> float:
        """Return additions and multiplications: two products forward, five backward."""
        scores = self.batch * self.heads * (self.queries or self.length) * self.length
        scores /= 2 if self.kind == "causal" else 1
        return 2.0 * scores * self.size * (2 if wanted == "forward" else 5)


SHAPES = [
    *(Shape(2, 12, 512, 64, kind) for kind in ("full", "causal", "added", "grouped")),
    *(Shape(1, 8, 2048, 64, kind) for kind in ("full", "causal")),
    Shape(8, 12, 128, 64),
    Shape(1, 12, 512, 64, queries=1),
]


def build(shape: Shape, wanted: str) -> Build:
    """Return one pass of an attention: "forward" or "backward"."""

    def build(library: Any) -> Work:
        t, attention = library.t, library.nn.functional.scaled_dot_product_attention
        t.manual_seed(0)
        batch, heads, length, size, kind, queries = shape
        few = heads // 4 if kind == "grouped" else heads
        leaves = [
            t.randn(batch, heads, queries or length, size),
            *(t.randn(batch, few, length, size) for _ in range(2)),
        ]
        options = {"is_causal": kind == "causal", "enable_gqa": kind == "grouped"}
        if kind == "added":
            options["attn_mask"] = t.randn(length, length)
        if wanted == "forward":
            return lambda: attention(*leaves, **options)
        leaves = [leaf.requires_grad_() for leaf in leaves]
        out = attention(*leaves, **options)
        seed = t.randn(*out.shape)
        return lambda: t.autograd.grad(out, leaves, seed, retain_graph=True)

    return build


CASES = [
    Case(f"{shape.name}: {wanted}", build(shape, wanted), flops=shape.flops(wanted))
    for shape in SHAPES
    for wanted in ("forward", "backward")
]


if __name__ == "__main__":
    main(__file__, CASES, threads=len(os.sched_getaffinity(0)))
