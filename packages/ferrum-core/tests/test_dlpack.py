"""DLPack: round trips with NumPy and PyTorch, hostile capsules, and deleters counted."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrum import dlpack
from ferrum.dlpack import CPU, export, import_array
from ferrum.dtypes import DTYPES, bfloat16, float32, int16, int64, uint8
from ferrum.errors import (
    ArgumentError,
    DeviceError,
    DTypeError,
)

Array = np.ndarray[Any, Any]
QUIET = settings(deadline=None, derandomize=True, max_examples=200)
ONE = (1, 0)
VERSIONS = pytest.mark.parametrize("version", [None, ONE], ids=["legacy", "versioned"])
EACH_DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


# Producers.


class Lender:
    """An object that lends an array by `export`, with some of the options as given here."""

    def __init__(self, array: Array, **fixed: Any) -> None:
        self.array = array
        self.fixed = fixed

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU, 0

    def __dlpack__(self, **options: Any) -> object:
        return export(self.array, **{**options, **self.fixed})


from_numpy: Callable[[Any], Array] = np.from_dlpack


def managed_of(capsule: object) -> Any:
    """A copy of the structure in a capsule that is not consumed."""
    kind = dlpack._kind_of(capsule)
    managed = kind.managed.from_address(dlpack._pointer(capsule, kind.name))
    return kind.managed.from_buffer_copy(managed)


def strides_of(capsule: object) -> list[int]:
    """The strides in a capsule, in elements."""
    tensor = managed_of(capsule).tensor
    return list((ctypes.c_int64 * tensor.ndim).from_address(tensor.strides))


def sample(dtype: Any, *shape: int) -> Array:
    return (np.arange(np.prod(shape, dtype=int)) % 7).reshape(shape).astype(dtype)


def read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


def same(a: Array, b: Array) -> bool:
    return a.dtype is b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# Round trips.


@VERSIONS
@EACH_DTYPE
def test_every_dtype_goes_out_and_comes_back_without_a_copy(dtype: Any, version: Any) -> None:
    x = sample(dtype, 3, 4)
    y = import_array(Lender(x, max_version=version))
    assert same(x, y)
    assert y.flags.writeable
    x[1, 2], y[2, 3] = 0, 1
    assert y[1, 2] == 0
    assert x[2, 3] == 1


@VERSIONS
@pytest.mark.parametrize(
    "dtype", [d for d in DTYPES if d is not bfloat16], ids=lambda dtype: dtype.name
)
def test_numpy_borrows_from_us_and_we_from_numpy(dtype: Any, version: Any) -> None:
    x = sample(dtype, 2, 3)
    theirs = from_numpy(Lender(x.T, max_version=version))
    ours = import_array(x.T)
    x[0, 1] = 1
    assert same(theirs, x.T)
    assert same(ours, x.T)


@VERSIONS
@pytest.mark.torch
@EACH_DTYPE
def test_torch_borrows_from_us(dtype: Any, version: Any, torch: Any) -> None:
    x = sample(dtype, 2, 3)
    t = torch.from_dlpack(Lender(x.T, max_version=version))
    assert str(t.dtype) == f"torch.{dtype.name}"
    assert t.tolist() == x.T.tolist()
    assert t.stride() == (1, 3)
    t[2, 0] = 1
    x[1, 0] = 0
    assert x[0, 2] == 1
    assert t[0, 1] == 0


@VERSIONS
@pytest.mark.torch
@EACH_DTYPE
def test_we_borrow_from_torch(dtype: Any, version: Any, torch: Any, returns: Any) -> None:
    t = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype.name))
    y = import_array(returns(t.T.__dlpack__(max_version=version)))
    assert y.dtype is dtype
    assert y.tolist() == t.T.tolist()
    y[2, 0] = 1
    t[1, 0] = 0
    assert t[0, 2] == 1
    assert y[0, 1] == 0
    del t
    assert y[2, 0] == 1


@pytest.mark.torch
def test_torch_itself_is_a_producer_and_may_refuse(torch: Any) -> None:
    assert import_array(torch.ones(2, dtype=torch.bfloat16)).dtype is bfloat16
    with pytest.raises(ArgumentError, match=r"Parameter gave no capsule.*require gradient"):
        import_array(torch.nn.Parameter(torch.ones(2)))
    with pytest.raises(DTypeError, match=r"got \(5, 64\)"):
        import_array(torch.ones(2, dtype=torch.complex64))


@pytest.mark.torch
def test_negative_strides_do_not_end_the_process_in_torch(torch: Any) -> None:
    x = sample(float32, 2, 3)[:, ::-1]
    assert torch.from_dlpack(Lender(x)).tolist() == x.tolist()


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1), (3, 1, 2)])
def test_shapes_at_the_edge_go_to_torch_and_back(shape: tuple[int, ...], torch: Any) -> None:
    x = sample(bfloat16, *shape)
    t = torch.from_dlpack(Lender(x))
    assert t.shape == shape
    assert same(import_array(t), x)


SLICES = st.sampled_from(
    [slice(None), slice(1, None), slice(None, None, 2), slice(None, None, -1), slice(3, 0, -2)]
)


@QUIET
@given(st.data())
def test_any_view_of_any_dtype_makes_the_round_trip(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 4), max_size=5))
    x = sample(data.draw(st.sampled_from(DTYPES)), *shape)
    x = x[tuple(data.draw(SLICES) for _ in shape) or ...]
    x = x.transpose(data.draw(st.permutations(range(x.ndim))))
    if data.draw(st.booleans()):
        x = np.broadcast_to(x, (2, *x.shape))
    version = data.draw(st.sampled_from([None, ONE]))
    copy = data.draw(st.sampled_from([None, True])) if version is None else False
    y = import_array(Lender(x, max_version=version, copy=copy))
    assert same(x, y)
    assert copy is not False or not x.size or np.shares_memory(x, y)
    assert version is None or y.flags.writeable == x.flags.writeable


# Lending: what the capsule says.


@VERSIONS
@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((2, 3, 4), float32), [12, 4, 1]),
        (np.zeros((2, 3, 4), bfloat16).T, [1, 4, 12]),
        (np.zeros((4, 6), int16)[::2, ::3], [12, 3]),
        (np.zeros((4, 6), int16)[1:2, ::-1][:, :1], [1, 1]),
        (np.lib.stride_tricks.as_strided(np.zeros(3), (2, 3), (0, 8)), [0, 1]),
        (np.zeros((2, 0, 3)), [3, 3, 1]),
        (np.zeros((0,), float32)[::-1], [1]),
        (np.zeros((0, 3), [("a", "i1"), ("b", "f4")])["b"], [3, 1]),
    ],
    ids=[
        "rows",
        "columns",
        "steps",
        "ones",
        "zero stride",
        "empty",
        "empty, reversed",
        "empty records",
    ],
)
def test_strides_are_always_given_in_elements(
    array: Array, expected: list[int], version: Any
) -> None:
    capsule = export(array, max_version=version, copy=False)
    assert strides_of(capsule) == expected
    assert managed_of(capsule).tensor.byte_offset == 0


def test_a_number_has_no_strides() -> None:
    tensor = managed_of(export(np.array(1, uint8), max_version=ONE)).tensor
    assert (tensor.ndim, tensor.strides) == (0, None)


def test_negative_strides_are_shared_only_on_demand() -> None:
    x = np.arange(6.0)[::-1]
    assert strides_of(export(x, copy=False)) == [-1]
    copied = export(x, max_version=ONE)
    assert strides_of(copied) == [1]
    assert managed_of(copied).flags == dlpack._IS_COPIED


def test_flags_tell_a_read_only_array_from_a_copy() -> None:
    x = np.arange(6.0)

    def flags(**options: Any) -> int:
        return int(managed_of(export(x, max_version=ONE, **options)).flags)

    assert flags() == flags(copy=False) == 0
    assert flags(copy=True) == dlpack._IS_COPIED
    read_only(x)
    assert flags() == dlpack._READ_ONLY
    assert flags(copy=True) == dlpack._IS_COPIED


@VERSIONS
def test_copy_copies_and_keeps_the_order_of_axes(version: Any) -> None:
    x = np.asfortranarray(sample(bfloat16, 2, 3))
    y = import_array(Lender(x, max_version=version, copy=True))
    assert same(x, y)
    assert y.strides == x.strides
    assert not np.shares_memory(x, y)


def test_strides_between_elements_are_copied(returns: Any) -> None:
    records = np.zeros(3, [("a", np.int8), ("b", np.float32)])
    records["b"] = [1, 2, 3]
    capsule = export(records["b"], max_version=ONE)
    assert managed_of(capsule).flags == dlpack._IS_COPIED
    assert import_array(returns(capsule)).tolist() == [1, 2, 3]
    with pytest.raises(ArgumentError, match=r"copy=False.*no multiples of the itemsize 4"):
        export(records["b"], copy=False)


def test_before_dlpack_1_a_read_only_array_is_copied() -> None:
    x = read_only(np.arange(3.0))
    y = import_array(Lender(x, max_version=None))
    assert y.flags.writeable
    assert not np.shares_memory(x, y)
    with pytest.raises(ArgumentError, match=r"copy=False.*a read-only array"):
        export(x, copy=False)


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (None, "dltensor"),
        ((0, 8), "dltensor"),
        ((1, 0), "dltensor_versioned"),
        ((1, 7), "dltensor_versioned"),
        ((2, 0), "dltensor_versioned"),
    ],
)
def test_the_capsule_is_the_newest_that_the_consumer_knows(version: Any, name: str) -> None:
    capsule = export(np.zeros(2), max_version=version)
    assert f'"{name}"' in repr(capsule)
    assert version in (None, (0, 8)) or managed_of(capsule).major == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"stream": 1}, ArgumentError, "stream=None for host memory, got 1"),
        ({"dl_device": (2, 0)}, DeviceError, r"dl_device \(1, 0\), the host, got \(2, 0\)"),
        ({"dl_device": (1, 1)}, DeviceError, r"got \(1, 1\)"),
        ({"dl_device": "cpu"}, DeviceError, "got 'cpu'"),
        ({"copy": 1}, ArgumentError, "copy to be None or a bool, got 1"),
        ({"max_version": 1}, ArgumentError, r"max_version \(major, minor\), got 1"),
        ({"max_version": (1,)}, ArgumentError, "got "),
        ({"max_version": ("1", "0")}, ArgumentError, "got "),
    ],
)
def test_wrong_options_are_refused(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^__dlpack__: expected .*{message}"):
        export(np.zeros(2), **options)


def test_the_host_is_a_device() -> None:
    assert export(np.zeros(2), dl_device=(CPU, 0), stream=None) is not None


@pytest.mark.parametrize("dtype", [">f4", "c8", "u2", "O", "S3", "M8[s]", [("a", "i4")]])
def test_dtypes_of_numpy_alone_are_refused(dtype: Any) -> None:
    with pytest.raises(DTypeError, match=r"expected one of bool, .*bfloat16.*, got "):
        export(np.zeros(2, dtype))


# Lending: how long.


class Owner(np.ndarray[Any, Any]):
    """An array that can be told from its views."""


def owner() -> tuple[Array, weakref.ref[Array]]:
    array = np.zeros(8, float32).view(Owner)
    return array, weakref.ref(array)


@VERSIONS
def test_a_capsule_that_nobody_takes_lets_go_of_the_array(version: Any) -> None:
    array, alive = owner()
    capsule = export(array, max_version=version)
    del array
    assert alive() is not None
    del capsule
    assert alive() is None


@VERSIONS
@pytest.mark.parametrize("consumer", [import_array, from_numpy], ids=["ferrum", "numpy"])
def test_the_last_view_of_the_consumer_lets_go_of_the_array(
    consumer: Callable[[Any], Array], version: Any, returns: Any
) -> None:
    array, alive = owner()
    capsule = export(array, max_version=version)
    del array
    producer = returns(capsule)
    view = consumer(producer)[1:3].reshape(2, 1)
    del capsule, producer
    assert alive() is not None
    assert view.tolist() == [[0], [0]]
    del view
    assert alive() is None


@VERSIONS
def test_references_are_as_many_after_as_before(version: Any) -> None:
    x = np.zeros(3, bfloat16)
    before = sys.getrefcount(x)
    for take in (import_array, lambda lender: lender.__dlpack__()):
        kept = [take(Lender(x, max_version=version)) for _ in range(5)]
        assert sys.getrefcount(x) > before
        del kept
        assert sys.getrefcount(x) == before


def test_no_leak_in_ten_thousand_round_trips() -> None:
    lenders = [
        Lender(np.zeros((64, 64), bfloat16).T, max_version=version, copy=copy)
        for version in (None, ONE)
        for copy in (None, True)
    ]

    def round_trips(count: int) -> int:
        for i in range(count):
            import_array(lenders[i % 4])
            lenders[i % 4].__dlpack__()  # and one that nobody takes
        gc.collect()
        return sys.getallocatedblocks()

    before = round_trips(100)
    assert round_trips(10_000) - before < 100


AT_EXIT = """
import ctypes
import sys
import numpy as np
from ferrum import dlpack

class Lender:
    def __dlpack__(self, **options):
        return dlpack.export(np.arange(4.0), **options)

process = ctypes.CDLL(None)
for version in (None, (1, 0)):
    capsule = Lender().__dlpack__(max_version=version)
    kind = dlpack._kind_of(capsule)
    address = dlpack._pointer(capsule, kind.name)
    dlpack._rename(capsule, kind.used)
    deleter = kind.managed.from_address(address).deleter
    # As a static object in C++ does that holds the tensor: long after the interpreter.
    process.__cxa_atexit(ctypes.c_void_p(deleter), ctypes.c_void_p(address), None)
    # These go while the interpreter does, after this module and perhaps after ferrum's.
    sys.unconsumed = getattr(sys, "unconsumed", []) + [Lender().__dlpack__(max_version=version)]
sys.borrowed = [dlpack.import_array(Lender())]
cycle = [dlpack.import_array(Lender())]
cycle.append(cycle)
print("done", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="__cxa_atexit is glibc's")
def test_the_end_of_the_interpreter_is_survived() -> None:
    source = str(Path(dlpack.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", AT_EXIT],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_dtypes_are_the_singletons_of_ferrum() -> None:
    assert import_array(Lender(np.zeros(2, np.longlong))).dtype is int64
    with pytest.raises(DTypeError, match=r"got \(1, 64\)"):
        import_array(np.zeros(2, np.uint64))
