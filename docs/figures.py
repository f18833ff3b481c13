"""The figures of benchmarks as Markdown, from the files that `benchmarks/*.py --out` writes."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"

TITLES = {
    "attention": "Attention",
    "convolutions": "Convolutions of ResNet-18 and MobileNetV2",
    "cpu_ops": "Large tensors",
    "gemm_avx2_kernel": "Products of matrices by OpenBLAS's kernel for AVX2",
    "hot_path": "Calls with next to nothing to compute",
    "networks": "Networks for images",
    "recurrence": "Recurrent layers",
}
NONE = "There are none in this tree: `python benchmarks/cpu_ops.py --out benchmarks/results`."


def figures(folder: Path = RESULTS) -> str:
    """Return a section for each file of results, or a sentence where there are none."""
    return "\n\n".join(map(section, sorted(folder.glob("*.json")))) or NONE


def section(path: Path) -> str:
    """Return the table of one benchmark, what it was measured on, and its chart if there is one."""
    found = json.loads(path.read_text(encoding="utf-8"))
    title = TITLES.get(path.stem, path.stem.replace("_", " "))
    parts = [f"### {title}", caption(found), "\n".join(table(found["rows"]))]
    if path.with_suffix(".png").exists():
        parts.append(f"![{title}: how many times as fast as PyTorch](figures/{path.stem}.png)")
    return "\n\n".join(parts)


def caption(found: dict[str, Any]) -> str:
    """Return what the figures depend on, and what they are."""
    about = found["environment"]
    rounds = len(next(iter(found["rows"].values()))["seconds"]["ferrum"])
    threads = f"{about['threads']} thread{'s' * (about['threads'] != 1)}"
    return (
        f"{about['processor']}, {threads}; kernels for {about['isa']}, BLAS {about['blas']}; "
        f"Python {about['python']}, PyTorch {about['torch']}, NumPy {about['numpy']}. Medians of "
        f"{rounds} rounds; a ratio is the median of the rounds' ratios, with its quartiles."
    )


def table(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from harness import Case, Row, in_units

    yield "| | FERRUM | PyTorch | NumPy | floor | times PyTorch's speed |"
    yield "|---|--:|--:|--:|--:|--:|"
    middles = []
    for name, found in rows.items():
        row = Row(Case(name, build=lambda library: print), found["seconds"])
        times = [
            in_units(row.median(each)) if each in row.seconds else ""
            for each in ("ferrum", "torch", "numpy")
        ]
        floor = in_units(found["floor"]) if found["floor"] else ""
        middle, low, high = row.ratio()
        middles.append(middle)
        yield f"| {name} | {' | '.join(times)} | {floor} | {middle:.2f} ({low:.2f} to {high:.2f}) |"
    yield f"| geometric mean | | | | | {statistics.geometric_mean(middles):.2f} |"
