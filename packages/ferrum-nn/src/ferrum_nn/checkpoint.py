"""Checkpoints: all that a training run needs to go on, saved whole or not at all.

    nn.save_checkpoint("runs/a", step=1000, keep=3, model=model, optimizer=optimizer, best=0.97)
    found = nn.load_checkpoint("runs/a", model=model, optimizer=optimizer)
    found.step, found.values["best"]  # (1000, 0.97)

A checkpoint is a folder `step-00001000` with a file of tensors for each part, `model.safetensors`,
and `manifest.json`: the rest of the state (see `ferrum_nn.plain`), and the size and SHA-256 of each
file.

It is written into a hidden folder beside its place, put onto the disk, and renamed. There is no
file that says which one is the last: that is the one with the highest step.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import ferrum as fe
from ferrum import Generator, Tensor
from ferrum.errors import ArgumentError, CheckpointError, OperandError
from ferrum_nn import manifest, plain
from ferrum_nn.manifest import Manifest, fault
from ferrum_nn.paths import path_of

_FOLDER = re.compile(r"step-(\d{8,18})(?:-(\d{1,9}))?", re.ASCII)
_HIDDEN = re.compile(r"\.ferrum-[0-9a-f]{16}\.tmp", re.ASCII)


@dataclass(frozen=True)
class Checkpoint:
    """What `load_checkpoint` found: the step, the folder, and what was loaded into no object."""

    step: int
    path: Path
    values: dict[str, Any]


# ---- saving


def save_checkpoint(
    folder: str | os.PathLike[str],
    *,
    step: int,
    keep: int | None = None,
    rng: bool = True,
    **parts: Any,
) -> Path:
    """Save `parts` as the checkpoint of `step` in `folder`, and return its path.

    A part is anything with a `state_dict()` (a model, an optimizer, a scheduler, a loader), a
    `Generator`, or a value: tensors, numbers, strings, None, and lists, tuples and dicts of them.
    With `rng` the random numbers go on where they are now: FERRUM's, Python's and NumPy's.

    When it returns, the checkpoint is on the disk. Whenever it ends otherwise, killed or out of
    room, what was there before is there still. With `keep` the highest `keep` steps stay, this one
    in any case, and others are removed afterwards. A checkpoint of the same step is replaced.
    One process at a time saves into a folder; a second one waits.

    Raises OperandError or ArgumentError for what cannot be saved, OSError where the disk says no.
    """
    root = _root("save_checkpoint", folder, rng)
    step, keep = _step("save_checkpoint", step), _keep(keep)
    for name in parts:
        if not (name.isidentifier() and name.isascii()):
            raise ArgumentError(f"save_checkpoint: expected names of Python, got {name!r}")
    if len({name.casefold() for name in parts}) < len(parts):
        raise ArgumentError(f"save_checkpoint: {', '.join(parts)}: two names differ in case only")
    state, tensors = _gather(parts, rng)
    new = [each for each in (root, *root.parents) if not each.exists()]
    root.mkdir(parents=True, exist_ok=True)
    for each in new:
        _sync(each.parent)
    with _locked(root) as alone:
        if alone:
            _remove_hidden(root)
        hidden = _hidden(root)
        hidden.mkdir()
        try:
            _write(hidden, step, state, tensors)
            path = _put(hidden, root, step)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise
        _sync(root)
        _remove_old(root, path, step, keep)
    return path


def _root(where: str, folder: Any, rng: Any = True) -> Path:
    """Return the folder of checkpoints as a path; checks `rng`, which is no name for a part."""
    if not isinstance(rng, bool):
        raise OperandError(f"{where}: expected True or False as rng, got {type(rng).__name__}")
    return path_of(where, "folder", folder)


def _step(where: str, step: Any) -> int:
    try:
        found = None if isinstance(step, bool) else index(step)
    except TypeError:
        found = None
    if found is None:
        raise OperandError(f"{where}: expected an integer as step, got {step!r}")
    if not 0 <= found < manifest.MAX_STEP:
        raise ArgumentError(f"{where}: expected a step from 0 to 10**18, got {found}")
    return found


def _keep(keep: Any) -> int | None:
    if keep is None:
        return None
    if isinstance(keep, bool) or not isinstance(keep, int):
        raise OperandError(f"save_checkpoint: expected an integer as keep, got {keep!r}")
    if keep < 1:
        raise ArgumentError(f"save_checkpoint: expected to keep at least 1, got {keep}")
    return keep


def _gather(parts: dict[str, Any], rng: bool) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the state of all parts as JSON has it, and the tensors of each."""
    state: dict[str, Any] = {}
    tensors: dict[str, dict[str, Tensor]] = {}
    for name, part in parts.items():
        if isinstance(part, Generator):
            value: Any = part.get_state()
        else:
            value = part.state_dict() if hasattr(part, "state_dict") else part
        held: dict[str, Tensor] = {}
        state[name] = plain.encode(f"save_checkpoint: {name}", value, held)
        if held:
            tensors[name] = held
    if rng:
        state["rng"] = plain.encode("save_checkpoint: rng", _random_state(), {})
    return state, tensors


def _random_state() -> dict[str, Any]:
    legacy: Any = np.random.get_state(legacy=False)
    numbers = {
        k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in legacy["state"].items()
    }
    return {
        "ferrum": fe.get_rng_state(),
        "python": random.getstate(),
        "numpy": {**legacy, "state": numbers},
    }


def _write(
    folder: Path, step: int, state: dict[str, Any], tensors: dict[str, dict[str, Any]]
) -> None:
    files = {}
    for name, held in tensors.items():
        file = folder / f"{name}.safetensors"
        fe.save_file(held, file)
        files[file.name] = file.stat().st_size, manifest.digest(file)
    manifest.write(folder, Manifest(step, files, state))
    _sync(folder)


def _put(hidden: Path, root: Path, step: int) -> Path:
    """Rename a folder to the place of a checkpoint; beside one of that step, to the next number."""
    last = max((each.turn for each in _listed(root) if each.step == step), default=-1)
    while True:
        last += 1
        path = root / (f"step-{step:08}-{last}" if last else f"step-{step:08}")
        try:
            return hidden.rename(path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise


def _remove_old(root: Path, path: Path, step: int, keep: int | None) -> None:
    """Remove what `path` replaces, and the checkpoints below the highest `keep` that are whole."""
    whole = 1
    for each in reversed(_listed(root)):
        if each.path == path or not each.path.is_dir():  # a file of that name is somebody's own
            continue
        if each.step == step or (keep is not None and whole >= keep):
            if each.path.is_symlink():
                each.path.unlink()
                continue
            hidden = _hidden(root)
            each.path.rename(hidden)  # so that nobody ever sees half of one
            shutil.rmtree(hidden, ignore_errors=True)
        elif keep is not None:
            whole += _is_whole(each)


# ---- listing


class _Place(NamedTuple):
    """A folder that looks like a checkpoint."""

    step: int
    turn: int
    path: Path


def _listed(root: Path) -> list[_Place]:
    """Return the folders of checkpoints, the last one last."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in root.iterdir():
            match = _FOLDER.fullmatch(path.name)
            if match:
                found.append(_Place(int(match[1]), int(match[2] or 0), path))
    return sorted(found)


def list_checkpoints(folder: str | os.PathLike[str]) -> list[int]:
    """Return the steps of the checkpoints in `folder` in their order; none if it does not exist.

    Left out are those whose manifest is damaged or of another step, and those with a file missing
    or of another size.
    """
    root = _root("list_checkpoints", folder)
    return sorted({each.step for each in _listed(root) if _is_whole(each)})


def _is_whole(place: _Place) -> bool:
    """Return whether the manifest is undamaged, and all files are there and as long as it says."""
    try:
        found = manifest.read(place.path)
        for name, (size, _) in found.files.items():
            manifest.check_size(place.path / name, size)
    except (CheckpointError, OSError):
        return False
    return found.step == place.step


# ---- loading


def load_checkpoint(
    folder: str | os.PathLike[str], *, step: int | None = None, rng: bool = True, **parts: Any
) -> Checkpoint:
    """Load a checkpoint of `folder` into `parts`: the last one, or that of `step`.

    Each part gets what was saved under its name, through `load_state_dict` or, a `Generator`,
    `set_state`. What no part was given for, and plain values, are in the result's `values`. With
    `rng` the random numbers go on as they were, if they were saved.

    All of a checkpoint is checked before any of it is used. A damaged one is passed over with a
    warning that says what is wrong, and the one before it is loaded; CheckpointError is raised if
    there is none, or `step` asks for that one. Its `kind` is "missing" where there is no checkpoint
    at all, "unsupported" for one of a later version of FERRUM, which is not passed over.

    Raises ArgumentError for a part that was not saved, and what `load_state_dict` raises; the parts
    before that one have then been loaded.
    """
    root = _root("load_checkpoint", folder, rng)
    for name, part in parts.items():
        if not (part is None or isinstance(part, Generator) or hasattr(part, "load_state_dict")):
            raise OperandError(
                f"load_checkpoint: {name}: expected an object with load_state_dict, got "
                f"{type(part).__name__}; values are in the result's `values`"
            )
    found = _last_good(root, None if step is None else _step("load_checkpoint", step))
    values = found.values
    wanted = {name: part for name, part in parts.items() if part is not None}
    absent = [name for name in wanted if name not in values]
    if absent:
        raise ArgumentError(
            f"load_checkpoint: {found.path}: expected {', '.join(absent)} in it, which has "
            f"{', '.join(values) or 'nothing'}"
        )
    generators = values.pop("rng", None)
    for name, part in wanted.items():
        state = values.pop(name)
        if isinstance(part, Generator):
            part.set_state(state)
        else:
            part.load_state_dict(state)
    if rng and generators is not None:  # last, for loading may draw
        _set_random_state(found.path, generators)
    return found


def _last_good(root: Path, step: int | None) -> Checkpoint:
    places = [each for each in _listed(root) if step is None or each.step == step]
    if not places:
        what = "a checkpoint" if step is None else f"the checkpoint of step {step}"
        raise CheckpointError(f"{root}: expected {what} in it, found none", kind="missing")
    damaged: list[CheckpointError] = []
    for place in reversed(places):
        try:
            found = _read(place)
        except CheckpointError as error:
            if error.kind == "unsupported" or len(places) == 1:
                raise
            damaged.append(error)
            continue
        for each in damaged:
            warnings.warn(f"load_checkpoint: passed over {each}", RuntimeWarning, stacklevel=3)
        return found
    raise CheckpointError(
        "\n    ".join([f"{root}: expected a whole checkpoint, got:", *map(str, damaged)]),
        kind=damaged[0].kind,
    )


def _read(place: _Place) -> Checkpoint:
    """Return all of a checkpoint. Raises CheckpointError with the name of the file at fault."""
    found = manifest.read(place.path)
    where = place.path / manifest.NAME
    if found.step != place.step:
        raise fault(where, f"expected step {place.step}, as its folder says, got {found.step}")
    tensors: dict[str, dict[str, Tensor]] = {}
    for name, (size, sha256) in found.files.items():
        file = place.path / name
        manifest.check_size(file, size)
        with manifest.as_damage(file):
            if manifest.digest(file) != sha256:
                raise fault(file, "expected the SHA-256 that the manifest has, got another")
            tensors[name.removesuffix(".safetensors")] = fe.load_file(file)
    values = {}
    for name, value in found.state.items():
        try:
            values[name] = plain.decode(value, tensors.get(name, {}))
        except CheckpointError as error:
            raise fault(where, f"{name}: {error}") from None
    return Checkpoint(found.step, place.path, values)


def _set_random_state(path: Path, state: Any) -> None:
    try:
        fe.set_rng_state(state["ferrum"])
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])
    except (TypeError, ValueError, KeyError) as error:
        raise fault(path / manifest.NAME, f"rng: expected states of generators: {error}") from None


# ---- folders


def _hidden(root: Path) -> Path:
    return root / f".ferrum-{os.urandom(8).hex()}.tmp"


def _remove_hidden(root: Path) -> None:
    """Remove what killed processes left behind; whoever calls this has the folder alone."""
    for path in root.iterdir():
        if _HIDDEN.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Put the entries of a folder onto the disk, where the system lets a folder be opened."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[bool]:
    """Wait until nobody saves into `root`; gives whether the system has such locks.

    A lock is the kernel's: it goes with its process, however that ends.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            alone = True
        except OSError:  # a file system without locks
            alone = False
        yield alone
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child forked meanwhile has the lock too
        os.close(descriptor)
