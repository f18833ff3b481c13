"""Running the kit without pytest: `python -m ferrum conformance NAME`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ferrum import plugins
from ferrum.device import Device
from ferrum.errors import FerrumError
from ferrum.operation import Op
from ferrum.testing.cases import ASPECTS, Case, cases_of, missing_kernels, selected
from ferrum.testing.failures import ConformanceFailure, NotApplicable

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
COLUMNS = [aspect for aspect in ASPECTS if aspect not in ("samples", "kernel")]
SHOWN = 3  # failures of one op and aspect that the text shows


@dataclass
class Report:
    """What came of the cases: counts by op and aspect, failures, and the reasons of skips."""

    device: Device
    counts: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)
    skips: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def total(self) -> Counter[str]:
        """How many cases passed, failed and were skipped."""
        rows = (cell for row in self.counts.values() for cell in row.values())
        return sum(rows, start=Counter())

    @property
    def passed(self) -> bool:
        """Whether no case failed."""
        return not self.failures

    def add(self, case: Case) -> None:
        """Run `case` and take down what comes of it."""
        row = self.counts.setdefault(case.op.name, defaultdict(Counter))
        try:
            case.run()
        except ConformanceFailure as failure:
            row[case.aspect][FAILED] += 1
            self.failures.append(
                {"case": case.id, "op": case.op.name, "aspect": case.aspect, "error": str(failure)}
            )
        except NotApplicable as reason:
            row[case.aspect][SKIPPED] += 1
            self.skips[str(reason)] += 1
        else:
            row[case.aspect][PASSED] += 1

    def table(self) -> str:
        """Return the counts as text, a row per op: passed, failed! and skipped~."""
        width = max(map(len, self.counts), default=2)
        head = f"{'op':{width}} {'runs':10}" + "".join(f"{name:>10}" for name in COLUMNS)
        rows = [head]
        for name, row in self.counts.items():
            cells = "".join(f"{_cell(row, aspect):>10}" for aspect in COLUMNS)
            rows.append(f"{name:{width}} {self.runs[name]:10}{cells}")
        return "\n".join(rows)

    def summary(self) -> str:
        """Return failures, skips with their reasons, missing kernels and totals as text."""
        lines = []
        shown: Counter[tuple[str, str]] = Counter()
        for failure in self.failures:
            shown[failure["op"], failure["aspect"]] += 1
            if shown[failure["op"], failure["aspect"]] <= SHOWN:
                lines += ["", failure["error"]]
        lines += [f"\nskipped {n}: {reason}" for reason, n in self.skips.most_common()]
        if self.missing:
            names = ", ".join(self.missing)
            lines.append(f"\nkernels that are missing ({len(self.missing)}): {names}")
        total = self.total
        counts = ", ".join(f"{total[kind]} {kind}" for kind in (PASSED, FAILED, SKIPPED))
        verdict = "conforms" if self.passed else "does not conform"
        return "\n".join(
            [*lines, f"\n'{self.device}' {verdict}: {counts}, in {self.seconds:.1f} s"]
        )

    def as_json(self) -> dict[str, Any]:
        """Return everything, for a file."""
        total = self.total
        return {
            "device": str(self.device),
            "dtypes": sorted(dtype.name for dtype in self.device.backend.dtypes),
            "passed": self.passed,
            "cases": {kind: total[kind] for kind in (PASSED, FAILED, SKIPPED)},
            "seconds": round(self.seconds, 3),
            "missing": self.missing,
            "skips": dict(self.skips),
            "failures": self.failures,
            "ops": {
                name: {"runs": self.runs[name], "aspects": {a: dict(n) for a, n in row.items()}}
                for name, row in self.counts.items()
            },
        }


def _cell(row: dict[str, Counter[str]], aspect: str) -> str:
    counts = row.get(aspect)
    if not counts:
        return "-"
    marks = ((PASSED, ""), (FAILED, "!"), (SKIPPED, "~"))
    return " ".join(f"{counts[kind]}{mark}" for kind, mark in marks if counts[kind])


def how(op: Op[..., Any], device: Device) -> str:
    """Return how `op` runs on `device`: "native", "decomposed" or "missing"."""
    if device.kernels[op] is not None:
        return "native"
    return "missing" if op.compose is None else "decomposed"


def run(
    device: str | Device,
    ops: Sequence[str] | None = None,
    aspects: Collection[str] = tuple(ASPECTS),
    *,
    progress: bool = False,
) -> Report:
    """Run the cases for `device`: of all ops, or of those whose names match the patterns in `ops`.

    With `progress` the op at work is shown on standard error.
    """
    where = plugins.device(device)
    report = Report(where, missing=missing_kernels(where))
    started = time.perf_counter()
    for op in selected(ops):
        if progress:
            print(f"\r{op.name:40}", end="", file=sys.stderr, flush=True)
        report.runs[op.name] = how(op, where)
        for case in cases_of(op, where):
            if case.aspect in aspects:
                report.add(case)
    if progress:
        print(f"\r{'':40}\r", end="", file=sys.stderr, flush=True)
    report.seconds = time.perf_counter() - started
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0 if the device conforms, 1 if not, 2 if it cannot be asked."""
    options = _parser().parse_args(argv)
    try:
        if options.case is not None or options.list:
            return _single(options)
        report = run(options.device, options.ops, options.aspects, progress=sys.stderr.isatty())
    except FerrumError as error:
        print(error, file=sys.stderr)
        return 2
    print(report.table())
    print(report.summary())
    if options.json is not None:
        text = json.dumps(report.as_json(), indent=1) + "\n"
        Path(options.json).write_text(text, encoding="utf-8")
    return 0 if report.passed else 1


def _about(aspect: str) -> str:
    return f"  {aspect:9} {(ASPECTS[aspect].__doc__ or '').splitlines()[0]}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferrum conformance",
        description="Check that a device does what the op table says.",
        epilog="aspects:\n" + "\n".join(map(_about, ASPECTS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("device", help="the device, such as cpu or cuda:1")
    parser.add_argument("--ops", nargs="+", metavar="NAME", help="only these: matmul, 'nn.*'")
    parser.add_argument(
        "--aspects", nargs="+", metavar="ASPECT", choices=tuple(ASPECTS), default=tuple(ASPECTS)
    )
    parser.add_argument("--json", metavar="FILE", help="write the whole report there as JSON")
    parser.add_argument("--case", metavar="ID", help="run this one case, with a traceback")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    return parser


def _single(options: argparse.Namespace) -> int:
    """List cases, or run one of them."""
    device = plugins.device(options.device)
    ops = options.ops if options.case is None else [options.case.partition("-")[0]]
    for op in selected(ops):
        for case in cases_of(op, device):
            if options.list and case.aspect in options.aspects:
                print(case.id)
            elif case.id == options.case:
                case.run()
                print(f"{case.id}: passed")
                return 0
    if options.list:
        return 0
    print(f"conformance: no case is called {options.case!r}; see --list", file=sys.stderr)
    return 2
