"""Reading .safetensors: a corpus of bad files and odd ones, and that reading runs nothing."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferrum import safetensors_header
from ferrum.dtypes import DTYPES, bfloat16, float16, float32, float64, uint8
from ferrum.errors import CheckpointError
from ferrum.safetensors_io import read_arrays, write_arrays

Array = np.ndarray[Any, Any]

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


# The corpus.


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("name", REFUSED)
def test_bad_file_is_refused(name: str, mapped: bool, path: Path, nothing_left_open: Any) -> None:
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
def test_odd_but_good_file_loads(
    name: str, mapped: bool, path: Path, assert_same: Any, nothing_left_open: Any
) -> None:
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


def test_unknown_fields_load_with_a_warning(path: Path, assert_same: Any) -> None:
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


def test_reading_is_lazy(path: Path) -> None:
    n = 2**31
    with path.open("wb") as file:
        file.write(pack({"a": tensor("U8", (n,), (0, n))}))
        file.truncate(file.tell() + n)
    got, _ = read_arrays(path)
    assert got["a"].shape == (n,) and got["a"][-1] == 0


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
def test_the_corpus_executes_nothing(
    flags: tuple[str, ...], tmp_path: Path, run_python: Any
) -> None:
    """Only the file itself is opened and mapped, and asserts play no part in it."""
    expected = {}
    for name, (kind, _, make) in REFUSED.items():
        expected[name] = kind
        (tmp_path / name).write_bytes(make())
    for name, (content, _, _) in LOADED.items():
        expected[name] = "loaded"
        (tmp_path / name).write_bytes(content)
    outcomes, seen = json.loads(run_python(AUDITED, tmp_path, flags=flags))
    assert outcomes == expected
    assert set(seen) <= {"mmap.__new__"}
    assert len(outcomes) == len(REFUSED) + len(LOADED) >= 80


def test_every_dtype_of_ferrum_is_covered() -> None:
    assert set(safetensors_header.DTYPES.values()) == set(DTYPES)
    assert {float16, float32, float64, uint8} <= set(DTYPES)
