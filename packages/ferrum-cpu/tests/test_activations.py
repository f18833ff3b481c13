"""Activations in C: over wide ranges, with any number of threads, and what they decline."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn.functional as F
from ferrum.errors import ArgumentError, FerrumError
from ferrum_cpu.library import ISAS, ffi, lib
from ferrum_cpu.library import isa as chosen
from ferrum_nn import ops

CALLS = {
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 1.7),
    "gelu": F.gelu,
    "gelu of tanh": lambda x: F.gelu(x, "tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "softplus": lambda x: F.softplus(x, 1.5, 12.0),
    "logsigmoid": F.logsigmoid,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.3),
    "prelu": lambda x: F.prelu(x, fe.tensor([0.3], dtype=x.dtype, device=x.device)),
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "hardshrink": F.hardshrink,
    "softshrink": F.softshrink,
    "threshold": lambda x: F.threshold(x, 0.5, 2.0),
}
# How far off a value or gradient may be, relative to it or to 1.
EXACT = {"float32": 5e-7, "float64": 6e-15}


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each variant of the kernels that this processor runs."""
    if lib.isa_choose(request.param.encode()) == ffi.NULL:
        pytest.skip(f"this processor does not run {request.param}")
    yield request.param
    lib.isa_choose(chosen.encode())


def wide(dtype: str) -> np.ndarray:
    """Return numbers of all sizes, thick around 0, and those at the edges."""
    rng = np.random.default_rng(4)
    sizes = np.exp(rng.uniform(-40, 8, 3000)) * rng.choice([-1, 1], 3000)
    near = np.linspace(-12, 12, 5001)
    edges = [0.0, -0.0, math.inf, math.nan, -88.5, 88.5, -103.9, -104.5, -745.0, 710.0, 1e30]
    return np.concatenate([sizes, near, edges]).astype(dtype)


def both(name: str, values: np.ndarray, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the values and the gradients on a device."""
    x = fe.tensor(values, device=device, requires_grad=True)
    y = CALLS[name](x)
    return y.detach().numpy(), fe.grad(y.sum(), [x])[0].numpy()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_over_wide_ranges(isa, name, dtype):
    values = wide(dtype)
    if name == "gelu of tanh":
        values = values[:-1]  # x³ overflows in float32
    with np.errstate(all="ignore"):
        wanted = both(name, values.astype("float64"), "reference")
        for found, want in zip(both(name, values, "cpu"), wanted, strict=True):
            off = np.abs(found - want) / np.maximum(1, np.abs(want))
            same = (found == want) | (np.isnan(found) & np.isnan(want))
            assert np.where(same, 0, off).max() < EXACT[dtype]


@pytest.mark.parametrize("name", CALLS)
def test_native_forward_and_backward(name):
    with fe.strict():
        both(name, np.linspace(-3, 3, 50, dtype="float32"), "cpu")


@pytest.mark.parametrize("name", CALLS)
def test_the_same_bits_for_any_number_of_threads_and_any_layout(name, threads):
    values = np.random.default_rng(2).normal(size=(300, 500)).astype("float32") * 4
    found = set()
    for count in (1, 2, 5):
        threads(count)
        found.add(b"".join(each.tobytes() for each in both(name, values, "cpu")))
    assert len(found) == 1
    turned = CALLS[name](fe.tensor(np.asfortranarray(values).T, device="cpu").mT).numpy()
    assert turned.tobytes() == CALLS[name](fe.tensor(values, device="cpu")).numpy().tobytes()
    row = CALLS[name](fe.tensor(values, device="cpu")[7, 3:50]).numpy()
    assert row.tobytes() == turned[7, 3:50].tobytes()


def test_weights_of_channels_broadcast():
    x = fe.tensor(np.random.default_rng(0).normal(size=(3, 40, 33)), device="cpu")
    weight = fe.tensor(np.linspace(0, 1, 40), device="cpu")
    want = np.where(x.numpy() > 0, x.numpy(), x.numpy() * weight.numpy()[:, None])
    assert (F.prelu(x, weight).numpy() == want).all()
    y = x.clone()
    assert ops.prelu_(y, weight.reshape(40, 1)) is y
    assert (y.numpy() == want).all()


X = fe.ones(3, device="cpu")


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.elu(X, alpha=np.ones(3, "float32"), scale=1.0, input_scale=1.0),
        lambda: ops.elu(X, alpha=1.0, scale=1.0),
        lambda: ops.elu(X, alpha=1.0, scale=1.0, beta=1.0),
        lambda: ops.elu(X, X, alpha=1.0, scale=1.0, input_scale=1.0),
        lambda: ops.elu_backward(X, alpha=1.0, scale=1.0, input_scale=1.0),
        lambda: ops.hardtanh(X, min_val=None, max_val=1.0),
        lambda: ops.leaky_relu_(X, negative_slope=X),
        lambda: ops.gelu(X, approximate=["none"]),
        lambda: ops.gelu_backward(X, fe.ones(2, device="cpu"), approximate="none"),
        lambda: ops.silu(X, X),
        lambda: ops.mish_(fe.ones(3, dtype=fe.int64, device="cpu")),
        lambda: ops.prelu_(fe.ones(1, device="cpu"), X),
        lambda: ops.softplus_backward(X, X.to(fe.float64), beta=1.0, threshold=1.0),
    ],
)
def test_bad_calls_are_the_rules_to_refuse(call):
    with pytest.raises((FerrumError, TypeError)):
        call()


def test_an_approximation_that_is_no_name_is_refused_by_name():
    with pytest.raises(ArgumentError, match="gelu: "):
        F.gelu(X, approximate=[])


def test_numbers_of_numpy_are_numbers():
    assert F.leaky_relu(-X, np.float64(0.5)).tolist() == [-0.5] * 3
