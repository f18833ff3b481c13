"""The hooks of FERRUM's plugins. Implementations are marked with `hookimpl`."""

from __future__ import annotations

import pluggy

from ferrum.backend import Backend
from ferrum.errors import UnsupportedError

hookspec = pluggy.HookspecMarker("ferrum")
hookimpl = pluggy.HookimplMarker("ferrum")


class BackendHooks:
    """What an entry point of the group `ferrum.backends` provides."""

    @hookspec(firstresult=True)
    def ferrum_backend(self, index: int) -> Backend:
        """Return the backend of the device with this index; called once per index."""
        raise UnsupportedError("ferrum_backend: a plugin defines it, with @hookimpl")

    @hookspec(firstresult=True)
    def ferrum_device_count(self) -> int:
        """Return how many devices of this kind there are (1 where the hook is missing)."""
        raise UnsupportedError("ferrum_device_count: a plugin defines it, with @hookimpl")
