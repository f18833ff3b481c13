"""DLPack for NumPy arrays: lend host memory to other libraries and borrow theirs, without a copy.

NumPy's own DLPack knows no bfloat16, and borrows read-only from producers older than DLPack 1.0. So
NumPy lends a view in a dtype that it knows, and ctypes completes the description: the deleter stays
NumPy's, in C, which any thread may call, even after the interpreter has gone. What others lend is
checked in Python integers before anything is touched; NumPy then sees memory and owner through
`__array_interface__`.

The structures are those of https://github.com/dmlc/dlpack/blob/main/include/dlpack/dlpack.h.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from ferrum.dtypes import (
    DTYPES,
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
from ferrum.errors import ArgumentError, DeviceError, DTypeError, FerrumError, ShapeError

Array: TypeAlias = npt.NDArray[Any]

CPU: Final = 1  # kDLCPU
_CUDA_HOST: Final = 3  # kDLCUDAHost: pinned memory, which the host reads as any other
_DEVICES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 13: "CUDA managed"}

_MAJOR: Final = 1
_READ_ONLY: Final = 1
_IS_COPIED: Final = 2
_MAX_RANK: Final = 64  # NumPy's own
_ADDRESSES: Final = 2 * sys.maxsize + 2

# DLPack's (type code, bits).
_CODES: dict[DType, tuple[int, int]] = {
    int8: (0, 8),
    int16: (0, 16),
    int32: (0, 32),
    int64: (0, 64),
    uint8: (1, 8),
    float16: (2, 16),
    float32: (2, 32),
    float64: (2, 64),
    bfloat16: (4, 16),
    bool_: (6, 8),
}
_DTYPES = {code: dtype for dtype, code in _CODES.items()}
# In what dtype an array passes through the parts of NumPy that refuse its own.
_CARRIERS = {bfloat16: np.dtype(np.uint16)}


class _Device(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int32), ("index", ctypes.c_int32)]


class _DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Legacy(ctypes.Structure):
    """DLManagedTensor, of DLPack before 1.0."""

    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned. All but `tensor` stays where it is in later major versions."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


# Prototypes of our own, since argument types set on `ctypes.pythonapi` would be set for everybody.
# PYFUNCTYPE keeps the GIL, which some producers' deleters rely on.
_DELETER = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_SetName", ctypes.pythonapi)
)
_immortalize = ctypes.PYFUNCTYPE(None, ctypes.py_object)(("Py_IncRef", ctypes.pythonapi))


class _Kind(NamedTuple):
    """One of the two sorts of capsules."""

    name: bytes
    used: bytes
    managed: type[_Legacy] | type[_Versioned]


_LEGACY = _Kind(b"dltensor", b"used_dltensor", _Legacy)
_VERSIONED = _Kind(b"dltensor_versioned", b"used_dltensor_versioned", _Versioned)
_KINDS = (_VERSIONED, _LEGACY)
for _kind in _KINDS:
    _immortalize(_kind.used)  # a capsule points at its name, and may outlive this module


# Lending.


class _Lent(np.ndarray[Any, Any]):
    """The view that NumPy's deleter lets go of; `keep` is what the consumer's pointers lead to."""

    keep: object


def export(
    array: Array,
    *,
    stream: object = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> object:
    """Return a DLPack capsule of a host array: what the array API asks of `__dlpack__`.

    The capsule shares the array's memory and keeps it alive until the consumer's last use. It holds
    a copy if `copy`, or where memory cannot be shared and `copy` is None: strides that are no
    multiple of the itemsize, a read-only array for a consumer that knows only DLPack before 1.0
    (which has no flag for it), and negative strides, at which PyTorch ends the process. With
    `copy=False` the first two raise ArgumentError and the last is shared.

    Raises DeviceError if `dl_device` is not the host, DTypeError for a dtype that is not FERRUM's.
    """
    kind = _requested(stream, max_version, dl_device, copy)
    if array.dtype not in _CODES:
        names = ", ".join(dtype.name for dtype in DTYPES)
        raise DTypeError(f"__dlpack__: expected one of {names}, got {array.dtype}")
    copied = copy or _must_copy(array, kind, copy)
    return _lend(np.array(array, order="K") if copied else array, kind, copied)


def _requested(stream: object, max_version: object, dl_device: object, copy: object) -> _Kind:
    if stream is not None:
        raise ArgumentError(f"__dlpack__: expected stream=None for host memory, got {stream!r}")
    if dl_device is not None and not (_is_pair(dl_device) and dl_device == (CPU, 0)):
        raise DeviceError(f"__dlpack__: expected dl_device ({CPU}, 0), the host, got {dl_device!r}")
    if not (copy is None or isinstance(copy, bool)):
        raise ArgumentError(f"__dlpack__: expected copy to be None or a bool, got {copy!r}")
    if max_version is None:
        return _LEGACY
    if not _is_pair(max_version):
        raise ArgumentError(f"__dlpack__: expected max_version (major, minor), got {max_version!r}")
    return _VERSIONED if max_version >= (_MAJOR, 0) else _LEGACY


def _is_pair(value: object) -> TypeGuard[tuple[int, int]]:
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(x, int) for x in value)


def _must_copy(array: Array, kind: _Kind, copy: bool | None) -> bool:
    """Return whether the memory cannot, or had better not, be shared; raise if it must be."""
    steps = [s for n, s in zip(array.shape, array.strides, strict=True) if n > 1 and array.size]
    fault = None
    if any(step % array.itemsize for step in steps):
        fault = f"strides {array.strides} that are no multiples of the itemsize {array.itemsize}"
    elif kind is _LEGACY and not array.flags.writeable:
        fault = "a read-only array, which DLPack before 1.0 cannot mark as such"
    if fault and copy is False:
        raise ArgumentError(f"__dlpack__: copy=False, and memory cannot be shared of {fault}")
    return bool(fault) or (copy is None and any(step < 0 for step in steps))


def _lend(array: Array, kind: _Kind, copied: bool) -> object:
    lent = array.view(_CARRIERS.get(array.dtype, array.dtype), _Lent)
    capsule: object = lent.__dlpack__(max_version=(_MAJOR, 0) if kind is _VERSIONED else None)
    managed = kind.managed.from_address(_pointer(capsule, kind.name))
    tensor = managed.tensor
    tensor.dtype.code = _CODES[array.dtype][0]
    # NumPy passes on the device of memory that it has itself imported.
    tensor.device.kind, tensor.device.index = CPU, 0
    # NumPy before 2.4 gives no strides for contiguous arrays, as was usual before DLPack 1.2.
    strides = (ctypes.c_int64 * array.ndim)(*_element_strides(array))
    tensor.strides = ctypes.addressof(strides) if array.ndim else None
    lent.keep = array, strides
    if copied and isinstance(managed, _Versioned):
        managed.flags |= _IS_COPIED
    return capsule


def _element_strides(array: Array) -> list[int]:
    """Return strides in elements, the row-major ones where no step is ever taken."""
    plain = _row_major(array.shape, 1)
    if not array.size:
        return plain
    axes = zip(array.shape, array.strides, plain, strict=True)
    return [s // array.itemsize if n > 1 else usual for n, s, usual in axes]


def _row_major(shape: Sequence[int], step: int) -> list[int]:
    strides = []
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return strides[::-1]


# Borrowing.


class _Loan:
    """A producer's tensor, taken over from its capsule. Gives it back exactly once.

    NumPy arrays have it as their base. It uses no names of the module, which at exit may be gone.
    """

    def __init__(self, address: int, deleter: int | None) -> None:
        self._address = address
        self._deleter = _DELETER(deleter) if deleter else None
        self.__array_interface__: dict[str, Any] = {}

    def give_back(self) -> None:
        """Call the producer's deleter, unless that is done."""
        deleter, self._deleter = self._deleter, None
        if deleter is not None:
            deleter(self._address)

    __del__ = give_back


class _Layout(NamedTuple):
    """Where elements lie, checked; strides in bytes."""

    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    address: int


def import_array(producer: Any) -> Array:
    """Return a NumPy array that shares the memory of an object with `__dlpack__`.

    The array is read-only if the producer says so; the memory is given back to the producer when
    the last view of the array goes. Raises DeviceError if the memory is not the host's, DTypeError
    for a dtype that is not FERRUM's, ShapeError for a shape or strides that cannot be, and
    ArgumentError for anything else that is not as DLPack has it; the memory is then given back.
    """
    capsule = _capsule(producer)
    kind = _kind_of(capsule)
    address = _pointer(capsule, kind.name)
    managed = kind.managed.from_address(address)
    _rename(capsule, kind.used)  # from here on the capsule leaves the deleter to us
    loan = _Loan(address, managed.deleter)
    try:
        _check_version(managed)
        layout = _layout(managed.tensor)
        read_only = isinstance(managed, _Versioned) and bool(managed.flags & _READ_ONLY)
        return _borrow(loan, layout, read_only)
    except BaseException:
        loan.give_back()  # now, and not when the traceback goes
        raise


def _capsule(producer: Any) -> object:
    who = type(producer).__name__
    try:
        if not hasattr(producer, "__dlpack__"):
            raise ArgumentError(f"from_dlpack: expected an object with __dlpack__, got {who}")
        if hasattr(producer, "__dlpack_device__"):
            _check_device(producer.__dlpack_device__()[0])
        return _call(producer)
    except (FerrumError, MemoryError):
        raise
    except Exception as error:
        raise ArgumentError(f"from_dlpack: {who} gave no capsule: {error}") from error


def _call(producer: Any) -> object:
    try:
        return producer.__dlpack__(max_version=(_MAJOR, 0))
    except TypeError:  # of before DLPack 1.0, and without that argument
        return producer.__dlpack__()


def _kind_of(capsule: object) -> _Kind:
    for kind in _KINDS:
        if _is_valid(capsule, kind.name):
            return kind
        if _is_valid(capsule, kind.used):
            raise ArgumentError("from_dlpack: expected a new capsule, got one already consumed")
    names = " or ".join(f'"{kind.name.decode()}"' for kind in _KINDS)
    raise ArgumentError(
        f"from_dlpack: expected __dlpack__ to return a capsule named {names}, "
        f"got {type(capsule).__name__}"
    )


def _check_version(managed: _Legacy | _Versioned) -> None:
    if isinstance(managed, _Versioned) and managed.major != _MAJOR:
        raise ArgumentError(
            f"from_dlpack: expected DLPack version {_MAJOR}, got {managed.major}.{managed.minor}"
        )


def _check_device(kind: int) -> None:
    if kind not in (CPU, _CUDA_HOST):
        raise DeviceError(
            f"from_dlpack: expected memory of the host (DLPack device {CPU} or {_CUDA_HOST}), "
            f"got device {int(kind)} ({_DEVICES.get(kind, 'unknown')}); move it to the host first"
        )


def _layout(tensor: _Tensor) -> _Layout:
    _check_device(tensor.device.kind)
    dtype = _dtype(tensor.dtype)
    shape = _shape(tensor, dtype.itemsize)
    strides = _strides(tensor, shape, dtype.itemsize)
    return _Layout(dtype, shape, strides, _address(tensor, shape, strides, dtype.itemsize))


def _dtype(given: _DataType) -> DType:
    dtype = _DTYPES.get((given.code, given.bits))
    if given.lanes != 1 or dtype is None:
        raise DTypeError(
            f"from_dlpack: expected (code, bits) in {sorted(_DTYPES)} and 1 lane, "
            f"got ({given.code}, {given.bits}) and {given.lanes}"
        )
    return dtype


def _shape(tensor: _Tensor, itemsize: int) -> tuple[int, ...]:
    rank = tensor.ndim
    if not 0 <= rank <= _MAX_RANK:
        raise ShapeError(f"from_dlpack: expected 0 to {_MAX_RANK} axes, got {rank}")
    if rank and not tensor.shape:
        raise ShapeError(f"from_dlpack: expected a shape of {rank} axes, got NULL")
    shape = _int64s(tensor.shape or 0, rank)
    # As in NumPy, an axis of size 0 does not excuse the others.
    if min(shape, default=0) < 0 or _bytes(shape, itemsize) > sys.maxsize:
        raise ShapeError(
            f"from_dlpack: expected sizes of at least 0 and up to {sys.maxsize} bytes, got {shape}"
        )
    return shape


def _bytes(shape: Iterable[int], itemsize: int) -> int:
    return itemsize * math.prod(max(n, 1) for n in shape)


def _strides(tensor: _Tensor, shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    if not tensor.strides:
        return tuple(_row_major(shape, itemsize))
    strides = tuple(itemsize * stride for stride in _int64s(tensor.strides, len(shape)))
    if any(abs(stride) > sys.maxsize for stride in strides):
        raise ShapeError(
            f"from_dlpack: expected strides of up to {sys.maxsize} bytes, got {strides}"
        )
    return strides


def _int64s(address: int, count: int) -> tuple[int, ...]:
    return tuple((ctypes.c_int64 * count).from_address(address)) if count else ()


def _address(
    tensor: _Tensor, shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int
) -> int:
    """Return the address of the first element, having checked that of each."""
    start = int(tensor.data or 0) + int(tensor.byte_offset)
    if 0 in shape:
        return start
    if not tensor.data:
        raise ArgumentError(f"from_dlpack: expected data for the shape {shape}, got NULL")
    spans = [(n - 1) * stride for n, stride in zip(shape, strides, strict=True)]
    first = start + sum(span for span in spans if span < 0)
    end = start + sum(span for span in spans if span > 0) + itemsize
    if first <= 0 or end > _ADDRESSES:
        raise ShapeError(
            f"from_dlpack: expected memory between 0 and {_ADDRESSES}, got {first} to {end} by "
            f"shape {shape}, strides of {strides} bytes and byte_offset {tensor.byte_offset}"
        )
    return start


def _borrow(loan: _Loan, layout: _Layout, read_only: bool) -> Array:
    dtype, shape, strides, address = layout
    if 0 in shape:  # NULL, often, and there is nothing to share
        loan.give_back()
        array: Array = np.empty(shape, dtype)
        array.flags.writeable = not read_only
        return array
    loan.__array_interface__ = {
        "version": 3,
        "typestr": _CARRIERS.get(dtype, dtype).str,
        "shape": shape,
        "strides": strides,
        "data": (address, read_only),
    }
    return np.asarray(loan).view(dtype)
