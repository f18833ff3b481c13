"""The entry point `cpu`."""

from __future__ import annotations

from ferrum.backend import Backend
from ferrum.hookspecs import hookimpl
from ferrum_cpu.backend import CPU


class Plugin:
    """The plugin object."""

    @hookimpl
    def ferrum_backend(self, index: int) -> Backend:
        """Return the backend: there is one device."""
        return CPU()


plugin = Plugin()
