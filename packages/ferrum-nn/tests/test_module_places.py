"""What goes into the places of a module: submodules, state by hooks, by assignment, and extra."""

import copy
import pickle

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, DeviceError, OperandError, UnsupportedError

# ---- submodules


def test_set_submodule_reaches_attributes_lists_and_dicts(net):
    for name in ("first", "blocks.1", "blocks.0.inner", "heads.a", "heads.new", "fresh"):
        new = nn.Identity()
        net.set_submodule(name, new)
        assert net.get_submodule(name) is new
    net.set_submodule("first", nn.Tanh(), strict=True)
    assert isinstance(net.first, nn.Tanh)


@pytest.mark.parametrize(
    ("target", "module", "strict", "error"),
    [
        ("", nn.Tanh(), False, ArgumentError),
        ("a..b", nn.Tanh(), False, ArgumentError),
        (5, nn.Tanh(), False, OperandError),
        ("first", 5, False, OperandError),
        ("fresh", nn.Tanh(), True, nn.UnknownNameError),
        ("nowhere.a", nn.Tanh(), False, nn.UnknownNameError),
        ("blocks.7", nn.Tanh(), False, nn.UnknownNameError),
        ("blocks.x", nn.Tanh(), False, nn.UnknownNameError),
        ("heads.b.0", nn.Tanh(), False, OperandError),
        ("name.x", nn.Tanh(), False, nn.UnknownNameError),
        ("forward", nn.Tanh(), False, nn.NameTakenError),
    ],
)
def test_places_that_cannot_be_set(net, target, module, strict, error):
    before = repr(net)
    with pytest.raises(error):
        net.set_submodule(target, module, strict)
    assert repr(net) == before


def test_registering_a_module_and_forgetting_a_buffer():
    net = nn.Module()
    net.register_module("a", nn.Tanh())
    assert isinstance(net.a, nn.Tanh)
    net.register_buffer("b", fe.ones(1))
    del net.b
    net.b = fe.ones(2)  # no buffer any more
    assert not list(net.buffers())
    net.register_parameter("c", nn.Parameter(fe.ones(1)))
    del net.c
    assert not list(net.parameters())


def test_to_empty(block):
    parameters = list(block.parameters())
    assert block.double().to_empty(device=None) is block
    assert [id(p) for p in block.parameters()] == [id(p) for p in parameters]
    assert all(p.dtype is fe.float64 and p.requires_grad for p in parameters)
    arrays = [p.array for p in block.inner.parameters()]
    block.to_empty(device=str(block.scale.device), recurse=False)
    assert [p.array for p in block.inner.parameters()] == arrays
    with pytest.raises(DeviceError):
        block.to_empty(device="nowhere")


# ---- state


class Counting(nn.Module):
    def __init__(self):
        self.weight = nn.Parameter(fe.zeros(1))
        self.count = 0

    def get_extra_state(self):
        return {"count": self.count}

    def set_extra_state(self, state):
        self.count = state["count"]


def test_extra_state_goes_along():
    net = nn.Sequential(Counting(), nn.Linear(1, 1))
    net[0].count = 7
    state = net.state_dict()
    assert list(state) == ["0.weight", "0._extra_state", "1.weight", "1.bias"]
    other = nn.Sequential(Counting(), nn.Linear(1, 1))
    assert other.load_state_dict(state) == ([], [])
    assert other[0].count == 7
    alone = Counting()
    assert alone.load_state_dict({"_extra_state": {"count": 3}}, strict=False).missing_keys == [
        "weight"
    ]
    assert alone.count == 3
    del state["0._extra_state"]
    with pytest.raises(nn.StateDictError, match="missing keys: 0._extra_state"):
        other.load_state_dict(state)
    with pytest.raises(nn.StateDictError, match="unexpected keys: _extra_state"):
        nn.Identity().load_state_dict({"_extra_state": 1})
    for call in (nn.Module().get_extra_state, lambda: nn.Module().set_extra_state(1)):
        with pytest.raises(UnsupportedError, match="Module: the class defines no"):
            call()


def test_assigning_takes_over_memory_and_dtype_and_keeps_the_parameters(block):
    parameters = list(block.parameters())
    optimizer = nn.optim.SGD(parameters, lr=1.0)
    state = {name: each.to(fe.float64) + 1 for name, each in block.state_dict().items()}
    assert block.load_state_dict(state, assign=True) == ([], [])
    assert [id(p) for p in block.parameters()] == [id(p) for p in parameters]
    assert block.scale.dtype is block.mean.dtype is fe.float64
    assert block.scale.array is state["scale"].array
    assert block.mean.array is state["mean"].array
    assert all(p.requires_grad for p in parameters)
    block(fe.ones(1, 3, dtype=fe.float64)).sum().backward()
    optimizer.step()
    layer = nn.Linear(1, 1).requires_grad_(False)
    layer.load_state_dict({"weight": np.ones((1, 1)), "bias": np.ones(1)}, assign=True)
    assert layer.weight.dtype is fe.float64
    assert not layer.weight.requires_grad


def test_what_cannot_be_assigned_leaves_everything_as_it_was():
    layer = nn.Linear(1, 1)
    before = layer.weight.array
    with pytest.raises(nn.StateDictError, match="bias: it requires grad, so it cannot become int"):
        layer.load_state_dict({"weight": fe.ones(1, 1), "bias": fe.tensor([1])}, assign=True)
    assert layer.weight.array is before


def test_hooks_around_a_state_dict():
    net = nn.Sequential(nn.Linear(1, 1), nn.Tanh())
    seen = []
    net[0].register_state_dict_pre_hook(lambda *args: seen.append(args[1:]))

    def rename(module, state, prefix, metadata):
        state[prefix + "kernel"] = state.pop(prefix + "weight")

    handle = net[0].register_state_dict_post_hook(rename)
    assert sorted(net.state_dict(prefix="net.")) == ["net.0.bias", "net.0.kernel"]
    assert seen == [("net.0.", False)]
    handle.remove()
    assert list(net.state_dict()) == ["0.weight", "0.bias"]


def test_hooks_around_loading():
    net = nn.Sequential(nn.Linear(1, 1))
    calls = []

    def rename(module, state, prefix, metadata, strict, missing, unexpected, errors):
        calls.append((module, prefix, strict))
        state[prefix + "weight"] = state.pop(prefix + "kernel")

    first = net[0].register_load_state_dict_pre_hook(rename)
    given = {"0.kernel": fe.full((1, 1), 5.0), "0.bias": fe.ones(1)}
    assert net.load_state_dict(given) == ([], [])
    assert net[0].weight.item() == 5
    assert list(given) == ["0.kernel", "0.bias"]
    assert calls == [(net[0], "0.", True)]
    first.remove()

    def forgive(module, keys):
        calls.append(module.weight.item() if module is net[0] else "outer")
        keys.missing_keys[:] = [key for key in keys.missing_keys if "bias" not in key]

    net[0].register_load_state_dict_post_hook(forgive)
    net.register_load_state_dict_post_hook(lambda module, keys: calls.append(keys.missing_keys[:]))
    assert net.load_state_dict({"0.weight": fe.full((1, 1), 6.0)}) == ([], [])
    assert calls[1:] == [6.0, []]
    with pytest.raises(nn.StateDictError, match="unexpected keys: x"):
        net.load_state_dict({"0.weight": fe.zeros(1, 1), "x": fe.ones(1)})
    assert net[0].weight.item() == 0  # the hooks ran, so what fits is written

    def refuse(module, state, prefix, metadata, strict, missing, unexpected, errors):
        errors.append("the file is of another model")

    net.register_load_state_dict_pre_hook(refuse)
    with pytest.raises(nn.StateDictError, match="the file is of another model"):
        net.load_state_dict({}, strict=False)


def test_a_module_that_loads_through_hooks_can_be_copied():
    layer = nn.Linear(1, 1)
    calls = []
    layer.register_load_state_dict_post_hook(calls.append)
    other = copy.deepcopy(nn.Linear(1, 1))
    assert pickle.loads(pickle.dumps(other)).load_state_dict(layer.state_dict()) == ([], [])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Tanh().apply(5), "apply: expected a function, got int"),
        (lambda: nn.Tanh().state_dict(prefix=5), "state_dict: expected a string as prefix, got 5"),
        (lambda: nn.Tanh().state_dict(destination=5), "state_dict: expected a dict, got int"),
        (lambda: nn.Tanh().register_state_dict_pre_hook(5), "register_hook: expected a function"),
        (lambda: nn.Tanh().register_state_dict_post_hook(5), "register_hook: expected a function"),
        (lambda: nn.Tanh().register_load_state_dict_pre_hook(5), "register_hook: expected"),
        (lambda: nn.Tanh().register_load_state_dict_post_hook(5), "register_hook: expected"),
        (lambda: nn.Tanh().register_module("a", 5), "add_module: expected a Module, got int"),
    ],
)
def test_what_makes_no_sense(call, message):
    with pytest.raises(OperandError, match=f"^{message}"):
        call()
