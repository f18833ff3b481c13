"""What a backend must be before its device is used: the checks that the loader makes, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ferrum.backend import ABI, Backend, Kernel
from ferrum.dtypes import DTYPES, DType
from ferrum.errors import PluginError


def abi_text(abi: Any) -> str:
    """Return an ABI as people write it: "1.0"."""
    return ".".join(map(str, abi)) if isinstance(abi, tuple) else repr(abi)


def check_abi(abi: Any, who: str, distribution: str) -> None:
    """Raise PluginError unless `abi` is a pair of ints of this core's major number."""
    pair = isinstance(abi, tuple) and [type(part) for part in abi] == [int, int]
    if not pair:
        raise PluginError(
            f"{who}: expected an ABI such as {ABI}, a pair of ints, got {abi!r}",
            mend=f"a newer {distribution}; its author writes the ABI it was made for into its class",
        )
    if abi[0] != ABI[0]:
        older = "ferrum-core" if abi > ABI else distribution
        raise PluginError(
            f"{who}: it speaks ABI {abi_text(abi)}, this ferrum-core speaks {abi_text(ABI)}",
            mend=f"pip install --upgrade {older}",
        )


def check_backend(backend: Any, who: str, distribution: str) -> Backend:
    """Return `backend` if it is one that can be used, else raise PluginError that says what is wrong."""
    if not isinstance(backend, Backend):
        raise PluginError(
            f"{who}: expected ferrum_backend to return a ferrum.backend.Backend, got "
            f"{type(backend).__name__}"
        )
    # Inherited, it would be whatever this core speaks, and no mismatch could ever be noticed.
    check_abi(getattr(backend, "abi", "none"), who, distribution)
    _check_dtypes(backend.dtypes, who)
    _check_kernels(backend.kernels, who)
    for dtype in DTYPES:
        if dtype in backend.dtypes:
            _check_round_trip(backend, dtype, who)
    return backend


def _check_dtypes(dtypes: Any, who: str) -> None:
    if not isinstance(dtypes, (set, frozenset)) or not dtypes or not dtypes <= set(DTYPES):
        raise PluginError(
            f"{who}: expected dtypes to be a set of FERRUM's dtypes, such as "
            f"frozenset({{ferrum.dtypes.float32}}), got {dtypes!r}"
        )


def _check_kernels(kernels: Any, who: str) -> None:
    if not isinstance(kernels, Mapping):
        raise PluginError(
            f"{who}: expected kernels to be a mapping from op names to functions, got "
            f"{type(kernels).__name__}"
        )
    for name, found in kernels.items():
        if not isinstance(name, str) or "." not in name:
            raise PluginError(
                f"{who}: expected op names such as 'core.add' in kernels, got {name!r}"
            )
        kernel = found if isinstance(found, Kernel) else Kernel(found)
        if not callable(kernel.function):
            raise PluginError(
                f"{who}: expected a function or a Kernel for {name!r}, got {kernel.function!r}"
            )
        if type(kernel.revision) is not int:
            raise PluginError(
                f"{who}: expected an int as revision of the kernel {name!r}, got {kernel.revision!r}"
            )
        if kernel.dtypes is not None:
            _check_dtypes(kernel.dtypes, f"{who}: kernel {name!r}")


def _check_round_trip(backend: Backend, dtype: DType, who: str) -> None:
    """Send six values through the backend's memory: a wrong answer here is wrong everywhere."""
    sent = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    array = backend.from_numpy(sent.copy())
    shape, found = getattr(array, "shape", "none"), getattr(array, "dtype", "none")
    if not (type(shape) is tuple and shape == sent.shape and found is dtype):
        raise PluginError(
            f"{who}: expected from_numpy to return an array with the shape (2, 3) and the dtype "
            f"{dtype}, got {type(array).__name__} with the shape {shape} and the dtype {found}"
        )
    back: Any = backend.to_numpy(array)
    if not (isinstance(back, np.ndarray) and back.dtype == dtype and np.array_equal(back, sent)):
        raise PluginError(
            f"{who}: expected to_numpy to return what from_numpy was given, {sent.tolist()} "
            f"{dtype}, got {back!r}"
        )
