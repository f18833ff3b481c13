"""What a backend must be before its device is used: the checks that the loader makes, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ferrum.backend import ABI, Backend, Kernel, as_kernel
from ferrum.dtypes import DTYPES, DType
from ferrum.errors import PluginError


class Source(NamedTuple):
    """Where a plugin comes from: the name of its entry point, and who declares it."""

    name: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.distribution} {self.version}"

    def fault(self, what: str, mend: str = "") -> PluginError:
        """Return the error that says what is wrong with the plugin, and what to do about it."""
        return PluginError(f"{self}: {what}", mend=mend or self.usual_mend)

    @property
    def usual_mend(self) -> str:
        """What to do about the plugin where nothing better is known."""
        name = self.distribution
        return f"pip install --upgrade {name}, or do without: pip uninstall {name}"


def abi_text(abi: Any) -> str:
    """Return an ABI as people write it: "1.0"."""
    return ".".join(map(str, abi)) if isinstance(abi, tuple) else repr(abi)


def check_abi(abi: Any, source: Source) -> None:
    """Raise PluginError unless `abi` is a pair of ints of this core's major number."""
    pair = isinstance(abi, tuple) and [type(part) for part in abi] == [int, int]
    if not pair:
        raise source.fault(f"expected its class to state an ABI such as abi = {ABI}, got {abi!r}")
    if abi[0] != ABI[0]:
        older = "ferrum-core" if abi > ABI else source.distribution
        raise source.fault(
            f"it speaks ABI {abi_text(abi)}, this ferrum-core speaks {abi_text(ABI)}",
            mend=f"pip install --upgrade {older}",
        )


def check_backend(backend: Any, source: Source) -> Backend:
    """Return `backend` if it can be used, else raise PluginError that says what is wrong."""
    if not isinstance(backend, Backend):
        got = type(backend).__name__
        raise source.fault(f"expected ferrum_backend to return a ferrum.backend.Backend, got {got}")
    check_abi(getattr(backend, "abi", None), source)
    _check_dtypes(backend.dtypes, "its dtypes", source)
    _check_kernels(backend.kernels, source)
    for dtype in DTYPES:
        if dtype in backend.dtypes:
            _check_round_trip(backend, dtype, source)
    return backend


def _check_dtypes(dtypes: Any, what: str, source: Source) -> None:
    if not isinstance(dtypes, (set, frozenset)) or not dtypes or not dtypes <= set(DTYPES):
        raise source.fault(
            f"expected {what} to be a set of FERRUM's, such as "
            f"frozenset({{ferrum.dtypes.float32}}), got {dtypes!r}"
        )


def _check_kernels(kernels: Any, source: Source) -> None:
    if not isinstance(kernels, Mapping):
        got = type(kernels).__name__
        raise source.fault(
            f"expected kernels to be a mapping from op names to functions, got {got}"
        )
    for name, found in kernels.items():
        if not isinstance(name, str) or "." not in name:
            raise source.fault(f"expected op names such as 'core.add' in kernels, got {name!r}")
        _check_kernel(name, as_kernel(found), source)


def _check_kernel(name: str, kernel: Kernel, source: Source) -> None:
    function: Any = kernel.function
    revision: Any = kernel.revision
    if not callable(function):
        raise source.fault(f"expected a function or a Kernel for {name!r}, got {function!r}")
    if type(revision) is not int:
        raise source.fault(f"expected an int as the revision for {name!r}, got {revision!r}")
    if kernel.dtypes is not None:
        _check_dtypes(kernel.dtypes, f"the dtypes of the kernel for {name!r}", source)


def _check_round_trip(backend: Backend, dtype: DType, source: Source) -> None:
    """Send six values through the backend's memory: what is wrong here is wrong everywhere."""
    sent = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    array: Any = backend.from_numpy(sent.copy())
    shape, found = getattr(array, "shape", None), getattr(array, "dtype", None)
    if not (type(shape) is tuple and shape == sent.shape and found is dtype):
        raise source.fault(
            f"expected from_numpy to return an array of shape (2, 3) and dtype {dtype}, got "
            f"{type(array).__name__} of shape {shape} and dtype {found}"
        )
    back: Any = backend.to_numpy(array)
    if not (isinstance(back, np.ndarray) and back.dtype == dtype and np.array_equal(back, sent)):
        raise source.fault(
            f"expected to_numpy to return what from_numpy was given, {sent.tolist()} {dtype}, "
            f"got {back!r}"
        )
