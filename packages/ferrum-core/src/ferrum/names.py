"""What things are called where plugins are looked for."""

from __future__ import annotations

import re

CORE = "ferrum-core"
BACKENDS = "ferrum.backends"
BACKEND_INFO = "ferrum.backend_info"
OPS = "ferrum.ops"


def normalized(name: str) -> str:
    """Return the name of a distribution in its one normal form: "ferrum-grid" of "Ferrum_Grid"."""
    return re.sub(r"[-_.]+", "-", name).lower()
