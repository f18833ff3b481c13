"""Reading and writing .safetensors files as NumPy arrays: bytes in, arrays out, nothing executed.

A file is a little-endian uint64 n, n bytes of JSON, and the data. The JSON maps each name to
{"dtype": ..., "shape": [...], "data_offsets": [begin, end]}, offsets counted from the first byte of
data, and "__metadata__" to an object of strings. See
https://github.com/huggingface/safetensors#format.

The reader trusts nothing: it checks every size in Python integers before it allocates. Names are
keys of a dict and nothing else, so any string will do, "../../etc/passwd" included.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import reprlib
import stat
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from ferrum.dtypes import (
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from ferrum.errors import ArgumentError, CheckpointError, DTypeError, UnsupportedError
from ferrum.spec import Shape

PathLike: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Array: TypeAlias = npt.NDArray[Any]

MAX_HEADER_BYTES = 100_000_000
MAX_TENSORS = 1_000_000
MAX_RANK = 64  # NumPy's own
# Braces, brackets and commas, hence JSON values: they bound what a parsed header takes in memory.
MAX_HEADER_MARKS = 10 * MAX_TENSORS

# In the order of the safetensors library, which writes wide dtypes first so that all are aligned.
_DTYPES: dict[str, DType] = {
    "I64": int64,
    "F64": float64,
    "F32": float32,
    "I32": int32,
    "BF16": bfloat16,
    "F16": float16,
    "I16": int16,
    "I8": int8,
    "U8": uint8,
    "BOOL": bool_,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_RANKS = {dtype: rank for rank, dtype in enumerate(_NAMES)}
_METADATA = "__metadata__"
_FIELDS = frozenset(("dtype", "shape", "data_offsets"))

_shorten = reprlib.Repr()
_shorten.maxstring = 80
_short = _shorten.repr


class _Entry(NamedTuple):
    """A tensor as a header describes it, checked; offsets count from the first byte of data."""

    name: str
    dtype: DType
    shape: Shape
    begin: int
    end: int


def _fault(kind: str, message: str) -> CheckpointError:
    return CheckpointError(message, kind=kind)


def _about(what: str, error: CheckpointError) -> CheckpointError:
    return CheckpointError(f"{what}: {error}", kind=error.kind)


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
            raise _about(where, error) from None
    if unknown:
        message = f"{where}: expected the fields {', '.join(sorted(_FIELDS))}, ignored {unknown}"
        warnings.warn(message, stacklevel=2)
    return arrays, metadata


def _read(file: BinaryIO, mapped: bool) -> tuple[dict[str, Array], dict[str, str], str]:
    size = os.fstat(file.fileno()).st_size
    header = _read_header(file, size)
    table = _parse(header)
    metadata = _metadata(table.pop(_METADATA, {}))
    if len(table) > MAX_TENSORS:
        raise _fault("too large", f"expected at most {MAX_TENSORS} tensors, got {len(table)}")
    entries = list(_entries(table))
    start = 8 + len(header)
    _check_layout(entries, size - start)
    buffer = (_map if mapped else _load)(file, size)
    unknown = {field for fields in table.values() for field in fields.keys() - _FIELDS}
    arrays = {entry.name: _view(buffer, start, entry) for entry in entries}
    return arrays, metadata, _short(sorted(unknown)) if unknown else ""


def _read_header(file: BinaryIO, size: int) -> bytes:
    prefix = file.read(8)
    if len(prefix) < 8:
        raise _fault("truncated", f"expected 8 bytes of header length, got {len(prefix)}")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        expected = f"expected a header of at most {MAX_HEADER_BYTES} bytes"
        raise _fault("too large", f"{expected}, got a length of {length}")
    if length > size - 8:
        raise _fault("truncated", f"expected a header of {length} bytes, got {size - 8}")
    header = file.read(length)
    if len(header) < length:
        raise _fault("truncated", f"expected a header of {length} bytes, got {len(header)}")
    return header


def _check_marks(header: bytes) -> None:
    # Before parsing: a hundred megabytes of "[]," would become gigabytes of lists.
    marks = sum(map(header.count, (b"{", b"[", b",")))
    if marks > MAX_HEADER_MARKS:
        expected = f"expected a header of at most {MAX_HEADER_MARKS} braces, brackets and commas"
        raise _fault("too large", f"{expected}, got {marks}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        rest = iter(pairs)
        twice = next(name for name, _ in rest if found.pop(name, rest) is rest)
        raise _fault("corrupt", f"header: expected each key once, got {_short(twice)} twice")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise _fault("corrupt", f"header: expected JSON, got {text}")


def _parse(header: bytes) -> dict[str, Any]:
    if not header.startswith(b"{"):
        raise _fault("corrupt", f"header: expected '{{' first, got {_short(header[:16])}")
    _check_marks(header)
    try:
        table: dict[str, Any] = json.loads(
            header.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except CheckpointError:
        raise
    except ValueError as error:  # not UTF-8, not JSON, or a number of thousands of digits
        raise _fault("corrupt", f"header: expected JSON in UTF-8, got: {error}") from None
    except RecursionError:
        raise _fault("corrupt", "header: expected three levels, got them too deep") from None
    return table


def _is_text(value: object) -> bool:
    """Return whether `value` is a string of whole characters: JSON can spell half a pair."""
    if not isinstance(value, str):
        return False
    return value.isascii() or value.encode("utf-8", "replace").decode("utf-8") == value


def _metadata(value: Any) -> dict[str, str]:
    if type(value) is not dict:
        raise _fault("corrupt", f"{_METADATA}: expected an object, got {_short(value)}")
    for key, text in value.items():
        if not (_is_text(key) and _is_text(text)):
            expected = f"{_METADATA}: expected strings"
            raise _fault("corrupt", f"{expected}, got {_short(text)} for {_short(key)}")
    return value


def _entries(table: dict[str, Any]) -> Iterator[_Entry]:
    for name, fields in table.items():
        try:
            yield _entry(name, fields)
        except CheckpointError as error:
            raise _about(f"tensor {_short(name)}", error) from None


def _entry(name: str, fields: Any) -> _Entry:
    if not _is_text(name):
        raise _fault("corrupt", "expected a name of whole characters, got half of one")
    if type(fields) is not dict or not fields.keys() >= _FIELDS:
        expected = f"expected an object of {', '.join(sorted(_FIELDS))}"
        raise _fault("corrupt", f"{expected}, got {_short(fields)}")
    dtype = _dtype(fields["dtype"])
    shape = _naturals(fields["shape"], "shape")
    offsets = _naturals(fields["data_offsets"], "data_offsets")
    if len(offsets) != 2:
        raise _fault("corrupt", f"expected two data_offsets, got {_short(list(offsets))}")
    _check_size(dtype, shape, offsets[1] - offsets[0])
    return _Entry(name, dtype, shape, *offsets)


def _dtype(value: Any) -> DType:
    if type(value) is not str:
        raise _fault("corrupt", f"expected a string as dtype, got {_short(value)}")
    if value not in _DTYPES:
        expected = f"expected one of the dtypes {', '.join(_DTYPES)}"
        raise _fault("unsupported", f"{expected}, got {_short(value)}")
    return _DTYPES[value]


def _naturals(value: Any, field: str) -> tuple[int, ...]:
    # JSON's true is an int to Python, hence no isinstance.
    if type(value) is list:
        for size in value:
            if type(size) is not int or size < 0:
                break
        else:
            return tuple(value)
    raise _fault("corrupt", f"expected integers >= 0 as {field}, got {_short(value)}")


def _check_size(dtype: DType, shape: Shape, nbytes: int) -> None:
    if len(shape) > MAX_RANK:
        raise _fault("too large", f"expected at most {MAX_RANK} axes, got {len(shape)}")
    needed = math.prod(shape) * dtype.itemsize
    if needed != nbytes:
        expected = f"expected {_short(needed)} bytes for {dtype} {_short(shape)}"
        raise _fault("corrupt", f"{expected}, got {_short(nbytes)} by its data_offsets")
    # NumPy refuses even an empty array if its other axes alone would overflow.
    if not needed and math.prod(filter(None, shape)) * dtype.itemsize >= 2**63:
        raise _fault("too large", f"expected less than 2**63 bytes, got the shape {_short(shape)}")


def _check_layout(entries: list[_Entry], size: int) -> None:
    end = 0
    for entry in sorted(entries, key=lambda entry: entry[3:]):
        if entry.begin != end:
            fault = "a hole" if entry.begin > end else "an overlap"
            expected = f"tensor {_short(entry.name)}: expected data from byte {_short(end)} on"
            raise _fault("corrupt", f"{expected}, got {fault}, from {_short(entry.begin)} on")
        end = entry.end
    if end != size:
        kind = "truncated" if end > size else "corrupt"
        raise _fault(kind, f"expected {_short(end)} bytes of data, got {size}")


def _map(file: BinaryIO, size: int) -> mmap.mmap:
    try:
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
    except ValueError:  # it was shortened since its size was taken
        raise _fault("truncated", f"expected {size} bytes, got fewer while reading") from None


def _load(file: BinaryIO, size: int) -> Array:
    buffer = np.empty(size, np.uint8)
    file.seek(0)
    got = file.readinto(buffer.data)  # type: ignore[attr-defined]
    if got < size:
        raise _fault("truncated", f"expected {size} bytes, got {got} while reading")
    return buffer


def _view(buffer: mmap.mmap | Array, start: int, entry: _Entry) -> Array:
    offset = start + entry.begin
    if entry.dtype is bool_:
        _check_bools(entry.name, np.ndarray(entry.shape, uint8, buffer, offset))
    array: Array = np.ndarray(entry.shape, entry.dtype, buffer, offset)
    return array.copy() if offset % entry.dtype.itemsize else array


def _check_bools(name: str, values: Array) -> None:
    # C takes a bool's byte for 0 or 1, and may index a table with it.
    largest = values.max(initial=0)
    if largest > 1:
        expected = f"tensor {_short(name)}: expected BOOL bytes of 0 and 1"
        raise _fault("corrupt", f"{expected}, got {largest}")


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
    header = _header(where, items, dict(metadata or {}))
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
        _check_name(where, name)
        if not isinstance(array, np.ndarray):
            what = type(array).__name__
            raise ArgumentError(f"{where}: tensor {_short(name)}: expected an array, got {what}")
        dtype = array.dtype.newbyteorder("=")
        if dtype not in _NAMES:
            expected = f"expected one of the dtypes {', '.join(map(str, _NAMES))}"
            raise DTypeError(f"{where}: tensor {_short(name)}: {expected}, got {dtype}")
        items.append(_Item(name, np.asarray(array), dtype))
    return sorted(items, key=lambda item: (_RANKS[item.dtype], item.name))


def _check_name(where: str, name: object) -> None:
    if not _is_text(name) or name in ("", _METADATA) or "\0" in str(name):
        expected = f"expected a name that is a string, not empty, not {_METADATA}, without NUL"
        raise ArgumentError(f"{where}: {expected}, got {_short(name)}")


def _header(where: str, items: list[_Item], metadata: dict[str, str]) -> bytes:
    for key, text in metadata.items():
        if not (_is_text(key) and _is_text(text)):
            got = f"{_short(key)}: {_short(text)}"
            raise ArgumentError(f"{where}: expected metadata of strings, got {got}")
    table: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name, array, dtype in items:
        begin, end = end, end + array.nbytes
        offsets = (begin, end)
        table[name] = {"dtype": _NAMES[dtype], "shape": array.shape, "data_offsets": offsets}
    header = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    header += b" " * (-len(header) % 8)  # so that data begins, and so is, aligned
    _check_header(where, header, len(items))
    return len(header).to_bytes(8, "little") + header


def _check_header(where: str, header: bytes, tensors: int) -> None:
    try:
        if len(header) > MAX_HEADER_BYTES or tensors > MAX_TENSORS:
            expected = f"expected at most {MAX_TENSORS} tensors, {MAX_HEADER_BYTES} header bytes"
            raise _fault("too large", f"{expected}, got {tensors}, {len(header)}")
        _check_marks(header)
    except CheckpointError as error:
        raise _about(where, error) from None


def _write_and_close(descriptor: int, header: bytes, items: list[_Item]) -> None:
    try:
        _write_all(descriptor, memoryview(header))
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
