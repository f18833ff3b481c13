"""What is installed beside FERRUM, and whether it fits together.

Nothing but the standard library is needed here: this must work where another distribution has
overwritten half of the package `ferrum`.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from ferrum.names import CORE, normalized

FAMILY = (CORE, *(f"ferrum-{name}" for name in ("nn", "cpu", "cuda", "distributed", "zoo")))
VARIABLES = {
    "FERRUM_DEVICE": "the device of tensors that name none",
    "FERRUM_PLUGINS": "the plugins that may be loaded",
}
OTHERS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
COMPARED = {">=": (0, 1), "<": (-1,), "==": (0,), ">": (1,), "<=": (-1, 0), "!=": (-1, 1)}


@dataclass(frozen=True)
class Problem:
    """Something that is broken, and what mends it."""

    what: str
    mend: str


def everything() -> dict[str, Distribution]:
    """Return the installed distributions by name: of two with one name, the first on the path."""
    found: dict[str, Distribution] = {}
    for each in distributions():
        metadata: Any = each.metadata
        name = metadata.get("Name") if metadata else None
        if name:
            found.setdefault(normalized(name), each)
    return found


def system() -> dict[str, str]:
    """Return the interpreter and the machine."""
    return {
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "executable": sys.executable,
        "platform": platform.platform(),
    }


def environment() -> dict[str, str]:
    """Return the environment variables that have a say, and are set."""
    mine = [name for name in os.environ if name.startswith("FERRUM_")]
    return {name: os.environ[name] for name in sorted({*mine, *OTHERS}) if name in os.environ}


def packages(found: dict[str, Distribution]) -> list[dict[str, str]]:
    """Return FERRUM's distributions, what the core needs, and what needs the core."""
    needed = [name for name, _ in requirements(found[CORE])] if CORE in found else []
    users = [name for name, each in found.items() if any(n == CORE for n, _ in requirements(each))]
    names = dict.fromkeys([CORE, *sorted(needed), *sorted(users)])
    return [
        {"name": name, "version": found[name].version, "path": location(found[name])}
        for name in names
        if name in found
    ]


def location(dist: Distribution) -> str:
    """Return where a distribution is: its sources, if it is installed as editable."""
    where = sources(dist)
    return f"{where} (editable)" if where else str(dist.locate_file(""))


def sources(dist: Distribution) -> str:
    """Return the folder from which a distribution is installed as editable; "" if it is not."""
    direct = json.loads(dist.read_text("direct_url.json") or "{}")
    editable = direct.get("dir_info", {}).get("editable")
    return str(direct["url"]).removeprefix("file://") if editable else ""


def requirements(dist: Distribution) -> Iterator[tuple[str, str]]:
    """Yield what a distribution requires everywhere: ("ferrum-core", ">=0.1,<0.2")."""
    for line in dist.requires or []:
        requirement, _, conditions = line.partition(";")
        parts = re.fullmatch(r"\s*([\w.-]+)\s*(?:\[.*?\])?\s*\(?([^()]*)\)?\s*", requirement)
        if parts and not conditions:
            yield normalized(parts[1]), parts[2].replace(" ", "")


def satisfies(version: str, bounds: str) -> bool:
    """Return whether a version lies within bounds such as ">=0.1,<0.2"; what is unclear does."""
    for bound in filter(None, bounds.split(",")):
        parts = re.fullmatch(r"(>=|<=|==|!=|<|>)([\d.]+)", bound)
        if parts:
            mine, other = _release(version), _release(parts[2])
            if (mine > other) - (mine < other) not in COMPARED[parts[1]]:
                return False
    return True


def _release(version: str) -> tuple[int, ...]:
    leading = re.match(r"\d+(\.\d+)*", version)
    numbers = tuple(map(int, leading[0].split("."))) if leading else ()
    return (*numbers, 0, 0, 0)[:4] if len(numbers) < 4 else numbers


# ---- what may be wrong


def problems(found: dict[str, Distribution]) -> list[Problem]:
    """Return everything that is wrong with how FERRUM is installed."""
    return [*_clashes(found), *_commands(found), *_files(found), *_shadow(found), *_versions(found)]


def _clashes(found: dict[str, Distribution]) -> Iterator[Problem]:
    """Find other distributions that install a package `ferrum`: see docs/adr/0001."""
    for name, dist in found.items():
        if name != CORE and _claims_ferrum(dist):
            yield Problem(
                f"{name} {dist.version} also installs a package called 'ferrum': the two overwrite "
                f"each other's files",
                f"pip uninstall {name} {CORE}, then pip install {CORE}",
            )


def _claims_ferrum(dist: Distribution) -> bool:
    # "Ferrum" is the same folder where file systems ignore case.
    record = (dist.read_text("RECORD") or dist.read_text("SOURCES.txt") or "").lower()
    tops = (dist.read_text("top_level.txt") or "").lower().split()
    return record.startswith("ferrum/") or "\nferrum/" in record or "ferrum" in tops


def _commands(found: dict[str, Distribution]) -> Iterator[Problem]:
    for name, dist in found.items():
        try:
            mine = dist.entry_points.select(group="console_scripts", name="ferrum")
        except Exception:  # a line that is none, and every program that looks stumbles over it
            what = f"the entry points of {name} {dist.version} cannot be read"
            yield Problem(what, f"pip install --force-reinstall --no-deps {name}")
            continue
        if mine and name != CORE:
            yield Problem(
                f"the command 'ferrum' may be that of {name}",
                f"python -m ferrum, which is always this one, or: pip uninstall {name}",
            )


def _files(found: dict[str, Distribution]) -> Iterator[Problem]:
    """Compare the core's files with what pip wrote down when it installed them."""
    core = found.get(CORE)
    if core is None:
        yield Problem(
            f"{CORE} has no metadata, so that no plugin is found, 'reference' neither",
            f"pip install {CORE} (from a clone: pip install ./packages/{CORE})",
        )
        return
    wrong = [name for name, hashed in _recorded(core) if not _is_whole(core, name, hashed)]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield Problem(
            f"{wrong[0]}{more}: missing, or not what {CORE} installed",
            f"pip install --force-reinstall --no-deps {CORE}",
        )


def _recorded(core: Distribution) -> Iterator[tuple[str, str]]:
    for row in csv.reader((core.read_text("RECORD") or "").splitlines()):
        if len(row) == 3 and row[0].startswith("ferrum/") and row[1].startswith("sha256="):
            yield row[0], row[1].removeprefix("sha256=")


def _is_whole(core: Distribution, name: str, hashed: str) -> bool:
    try:
        content = Path(str(core.locate_file(name))).read_bytes()
    except OSError:
        return False
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return digest.rstrip(b"=").decode() == hashed


def _shadow(found: dict[str, Distribution]) -> Iterator[Problem]:
    """Find a folder `ferrum` that stands before the installed one on the path."""
    core = found.get(CORE)
    if core is None or not any(_recorded(core)):
        return
    installed = Path(str(core.locate_file("ferrum/__init__.py"))).resolve()
    imported = getattr(sys.modules.get("ferrum"), "__file__", None)
    if imported is None or Path(imported).resolve() != installed:
        yield Problem(
            f"'import ferrum' finds {imported or 'a folder without __init__.py'}, not {installed}",
            "start Python elsewhere, or rename what is in the way",
        )


def _versions(found: dict[str, Distribution]) -> Iterator[Problem]:
    """Find distributions of, for or under FERRUM that do not fit each other's versions."""
    for name, dist in found.items():
        for needed, bounds in requirements(dist):
            if name not in FAMILY and needed not in FAMILY:
                continue
            version = found[needed].version if needed in found else "nothing"
            if needed not in found or not satisfies(version, bounds):
                yield Problem(
                    f"{name} {dist.version} needs {needed}{bounds}, and {version} is installed",
                    _renewal(found, name, needed),
                )


def _renewal(found: dict[str, Distribution], *names: str) -> str:
    """Return what makes distributions new: of one that is installed as editable, its sources."""
    folders = {name: sources(found[name]) if name in found else "" for name in names}
    ways = [f"renew the sources in {folder}" for folder in folders.values() if folder]
    plain = [name for name, folder in folders.items() if not folder]
    return ", and ".join([*ways, *([f"pip install --upgrade {' '.join(plain)}"] if plain else [])])
