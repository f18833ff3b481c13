"""Making tensors: from data, from a rule, at random."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from ferrum import dlpack, ops
from ferrum.device import Device, needing
from ferrum.dtypes import (
    CATEGORY,
    DType,
    DTypeLike,
    as_dtype,
    bfloat16,
    bool_,
    float32,
    float64,
    int64,
    promote_types,
)
from ferrum.errors import ArgumentError, CaptureError, DTypeError, OperandError
from ferrum.methods.axes import sizes_of
from ferrum.mode import current
from ferrum.operands import of_tensor
from ferrum.ops.memory import check_number, check_shape
from ferrum.plugins import default_device
from ferrum.plugins import device as find_device
from ferrum.promotion import SCALARS, get_default_dtype, result_type, scalar_dtype
from ferrum.random import Generator, Key, default_generator
from ferrum.tensor import Tensor

Where = str | Device | None


def _where(device: Where) -> Device:
    return default_device() if device is None else find_device(device)


def _float(dtype: DTypeLike | None) -> DType:
    return get_default_dtype() if dtype is None else as_dtype(dtype)


def tensor(
    data: Any, *, dtype: DTypeLike | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """Return a tensor with a copy of `data`: numbers, sequences of them, an array or a tensor.

    Python floats become the default dtype (float32), ints int64; arrays keep their dtype.
    """
    if isinstance(data, Tensor):
        out = data.detach().clone().to(data.device if device is None else device)
        out = out if dtype is None else out.to(as_dtype(dtype))
        return out.requires_grad_(requires_grad)
    array = _array_of(data, None if dtype is None else as_dtype(dtype))
    where = _where(device)
    out = Tensor(where.from_numpy(array), where)
    if current().interposers:  # so that a recording holds the data, and makes it anew each time
        out = ops.copy(out)
    return out.requires_grad_(requires_grad)


def _array_of(data: Any, dtype: DType | None) -> npt.NDArray[Any]:
    """Return `data` as a new row-major array of a FERRUM dtype."""
    typed = hasattr(data, "__array__") or hasattr(data, "__array_interface__")
    dtypes: list[DType] = []
    if isinstance(data, (list, tuple)):
        data, typed, dtypes = _without_tensors(data)
        if typed and dtype is None:
            dtype = reduce(promote_types, dtypes)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise OperandError(f"tensor: expected sequences of equal length, got {error}") from None
    widened = array.dtype.kind == "f" and dtypes and all(CATEGORY[each] < 2 for each in dtypes)
    if widened or (
        array.dtype.kind == "O" and all(isinstance(each, (int, float)) for each in array.flat)
    ):
        raise ArgumentError("tensor: an integer does not fit into 64 bits")
    if array.dtype.kind not in "biuf" and CATEGORY.get(array.dtype) is None:
        raise OperandError(
            f"tensor: expected numbers, got {type(data).__name__} of dtype {array.dtype}"
        )
    if dtype is None:
        dtype = as_dtype(array.dtype) if typed else _inferred(array)
    if (dtypes or not typed) and CATEGORY[dtype] == 1 and array.size:
        check_number("tensor", array.min().item(), dtype)  # Python numbers must fit, arrays wrap
        check_number("tensor", array.max().item(), dtype)
    with np.errstate(all="ignore"):
        return np.array(array, dtype=dtype, order="C").view(dtype)  # NumPy keeps equal dtypes


def _without_tensors(data: Any) -> tuple[Any, bool, list[DType]]:
    """Return nested sequences with tensors made arrays, whether any has a dtype, and all dtypes."""
    plain, found = [], False
    dtypes: list[DType] = []
    for each in data:
        if isinstance(each, Tensor):
            found = True
            dtypes.append(each.dtype)
            each = each.detach().numpy()
            each = each.astype(float32) if each.dtype is bfloat16 else each  # as NumPy cannot mix
        elif isinstance(each, (np.ndarray, np.generic)):
            found = True
            dtypes.append(as_dtype(each.dtype))
        elif isinstance(each, (list, tuple)):
            each, inner, more = _without_tensors(each)
            found = found or inner
            dtypes += more
        elif each.__class__ in SCALARS:
            dtypes.append(scalar_dtype(each.__class__))
        plain.append(each)
    return plain, found, dtypes


def _inferred(array: npt.NDArray[Any]) -> DType:
    if array.dtype.kind == "f":
        return get_default_dtype()
    return bool_ if array.dtype.kind == "b" else int64


def as_tensor(data: Any, dtype: DTypeLike | None = None, device: Where = None) -> Tensor:
    """Return `data` as a tensor, without copying where dtype and device allow it."""
    if isinstance(data, np.ndarray) and CATEGORY.get(data.dtype) is not None:
        data = _sharing("as_tensor", data, None)
    if not isinstance(data, Tensor):
        return tensor(data, dtype=dtype, device=device)
    out = data if device is None else data.to(device)
    return out if dtype is None else out.to(as_dtype(dtype))


def from_numpy(array: npt.NDArray[Any], *, device: Where = None) -> Tensor:
    """Return a tensor that shares memory with `array`, where the device is the host's."""
    if not isinstance(array, np.ndarray):
        raise OperandError(f"from_numpy: expected an array, got {type(array).__name__}")
    return _sharing("from_numpy", array, device)


def _sharing(name: str, array: npt.NDArray[Any], device: Where) -> Tensor:
    """Return a tensor on the memory of `array`, which a recording could not make anew."""
    if current().forbids_values:
        raise CaptureError(
            f"{name}: a recording cannot tell the memory that it shares from what a replay should "
            f"make anew; copy it with fe.tensor(...), or share it outside"
        )
    array = np.asarray(array)  # masked arrays and matrices have rules of their own
    dtype = as_dtype(array.dtype)
    if array.dtype is not dtype:  # an equal dtype, but not the one object that `is` compares with
        array = array.view(dtype)
    where = _where(device)
    return Tensor(where.from_numpy(array), where)


def from_dlpack(producer: Any, *, device: Where = None) -> Tensor:
    """Return a tensor that shares memory with any object that speaks DLPack, such as PyTorch's."""
    return _sharing("from_dlpack", dlpack.import_array(producer), device)


# ---- by a rule


def _number(name: str, value: Any) -> Any:
    if value.__class__ in SCALARS:
        if value.__class__ is int and value.bit_length() > 1000:
            raise ArgumentError(f"{name}: an integer of {value.bit_length()} bits is too large")
        return value
    if isinstance(value, (Tensor, np.generic)):
        return value.item()
    raise OperandError(f"{name}: expected a number, got {type(value).__name__}")


def full(
    size: Sequence[int],
    fill_value: float,
    *,
    dtype: DTypeLike | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a tensor of this size with every element equal to `fill_value`."""
    fill_value = _number("full", fill_value)
    chosen = scalar_dtype(fill_value.__class__) if dtype is None else as_dtype(dtype)
    out = ops.full(
        shape=sizes_of("full", (size,)), value=fill_value, dtype=chosen, device=_where(device)
    )
    return out.requires_grad_(requires_grad)


def zeros(
    *size: Any, dtype: DTypeLike | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """Return zeros of this size: `zeros(2, 3)` or `zeros((2, 3))`."""
    return full(
        sizes_of("zeros", size), 0, dtype=_float(dtype), device=device, requires_grad=requires_grad
    )


def ones(
    *size: Any, dtype: DTypeLike | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """Return ones of this size."""
    return full(
        sizes_of("ones", size), 1, dtype=_float(dtype), device=device, requires_grad=requires_grad
    )


def empty(
    *size: Any, dtype: DTypeLike | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """Return a tensor of this size whose values mean nothing.

    They are zeros, so that runs repeat.
    """
    return zeros(*size, dtype=dtype, device=device, requires_grad=requires_grad)


@of_tensor
def full_like(
    x: Tensor,
    fill_value: float,
    *,
    dtype: DTypeLike | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a tensor like x with every element equal to `fill_value`."""
    return full(
        x.shape,
        fill_value,
        dtype=x.dtype if dtype is None else dtype,
        device=x.device if device is None else device,
        requires_grad=requires_grad,
    )


@of_tensor
def zeros_like(x: Tensor, **options: Any) -> Tensor:
    """Return zeros like x; `dtype`, `device` and `requires_grad` change what is not like it."""
    return full_like(x, 0, **options)


@of_tensor
def ones_like(x: Tensor, **options: Any) -> Tensor:
    """Return ones like x; `dtype`, `device` and `requires_grad` change what is not like it."""
    return full_like(x, 1, **options)


empty_like = zeros_like


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return start, start + step, ... up to but without `end`; `arange(n)` starts at 0."""
    first, last = (0, start) if end is None else (start, end)
    first, last, step = [_number("arange", each) for each in (first, last, step)]
    chosen = result_type(first, last, step) if dtype is None else as_dtype(dtype)
    if chosen is int64 and isfinite(first) and isfinite(last) and isfinite(step):
        first, last, step = int(first), int(last), int(step)  # as in PyTorch, before counting
    out = ops.arange(start=first, stop=last, step=step, dtype=chosen, device=_where(device))
    return out.requires_grad_(requires_grad)


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: DTypeLike | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return `steps` numbers from `start` to `end`, both included, at equal distances."""
    (count,) = sizes_of("linspace", ((steps,),))
    if count < 0:
        raise ArgumentError(f"linspace: expected steps of at least 0, got {steps}")
    check_shape("linspace", (count,))
    first, last = _number("linspace", start), _number("linspace", end)
    chosen, where = _float(dtype), _where(device)
    with np.errstate(all="ignore"), needing("linspace", where, count * chosen.itemsize):
        array = np.linspace(first, last, count).astype(chosen)
        return tensor(array, device=where, requires_grad=requires_grad)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DTypeLike | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a matrix (n, m) with ones on its diagonal."""
    height, width = check_shape("eye", sizes_of("eye", (n, n if m is None else m)))
    rows = arange(height, device=device).unsqueeze(1)
    out = (rows == arange(width, device=device)).to(_float(dtype))
    return out.requires_grad_(requires_grad)


# ---- at random


def _key(name: str, generator: Generator | None) -> Key:
    if generator is None:
        return default_generator.next_key()
    if not isinstance(generator, Generator):
        raise OperandError(
            f"{name}: expected a fe.Generator, got {type(generator).__name__}; make one with "
            f"fe.Generator(seed)"
        )
    return generator.next_key()


def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return random numbers from [0, 1)."""
    out = ops.uniform(
        shape=sizes_of("rand", size),
        dtype=_float(dtype),
        key=_key("rand", generator),
        device=_where(device),
    )
    return out.requires_grad_(requires_grad)


def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return random numbers of the standard normal law."""
    out = ops.normal(
        shape=sizes_of("randn", size),
        dtype=_float(dtype),
        key=_key("randn", generator),
        device=_where(device),
    )
    return out.requires_grad_(requires_grad)


@of_tensor
def rand_like(x: Tensor, **options: Any) -> Tensor:
    """Return random numbers from [0, 1) like x."""
    return rand(x.shape, **{"dtype": x.dtype, "device": x.device, **options})


@of_tensor
def randn_like(x: Tensor, **options: Any) -> Tensor:
    """Return random numbers of the standard normal law like x."""
    return randn(x.shape, **{"dtype": x.dtype, "device": x.device, **options})


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: Where = None,
) -> Tensor:
    """Return random integers from [low, high): `randint(10, (3,))` or `randint(2, 10, (3,))`."""
    if isinstance(high, (tuple, list)) and size is None:
        high, size = None, high
    low, high = (0, low) if high is None else (low, high)
    if not isinstance(size, (tuple, list)):
        raise OperandError("randint: expected randint(high, size) or randint(low, high, size)")
    low, high = sizes_of("randint", (low, high))
    chosen = int64 if dtype is None else as_dtype(dtype)
    return ops.randint(
        low=low,
        high=high,
        shape=sizes_of("randint", (size,)),
        dtype=chosen,
        key=_key("randint", generator),
        device=_where(device),
    )


def randperm(n: int, *, generator: Generator | None = None, device: Where = None) -> Tensor:
    """Return the integers 0 to n - 1 in random order."""
    (count,) = sizes_of("randperm", (n,))
    return ops.randperm(n=count, key=_key("randperm", generator), device=_where(device))


@of_tensor
def bernoulli(p: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Return 1 with probability p, else 0, element by element, in the dtype of p."""
    if CATEGORY[p.dtype] != 2:
        raise DTypeError(f"bernoulli: expected floating-point probabilities, got {p.dtype.name}")
    p = p.detach()
    if not current().forbids_values and not ((p >= 0) & (p <= 1)).all():
        raise ArgumentError("bernoulli: expected probabilities from 0 to 1, got others, or NaN")
    key = _key("bernoulli", generator)
    draws = ops.uniform(shape=p.shape, dtype=float64, key=key, device=p.device)
    return (draws < p.to(float64)).to(p.dtype)
