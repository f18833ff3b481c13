"""The manifest of a checkpoint: the JSON beside its files of tensors, written, read and checked.

    {"sha256":"...","ferrum_checkpoint":1,"ferrum":"1.0.0","step":1000,
     "files":{"model.safetensors":{"size":1234,"sha256":"..."}},"state":{"model":...}}

The first entry is the SHA-256 of all bytes behind its comma, so that no bit of the rest can change
unseen, the version included; it stands in front in every version.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ferrum import __version__
from ferrum.errors import ArgumentError, CheckpointError

VERSION = 1
NAME = "manifest.json"
MAX_BYTES = 1 << 28
MAX_STEP = 10**18

_HEAD = re.compile(rb'\{"sha256":"([0-9a-f]{64})",')
_FILE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\.safetensors")
_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)


class Manifest(NamedTuple):
    """The step of a checkpoint, the size and SHA-256 of each file, and the state as JSON has it."""

    step: int
    files: dict[str, tuple[int, str]]
    state: dict[str, Any]


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of the checkpoint in `folder`, onto the disk."""
    body = {
        "ferrum_checkpoint": VERSION,
        "ferrum": __version__,
        "step": manifest.step,
        "files": {name: {"size": n, "sha256": sha} for name, (n, sha) in manifest.files.items()},
        "state": manifest.state,
    }
    rest = json.dumps(body, separators=(",", ":"), allow_nan=False)[1:].encode("ascii")
    if len(rest) > MAX_BYTES:
        raise ArgumentError(
            f"save_checkpoint: expected a state of at most {MAX_BYTES} bytes beside its tensors, "
            f"got {len(rest)}"
        )
    with (folder / NAME).open("xb") as out:
        out.write(b'{"sha256":"%s",' % hashlib.sha256(rest).hexdigest().encode())
        out.write(rest)
        out.flush()
        os.fsync(out.fileno())


def read(folder: Path) -> Manifest:
    """Return the manifest of the checkpoint in `folder`.

    Raises CheckpointError where it is missing, damaged, or of a later version.
    """
    path = folder / NAME
    table = _parse(path, _content(path))
    version = table.get("ferrum_checkpoint")
    if type(version) is not int or version < 1:
        raise fault(path, f"expected an integer as ferrum_checkpoint, got {version!r:.80}")
    if version > VERSION:
        written = f"got {version!r:.80}, from FERRUM {table.get('ferrum')!r:.80}"
        expected = f"expected the format's version {VERSION}"
        raise fault(path, f"{expected}, {written}; load it with that one", "unsupported")
    step = table.get("step")
    if type(step) is not int or not 0 <= step < MAX_STEP:
        raise fault(path, f"expected an integer from 0 on as step, got {step!r:.80}")
    files, state = (_object(path, name, table.get(name)) for name in ("files", "state"))
    return Manifest(step, {name: _file(path, name, about) for name, about in files.items()}, state)


def _object(path: Path, name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise fault(path, f"expected an object as {name}, got {value!r:.80}")


def _content(path: Path) -> bytes:
    """Return the bytes of a manifest, which are those that its SHA-256 is of."""
    with as_damage(path):
        size = _regular_size(path)
        if size > MAX_BYTES + 128:
            raise fault(path, f"expected at most {MAX_BYTES} bytes, got {size}", "too large")
        content = path.read_bytes()
    head = _HEAD.match(content)
    if head is None:
        raise fault(path, "expected its SHA-256 first", "corrupt" if content else "truncated")
    if hashlib.sha256(content[head.end() :]).hexdigest().encode() != head[1]:
        raise fault(path, "expected the content that its SHA-256 is of, got another")
    return content


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    try:
        table: dict[str, Any] = json.loads(
            content, object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except CheckpointError as error:
        raise fault(path, str(error)) from None
    except ValueError as error:  # not UTF-8, not JSON, or a number of thousands of digits
        raise fault(path, f"expected JSON, got: {error}") from None
    except RecursionError:
        raise fault(path, "expected JSON of a few levels, got it too deep") from None
    return table


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise CheckpointError(f"expected each key once, got {[key for key, _ in pairs]!r:.80}")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise CheckpointError(f"expected JSON, got {text}")


def _file(path: Path, name: str, about: Any) -> tuple[int, str]:
    if not _FILE.fullmatch(name):
        raise fault(path, f"expected the name of a .safetensors file, got {name!r:.80}", "unsafe")
    if type(about) is dict:
        size, digest = about.get("size"), about.get("sha256")
        if type(size) is int and size >= 0 and type(digest) is str:
            return size, digest
    raise fault(path, f"{name}: expected a size and a sha256, got {about!r:.80}")


# ---- files


def fault(path: Path, message: str, kind: str = "corrupt") -> CheckpointError:
    """Return the error of a file of a checkpoint."""
    return CheckpointError(f"{path}: {message}", kind=kind)


@contextlib.contextmanager
def as_damage(path: Path) -> Iterator[None]:
    """Raise CheckpointError where the file at `path` is missing or cannot be read."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DAMAGE:
            raise
        raise fault(path, f"expected a file, got: {error.strerror}", "truncated") from None


def _regular_size(path: Path) -> int:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise fault(path, f"expected a regular file, got {stat.filemode(found.st_mode)}", "unsafe")
    return found.st_size


def check_size(path: Path, size: int) -> None:
    """Raise CheckpointError unless there is a regular file of `size` bytes."""
    with as_damage(path):
        got = _regular_size(path)
    if got != size:
        kind = "truncated" if got < size else "corrupt"
        raise fault(path, f"expected {size:_} bytes, got {got:_}", kind)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
