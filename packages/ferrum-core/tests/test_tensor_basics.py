"""What a tensor is to Python and NumPy: numbers, sequences, copies, pickles, dtypes, devices."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ferrum as fe
from ferrum import Tensor, plugins
from ferrum.device import Device
from ferrum.dtypes import DTYPES, INTEGERS
from ferrum.errors import (
    ArgumentError,
    DeviceError,
    DTypeError,
    GradientError,
    OperandError,
    OutOfRangeError,
    ShapeError,
)
from ferrum.reference import Reference

relaxed = settings(derandomize=True, deadline=None, max_examples=100)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Any dtype, any bits (NaNs and infinities among them), any small shape, any order of axes."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    raw = draw(st.binary(min_size=8, max_size=24))
    data = np.resize(np.frombuffer(raw, np.uint8), int(np.prod(shape)) * dtype.itemsize)
    data = (data % 2 if dtype is fe.bool else data).astype(np.uint8)
    x = data.view(dtype).reshape(shape)
    return x.T if draw(st.booleans()) else x


def bits(x: Tensor) -> Any:
    assert any(x.dtype is dtype for dtype in DTYPES)
    return x.dtype.name, x.shape, x.detach().numpy().tobytes()


class Parameter(Tensor):
    """A tensor whose constructor takes something else, as those of layers do."""

    __slots__ = ("label",)

    def __init__(self, data: Tensor) -> None:
        super().__init__(data.array, data.device)
        self.requires_grad_()


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Device:
    """A second device of NumPy arrays."""
    device = Device("second", None, Reference())
    monkeypatch.setitem(plugins._devices, "second", device)
    return device


# ---- as numbers, sequences and arrays


@relaxed
@given(arrays())
def test_values_come_out_as_numpy_has_them(x: np.ndarray[Any, Any]) -> None:
    t = fe.from_numpy(x)
    assert repr(t.tolist()) == repr(x.tolist())
    assert t.numpy() is t.array
    assert np.asarray(t).dtype == x.dtype
    assert x.size == 0 or np.shares_memory(np.asarray(t), x)
    assert not np.shares_memory(np.array(t), x)
    if x.size == 1:
        assert repr(t.item()) == repr(x.item())
        assert type(t.item()) is {"b": bool, "i": int, "u": int}.get(x.dtype.kind, float)
        assert bool(t) is bool(x.item())
        assert repr(float(t)) == repr(float(x.item()))
    else:
        for call in (Tensor.item, bool, int, float):
            with pytest.raises(ShapeError, match=rf"^{call.__name__}: .*shape \("):
                call(t)
    if x.ndim:
        assert len(t) == len(x)
        assert [bits(each) for each in t] == [bits(fe.tensor(each)) for each in x]
        assert [bits(each) for each in reversed(t)] == [bits(fe.tensor(each)) for each in x[::-1]]


def test_numpy_shares_memory() -> None:
    t = fe.zeros(2, 2)
    t.numpy()[0, 0] = 5
    t.t().numpy()[1, 0] = 6
    assert t.tolist() == [[5, 6], [0, 0]]
    assert t.t().numpy().strides == (4, 8)


def test_numpy_refuses_to_lose_the_gradient() -> None:
    leaf = fe.ones(2, requires_grad=True)
    for call in (Tensor.numpy, np.asarray, np.sin):
        with pytest.raises(GradientError) as caught:
            call(leaf)
        assert str(caught.value) == "numpy: self requires grad; use detach().numpy()"
    assert leaf.numpy(force=True).tolist() == [1, 1]


def test_numpy_functions_take_tensors() -> None:
    t = fe.tensor([[1.0, 4.0]])
    assert np.sqrt(t).tolist() == [[1, 2]]
    assert np.add(t, 1).dtype == np.float32
    assert np.concatenate([t, np.ones((1, 2), np.float32)]).tolist() == [[1, 4], [1, 1]]
    assert np.array(t, dtype=np.int8).tolist() == [[1, 4]]
    assert np.asarray(t, copy=False) is t.numpy()
    with pytest.raises(ArgumentError, match=r"^__array__: float32 cannot become int64 uncopied"):
        np.asarray(t, dtype=np.int64, copy=False)


def test_numpy_scalars_are_numbers_and_arrays_are_not() -> None:
    t = fe.tensor([1.0, 2.0])
    for number in (np.float32(2), np.float64(2), np.int8(2)):
        for out in (t * number, number * t):
            assert isinstance(out, Tensor)
            assert (out.tolist(), out.dtype) == ([2, 4], fe.float32)
    for call in (lambda: t + np.ones(2), lambda: np.ones(2) + t, lambda: t == np.ones(2)):
        with pytest.raises(OperandError, match=r"got numpy.ndarray; make a tensor with fe.tensor"):
            call()


def test_integers_index() -> None:
    for dtype in INTEGERS:
        two = fe.tensor(2, dtype=dtype)
        assert "abc"[two] == "c"
        assert list(range(two)) == [0, 1]
    assert operator.index(fe.tensor(True)) == 1


@pytest.mark.parametrize("wrong", [fe.tensor(1.0), fe.tensor([1]), fe.tensor([True])])
def test_other_tensors_do_not_index(wrong: Tensor) -> None:
    with pytest.raises(DTypeError, match=r"^index: expected a 0-d integer tensor, got"):
        operator.index(wrong)


def test_tensors_of_one_element_are_numbers() -> None:
    assert int(fe.tensor([-2.7])) == -2
    assert float(fe.tensor([[2]])) == 2.0
    assert complex(fe.tensor(1.5)) == 1.5 + 0j
    assert int(fe.tensor(2**62 + 1)) == 2**62 + 1
    with pytest.raises(OverflowError):
        int(fe.tensor(float("inf")))


def test_scalars_are_no_sequences() -> None:
    for call in (len, iter, list):
        with pytest.raises(OutOfRangeError, match="a 0-d tensor has no"):
            call(fe.tensor(1.0))


def test_contains_looks_for_numbers() -> None:
    t = fe.tensor([[1.0, 2.0], [3.0, float("nan")]])
    assert 2 in t
    assert fe.tensor(3) in t
    assert 9 not in t
    assert float("nan") not in t
    assert fe.tensor([1.0, 2.0]) in t  # any element that equals, broadcast, as in PyTorch
    for wrong in (None, "a"):
        with pytest.raises(OperandError, match=r"^equal: expected a tensor or a number, got"):
            wrong in t  # noqa: B015


def test_equality_is_by_element_and_hash_by_identity() -> None:
    t, same = fe.tensor([1.0, 2.0]), fe.tensor([1.0, 2.0])
    assert (t == fe.tensor([1, 5])).tolist() == [True, False]
    assert (t != 2).tolist() == [True, False]
    assert len({t, same, t}) == 2
    assert hash(t) != hash(same)
    assert hash(t) == hash(t.add_(1))


@pytest.mark.parametrize("other", [None, "a", ..., {}], ids=repr)
def test_what_is_no_data_is_unequal(other: Any) -> None:
    t = fe.tensor([1.0])
    assert (t == other) is False
    assert (other == t) is False
    assert (t != other) is True
    with pytest.raises(OperandError, match=r"^equal: expected a tensor or a number, got"):
        t.eq(other)


def test_lists_are_compared_only_as_tensors() -> None:
    with pytest.raises(OperandError, match=r"^equal: expected a tensor or a number, got list"):
        fe.tensor([1.0]) == [1.0]  # noqa: B015


# ---- as text


@relaxed
@given(arrays())
def test_everything_prints(x: np.ndarray[Any, Any]) -> None:
    t = fe.from_numpy(x)
    text = repr(t)
    assert text == str(t)
    assert f"{t}" == (text if t.ndim else format(x.item()))
    assert text.startswith("tensor(")
    assert text.endswith(")")
    assert (f"dtype={x.dtype.name}" in text) or t.dtype in (fe.float32, fe.int64, fe.bool)
    if x.size == 1 and x.ndim == 0:
        assert f"{t:>12}" == format(x.item(), ">12")


def test_how_tensors_print(second: Device) -> None:
    leaf = fe.tensor([1.0, 2.0], requires_grad=True)
    assert repr(leaf) == "tensor([1., 2.], requires_grad=True)"
    assert repr(leaf * 2) == "tensor([2., 4.], grad_fn=<core.multiply>)"
    assert repr(fe.tensor([[1, 2], [3, 4]])) == "tensor([[1, 2],\n        [3, 4]])"
    assert repr(fe.tensor([0.5, float("nan")])) == "tensor([0.5000,    nan])"
    assert repr(fe.tensor([1e-10, 1.0])) == "tensor([1.0000e-10, 1.0000e+00])"
    assert repr(fe.zeros(2, 0)) == "tensor([], size=(2, 0))"
    assert repr(fe.tensor([1, 2], dtype=fe.int8)) == "tensor([1, 2], dtype=int8)"
    assert repr(Parameter(fe.ones(1))) == "Parameter([1.], requires_grad=True)"
    assert repr(fe.ones(1, device=second)) == "tensor([1.], device='second')"
    assert "..." in repr(fe.zeros(2000))
    assert f"{fe.tensor(1.5):.3f}" == "1.500"
    with pytest.raises(TypeError, match=r"Tensor.__format__"):  # only numbers take a format
        f"{fe.ones(2):.3f}"


# ---- copies and pickles


COPIES: dict[str, Callable[[Any], Any]] = {
    f"pickle {protocol}": lambda x, protocol=protocol: pickle.loads(pickle.dumps(x, protocol))
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
} | {"copy": copy.copy, "deepcopy": copy.deepcopy}
each_copy = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)


@each_copy
@relaxed
@given(x=arrays(), wants=st.booleans())
def test_copies_have_the_bits_and_their_own_memory(
    copied: Callable[[Any], Any], x: np.ndarray[Any, Any], wants: bool
) -> None:
    wants = wants and fe.is_floating_point(fe.from_numpy(x))
    t = fe.from_numpy(x).requires_grad_(wants)
    other = copied(t)
    assert type(other) is Tensor
    assert bits(other) == bits(t)
    assert other.device is t.device
    assert (other.requires_grad, other.is_leaf) == (wants, True)
    assert not np.shares_memory(other.numpy(force=True), x)
    with fe.no_grad():
        other.zero_()  # is writable


@each_copy
def test_parameters_stay_parameters(copied: Callable[[Any], Any]) -> None:
    other = copied(Parameter(fe.ones(2)))
    assert type(other) is Parameter
    assert other.requires_grad
    (other * 3).sum().backward()
    assert other.grad.tolist() == [3, 3]


@each_copy
def test_what_has_a_history_is_not_copied(copied: Callable[[Any], Any]) -> None:
    product = fe.ones(2, requires_grad=True) * 2
    with pytest.raises(GradientError, match=r"(pickle|deepcopy): only leaves can be .*detach\(\)"):
        copied(product)
    assert copied(product.detach()).tolist() == [2, 2]


def test_a_deep_copy_takes_the_gradient_along_and_shares_what_was_shared() -> None:
    leaf = fe.ones(2, requires_grad=True)
    (leaf * 3).sum().backward()
    first, again = copy.deepcopy([leaf, leaf])
    assert first is again
    assert first.grad.tolist() == [3, 3]
    first.grad.zero_()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [3, 3]


def test_pickles_remember_the_device(second: Device) -> None:
    t = fe.tensor([1.0], device=second)
    assert pickle.loads(pickle.dumps(t)).device is second
    assert pickle.loads(pickle.dumps(second)) is second
    assert copy.deepcopy(t).device is second


# ---- other dtypes and devices


@relaxed
@given(arrays(), st.sampled_from(DTYPES))
def test_to_casts_as_numpy_does(x: np.ndarray[Any, Any], dtype: Any) -> None:
    t = fe.from_numpy(x)
    with np.errstate(all="ignore"):
        expected = np.ascontiguousarray(x.astype(dtype)).tobytes()
    like = fe.zeros(1, dtype=dtype)
    for out in (
        t.to(dtype),
        t.to(dtype.name),
        t.to(dtype.type),
        t.to(dtype=dtype),
        t.to("reference", dtype),
        t.to(fe.device("reference"), dtype=dtype),
        t.to(like),
        t.type(dtype),
        t.type_as(like),
    ):
        assert out.numpy().tobytes() == expected
        assert out.dtype is dtype
        assert (out is t) == (t.dtype is dtype)
    copied = t.to(dtype, copy=True)
    assert copied is not t
    assert copied.numpy().tobytes() == expected
    assert not np.shares_memory(copied.numpy(), x)


def test_every_dtype_has_its_method() -> None:
    t = fe.tensor([2.5])
    named = {
        "float": fe.float32,
        "double": fe.float64,
        "half": fe.float16,
        "bfloat16": fe.bfloat16,
        "int": fe.int32,
        "long": fe.int64,
        "short": fe.int16,
        "bool": fe.bool,
    }
    assert {name: getattr(t, name)().dtype for name in named} == named
    assert t.float() is t


def test_gradients_go_through_casts() -> None:
    leaf = fe.tensor([1.5], dtype=fe.float64, requires_grad=True)
    leaf.half().to(fe.float32).sum().backward()
    assert leaf.grad is not None
    assert (leaf.grad.tolist(), leaf.grad.dtype) == ([1], fe.float64)
    assert not leaf.to(fe.int32).requires_grad


def test_to_another_device_and_back(second: Device) -> None:
    t = fe.tensor([[1.0, 2.0], [3.0, 4.0]])
    for out in (t.to("second"), t.to(second), t.to(device="second"), t.to(t.to("second"))):
        assert out.device is second
        assert out.tolist() == t.tolist()
        out.zero_()
    assert t.tolist() == [[1, 2], [3, 4]]  # which shares no memory with what went away
    assert t.to(fe.zeros(1, dtype=fe.int8, device=second)).dtype is fe.int8
    assert t.t().to(second, fe.float64).to("reference").tolist() == [[1, 3], [2, 4]]
    assert fe.tensor(t, device=second).device is second
    assert fe.tensor([t.to(second), [[0, 0], [0, 0]]]).device is t.device
    assert t.copy_(fe.zeros(2, device=second)).tolist() == [[0, 0], [0, 0]]


def test_gradients_travel_back(second: Device) -> None:
    leaf = fe.tensor([1.0, 2.0], requires_grad=True)
    there = leaf.to(second)
    loss = (there * there * fe.tensor([3.0, 4.0], device=second)).sum()
    (first,) = fe.grad(loss, [leaf], create_graph=True)
    assert (first.tolist(), first.device) == ([6, 16], leaf.device)
    (twice,) = fe.grad(first.sum(), [leaf], retain_graph=True)
    assert (twice.tolist(), twice.device) == ([6, 8], leaf.device)
    loss.to("reference").backward()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [6, 16]


def test_devices_do_not_mix(second: Device) -> None:
    here, there = fe.ones(2), fe.ones(2, device=second)
    for call in (lambda: here + there, lambda: there @ here, lambda: fe.cat([here, there])):
        with pytest.raises(DeviceError, match=r"expected all tensors on one device, got '.*\.to\("):
            call()


def test_devices_that_are_missing_are_named() -> None:
    t = fe.ones(1)
    for call in (lambda: t.to("warp"), lambda: fe.zeros(1, device="warp")):
        with pytest.raises(DeviceError, match=r"^no backend for device 'warp'; installed: .*pip"):
            call()
    assert t.to("reference:0") is t
    with pytest.raises(DeviceError, match=r"'warp:1'|device 'warp'"):
        t.to("warp:1")
    for wrong in (5, [fe.int8], "reference:x"):
        with pytest.raises((DTypeError, DeviceError)):
            t.to(wrong)


def test_cpu_and_cuda_are_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cpu", "cuda", "cuda:1"):
        monkeypatch.setitem(plugins._devices, name, Device(name, None, Reference()))
    t = fe.ones(1)
    assert [str(x.device) for x in (t.cpu(), t.cuda(), t.cuda(1))] == ["cpu", "cuda", "cuda:1"]


def test_dlpack_lends_only_host_memory(second: Device) -> None:
    t = fe.ones(2)
    assert t.__dlpack_device__() == (1, 0)
    assert np.shares_memory(np.from_dlpack(t), t.numpy())
    with pytest.raises(DeviceError, match=r"^__dlpack_device__: 'second' is not in host memory"):
        t.to(second).__dlpack_device__()
    with pytest.raises(GradientError, match=r"^__dlpack__: self requires grad; use detach\(\)"):
        fe.ones(1, requires_grad=True).__dlpack__()


# ---- adopt


def test_adopt_takes_another_memory_and_stays_the_same_object(second: Device) -> None:
    leaf = fe.tensor([1.0, 2.0], requires_grad=True)
    seen: list[Any] = []
    leaf.register_hook(lambda g: seen.append(g.dtype))
    leaf.register_post_accumulate_grad_hook(lambda x: seen.append(x is leaf))
    (leaf * 2).sum().backward()
    assert leaf.adopt(leaf.detach().to(second, fe.float64)) is leaf
    assert (leaf.dtype, leaf.device, leaf.is_leaf) == (fe.float64, second, True)
    assert leaf.grad is not None
    assert (leaf.grad.dtype, leaf.grad.device) == (fe.float64, second)
    (leaf * 3).sum().backward()
    assert leaf.grad.tolist() == [5, 5]
    assert seen == [fe.float32, True, fe.float64, True]


def test_adopted_memory_is_shared() -> None:
    source = fe.zeros(2)
    plain = fe.ones(3).adopt(source)
    source[0] = 5.0
    assert plain.tolist() == [5, 0]
    assert plain._version == source._version == 1
    assert not plain.requires_grad


def test_adopt_refuses_what_has_a_history() -> None:
    leaf = fe.ones(2, requires_grad=True)
    for wrong in (leaf * 2, fe.ones(2, 2)[0]):
        with pytest.raises(GradientError, match=r"^adopt: expected a leaf that is no view"):
            wrong.adopt(fe.zeros(2))
    with pytest.raises(DTypeError, match=r"^requires_grad: expected a floating-point tensor"):
        leaf.adopt(fe.zeros(2, dtype=fe.int8))
