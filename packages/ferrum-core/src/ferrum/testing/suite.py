"""The kit as a pytest class. Nothing here imports pytest: the hook and the skips go by name."""

from __future__ import annotations

import unittest
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, ClassVar

from ferrum import plugins
from ferrum.device import Device
from ferrum.errors import ArgumentError
from ferrum.operation import Op
from ferrum.testing.cases import ASPECTS, Case, aspects_of, cases_of, selected
from ferrum.testing.failures import ConformanceFailure, NotApplicable

SHOWN = 5  # failures of one op and aspect that a test shows


class BackendConformance:
    """A test for each op and aspect. Subclass it in a test file, with the name of your device.

    `ops` and `aspects` narrow it down; `excuses` are reasons not to run a case, by patterns of its
    name: `{"core.pow-*-value-*": "integers saturate on this chip"}`.
    """

    device: ClassVar[str | Device] = ""
    ops: ClassVar[Sequence[str] | None] = None
    aspects: ClassVar[Collection[str]] = tuple(ASPECTS)
    excuses: ClassVar[Mapping[str, str]] = {}

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Make a test for each op and aspect."""
        if not self.device:
            raise ArgumentError(f"{type(self).__name__}: set `device` to the name of your device")
        device = plugins.device(self.device)
        cells = [
            (op, aspect)
            for op in selected(self.ops)
            for aspect in aspects_of(op, device)
            if aspect in self.aspects
        ]
        metafunc.parametrize(("op", "aspect"), cells, ids=[f"{op.name}-{a}" for op, a in cells])

    def test_conformance(self, op: Op[..., Any], aspect: str) -> None:
        """Run all cases of one op and aspect, and show what failed."""
        asked = _cases_by_aspect(op, plugins.device(self.device)).get(aspect, [])
        failures, reasons = [], []
        for case in asked:
            try:
                self._run(case)
            except ConformanceFailure as failure:
                failures.append(str(failure))
            except NotApplicable as reason:
                reasons.append(str(reason))
        if failures:
            shown = "\n\n".join(failures[:SHOWN])
            raise ConformanceFailure(f"{len(failures)} of {len(asked)} cases failed\n\n{shown}")
        if len(reasons) == len(asked):
            raise unittest.SkipTest("; ".join(sorted(set(reasons))) or "no sample asks this")

    def _run(self, case: Case) -> None:
        for pattern, reason in self.excuses.items():
            if fnmatchcase(case.id, pattern):
                raise NotApplicable(reason)
        case.run()


@lru_cache(maxsize=1)
def _cases_by_aspect(op: Op[..., Any], device: Device) -> dict[str, list[Case]]:
    """Return the cases of `op`, which the tests of its aspects ask for one after the other."""
    found: dict[str, list[Case]] = {}
    for case in cases_of(op, device):
        found.setdefault(case.aspect, []).append(case)
    return found
