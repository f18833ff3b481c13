"""DLPack from the other side: capsules made by hand, hostile ones, and producers that refuse."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrum import dlpack
from ferrum.dlpack import CPU, export, import_array
from ferrum.dtypes import DTYPES, bool_, float32
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


def device_of(capsule: object) -> int:
    """The kind of device in a versioned capsule that is not consumed."""
    kind = dlpack._VERSIONED
    return int(kind.managed.from_address(dlpack._pointer(capsule, kind.name)).tensor.device.kind)


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
    x = np.array([False, True, True, False])
    y = import_array(Old(x))
    assert y.dtype is bool_
    assert y.tolist() == x.tolist()
    assert np.shares_memory(x, y)


@pytest.mark.parametrize("producer", [None, [1.0], 3, export(np.zeros(2))], ids=type)
def test_what_has_no_dlpack_is_refused(producer: object) -> None:
    with pytest.raises(ArgumentError, match="expected an object with __dlpack__, got "):
        import_array(producer)


@pytest.mark.parametrize("what", [None, 3, b"dltensor"])
def test_what_is_no_capsule_is_refused(what: object, returns: Any) -> None:
    with pytest.raises(ArgumentError, match=f"a capsule named .*, got {type(what).__name__}"):
        import_array(returns(what))


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


def test_memory_that_numpy_took_for_pinned_is_lent_as_the_hosts(returns: Any) -> None:
    producer = Handmade(device=3)
    pinned: Any = np.from_dlpack(returns(producer.capsule))
    assert device_of(pinned.__dlpack__(max_version=ONE)) == 3
    assert device_of(export(pinned, max_version=ONE)) == CPU
