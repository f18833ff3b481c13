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
from typing import TYPE_CHECKING, Any, NamedTuple

from ferrum.contract import Source, check_abi, check_backend
from ferrum.device import Device
from ferrum.errors import DeviceError, FerrumError, PluginError
from ferrum.names import BACKEND_INFO, BACKENDS, CORE, OFFERED_BY, OPS, normalized

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

SLOW = 4.0  # seconds until a plugin that has not finished is named


class Loaded(NamedTuple):
    """A plugin that has been imported and offers the hooks that it should."""

    source: Source
    hooks: Any
    devices: int


_locks: dict[str, threading.RLock] = {}  # one per kind: a plugin that hangs holds up only its own
_loaded: dict[str, Loaded] = {}
_devices: dict[str, Device] = {}
_faults: dict[str, PluginError] = {}
_default: list[Device] = []
_ops_loaded: dict[Source, PluginError | None] = {}


# ---- what is installed


def source_of(point: EntryPoint) -> Source:
    """Return where `point` comes from, also where its distribution has lost its metadata."""
    return Source(point.name, *_name_and_version(point.dist))


def _name_and_version(dist: Distribution | None) -> tuple[str, str]:
    metadata: Any = dist.metadata if dist else None
    name = metadata.get("Name") if metadata else None
    version = metadata.get("Version") if metadata else None
    return normalized(name or "an unknown distribution"), version or "?"


def allow_list() -> frozenset[str] | None:
    """Return the names that FERRUM_PLUGINS lists, or None where everything is allowed."""
    listed = os.environ.get("FERRUM_PLUGINS")
    if listed is None:
        return None
    return frozenset(normalized(name.strip()) for name in listed.split(",")) - {"", "none"}


def is_allowed(point: EntryPoint) -> bool:
    """Return whether FERRUM_PLUGINS lets `point` be loaded. The core's own always are."""
    allowed, source = allow_list(), source_of(point)
    if allowed is None or source.distribution == CORE:
        return True
    return normalized(point.name) in allowed or source.distribution in allowed


def installed(group: str, name: str | None = None) -> list[EntryPoint]:
    """Return the entry points of `group`, the core's first, whether they may be loaded or not."""
    # importlib.metadata takes 30 ms that `import ferrum` shall not cost.
    from importlib.metadata import entry_points as find

    try:
        points = list(find(group=group))
    except Exception:  # one file that is malformed, anywhere, and nothing is found
        points = _one_by_one(group)
    named = [point for point in points if name in (None, point.name)]
    return sorted(named, key=lambda each: (source_of(each).distribution != CORE, source_of(each)))


def _one_by_one(group: str) -> list[EntryPoint]:
    """Return the entry points of `group` of the distributions that can be read."""
    from importlib.metadata import distributions

    found: dict[Source, EntryPoint] = {}
    for dist in distributions():
        try:
            for point in dist.entry_points.select(group=group):
                found.setdefault(source_of(point), point)
        except Exception:
            name, _ = _name_and_version(dist)
            warnings.warn(f"the entry points of {name} cannot be read; reinstall it", stacklevel=2)
    return list(found.values())


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
    """Return what brings a backend for `kind`: a command only where it is known to."""
    name = OFFERED_BY.get(kind)
    if name is not None:
        return f"try: pip install {name} (from a clone: pip install ./packages/{name})"
    from difflib import get_close_matches

    alike = get_close_matches(kind, {*device_kinds(), *OFFERED_BY}, 1)
    return f"did you mean {alike[0]!r}?" if alike else "install the plugin that offers it"


# ---- loading


def load(point: EntryPoint) -> Any:
    """Import what `point` names, or raise a PluginError that says whose fault it is."""
    source = source_of(point)
    with watched(source, f"importing {point.value!r}"):
        return point.load()


@contextmanager
def watched(source: Source, doing: str) -> Iterator[None]:
    """Name a plugin that takes long over `doing` something, and put down what it raises to it."""
    timer = threading.Timer(SLOW, _name_slow, (source, doing))
    timer.daemon = True
    timer.start()
    try:
        yield
    except (PluginError, DeviceError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit, too, must not end the program
        cause = f"{type(error).__name__}: {error}".rstrip(": ")
        raise source.fault(f"{doing} failed: {cause}") from error
    finally:
        timer.cancel()


def _name_slow(source: Source, doing: str) -> None:
    late = f"{source}: {doing} has not finished after {SLOW:.0f} s; if it hangs, see: ferrum doctor"
    print(f"ferrum: {late}", file=sys.stderr, flush=True)


# ---- backends


def chosen(kind: str) -> EntryPoint:
    """Return the entry point that serves `kind`: the core's, or the only one.

    Raises DeviceError where there is none, and PluginError where several distributions offer it.
    """
    points = entry_points(BACKENDS, kind)
    if not points:
        raise DeviceError(_missing(kind))
    sources = [source_of(point) for point in points]
    if len(points) > 1 and sources[0].distribution != CORE:
        rivals = " and by ".join(f"{each.distribution} {each.version}" for each in sources)
        raise PluginError(
            f"device {kind!r} is offered by {rivals}",
            mend="pip uninstall one of them, or set FERRUM_PLUGINS to the plugins you want",
        )
    return points[0]


def _missing(kind: str) -> str:
    barred = [source_of(point).distribution for point in installed(BACKENDS, kind)]
    if barred:
        return (
            f"no backend for device {kind!r}: FERRUM_PLUGINS={os.environ['FERRUM_PLUGINS']!r} does "
            f"not name {' or '.join(barred)}"
        )
    return (
        f"no backend for device {kind!r}; installed: {', '.join(device_kinds()) or 'none'}; "
        f"{install_hint(kind)}"
    )


def _load_backend(kind: str) -> Loaded:
    """Import the plugin for `kind` and let pluggy validate its hooks."""
    import pluggy

    from ferrum.hookspecs import BackendHooks

    point = chosen(kind)
    source = source_of(point)
    _check_info(source)
    plugin = load(point)
    manager = pluggy.PluginManager("ferrum")
    manager.add_hookspecs(BackendHooks)
    with watched(source, "registering its hooks"):
        manager.register(plugin, name=point.name)
        manager.check_pending()
    if not manager.hook.ferrum_backend.get_hookimpls():
        raise source.fault(
            f"expected {point.value!r} to implement ferrum_backend(index), marked with "
            f"ferrum.hookspecs.hookimpl, got {plugin!r}"
        )
    return Loaded(source, manager.hook, _count(source, manager.hook))


def _check_info(source: Source) -> None:
    """Refuse a backend of another ABI before its code, perhaps a library in C, is loaded."""
    for point in entry_points(BACKEND_INFO, source.name):
        if source_of(point) == source:
            check_abi(getattr(load(point), "abi", None), source)


def _count(source: Source, hooks: Any) -> int:
    with watched(source, "ferrum_device_count()"):
        count = hooks.ferrum_device_count()
    if count is None:  # the hook is not implemented
        return 1
    if type(count) is not int or count < 0:
        raise source.fault(f"expected ferrum_device_count() to return an int, got {count!r}")
    return count


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
    if index >= plugin.devices:
        raise DeviceError(f"no device {name!r}: this machine has {plugin.devices} of kind {kind!r}")
    with _fault_kept(name), watched(plugin.source, f"ferrum_backend({index})"):
        backend = check_backend(plugin.hooks.ferrum_backend(index=index), plugin.source)
        return Device(kind, index if plugin.devices > 1 else None, backend)


def device(name: str | Device) -> Device:
    """Return the device called "cpu" or "cuda:1", loading its plugin at the first call.

    Raises DeviceError where no backend is installed for it, and PluginError, with the cause, where
    the one that is installed does not work.
    """
    if isinstance(name, Device):
        return name
    found = _devices.get(name) if name.__class__ is str else None
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
    kind, colon, digits = str(name).partition(":") if isinstance(name, str) else ("", "", "")
    if not kind or (colon and not (digits.isascii() and digits.isdigit())):
        raise DeviceError(f"expected a device such as 'cpu' or 'cuda:1', got {name!r}")
    return kind, int(digits) if colon else 0


def device_count(kind: str) -> int:
    """Return how many devices of this kind there are; 0 where no backend is installed for it."""
    return _plugin(kind).devices if kind in device_kinds() else 0


def faults() -> dict[str, PluginError]:
    """Return what failed to load in this process, by kind of device or by device."""
    return dict(_faults)


# ---- the default device


def open_devices() -> set[Device]:
    """Return the devices that have been asked for so far."""
    return set(_devices.values())


def is_default(device: Device) -> bool:
    """Return whether tensors that name no device go to `device`; nothing is loaded or warned of."""
    if _default:
        return device is _default[0]
    usual = "cpu" if "cpu" in device_kinds() else "reference"
    return str(device) == (os.environ.get("FERRUM_DEVICE") or usual)


def default_device() -> Device:
    """Return where tensors go that name no device.

    FERRUM_DEVICE or `set_default_device` decide; else it is "cpu" where ferrum-cpu is installed,
    else "reference", with one warning.
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
        f"{install_hint('cpu')}, or set FERRUM_DEVICE=reference to keep it so",
        stacklevel=3,
    )
    return "reference"


def set_default_device(name: str | Device) -> None:
    """Make `name` the device of tensors that name none."""
    _default[:] = [device(name)]


# ---- op libraries


def load_ops() -> dict[str, PluginError]:
    """Import every module of the group `ferrum.ops`; return what failed, by entry point name.

    A module is run once: a second run would declare its ops again, and hide why the first failed.
    """
    failed = {}
    for point in entry_points(OPS):
        source = source_of(point)
        if source not in _ops_loaded:
            _ops_loaded[source] = _failure(point)
        error = _ops_loaded[source]
        if error is not None:
            failed[point.name if point.name not in failed else str(source)] = error
    return failed


def _failure(point: EntryPoint) -> PluginError | None:
    try:
        load(point)
    except PluginError as error:
        return error.with_traceback(None)
    return None
