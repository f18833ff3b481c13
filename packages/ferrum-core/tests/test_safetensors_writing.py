"""Writing .safetensors: wrong arguments, faults of the system, and kills at any moment."""

from __future__ import annotations

import os
import resource
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import settings

from ferrum import safetensors_header
from ferrum.dtypes import bfloat16
from ferrum.errors import ArgumentError, CheckpointError, DTypeError, UnsupportedError
from ferrum.safetensors_io import read_arrays, write_arrays

Array = np.ndarray[Any, Any]
QUIET = settings(deadline=None, derandomize=True, max_examples=150)


# Writing: wrong arguments and faults of the system.

OLD = safetensors.numpy.save({"a": np.zeros(1, "f4")})
NEW = {"a": np.arange(4000.0), "b": np.ones((3, 4), bfloat16).T}


@pytest.mark.parametrize("name", ["", "a\0b", "__metadata__", "\ud800", 1, None, b"a"])
def test_wrong_names_are_refused(name: Any, path: Path, listing: Any) -> None:
    path.write_bytes(OLD)
    with pytest.raises(ArgumentError, match="expected a name that is a string") as caught:
        write_arrays(path, {name: np.ones(1)})
    assert str(caught.value).startswith(f"{path}: ") and str(caught.value).endswith(f"got {name!r}")
    assert path.read_bytes() == OLD and listing(path.parent) == [path.name]


@pytest.mark.parametrize("metadata", [{"a": 1}, {1: "a"}, {"a": None}, {"a": "\udc80"}])
def test_wrong_metadata_is_refused(metadata: Any, path: Path, listing: Any) -> None:
    with pytest.raises(ArgumentError, match="expected metadata of strings, got "):
        write_arrays(path, {}, metadata)
    assert listing(path.parent) == []


@pytest.mark.parametrize("dtype", ["c8", "u2", "u4", "u8", "O", "U3", "M8[s]", "V4", "g"])
def test_foreign_dtypes_are_refused(dtype: str, path: Path, listing: Any) -> None:
    with pytest.raises(DTypeError, match=r": tensor 'a': expected one of the dtypes .*, got "):
        write_arrays(path, {"a": np.empty(2, dtype)})
    assert listing(path.parent) == []


def test_what_is_no_array_is_refused(path: Path) -> None:
    for wrong in ([1.0], 1.0, np.float32(1), b"abc"):
        with pytest.raises(ArgumentError, match=r"tensor 'a': expected an array, got "):
            write_arrays(path, {"a": wrong})  # type: ignore[dict-item]


def test_headers_too_large_to_read_are_not_written(
    path: Path, monkeypatch: pytest.MonkeyPatch, listing: Any
) -> None:
    for cap in ("MAX_HEADER_BYTES", "MAX_HEADER_MARKS"):
        with monkeypatch.context() as patch:
            patch.setattr(safetensors_header, cap, 3)
            with pytest.raises(CheckpointError) as caught:
                write_arrays(path, {"a": np.ones((2, 2))})
        assert caught.value.kind == "too large" and listing(path.parent) == []


def test_other_byte_orders_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(OLD)
    monkeypatch.setattr(sys, "byteorder", "big")
    with pytest.raises(UnsupportedError, match="expected a little-endian processor"):
        read_arrays(path)
    with pytest.raises(UnsupportedError, match="expected a little-endian processor"):
        write_arrays(path, {})


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_mode_follows_the_umask(mask: int, mode: int, path: Path) -> None:
    old = os.umask(mask)
    try:
        write_arrays(path, {})
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_link_is_replaced_and_not_followed(path: Path, assert_same: Any) -> None:
    target = path.parent / "target"
    target.write_bytes(OLD)
    path.symlink_to(target)
    write_arrays(path, NEW)
    assert target.read_bytes() == OLD and not path.is_symlink()
    path.unlink()
    path.symlink_to(path.parent / "nowhere")
    write_arrays(path, NEW)
    assert_same(read_arrays(path)[0], NEW)


def test_a_planted_temporary_file_is_neither_followed_nor_removed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = path.parent / "victim"
    victim.write_bytes(OLD)
    planted = path.parent / ".ferrum-0000000000000000.tmp"
    planted.symlink_to(victim)
    monkeypatch.setattr(os, "urandom", bytes)
    with pytest.raises(FileExistsError):
        write_arrays(path, NEW)
    assert victim.read_bytes() == OLD and planted.is_symlink() and not path.exists()


CALLS = ("stat", "open", "write", "fsync", "close", "replace", "unlink", "urandom")


@contextmanager
def failing_at(call: int, error: BaseException) -> Iterator[list[str]]:
    """Have the call-th call to the system raise `error`; yield the names of the calls made."""
    made: list[str] = []

    def faulty(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            failing = len(made) - 1 == call
            if failing and name != "close":
                raise error
            result = real(*args, **kwargs)
            if failing:  # closed it is, even so
                raise error
            return result

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, faulty(name, getattr(os, name)))
        yield made


def calls_of_a_write(path: Path) -> list[str]:
    with failing_at(-1, OSError()) as made:
        write_arrays(path, NEW)
    return made


@pytest.mark.parametrize("error", [OSError(28, "no space"), KeyboardInterrupt(), MemoryError()])
def test_a_fault_anywhere_leaves_the_old_file_or_the_new(
    error: BaseException, path: Path, listing: Any, nothing_left_open: Any
) -> None:
    names = calls_of_a_write(path)
    new = path.read_bytes()
    expected = ["stat", "urandom", "open", "write", "write", "write", "fsync", "close"]
    assert names == [*expected, "replace", "open", "fsync", "close"]
    for call in range(len(names)):
        path.write_bytes(OLD)
        with nothing_left_open():
            with failing_at(call, error), pytest.raises(type(error)) as caught:
                write_arrays(path, NEW)
            assert caught.value is error
        assert path.read_bytes() == (OLD if call <= names.index("replace") else new), names[call]
        assert listing(path.parent) == [path.name], names[call]


def test_a_fault_without_an_old_file_leaves_nothing(path: Path, listing: Any) -> None:
    for call in range(calls_of_a_write(path).index("replace") + 1):
        path.unlink(missing_ok=True)
        with failing_at(call, OSError(5, "I/O error")), pytest.raises(OSError, match="I/O error"):
            write_arrays(path, NEW)
        assert listing(path.parent) == []


def test_short_writes_are_continued(
    path: Path, monkeypatch: pytest.MonkeyPatch, assert_same: Any
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:97]))
    write_arrays(path, NEW)
    assert_same(read_arrays(path)[0], NEW)


def test_a_full_disk(path: Path, listing: Any) -> None:
    path.write_bytes(OLD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_arrays(path, NEW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == OLD and listing(path.parent) == [path.name]


def test_systems_whose_folders_cannot_be_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch, assert_same: Any
) -> None:
    monkeypatch.delattr(os, "O_DIRECTORY")
    assert calls_of_a_write(path)[-1] == "replace"
    assert_same(read_arrays(path)[0], NEW)


KILLED = """
import os, sys
import numpy as np
from ferrum.safetensors_io import read_arrays, write_arrays

path = sys.argv[1]
names = ("stat", "open", "write", "fsync", "close", "replace")
new = np.arange(4000.0)
made = 0

def deadly(real, last, after):
    def wrapped(*args, **kwargs):
        global made
        made += 1
        if made == last and not after:
            os._exit(9)
        result = real(*args, **kwargs)
        if made == last:
            os._exit(9)
        return result
    return wrapped

outcomes = []
for last in range(1, 99):
    for after in (False, True):
        write_arrays(path, {"a": np.zeros(1)})
        child = os.fork()
        if not child:
            for name in names:
                setattr(os, name, deadly(getattr(os, name), last, after))
            write_arrays(path, {"a": new})
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        got = read_arrays(path)[0]["a"]
        if not (np.array_equal(got, new) or np.array_equal(got, np.zeros(1))):
            sys.exit(f"torn at call {last}")
        outcomes.append("new" if len(got) > 1 else "old")
    if code == 0:
        break
print(*outcomes)
"""


def test_a_kill_anywhere_leaves_the_old_file_or_the_new(
    path: Path, assert_same: Any, listing: Any, run_python: Any
) -> None:
    outcomes = run_python(KILLED, path).split()
    # stat, open, write, write, fsync, close, then replace: killed before it, the old file stays.
    assert outcomes == ["old"] * 13 + ["new"] * (len(outcomes) - 13) and len(outcomes) == 22
    leftovers = [name for name in listing(path.parent) if name != path.name]
    assert all(name.startswith(".ferrum-") and name.endswith(".tmp") for name in leftovers)
    write_arrays(path, NEW)
    assert_same(read_arrays(path)[0], NEW)
