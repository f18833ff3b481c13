"""Times the same work in several frameworks, side by side.

Each framework has a process of its own, since two pools of threads in one process ruin each other.
The frameworks take turns, round after round, so that what else the machine does meets them all
alike; a figure is the median of the rounds, and a ratio is the median of the rounds' ratios.

    python benchmarks/hot_path.py [--rounds 15] [--only add] [--threads 1] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tqdm import tqdm

Work = Callable[[], object]
Build = Callable[[Any], Work]

# A block of calls takes about this long, in seconds: far above the clock's resolution, and short
# enough that frameworks take turns often.
BLOCK = 0.02

# Between turns nobody works for so long, in seconds: threads of some pools go on looking for work
# for tens of milliseconds, and would take the processors from whoever is next.
REST = 0.1


@dataclass(frozen=True)
class Case:
    """One row: `build` is given a framework and returns the work to time.

    `bytes` must go through memory and `flops` be computed at least, whoever does it.
    """

    name: str
    build: Build
    bytes: float = 0.0
    flops: float = 0.0
    numpy: Build | None = None


def frameworks(threads: int) -> dict[str, Callable[[], Any]]:
    """Return what makes each framework ready, by name."""

    def ferrum() -> Any:
        import ferrum as fe
        import ferrum_nn as nn

        fe.set_num_threads(threads)
        fe.set_default_device("cpu")
        return SimpleNamespace(t=fe, nn=nn, optim=nn.optim)

    def torch() -> Any:
        module = importlib.import_module("torch")
        module.set_num_threads(threads)
        return SimpleNamespace(t=module, nn=module.nn, optim=module.optim)

    def numpy() -> Any:
        return importlib.import_module("numpy")

    return {"ferrum": ferrum, "torch": torch, "numpy": numpy}


def serve(cases: list[Case], framework: str, threads: int) -> None:
    """Time the cases that are named on stdin, a line each, and answer in seconds a call."""
    library = frameworks(threads)[framework]()
    ready: dict[str, tuple[Work, int]] = {}
    by_name = {case.name: case for case in cases}
    for line in sys.stdin:
        name = json.loads(line)
        if name not in ready:
            case = by_name[name]
            build = case.numpy if framework == "numpy" else case.build
            assert build is not None
            work = build(library)
            ready.clear()  # one case's data at a time
            ready[name] = (work, _calls(work))
        work, calls = ready[name]
        work()  # what the others left in the caches is not this framework's doing
        print(json.dumps(_time(work, calls)), flush=True)


def _time(work: Work, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def _calls(work: Work) -> int:
    """Return how many calls make a block; the calls made to find out also warm up."""
    calls = 1
    while _time(work, calls) * calls < BLOCK / 2 and calls < 10**7:
        calls *= 2
    return calls


def plain_environment() -> dict[str, str]:
    """Return the environment without what chooses OpenBLAS's kernels, but for what is asked."""
    chosen = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    found = {name: value for name, value in os.environ.items() if name not in chosen}
    if kept := os.environ.get("FERRUM_BENCHMARK_CORETYPE"):
        found["OPENBLAS_CORETYPE"] = kept
    return found


class Server:
    """A framework's process."""

    def __init__(self, script: str, framework: str, threads: int) -> None:
        environment = plain_environment()
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment[name] = str(threads)
        command = [sys.executable, script, "--serve", framework, "--threads", str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def time(self, name: str) -> float:
        """Return the seconds of one call of the case, in a block of calls."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(name) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{name}: the process of a framework ended; its error is above")
        return float(json.loads(answer))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


@dataclass(frozen=True)
class Row:
    """What was measured of a case: seconds a call, one figure for each round and framework."""

    case: Case
    seconds: dict[str, list[float]]

    def median(self, framework: str) -> float:
        """Return the median of the rounds, in seconds."""
        return statistics.median(self.seconds[framework])

    def ratio(self, framework: str = "torch") -> tuple[float, float, float]:
        """Return how many times as fast as `framework` FERRUM is: median, lower, upper quartile."""
        ours, theirs = self.seconds["ferrum"], self.seconds[framework]
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        if len(ratios) < 2:
            return ratios[0], ratios[0], ratios[0]
        low, middle, high = statistics.quantiles(ratios, n=4)
        return middle, low, high


def measure(
    script: str, cases: list[Case], names: list[str], rounds: int, threads: int
) -> list[Row]:
    """Time all cases in all frameworks."""
    servers = {name: Server(script, name, threads) for name in names}
    rows = []
    try:
        for case in (bar := tqdm(cases, unit="row", leave=False)):
            bar.set_description(case.name)
            able = {
                name: server
                for name, server in servers.items()
                if name != "numpy" or case.numpy is not None
            }
            for server in able.values():  # builds the case, and is not counted
                server.time(case.name)
            seconds: dict[str, list[float]] = {name: [] for name in able}
            for _ in range(rounds):
                for name, server in able.items():
                    time.sleep(REST)
                    seconds[name].append(server.time(case.name))
            rows.append(Row(case, seconds))
    finally:
        for server in servers.values():
            server.close()
    return rows


def processor() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def environment(threads: int) -> dict[str, Any]:
    """Return what the figures depend on."""
    code = (
        "import json, ferrum as fe, torch, numpy;"
        "print(json.dumps({**fe.device('cpu').backend.info(), 'torch': torch.__version__,"
        " 'numpy': numpy.__version__}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=plain_environment(),
    )
    info = json.loads(found.stdout)
    return {
        "processor": processor(),
        "threads": threads,
        "python": platform.python_version(),
        **{name: info[name] for name in ("isa", "blas", "torch", "numpy")},
    }


def in_units(seconds: float) -> str:
    """Return a time as people write it."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def table(rows: list[Row], floors: dict[str, float]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield (
        f"{'':34} {'FERRUM':>9} {'PyTorch':>9} {'NumPy':>9} {'floor':>9}   "
        "times PyTorch's speed (quartiles)"
    )
    for row in rows:
        texts = [
            in_units(row.median(name)) if name in row.seconds else ""
            for name in ("ferrum", "torch", "numpy")
        ]
        floor = floors.get(row.case.name)
        texts.append(in_units(floor) if floor else "")
        middle, low, high = row.ratio()
        yield (
            f"{row.case.name:34} {' '.join(f'{text:>9}' for text in texts)}   "
            f"{middle:5.2f}  ({low:.2f} to {high:.2f})"
        )
    mean = statistics.geometric_mean(row.ratio()[0] for row in rows)
    yield f"{'geometric mean':34} {'':39}   {mean:5.2f}"


TICKS = (0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 16)


def chart(rows: list[Row], title: str, path: Path) -> None:
    """Draw how many times as fast as PyTorch FERRUM is."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    ratios = [row.ratio() for row in rows]
    middles = [middle for middle, _, _ in ratios]
    errors = [
        [middle - low for middle, low, _ in ratios],
        [high - middle for middle, _, high in ratios],
    ]
    places = range(len(rows))
    colours = ["#2563eb" if middle >= 1 else "#dc2626" for middle in middles]
    widths = [middle - 1 for middle in middles]  # from PyTorch's speed on
    axes.barh(places, widths, left=1, xerr=errors, color=colours, ecolor="#6b7280", height=0.7)
    axes.set_yticks(places, [row.case.name for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("log", base=2)
    axes.axvline(1, color="black", linewidth=0.8)
    low, high = axes.get_xlim()
    axes.set_xticks([each for each in TICKS if low <= each <= high])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.set_xlabel("speed, PyTorch's = 1; quartiles of the rounds")
    axes.set_title(title, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=130)


def main(
    script: str,
    cases: list[Case],
    *,
    threads: int,
    floors: Callable[[list[Row]], dict[str, float]] = lambda rows: {},
) -> list[Row]:
    """Run a benchmark script: parse its arguments, measure, print and write the result."""
    parser = argparse.ArgumentParser(description=Path(script).stem)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--rounds", type=int, default=15, help="how often all take their turn")
    parser.add_argument("--only", default="", help="only rows with this in their name")
    parser.add_argument("--out", type=Path, help="folder for a JSON file and a PNG chart")
    options = parser.parse_args()
    if options.serve:
        serve(cases, options.serve, options.threads)
        sys.exit()
    chosen = [case for case in cases if options.only in case.name]
    names = ["ferrum", "torch"] + ["numpy"] * any(case.numpy is not None for case in chosen)
    rows = measure(script, chosen, names, options.rounds, options.threads)
    about = environment(options.threads)
    found = floors(rows)
    print(", ".join(f"{name}: {value}" for name, value in about.items()))
    print("\n".join(table(rows, found)))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        stem = Path(script).stem
        data = {
            "environment": about,
            "rows": {
                row.case.name: {"seconds": row.seconds, "floor": found.get(row.case.name)}
                for row in rows
            },
        }
        (options.out / f"{stem}.json").write_text(json.dumps(data, indent=1), encoding="utf-8")
        threads = "1 thread" if options.threads == 1 else f"{options.threads} threads"
        title = f"{about['processor']}, {threads}, {about['isa']}, {about['blas']}"
        chart(rows, title, options.out / f"{stem}.png")
    return rows
