"""The header of a .safetensors file: taken apart and checked, or made.

It is JSON, which maps each name to {"dtype": ..., "shape": [...], "data_offsets": [begin, end]},
offsets counted from the first byte of data, and "__metadata__" to an object of strings. Every size
is checked in Python integers, before anything is allocated.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

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
from ferrum.errors import ArgumentError, CheckpointError
from ferrum.spec import Shape

MAX_HEADER_BYTES = 100_000_000
MAX_TENSORS = 1_000_000
MAX_RANK = 64  # NumPy's own
# Braces, brackets and commas, hence JSON values: they bound what a parsed header takes in memory.
MAX_HEADER_MARKS = 10 * MAX_TENSORS

# In the order of the safetensors library, which writes wide dtypes first so that all are aligned.
DTYPES: dict[str, DType] = {
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
NAMES = {dtype: name for name, dtype in DTYPES.items()}
RANKS = {dtype: rank for rank, dtype in enumerate(NAMES)}
_METADATA = "__metadata__"
FIELDS = frozenset(("dtype", "shape", "data_offsets"))

_shorten = reprlib.Repr()
_shorten.maxstring = 80
short = _shorten.repr


class Entry(NamedTuple):
    """A tensor as a header describes it, checked; offsets count from the first byte of data."""

    name: str
    dtype: DType
    shape: Shape
    begin: int
    end: int


def fault(kind: str, message: str) -> CheckpointError:
    """Return the error of a file whose content is wrong."""
    return CheckpointError(message, kind=kind)


def about(what: str, error: CheckpointError) -> CheckpointError:
    """Return `error`, saying what it is about."""
    return CheckpointError(f"{what}: {error}", kind=error.kind)


def decode(header: bytes, size: int) -> tuple[list[Entry], dict[str, str], str]:
    """Return the tensors that `header` describes, its metadata, and its unknown fields as a text.

    Raises CheckpointError where it is at fault, or does not fit `size` bytes of data.
    """
    table = _parse(header)
    metadata = _metadata(table.pop(_METADATA, {}))
    if len(table) > MAX_TENSORS:
        raise fault("too large", f"expected at most {MAX_TENSORS} tensors, got {len(table)}")
    entries = list(_entries(table))
    _check_layout(entries, size)
    unknown = {field for fields in table.values() for field in fields.keys() - FIELDS}
    return entries, metadata, short(sorted(unknown)) if unknown else ""


def encode(
    where: str, tensors: Sequence[tuple[str, DType, Shape]], metadata: dict[str, str]
) -> bytes:
    """Return the header of a file of these tensors, whose data follow each other.

    Raises, about the file `where`, ArgumentError for metadata that are no strings, CheckpointError
    for a header that `decode` would not take.
    """
    for key, text in metadata.items():
        if not (_is_text(key) and _is_text(text)):
            got = f"{short(key)}: {short(text)}"
            raise ArgumentError(f"{where}: expected metadata of strings, got {got}")
    table: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name, dtype, shape in tensors:
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        table[name] = {"dtype": NAMES[dtype], "shape": shape, "data_offsets": (begin, end)}
    header = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    header += b" " * (-len(header) % 8)  # so that data begins, and so is, aligned
    try:
        if len(header) > MAX_HEADER_BYTES or len(tensors) > MAX_TENSORS:
            expected = f"expected at most {MAX_TENSORS} tensors, {MAX_HEADER_BYTES} header bytes"
            raise fault("too large", f"{expected}, got {len(tensors)}, {len(header)}")
        _check_marks(header)
    except CheckpointError as error:
        raise about(where, error) from None
    return header


def _check_marks(header: bytes) -> None:
    # Before parsing: a hundred megabytes of "[]," would become gigabytes of lists.
    marks = sum(map(header.count, (b"{", b"[", b",")))
    if marks > MAX_HEADER_MARKS:
        expected = f"expected a header of at most {MAX_HEADER_MARKS} braces, brackets and commas"
        raise fault("too large", f"{expected}, got {marks}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        rest = iter(pairs)
        twice = next(name for name, _ in rest if found.pop(name, rest) is rest)
        raise fault("corrupt", f"header: expected each key once, got {short(twice)} twice")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise fault("corrupt", f"header: expected JSON, got {text}")


def _parse(header: bytes) -> dict[str, Any]:
    if not header.startswith(b"{"):
        raise fault("corrupt", f"header: expected '{{' first, got {short(header[:16])}")
    _check_marks(header)
    try:
        table: dict[str, Any] = json.loads(
            header.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except CheckpointError:
        raise
    except ValueError as error:  # not UTF-8, not JSON, or a number of thousands of digits
        raise fault("corrupt", f"header: expected JSON in UTF-8, got: {error}") from None
    except RecursionError:
        raise fault("corrupt", "header: expected three levels, got them too deep") from None
    return table


def _is_text(value: object) -> bool:
    """Return whether `value` is a string of whole characters: JSON can spell half a pair."""
    if not isinstance(value, str):
        return False
    return value.isascii() or value.encode("utf-8", "replace").decode("utf-8") == value


def _metadata(value: Any) -> dict[str, str]:
    if type(value) is not dict:
        raise fault("corrupt", f"{_METADATA}: expected an object, got {short(value)}")
    for key, text in value.items():
        if not (_is_text(key) and _is_text(text)):
            expected = f"{_METADATA}: expected strings"
            raise fault("corrupt", f"{expected}, got {short(text)} for {short(key)}")
    return value


def _entries(table: dict[str, Any]) -> Iterator[Entry]:
    for name, fields in table.items():
        try:
            yield _entry(name, fields)
        except CheckpointError as error:
            raise about(f"tensor {short(name)}", error) from None


def _entry(name: str, fields: Any) -> Entry:
    if not _is_text(name):
        raise fault("corrupt", "expected a name of whole characters, got half of one")
    if type(fields) is not dict or not fields.keys() >= FIELDS:
        expected = f"expected an object of {', '.join(sorted(FIELDS))}"
        raise fault("corrupt", f"{expected}, got {short(fields)}")
    dtype = _dtype(fields["dtype"])
    shape = _naturals(fields["shape"], "shape")
    offsets = _naturals(fields["data_offsets"], "data_offsets")
    if len(offsets) != 2:
        raise fault("corrupt", f"expected two data_offsets, got {short(list(offsets))}")
    _check_size(dtype, shape, offsets[1] - offsets[0])
    return Entry(name, dtype, shape, *offsets)


def _dtype(value: Any) -> DType:
    if type(value) is not str:
        raise fault("corrupt", f"expected a string as dtype, got {short(value)}")
    if value not in DTYPES:
        expected = f"expected one of the dtypes {', '.join(DTYPES)}"
        raise fault("unsupported", f"{expected}, got {short(value)}")
    return DTYPES[value]


def _naturals(value: Any, field: str) -> tuple[int, ...]:
    # JSON's true is an int to Python, hence no isinstance.
    if type(value) is list:
        for size in value:
            if type(size) is not int or size < 0:
                break
        else:
            return tuple(value)
    raise fault("corrupt", f"expected integers >= 0 as {field}, got {short(value)}")


def _check_size(dtype: DType, shape: Shape, nbytes: int) -> None:
    if len(shape) > MAX_RANK:
        raise fault("too large", f"expected at most {MAX_RANK} axes, got {len(shape)}")
    needed = math.prod(shape) * dtype.itemsize
    if needed != nbytes:
        expected = f"expected {short(needed)} bytes for {dtype} {short(shape)}"
        raise fault("corrupt", f"{expected}, got {short(nbytes)} by its data_offsets")
    # NumPy refuses even an empty array if its other axes alone would overflow.
    if not needed and math.prod(filter(None, shape)) * dtype.itemsize >= 2**63:
        raise fault("too large", f"expected less than 2**63 bytes, got the shape {short(shape)}")


def _check_layout(entries: list[Entry], size: int) -> None:
    end = 0
    for entry in sorted(entries, key=lambda entry: entry[3:]):
        if entry.begin != end:
            gap = "a hole" if entry.begin > end else "an overlap"
            expected = f"tensor {short(entry.name)}: expected data from byte {short(end)} on"
            raise fault("corrupt", f"{expected}, got {gap}, from {short(entry.begin)} on")
        end = entry.end
    if end != size:
        kind = "truncated" if end > size else "corrupt"
        raise fault(kind, f"expected {short(end)} bytes of data, got {size}")


def check_name(where: str, name: object) -> None:
    """Raise ArgumentError, about the file `where`, for what cannot be the name of a tensor."""
    if not _is_text(name) or name in ("", _METADATA) or "\0" in str(name):
        expected = f"expected a name that is a string, not empty, not {_METADATA}, without NUL"
        raise ArgumentError(f"{where}: {expected}, got {short(name)}")
