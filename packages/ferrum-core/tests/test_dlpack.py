"""DLPack: round trips with NumPy and PyTorch, hostile capsules, and deleters counted."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrum import dlpack
from ferrum.dlpack import CPU, export, import_array
from ferrum.dtypes import DTYPES, bfloat16, bool_, float32, int16, int64, uint8
from ferrum.errors import (
    ArgumentError,
    DeviceError,
    DTypeError,
    FerrumError,
    GradientError,
    ShapeError,
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


class Returns:
    """An object whose `__dlpack__` returns `capsule`."""

    def __init__(self, capsule: object) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: object) -> object:
        return self.capsule


_DESTRUCTOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_new_capsule = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
)(("PyCapsule_New", ctypes.pythonapi))
# By address: in its destructor a capsule has no reference left to give.
_is_named = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)


class Handmade:
    """A capsule made by hand, field by field; `deleted` counts the calls of its deleter."""

    def __init__(
        self,
        version: tuple[int, int] | None = ONE,
        *,
        shape: Sequence[int] | None = (2, 3),
        strides: Sequence[int] | None = None,
        data: int | None = -1,
        destructor: bool = True,
        name: bytes | None = None,
        deleter: bool = True,
        **fields: int,
    ) -> None:
        # For good, since C code calls back whenever it likes, at exit and amid garbage too.
        dlpack._immortalize(self)
        self.deleted = 0
        self.memory = np.arange(24, dtype=float32)
        kind = dlpack._LEGACY if version is None else dlpack._VERSIONED
        self.kind = kind
        self.managed: Any = kind.managed()
        if version is not None:
            self.managed.major, self.managed.minor = version
            self.managed.flags = fields.pop("flags", 0)
        self._deleter = _DESTRUCTOR(self._delete)
        if deleter:
            self.managed.deleter = ctypes.cast(self._deleter, ctypes.c_void_p)
        tensor = self.managed.tensor
        tensor.data = self.memory.ctypes.data if data == -1 else data
        self._shape = self._axes(shape)
        self._strides = self._axes(strides)
        tensor.shape = ctypes.addressof(self._shape) if shape is not None else None
        tensor.strides = ctypes.addressof(self._strides) if strides is not None else None
        tensor.ndim = fields.pop("ndim", len(shape or ()))
        tensor.device.kind = fields.pop("device", CPU)
        tensor.dtype.code = fields.pop("code", 2)
        tensor.dtype.bits = fields.pop("bits", 32)
        tensor.dtype.lanes = fields.pop("lanes", 1)
        tensor.byte_offset = fields.pop("byte_offset", 0)
        assert not fields
        self._name = name or kind.name
        self._destructor = _DESTRUCTOR(self._destroy)
        self.capsule: object = _new_capsule(
            ctypes.addressof(self.managed),
            self._name,
            ctypes.cast(self._destructor, ctypes.c_void_p) if destructor else None,
        )

    @staticmethod
    def _axes(values: Sequence[int] | None) -> Any:
        return (ctypes.c_int64 * len(values or ()))(*(values or ()))

    def _delete(self, address: int) -> None:
        assert address == ctypes.addressof(self.managed)
        self.deleted += 1

    def _destroy(self, capsule: int) -> None:
        # What the standard asks of a capsule that nobody consumed.
        if _is_named(capsule, self.kind.name):
            self._delete(ctypes.addressof(self.managed))

    def __dlpack__(self, *, max_version: object = None) -> object:
        return self.capsule

    def drop(self) -> None:
        self.capsule = None


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
def test_we_borrow_from_torch(dtype: Any, version: Any, torch: Any) -> None:
    t = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype.name))
    y = import_array(Returns(t.T.__dlpack__(max_version=version)))
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


def test_strides_between_elements_are_copied() -> None:
    records = np.zeros(3, [("a", np.int8), ("b", np.float32)])
    records["b"] = [1, 2, 3]
    capsule = export(records["b"], max_version=ONE)
    assert managed_of(capsule).flags == dlpack._IS_COPIED
    assert import_array(Returns(capsule)).tolist() == [1, 2, 3]
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


def test_memory_that_numpy_took_for_pinned_is_lent_as_the_hosts() -> None:
    producer = Handmade(device=3)
    pinned: Any = from_numpy(Returns(producer.capsule))
    assert managed_of(pinned.__dlpack__(max_version=ONE)).tensor.device.kind == 3
    assert managed_of(export(pinned, max_version=ONE)).tensor.device.kind == CPU


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
    consumer: Callable[[Any], Array], version: Any
) -> None:
    array, alive = owner()
    capsule = export(array, max_version=version)
    del array
    producer = Returns(capsule)
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


# Borrowing: what is good.


@VERSIONS
def test_a_handmade_capsule_is_borrowed_and_given_back_once(version: Any) -> None:
    producer = Handmade(version)
    y = import_array(producer)
    assert y.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.shares_memory(y, producer.memory)
    assert f'"{producer.kind.used.decode()}"' in repr(producer.capsule)
    producer.drop()
    view = y.T[1:]
    del y
    assert producer.deleted == 0
    del view
    assert producer.deleted == 1


GOOD: dict[str, tuple[dict[str, Any], object]] = {
    "strides": ({"shape": (2, 2), "strides": (1, 4)}, [[0, 4], [1, 5]]),
    "strides of 0": ({"shape": (2, 2), "strides": (0, 1)}, [[0, 1], [0, 1]]),
    "strides below 0": ({"shape": (3,), "strides": (-1,), "byte_offset": 8}, [2, 1, 0]),
    "byte_offset": ({"byte_offset": 12, "shape": (2,)}, [3, 4]),
    "pinned": ({"device": 3, "shape": (2,)}, [0, 1]),
    "no axes": ({"shape": None, "byte_offset": 4}, 1),
    "empty": ({"shape": (2, 0), "data": None}, [[], []]),
    "empty somewhere": ({"shape": (0,), "strides": (2**40,), "byte_offset": 2**64 - 1}, []),
    "64 axes": ({"shape": (1,) * 64}, np.zeros((1,) * 64).tolist()),
    "no deleter": ({"deleter": False, "shape": (2,)}, [0, 1]),
    "no destructor": ({"destructor": False, "shape": (2,)}, [0, 1]),
    "unaligned": ({"byte_offset": 3, "code": 1, "bits": 8, "shape": (2,)}, [0, 0]),
    "unaligned bfloat16": ({"byte_offset": 1, "code": 4, "bits": 16, "shape": (2,)}, [0, 0]),
}


@VERSIONS
@pytest.mark.parametrize("case", GOOD)
def test_what_the_standard_allows_is_borrowed(case: str, version: Any) -> None:
    fields, expected = GOOD[case]
    producer = Handmade(version, **fields)
    y = import_array(producer)
    assert y.tolist() == expected
    del y
    producer.drop()
    assert producer.deleted == fields.get("deleter", True)


@pytest.mark.parametrize("shape", [(2, 3), (0,)])
def test_read_only_memory_stays_so(shape: tuple[int, ...]) -> None:
    y = import_array(Handmade(flags=dlpack._READ_ONLY, shape=shape))
    assert not y.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        y[...] = 0
    with pytest.raises(ValueError, match="WRITEABLE"):
        y.view().flags.writeable = True
    assert import_array(Handmade(flags=dlpack._IS_COPIED, shape=shape)).flags.writeable


def test_a_later_minor_version_is_as_good() -> None:
    assert import_array(Handmade((1, 99))).shape == (2, 3)


# Borrowing: what is not.

HUGE = 2**62
BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "CUDA": ({"device": 2}, DeviceError, r"got device 2 \(CUDA\); move it to the host first"),
    "device 0": ({"device": 0}, DeviceError, r"got device 0 \(unknown\)"),
    "device -1": ({"device": -1}, DeviceError, "got device -1"),
    "two lanes": ({"lanes": 2}, DTypeError, r"1 lane, got \(2, 32\) and 2"),
    "no lanes": ({"lanes": 0}, DTypeError, "and 0"),
    "unknown code": ({"code": 77}, DTypeError, r"got \(77, 32\) and 1"),
    "complex": ({"code": 5, "bits": 64}, DTypeError, r"got \(5, 64\)"),
    "uint16": ({"code": 1, "bits": 16}, DTypeError, r"got \(1, 16\)"),
    "float of 0 bits": ({"bits": 0}, DTypeError, r"got \(2, 0\)"),
    "bool of 1 bit": ({"code": 6, "bits": 1}, DTypeError, r"got \(6, 1\)"),
    "ndim -1": ({"ndim": -1}, ShapeError, "0 to 64 axes, got -1"),
    "ndim 65": ({"ndim": 65}, ShapeError, "got 65"),
    "ndim 2**31-1": ({"ndim": 2**31 - 1}, ShapeError, "got 2147483647"),
    "shape NULL": ({"shape": None, "ndim": 2}, ShapeError, "a shape of 2 axes, got NULL"),
    "size -1": ({"shape": (2, -1)}, ShapeError, r"sizes of at least 0.*got \(2, -1\)"),
    "size -2**63": ({"shape": (-(2**63),)}, ShapeError, "sizes of at least 0"),
    "two sizes below 0": ({"shape": (-2, -3)}, ShapeError, "sizes of at least 0"),
    "too large": ({"shape": (HUGE,)}, ShapeError, f"up to {sys.maxsize} bytes"),
    "2**64 and more": ({"shape": (HUGE, HUGE, 16)}, ShapeError, "bytes, got"),
    "too large but for a 0": ({"shape": (HUGE, HUGE, 0)}, ShapeError, "bytes, got"),
    "too large at stride 0": ({"shape": (HUGE,), "strides": (0,)}, ShapeError, "bytes, got"),
    "a large stride": ({"strides": (2**61, 1)}, ShapeError, "strides of up to"),
    "a small stride": ({"strides": (-(2**63), 1)}, ShapeError, "strides of up to"),
    "past the end": ({"byte_offset": 2**64 - 1}, ShapeError, "memory between 0 and 18446"),
    "past the end by a stride": (
        {"shape": (2,) * 8, "strides": (2**61 - 1,) * 8},
        ShapeError,
        "memory between",
    ),
    "before the beginning": ({"shape": (2,), "strides": (-(2**60),)}, ShapeError, "got -"),
    "data NULL": ({"data": None}, ArgumentError, r"data for the shape \(2, 3\), got NULL"),
    "data NULL, offset": ({"data": None, "byte_offset": 4096}, ArgumentError, "got NULL"),
}


@VERSIONS
@pytest.mark.parametrize("destructor", [True, False], ids=["", "bare"])
@pytest.mark.parametrize("case", BAD)
def test_a_hostile_capsule_is_refused_and_given_back_once(
    case: str, destructor: bool, version: Any
) -> None:
    fields, error, message = BAD[case]
    producer = Handmade(version, destructor=destructor, **fields)
    with pytest.raises(error, match=f"^from_dlpack: expected .*{message}") as caught:
        import_array(producer)
    assert producer.deleted == 1
    assert f'"{producer.kind.used.decode()}"' in repr(producer.capsule)
    del caught
    producer.drop()
    assert producer.deleted == 1


@pytest.mark.parametrize("version", [(2, 0), (2**32 - 1, 5), (0, 9)])
def test_another_major_version_is_refused_by_its_version_alone(version: tuple[int, int]) -> None:
    producer = Handmade(version, device=2, ndim=-1, lanes=7, data=None)
    with pytest.raises(ArgumentError, match=rf"version 1, got {version[0]}\.{version[1]}"):
        import_array(producer)
    producer.drop()
    assert producer.deleted == 1


def test_a_refusal_needs_no_deleter() -> None:
    producer = Handmade(deleter=False, lanes=2)
    with pytest.raises(DTypeError):
        import_array(producer)


@VERSIONS
def test_a_capsule_is_consumed_once(version: Any) -> None:
    producer = Handmade(version)
    y = import_array(producer)
    with pytest.raises(ArgumentError, match="expected a new capsule, got one already consumed"):
        import_array(producer)
    assert producer.deleted == 0
    assert y[1, 2] == 5
    del y
    producer.drop()
    assert producer.deleted == 1


def test_memory_is_given_back_if_numpy_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    producer = Handmade()
    monkeypatch.setattr(np, "asarray", fail)
    with pytest.raises(MemoryError):
        import_array(producer)
    producer.drop()
    assert producer.deleted == 1


INT64 = st.one_of(
    st.integers(-3, 5), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**62, -(2**63)])
)


@QUIET
@given(
    version=st.sampled_from([None, ONE, (2, 0)]),
    shape=st.lists(INT64, max_size=4),
    strides=st.none() | st.lists(INT64, min_size=4, max_size=4),
    fields=st.fixed_dictionaries(
        {},
        optional={
            "device": st.integers(-1, 4),
            "code": st.integers(0, 8),
            "bits": st.sampled_from([0, 1, 8, 16, 32, 64, 128]),
            "lanes": st.integers(0, 2),
            "byte_offset": st.integers(0, 2**64 - 1),
            "data": st.none() | st.integers(1, 2**64 - 1),
        },
    ),
)
def test_any_fields_give_an_array_or_an_error(
    version: Any, shape: list[int], strides: list[int] | None, fields: dict[str, Any]
) -> None:
    producer = Handmade(version, shape=shape, strides=strides, **fields)
    try:
        y = import_array(producer)
    except FerrumError as error:
        assert str(error).startswith("from_dlpack: expected ")
    else:
        assert list(y.shape) == shape
        del y
    producer.drop()
    assert producer.deleted == 1


# Producers that give no capsule.


class Raises:
    """A producer that raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __dlpack__(self, *, max_version: object = None) -> object:
        raise self.error


class Elsewhere:
    """A producer whose `__dlpack_device__` returns `device`, to be asked no more."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def __dlpack_device__(self) -> Any:
        return self.device

    def __dlpack__(self, **options: Any) -> object:
        raise AssertionError("asked for memory of a device that is out of reach")


class Old:
    """A producer of before DLPack 1.0, whose `__dlpack__` has no arguments."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __dlpack__(self) -> object:
        return export(self.array)


def test_a_producer_of_before_1_is_called_as_it_wants() -> None:
    x = sample(bool_, 4)
    y = import_array(Old(x))
    assert same(x, y)
    assert np.shares_memory(x, y)


@pytest.mark.parametrize("producer", [None, [1.0], 3, export(np.zeros(2))], ids=type)
def test_what_has_no_dlpack_is_refused(producer: object) -> None:
    with pytest.raises(ArgumentError, match="expected an object with __dlpack__, got "):
        import_array(producer)


@pytest.mark.parametrize("what", [None, 3, b"dltensor"])
def test_what_is_no_capsule_is_refused(what: object) -> None:
    with pytest.raises(ArgumentError, match=f"a capsule named .*, got {type(what).__name__}"):
        import_array(Returns(what))


def test_a_capsule_of_something_else_is_refused_and_left_alone() -> None:
    producer = Handmade(name=b"arrow_array")
    with pytest.raises(ArgumentError, match='"dltensor_versioned" or "dltensor", got PyCapsule'):
        import_array(producer)
    assert '"arrow_array"' in repr(producer.capsule)
    assert producer.deleted == 0


@pytest.mark.parametrize("device", [(2, 0), (8, 0), (99, 0)])
def test_a_device_out_of_reach_is_refused_before_it_is_asked(device: tuple[int, int]) -> None:
    with pytest.raises(DeviceError, match=f"memory of the host.*got device {device[0]} "):
        import_array(Elsewhere(device))


@pytest.mark.parametrize("device", [None, (), 1, ("cpu", 0), ([], 0)])
def test_a_device_that_is_none_is_refused(device: Any) -> None:
    with pytest.raises(ArgumentError, match="Elsewhere gave no capsule: "):
        import_array(Elsewhere(device))


@pytest.mark.parametrize("error", [BufferError, TypeError, ValueError, RuntimeError, KeyError])
def test_a_producers_refusal_is_told_on(error: type[Exception]) -> None:
    with pytest.raises(ArgumentError, match=r"Raises gave no capsule: .*not today") as caught:
        import_array(Raises(error("not today")))
    assert isinstance(caught.value.__cause__, error)


@pytest.mark.parametrize("error", [GradientError, DTypeError, MemoryError, KeyboardInterrupt])
def test_our_own_errors_and_the_systems_pass(error: type[BaseException]) -> None:
    with pytest.raises(error, match=r"^as it was$"):
        import_array(Raises(error("as it was")))


def test_dtypes_are_the_singletons_of_ferrum() -> None:
    assert import_array(Lender(np.zeros(2, np.longlong))).dtype is int64
    with pytest.raises(DTypeError, match=r"got \(1, 64\)"):
        import_array(np.zeros(2, np.uint64))
