"""Copies in every layout, overlap, arrays of numbers, and the pool of memory."""

import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import ferrum as fe
import ferrum_cpu
import ferrum_nn as nn
from ferrum.errors import ArgumentError, OutOfMemoryError
from ferrum_cpu import _front
from ferrum_cpu.kernels.memory import arange, astype, concat, copy, copy_, full
from ferrum_cpu.library import lib

DTYPES = [
    np.dtype(name)
    for name in ("bool", "u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ml_dtypes.bfloat16)
]


@pytest.fixture(autouse=True)
def _as_before(threads):
    yield
    ferrum_cpu.set_memory_limit(None)


def numbers(shape, dtype):
    return (np.random.default_rng(0).standard_normal(shape) * 40).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(200, 77), (9, 4000), (8, 70, 65), (3, 300, 100), (64, 64, 8)])
def test_transposed_copies(shape, dtype):
    x = numbers(shape, dtype)
    turned = [
        x.T,
        x.swapaxes(-1, -2),
        np.moveaxis(x, 0, -1),
        x.T[::-1],
        x.T[..., ::-1],
        x.T[::2, 1:],
    ]
    for each in turned:
        np.testing.assert_array_equal(copy(each), each)
        assert copy(each).flags.c_contiguous


def test_a_copy_into_a_transposed_one():
    x, y = np.zeros((300, 200), "f4"), numbers((200, 300), "f4")
    copy_(x.T, y)
    np.testing.assert_array_equal(x, y.T)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_threads_copy_the_same(count, threads):
    threads(count)
    x = numbers((1000, 700), "f4")
    assert copy(x.T).tobytes() == x.T.tobytes()
    assert astype(x, dtype=np.dtype("f2")).tobytes() == x.astype("f2").tobytes()
    assert arange(start=0.5, stop=2e5, step=0.7, dtype=np.dtype("f4")).tobytes() == (
        (0.5 + np.arange(np.ceil((2e5 - 0.5) / 0.7)) * 0.7).astype("f4").tobytes()
    )


@pytest.mark.parametrize(
    ("to", "of"),
    [
        (np.s_[1:], np.s_[:-1]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:], np.s_[::-1]),
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[:3], np.s_[3]),
    ],
)
def test_copies_that_overlap_are_as_if_the_source_were_copied_first(to, of):
    x = numbers((300, 400), "f4")
    expected = x.copy()
    expected[to] = x[of].copy()
    copy_(x[to], x[of])
    np.testing.assert_array_equal(x, expected)
    square = numbers((200, 200), "f4")
    expected = square.T.copy()
    copy_(square, square.T)
    np.testing.assert_array_equal(square, expected)


def test_memory_that_may_not_be_written_stays():
    x = np.zeros(3, "f4")
    x.flags.writeable = False
    assert copy_(x, np.ones(3, "f4")) is NotImplemented
    t = fe.from_numpy(x).to("cpu")
    with pytest.raises(ArgumentError, match="copy_: the memory of this tensor is read-only"):
        t.copy_(fe.ones(3, device="cpu"))
    assert np.shares_memory(t.numpy(), x)
    assert x.tolist() == [0, 0, 0]


def test_numbers():
    assert full(shape=(2, 2), value=300.5, dtype=np.dtype("i4")).tolist() == [[300] * 2] * 2
    assert full(shape=(), value=2**63 - 1, dtype=np.dtype("i8")).tolist() == 2**63 - 1
    assert full(shape=(2,), value=1e300, dtype=np.dtype("f4")).tolist() == [np.inf] * 2
    assert (full(shape=(70000,), value=0.1, dtype=np.dtype("f2")) == np.float16(0.1)).all()
    assert arange(start=7, stop=-3, step=-3, dtype=np.dtype("i1")).tolist() == [7, 4, 1, -2]
    assert arange(start=2**62, stop=2**62 + 2, step=1, dtype=np.dtype("i8")).tolist() == [
        2**62,
        2**62 + 1,
    ]
    huge = arange(start=2**70, stop=2**70 + 2**69, step=2**68, dtype=np.dtype("f8"))
    assert huge.tolist() == [2.0**70, 1.25 * 2.0**70]


def test_concat():
    parts = [numbers((3, n, 2), "f4") for n in (4, 0, 1, 300)]
    out = concat(parts, axis=1, sizes=(4, 0, 1, 300))
    np.testing.assert_array_equal(out, np.concatenate(parts, 1))
    turned = [part.T for part in parts]
    np.testing.assert_array_equal(
        concat(turned, axis=1, sizes=(4, 0, 1, 300)), np.concatenate(turned, 1)
    )


# ---- the pool


def test_memory_is_kept_and_given_back():
    ferrum_cpu.empty_cache()
    ferrum_cpu.set_memory_limit(1 << 30)
    before = ferrum_cpu.memory_statistics()
    x = _front.empty("test", (1 << 20,), np.dtype("f4"))
    assert x.ctypes.data % 256 == 0
    during = ferrum_cpu.memory_statistics()
    assert during["in_use"] - before["in_use"] >= 1 << 22
    assert during["peak"] >= during["in_use"]
    place = x.ctypes.data
    del x
    assert ferrum_cpu.memory_statistics()["cached"] >= 1 << 22
    y = _front.empty("test", (1 << 20,), np.dtype("f4"))
    assert y.ctypes.data == place
    assert ferrum_cpu.memory_statistics()["hits"] == during["hits"] + 1
    del y
    ferrum_cpu.empty_cache()
    assert ferrum_cpu.memory_statistics()["cached"] == 0
    assert ferrum_cpu.memory_statistics()["in_use"] == before["in_use"]


def test_the_limit_bounds_what_is_kept_and_the_last_one_stays():
    ferrum_cpu.set_memory_limit(3 << 20)
    small = [_front.empty("test", (1 << 20,), np.dtype("u1")) for _ in range(3)]
    large = _front.empty("test", (2 << 20,), np.dtype("u1"))
    place = large.ctypes.data
    small.clear()
    del large  # takes the room of two of the others
    statistics = ferrum_cpu.memory_statistics()
    assert 2 << 20 <= statistics["cached"] <= statistics["limit"] == 3 << 20
    assert _front.empty("test", (2 << 20,), np.dtype("u1")).ctypes.data == place
    ferrum_cpu.set_memory_limit(0)
    assert ferrum_cpu.memory_statistics()["cached"] == 0
    _front.empty("test", (1 << 20,), np.dtype("u1"))
    assert ferrum_cpu.memory_statistics()["cached"] == 0


@pytest.mark.parametrize("bad", [-1, 2**63, "1 GB", 1.5])
def test_limits_that_are_none(bad):
    with pytest.raises(ArgumentError, match="set_memory_limit: expected a number of bytes"):
        ferrum_cpu.set_memory_limit(bad)


def limited_by(text):
    """Return what a process prints whose environment limits the pool, and its last complaint."""
    code = "import ferrum_cpu; print(ferrum_cpu.memory_statistics()['limit'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FERRUM_CPU_POOL_BYTES": text},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize("limit", [12345678, 0, 2**63 - 1])
def test_the_limit_of_the_environment(limit):
    assert limited_by(str(limit)) == (f"{limit}\n", "")
    assert int(limited_by("")[0]) > 1 << 20


@pytest.mark.parametrize("text", ["many", "-5", "1e9", "4GB", str(2**63), "9" * 5000])
def test_a_limit_of_the_environment_that_is_no_number(text):
    printed, complaint = limited_by(text)
    assert printed == ""
    assert f"expected FERRUM_CPU_POOL_BYTES to be a number of bytes, got {text!r}" in complaint


def test_no_room_is_an_error_and_the_process_goes_on():
    with pytest.raises(OutOfMemoryError, match="^test: no room for .*delete tensors"):
        _front.empty("test", (1 << 45,), np.dtype("f8"))
    x = np.broadcast_to(np.float32(1), (1 << 23, 1 << 23))
    with pytest.raises(OutOfMemoryError):
        copy(x)
    assert copy(np.ones(3)).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("mse_loss", lambda x: nn.functional.mse_loss(x, x, reduction="none")),
        ("copy", lambda x: x.clone()),
        ("astype", lambda x: x.double()),
        ("sum", lambda x: x.unsqueeze(0).sum(0)),
        ("softmax", lambda x: x.softmax(0)),
    ],
)
def test_no_room_names_the_op(name, call):
    x = fe.zeros((), device="cpu").expand(1 << 23, 1 << 23)
    with pytest.raises(OutOfMemoryError, match=f"^{name}: no room"):
        call(x)


def test_the_core_sets_the_threads():
    fe.set_num_threads(3)
    assert fe.get_num_threads() == lib.threads_get() == 3
    with pytest.raises(ArgumentError, match="expected 1 to 256 threads, got 257"):
        fe.set_num_threads(257)
    assert fe.get_num_threads() == 3


def test_importing_the_metadata_loads_no_kernels():
    code = "import sys, ferrum_cpu.about; sys.exit('ferrum_cpu.library' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
