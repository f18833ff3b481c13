"""Every function that makes a tensor, against NumPy and, where it is installed, PyTorch."""

from __future__ import annotations

import array
import enum
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ferrum as fe
from ferrum.dtypes import DTYPES, FLOATS, INTEGERS
from ferrum.errors import ArgumentError, DTypeError, FerrumError, OperandError, ShapeError

INT64 = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.one_of(st.booleans(), INT64, st.floats(width=32))
NUMPYS = [dtype for dtype in DTYPES if dtype is not fe.bfloat16]
relaxed = settings(derandomize=True, deadline=None, max_examples=150)


def bits(x: fe.Tensor) -> Any:
    assert any(x.dtype is dtype for dtype in DTYPES)  # the one object, not an equal one
    return x.dtype.name, x.shape, x.detach().numpy().tobytes()


def array_bits(x: np.ndarray[Any, Any]) -> Any:
    return x.dtype.name, x.shape, x.tobytes()


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


# ---- tensor: from numbers


@relaxed
@given(st.data(), hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=3))
def test_nested_numbers(data: st.DataObject, shape: tuple[int, ...]) -> None:
    """Bools, integers and floats, mixed: the widest kind among them decides."""
    count = int(np.prod(shape))
    flat = data.draw(st.lists(NUMBERS, min_size=count, max_size=count))
    kinds = {type(each) for each in flat}
    dtype = fe.float32 if float in kinds else fe.int64 if int in kinds else fe.bool
    nested = np.array(flat, object).reshape(shape).tolist()
    expected = np.array(flat, np.float64 if dtype is fe.float32 else dtype)
    assert bits(fe.tensor(nested)) == array_bits(expected.astype(dtype).reshape(shape))


@relaxed
@given(st.sampled_from(INTEGERS), st.one_of(INT64, st.floats(-(2.0**70), 2.0**70)))
def test_python_numbers_must_fit_into_integers(dtype: Any, value: float) -> None:
    info = np.iinfo(dtype)
    if info.min <= value <= info.max:
        assert fe.tensor([value], dtype=dtype).tolist() == [int(value)]
        assert fe.full((1,), value, dtype=dtype).tolist() == [int(value)]
        return
    for call in (fe.tensor, lambda value, dtype: fe.full((1,), value, dtype=dtype)):
        with pytest.raises(ArgumentError, match=f"does not fit into {dtype.name}$"):
            call(value, dtype=dtype)


@relaxed
@given(hnp.arrays(st.sampled_from(NUMPYS), hnp.array_shapes(min_dims=0)))
def test_arrays_keep_their_dtype_and_are_copied(x: np.ndarray[Any, Any]) -> None:
    for given_ in (x, x.T, x[..., ::-1] if x.ndim else x):
        assert bits(fe.tensor(given_)) == array_bits(given_)
        assert not np.shares_memory(fe.tensor(given_).numpy(), x)
        assert bits(fe.from_numpy(given_)) == array_bits(given_)
        assert x.size == 0 or np.shares_memory(fe.from_numpy(given_).numpy(), x)


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        ([], fe.float32, (0,)),
        ((), fe.float32, (0,)),
        ([[], []], fe.float32, (2, 0)),
        (range(4), fe.int64, (4,)),
        (deque([1, 2.5]), fe.float32, (2,)),
        (bytearray(b"ab"), fe.int64, (2,)),
        (memoryview(b"abc"), fe.int64, (3,)),
        (array.array("d", [1.0]), fe.float32, (1,)),
        (np.float64(1), fe.float64, ()),
        (np.int8(1), fe.int8, ()),
        (np.bool_(True), fe.bool, ()),
        ([np.float64(1), 2], fe.float64, (2,)),
        ([True, np.int8(1)], fe.int8, (2,)),
        ([np.int8(1), 2], fe.int64, (2,)),
        ([np.zeros(2, np.int16), (1, 2)], fe.int64, (2, 2)),
        ([np.zeros(2, np.float32)], fe.float32, (1, 2)),
        ([enum.IntEnum("E", "A B").B], fe.int64, (1,)),
    ],
    ids=lambda each: "memoryview" if isinstance(each, memoryview) else repr(each),
)
def test_inferred_dtypes(data: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    out = fe.tensor(data)
    assert (out.dtype, out.shape) == (dtype, shape)
    assert out.tolist() == np.array(data).tolist()


@pytest.mark.torch
def test_inference_follows_pytorch(torch: Any) -> None:
    cases: list[Callable[[Any], Any]] = [
        lambda m: [True, 2],
        lambda m: [1, 2.5],
        lambda m: [m.tensor(1), 2.5],
        lambda m: [m.tensor(1), np.float64(2.5)],
        lambda m: [m.tensor(1, dtype=m.int8), 2],
        lambda m: [m.tensor(1.0, dtype=m.float16), 2.5],
        lambda m: [m.tensor(1.5, dtype=m.bfloat16), 1],
        lambda m: [m.tensor(1.5, dtype=m.bfloat16), m.tensor(2.5, dtype=m.float16)],
        lambda m: [m.tensor(1.0, dtype=m.float64), 1],
        lambda m: [[m.tensor(1), True], [2, m.tensor(False)]],
        lambda m: [np.float32(1), 2],
        lambda m: [np.int8(3)],
        lambda m: [np.float64(1)],
    ]
    for case in cases:
        ours, theirs = fe.tensor(case(fe)), torch.tensor(case(torch))
        assert str(theirs.dtype) == f"torch.{ours.dtype.name}"
        assert ours.tolist() == theirs.tolist()


def test_tensors_inside_lists() -> None:
    leaf = fe.tensor([1.0, 2.0], requires_grad=True)
    out = fe.tensor([leaf, [3, 4], (5.5, True)])
    assert out.tolist() == [[1, 2], [3, 4], [5.5, 1]]
    assert out.dtype is fe.float32
    assert not out.requires_grad
    assert fe.tensor([leaf], dtype=fe.int8).dtype is fe.int8


def test_tensors_are_copied() -> None:
    x = fe.tensor([1.0, 2.0], requires_grad=True)
    y = fe.tensor(x)
    assert (y.tolist(), y.requires_grad) == ([1, 2], False)
    y.zero_()
    assert x.tolist() == [1, 2]
    z = fe.tensor(x, dtype=fe.float64, requires_grad=True)
    assert (z.dtype, z.is_leaf, z.requires_grad) == (fe.float64, True, True)


def test_the_default_dtype_is_that_of_python_floats() -> None:
    fe.set_default_dtype(fe.float64)
    try:
        made = [fe.tensor(1.5), fe.tensor([]), fe.zeros(1), fe.rand(1), fe.full((1,), 0.5)]
        made += [fe.linspace(0, 1, 3), fe.arange(0.5, 2.0), fe.eye(2)]
        assert {x.dtype for x in made} == {fe.float64}
        assert fe.tensor(1).dtype is fe.int64
    finally:
        fe.set_default_dtype(fe.float32)
    assert fe.tensor(1.5).dtype is fe.float32


@pytest.mark.parametrize("protocol", ["__array_interface__", "__array__"])
def test_objects_that_hold_an_array(protocol: str) -> None:
    held = np.array([1, 2], np.int16)
    if protocol == "__array__":
        kind = type("Holder", (), {"__array__": lambda self, dtype=None, copy=None: held})
    else:
        kind = type("Holder", (), {"__array_interface__": held.__array_interface__})
    out = fe.tensor(kind())
    assert bits(out) == array_bits(held)
    assert not np.shares_memory(out.numpy(), held)


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ("1", OperandError, "tensor: expected numbers, got str"),
        (["a", 1], OperandError, "tensor: expected numbers, got list"),
        (b"ab", OperandError, "tensor: expected numbers, got bytes"),
        (1j, OperandError, "tensor: expected numbers, got complex of dtype complex128"),
        (np.array([1j]), OperandError, "tensor: expected numbers, got ndarray of dtype complex128"),
        (None, OperandError, "tensor: expected numbers, got NoneType"),
        ([1, None], OperandError, "tensor: expected numbers, got list of dtype object"),
        (np.array([1, None]), OperandError, "tensor: expected numbers, got ndarray of dtype obj"),
        ({1, 2}, OperandError, "tensor: expected numbers, got set"),
        (np.array("2020", "M8[D]"), OperandError, "tensor: expected numbers, got ndarray of dtype"),
        (np.zeros(1, [("a", "i4")]), OperandError, "tensor: expected numbers, got ndarray of dt"),
        ([[1], [1, 2]], OperandError, "tensor: expected sequences of equal length, got"),
        ([[1], 2], OperandError, "tensor: expected sequences of equal length, got"),
        (2**63, ArgumentError, "tensor: 9223372036854775808 does not fit into int64"),
        ([2**64, 1], ArgumentError, "tensor: an integer does not fit into 64 bits"),
        ([2**63, -1], ArgumentError, "tensor: an integer does not fit into 64 bits"),
        ([2**62, 2**63], ArgumentError, "tensor: an integer does not fit into 64 bits"),
        (np.uint16(1), DTypeError, "dtype dtype('uint16') is not one of FERRUM's"),
        (np.array([1], np.uint64), DTypeError, "dtype dtype('uint64') is not one of FERRUM's"),
        (np.array([1.0], ">f4"), DTypeError, "dtype dtype('>f4') is not one of FERRUM's"),
    ],
    ids=repr,
)
def test_what_is_no_tensor(data: Any, error: type[FerrumError], text: str) -> None:
    with pytest.raises(error) as caught:
        fe.tensor(data)
    assert str(caught.value).startswith(text)


# ---- sharing memory


@pytest.mark.parametrize("kind", [np.longlong, np.int_, np.intc, np.byte, np.ubyte])
def test_equal_dtypes_become_the_one_object(kind: Any) -> None:
    """NumPy has several dtype objects for one kind of integer; `is` must compare ours."""
    x = np.array([1, 2], kind)
    for out in (fe.from_numpy(x), fe.tensor(x), fe.as_tensor(x), fe.tensor([x])):
        assert bits(out)[:2] == (x.dtype.name, out.shape)
        assert (out + fe.tensor([1, 2])).tolist() in ([2, 4], [[2, 4]])
    assert np.shares_memory(fe.from_numpy(x).numpy(), x)


def test_from_numpy_shares_memory_both_ways() -> None:
    x = np.zeros(3, np.float32)
    t = fe.from_numpy(x)
    x[0] = 1
    t[1] = 2.0
    assert t.tolist() == x.tolist() == [1, 2, 0]


def test_read_only_arrays_are_shared_and_never_written() -> None:
    x = np.arange(3.0)
    x.flags.writeable = False
    t = fe.from_numpy(x)
    assert np.shares_memory(t.numpy(), x)
    assert (t * 2).tolist() == [0, 2, 4]
    for write in (lambda: t.add_(1), t.zero_, lambda: t.__setitem__(0, 5.0), lambda: t[1:].exp_()):
        with pytest.raises(ArgumentError, match="the memory of this tensor is read-only"):
            write()
    assert x.tolist() == [0, 1, 2]
    assert t.clone().add_(1).tolist() == [1, 2, 3]


def test_subclasses_of_arrays_become_plain_arrays() -> None:
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    t = fe.from_numpy(masked)
    assert type(t.numpy()) is np.ndarray
    assert np.shares_memory(t.numpy(), masked.data)


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ([1.0], OperandError, "from_numpy: expected an array, got list"),
        (np.float32(1), OperandError, "from_numpy: expected an array, got float32"),
        (np.array(["a"]), DTypeError, "dtype dtype('<U1') is not one of FERRUM's"),
        (np.array([1.0], ">f8"), DTypeError, "dtype dtype('>f8') is not one of FERRUM's"),
        (np.array([1], np.uint32), DTypeError, "dtype dtype('uint32') is not one of FERRUM's"),
        (np.array([None]), DTypeError, "dtype dtype('O') is not one of FERRUM's"),
    ],
    ids=repr,
)
def test_what_from_numpy_refuses(data: Any, error: type[FerrumError], text: str) -> None:
    with pytest.raises(error) as caught:
        fe.from_numpy(data)
    assert str(caught.value).startswith(text)


def test_as_tensor_copies_only_where_it_must() -> None:
    x = np.zeros(2, np.float32)
    assert np.shares_memory(fe.as_tensor(x).numpy(), x)
    assert not np.shares_memory(fe.as_tensor(x, dtype=fe.float64).numpy(), x)
    t = fe.zeros(2)
    assert fe.as_tensor(t) is t
    assert fe.as_tensor(t, dtype=fe.float32, device="reference") is t
    assert fe.as_tensor(t, dtype=fe.int8).dtype is fe.int8
    assert fe.as_tensor([1, 2.5]).tolist() == [1, 2.5]
    leaf = fe.zeros(2, requires_grad=True)
    assert fe.as_tensor(leaf, dtype=fe.float64).requires_grad  # gradients go through


def test_from_dlpack_shares_memory() -> None:
    x = np.zeros(2, np.float32)
    t = fe.from_dlpack(x)
    x[0] = 3
    assert (t.tolist(), t.dtype) == ([3, 0], fe.float32)
    again = fe.from_dlpack(t)
    again[1] = 4.0
    assert x.tolist() == [3, 4]
    with pytest.raises(FerrumError, match=r"^from_dlpack: expected an object with __dlpack__"):
        fe.from_dlpack(3)


@pytest.mark.torch
def test_pytorch_tensors_keep_their_dtype(torch: Any) -> None:
    for name in ("int8", "float64", "bool"):
        theirs = torch.ones(2, dtype=getattr(torch, name))
        assert fe.tensor(theirs).dtype.name == name
    theirs = torch.zeros(2, dtype=torch.bfloat16)
    t = fe.from_dlpack(theirs)
    t[0] = 1.5
    assert (theirs[0].item(), t.dtype) == (1.5, fe.bfloat16)


# ---- by a rule


SIZES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@relaxed
@given(SIZES, st.sampled_from(DTYPES))
def test_zeros_ones_empty_full(size: tuple[int, ...], dtype: Any) -> None:
    like = fe.full(size, 1, dtype=fe.int8)
    for value, made in {
        0: [fe.zeros(size, dtype=dtype), fe.zeros(*size, dtype=dtype), fe.empty(size, dtype=dtype)],
        1: [fe.ones(list(size), dtype=dtype), fe.ones_like(like, dtype=dtype)],
        5: [fe.full(size, 5, dtype=dtype), fe.full_like(like, 5, dtype=dtype)],
    }.items():
        for x in made:
            assert bits(x) == array_bits(np.full(size, value, dtype))
    for function in (fe.zeros_like, fe.empty_like):
        assert bits(function(fe.ones(size, dtype=dtype))) == array_bits(np.zeros(size, dtype))


def test_likes_take_what_they_are_told() -> None:
    x = fe.ones(2, dtype=fe.float64, requires_grad=True)
    threes = lambda x, **options: fe.full_like(x, 3, **options)  # noqa: E731
    for function in (fe.zeros_like, fe.ones_like, fe.empty_like, threes):
        assert (function(x).dtype, function(x).requires_grad) == (fe.float64, False)
        other = function(x, dtype=fe.float16, device="reference", requires_grad=True)
        assert (other.dtype, other.requires_grad, other.is_leaf) == (fe.float16, True, True)


def test_the_dtype_of_full_is_that_of_its_value() -> None:
    made = [fe.full((1,), value) for value in (True, 3, 2.5, np.float64(2.5), fe.tensor(4))]
    assert [x.dtype.name for x in made] == ["bool", "int64", "float32", "float32", "int64"]
    assert fe.full((2,), 1e60).tolist() == [float("inf")] * 2
    assert fe.full((2,), 1e6, dtype=fe.float16).tolist() == [float("inf")] * 2
    assert fe.full_like(fe.tensor([1]), 2.7).tolist() == [2]


@relaxed
@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-7, 7).filter(bool))
def test_integer_arange(start: int, end: int, step: int) -> None:
    if (end - start) * step < 0:
        with pytest.raises(ArgumentError, match=r"^arange: a step of"):
            fe.arange(start, end, step)
    else:
        assert bits(fe.arange(start, end, step)) == array_bits(np.arange(start, end, step))


@relaxed
@given(st.floats(-9, 9), st.floats(0, 9), st.floats(0.125, 3), st.sampled_from(FLOATS))
def test_float_arange(start: float, span: float, step: float, dtype: Any) -> None:
    out = fe.arange(start, start + span, step, dtype=dtype)
    count = int(np.ceil((start + span - start) / step))
    assert bits(out) == array_bits((start + np.arange(count) * step).astype(dtype))


@pytest.mark.torch
def test_arange_follows_pytorch(torch: Any) -> None:
    for args in ((5,), (5.0,), (2, 8, 3), (1, 0, -0.25), (0, 1, 0.1), (True,), (3, 3), (0.5, 4)):
        ours, theirs = fe.arange(*args), torch.arange(*args)
        assert str(theirs.dtype) == f"torch.{ours.dtype.name}"
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
    ours, theirs = (m.arange(2.5, 5.5, dtype=m.int64) for m in (fe, torch))
    assert ours.tolist() == theirs.tolist() == [2, 3, 4]


@relaxed
@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.integers(0, 20), st.sampled_from(FLOATS))
def test_linspace(start: float, end: float, steps: int, dtype: Any) -> None:
    out = fe.linspace(start, end, steps, dtype=dtype)
    assert bits(out) == array_bits(np.linspace(start, end, steps).astype(dtype))
    if steps > 1:  # both ends are included
        assert out[0].item() == fe.tensor(start, dtype=dtype).item()
        assert out[-1].item() == fe.tensor(end, dtype=dtype).item()


@pytest.mark.torch
def test_linspace_follows_pytorch(torch: Any) -> None:
    for args in ((0, 10, 5), (-10, 10, 7), (3, 3, 1), (1, 2, 0), (5, -5, 11)):
        for name in ("float32", "float64", "int32", "int64"):
            ours = fe.linspace(*args, dtype=getattr(fe, name))
            theirs = torch.linspace(*args, dtype=getattr(torch, name))
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6, atol=1e-6)
    assert fe.linspace(fe.tensor(0.0), np.float32(1), 2).tolist() == [0, 1]
    assert fe.linspace(0, 1e6, 2, dtype=fe.float16).tolist() == [0, float("inf")]


@relaxed
@given(st.integers(0, 5), st.none() | st.integers(0, 5), st.sampled_from(DTYPES))
def test_eye(n: int, m: int | None, dtype: Any) -> None:
    assert bits(fe.eye(n, m, dtype=dtype)) == array_bits(np.eye(n, m).astype(dtype))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: fe.zeros(-1), ShapeError, "full: expected sizes of at least 0, got (-1,)"),
        (lambda: fe.zeros(2.5), OperandError, "zeros: expected integers, got (2.5,)"),
        (lambda: fe.zeros(True), OperandError, "zeros: expected integers, got (True,)"),
        (lambda: fe.ones(2).reshape(True, 2), OperandError, "reshape: expected integers"),
        (lambda: fe.ones("a"), OperandError, "ones: expected integers, got ('a',)"),
        (lambda: fe.zeros((2,), (3,)), OperandError, "zeros: expected integers, got"),
        (lambda: fe.zeros(2**40, 2**40), ShapeError, "full: a tensor of shape"),
        (lambda: fe.zeros([1] * 65), ShapeError, "full: expected at most 64 dimensions, got 65"),
        (lambda: fe.zeros(1, dtype="int7"), DTypeError, "dtype 'int7' is not one of FERRUM's"),
        (lambda: fe.zeros(1, dtype=fe.int8, requires_grad=True), DTypeError, "requires_grad: exp"),
        (lambda: fe.zeros_like([1]), OperandError, "zeros_like: expected a tensor, got"),
        (lambda: fe.full((1,), "a"), OperandError, "full: expected a number, got str"),
        (lambda: fe.full((1,), 1j), OperandError, "full: expected a number, got complex"),
        (lambda: fe.full((1,), fe.ones(2)), ShapeError, "item: expected a tensor of one element"),
        (lambda: fe.full((1,), 2**70), ArgumentError, "full: 1180591620717411303424 does not fit"),
        (lambda: fe.full((1,), 10**400, dtype=fe.float32), ArgumentError, "full: an integer of 13"),
        (lambda: fe.arange(10**400), ArgumentError, "arange: an integer of 1329 bits is too large"),
        (lambda: fe.arange("a"), OperandError, "arange: expected a number, got str"),
        (lambda: fe.arange(0, 5, 0), ArgumentError, "arange: expected a step other than 0"),
        (lambda: fe.arange(3, dtype=fe.bool), DTypeError, "arange: expected an integer or float"),
        (lambda: fe.arange(float("inf")), ArgumentError, "arange: a step of 1 does not lead from"),
        (lambda: fe.linspace(0, 1, -1), ArgumentError, "linspace: expected steps of at least 0"),
        (lambda: fe.linspace(0, 1, 2**62), ShapeError, "linspace: a tensor of shape"),
        (lambda: fe.linspace(0, 1, 2.5), OperandError, "linspace: expected integers, got (2.5,)"),
        (lambda: fe.linspace("a", 1, 2), OperandError, "linspace: expected a number, got str"),
        (lambda: fe.eye(-1), ShapeError, "eye: expected sizes of at least 0, got (-1, -1)"),
        (lambda: fe.eye(2.5), OperandError, "eye: expected integers, got (2.5, 2.5)"),
    ],
)
def test_bad_arguments(call: Callable[[], Any], error: type[FerrumError], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("count", [3, 100_000])
def test_any_number_but_zero_fills_bools_with_true(count):
    for value in (2**80, -(2**80), 2**63, 0.1, float("nan")):
        assert fe.full((count,), value, dtype=fe.bool).all().item(), value
    assert not fe.full((count,), -0.0, dtype=fe.bool).any().item()


@pytest.mark.parametrize("make", [fe.zeros, fe.ones, fe.rand, fe.randn, fe.eye, fe.arange])
def test_a_new_tensor_can_be_a_leaf_that_requires_grad(make: Any) -> None:
    for x in (
        make(3, dtype=fe.float64, requires_grad=True),
        fe.linspace(0, 1, 3, requires_grad=True),
    ):
        assert x.requires_grad
        assert x.is_leaf
    assert not make(3).requires_grad
