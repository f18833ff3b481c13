"""What a tensor is to Python and NumPy: numbers, lists, arrays, containers, pickles, text."""

from __future__ import annotations

import copy
import io
import math
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ferrum as fe
from ferrum import Tensor, plugins
from ferrum.dtypes import DTYPES, FLOATS, is_floating
from ferrum.errors import (
    ArgumentError,
    DeviceError,
    DTypeError,
    FerrumError,
    GradientError,
    OperandError,
    OutOfRangeError,
    ShapeError,
)

QUIET = settings(deadline=None, derandomize=True, max_examples=60, database=None)
SHAPES = st.lists(st.integers(0, 3), max_size=4).map(tuple)


def numbered(shape: tuple[int, ...], dtype: Any) -> Any:
    return (np.arange(int(np.prod(shape))) % 5).reshape(shape).astype(dtype)


# ---- numbers and lists


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_come_out_as_pythons_own(dtype: Any) -> None:
    kind = bool if dtype.kind == "b" else float if is_floating(dtype) else int
    x = fe.tensor([0, 1, 1], dtype=dtype)
    assert x.tolist() == [0, 1, 1]
    assert {type(value) for value in x.tolist()} == {kind}
    assert type(x[1].item()) is type(x[1].tolist()) is kind
    assert fe.tensor([[1]], dtype=dtype).item() == 1


@QUIET
@given(SHAPES, st.sampled_from(DTYPES))
def test_tolist_and_tensor_undo_each_other(shape: tuple[int, ...], dtype: Any) -> None:
    x = fe.tensor(numbered(shape, dtype))
    assert (x.shape, x.dtype, x.ndim, x.numel()) == (shape, dtype, len(shape), np.prod(shape))
    again = fe.tensor(x.tolist(), dtype=dtype).reshape(shape)
    assert again.tolist() == x.tolist() == numbered(shape, dtype).astype(np.float64).tolist()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_what_is_no_number_comes_out_too(dtype: Any) -> None:
    nan, inf, least = fe.tensor([np.nan, -np.inf, -0.0], dtype=dtype).tolist()
    assert np.isnan(nan)
    assert inf == -np.inf
    assert str(least) == "-0.0"


@pytest.mark.parametrize("shape", [(0,), (2,), (1, 2), (0, 1)])
@pytest.mark.parametrize("call", [bool, int, float, Tensor.item, operator.index])
def test_one_element_is_needed(call: Callable[[Tensor], Any], shape: tuple[int, ...]) -> None:
    with pytest.raises(
        FerrumError, match=r"one element|ambiguous; use any\(\) or all\(\)|0-d integer"
    ):
        call(fe.ones(*shape, dtype=fe.int64))


def test_numbers_from_tensors() -> None:
    assert [bool(fe.tensor(value)) for value in (0, 2, 0.0, -0.5, False, True)] == [False, True] * 3
    assert (int(fe.tensor(-2.9)), int(fe.tensor([[7]])), float(fe.tensor(3))) == (-2, 7, 3.0)
    assert type(float(fe.tensor(3))) is float
    assert (round(float(fe.tensor(2.5))), int(fe.tensor(True))) == (2, 1)


def test_indices_from_tensors() -> None:
    i = fe.tensor(2)
    assert ("abc"[i], list(range(i)), [0, 1, 2][i]) == ("c", [0, 1], 2)
    for wrong in (fe.tensor(2.0), fe.tensor([2])):
        with pytest.raises(DTypeError, match="index: expected a 0-d integer tensor"):
            operator.index(wrong)


# ---- containers


def test_length_and_iteration() -> None:
    x = fe.tensor([[1, 2], [3, 4], [5, 6]])
    assert len(x) == 3
    assert [row.tolist() for row in x] == x.tolist()
    a, b, c = x
    assert (a + c - b).tolist() == [3, 4]
    a.fill_(0)
    assert x[0].tolist() == [0, 0]
    assert [list(each) for each in (fe.zeros(0), fe.zeros(0, 3))] == [[], []]
    for call in (len, iter):
        with pytest.raises(OutOfRangeError, match="0-d"):
            call(fe.tensor(1))


def test_iteration_is_recorded() -> None:
    x = fe.ones(3, requires_grad=True)
    sum(part * k for k, part in enumerate(x)).backward()
    assert x.grad.tolist() == [0.0, 1.0, 2.0]


def test_membership() -> None:
    x = fe.tensor([[1.0, 2.0], [3.0, float("nan")]])
    assert 2 in x
    assert 2.5 not in x
    assert float("nan") not in x
    assert fe.tensor(3.0) in x


def test_tensors_are_hashed_by_identity() -> None:
    x, y = fe.ones(2), fe.ones(2)
    assert {x: "x", y: "y"}[x] == "x"
    assert len({x, y, x}) == 2


# ---- NumPy


@QUIET
@given(SHAPES, st.sampled_from(DTYPES), st.booleans())
def test_numpy_shows_the_same_memory(shape: tuple[int, ...], dtype: Any, turned: bool) -> None:
    x = fe.tensor(numbered(shape, dtype))
    x = x.T if turned else x
    array = x.numpy()
    assert (array.shape, array.dtype) == (x.shape, dtype)
    assert array.tolist() == x.tolist()
    if array.size:
        array[...] = 1
        assert x.reshape(-1).tolist() == [1] * x.numel()
        assert np.shares_memory(array, np.asarray(x))
    assert not np.shares_memory(array, np.array(x))


def test_conversion_by_numpy() -> None:
    x = fe.tensor([1.5, 2.5])
    assert np.asarray(x, np.int64).tolist() == [1, 2]
    assert np.array(x, dtype=np.float64).dtype == np.float64
    assert np.asarray(x, copy=False).base is not None or np.shares_memory(np.asarray(x), x.numpy())
    with pytest.raises(ArgumentError, match="float32 cannot become int64 uncopied"):
        np.asarray(x, np.int64, copy=False)
    assert np.add(np.ones(2), x).tolist() == [2.5, 3.5]
    with pytest.raises(
        OperandError, match=r"add: expected a tensor or a number, got numpy\.ndarray"
    ):
        np.ones(2) + x
    assert (np.float64(2) * x).tolist() == (x * np.float64(2)).tolist() == [3.0, 5.0]


def test_numpy_needs_consent_where_a_gradient_would_be_lost() -> None:
    x = fe.ones(2, requires_grad=True)
    for call in (Tensor.numpy, np.asarray):
        with pytest.raises(GradientError, match=r"numpy: self requires grad; use detach\(\)"):
            call(x)
    assert x.numpy(force=True).tolist() == x.detach().numpy().tolist() == [1.0, 1.0]
    assert x.tolist() == [1.0, 1.0]


def test_from_numpy_shares_and_tensor_copies() -> None:
    array = np.zeros(3)
    shared, copied = fe.from_numpy(array), fe.tensor(array)
    array[:] = 5
    assert (shared.tolist(), copied.tolist()) == ([5.0] * 3, [0.0] * 3)
    for foreign in (array.astype(">f8"), np.zeros(2, dtype=complex), np.array(["a"])):
        with pytest.raises(DTypeError, match="not one of FERRUM's"):
            fe.from_numpy(foreign)
    with pytest.raises(OperandError, match="from_numpy: expected an array, got list"):
        fe.from_numpy([1.0])


# ---- pickles and copies


@QUIET
@given(SHAPES, st.sampled_from(DTYPES), st.integers(0, pickle.HIGHEST_PROTOCOL), st.booleans())
def test_pickles(shape: tuple[int, ...], dtype: Any, protocol: int, grad: bool) -> None:
    x = fe.tensor(numbered(shape, dtype)).T
    x = x.detach().requires_grad_(grad and is_floating(dtype))
    again = pickle.loads(pickle.dumps(x, protocol))
    assert (again.shape, again.dtype, again.device) == (x.shape, x.dtype, x.device)
    assert (again.requires_grad, again.is_leaf) == (x.requires_grad, True)
    assert again.tolist() == x.tolist()
    with fe.no_grad():
        again.fill_(0)
    assert x.tolist() == numbered(shape, dtype).T.astype(np.float64).tolist()


def test_pickles_are_as_long_as_the_data_and_know_their_device() -> None:
    x = fe.zeros(1000, 100)[::100, 0]
    assert len(pickle.dumps(x)) < 400
    data = pickle.dumps(fe.ones(2)).replace(b"reference", b"refer-nce")
    with pytest.raises(DeviceError, match="refer-nce"):
        pickle.loads(data)
    assert pickle.loads(pickle.dumps(fe.device("reference"))) is fe.device("reference")


def test_one_tensor_pickled_twice_stays_one() -> None:
    x = fe.ones(2)
    a, b = pickle.loads(pickle.dumps([x, x]))
    assert a is b


@pytest.mark.parametrize("call", [pickle.dumps, copy.deepcopy])
def test_what_has_a_history_is_not_pickled_or_copied_deeply(call: Callable[[Any], Any]) -> None:
    with pytest.raises(GradientError, match=r"only leaves.*detach\(\)"):
        call(fe.ones(2, requires_grad=True) * 2)


def test_deep_copies() -> None:
    x = fe.ones(2, requires_grad=True)
    (x * 3).sum().backward()
    y, again, view = copy.deepcopy([x, x, x.detach()[:1]])
    assert y is again
    assert (y.is_leaf, y.requires_grad, y.tolist(), y.grad.tolist()) == (True, True, [1, 1], [3, 3])
    with fe.no_grad():
        y.fill_(7)
    y.grad.fill_(8)
    assert (x.tolist(), x.grad.tolist(), view.tolist()) == ([1.0, 1.0], [3.0, 3.0], [1.0])


class Named(Tensor):
    pass


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_of_a_subclass_keep_its_attributes(again: Callable[[Any], Any]) -> None:
    x: Any = Named(fe.ones(2).array, fe.device("reference"))
    x.requires_grad_()
    x.names, x.itself = ["a", "b"], x
    y = again(x)
    assert (type(y), y.tolist(), y.requires_grad) == (Named, [1.0, 1.0], True)
    assert y.names == ["a", "b"]
    assert y.names is not x.names
    assert y.itself is y


def test_subclasses_stay_themselves() -> None:
    x = Named(fe.ones(2).array, fe.device("reference"))
    assert type(x + x) is type(x.detach()) is Tensor
    assert repr(x).startswith("Named([1., 1.]")


# ---- text


def test_formats() -> None:
    assert f"{fe.tensor(3.14159):.2f}|{fe.tensor(7):>4}|{fe.tensor(0.5)}" == "3.14|   7|0.5"
    assert f"{fe.ones(2)}" == str(fe.ones(2)) == "tensor([1., 1.])"
    with pytest.raises(TypeError):
        format(fe.ones(2), ".2f")


@QUIET
@given(SHAPES, st.sampled_from(DTYPES), st.booleans())
def test_every_tensor_prints(shape: tuple[int, ...], dtype: Any, grad: bool) -> None:
    x = fe.tensor(numbered(shape, dtype)).requires_grad_(grad and is_floating(dtype))
    text = repr(x)
    assert text.startswith("tensor(")
    assert text.endswith(")")
    assert ("requires_grad=True" in text) == x.requires_grad
    assert max(map(len, text.splitlines())) <= 100


def test_text_says_what_made_it() -> None:
    x = fe.ones(1, requires_grad=True)
    assert repr(x) == "tensor([1.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2.], grad_fn=<core.multiply>)"
    buffer = io.StringIO()
    print(fe.tensor([[1, 2]]), file=buffer)
    assert buffer.getvalue() == "tensor([[1, 2]])\n"


# ---- devices


def test_tensors_on_their_device() -> None:
    x = fe.ones(2)
    assert (str(x.device), repr(x.device)) == ("reference", "device('reference')")
    assert x.to("reference") is x.to(x.device) is x.to(x) is x
    assert x.to("reference", copy=True) is not x
    assert x.to("reference", fe.float64).dtype is fe.float64
    with pytest.raises(DeviceError, match="nowhere"):
        x.to("nowhere")
    for twice in ((fe.float64, fe.float32), (x, fe.float64), ("reference", x)):
        with pytest.raises(fe.FerrumError, match="^to: expected at most one dtype and one device"):
            x.to(*twice)
    assert x.to(None, fe.float64).dtype is fe.float64
    for name in ("half", "float", "long", "f8"):
        with pytest.raises(fe.FerrumError, match=f"^to: .* got '{name}'; for the dtype write fe"):
            x.to(name)
    with pytest.raises(DeviceError, match="nowhere"):
        fe.zeros(2, device="nowhere")
    x.device.synchronize()


def test_no_other_device_takes_the_place_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERRUM_PLUGINS", "none")  # as if ferrum-cpu were not installed
    for name in ("cpu", "cpu:0"):
        monkeypatch.delitem(plugins._devices, name, raising=False)
    monkeypatch.delitem(plugins._loaded, "cpu", raising=False)
    with pytest.raises(DeviceError, match=r"^cpu: no backend .* to\('reference'\) moves to"):
        fe.ones(2).cpu()


def test_casts() -> None:
    x = fe.tensor([1.7, -2.7])
    assert x.int().tolist() == x.long().tolist() == x.short().tolist() == [1, -2]
    names = {"float": fe.float32, "double": fe.float64, "half": fe.float16, "bfloat16": fe.bfloat16}
    names |= {"int": fe.int32, "long": fe.int64, "short": fe.int16, "bool": fe.bool}
    for name, dtype in names.items():
        assert getattr(x, name)().dtype is x.to(dtype).dtype is x.type(dtype).dtype is dtype
    assert x.type_as(fe.tensor(1)).dtype is fe.int64
    assert x.float() is x
    with pytest.raises(ShapeError):
        fe.tensor([1.0, 2.0]).item()


def test_a_view_of_more_elements_than_there_is_room_for_prints() -> None:
    assert repr(fe.ones(1).expand(2**45)) == "tensor([1., 1., 1.,  ..., 1., 1., 1.])"


def test_constants_and_short_names_of_dtypes() -> None:
    assert (fe.pi, fe.e, fe.inf, fe.newaxis) == (math.pi, math.e, math.inf, None)
    assert math.isnan(fe.nan)
    assert (fe.half, fe.float, fe.double) == (fe.float16, fe.float32, fe.float64)
    assert (fe.short, fe.int, fe.long) == (fe.int16, fe.int32, fe.int64)
