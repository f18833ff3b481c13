"""`placement`, `strict` and `detect_anomaly`: watching what runs where, and what goes wrong."""

from types import MappingProxyType

import pytest

import ferrum as fe
from ferrum.backend import Backend, Kernel
from ferrum.device import Device
from ferrum.errors import FerrumError, GradientError, StrictError, UnsupportedError
from ferrum.mode import Observer, current, observing
from ferrum.reference import KERNELS, Reference


class Other(Reference):
    """The reference backend with some kernels changed: None takes one away."""

    def __init__(self, **changed):
        self._kernels = {**KERNELS}
        for name, kernel in changed.items():
            self._kernels.pop(f"core.{name}", None)
            if kernel is not None:
                self._kernels[f"core.{name}"] = kernel

    @property
    def kernels(self):
        return self._kernels


def on(values, **changed):
    """Return a tensor on a device with these kernels."""
    return fe.tensor(values, device=Device("other", None, Other(**changed)))


# ---- placement


def test_placement_counts_native_and_decomposed():
    x = fe.tensor([1.0, 2.0])
    with fe.placement() as seen:
        fe.exp(x)
        x + x
        x + 1
        fe.softmax(x, 0)
    assert seen.native["core.add"] == 2
    assert seen.native["core.exp"] == 2  # softmax is composed of one
    assert seen.decomposed == {"core.softmax": 1}
    x + x
    assert seen.native["core.add"] == 2


def test_placement_prints_as_a_table():
    with fe.placement() as seen:
        fe.softmax(fe.tensor([1.0]), 0)
    lines = str(seen).splitlines()
    assert lines[0].split() == ["op", "native", "decomposed"]
    assert ["core.softmax", "0", "1"] in [line.split() for line in lines]
    assert ["core.exp", "1", "0"] in [line.split() for line in lines]
    assert lines[1:] == sorted(lines[1:])


def test_placement_counts_gradients_too():
    x = fe.tensor([1.0, 2.0], requires_grad=True)
    y = fe.exp(x).sum()
    with fe.placement() as seen:
        y.backward()
    assert seen.native["core.multiply"] == 1
    assert "core.exp" not in seen.native


def test_a_kernel_that_declines_a_call_counts_as_decomposed_alone():
    x = on([1.0, 5.0], clip=lambda x, *, low, high: NotImplemented)
    with fe.placement() as seen:
        assert x.clamp(0, 2).tolist() == [1.0, 2.0]
    assert seen.native["core.clip"] == 0
    assert seen.decomposed["core.clip"] == 1


def test_a_kernel_of_another_revision_counts_as_decomposed():
    x = on([1.0, 5.0], clip=Kernel(lambda x, **_: x, revision=2))
    with fe.placement() as seen:
        assert x.clamp(0, 2).tolist() == [1.0, 2.0]
    assert seen.decomposed["core.clip"] == 1
    assert x.device.kernels.ignored == {
        "core.clip": "kernel of revision 2, the op is at revision 1"
    }


def test_a_kernel_that_raises_has_not_run():
    with fe.placement() as seen, pytest.raises(FerrumError):
        fe.tensor([1.0]) @ fe.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert "core.matmul" not in seen.native


def test_placements_nest():
    x = fe.tensor([1.0])
    with fe.placement() as outer:
        x + x
        with fe.placement() as inner:
            x + x
    assert (outer.native["core.add"], inner.native["core.add"]) == (2, 1)


def test_placement_leaves_no_trace_after_an_error():
    before = current()
    with pytest.raises(ZeroDivisionError), fe.placement():
        raise ZeroDivisionError
    assert current() is before


# ---- strict


def test_strict_lets_native_ops_run():
    x = fe.tensor([1.0, 2.0])
    with fe.strict():
        assert (x + x).tolist() == [2.0, 4.0]


def test_strict_refuses_what_is_decomposed_before_it_runs():
    x = fe.tensor([1.0, 2.0])
    refused = pytest.raises(StrictError, match=r"core\.softmax: device 'reference' has no kernel")
    with fe.placement() as seen, fe.strict(), refused:
        fe.softmax(x, 0)
    assert not seen.native


def test_strict_refuses_what_a_kernel_declines():
    x = on([1.0, 5.0], clip=lambda x, *, low, high: NotImplemented)
    with fe.strict(), pytest.raises(StrictError, match=r"core\.clip: the kernel of device 'other'"):
        x.clamp(0, 2)


def test_strict_errors_are_of_their_own_class():
    assert issubclass(StrictError, UnsupportedError)


def test_a_kernel_for_some_dtypes_declines_the_others():
    only = Kernel(lambda x, *, low, high: x, dtypes=frozenset({fe.float64}))
    with fe.strict():
        assert on([1.0, 5.0], clip=only).double().clamp(0, 2).tolist() == [1.0, 5.0]
        with pytest.raises(StrictError):
            on([1.0, 5.0], clip=only).clamp(0, 2)


def test_an_op_without_kernel_or_fallback_is_unsupported():
    x = on([1.0], exp=None)
    with pytest.raises(UnsupportedError) as caught:
        fe.exp(x)
    assert str(caught.value) == (
        "exp: device 'other' has no kernel for it, and it has no fallback; see: ferrum conformance "
        "other"
    )


# ---- anomalies


def test_an_anomaly_names_the_op_and_the_line():
    x = fe.tensor([0.0, 1.0], requires_grad=True)
    with fe.detect_anomaly():
        y = fe.sqrt(x) * 0  # this line
        with pytest.raises(GradientError) as caught:
            y.sum().backward()
    assert "core.sqrt: its backward returned NaN" in str(caught.value)
    (note,) = caught.value.__notes__
    assert "in the backward of core.sqrt, recorded at:" in note
    assert note.rstrip().endswith("y = fe.sqrt(x) * 0  # this line")


def test_an_error_in_backward_is_told_where_it_was_recorded():
    class Broken(fe.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            raise RuntimeError("broken")

    x = fe.tensor([1.0], requires_grad=True)
    with fe.detect_anomaly():
        y = Broken.apply(x)  # this line
    with pytest.raises(RuntimeError, match="broken") as caught:
        y.backward()
    assert "y = Broken.apply(x)  # this line" in caught.value.__notes__[0]


def test_a_tensor_changed_in_place_is_named_with_its_line():
    x = fe.tensor([1.0, 2.0], requires_grad=True)
    with fe.detect_anomaly():
        y = x * 2
        z = y * y  # this line
        y.add_(1)
        with pytest.raises(GradientError, match=r"changed in\s+place") as caught:
            z.sum().backward()
    assert "z = y * y  # this line" in str(caught.value) + str(caught.value.__notes__)


def test_without_it_nan_goes_through():
    x = fe.tensor([0.0], requires_grad=True)
    (fe.sqrt(x) * 0).sum().backward()
    assert x.grad.isnan().all()


def test_nan_in_the_forward_is_no_anomaly():
    x = fe.tensor([1.0], requires_grad=True)
    with fe.detect_anomaly():
        (x + fe.tensor([float("nan")])).sum().backward()
    assert x.grad.tolist() == [1.0]


def test_integers_in_lists_of_gradients_are_no_trouble():
    x = fe.tensor([1.0], requires_grad=True)
    with fe.detect_anomaly():
        fe.cat([x, fe.tensor([2.0]), x]).sum().backward()
    assert x.grad.tolist() == [2.0]


# ---- observers of one's own


def test_an_observer_hears_of_ops_and_nodes():
    heard = []

    class Ears(Observer):
        def ran(self, op, device, native):
            heard.append((op.name, str(device), native))

        def recorded(self, node):
            heard.append(node.name)

    x = fe.tensor([1.0], requires_grad=True)
    with observing(Ears()):
        fe.exp(x)
    assert heard == [("core.exp", "reference", True), "core.exp"]


def test_an_observer_that_says_nothing():
    with observing(Observer()):
        x = fe.exp(fe.tensor([1.0], requires_grad=True))
    assert x.requires_grad


def test_a_backend_need_not_say_much():
    class Least(Backend):
        abi = (1, 0)
        kernels = MappingProxyType({})

        def from_numpy(self, value):
            return value

        def to_numpy(self, array):
            return array

    least = Least()
    assert not least.is_contiguous(least.from_numpy(fe.tensor([1.0]).numpy()))
    assert least.info() == {}
    device = Device("least", 1, least)
    device.synchronize()
    assert (str(device), repr(device)) == ("least:1", "device('least:1')")
