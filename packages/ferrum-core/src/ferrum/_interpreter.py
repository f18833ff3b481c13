"""Free-threaded builds of Python are refused, for now.

Imported before everything else: reading `sys.abiflags` costs nothing, where `sysconfig` costs 2 ms.
"""

import sys

if "t" in getattr(sys, "abiflags", "") or "free-threading" in sys.version:
    raise ImportError(
        f"ferrum: expected a Python with the global interpreter lock, got a free-threaded build of "
        f"{sys.version.split()[0]}; use the ordinary one, python{sys.version_info[0]}."
        f"{sys.version_info[1]} instead of python{sys.version_info[0]}.{sys.version_info[1]}t"
    )
