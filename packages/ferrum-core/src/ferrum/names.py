"""What things are called where plugins are looked for."""

from __future__ import annotations

import re

CORE = "ferrum-core"
BACKENDS = "ferrum.backends"
BACKEND_INFO = "ferrum.backend_info"
OPS = "ferrum.ops"
# Who offers which kind of device, of what FERRUM itself brings out.
OFFERED_BY = {"reference": CORE, "cpu": "ferrum-cpu", "cuda": "ferrum-cuda"}


def normalized(name: str) -> str:
    """Return the name of a distribution in its one normal form: "ferrum-grid" of "Ferrum_Grid"."""
    return re.sub(r"[-_.]+", "-", name).lower()
