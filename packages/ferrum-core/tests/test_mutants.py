"""Faults that the conformance kit must find: each is planted, and named by the right aspect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import pytest

from ferrum import capture, maximum, philox
from ferrum.backend import Kernel
from ferrum.device import Device
from ferrum.dtypes import float32
from ferrum.errors import ShapeError
from ferrum.op import OPS
from ferrum.reference import KERNELS, Reference
from ferrum.testing import run

pytestmark = pytest.mark.slow  # the faults do not depend on the version of Python


class Changed(Reference):
    """The reference backend with some kernels changed; None takes one away."""

    def __init__(self, changes: Mapping[str, Any]) -> None:
        changed = {**KERNELS, **changes}
        self._kernels = {name: kernel for name, kernel in changed.items() if kernel is not None}

    @property
    def kernels(self) -> Mapping[str, Any]:
        return self._kernels


def device_with(**changes: Any) -> Device:
    """Return a device of a changed backend, which no entry point knows of."""
    return Device("mutant", None, Changed({f"core.{name}": each for name, each in changes.items()}))


@dataclass(frozen=True)
class Mutant:
    """A fault: changed kernels, or a patch of the core.

    `op` is the op it hits, `aspect` what must show it, and `beside` where it shows as well.
    """

    name: str
    op: str
    aspect: str
    kernels: Mapping[str, Any] = field(default_factory=dict)
    patch: Callable[[pytest.MonkeyPatch], None] = lambda monkeypatch: None
    beside: str = ""


# ---- kernels


def in_memory_order(function: Callable[..., Any]) -> Callable[..., Any]:
    """Ignore strides: read the elements of an operand in the order of memory."""

    def as_in_memory(x: Any) -> Any:
        return x.ravel(order="K").reshape(x.shape) if isinstance(x, np.ndarray) else x

    return lambda *xs: function(*map(as_in_memory, xs))


def add_to_all(x: Any, y: Any) -> None:
    """Add in place, to what lies beside a view of x as well."""
    whole = x if x.base is None else x.base
    x += y
    if whole.size > x.size:
        whole += whole.dtype.type(1)


def forgetful_sum(x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Leave out the last entry of each axis: off by one."""
    key = tuple(slice(0, -1) if i in axes and n > 1 else slice(None) for i, n in enumerate(x.shape))
    return KERNELS["core.sum"](x[key], axes=axes, keepdims=keepdims)


def unsteady() -> Callable[..., Any]:
    """Return a sum that is off by one ULP at every second call."""
    calls = count()

    def kernel(x: Any, **attrs: Any) -> Any:
        out = KERNELS["core.sum"](x, **attrs)
        even = next(calls) % 2 == 0 or out.dtype.kind != "f"
        return out if even else np.asarray(np.nextafter(out, out.dtype.type(np.inf)))

    return kernel


def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compute in float32 and cast back: the dtype is right, the digits are not."""
    return lambda x: np.asarray(function(x.astype(np.float32))).astype(x.dtype)


def exp_in_place(x: Any) -> Any:
    x[...] = KERNELS["core.exp"](x)
    return x.copy()


def other_key(*, key: tuple[int, int], **attrs: Any) -> Any:
    """Lose the high word of the counter."""
    return philox.uniform(key=(key[0], key[1] & 0xFFFFFFFF), **attrs)


def wrapped_gather(x: Any, index: Any, *, axis: int) -> Any:
    """Let an index that is out of range come in again at the other end."""
    return KERNELS["core.gather"](x, index % x.shape[axis], axis=axis)


def cached_full() -> Callable[..., Any]:
    """Return a `full` that hands out the same array for the same call."""
    made: dict[str, Any] = {}
    return lambda **attrs: made.setdefault(repr(attrs), KERNELS["core.full"](**attrs))


def nameless_add(x: Any, y: Any) -> Any:
    """Raise the right class of error, with a text that does not say where it comes from."""
    if np.ndim(x) and np.ndim(y) and x.shape[-1] != y.shape[-1] and 1 not in (*x.shape, *y.shape):
        raise ShapeError("shapes do not fit")
    return KERNELS["core.add"](x, y)


def hasty_copy_(x: Any, y: Any) -> None:
    """Write before the shapes are known to fit."""
    x.fill(0)
    if y.ndim > x.ndim or any(
        m not in (1, n) for n, m in zip(x.shape[::-1], y.shape[::-1], strict=False)
    ):
        raise ShapeError("copy_: shapes do not fit")
    KERNELS["core.copy_"](x, y)


# ---- gradients


def rule_of(name: str, rule: Callable[..., Any]) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a patch that gives an op another gradient, which reads what the right one reads."""
    return lambda monkeypatch: monkeypatch.setattr(OPS[f"core.{name}"], "vjp", rule)


def dropped(g: Any, x1: Any, x2: Any, *, needs: Any) -> Any:
    return None if needs[0] is None else g * x2, None


def detached(g: Any, out: Any) -> Any:
    """Give the right gradient of sigmoid, without its history."""
    return g * (out * (1 - out)).detach()


def not_unbroadcast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut gradients to the shape of their input, where they must be summed."""

    def cut(x: Any, *, shape: tuple[int, ...]) -> Any:
        x = x[(0,) * (x.ndim - len(shape))]
        return x[tuple(slice(0, size) for size in shape)].clone()

    monkeypatch.setattr(OPS["core.sum_to"], "compose", cut)
    monkeypatch.setattr(OPS["core.sum_to"], "vjp", None)


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute a fallback on another device than that of its operands."""
    monkeypatch.setattr(OPS["core.relu"], "compose", lambda x: maximum(x.to("reference"), 0))


# ---- capture


def frozen_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what a recording was made with for constants."""
    record = capture.record

    def recorded(function: Any, *tensors: Any) -> Any:
        graph, given = record(function, *tensors), tensors
        monkeypatch.setattr(capture.Graph, "replay", lambda self, *_: function(*given))
        return graph

    monkeypatch.setattr(capture, "record", recorded)


def drifting_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Round otherwise than eager: by one ULP."""
    replay = capture.Graph.replay

    def off(graph: Any, *tensors: Any) -> Any:
        outs = replay(graph, *tensors)
        for out in outs:
            if out.dtype is float32 and out.array.size and not out.view_of:
                out.array = np.nextafter(out.array, np.float32(np.inf))
        return outs

    monkeypatch.setattr(capture.Graph, "replay", off)


# The ten of the first conformance goal.
TEN = [
    Mutant(
        "wrong-stride",
        "add",
        "value",
        {"add": in_memory_order(KERNELS["core.add"])},
        beside="second",  # where second gradients add up
    ),
    Mutant("silent-cast", "exp", "value", {"exp": in_float32(np.exp)}),
    Mutant(
        "dropped-gradient",
        "multiply",
        "gradient",
        patch=rule_of("multiply", dropped),
        beside="second",
    ),
    Mutant(
        "missing-unbroadcast",
        "subtract",
        "gradient",
        patch=not_unbroadcast,
        beside="second capture",  # which raise where there is no first entry to cut out
    ),
    Mutant("off-by-one", "sum", "value", {"sum": forgetful_sum}, beside="second"),
    Mutant("swallowed-nan", "maximum", "value", {"maximum": np.fmax}),
    Mutant("wrong-rng-counter", "uniform", "random", {"uniform": other_key}),
    Mutant("aliased-output", "copy", "alias", {"copy": lambda x: x}),
    Mutant("detached-second-order", "sigmoid", "second", patch=rule_of("sigmoid", detached)),
    Mutant("capture-drift", "tanh", "capture", patch=drifting_replay),
]
MORE = [
    Mutant("frozen-capture", "tanh", "capture", patch=frozen_replay),
    Mutant(
        "wrong-dtype",
        "multiply",
        "spec",
        {"multiply": lambda a, b: np.float64(a) * b},
        beside="value gradient capture",
    ),
    Mutant(
        "wrong-shape",
        "expand",
        "spec",
        {"expand": lambda x, *, shape: x},
        beside="value gradient second capture",
    ),
    Mutant(
        "copied-view", "permute", "alias", {"permute": lambda x, *, axes: x.transpose(axes).copy()}
    ),
    Mutant(
        "copied-reshape",
        "reshape",
        "alias",
        {"reshape": lambda x, *, shape: (x.reshape(shape).copy(), False)},
    ),
    Mutant("cached-creation", "full", "alias", {"full": cached_full()}),
    Mutant("other-device", "relu", "spec", patch=elsewhere, beside="gradient second capture"),
    Mutant(
        "idle-unbroadcast",
        "add",
        "gradient",
        {"sum_to": lambda x, *, shape: x},
        beside="second",
    ),
    Mutant("nameless-error", "add", "errors", {"add": Kernel(nameless_add, checked=True)}),
    Mutant("hasty-write", "copy_", "errors", {"copy_": Kernel(hasty_copy_, checked=True)}),
    Mutant("overwritten-operand", "exp", "inputs", {"exp": exp_in_place}),
    Mutant("written-beside", "add_", "inputs", {"add_": add_to_all}, beside="value"),
    Mutant("unsteady", "sum", "repeat", {"sum": unsteady()}, beside="capture"),
    Mutant("unchecked-index", "gather", "errors", {"gather": Kernel(wrapped_gather, checked=True)}),
    Mutant(
        "foreign-error",
        "subtract",
        "errors",
        {"subtract": Kernel(np.subtract, checked=True)},
        beside="dtypes",
    ),
    Mutant("missing-kernel", "sin", "kernel", {"sin": None}),
    Mutant("old-kernel", "sin", "kernel", {"sin": Kernel(np.sin, revision=0)}),
    Mutant(
        "declined-dtype",
        "sin",
        "dtypes",
        {"sin": Kernel(np.sin, dtypes=frozenset({float32}))},
        beside="value spec inputs alias repeat gradient second capture",
    ),
    Mutant(
        "unlike-fallback",
        "relu",
        "fallback",
        {"relu": lambda x: np.maximum(x, x.dtype.type(0)), "maximum": np.fmax},
    ),
    Mutant(
        "strided-gradient",
        "tanh",
        "gradient",
        {"tanh_backward": in_memory_order(lambda g, out: g * (1 - out * out))},
        beside="second",
    ),
]


@pytest.fixture(scope="module")
def sound() -> set[str]:
    """The ops that are known to pass without a fault; each is asked only once."""
    return set()


@pytest.mark.parametrize("mutant", [*TEN, *MORE], ids=lambda mutant: mutant.name)
def test_the_kit_catches(mutant: Mutant, sound: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"core.{mutant.op}"
    if name not in sound:
        report = run(device_with(), [name])
        assert report.passed, report.summary()
        sound.add(name)
    mutant.patch(monkeypatch)
    with np.errstate(all="ignore"):
        report = run(device_with(**mutant.kernels), [name])
    found = [failure for failure in report.failures if failure["aspect"] == mutant.aspect]
    assert found, report.summary()
    assert all(f"{name}-" in each["error"] and mutant.aspect in each["error"] for each in found)
    caught = {failure["aspect"] for failure in report.failures}
    assert caught == {mutant.aspect, *mutant.beside.split()}, report.summary()
