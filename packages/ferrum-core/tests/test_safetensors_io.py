"""Reading and writing .safetensors: a corpus of bad files, faults of the system, round trips."""

from __future__ import annotations

import gc
import json
import os
import random
import re
import resource
import stat
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrum import safetensors_header
from ferrum.dtypes import DTYPES, bfloat16, bool_, float16, float32, float64, uint8
from ferrum.errors import ArgumentError, CheckpointError, DTypeError, UnsupportedError
from ferrum.safetensors_io import read_arrays, write_arrays

Array = np.ndarray[Any, Any]
QUIET = settings(deadline=None, derandomize=True, max_examples=150)


# Making files.


def pack(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A file of `header` (bytes as they are, else as JSON) and `data`."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def one(
    dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4), data: int = 4
) -> bytes:
    """A file of one tensor "a" with `data` zero bytes."""
    return pack({"a": tensor(dtype, shape, offsets)}, bytes(data))


def two(first: object, second: object, data: int = 8) -> bytes:
    table = {"a": tensor(offsets=first), "b": tensor(offsets=second)}
    return pack(table, bytes(data))


GOOD = one()
FLAT = json.dumps({"a": tensor()}).encode()
DEEP = 100_000

# By number in the corpus: the kind of CheckpointError, a part of its message, the file.
REFUSED: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "A01 empty": ("truncated", "expected 8 bytes of header length, got 0", lambda: b""),
    "A02 seven bytes": ("truncated", "length, got 7", lambda: bytes(7)),
    "A03 no header": ("corrupt", "expected '{' first, got b''", lambda: bytes(8)),
    "A04 header beyond the file": (
        "truncated",
        "expected a header of 1000 bytes",
        lambda: pack(FLAT, bytes(4), 1000),
    ),
    "A05 length 2^63": ("too large", "9223372036854775808", lambda: pack(FLAT, length=2**63)),
    "A06 length 2^64-1": (
        "too large",
        "18446744073709551615",
        lambda: pack(FLAT, length=2**64 - 1),
    ),
    "A07 length 100,000,001": (
        "too large",
        "at most 100000000 bytes, got a length of 100000001",
        lambda: pack(FLAT, length=100_000_001),
    ),
    "A08 not JSON": ("corrupt", "expected JSON in UTF-8", lambda: pack(b'{"a": }')),
    "A09 leading space": ("corrupt", "expected '{' first", lambda: pack(b" " + FLAT, bytes(4))),
    "A11 trailing junk": ("corrupt", "Extra data", lambda: pack(FLAT + b"x", bytes(4))),
    "A11 trailing NULs": ("corrupt", "Extra data", lambda: pack(FLAT + bytes(3), bytes(4))),
    "A12 bad UTF-8": ("corrupt", "can't decode", lambda: pack(b'{"\xff": 1}')),
    "A12 half a character": (
        "corrupt",
        "tensor '\\ud800': expected a name of whole characters",
        lambda: pack({"\ud800": tensor()}, bytes(4)),
    ),
    "A12 half a character in metadata": (
        "corrupt",
        "__metadata__: expected strings, got 'é\\udfff' for 'a'",
        lambda: pack({"__metadata__": {"a": "é\udfff"}}),
    ),
    "A12 UTF-16": ("corrupt", "expected JSON", lambda: pack(FLAT.decode().encode("utf-16-le"))),
    "A13 a list": ("corrupt", "expected '{' first, got b'[1]'", lambda: pack([1])),
    "A14 a name twice": (
        "corrupt",
        "expected each key once, got 'a' twice",
        lambda: pack(b'{"b":1,"a":1,"c":1,"a":1}'),
    ),
    "A14 a field twice": (
        "corrupt",
        "got 'dtype' twice",
        lambda: pack(FLAT.replace(b'"shape"', b'"dtype"'), bytes(4)),
    ),
    "A14 metadata twice": (
        "corrupt",
        "'__metadata__' twice",
        lambda: pack(b'{"__metadata__":{},"__metadata__":{}}'),
    ),
    "A15 data cut short": ("truncated", "expected 4 bytes of data, got 3", lambda: one(data=3)),
    "A15 no data": ("truncated", "expected 4 bytes of data, got 0", lambda: one(data=0)),
    "A16 extra data": ("corrupt", "expected 4 bytes of data, got 5", lambda: one(data=5)),
    "A16 only data": ("corrupt", "expected 0 bytes of data, got 1", lambda: pack({}, b"x")),
    "A17 hole": ("corrupt", "from byte 4 on, got a hole", lambda: two((0, 4), (5, 9), 9)),
    "A17 hole at the start": ("corrupt", "a hole, from 4 on", lambda: one(offsets=(4, 8), data=8)),
    "A18 overlap": ("corrupt", "from byte 4 on, got an overlap", lambda: two((0, 4), (2, 6), 6)),
    "A18 the same bytes": ("corrupt", "an overlap", lambda: two((0, 4), (0, 4), 4)),
    "A19 reversed offsets": ("corrupt", "expected 4 bytes", lambda: one(offsets=(4, 0))),
    "A20 negative offset": ("corrupt", "integers >= 0", lambda: one(offsets=(-4, 0))),
    "A21 negative size": ("corrupt", "integers >= 0 as shape", lambda: one(shape=(-1,))),
    "A21 two negative sizes": ("corrupt", "integers >= 0", lambda: one(shape=(-1, -1))),
    "A22 float size": ("corrupt", "got [1.0]", lambda: one(shape=(1.0,))),
    "A22 boolean size": ("corrupt", "got [True]", lambda: one(shape=(True,))),
    "A22 null size": ("corrupt", "got [None]", lambda: one(shape=(None,))),
    "A23 string as shape": ("corrupt", "got '1'", lambda: one(shape="1")),
    "A23 number as shape": ("corrupt", "got 1", lambda: one(shape=1)),
    "A24 shape and bytes differ": (
        "corrupt",
        "tensor 'a': expected 12 bytes for float32 (3,), got 4",
        lambda: one(shape=(3,)),
    ),
    "A25 overflow to 0": ("corrupt", "73786976294838206464 b", lambda: one(shape=(2**32, 2**32))),
    "A25 overflow to 4": ("corrupt", "expected", lambda: one(shape=(2**62 + 1,))),
    "A26 overflow in bits": (
        "corrupt",
        "got 0 by its",
        lambda: one("F64", (2**61,), (0, 0), data=0),
    ),
    "A27 0 x 2^62": ("too large", "2**63", lambda: one(shape=(0, 2**62), offsets=(0, 0), data=0)),
    "A28 2^40 x 2^40 x 0": (
        "too large",
        "less than 2**63 bytes",
        lambda: one(shape=(2**40, 2**40, 0), offsets=(0, 0), data=0),
    ),
    "A29 F128": ("unsupported", "got 'F128'", lambda: one("F128")),
    "A30 lower case": ("unsupported", "got 'f32'", lambda: one("f32")),
    "A31 no dtype": (
        "corrupt",
        "expected an object of data_offsets, dtype, shape",
        lambda: pack({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    ),
    "A31 dtype a number": ("corrupt", "expected a string as dtype, got 4", lambda: one(4)),
    "A31 dtype a list": ("corrupt", "expected a string as dtype, got []", lambda: one([])),
    "A31 tensor a number": ("corrupt", "expected an object", lambda: pack({"a": 4})),
    "A31 tensor null": ("corrupt", "expected an object", lambda: pack({"a": None})),
    "A32 three offsets": ("corrupt", "expected two data_offsets", lambda: one(offsets=(0, 2, 4))),
    "A32 no offset": ("corrupt", "expected two data_offsets, got []", lambda: one(offsets=())),
    "A34 metadata with a number": (
        "corrupt",
        "__metadata__: expected strings, got 1 for 'a'",
        lambda: pack({"__metadata__": {"a": 1}}),
    ),
    "A34 metadata a list": ("corrupt", "expected an object", lambda: pack({"__metadata__": []})),
    "A34 metadata null": ("corrupt", "expected an object", lambda: pack({"__metadata__": None})),
    "A35 metadata nested": ("corrupt", "strings", lambda: pack({"__metadata__": {"a": {}}})),
    "A36 metadata like a tensor": (
        "corrupt",
        "__metadata__: expected strings",
        lambda: pack({"__metadata__": tensor()}, bytes(4)),
    ),
    "A37 deep lists": ("corrupt", "too deep", lambda: pack(b'{"a":' + b"[" * DEEP)),
    "A37 deep objects": ("corrupt", "too deep", lambda: pack(b'{"a":' * DEEP)),
    "A37 deep and closed": (
        "corrupt",
        "too deep",
        lambda: pack(b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}"),
    ),
    "A38 NaN as size": ("corrupt", "got NaN", lambda: one(shape=(float("nan"),))),
    "A38 -Infinity": ("corrupt", "got -Infinity", lambda: one(offsets=(float("-inf"), 4))),
    "A38 1e999": ("corrupt", "integers >= 0", lambda: pack(FLAT.replace(b"[1]", b"[1e999]"))),
    "A38 5,000 digits": (
        "corrupt",
        "header: expected JSON",
        lambda: pack(FLAT.replace(b"[1]", b"[" + b"9" * 5000 + b"]")),
    ),
    "A38 4,000 digits": (
        "corrupt",
        "tensor 'a': expected",
        lambda: pack(FLAT.replace(b"[1]", b"[" + b"9" * 4000 + b"]")),
    ),
    "A38 4,000 digits as offset": (
        "corrupt",
        "tensor 'a': expected",
        lambda: pack(FLAT.replace(b", 4]", b", " + b"9" * 4000 + b"]")),
    ),
    "A43 BOOL bytes": (
        "corrupt",
        "tensor 'a': expected BOOL bytes of 0 and 1, got 255",
        lambda: pack({"a": tensor("BOOL", (3,), (0, 3))}, b"\x00\x02\xff"),
    ),
    "A44 F4": ("unsupported", "got 'F4'", lambda: one("F4", (3,), (0, 2), data=2)),
    "A46 rank 1,001": ("too large", "64 axes, got 1001", lambda: one(shape=(1,) * 1001)),
    "A46 rank 65": ("too large", "at most 64 axes, got 65", lambda: one(shape=(1,) * 65)),
    "A49 zeros": ("corrupt", "expected '{' first", lambda: bytes(4096)),
    **{
        f"A50 {name}": ("unsupported", f"got '{name}'", partial(one, name))
        for name in ("F8_E4M3", "F8_E5M2", "F8_E8M0", "F6_E2M3", "U16", "U32", "U64", "C64")
    },
    "a name of a megabyte": (
        "unsupported",
        "tensor 'aaa",
        lambda: pack({"a" * 2**20: tensor("F8_E4M3")}, bytes(4)),
    ),
}

LOADED: dict[str, tuple[bytes, dict[str, Array], dict[str, str]]] = {
    "no tensors": (pack({}), {}, {}),
    "A10 trailing spaces": (pack(FLAT + b" " * 9, bytes(4)), {"a": np.zeros(1, "f4")}, {}),
    "A39 empty name": (pack({"": tensor()}, bytes(4)), {"": np.zeros(1, "f4")}, {}),
    "A40 NUL in a name": (pack({"a\0b": tensor()}, bytes(4)), {"a\0b": np.zeros(1, "f4")}, {}),
    "A41 a path as name": (
        pack({"../../etc/passwd": tensor()}, bytes(4)),
        {"../../etc/passwd": np.zeros(1, "f4")},
        {},
    ),
    "A42 dunder names": (
        pack({"__class__": tensor(), "__dict__": tensor(shape=(0,), offsets=(4, 4))}, bytes(4)),
        {"__class__": np.zeros(1, "f4"), "__dict__": np.zeros(0, "f4")},
        {},
    ),
    "A47 misaligned": (
        pack(
            {"b": tensor("U8", (1,), (0, 1)), "a": tensor("F64", (2,), (1, 17))},
            b"\x07" + np.array([1.5, -2.5]).tobytes(),
        ),
        {"b": np.array([7], np.uint8), "a": np.array([1.5, -2.5])},
        {},
    ),
    "A48 signalling NaN": (
        pack({"a": tensor("F32", (2,), (0, 8))}, b"\x01\x00\x80\x7f\x55\xaa\xbf\xff"),
        {"a": np.array([0x7F800001, 0xFFBFAA55], "u4").view("f4")},
        {},
    ),
    "A50 BF16": (
        pack({"a": tensor("BF16", (2,), (0, 4))}, b"\x80\x3f\x20\xc0"),
        {"a": np.array([1, -2.5], bfloat16)},
        {},
    ),
    "A46 rank 64": (
        pack({"a": tensor(shape=(1,) * 64)}, bytes(4)),
        {"a": np.zeros((1,) * 64, "f4")},
        {},
    ),
    "metadata": (
        pack({"__metadata__": {"format": "pt", "": "é"}, "a": tensor("U8", (), (0, 1))}, b"\x05"),
        {"a": np.array(5, np.uint8)},
        {"format": "pt", "": "é"},
    ),
    "0 x 2^60": (
        pack({"a": tensor(shape=(0, 2**60), offsets=(0, 0))}),
        {"a": np.empty((0, 2**60), "f4")},
        {},
    ),
    "empty tensors between": (
        pack(
            {
                "z": tensor("I64", (3, 0), (4, 4)),
                "b": tensor("I32", (1,), (4, 8)),
                "y": tensor("I64", (0,), (0, 0)),
                "a": tensor("F32", (1,), (0, 4)),
                "x": tensor("I64", (0,), (8, 8)),
            },
            b"\x00\x00\x80\x3f\x01\x00\x00\x00",
        ),
        {
            "z": np.empty((3, 0), "i8"),
            "b": np.array([1], "i4"),
            "y": np.empty(0, "i8"),
            "a": np.array([1], "f4"),
            "x": np.empty(0, "i8"),
        },
        {},
    ),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path for tests that run many examples."""
    return tmp_path_factory.mktemp("examples") / "x.safetensors"


def assert_same(got: dict[str, Array], expected: dict[str, Array]) -> None:
    """The same names, dtypes, shapes and bits."""
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].dtype == array.dtype and got[name].shape == array.shape, name
        assert got[name].tobytes() == array.tobytes(), name


def listing(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@contextmanager
def nothing_left_open() -> Iterator[None]:
    before = listing(Path("/dev/fd"))
    yield
    gc.collect()
    assert listing(Path("/dev/fd")) == before


# The corpus.


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("name", REFUSED)
def test_bad_file_is_refused(name: str, mapped: bool, path: Path) -> None:
    _, text, make = REFUSED[name]
    content = make()
    path.write_bytes(content)
    with nothing_left_open():
        tracemalloc.start()
        try:
            with pytest.raises(CheckpointError) as caught:
                read_arrays(path, mapped=mapped)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        message = str(caught.value)
        del caught
    assert message.startswith(f"{path}: ") and text in message and "got" in message
    assert len(message) < len(str(path)) + 500
    assert peak < 40 * len(content) + 2**20
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", REFUSED)
def test_bad_file_has_the_right_kind(name: str, path: Path) -> None:
    kind, _, make = REFUSED[name]
    path.write_bytes(make())
    with pytest.raises(CheckpointError) as caught:
        read_arrays(path)
    assert caught.value.kind == kind and caught.value.__suppress_context__


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("name", LOADED)
def test_odd_but_good_file_loads(name: str, mapped: bool, path: Path) -> None:
    content, arrays, metadata = LOADED[name]
    path.write_bytes(content)
    with nothing_left_open():
        got, got_metadata = read_arrays(path, mapped=mapped)
        assert_same(got, arrays)
        assert list(got) == list(arrays) and got_metadata == metadata
        assert all(array.flags.aligned and array.flags.writeable for array in got.values())
        assert all(any(array.dtype is dtype for dtype in DTYPES) for array in got.values())
        del got
    assert path.read_bytes() == content


def test_unknown_fields_load_with_a_warning(path: Path) -> None:
    fields = {"stride": [1], "quantised": {"by": [1.5, None]}}
    table = {"a": tensor() | fields, "b": tensor(offsets=(4, 8)) | fields}
    path.write_bytes(pack(table, bytes(8)))
    with pytest.warns(UserWarning, match=r"ignored \['quantised', 'stride'\]$") as caught:
        got, _ = read_arrays(path)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert str(caught[0].message).startswith(f"{path}: expected the fields data_offsets, dtype,")
    assert_same(got, {"a": np.zeros(1, "f4"), "b": np.zeros(1, "f4")})


def test_many_empty_tensors_load(path: Path) -> None:
    n = 100_000
    text = ",".join(f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(n))
    path.write_bytes(pack(f"{{{text}}}".encode()))
    got, _ = read_arrays(path)
    assert len(got) == n and all(array.shape == (0,) for array in got.values())


def test_too_many_tensors_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(two((0, 4), (4, 8)))
    monkeypatch.setattr(safetensors_header, "MAX_TENSORS", 2)
    assert len(read_arrays(path)[0]) == 2
    monkeypatch.setattr(safetensors_header, "MAX_TENSORS", 1)
    with pytest.raises(CheckpointError, match="expected at most 1 tensors, got 2") as caught:
        read_arrays(path)
    assert caught.value.kind == "too large"
    with pytest.raises(CheckpointError, match="expected at most 1 tensors") as caught:
        write_arrays(path, {"a": np.zeros(1), "b": np.zeros(1)})
    assert caught.value.kind == "too large" and str(caught.value).startswith(f"{path}: ")
    assert path.read_bytes() == two((0, 4), (4, 8))


def test_a_header_that_would_swell_is_refused_unparsed(path: Path) -> None:
    text = b'{"a":[' + b"[]," * 5_000_000 + b"[]]}"
    path.write_bytes(pack(text))
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"10000000 braces, .* got 10000003") as caught:
            read_arrays(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.kind == "too large" and peak < len(text) + 2**20


def test_a_sparse_file_of_a_terabyte_takes_no_memory(path: Path) -> None:
    with path.open("wb") as file:
        file.write(pack(FLAT, length=2**40 - 8))
        file.truncate(2**40)
    with pytest.raises(CheckpointError) as caught:
        read_arrays(path)
    assert caught.value.kind == "too large"


# What is no file, or does not stay one.


def make_no_file(kind: str, path: Path) -> None:
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "symlink loop":
        path.symlink_to(path)
    elif kind in ("/dev/zero", "/dev/null"):
        path.symlink_to(kind)
    elif kind == "in a file":
        path.parent.joinpath("file").write_bytes(GOOD)


@pytest.mark.parametrize(
    "kind", ["directory", "fifo", "symlink loop", "/dev/zero", "/dev/null", "missing", "in a file"]
)
def test_what_is_no_file_is_an_os_error(kind: str, path: Path) -> None:
    make_no_file(kind, path)
    where = path.parent / "file" / "x" if kind == "in a file" else path
    with nothing_left_open():
        with pytest.raises(OSError, match=r"model\.safetensors|file/x") as caught:
            read_arrays(where)
        expected = {
            "directory": IsADirectoryError,
            "missing": FileNotFoundError,
            "in a file": NotADirectoryError,
        }
        assert type(caught.value) is expected.get(kind, OSError)
        del caught


@pytest.mark.parametrize("kind", ["directory", "fifo", "symlink loop", "/dev/null", "in a file"])
def test_what_is_no_file_is_not_overwritten(kind: str, path: Path) -> None:
    make_no_file(kind, path)
    before = listing(path.parent)
    with pytest.raises(OSError, match=r"model\.safetensors|file/x"):
        write_arrays(path.parent / "file" / "x" if kind == "in a file" else path, {})
    assert listing(path.parent) == before
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_no_permission(path: Path) -> None:
    path.write_bytes(GOOD)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read anything
    try:
        with pytest.raises(PermissionError):
            read_arrays(path)
    finally:
        os.seteuid(user)


def test_only_paths_are_paths(path: Path) -> None:
    for path_like in (str(path), os.fsencode(path), path):
        write_arrays(path_like, {"a": np.ones(2)})
        assert_same(read_arrays(path_like)[0], {"a": np.ones(2)})
    for wrong in (0, None, 1.5):
        with pytest.raises(TypeError):
            read_arrays(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a b", "é…", "x" * 255, "-"])
def test_names_of_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_arrays(name, {"a": np.ones(2)})
    assert_same(read_arrays(name)[0], {"a": np.ones(2)})
    assert listing(tmp_path) == [name]


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("shorter", [1, 30_000])
def test_shortened_while_reading(
    shorter: int, mapped: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = one(shape=(10_000,), offsets=(0, 40_000), data=40_000)
    path.write_bytes(content)
    parse = safetensors_header._parse

    def shorten(header: bytes) -> dict[str, Any]:
        os.truncate(path, len(content) - shorter)
        return parse(header)

    monkeypatch.setattr(safetensors_header, "_parse", shorten)
    with pytest.raises(CheckpointError, match=f"expected {len(content)} bytes, got ") as caught:
        read_arrays(path, mapped=mapped)
    assert caught.value.kind == "truncated"


def test_shortened_before_the_header(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(GOOD[:20])
    real = os.fstat

    def longer(descriptor: int) -> os.stat_result:
        fields = list(real(descriptor))
        fields[stat.ST_SIZE] = len(GOOD)
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", longer)
    with pytest.raises(CheckpointError, match=r"header of \d+ bytes, got 12") as caught:
        read_arrays(path)
    assert caught.value.kind == "truncated"


def test_arrays_outlive_their_file(path: Path) -> None:
    expected = {"a": np.arange(1000.0)}
    write_arrays(path, expected)
    mapped, _ = read_arrays(path)
    loaded, _ = read_arrays(path, mapped=False)
    write_arrays(path, {"a": np.zeros(1)})
    assert_same(mapped, expected)
    path.write_bytes(b"")
    path.unlink()
    assert_same(mapped, expected)
    assert_same(loaded, expected)


@pytest.mark.parametrize("mapped", [True, False])
def test_writing_to_an_array_leaves_the_file(mapped: bool, path: Path) -> None:
    write_arrays(path, {"a": np.arange(5000)})
    got, _ = read_arrays(path, mapped=mapped)
    got["a"][:] = -1
    assert_same(read_arrays(path)[0], {"a": np.arange(5000)})
    write_arrays(path, got)  # from the file to itself
    assert_same(read_arrays(path)[0], {"a": np.full(5000, -1)})


def test_reading_is_lazy(path: Path) -> None:
    n = 2**31
    with path.open("wb") as file:
        file.write(pack({"a": tensor("U8", (n,), (0, n))}))
        file.truncate(file.tell() + n)
    got, _ = read_arrays(path)
    assert got["a"].shape == (n,) and got["a"][-1] == 0


# Round trips.


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    """Any bits in any dtype, strided and reversed at will."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    size = int(np.prod(shape)) * dtype.itemsize
    data = draw(st.binary(min_size=size, max_size=size))
    if dtype is bool_:
        data = bytes(byte & 1 for byte in data)
    array = np.frombuffer(data, dtype).reshape(shape)
    array = array.transpose(draw(st.permutations(range(len(shape)))))
    steps = draw(
        st.lists(st.sampled_from([1, 2, -1, -2]), min_size=array.ndim, max_size=array.ndim)
    )
    index: tuple[Any, ...] = (..., *(slice(None, None, step) for step in steps))
    array = array[index]
    order = draw(st.sampled_from("<>"))
    ordered: Array = array.astype(array.dtype.newbyteorder(order))
    return ordered


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)


@QUIET
@given(st.dictionaries(NAMES, arrays(), max_size=6), st.dictionaries(TEXTS, TEXTS, max_size=3))
def test_round_trip(shared: Path, table: dict[str, Array], metadata: dict[str, str]) -> None:
    write_arrays(shared, table, metadata)
    content = shared.read_bytes()
    native = {name: array.astype(array.dtype.newbyteorder("=")) for name, array in table.items()}
    for mapped in (True, False):
        got, got_metadata = read_arrays(shared, mapped=mapped)
        assert_same(got, native)
        assert got_metadata == metadata
        assert all(array.flags.aligned for array in got.values())
    backwards = dict(reversed(metadata.items()))
    write_arrays(shared, dict(reversed(table.items())), backwards)
    assert shared.read_bytes() == content


@QUIET
@given(st.dictionaries(NAMES, arrays(), max_size=6), st.dictionaries(TEXTS, TEXTS, max_size=1))
def test_the_library_reads_and_writes_the_same(
    shared: Path, table: dict[str, Array], metadata: dict[str, str]
) -> None:
    native = {
        name: np.require(array, array.dtype.newbyteorder("="), "C") for name, array in table.items()
    }
    # The library writes the entries of its metadata in random order, so here there is one at most.
    content = safetensors.numpy.save(native, metadata or None)
    write_arrays(shared, table, metadata)
    assert shared.read_bytes() == content
    # (Its `load` from bytes knows no bfloat16; its `load_file` does.)
    assert_same(safetensors.numpy.load_file(shared), native)
    with safetensors.safe_open(shared, "numpy") as file:
        assert (file.metadata() or {}) == metadata


def test_layout_of_a_file(path: Path) -> None:
    write_arrays(path, {"b": np.array([1, 2], "u1"), "é": np.array(1, "<f4")}, {"k": "v"})
    header = (
        '{"__metadata__":{"k":"v"},"é":{"dtype":"F32","shape":[],"data_offsets":[0,4]},'
        '"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}}'
    ).encode()
    padded = header + b" " * (-len(header) % 8)
    assert path.read_bytes() == pack(padded, b"\x00\x00\x80\x3f\x01\x02")


@pytest.mark.parametrize("dtype", ["f4", ">f4"])
def test_large_strided_arrays_need_no_second_copy(dtype: str, path: Path) -> None:
    base = np.arange(1 << 21).astype(dtype).reshape(1024, 2048)
    table = {"a": base, "b": base.T, "c": base[::-1, ::3], "d": base.reshape(-1)[::2]}
    tracemalloc.start()
    try:
        write_arrays(path, table)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21
    assert_same(read_arrays(path)[0], {name: array.astype("<f4") for name, array in table.items()})


def test_subclasses_are_written_as_arrays(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.asmatrix(np.arange(6.0).reshape(2, 3))
    write_arrays(path, {"a": matrix, "b": matrix[:, ::2]})
    expected = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([[0.0, 2.0], [3.0, 5.0]])}
    assert_same(read_arrays(path)[0], expected)


# Writing: wrong arguments and faults of the system.

OLD = one()
NEW = {"a": np.arange(4000.0), "b": np.ones((3, 4), bfloat16).T}


@pytest.mark.parametrize("name", ["", "a\0b", "__metadata__", "\ud800", 1, None, b"a"])
def test_wrong_names_are_refused(name: Any, path: Path) -> None:
    path.write_bytes(OLD)
    with pytest.raises(ArgumentError, match="expected a name that is a string") as caught:
        write_arrays(path, {name: np.ones(1)})
    assert str(caught.value).startswith(f"{path}: ") and str(caught.value).endswith(f"got {name!r}")
    assert path.read_bytes() == OLD and listing(path.parent) == [path.name]


@pytest.mark.parametrize("metadata", [{"a": 1}, {1: "a"}, {"a": None}, {"a": "\udc80"}])
def test_wrong_metadata_is_refused(metadata: Any, path: Path) -> None:
    with pytest.raises(ArgumentError, match="expected metadata of strings, got "):
        write_arrays(path, {}, metadata)
    assert listing(path.parent) == []


@pytest.mark.parametrize("dtype", ["c8", "u2", "u4", "u8", "O", "U3", "M8[s]", "V4", "g"])
def test_foreign_dtypes_are_refused(dtype: str, path: Path) -> None:
    with pytest.raises(DTypeError, match=r": tensor 'a': expected one of the dtypes .*, got "):
        write_arrays(path, {"a": np.empty(2, dtype)})
    assert listing(path.parent) == []


def test_what_is_no_array_is_refused(path: Path) -> None:
    for wrong in ([1.0], 1.0, np.float32(1), b"abc"):
        with pytest.raises(ArgumentError, match=r"tensor 'a': expected an array, got "):
            write_arrays(path, {"a": wrong})  # type: ignore[dict-item]


def test_headers_too_large_to_read_are_not_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cap in ("MAX_HEADER_BYTES", "MAX_HEADER_MARKS"):
        with monkeypatch.context() as patch:
            patch.setattr(safetensors_header, cap, 3)
            with pytest.raises(CheckpointError) as caught:
                write_arrays(path, {"a": np.ones((2, 2))})
        assert caught.value.kind == "too large" and listing(path.parent) == []


def test_other_byte_orders_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(GOOD)
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


def test_a_link_is_replaced_and_not_followed(path: Path) -> None:
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
def test_a_fault_anywhere_leaves_the_old_file_or_the_new(error: BaseException, path: Path) -> None:
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


def test_a_fault_without_an_old_file_leaves_nothing(path: Path) -> None:
    for call in range(calls_of_a_write(path).index("replace") + 1):
        path.unlink(missing_ok=True)
        with failing_at(call, OSError(5, "I/O error")), pytest.raises(OSError, match="I/O error"):
            write_arrays(path, NEW)
        assert listing(path.parent) == []


def test_short_writes_are_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:97]))
    write_arrays(path, NEW)
    assert_same(read_arrays(path)[0], NEW)


def test_a_full_disk(path: Path) -> None:
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
    path: Path, monkeypatch: pytest.MonkeyPatch
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


def run(code: str, *arguments: object, flags: tuple[str, ...] = ()) -> str:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", *flags, "-c", code]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_kill_anywhere_leaves_the_old_file_or_the_new(path: Path) -> None:
    outcomes = run(KILLED, path).split()
    # stat, open, write, write, fsync, close, then replace: killed before it, the old file stays.
    assert outcomes == ["old"] * 13 + ["new"] * (len(outcomes) - 13) and len(outcomes) == 22
    leftovers = [name for name in listing(path.parent) if name != path.name]
    assert all(name.startswith(".ferrum-") and name.endswith(".tmp") for name in leftovers)
    write_arrays(path, NEW)
    assert_same(read_arrays(path)[0], NEW)


# Nothing but CheckpointError, and nothing executed.


ODD = [b"{", b"}", b"[", b"]", b'"', b",", b":", b"0", b"-", b"1e5", b"null", b"NaN", b"true"]
ODD += [
    b"9" * 20,
    b"9" * 5000,
    b"\\ud800",
    b"\xff",
    b"\0",
    b'"dtype":',
    b"[" * 2000,
    b'"F64"',
    b" ",
]


def mutants(count: int) -> Iterator[bytes]:
    """Files with a few bytes or tokens of the header, or a length, changed."""
    table = {
        "__metadata__": {"format": "np"},
        "weight": tensor("F32", (2, 3), (0, 24)),
        "mask": tensor("BOOL", (4,), (24, 28)),
        "none": tensor("BF16", (0, 7), (28, 28)),
    }
    good = json.dumps(table).encode()
    tokens = re.findall(rb'"[^"]*"|[0-9]+|[^"0-9]', good)
    rng = random.Random(20)
    for _ in range(count):
        pieces = [good[i : i + 1] for i in range(len(good))] if rng.random() < 0.5 else tokens[:]
        for _ in range(rng.randint(1, 3)):
            start = rng.randrange(len(pieces))
            source = rng.randrange(len(pieces))
            new = rng.choice(
                (
                    [rng.choice(ODD)],
                    [bytes([rng.randrange(256)])],
                    pieces[source : source + 1],
                    pieces[source : source + rng.randrange(12)],
                )
            )
            pieces[start : start + rng.choice((0, 1, 1, 1, 8))] = new
        header = b"".join(pieces)
        length = len(header) + (rng.randint(-3, 3) if rng.random() < 0.05 else 0)
        data = bytes(28 + (rng.randint(-3, 3) if rng.random() < 0.05 else 0))
        yield pack(header, data, max(length, 0))


def test_mutated_headers_load_or_raise_checkpoint_error(shared: Path) -> None:
    outcomes = {"loaded": 0, "corrupt": 0, "truncated": 0, "unsupported": 0, "too large": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content in mutants(20_000):
            shared.write_bytes(content)
            try:
                got, metadata = read_arrays(shared)
            except CheckpointError as error:
                outcomes[error.kind] += 1
                assert str(error).startswith(f"{shared}: ")
            else:
                outcomes["loaded"] += 1
                length = int.from_bytes(content[:8], "little")
                total = sum(array.nbytes for array in got.values())
                assert total == len(content) - 8 - length
                assert all(type(text) is str for pair in metadata.items() for text in pair)
    assert outcomes["loaded"] > 300 and outcomes["corrupt"] > 10_000
    assert all(outcomes.values()), outcomes


AUDITED = """
import json, os, sys
from ferrum.errors import CheckpointError
from ferrum.safetensors_io import read_arrays

if "safetensors" in sys.modules:
    sys.exit("the safetensors package was imported")
folder, files = sys.argv[1], sorted(os.listdir(sys.argv[1]))
seen = set()

def watch(event, arguments):
    if watching:
        seen.add(f"{event} {arguments[0]}" if event == "open" else event)

watching = False
sys.addaudithook(watch)
outcomes = {}
for name in files:
    path = os.path.join(folder, name)
    watching = True
    try:
        read_arrays(path)
        kind = "loaded"
    except CheckpointError as error:
        kind = error.kind
    watching = False
    outcomes[name] = kind
    seen.discard(f"open {path}")
print(json.dumps([outcomes, sorted(seen)]))
"""


@pytest.mark.parametrize("flags", [(), ("-O",)])
def test_the_corpus_executes_nothing(flags: tuple[str, ...], tmp_path: Path) -> None:
    """Only the file itself is opened and mapped, and asserts play no part in it."""
    expected = {}
    for name, (kind, _, make) in REFUSED.items():
        expected[name] = kind
        (tmp_path / name).write_bytes(make())
    for name, (content, _, _) in LOADED.items():
        expected[name] = "loaded"
        (tmp_path / name).write_bytes(content)
    outcomes, seen = json.loads(run(AUDITED, tmp_path, flags=flags))
    assert outcomes == expected
    assert set(seen) <= {"mmap.__new__"}
    assert len(outcomes) == len(REFUSED) + len(LOADED) >= 80


def test_every_dtype_of_ferrum_is_covered() -> None:
    assert set(safetensors_header.DTYPES.values()) == set(DTYPES)
    assert {float16, float32, float64, uint8} <= set(DTYPES)
