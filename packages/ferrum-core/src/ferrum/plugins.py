"""Finding and loading plugins.

A backend is an entry point of the group `ferrum.backends`, named after its kind of device. It is
imported when a device of that kind is first asked for, never by `import ferrum`. A plugin that
fails is kept with its cause; only asking for its device raises.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from ferrum.backend import ABI, Backend
from ferrum.device import Device
from ferrum.errors import DeviceError, PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

BACKENDS = "ferrum.backends"
BACKEND_INFO = "ferrum.backend_info"
OPS = "ferrum.ops"
SLOW_IMPORT = 4.0  # seconds until an import that has not finished is named

_lock = threading.RLock()
_devices: dict[str, Device] = {}
_faults: dict[str, PluginError] = {}
_managers: dict[str, Any] = {}
_default: list[Device] = []


def distribution_of(point: EntryPoint) -> str:
    """Return the name and version of the distribution that declares `point`."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"


@cache
def _allowed() -> frozenset[str] | None:
    listed = os.environ.get("FERRUM_PLUGINS")
    if listed is None:
        return None
    names = {name.strip() for name in listed.split(",")} - {"", "none"}
    return frozenset({"reference", "ferrum-core", *names})


def entry_points(group: str, name: str | None = None) -> list[EntryPoint]:
    """Return the entry points of `group`, those that FERRUM_PLUGINS allows.

    FERRUM_PLUGINS lists entry points or distributions by name, separated by commas; "none" allows
    nothing but the core's own.
    """
    from importlib.metadata import entry_points as find  # 30 ms that `import ferrum` shall not cost

    points = find(group=group) if name is None else find(group=group, name=name)
    allowed = _allowed()
    return [
        point
        for point in points
        if allowed is None or point.name in allowed or (point.dist and point.dist.name in allowed)
    ]


def load(point: EntryPoint) -> Any:
    """Import what `point` names; whatever goes wrong becomes a PluginError that says whose fault it is."""
    who = f"plugin {point.name!r} of {distribution_of(point)}"
    with _named_if_slow(who):
        try:
            return point.load()
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"{who}: importing {point.value!r} failed: {type(error).__name__}: {error}; "
                f"mend or remove that distribution"
            ) from error


@contextmanager
def _named_if_slow(who: str) -> Iterator[None]:
    def name() -> None:
        print(f"ferrum: {who} is still being imported", file=sys.stderr, flush=True)

    timer = threading.Timer(SLOW_IMPORT, name)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def install_hint(kind: str) -> str:
    """Return the command that brings a backend for `kind`."""
    return f"pip install ferrum-{kind} (from a clone: pip install ./packages/ferrum-{kind})"


def device_kinds() -> list[str]:
    """Return the kinds of device that installed distributions offer, without loading any."""
    return sorted({point.name for point in entry_points(BACKENDS)})


def _only_point(kind: str) -> EntryPoint:
    points = entry_points(BACKENDS, kind)
    if not points:
        raise DeviceError(
            f"no backend for device {kind!r}; installed: {', '.join(device_kinds()) or 'none'}; "
            f"try: {install_hint(kind)}"
        )
    if len(points) > 1:
        rivals = " and ".join(distribution_of(point) for point in points)
        raise PluginError(
            f"device {kind!r} is offered twice, by {rivals}; uninstall one, or name the other in "
            f"FERRUM_PLUGINS"
        )
    return points[0]


def _manager(kind: str) -> Any:
    """Return the pluggy manager that holds the plugin for `kind`, loaded and validated."""
    import pluggy

    from ferrum.hookspecs import BackendHooks

    point = _only_point(kind)
    manager = pluggy.PluginManager("ferrum")
    manager.add_hookspecs(BackendHooks)
    try:
        manager.register(load(point), name=point.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"plugin {kind!r} of {distribution_of(point)}: {error}") from error
    if not manager.hook.ferrum_backend.get_hookimpls():
        raise PluginError(
            f"plugin {kind!r} of {distribution_of(point)}: it does not implement ferrum_backend(index)"
        )
    return manager


def _backend(kind: str, index: int) -> Backend:
    manager = _managers.get(kind) or _managers.setdefault(kind, _manager(kind))
    count = manager.hook.ferrum_device_count() or 1
    if not 0 <= index < count:
        raise DeviceError(f"no device '{kind}:{index}': there are {count} of kind {kind!r}")
    point = _only_point(kind)
    try:
        backend = manager.hook.ferrum_backend(index=index)
    except Exception as error:
        raise PluginError(
            f"plugin {kind!r} of {distribution_of(point)}: ferrum_backend({index}) failed: "
            f"{type(error).__name__}: {error}"
        ) from error
    return checked_backend(backend, kind, point)


def checked_backend(backend: Any, kind: str, point: EntryPoint) -> Backend:
    """Return `backend` if it is one and speaks this ABI, else raise PluginError with the mend."""
    who = f"plugin {kind!r} of {distribution_of(point)}"
    if not isinstance(backend, Backend):
        raise PluginError(f"{who}: expected a ferrum.backend.Backend, got {type(backend).__name__}")
    if not (isinstance(backend.abi, tuple) and len(backend.abi) == 2) or backend.abi[0] != ABI[0]:
        newer = isinstance(backend.abi, tuple) and backend.abi > ABI
        mend = "ferrum-core" if newer else point.dist.name if point.dist else point.name
        raise PluginError(
            f"{who}: it speaks ABI {backend.abi}, this ferrum-core speaks {ABI}; "
            f"try: pip install --upgrade {mend}"
        )
    return backend


def device(name: str | Device) -> Device:
    """Return the device called "cpu", "reference" or "cuda:1", loading its plugin at the first call.

    Raises DeviceError where no backend is installed for it, and PluginError, with the cause, where
    the one that is installed does not work.
    """
    if isinstance(name, Device):
        return name
    found = _devices.get(name)
    if found is not None:
        return found
    if not isinstance(name, str):
        raise DeviceError(f"expected a device such as 'cpu' or 'cuda:1', got {name!r}")
    kind, colon, digits = name.partition(":")
    if not kind or (colon and not (digits.isascii() and digits.isdigit())):
        raise DeviceError(f"expected a device such as 'cpu' or 'cuda:1', got {name!r}")
    with _lock:
        return _open(name, kind, int(digits) if colon else 0)


def _open(name: str, kind: str, index: int) -> Device:
    if name in _devices:
        return _devices[name]
    if kind in _faults:
        raise _faults[kind]
    try:
        backend = _backend(kind, index)
    except PluginError as error:
        _faults[kind] = error
        raise
    # "cpu" and "cpu:0" are one device; only kinds with several show the index.
    many = (_managers[kind].hook.ferrum_device_count() or 1) > 1
    made = Device(kind, index if many else None, backend)
    for alias in {name, f"{kind}:{index}", *([kind] if index == 0 else [])}:
        _devices[alias] = made
    return made


def device_count(kind: str) -> int:
    """Return how many devices of this kind there are; 0 where no backend is installed for it."""
    if kind not in device_kinds():
        return 0
    device(kind)
    return _managers[kind].hook.ferrum_device_count() or 1


def default_device() -> Device:
    """Return where tensors go that name no device.

    FERRUM_DEVICE or `set_default_device` decide; else it is "cpu" where ferrum-cpu is installed, else
    "reference", with one warning.
    """
    if not _default:
        set_default_device(os.environ.get("FERRUM_DEVICE") or _best_device())
    return _default[0]


def _best_device() -> str:
    if "cpu" in device_kinds():
        return "cpu"
    warnings.warn(
        "ferrum-cpu is not installed: tensors go to the slow NumPy device 'reference'; "
        f"try: {install_hint('cpu')}, or set FERRUM_DEVICE=reference to keep it so",
        stacklevel=3,
    )
    return "reference"


def set_default_device(name: str | Device) -> None:
    """Make `name` the device of tensors that name none."""
    _default[:] = [device(name)]


def load_ops() -> dict[str, PluginError]:
    """Import every module of the group `ferrum.ops`; return what failed, by entry point name."""
    failed = {}
    for point in entry_points(OPS):
        try:
            load(point)
        except PluginError as error:
            failed[point.name] = error
    return failed


def faults() -> dict[str, PluginError]:
    """Return the plugins that failed in this process, by kind of device."""
    return dict(_faults)
