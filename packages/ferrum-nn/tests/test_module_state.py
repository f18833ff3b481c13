"""What modules hold: parameters, state dicts, dtypes and devices, copies."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import (
    ArgumentError,
    DeviceError,
    DTypeError,
    FerrumError,
    GradientError,
    OperandError,
)

# ---- parameters


def test_a_parameter_shares_memory_and_its_results_are_plain_tensors():
    data = fe.zeros(2)
    parameter = nn.Parameter(data)
    data.fill_(3)
    assert parameter.tolist() == [3, 3]
    assert parameter.requires_grad
    assert parameter.is_leaf
    assert type(parameter * 2) is fe.Tensor
    assert type(parameter.detach()) is fe.Tensor
    assert repr(parameter) == "Parameter([3., 3.], requires_grad=True)"
    assert not nn.Parameter(data, requires_grad=False).requires_grad


def test_a_parameter_notices_writes_through_the_tensor_it_was_made_of():
    data = fe.ones(2)
    parameter = nn.Parameter(data)
    loss = (parameter * parameter).sum()
    data.fill_(3)
    with pytest.raises(GradientError, match="changed in place"):
        loss.backward()


def test_a_parameter_of_integers_cannot_require_grad():
    with pytest.raises(DTypeError):
        nn.Parameter(fe.tensor([1, 2]))
    assert nn.Parameter(fe.tensor([1, 2]), requires_grad=False).tolist() == [1, 2]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copied_parameter_is_a_parameter(copied):
    parameter = nn.Parameter(fe.arange(3.0))
    other = copied(parameter)
    assert type(other) is nn.Parameter
    assert other.requires_grad
    assert other.tolist() == parameter.tolist()
    with fe.no_grad():
        other.fill_(7)
    assert parameter.tolist() == [0, 1, 2]


# ---- state


def test_a_state_dict_shares_memory_and_has_no_history():
    layer = nn.Linear(2, 3)
    state = layer.state_dict()
    assert not state["weight"].requires_grad
    state["bias"].fill_(5)
    assert layer.bias.tolist() == [5, 5, 5]
    assert layer.state_dict(keep_vars=True)["weight"] is layer.weight
    assert list(layer.state_dict(prefix="a.")) == ["a.weight", "a.bias"]


def test_buffers_that_are_not_persistent_are_not_saved(block):
    assert "mean" in block.state_dict()
    assert "seen" not in block.state_dict()


def test_loading_writes_into_the_same_memory(net, other_net):
    arrays = {name: p.array for name, p in other_net.named_parameters()}
    assert other_net.load_state_dict(net.state_dict()) == ([], [])
    x = fe.ones(4, 2)
    assert fe.equal(net(x), other_net(x))
    assert all(p.array is arrays[name] for name, p in other_net.named_parameters())
    assert all(p.requires_grad for p in other_net.parameters())


def test_loading_casts():
    layer = nn.Linear(2, 1)
    layer.load_state_dict(nn.Linear(2, 1).double().state_dict())
    assert layer.weight.dtype is fe.float32


def test_loading_from_numpy_by_dlpack():
    layer = nn.Linear(2, 1)
    layer.load_state_dict(
        {"weight": np.array([[1, 2]], np.float32), "bias": np.zeros(1, np.float32)}
    )
    assert layer.weight.tolist() == [[1, 2]]


def test_the_error_names_every_key_and_nothing_is_written(net):
    before = {name: each.clone() for name, each in net.state_dict().items()}
    state = {name: each + 1 for name, each in before.items()}
    del state["first.bias"], state["gains.1"]
    state |= {"extra": fe.ones(1), "more.extra": fe.ones(1)}
    state["heads.a.weight"] = fe.ones(3, 1)
    state["blocks.0.mean"] = "text"
    with pytest.raises(nn.StateDictError) as caught:
        net.load_state_dict(state)
    error = caught.value
    assert isinstance(error, RuntimeError)
    assert error.missing_keys == ("first.bias", "gains.1")
    assert error.unexpected_keys == ("extra", "more.extra")
    text = str(error)
    assert text.startswith("Net: the state dict does not fit the module")
    assert "missing keys: first.bias, gains.1" in text
    assert "unexpected keys: extra, more.extra" in text
    assert "heads.a.weight: the module has (1, 3), the state dict (3, 1)" in text
    assert "blocks.0.mean: expected a tensor" in text
    assert all(fe.equal(each, before[name]) for name, each in net.state_dict().items())


def test_loading_what_fits():
    layer = nn.Linear(2, 1)
    with pytest.raises(nn.StateDictError, match="strict=False"):
        layer.load_state_dict({"weight": fe.ones(1, 2), "x": fe.ones(1)})
    found = layer.load_state_dict({"weight": fe.ones(1, 2), "x": fe.ones(1)}, strict=False)
    assert found.missing_keys == ["bias"]
    assert found.unexpected_keys == ["x"]
    assert layer.weight.tolist() == [[1, 1]]
    with pytest.raises(nn.StateDictError):  # a wrong shape is never passed over
        layer.load_state_dict({"weight": fe.ones(2, 1)}, strict=False)
    with pytest.raises(nn.StateDictError, match="expected a mapping"):
        layer.load_state_dict([1, 2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weight": 1.0, "bias": None}, "weight: expected a tensor, got float"),
        ({"weight": [[1.0]], "bias": None}, "bias: expected a tensor, got NoneType"),
        ({"weight": np.array([["x"]]), "bias": fe.ones(1)}, "weight: from_dlpack: "),
        ({"weight": fe.ones(1, 1), "bias": fe.ones(1), 7: fe.ones(1)}, "unexpected keys: 7"),
        ({("a", 1): 2}, "missing keys: weight, bias\n    unexpected keys: ('a', 1)"),
        (None, "expected a mapping from names to tensors, got NoneType"),
    ],
)
def test_loading_what_is_no_state(given, message):
    layer = nn.Linear(1, 1)
    before = [p.item() for p in layer.parameters()]
    with pytest.raises(nn.StateDictError, match=r"^Linear: ") as caught:
        layer.load_state_dict(given)
    assert message in str(caught.value)
    assert [p.item() for p in layer.parameters()] == before


def test_saving_and_loading_a_file(net, other_net, tmp_path):
    fe.save_file(net.state_dict(), tmp_path / "net.safetensors")
    other_net.load_state_dict(fe.load_file(tmp_path / "net.safetensors"))
    assert fe.equal(net(fe.ones(1, 2)), other_net(fe.ones(1, 2)))


# ---- dtypes and devices


def test_to_casts_floats_and_keeps_the_parameters(block):
    optimizer = nn.optim.SGD(block.parameters(), lr=1.0)
    parameters = list(block.parameters())
    assert block.to(fe.float64) is block
    assert [p.dtype for p in block.parameters()] == [fe.float64] * 3
    assert block.mean.dtype is fe.float64
    assert block.seen.dtype is fe.int64
    assert [id(p) for p in block.parameters()] == [id(p) for p in parameters]
    before = block.scale.clone()
    block(fe.ones(1, 3, dtype=fe.float64)).sum().backward()
    optimizer.step()
    assert not fe.equal(before, block.scale)


def test_to_takes_gradients_and_hooks_along():
    layer = nn.Linear(2, 1)
    calls = []
    layer.weight.register_hook(lambda g: calls.append(g.dtype))
    layer.weight.register_post_accumulate_grad_hook(lambda p: calls.append(p.dtype))
    layer(fe.ones(1, 2)).sum().backward()
    layer.double()
    assert layer.weight.grad.dtype is fe.float64
    layer(fe.ones(1, 2, dtype=fe.float64)).sum().backward()
    assert calls == [fe.float32, fe.float32, fe.float64, fe.float64]
    assert layer.weight.grad.tolist() == [[2, 2]]


def test_to_what_it_is_changes_nothing():
    layer = nn.Linear(2, 1)
    loss = layer(fe.ones(1, 2)).sum()
    layer.to(layer.weight.device, fe.float32).float()
    loss.backward()
    assert layer.weight.grad is not None


def test_every_way_to_say_where_to():
    layer = nn.Linear(2, 1)
    kind = str(layer.weight.device)
    for call, dtype in (
        (lambda: layer.to(kind, fe.float64), fe.float64),
        (lambda: layer.to(dtype="float16", device=kind), fe.float16),
        (lambda: layer.to(fe.ones(1, dtype=fe.bfloat16)), fe.bfloat16),
        (lambda: layer.to("float64"), fe.float64),
        (lambda: layer.to("half"), fe.float16),
        (lambda: layer.to(kind, "double"), fe.float64),
        (lambda: layer.to(layer.weight.device), fe.float64),
        (lambda: layer.to(None), fe.float64),
        (layer.half, fe.float16),
        (layer.bfloat16, fe.bfloat16),
        (layer.double, fe.float64),
        (lambda: layer.type(fe.float32), fe.float32),
    ):
        assert call() is layer
        assert layer.weight.dtype is dtype
        assert layer.weight.requires_grad


def test_a_module_is_not_cast_to_integers():
    for wanted in (fe.int64, "long", fe.tensor(1)):
        with pytest.raises(DTypeError, match="to: expected a floating-point dtype"):
            nn.Linear(1, 1).to(wanted)
    with pytest.raises(DTypeError, match="dtype 5 is not one"):
        nn.Linear(1, 1).to(5)


def test_a_device_that_is_not_there_is_refused_before_anything_is_cast():
    layer = nn.Linear(1, 1)
    with pytest.raises(DeviceError, match="no backend for device 'nowhere'"):
        layer.to("nowhere", fe.float64)
    with pytest.raises(DeviceError):
        nn.Identity().to("nowhere")
    assert layer.weight.dtype is fe.float32


def test_devices_that_are_not_there_are_named():
    for move in (nn.Linear(1, 1).cpu, nn.Linear(1, 1).cuda, lambda: nn.Linear(1, 1).cuda(1)):
        kind = "cpu" if getattr(move, "__name__", "") == "cpu" else "cuda"
        if fe.device_count(kind) == 0:
            with pytest.raises(FerrumError, match=f"ferrum-{kind}"):
                move()


# ---- copies


def test_a_deep_copy_is_a_module_of_its_own(net):
    net.shared = net.first.weight
    net.eval()
    other = copy.deepcopy(net)
    assert other.shared is other.first.weight
    assert other.first.weight is not net.first.weight
    assert not other.training
    assert [name for name, _ in other.named_buffers()] == [name for name, _ in net.named_buffers()]
    with fe.no_grad():
        other.first.weight.fill_(0)
    assert net.first.weight.any()


def test_modules_pickle(net):
    other = pickle.loads(pickle.dumps(net))
    assert fe.equal(net(fe.ones(1, 2)), other(fe.ones(1, 2)))


def test_a_module_goes_without_the_garbage_collector(net):
    gc.disable()
    try:
        other = copy.deepcopy(net)
        other(fe.ones(1, 2)).sum().backward()
        gone = weakref.ref(other)
        del other
        assert gone() is None
    finally:
        gc.enable()


def test_errors_are_ferrums():
    for error in (nn.StateDictError, nn.UnknownNameError, nn.NameTakenError):
        assert issubclass(error, FerrumError)
    assert not issubclass(nn.StateDictError, ArgumentError)


def test_what_is_printed_when_all_keys_match():
    layer = nn.Linear(2, 2, bias=False)
    assert repr(layer.load_state_dict(layer.state_dict())) == "<All keys matched successfully>"
    found = layer.load_state_dict({"bias": fe.ones(2)}, strict=False)
    assert repr(found) == "IncompatibleKeys(missing_keys=['weight'], unexpected_keys=['bias'])"


@pytest.mark.parametrize("value", [fe.ones(3, 3), nn.Buffer(fe.ones(3, 3)), 2.0, nn.Tanh()])
def test_a_parameter_is_not_lost_by_an_assignment(block, value):
    for layer, name in ((block, "scale"), (block.inner, "weight")):
        before = getattr(layer, name)
        with pytest.raises(OperandError, match=f"expected a Parameter or None as '{name}', which"):
            setattr(layer, name, value)
        assert getattr(layer, name) is before
        setattr(layer, name, nn.Parameter(fe.zeros(3)))
        setattr(layer, name, None)
        assert name not in layer.state_dict()


def test_the_count_of_batches_may_be_missing():
    """PyTorch takes it as it is, for what was saved before there was one."""
    layer = nn.BatchNorm1d(2)
    state = nn.BatchNorm1d(2).state_dict()
    layer(fe.ones(3, 2))
    del state["num_batches_tracked"]
    assert str(layer.load_state_dict(state)) == "<All keys matched successfully>"
    assert layer.num_batches_tracked.item() == 1
    del state["running_var"]
    with pytest.raises(nn.StateDictError, match="missing keys: running_var\n"):
        layer.load_state_dict(state)


def test_two_dtypes_are_one_too_many(block):
    with pytest.raises(ArgumentError, match="to: expected one dtype, got"):
        block.to(fe.float64, fe.float32)
    with pytest.raises(ArgumentError, match="to: expected one dtype, got"):
        block.to(fe.float64, dtype=fe.float32)
    assert block.scale.dtype is fe.float32
