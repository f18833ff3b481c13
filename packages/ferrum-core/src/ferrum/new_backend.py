"""`ferrum new-backend NAME`: the project of a backend that has tier 0 and can go on from there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ferrum import __version__
from ferrum.errors import ArgumentError
from ferrum.names import BACKENDS
from ferrum.plugins import installed, source_of

TEMPLATE = Path(__file__).parent / "template"
SUFFIX = ".txt"  # a template's sources are not sources of this package


def write_project(name: str, folder: Path) -> Path:
    """Write the project of the backend for the device kind `name` into `folder`; return its path.

    Raises ArgumentError for a name that cannot be a device's, or where something is in the way.
    """
    _check_name(name)
    project = folder / f"ferrum-{name.replace('_', '-')}"
    if project.exists():
        raise ArgumentError(f"new-backend: {project} exists already; choose another --path")
    words = _words(name)
    for source in sorted(TEMPLATE.rglob(f"*{SUFFIX}")):
        path = project / _replaced(str(source.relative_to(TEMPLATE).with_suffix("")), words)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_replaced(source.read_text(encoding="utf-8"), words), encoding="utf-8")
    return project


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z]([a-z0-9_]*[a-z0-9])?", name):
        raise ArgumentError(
            f"new-backend: expected a name of small letters, digits and underscores, such as "
            f"'mydevice', got {name!r}"
        )
    for point in installed(BACKENDS, name):
        raise ArgumentError(
            f"new-backend: {source_of(point).distribution} offers the device {name!r} already; "
            f"choose another name"
        )


def _words(name: str) -> dict[str, str]:
    """Return what stands in the template, and what shall stand there instead."""
    major, minor = __version__.split(".")[:2]
    return {
        "ferrum-core>=1.0,<2": f"ferrum-core>={major}.{minor},<{int(major) + 1}",
        "ferrum-mydevice": f"ferrum-{name.replace('_', '-')}",
        "mydevice": name,
        "MyDevice": "".join(word.capitalize() for word in name.split("_")),
    }


def _replaced(text: str, words: dict[str, str]) -> str:
    for old, new in words.items():
        text = text.replace(old, new)
    return text


def main(name: str, folder: str) -> int:
    """Write the project and say how to go on; return the exit status."""
    try:
        project = write_project(name, Path(folder))
    except (ArgumentError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{project} is written. Tier 0 is there; go on with:")
    print(f"  pip install -e '{project}[test]'")
    print(f"  ferrum conformance {name}")
    return 0
