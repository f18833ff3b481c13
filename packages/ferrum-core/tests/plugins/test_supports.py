"""`device.supports`: what a device can do, without doing it."""

import numpy as np
import pytest

import ferrum as fe
from ferrum.backend import ABI, Backend, Kernel
from ferrum.device import Device
from ferrum.errors import ArgumentError, DTypeError
from ferrum.op import OPS, Op
from ferrum.supports import Support, named

HERE = fe.device("reference")


class Forbidden(Backend):
    """A backend that may be asked, and must not be used."""

    abi = ABI

    def __init__(self, kernels, dtypes=frozenset({fe.float32, fe.float64, fe.int64})):
        self._kernels = kernels
        self.dtypes = dtypes

    @property
    def kernels(self):
        return self._kernels

    def from_numpy(self, value):
        raise AssertionError

    to_numpy = from_numpy


def never(*arrays, **attrs):
    raise AssertionError("a kernel was run")


def device_with(*names, **options):
    return Device("mine", None, Forbidden({f"core.{name}": never for name in names}, **options))


def test_native_decomposed_and_not_at_all():
    device = device_with("exp", "maximum", "minimum")
    assert device.supports("exp").native
    assert device.supports("clip").decomposed
    assert not device.supports("softmax")
    assert "has no kernel" in device.supports("softmax").reason


def test_names_with_and_without_a_distribution():
    assert HERE.supports("core.matmul").native
    assert HERE.supports("matmul").native
    assert HERE.supports(OPS["core.matmul"]).native
    answer = HERE.supports("conv9d")
    assert not answer
    assert answer.reason == "no op is called 'conv9d'"
    assert str(answer) == "no: no op is called 'conv9d'"


def test_a_name_that_two_libraries_have(monkeypatch):
    op = OPS["core.clip"]
    monkeypatch.setitem(OPS, "a.clip", op)
    assert HERE.supports("clip")
    monkeypatch.delitem(OPS, "core.clip")
    monkeypatch.setitem(OPS, "b.clip", op)
    monkeypatch.setattr(op, "name", "some.clip")
    with pytest.raises(ArgumentError, match="'clip' may be any of"):
        named("clip")


def test_dtypes_are_those_of_the_backend_of_the_rule_and_of_the_kernel():
    assert HERE.supports("add", dtype=fe.bfloat16)
    assert HERE.supports("add", dtype="float64")
    assert not HERE.supports("bitwise_and", dtype=fe.float32)
    assert "core.softmax" not in HERE.supports("softmax", dtype=fe.int64).reason
    assert not HERE.supports("softmax", dtype=fe.int64)
    device = device_with("exp")
    assert device.supports("exp", dtype=fe.float16).reason == "device 'mine' has no float16"
    with pytest.raises(DTypeError):
        HERE.supports("add", dtype="float8")


def test_an_operand_of_a_fixed_dtype_that_the_device_lacks():
    device = device_with("gather", dtypes=frozenset({fe.float32}))
    assert device.supports("gather").reason == "device 'mine' has no int64"


def test_a_kernel_for_some_dtypes_alone():
    only = frozenset({fe.float32})
    backend = Forbidden(
        {"core.exp": Kernel(never, dtypes=only), "core.clip": Kernel(never, dtypes=only)}
    )
    device = Device("mine", None, backend)
    assert device.supports("exp", dtype=fe.float32).native
    assert not device.supports("exp", dtype=fe.float64)
    assert device.supports("exp").native
    assert device.supports("clip").native


def test_integers_are_promoted_if_the_device_can_cast():
    assert not device_with("exp").supports("exp", dtype=fe.int64)
    assert device_with("exp", "astype").supports("exp", dtype=fe.int64).native


def test_a_kernel_of_another_revision_does_not_count():
    backend = Forbidden({"core.exp": Kernel(never, revision=9)})
    device = Device("mine", None, backend)
    assert not device.supports("exp")
    assert "revision 9" in device.kernels.ignored["core.exp"]


def test_order_is_how_often_it_can_be_differentiated():
    for order in range(4):
        assert HERE.supports("matmul", order=order).native
    assert HERE.supports("softmax", order=2).decomposed
    device = device_with("exp", "full")
    assert device.supports("exp")
    assert not device.supports("exp", order=1)
    assert device_with("exp", "full", "multiply").supports("exp", order=1).native


def test_what_has_no_derivative():
    assert HERE.supports("equal")
    assert HERE.supports("equal", order=1).reason == "core.equal has no derivative"
    assert not HERE.supports("full", order=1)
    assert not HERE.supports("add", dtype=fe.int64, order=1)


def test_a_constant_derivative_can_be_taken_again():
    assert HERE.supports("copy", order=5).native


def test_an_op_that_is_recorded_step_by_step_is_decomposed_then(monkeypatch):
    op = OPS["core.clip"]
    kernels = dict.fromkeys((*HERE.backend.kernels, "core.clip"), never)
    device = Device("mine", None, Forbidden(kernels, HERE.backend.dtypes))
    assert device.supports("clip").native
    assert device.supports("clip", order=1).native
    monkeypatch.setattr(op, "vjp", None)
    assert device.supports("clip", order=1).decomposed


def test_in_place_ops_too():
    assert HERE.supports("add_", order=2).decomposed
    assert HERE.supports("copy_", order=1).native


@pytest.mark.parametrize("order", [-1, 1.0, True, "2"])
def test_orders_are_counts(order):
    with pytest.raises(ArgumentError, match="expected an order of 0 or more"):
        HERE.supports("add", order=order)


@pytest.mark.parametrize("name", sorted(name for name in OPS if name.startswith("core.")))
def test_reference_runs_every_op_and_every_derivative(name):
    op = OPS[name]
    assert HERE.supports(op), str(HERE.supports(op))
    assert HERE.supports(op).native == (name in HERE.backend.kernels)
    if op.differentiable and op.inputs:
        assert HERE.supports(op, order=2), str(HERE.supports(op, order=2))


def test_creation_takes_the_dtype_it_is_asked_for():
    assert HERE.supports("full", dtype=fe.int8).native
    assert not HERE.supports("uniform", dtype=fe.int8)


def test_it_is_asked_in_a_mode_of_its_own():
    x = fe.tensor([1.0], requires_grad=True)
    with fe.no_grad(), fe.strict():
        assert HERE.supports("softmax", order=1).decomposed
    with fe.placement() as seen:
        assert HERE.supports("softmax", order=1)
    assert not seen.native
    assert (x * 2).requires_grad


def test_an_op_without_samples_cannot_be_tried():
    class Silent(Op):
        pass

    def nosamples(x):
        return fe.Spec(x.shape, x.dtype)

    op = Silent(nosamples)
    try:
        assert HERE.supports(op).reason == f"{op.name} has no samples to try it with"
    finally:
        del OPS[op.name]


def test_supports_say_yes_and_no():
    assert Support("native") and not Support(reason="no")
    assert (Support("native").native, Support("native").decomposed) == (True, False)
    assert str(Support("decomposed")) == "decomposed"


# ---- what a device refuses


def test_arrays_of_a_dtype_that_the_backend_lacks_are_refused():
    device = device_with("exp")
    with pytest.raises(fe.errors.UnsupportedError, match="device 'mine' has no float16"):
        device.from_numpy(np.zeros(3, np.float16))
    with pytest.raises(fe.errors.UnsupportedError, match="device 'mine' has no float16"):
        fe.tensor([1.0], dtype=fe.float16, device=device)
