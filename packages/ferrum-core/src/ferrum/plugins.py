"""Finding and loading plugins.

A backend is an entry point of the group `ferrum.backends`, named after its kind of device. It is
imported when a device of that kind is first asked for, never by `import ferrum`. A plugin that
fails is kept with its cause; only asking for its device raises.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ferrum.contract import check_abi, check_backend
from ferrum.device import Device
from ferrum.errors import DeviceError, FerrumError, PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from ferrum.backend import Backend

BACKENDS = "ferrum.backends"
BACKEND_INFO = "ferrum.backend_info"
OPS = "ferrum.ops"
CORE = "ferrum-core"
SLOW_IMPORT = 4.0  # seconds until an import that has not finished is named


class Loaded(NamedTuple):
    """A plugin that has been imported and offers the hooks that it should."""

    who: str
    distribution: str
    hooks: Any
    count: int


_locks: dict[str, threading.RLock] = {}  # one per kind: a plugin that hangs holds up only its own
_loaded: dict[str, Loaded] = {}
_devices: dict[str, Device] = {}
_faults: dict[str, PluginError] = {}
_default: list[Device] = []


# ---- what is installed


def normalized(name: str) -> str:
    """Return the name of a distribution in its one normal form: "ferrum-grid" of "Ferrum_Grid"."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distribution_name(point: EntryPoint) -> str:
    """Return the name of the distribution that declares `point`, in its normal form."""
    return normalized(point.dist.name) if point.dist else "an unknown distribution"


def distribution_of(point: EntryPoint) -> str:
    """Return the name and version of the distribution that declares `point`."""
    return f"{distribution_name(point)} {point.dist.version}" if point.dist else "unknown"


def who_is(point: EntryPoint) -> str:
    """Return what messages call the plugin behind `point`."""
    return f"plugin {point.name!r} of {distribution_of(point)}"


def allow_list() -> frozenset[str] | None:
    """Return the names that FERRUM_PLUGINS lists, or None where everything is allowed."""
    listed = os.environ.get("FERRUM_PLUGINS")
    if listed is None:
        return None
    return frozenset(normalized(name.strip()) for name in listed.split(",")) - {"", "none"}


def is_allowed(point: EntryPoint) -> bool:
    """Return whether FERRUM_PLUGINS lets `point` be loaded. The core's own always are."""
    allowed = allow_list()
    if allowed is None or distribution_name(point) == CORE:
        return True
    return normalized(point.name) in allowed or distribution_name(point) in allowed


def installed(group: str, name: str | None = None) -> list[EntryPoint]:
    """Return the entry points of `group`, the core's first, whether they may be loaded or not."""
    from importlib.metadata import entry_points as find  # 30 ms that `import ferrum` shall not cost

    points = find(group=group) if name is None else find(group=group, name=name)
    return sorted(points, key=lambda each: (distribution_name(each) != CORE, each.name))


def entry_points(group: str, name: str | None = None) -> list[EntryPoint]:
    """Return the entry points of `group`, those that FERRUM_PLUGINS allows.

    FERRUM_PLUGINS lists entry points or distributions by name, separated by commas; "none" allows
    nothing but the core's own.
    """
    return [point for point in installed(group, name) if is_allowed(point)]


def device_kinds() -> list[str]:
    """Return the kinds of device that installed distributions offer, without loading any."""
    return sorted({point.name for point in entry_points(BACKENDS)})


def install_hint(kind: str) -> str:
    """Return the command that brings a backend for `kind`."""
    name = CORE if kind == "reference" else f"ferrum-{kind}"
    return f"pip install {name} (from a clone: pip install ./packages/{name})"


# ---- importing


def load(point: EntryPoint) -> Any:
    """Import what `point` names. Whatever goes wrong becomes a PluginError that says whose fault it is."""
    with _named_if_slow(point):
        try:
            return point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, too, must not end the program
            raise PluginError(
                f"{who_is(point)}: importing {point.value!r} failed: {_cause(error)}",
                mend=remedy(distribution_name(point)),
            ) from error


def remedy(distribution: str) -> str:
    """Return what to do about a plugin when nothing better is known."""
    return f"pip install --upgrade {distribution}, or do without: pip uninstall {distribution}"


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


@contextmanager
def _named_if_slow(point: EntryPoint) -> Iterator[None]:
    def name() -> None:
        print(
            f"ferrum: {who_is(point)} is still being imported after {SLOW_IMPORT:.0f} s; if it hangs, "
            f"see: ferrum doctor",
            file=sys.stderr,
            flush=True,
        )

    timer = threading.Timer(SLOW_IMPORT, name)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _blamed(who: str, doing: str) -> Iterator[None]:
    """Turn whatever a plugin raises while it is `doing` something into a PluginError."""
    try:
        yield
    except (FerrumError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(f"{who}: {doing} failed: {_cause(error)}") from error


# ---- backends


def chosen(kind: str) -> EntryPoint:
    """Return the entry point that serves `kind`: the core's, or the only one.

    Raises DeviceError where there is none, and PluginError where several distributions offer it.
    """
    points = entry_points(BACKENDS, kind)
    if not points:
        raise DeviceError(_missing(kind))
    if len(points) > 1 and distribution_name(points[0]) != CORE:
        rivals = " and ".join(map(distribution_of, points))
        raise PluginError(
            f"device {kind!r} is offered by {rivals}",
            mend="pip uninstall one of them, or set FERRUM_PLUGINS to the plugins you want",
        )
    return points[0]


def _missing(kind: str) -> str:
    barred = [distribution_of(point) for point in installed(BACKENDS, kind)]
    if barred:
        return (
            f"no backend for device {kind!r}: FERRUM_PLUGINS={os.environ['FERRUM_PLUGINS']!r} does "
            f"not allow {' or '.join(barred)}"
        )
    return (
        f"no backend for device {kind!r}; installed: {', '.join(device_kinds()) or 'none'}; "
        f"try: {install_hint(kind)}"
    )


def _load_backend(kind: str) -> Loaded:
    """Import the plugin for `kind` and let pluggy validate its hooks."""
    import pluggy

    from ferrum.hookspecs import BackendHooks

    point = chosen(kind)
    who, distribution = who_is(point), distribution_name(point)
    _check_info(kind, who, distribution)
    plugin = load(point)
    manager = pluggy.PluginManager("ferrum")
    manager.add_hookspecs(BackendHooks)
    with _blamed(who, "registering its hooks"):
        manager.register(plugin, name=point.name)
        manager.check_pending()
    if not manager.hook.ferrum_backend.get_hookimpls():
        raise PluginError(
            f"{who}: expected {point.value!r} to implement ferrum_backend(index), marked with "
            f"ferrum.hookspecs.hookimpl, got {plugin!r}"
        )
    with _blamed(who, "ferrum_device_count()"):
        count = manager.hook.ferrum_device_count()
    if count is not None and (type(count) is not int or count < 0):
        raise PluginError(f"{who}: expected ferrum_device_count() to return an int, got {count!r}")
    return Loaded(who, distribution, manager.hook, 1 if count is None else count)


def _check_info(kind: str, who: str, distribution: str) -> None:
    """Refuse a backend of another ABI before its code, perhaps a library in C, is loaded."""
    for point in entry_points(BACKEND_INFO, kind):
        if distribution_name(point) == distribution:
            check_abi(getattr(load(point), "abi", "none"), who, distribution)


def _plugin(kind: str) -> Loaded:
    """Return the plugin for `kind`, loaded at the first call."""
    with _locks.setdefault(kind, threading.RLock()):
        if kind not in _loaded:
            with _fault_kept(kind):
                _loaded[kind] = _load_backend(kind)
        return _loaded[kind]


@contextmanager
def _fault_kept(name: str) -> Iterator[None]:
    """Try once: what fails is kept, and raised again without another try."""
    fault = _faults.get(name)
    if fault is not None:
        raise PluginError(fault.what, mend=fault.mend) from fault.__cause__
    try:
        yield
    except PluginError as error:
        _faults[name] = PluginError(error.what, mend=error.mend)  # without the frames of this call
        _faults[name].__cause__ = error.__cause__
        raise


def _open(kind: str, index: int) -> Device:
    plugin = _plugin(kind)
    name = f"{kind}:{index}"
    if index >= plugin.count:
        raise DeviceError(f"no device {name!r}: this machine has {plugin.count} of kind {kind!r}")
    with _fault_kept(name), _blamed(plugin.who, f"ferrum_backend({index})"):
        backend: Backend = check_backend(
            plugin.hooks.ferrum_backend(index=index), plugin.who, plugin.distribution
        )
        return Device(kind, index if plugin.count > 1 else None, backend)


def device(name: str | Device) -> Device:
    """Return the device called "cpu", "reference" or "cuda:1", loading its plugin at the first call.

    Raises DeviceError where no backend is installed for it, and PluginError, with the cause, where
    the one that is installed does not work.
    """
    if isinstance(name, Device):
        return name
    found = _devices.get(name) if isinstance(name, str) else None
    if found is not None:
        return found
    kind, index = _parsed(name)
    with _locks.setdefault(kind, threading.RLock()):
        full = f"{kind}:{index}"
        if full not in _devices:
            _devices[full] = _open(kind, index)
        _devices[name] = _devices[full]  # "cuda" and "cuda:0" are one device
        return _devices[name]


def _parsed(name: Any) -> tuple[str, int]:
    kind, colon, digits = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not kind or (colon and not (digits.isascii() and digits.isdigit())):
        raise DeviceError(f"expected a device such as 'cpu' or 'cuda:1', got {name!r}")
    return kind, int(digits) if colon else 0


def device_count(kind: str) -> int:
    """Return how many devices of this kind there are; 0 where no backend is installed for it."""
    return _plugin(kind).count if kind in device_kinds() else 0


def faults() -> dict[str, PluginError]:
    """Return what failed to load in this process, by kind of device or by device."""
    return dict(_faults)


# ---- the default device


def default_device() -> Device:
    """Return where tensors go that name no device.

    FERRUM_DEVICE or `set_default_device` decide; else it is "cpu" where ferrum-cpu is installed, else
    "reference", with one warning.
    """
    if not _default:
        asked = os.environ.get("FERRUM_DEVICE")
        try:
            set_default_device(asked or _best_device())
        except FerrumError as error:
            if asked:
                error.add_note(f"The environment variable FERRUM_DEVICE asks for {asked!r}.")
            raise
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


# ---- op libraries

_ops_loaded: dict[
    str, PluginError | None
] = {}  # by distribution and name: a module is run only once


def load_ops() -> dict[str, PluginError]:
    """Import every module of the group `ferrum.ops`; return what failed, by entry point name."""
    failed = {}
    for point in entry_points(OPS):
        key = f"{distribution_name(point)} {point.name}"
        if key not in _ops_loaded:
            try:
                load(point)
            except PluginError as error:
                _ops_loaded[key] = error.with_traceback(None)
            else:
                _ops_loaded[key] = None
        error = _ops_loaded[key]
        if error is not None:
            failed[point.name if point.name not in failed else key] = error
    return failed
