"""Loading one plugin in a process of its own, as `ferrum doctor` does: `python -m ferrum.probe`.

A plugin that hangs, exits or crashes takes nothing along but that process. What was learned of it
comes back in a file, for a plugin may print what it likes.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from ferrum.contract import Source

START = 60.0  # seconds within which Python must start and import ferrum, on the slowest machine
MARGIN = 0.5  # seconds before the limit when the process writes down where it hangs


# ---- the process that asks


def probe(group: str, point: EntryPoint, limit: float) -> dict[str, Any]:
    """Return what is learned by loading `point` for at most `limit` seconds.

    Where it fails the dict has `error`, and `mend` where more is known than the usual.
    """
    from ferrum.plugins import source_of

    source = source_of(point)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        child = [sys.executable, "-P", "-X", "faulthandler", "-m", "ferrum.probe"]
        words = [name, group, source.name, source.distribution, str(limit)]
        ended = _run([*child, *words], source, folder, limit)
        report = folder / "report.json"
        if report.exists():
            found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
            return found
        errors = (folder / "errors.txt").read_text(encoding="utf-8", errors="replace")
        return _obituary(point, source, ended, errors, limit)


def _run(command: list[str], source: Source, folder: Path, limit: float) -> int | None:
    """Run `command`; return its exit status, None if it had to be ended."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "FERRUM_PLUGINS": source.distribution,  # no other plugin shall have a part in this
    }
    quiet = subprocess.DEVNULL
    with (
        (folder / "errors.txt").open("wb") as stderr,
        subprocess.Popen(
            command,
            stdin=quiet,
            stdout=quiet,
            stderr=stderr,
            env=environment,
            start_new_session=True,
        ) as child,
    ):
        try:
            _await(child, folder / "begun")
            return child.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if child.poll() is None:
                _end(child)


def _await(child: subprocess.Popen[bytes], begun: Path) -> None:
    """Wait until the process turns to the plugin: its time is counted from there."""
    latest = time.monotonic() + START
    while child.poll() is None and not begun.exists() and time.monotonic() < latest:
        time.sleep(0.02)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a process and those it has started."""
    if hasattr(os, "killpg"):
        os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()


def _obituary(
    point: EntryPoint, source: Source, ended: int | None, errors: str, limit: float
) -> dict[str, Any]:
    """Return what can be said of a process that has left no report."""
    importing = f"{source}: importing {point.value!r}"
    where = _innermost(errors)
    if ended is None:
        return {
            "error": f"{importing} has not finished after {limit:g} s{where}",
            "mend": f"pip uninstall {source.distribution}, or, if it is only slow: "
            f"ferrum doctor --timeout {12 * limit:g}",
        }
    if ended < 0:
        died = f"crashed the process, by {signal.Signals(-ended).name}{where}"
    else:
        last = errors.strip().rpartition("\n")[2]
        died = f"ended the process, with status {ended}{f': {last}' if last else ''}"
    return {"error": f"{importing} {died}"}


def _innermost(errors: str) -> str:
    """Return where a process was, by the stack that faulthandler has written of its main thread."""
    stack = errors.rpartition("most recent call first")[2]
    found = re.search(r'File "(.+)", line (\d+)', stack)
    return f", at {found[1]}:{found[2]}" if found else ""


# ---- the process that answers


def main(argv: list[str]) -> None:
    """Load one plugin and write down what it is."""
    folder, group, name, distribution, limit = argv
    from ferrum.errors import FerrumError
    from ferrum.plugins import installed, source_of

    points = installed(group, name)
    point = next(each for each in points if source_of(each).distribution == distribution)
    (Path(folder) / "begun").touch()
    faulthandler.dump_traceback_later(max(float(limit) - MARGIN, 0.1))
    try:
        found = _examine(group, point)
    except FerrumError as error:
        found = {
            "error": getattr(error, "what", str(error)),
            "mend": getattr(error, "mend", ""),
            "at": _innermost_frame(error.__cause__),
        }
    whole = Path(folder) / "report.new"
    whole.write_text(json.dumps(found), encoding="utf-8")
    whole.replace(Path(folder) / "report.json")


def _innermost_frame(error: BaseException | None) -> str:
    """Return the line of the plugin, if it is one, in which `error` was raised."""
    mine = str(Path(__file__).parent)
    places = [
        f"{frame.filename}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__ if error else None)
        if not frame.filename.startswith((mine, "<frozen")) and "importlib" not in frame.filename
    ]
    return places[-1] if places else ""


def _examine(group: str, point: EntryPoint) -> dict[str, Any]:
    from ferrum.names import BACKENDS, OPS
    from ferrum.plugins import load

    looks = {BACKENDS: _look_at_backend, OPS: _look_at_ops}
    found = load(point) if group not in looks else looks[group](point)
    module = sys.modules[point.module]
    return {**_plain(found), "path": getattr(module, "__file__", None) or ""}


def _plain(found: Any) -> dict[str, Any]:
    """Return what can be written as JSON of a plugin's metadata."""
    if isinstance(found, dict):
        return found
    return {
        "summary": str(getattr(found, "summary", "")),
        "install": str(getattr(found, "install", "")),
    }


def _look_at_backend(point: EntryPoint) -> dict[str, Any]:
    from ferrum.backend import as_kernel
    from ferrum.plugins import device, device_count, source_of, watched

    backend = device(point.name).backend
    with watched(source_of(point), "info()"):
        info = {str(key): str(value) for key, value in backend.info().items()}
    kernels = {name: as_kernel(found).revision for name, found in backend.kernels.items()}
    return {
        "abi": list(backend.abi),
        "count": device_count(point.name),
        "dtypes": sorted(dtype.name for dtype in backend.dtypes),
        "kernels": kernels,
        "info": info,
    }


def _look_at_ops(point: EntryPoint) -> dict[str, Any]:
    from ferrum.operation import OPS
    from ferrum.plugins import load

    load(point)  # after the core's ops: `python -m ferrum.probe` has imported ferrum
    package = point.module.partition(".")[0]
    own = [op for op in OPS.values() if op.rule.__module__.partition(".")[0] == package]
    return {
        "own": len(own),
        "ops": {
            op.name: {"revision": op.revision, "tier": op.tier, "module": op.rule.__module__}
            for op in OPS.values()
        },
    }


if __name__ == "__main__":
    main(sys.argv[1:])
