"""Tensors in .safetensors files: what is saved is what is loaded, and loading never writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import numpy as library

import ferrum as fe
from ferrum import Tensor, plugins
from ferrum.device import Device
from ferrum.dtypes import DTYPES
from ferrum.errors import ArgumentError, CheckpointError, FerrumError, OperandError
from ferrum.reference import Reference
from ferrum.serialization import load_metadata


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("weights") / "weights.safetensors"


def bits(x: Tensor) -> Any:
    return x.dtype.name, x.shape, x.detach().numpy().tobytes()


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any dtype and any bits, NaNs among them, seen through any view."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    raw = draw(st.binary(min_size=1, max_size=16))
    count = int(np.prod(shape)) * dtype.itemsize
    data = np.resize(np.frombuffer(raw, np.uint8), count)
    data = data % 2 if dtype is fe.bool else data
    x = fe.from_numpy(data.astype(np.uint8).view(dtype).reshape(shape))
    view = draw(st.sampled_from(["whole", "transposed", "flipped", "stepped", "expanded"]))
    if view == "expanded":
        return x.expand(2, *x.shape)
    if view == "whole" or not x.ndim:
        return x
    if view == "stepped":
        return x[::2]
    return x.permute(*reversed(range(x.ndim))) if view == "transposed" else x.flip(0)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.dictionaries(NAMES.filter(lambda name: name != "__metadata__"), tensors(), max_size=4),
    st.dictionaries(NAMES, st.text(st.characters(codec="utf-8"), max_size=5), max_size=2),
)
def test_round_trip(shared: Path, table: dict[str, Tensor], metadata: dict[str, str]) -> None:
    fe.save_file(table, shared, metadata)
    loaded = fe.load_file(shared)
    assert {name: bits(x) for name, x in loaded.items()} == {n: bits(x) for n, x in table.items()}
    assert load_metadata(shared) == metadata
    for x in loaded.values():
        assert isinstance(x, Tensor)
        assert x.is_leaf
        assert not x.requires_grad
        assert any(x.dtype is dtype for dtype in DTYPES)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_the_library_reads_ours_and_we_read_its(dtype: Any, path: Path) -> None:
    x = fe.arange(6).to(dtype).reshape(2, 3)
    fe.save_file({"x": x, "t": x.t()}, path, {"made": "here"})
    theirs = library.load_file(path)
    assert theirs["x"].dtype == dtype
    assert theirs["x"].tobytes() == x.numpy().tobytes()
    assert theirs["t"].tobytes() == x.numpy().T.tobytes()
    library.save_file({"x": np.ascontiguousarray(x.numpy())}, path, {"made": "there"})
    assert bits(fe.load_file(path)["x"]) == bits(x)
    assert load_metadata(path) == {"made": "there"}


def test_bfloat16_is_one_of_them() -> None:
    assert np.dtype(ml_dtypes.bfloat16) in DTYPES


def test_parameters_are_saved_without_their_graph(path: Path) -> None:
    leaf = fe.tensor([1.0, 2.0], requires_grad=True)
    fe.save_file({"leaf": leaf, "product": leaf * 3}, path)
    loaded = fe.load_file(path)
    assert loaded["leaf"].tolist() == [1, 2]
    assert loaded["product"].tolist() == [3, 6]
    assert not loaded["product"].requires_grad
    assert leaf.requires_grad


def test_one_memory_under_two_names_is_saved_twice(path: Path) -> None:
    x = fe.tensor([1.0, 2.0])
    fe.save_file({"a": x, "b": x, "c": x[1:]}, path)
    loaded = fe.load_file(path)
    loaded["a"].zero_()
    assert [loaded[name].tolist() for name in "abc"] == [[0, 0], [1, 2], [2]]


def test_writing_to_a_loaded_tensor_leaves_the_file(path: Path) -> None:
    fe.save_file({"x": fe.ones(1000), "y": fe.ones(3)}, path)
    before = path.read_bytes()
    loaded = fe.load_file(path)
    loaded["x"].mul_(5)
    loaded["x"][0] = 7.0
    assert loaded["x"][:2].tolist() == [7, 5]
    assert loaded["y"].tolist() == [1, 1, 1]
    assert path.read_bytes() == before
    assert fe.load_file(path)["x"][:2].tolist() == [1, 1]


def test_what_is_loaded_outlives_its_file(path: Path) -> None:
    """A file may be replaced by what was loaded from it, and removed."""
    fe.save_file({"x": fe.arange(5000)}, path)
    first = fe.load_file(path)
    fe.save_file({"x": first["x"] * 2, "old": first["x"]}, path)
    assert first["x"].tolist() == list(range(5000))
    second = fe.load_file(path)
    path.unlink()
    assert second["x"].tolist() == list(range(0, 10000, 2))
    assert second["old"].tolist() == list(range(5000))


def test_loaded_tensors_train(path: Path) -> None:
    fe.save_file({"w": fe.ones(2)}, path)
    w = fe.load_file(path)["w"].requires_grad_()
    (w * w).sum().backward()
    assert w.grad is not None
    with fe.no_grad():
        w -= w.grad
    assert w.tolist() == [-1, -1]


def test_device(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = Device("second", None, Reference())
    monkeypatch.setitem(plugins._devices, "second", second)
    x = fe.tensor([1.0, 2.0], device="second")
    fe.save_file({"x": x}, path)
    assert fe.load_file(path)["x"].device is fe.device("reference")
    for name in ("second", second):
        loaded = fe.load_file(path, device=name)["x"]
        assert loaded.device is second
        assert loaded.tolist() == [1, 2]


@pytest.mark.parametrize("kind", [str, Path, os.fsencode], ids=["str", "Path", "bytes"])
def test_any_kind_of_path(kind: Any, path: Path) -> None:
    fe.save_file({"x": fe.ones(2)}, kind(path))
    assert fe.load_file(kind(path))["x"].tolist() == [1, 1]
    assert load_metadata(kind(path)) == {}


@pytest.mark.parametrize(
    ("table", "metadata", "error", "text"),
    [
        ({"a": np.ones(2)}, None, OperandError, "save_file: expected tensors, got ndarray for 'a'"),
        ({"a": [1.0]}, None, OperandError, "save_file: expected tensors, got list for 'a'"),
        ([fe.ones(1)], None, OperandError, "save_file: expected a mapping of names to"),
        ({1: fe.ones(1)}, None, ArgumentError, "expected a name that is a string"),
        ({"": fe.ones(1)}, None, ArgumentError, "expected a name that is a string"),
        ({"__metadata__": fe.ones(1)}, None, ArgumentError, "expected a name that is a string"),
        ({"a": fe.ones(1)}, {"n": 1}, ArgumentError, "expected metadata of strings"),
    ],
)
def test_what_cannot_be_saved_leaves_the_old_file(
    table: Any, metadata: Any, error: type[FerrumError], text: str, path: Path
) -> None:
    path.write_bytes(b"old")
    with pytest.raises(error) as caught:
        fe.save_file(table, path, metadata)
    assert text in str(caught.value)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_broken_files_are_named(path: Path) -> None:
    fe.save_file({"x": fe.ones(4)}, path)
    whole = path.read_bytes()
    for broken, kind in ((whole[:-1], "truncated"), (whole + b"x", "corrupt"), (b"", "truncated")):
        path.write_bytes(broken)
        for load in (fe.load_file, load_metadata):
            with pytest.raises(CheckpointError) as caught:
                load(path)
            assert caught.value.kind == kind
            assert str(path) in str(caught.value)


def test_missing_files_are_the_systems_error(path: Path) -> None:
    for load in (fe.load_file, load_metadata):
        with pytest.raises(FileNotFoundError, match=path.name):
            load(path)
    with pytest.raises(FileNotFoundError):
        fe.save_file({"x": fe.ones(1)}, path.parent / "no" / "folder")
