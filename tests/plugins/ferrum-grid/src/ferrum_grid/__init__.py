"""A backend of FERRUM whose arrays are looks at a bytearray."""

from ferrum.backend import Backend
from ferrum.dtypes import bool_, float32, float64, int64
from ferrum.hookspecs import hookimpl
from ferrum_grid.grid import stored
from ferrum_grid.kernels import KERNELS


class GridBackend(Backend):
    """The device `grid`."""

    abi = (1, 0)
    dtypes = frozenset({float32, float64, int64, bool_})
    kernels = KERNELS

    def from_numpy(self, value):
        return stored(value, value.dtype)

    def to_numpy(self, array):
        return array.window

    def is_contiguous(self, array):
        return array.is_contiguous


class Plugin:
    """The entry point."""

    @hookimpl
    def ferrum_backend(self, index):
        return GridBackend()


plugin = Plugin()
