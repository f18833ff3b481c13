"""Reading and writing .safetensors: round trips, what is no file, headers with changed bytes."""

from __future__ import annotations

import json
import os
import random
import re
import stat
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrum import safetensors_header
from ferrum.dtypes import DTYPES, bool_
from ferrum.errors import CheckpointError
from ferrum.safetensors_io import read_arrays, write_arrays

Array = np.ndarray[Any, Any]
QUIET = settings(deadline=None, derandomize=True, max_examples=150)


GOOD = safetensors.numpy.save({"a": np.zeros(1, "f4")})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path for tests that run many examples."""
    return tmp_path_factory.mktemp("examples") / "x.safetensors"


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
def test_what_is_no_file_is_an_os_error(kind: str, path: Path, nothing_left_open: Any) -> None:
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
def test_what_is_no_file_is_not_overwritten(kind: str, path: Path, listing: Any) -> None:
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


def test_only_paths_are_paths(path: Path, assert_same: Any) -> None:
    for path_like in (str(path), os.fsencode(path), path):
        write_arrays(path_like, {"a": np.ones(2)})
        assert_same(read_arrays(path_like)[0], {"a": np.ones(2)})
    for wrong in (0, None, 1.5):
        with pytest.raises(TypeError):
            read_arrays(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a b", "é…", "x" * 255, "-"])
def test_names_of_files(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assert_same: Any, listing: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    write_arrays(name, {"a": np.ones(2)})
    assert_same(read_arrays(name)[0], {"a": np.ones(2)})
    assert listing(tmp_path) == [name]


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("shorter", [1, 30_000])
def test_shortened_while_reading(
    shorter: int, mapped: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = safetensors.numpy.save({"a": np.zeros(10_000, "f4")})
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


def test_arrays_outlive_their_file(path: Path, assert_same: Any) -> None:
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
def test_writing_to_an_array_leaves_the_file(mapped: bool, path: Path, assert_same: Any) -> None:
    write_arrays(path, {"a": np.arange(5000)})
    got, _ = read_arrays(path, mapped=mapped)
    got["a"][:] = -1
    assert_same(read_arrays(path)[0], {"a": np.arange(5000)})
    write_arrays(path, got)  # from the file to itself
    assert_same(read_arrays(path)[0], {"a": np.full(5000, -1)})


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
def test_round_trip(
    assert_same: Any, shared: Path, table: dict[str, Array], metadata: dict[str, str]
) -> None:
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
    assert_same: Any, shared: Path, table: dict[str, Array], metadata: dict[str, str]
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
    assert (
        path.read_bytes()
        == len(padded).to_bytes(8, "little") + padded + b"\x00\x00\x80\x3f\x01\x02"
    )


@pytest.mark.parametrize("dtype", ["f4", ">f4"])
def test_large_strided_arrays_need_no_second_copy(dtype: str, path: Path, assert_same: Any) -> None:
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


def test_subclasses_are_written_as_arrays(path: Path, assert_same: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.asmatrix(np.arange(6.0).reshape(2, 3))
    write_arrays(path, {"a": matrix, "b": matrix[:, ::2]})
    expected = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([[0.0, 2.0], [3.0, 5.0]])}
    assert_same(read_arrays(path)[0], expected)


# Nothing but CheckpointError.


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
        "weight": {"dtype": "F32", "shape": (2, 3), "data_offsets": (0, 24)},
        "mask": {"dtype": "BOOL", "shape": (4,), "data_offsets": (24, 28)},
        "none": {"dtype": "BF16", "shape": (0, 7), "data_offsets": (28, 28)},
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
        yield max(length, 0).to_bytes(8, "little") + header + data


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
