"""Reading and writing .safetensors files as NumPy arrays: bytes in, arrays out, nothing executed.

A file is a little-endian uint64 n, n bytes of JSON, and the data; `ferrum.safetensors_header` knows
the JSON. See https://github.com/huggingface/safetensors#format.

The reader trusts nothing: it checks every size in Python integers before it allocates. Names are
keys of a dict and nothing else, so any string will do, "../../etc/passwd" included.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ferrum.dtypes import DType, bool_, uint8
from ferrum.errors import ArgumentError, CheckpointError, DTypeError, UnsupportedError
from ferrum.safetensors_header import (
    FIELDS,
    MAX_HEADER_BYTES,
    NAMES,
    RANKS,
    Entry,
    about,
    check_name,
    decode,
    encode,
    fault,
    short,
)

PathLike: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Array: TypeAlias = npt.NDArray[Any]


def _require_little_endian(where: str) -> None:
    if sys.byteorder != "little":
        raise UnsupportedError(f"{where}: expected a little-endian processor to read or write it")


def _require_regular(mode: int, where: str) -> None:
    if not stat.S_ISREG(mode):
        error = IsADirectoryError if stat.S_ISDIR(mode) else OSError
        raise error(f"{where}: expected a regular file, got {stat.filemode(mode)}")


def _open_at_once(path: str, flags: int) -> int:
    # Opening a FIFO would wait for a writer, and opening a terminal could make it ours.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def read_arrays(path: PathLike, *, mapped: bool = True) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays of a .safetensors file by name, in the header's order, and its metadata.

    With `mapped` the arrays are windows on the file: read when first touched, and writable without
    changing it. The file must then keep its length, for touching a page beyond a new end kills the
    process (SIGBUS); replacing the file by rename, as `write_arrays` does, is harmless. With
    `mapped=False` all is read at once, for files that somebody else may shorten.

    Raises CheckpointError for any fault of the content, OSError where `path` cannot be opened or is
    no regular file. Unknown fields of an entry are ignored with a warning. Loads what the
    safetensors library loads, save for: a header that does not begin with "{", BOOL bytes other
    than 0 and 1, sizes that NumPy cannot hold, and dtypes that FERRUM lacks.
    """
    where = os.fsdecode(path)
    _require_little_endian(where)
    with open(where, "rb", opener=_open_at_once) as file:
        _require_regular(os.fstat(file.fileno()).st_mode, where)
        try:
            arrays, metadata, unknown = _read(file, mapped)
        except CheckpointError as error:
            raise about(where, error) from None
    if unknown:
        message = f"{where}: expected the fields {', '.join(sorted(FIELDS))}, ignored {unknown}"
        warnings.warn(message, stacklevel=2)
    return arrays, metadata


def _read(file: BinaryIO, mapped: bool) -> tuple[dict[str, Array], dict[str, str], str]:
    size = os.fstat(file.fileno()).st_size
    header = _read_header(file, size)
    start = 8 + len(header)
    entries, metadata, unknown = decode(header, size - start)
    buffer = (_map if mapped else _load)(file, size)
    return {entry.name: _view(buffer, start, entry) for entry in entries}, metadata, unknown


def _read_header(file: BinaryIO, size: int) -> bytes:
    prefix = file.read(8)
    if len(prefix) < 8:
        raise fault("truncated", f"expected 8 bytes of header length, got {len(prefix)}")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        expected = f"expected a header of at most {MAX_HEADER_BYTES} bytes"
        raise fault("too large", f"{expected}, got a length of {length}")
    if length > size - 8:
        raise fault("truncated", f"expected a header of {length} bytes, got {size - 8}")
    header = file.read(length)
    if len(header) < length:
        raise fault("truncated", f"expected a header of {length} bytes, got {len(header)}")
    return header


def _map(file: BinaryIO, size: int) -> mmap.mmap:
    try:
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
    except ValueError:  # it was shortened since its size was taken
        raise fault("truncated", f"expected {size} bytes, got fewer while reading") from None


def _load(file: BinaryIO, size: int) -> Array:
    buffer = np.empty(size, np.uint8)
    file.seek(0)
    got = file.readinto(buffer.data)  # type: ignore[attr-defined]
    if got < size:
        raise fault("truncated", f"expected {size} bytes, got {got} while reading")
    return buffer


def _view(buffer: mmap.mmap | Array, start: int, entry: Entry) -> Array:
    offset = start + entry.begin
    if entry.dtype is bool_:
        _check_bools(entry.name, np.ndarray(entry.shape, uint8, buffer, offset))
    array: Array = np.ndarray(entry.shape, entry.dtype, buffer, offset)
    return array.copy() if offset % entry.dtype.itemsize else array


def _check_bools(name: str, values: Array) -> None:
    # C takes a bool's byte for 0 or 1, and may index a table with it.
    largest = values.max(initial=0)
    if largest > 1:
        expected = f"tensor {short(name)}: expected BOOL bytes of 0 and 1"
        raise fault("corrupt", f"{expected}, got {largest}")


def write_arrays(
    path: PathLike, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write `arrays` to a .safetensors file, whole or not at all.

    The data goes to a temporary file beside `path`, onto the disk, and is then renamed: whatever
    happens, `path` holds all of the old bytes or all of the new, and an error leaves no temporary
    file. (A killed process may leave one: ".ferrum-*.tmp".) The file's mode follows the umask. A
    symbolic link at `path` is replaced, not followed; a device or a FIFO is refused.

    Equal arguments give equal bytes, those of the safetensors library, whatever the order of the
    mappings or the layout of the arrays, which are written without a second copy of the whole.

    Names must be strings, neither empty nor "__metadata__" and without NUL; metadata maps strings
    to strings; else ArgumentError is raised. Raises DTypeError for a dtype that FERRUM lacks,
    CheckpointError for a header that `read_arrays` would not take, OSError for the rest.
    """
    where = os.fsdecode(path)
    _require_little_endian(where)
    items = _items(where, arrays)
    tensors = [(item.name, item.dtype, item.array.shape) for item in items]
    header = encode(where, tensors, dict(metadata or {}))
    target = Path(where)
    with contextlib.suppress(FileNotFoundError):
        _require_regular(target.stat().st_mode, where)
    temporary = target.parent / f".ferrum-{os.urandom(8).hex()}.tmp"
    # The kernel takes the umask from 0o666; O_EXCL refuses a link that somebody planted.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o666)
    try:
        _write_and_close(descriptor, header, items)
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


class _Item(NamedTuple):
    """A tensor to be written, with its dtype in native byte order."""

    name: str
    array: Array
    dtype: DType


def _items(where: str, arrays: Mapping[str, Any]) -> list[_Item]:
    """Return the tensors in the order of their data."""
    items = []
    for name, array in arrays.items():
        check_name(where, name)
        if not isinstance(array, np.ndarray):
            what = type(array).__name__
            raise ArgumentError(f"{where}: tensor {short(name)}: expected an array, got {what}")
        dtype = array.dtype.newbyteorder("=")
        if dtype not in NAMES:
            expected = f"expected one of the dtypes {', '.join(map(str, NAMES))}"
            raise DTypeError(f"{where}: tensor {short(name)}: {expected}, got {dtype}")
        items.append(_Item(name, np.asarray(array), dtype))
    return sorted(items, key=lambda item: (RANKS[item.dtype], item.name))


def _write_and_close(descriptor: int, header: bytes, items: list[_Item]) -> None:
    try:
        _write_all(descriptor, memoryview(len(header).to_bytes(8, "little") + header))
        for item in items:
            for piece in _pieces(item.array, item.dtype):
                _write_all(descriptor, piece.view(np.uint8).data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pieces(array: Array, dtype: DType) -> Iterator[Array]:
    """Yield the elements in row-major order as contiguous vectors of `dtype`."""
    if array.flags.c_contiguous and array.dtype == dtype:
        yield array.reshape(-1)
        return
    pieces = np.nditer(
        array,
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_dtypes=[dtype],
        order="C",
        casting="equiv",
        buffersize=1 << 16,
    )
    # What needs no buffer comes as a strided vector.
    yield from map(np.ascontiguousarray, pieces)


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _sync_folder(folder: Path) -> None:
    """Put the rename onto the disk, where the system lets a folder be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
