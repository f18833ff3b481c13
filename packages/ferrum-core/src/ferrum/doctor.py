"""`ferrum doctor`: what is installed, what works, what does not, and how to mend it.

Plugins are loaded in processes of their own, several at once, each for a limited time.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any

from ferrum import installation
from ferrum.installation import VARIABLES, Problem
from ferrum.names import BACKEND_INFO, BACKENDS, CORE, OPS, normalized
from ferrum.probe import probe

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

LIMIT = 5.0  # seconds that a plugin may take to load
AT_ONCE = 8
GROUPS = (BACKENDS, BACKEND_INFO, OPS)


@dataclass
class Plugin:
    """An entry point and what loading it has shown; `state` is "ok", "broken" or why it was not."""

    group: str
    name: str
    distribution: str
    version: str
    state: str
    path: str = ""
    found: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class Report:
    """All that `ferrum doctor` knows."""

    system: dict[str, str]
    packages: list[dict[str, str]]
    environment: dict[str, str]
    plugins: list[Plugin] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def of(self, group: str) -> list[Plugin]:
        """Return the plugins of a group."""
        return [each for each in self.plugins if each.group == group]


def examine(limit: float | None = None) -> Report:
    """Return what there is, with each plugin loaded for at most `limit` seconds, usually LIMIT."""
    found = installation.everything()
    report = Report(installation.system(), installation.packages(found), installation.environment())
    report.problems += installation.problems(found)
    try:
        from ferrum import plugins
    except Exception as error:  # the files of ferrum may be anyone's: see `installation`
        what = f"ferrum itself does not import: {type(error).__name__}: {error}"
        report.problems.append(Problem(what, f"pip install --force-reinstall --no-deps {CORE}"))
        return report
    points = [(group, point) for group in GROUPS for point in plugins.installed(group)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        looks = list(pool.map(_look, points, repeat(limit or LIMIT)))
    report.plugins = [plugin for plugin, _ in looks]
    report.problems += _faults(looks)
    report.problems += _rivals(report)
    report.problems += _clashing_ops(report)
    report.problems += _variables(report)
    _compare_kernels(report)
    return report


def _faults(looks: Iterable[tuple[Plugin, Problem | None]]) -> Iterable[Problem]:
    """Return what is wrong with single plugins; one line that breaks two entry points, once."""
    faults: dict[tuple[str, str], Problem] = {}
    for plugin, problem in looks:
        if problem:
            place = plugin.found.get("at") or problem.what
            faults.setdefault((plugin.distribution, place), problem)
    return faults.values()


def _look(found: tuple[str, EntryPoint], limit: float) -> tuple[Plugin, Problem | None]:
    from ferrum.plugins import is_allowed, source_of

    group, point = found
    source = source_of(point)
    plugin = Plugin(group, *source, "ok", path=_path(point))
    problem = None
    if not is_allowed(point):
        plugin.state = "not allowed by FERRUM_PLUGINS"
    elif _overrides_core(group, point):
        plugin.state = "ignored"
        what = f"{source}: the device {point.name!r} is {CORE}'s own; this one is ignored"
        problem = Problem(what, f"pip uninstall {source.distribution}")
    else:
        plugin.found = probe(group, point, limit)
        plugin.path = plugin.found.pop("path", plugin.path)
        error = plugin.found.get("error")
        if error:
            plugin.state = "broken"
            at = plugin.found.get("at")
            mend = plugin.found.get("mend") or source.usual_mend
            problem = Problem(
                f"{error}{f', at {at}' if at else ''}", _mend(mend, point, source.distribution)
            )
    return plugin, problem


def _mend(usual: str, point: EntryPoint, distribution: str) -> str:
    """Return what mends a plugin; of one that is installed as editable no other can be had."""
    sources = installation.sources(point.dist) if point.dist else ""
    upgrade = f"pip install --upgrade {distribution}"
    return usual.replace(upgrade, f"mend the sources in {sources}") if sources else usual


def _path(point: EntryPoint) -> str:
    """Return where a plugin's package is, without importing it."""
    try:
        spec = importlib.util.find_spec(re.split(r"[.:]", point.value)[0])
    except (ImportError, ValueError):
        return ""
    return (spec.origin if spec else "") or ""


def _overrides_core(group: str, point: EntryPoint) -> bool:
    from ferrum.errors import FerrumError
    from ferrum.plugins import chosen, source_of

    if group != BACKENDS:
        return False
    try:
        winner = source_of(chosen(point.name)).distribution
    except FerrumError:
        return False
    return winner == CORE != source_of(point).distribution


# ---- what is wrong between plugins


def _rivals(report: Report) -> Iterator[Problem]:
    offers: dict[str, list[Plugin]] = {}
    for each in report.of(BACKENDS):
        if each.state in ("ok", "broken"):
            offers.setdefault(each.name, []).append(each)
    for kind, rivals in offers.items():
        if len(rivals) > 1:
            names = [each.distribution for each in rivals]
            yield Problem(
                f"the device {kind!r} is offered by {' and by '.join(names)}: it cannot be used",
                f"pip uninstall {names[-1]}, or set FERRUM_PLUGINS to the plugins you want",
            )


def _clashing_ops(report: Report) -> Iterator[Problem]:
    """Find ops that two libraries declare: each loads alone, together the second one fails."""
    declared: dict[str, dict[str, str]] = {}
    for plugin in report.of(OPS):
        for name, op in plugin.found.get("ops", {}).items():
            declared.setdefault(name, {}).setdefault(op["module"], plugin.distribution)
    for name, modules in declared.items():
        if len(modules) > 1:
            where = " and in ".join(f"{module} ({dist})" for module, dist in modules.items())
            last = list(modules.values())[-1]
            yield Problem(f"the op {name!r} is declared in {where}", f"pip uninstall {last}")


def _variables(report: Report) -> Iterator[Problem]:
    kinds = sorted({each.name for each in report.of(BACKENDS) if each.state in ("ok", "broken")})
    asked = os.environ.get("FERRUM_DEVICE")
    if asked and asked.partition(":")[0] not in kinds:
        yield Problem(
            f"FERRUM_DEVICE={asked!r} names no device that is installed",
            f"unset FERRUM_DEVICE, or set it to one of: {', '.join(kinds)}",
        )
    known = {normalized(each.name) for each in report.plugins}
    known |= {each.distribution for each in report.plugins} | {"", "none"}
    for name in os.environ.get("FERRUM_PLUGINS", "").split(","):
        if normalized(name.strip()) not in known:
            yield Problem(
                f"FERRUM_PLUGINS names {name.strip()!r}, which is no plugin that is installed",
                f"one or more of: {', '.join(sorted(known - {''}))}",
            )
    for name in report.environment:
        alike = difflib.get_close_matches(name, VARIABLES, 1, 0.8)
        if alike and name not in VARIABLES:
            yield Problem(f"{name} is not a variable that FERRUM reads", f"set {alike[0]}")


def _compare_kernels(report: Report) -> None:
    """Hold each backend's kernels against the ops that are declared."""
    ops = {name: op for each in report.of(OPS) for name, op in each.found.get("ops", {}).items()}
    for plugin in report.of(BACKENDS):
        kernels = plugin.found.get("kernels")
        if kernels is not None:
            plugin.notes += _ignored(kernels, ops)
            required = [name for name, op in ops.items() if op["tier"] < 2]
            plugin.found["required"] = len(required)
            plugin.found["missing"] = [name for name in required if name not in kernels]


def _ignored(kernels: Mapping[str, int], ops: Mapping[str, Any]) -> Iterator[str]:
    known = {name.partition(".")[0] for name in ops}
    for name, revision in kernels.items():
        op = ops.get(name)
        if op is None and name.partition(".")[0] in known:
            alike = difflib.get_close_matches(name, ops, 1)
            yield f"kernel {name!r} is ignored: there is no such op" + (
                f"; is it {alike[0]!r}?" if alike else ""
            )
        elif op is not None and revision != op["revision"]:
            yield (
                f"kernel {name!r} is ignored: it is of revision {revision}, the op of "
                f"revision {op['revision']}"
            )


# ---- telling it


def as_json(report: Report) -> str:
    """Return the report as JSON."""
    return json.dumps({"ok": not report.problems, **asdict(report)}, indent=2)


def as_text(report: Report) -> str:
    """Return the report as plain text."""
    parts = [
        _section("system", [f"{key:<11} {value}" for key, value in report.system.items()]),
        _section("packages", [_package(each) for each in report.packages]),
        _section("devices", [line for each in report.of(BACKENDS) for line in _device(each)]),
        _section("op libraries", [line for each in report.of(OPS) for line in _library(each)]),
        _section("environment", [f"{name}={value}" for name, value in report.environment.items()]),
        _problems(report.problems),
    ]
    return "\n\n".join(filter(None, parts))


def devices_text(report: Report) -> str:
    """Return the devices alone, as `ferrum devices` prints them."""
    return "\n".join(line for each in report.of(BACKENDS) for line in _device(each))


def _section(title: str, lines: list[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)]) if lines else ""


def _package(package: Mapping[str, str]) -> str:
    return f"{package['name']:<20} {package['version']:<10} {package['path']}"


def _headline(plugin: Plugin, facts: list[str]) -> str:
    said = ", ".join([f"{plugin.distribution} {plugin.version}", *facts])
    return f"{plugin.name:<11} {plugin.state}: {said}"


def _device(plugin: Plugin) -> Iterator[str]:
    found = plugin.found
    facts = []
    if plugin.state == "ok":
        have = found["required"] - len(found["missing"])
        facts = [
            f"ABI {'.'.join(map(str, found['abi']))}",
            f"{have} of the {found['required']} required kernels",
            f"{found['count']} device{'' if found['count'] == 1 else 's'}",
        ]
    yield _headline(plugin, facts)
    indent = " " * 12
    if plugin.path:
        yield indent + plugin.path
    if found.get("dtypes"):
        yield indent + "dtypes " + " ".join(found["dtypes"])
    for key, value in found.get("info", {}).items():
        yield f"{indent}{key} {value}"
    if found.get("missing"):
        yield f"{indent}what is missing: ferrum conformance {plugin.name}"
    for note in plugin.notes:
        yield indent + note


def _library(plugin: Plugin) -> Iterator[str]:
    yield _headline(plugin, [f"{plugin.found['own']} ops"] if plugin.state == "ok" else [])
    if plugin.path:
        yield " " * 12 + plugin.path


def _problems(problems: list[Problem]) -> str:
    if not problems:
        return "Nothing is wrong."
    lines = [f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"]
    for number, problem in enumerate(problems, 1):
        lines += [f"{number:3}. {problem.what}", f"     try: {problem.mend}"]
    return "\n".join(lines)


def main(as_json_text: bool, limit: float | None) -> int:
    """Print the report; return 0 if nothing is wrong."""
    report = examine(limit)
    print(as_json(report) if as_json_text else as_text(report))
    return int(bool(report.problems))
