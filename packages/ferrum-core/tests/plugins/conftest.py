"""A folder of small distributions, for a Python of its own to find: what pip would leave there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Points = dict[str, dict[str, str]]

BACKEND = """\
import numpy as np
from ferrum.backend import Backend
from ferrum.dtypes import float32
from ferrum.hookspecs import hookimpl

class Mine(Backend):
    abi = (1, 0)
    dtypes = frozenset({float32})
    kernels = {}
    def from_numpy(self, value):
        return value
    def to_numpy(self, array):
        return array

class Plugin:
    @hookimpl
    def ferrum_backend(self, index):
        return Mine()

plugin = Plugin()
"""


class Site:
    """The folder, and ways to run Python with it on the path."""

    BACKEND = BACKEND

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dropped = ("FERRUM_",)  # environment variables that Python shall not see

    def unmeasured(self) -> Site:
        """Leave coverage out: it imports much itself, and would count a copy of ferrum."""
        self.dropped = ("FERRUM_", "COV_", "COVERAGE_")
        return self

    def add(
        self, name: str, points: Points, files: dict[str, str], version: str = "1.0", more: str = ""
    ) -> None:
        """Put a distribution there: its entry points, and its files by path."""
        for path, text in files.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(textwrap.dedent(text), encoding="utf-8")
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        lines = []
        for group, entries in points.items():
            lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        record = "".join(f"{path},,\n" for path in files)
        (info / "RECORD").write_text(record, encoding="utf-8")

    def add_backend(self, kind: str, source: str = BACKEND, **options: Any) -> None:
        """Put a distribution `ferrum-KIND` there, whose module `ferrum_KIND` offers the device."""
        points = {"ferrum.backends": {kind: f"ferrum_{kind}:plugin"}}
        self.add(f"ferrum-{kind}", points, {f"ferrum_{kind}/__init__.py": source}, **options)

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments and environment variables."""
        kept = {k: value for k, value in os.environ.items() if not k.startswith(self.dropped)}
        environment = {
            **kept,
            "PYTHONPATH": os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")]),
            "FERRUM_DEVICE": "reference",
            **variables,
        }
        return subprocess.run(
            [sys.executable, "-W", "error", *words],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=environment,
            cwd=self.folder,
            timeout=120,
            check=False,
        )

    def code(self, code: str, *words: str, **variables: str) -> str:
        """Return what some code prints; it must succeed."""
        done = self.run("-c", textwrap.dedent(code), *words, **variables)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def doctor(self, *words: str, **variables: str) -> dict[str, Any]:
        """Return doctor's report."""
        done = self.run("-m", "ferrum", "doctor", "--json", *words, **variables)
        report: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == int(not report["ok"]), done.stderr
        return report


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with nothing in it."""
    return Site(tmp_path)


@pytest.fixture(scope="session")
def new_site(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Site]:
    """Make a site with nothing in it, for tests that share one."""
    return lambda: Site(tmp_path_factory.mktemp("site"))
