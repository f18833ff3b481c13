"""The conformance kit: what every device must do, asked case by case.

    from ferrum.testing import BackendConformance

    class TestMine(BackendConformance):
        device = "mine"

makes pytest ask; `python -m ferrum conformance mine` asks without pytest, prints a table and
writes JSON. Right answers come from finite differences, from `ferrum.philox`, and from the
reference device in float64; tolerances from the op table.
"""

from ferrum.testing.cases import ASPECTS, Case, cases
from ferrum.testing.failures import ConformanceFailure, NotApplicable
from ferrum.testing.report import Report, main, run
from ferrum.testing.suite import BackendConformance

__all__ = [
    "ASPECTS",
    "BackendConformance",
    "Case",
    "ConformanceFailure",
    "NotApplicable",
    "Report",
    "cases",
    "main",
    "run",
]
