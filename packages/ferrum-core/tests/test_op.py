"""Ops as they are declared and called: who sees the device, who speaks when a kernel declines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import ferrum as fe
from ferrum import ops
from ferrum.backend import Kernel
from ferrum.capture import record
from ferrum.device import Device
from ferrum.errors import (
    ArgumentError,
    DeviceError,
    DTypeError,
    GradientError,
    OperandError,
    OutOfMemoryError,
    ShapeError,
    UnsupportedError,
)
from ferrum.inplace import writes
from ferrum.op import OPS, creation, op
from ferrum.reference import KERNELS, Reference


class Changed(Reference):
    """The reference backend with some kernels changed."""

    def __init__(self, changes: dict[str, Any]) -> None:
        self._kernels = {**KERNELS, **changes}

    @property
    def kernels(self) -> dict[str, Any]:
        return self._kernels


def device_with(**changes: Any) -> Device:
    """Return the device `other`, with these kernels of ops of the core."""
    return Device("other", None, Changed({f"core.{name}": each for name, each in changes.items()}))


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    """Take the ops that a test declares out of the table again."""
    before = set(OPS)
    yield
    for name in set(OPS) - before:
        del OPS[name]


# ---- the device of an op of no tensors


def test_neither_the_rule_nor_the_kernel_gets_the_device() -> None:
    seen = []

    def full(**attrs: Any) -> Any:
        seen.append(sorted(attrs))
        return KERNELS["core.full"](**attrs)  # type: ignore[operator]

    device = device_with(full=full)
    assert ops.full.attributes == ("shape", "value", "dtype")
    for mode in (fe.no_grad(), fe.placement()):
        with mode:
            out = ops.full(shape=(2,), value=3, dtype=fe.int64, device=device)
            assert (out.tolist(), out.device) == ([3, 3], device)
    assert seen == [["dtype", "shape", "value"]] * 2


@pytest.mark.parametrize("watched", [False, True])
def test_a_fallback_gets_the_device_first(watched: bool) -> None:
    @creation
    def twos(*, shape: tuple[int, ...]) -> fe.Spec:
        if -1 in shape:
            raise ShapeError("twos: expected no -1")
        return fe.Spec(shape, fe.float32)

    @twos.fallback
    def _(device: Device, *, shape: tuple[int, ...]) -> fe.Tensor:
        return ops.full(shape=shape, value=2, dtype=fe.float32, device=device)

    other = device_with()
    with fe.placement() if watched else fe.no_grad():
        out = twos(shape=(2,), device=other)
        assert (out.tolist(), out.device) == ([2.0, 2.0], other)
        with pytest.raises(ShapeError, match="twos: expected no -1"):
            twos(shape=(-1,), device=other)
    assert twos.tier == 2


def test_a_recording_makes_the_tensor_on_its_device_again() -> None:
    other = device_with()
    graph = record(
        lambda x: x + ops.full(shape=(2,), value=1, dtype=x.dtype, device=other),
        *[fe.Tensor(fe.zeros(2).array, other)],
    )
    assert "= core.full(other, shape=(2,), value=1, dtype=float32)" in str(graph)
    replayed = graph.replay(fe.Tensor(fe.ones(2).array, other))
    assert (replayed.tolist(), replayed.device) == ([2.0, 2.0], other)


@pytest.mark.parametrize("device", ["reference", None, 3])
@pytest.mark.parametrize("watched", [False, True])
def test_what_is_no_device(device: Any, watched: bool) -> None:
    text = r"full: expected a device as fe\.device\(\.\.\.\) returns it, got "
    with (
        fe.placement() if watched else fe.no_grad(),
        pytest.raises(OperandError, match=text),
    ):
        ops.full(shape=(2,), value=1, dtype=fe.int64, device=device)


def test_an_op_of_no_tensors_is_declared_as_one() -> None:
    def lonely(*, shape: tuple[int, ...]) -> fe.Spec:
        return fe.Spec(shape, fe.float32)

    with pytest.raises(ArgumentError, match=r"lonely: .* with ferrum\.op\.creation"):
        op(lonely)


# ---- what does not fit into memory


HUGE = 2**45
HERE = fe.device("reference")


@pytest.mark.parametrize(
    ("name", "size", "call"),
    [
        ("full", 4 * HUGE, lambda wide: fe.zeros(HUGE)),
        ("uniform", 4 * HUGE, lambda wide: fe.rand(HUGE)),
        ("normal", 8 * HUGE, lambda wide: fe.randn(HUGE, dtype=fe.float64)),
        ("randint", 8 * HUGE, lambda wide: fe.randint(5, (HUGE,))),
        ("randperm", 8 * HUGE, lambda wide: fe.randperm(HUGE)),
        ("arange", 8 * HUGE, lambda wide: fe.arange(HUGE)),
        ("copy", 4 * HUGE, lambda wide: wide.clone()),
        ("copy", 4 * HUGE, lambda wide: fe.ones(1).repeat(HUGE)),
        ("astype", 8 * HUGE, lambda wide: wide.double()),
        ("concat", 8 * HUGE, lambda wide: fe.cat([wide, wide])),
        ("add", 4 * HUGE, lambda wide: wide + 1),
        ("linspace", 4 * HUGE, lambda wide: fe.linspace(0, 1, HUGE)),
        ("to_device", 4 * HUGE, lambda wide: ops.to_device(wide, source=HERE, target=HERE)),
        ("index", 8 * HUGE, lambda wide: fe.arange(2)[fe.arange(1).expand(HUGE)]),
        ("gather", 4 * HUGE, lambda wide: fe.ones(2).gather(0, fe.arange(1).expand(HUGE))),
    ],
)
def test_what_does_not_fit_says_how_much_it_is_and_where(name: str, size: int, call: Any) -> None:
    with pytest.raises(OutOfMemoryError) as caught:
        call(fe.ones(1).expand(HUGE))
    assert str(caught.value) == (
        f"{name}: no room on 'reference' for what it makes, {size:,} bytes"
    )
    assert isinstance(caught.value.__cause__, MemoryError)


def test_a_kernel_may_say_itself_that_nothing_is_left() -> None:
    def full(**attrs: Any) -> Any:
        raise OutOfMemoryError("full: 3 bytes are left on the chip")

    with pytest.raises(OutOfMemoryError, match="^full: 3 bytes are left on the chip$"):
        ops.full(shape=(1,), value=0, dtype=fe.int64, device=device_with(full=full))


# ---- kernels that decline


def declining(*arrays: Any, **attrs: Any) -> Any:
    return NotImplemented


def test_the_rule_speaks_where_a_checked_kernel_declines_bad_input() -> None:
    other = device_with(
        exp=Kernel(declining, checked=True),
        matmul=Kernel(declining, checked=True),
        full=Kernel(declining, checked=True),
        floor=Kernel(declining, checked=True),
        concat=Kernel(declining, checked=True),
    )
    x = fe.Tensor(fe.ones(2, 3).array, other)
    with pytest.raises(ShapeError, match="matmul: "):
        x @ x
    with pytest.raises(DTypeError, match="floor: expected integer or float tensors, got bool"):
        ops.floor(x > 0)
    with pytest.raises(ShapeError, match="full: expected sizes of at least 0"):
        ops.full(shape=(-1,), value=0, dtype=fe.float32, device=other)
    with pytest.raises(ShapeError, match="concat: "):
        fe.cat([x, x[0]])
    for call in (
        lambda: fe.exp(x),
        lambda: x @ x.mT,
        lambda: ops.full(shape=(1,), value=0, dtype=fe.float32, device=other),
    ):
        with pytest.raises(UnsupportedError, match="device 'other' has none for this call, and"):
            call()


def test_the_rule_speaks_before_strict_does() -> None:
    x = fe.Tensor(fe.ones(2, 3).array, device_with(softmax=Kernel(declining, checked=True)))
    with fe.strict(), pytest.raises(ShapeError, match="softmax: 7 is not an axis"):
        ops.softmax(x, axis=7)


# ---- the short road of optimizers' steps


def stepped(calls: list[Any]) -> tuple[Any, Device]:
    """Return an op that takes gradients off parameters, and a device that does it itself."""

    @writes("params")
    def lowered(params: Any, grads: Any, *, by: float) -> tuple[fe.Spec, ...]:
        for param, grad in zip(params, grads, strict=True):
            if param.shape != grad.shape:
                raise ShapeError(f"lowered: {grad.shape} does not fit {param.shape}")
        return tuple(fe.Spec(each.shape, each.dtype) for each in params)

    @lowered.fallback
    def _(params: Any, grads: Any, *, by: float) -> Any:
        calls.append("fallback")
        for param, grad in zip(params, grads, strict=True):
            ops.copy_(param, param - grad * by)
        return tuple(params)

    def kernel(params: list[Any], grads: list[Any], *, by: float) -> Any:
        if any(param.shape != grad.shape for param, grad in zip(params, grads, strict=True)):
            return NotImplemented
        calls.append("kernel")
        for param, grad in zip(params, grads, strict=True):
            param -= grad * by
        return None

    changes = {lowered.name: Kernel(kernel, checked=True)}
    return lowered, Device("other", None, Changed(changes))


def test_a_step_writes_all_its_parameters_and_counts_their_versions_up() -> None:
    calls: list[Any] = []
    lowered, device = stepped(calls)
    params = [fe.ones(2, device=device), fe.full((3,), 5.0, device=device)]
    grads = [fe.full((2,), 2.0, device=device), fe.ones(3, device=device)]
    w = fe.ones(2, device=device).requires_grad_()
    kept = w * params[0]  # which saves the parameter as it is now
    with fe.no_grad():
        results = lowered(params, grads, by=0.5)
    assert [each.tolist() for each in params] == [[0.0, 0.0], [4.5, 4.5, 4.5]]
    assert all(result is param for result, param in zip(results, params, strict=True))
    assert [each._version for each in (*params, *grads)] == [1, 1, 0, 0]
    assert calls == ["kernel"]
    with pytest.raises(GradientError, match="changed in place|modified"):
        kept.sum().backward()


def test_what_is_no_plain_step_goes_the_long_way() -> None:
    calls: list[Any] = []
    lowered, device = stepped(calls)
    x, g = fe.ones(2, 2, device=device), fe.ones(2, device=device)
    with fe.no_grad():
        lowered([x[0]], [g], by=1.0)  # a view: its base's version counts
        assert (x.tolist(), x._version) == ([[0.0, 0.0], [1.0, 1.0]], 1)
        with fe.placement() as placed:
            lowered([g], [g], by=0.5)
        assert placed and g.tolist() == [0.5, 0.5]
        with pytest.raises(ShapeError, match="lowered: "):
            lowered([g], [x], by=1.0)
        with pytest.raises(DeviceError, match="one device"):
            lowered([g], [fe.ones(2, device="reference")], by=1.0)
        for odd in ([g, 5.0], [None], [], g, 5.0):
            with pytest.raises((OperandError, ShapeError)):
                lowered(odd, [g] if odd != [] else [], by=1.0)
    assert g.tolist() == [0.5, 0.5]
    assert g._version == 1
