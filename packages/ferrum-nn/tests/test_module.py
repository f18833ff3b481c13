"""Modules: what they hold and how it is named, what switches them, how they look."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import OperandError, UnsupportedError

NAMES = [
    "first.weight",
    "first.bias",
    *[f"blocks.{i}.{name}" for i in (0, 1) for name in ("scale", "inner.weight", "inner.bias")],
    "heads.a.weight",
    "heads.a.bias",
    "heads.b.0.weight",
    "gains.0",
    "gains.1",
]


# ---- walking


def test_parameters_are_found_in_attributes_lists_tuples_and_dicts(net):
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [id(p) for p in net.parameters()] == [id(p) for _, p in net.named_parameters()]
    assert [name for name, _ in net.named_parameters("net", recurse=False)] == [
        "net.gains.0",
        "net.gains.1",
    ]


def test_modules_come_before_what_is_in_them(net):
    expected = ["", "first", "blocks.0", "blocks.0.inner", "blocks.1", "blocks.1.inner"]
    expected += ["heads.a", "heads.b.0"]
    assert [name for name, _ in net.named_modules()] == expected
    assert [name for name, _ in net.named_modules("net")][:2] == ["net", "net.first"]
    assert next(net.modules()) is net
    assert [name for name, _ in net.named_children()] == [
        "first",
        "blocks.0",
        "blocks.1",
        "heads.a",
        "heads.b.0",
    ]


def test_buffers_have_their_own_names(net):
    names = [f"blocks.{i}.{name}" for i in (0, 1) for name in ("mean", "seen")]
    assert [name for name, _ in net.named_buffers()] == names
    assert [x.shape for x in net.buffers()] == [(3,), ()] * 2


def test_what_is_shared_counts_once_but_is_saved_under_each_name():
    layer = nn.Linear(2, 2)
    net = nn.Module()
    net.one, net.two = layer, layer
    net.weight = layer.weight
    assert [name for name, _ in net.named_parameters()] == ["weight", "one.bias"]
    twice = [name for name, _ in net.named_parameters(remove_duplicate=False)]
    assert twice == ["weight", "one.weight", "one.bias", "two.weight", "two.bias"]
    assert list(net.state_dict()) == twice
    assert len(list(net.modules())) == 2
    assert [name for name, _ in net.named_modules(remove_duplicate=False)] == ["", "one", "two"]


def test_a_module_that_holds_its_parent_is_walked_once():
    parent, child = nn.Module(), nn.Linear(1, 1)
    parent.child, child.parent = child, parent
    assert len(list(parent.modules())) == 2
    assert len(list(child.parameters())) == 2


@given(st.lists(st.sampled_from(["parameter", "module", "list", "dict", "other"]), max_size=6))
def test_every_parameter_is_found_once_and_can_be_got_by_its_name(kinds):
    net = nn.Module()
    made = []
    for i, kind in enumerate(kinds):
        layer = nn.Linear(1, 1)
        made += (
            []
            if kind == "other"
            else [layer.weight, *([layer.bias] if kind != "parameter" else [])]
        )
        held = {
            "parameter": layer.weight,
            "module": layer,
            "list": [1, [layer]],
            "dict": {"x": layer},
        }
        setattr(net, f"a{i}", held.get(kind, "text"))
    found = dict(net.named_parameters())
    assert {id(p) for p in found.values()} == {id(p) for p in made}
    assert all(net.get_parameter(name) is each for name, each in found.items())
    assert list(net.state_dict()) == list(found)


def test_getting_by_name(net):
    assert net.get_parameter("blocks.1.inner.weight") is net.blocks[1].inner.weight
    assert net.get_buffer("blocks.0.mean") is net.blocks[0].mean
    assert net.get_submodule("heads.b.0") is net.heads["b"][0]
    assert net.get_submodule("") is net
    for get, what in (
        (net.get_parameter, "parameter"),
        (net.get_buffer, "buffer"),
        (net.get_submodule, "module"),
    ):
        with pytest.raises(nn.UnknownNameError, match=f"Net: there is no {what} called 'x.y'"):
            get("x.y")
    with pytest.raises(AttributeError):
        net.get_buffer("first.weight")


# ---- registering by name


def test_registering_is_assigning():
    net = nn.Module()
    net.register_parameter("p", nn.Parameter(fe.ones(1)))
    net.register_parameter("q", None)
    net.register_buffer("b", None)
    net.register_buffer("b", fe.zeros(2))
    net.add_module("m", nn.Tanh())
    net.add_module("m", nn.Identity())
    assert list(net.state_dict()) == ["p", "b"]
    assert net.q is None
    assert isinstance(net.m, nn.Identity)


@pytest.mark.parametrize("name", ["", "a.b", "forward", "training"])
def test_names_that_cannot_be_given(name):
    net = nn.Module()
    with pytest.raises(nn.NameTakenError, match=r"^Module: "):
        net.add_module(name, nn.Tanh())
    with pytest.raises(KeyError):
        net.register_buffer(name, fe.zeros(1))
    with pytest.raises(nn.NameTakenError):
        net.register_parameter(name, nn.Parameter(fe.zeros(1)))


def test_registering_the_wrong_kind():
    net = nn.Module()
    with pytest.raises(OperandError, match="register_buffer: expected a tensor, got int"):
        net.register_buffer("b", 1)
    with pytest.raises(OperandError, match="register_parameter: expected a Parameter, got Tensor"):
        net.register_parameter("p", fe.ones(1))
    with pytest.raises(OperandError, match="add_module: expected a Module, got int"):
        net.add_module("m", 3)
    with pytest.raises(OperandError, match="expected a name, got 3"):
        net.add_module(3, nn.Tanh())


# ---- calling


def test_a_module_without_forward_says_so():
    with pytest.raises(UnsupportedError, match=r"^Module: the class defines no forward"):
        nn.Module()(1)


def test_arguments_reach_forward():
    class Add(nn.Module):
        def forward(self, x, *more, scale=1):
            return (x + sum(more)) * scale

    assert Add()(1, 2, 3, scale=2) == 12


def test_subclasses_need_not_call_super_init():
    class Bare(nn.Module):
        def __init__(self, size):
            self.weight = nn.Parameter(fe.zeros(size))

    bare = Bare(2)
    assert bare.training
    assert list(bare.state_dict()) == ["weight"]


# ---- switches


def test_train_and_eval_reach_everything(net):
    assert all(module.training for module in net.modules())
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net.train()
    assert all(module.training for module in net.modules())


def test_a_module_may_decide_what_train_means():
    class Frozen(nn.Module):
        def train(self, mode=True):
            return super().train(False)

    net = nn.Sequential(Frozen(), nn.Tanh()).train()
    assert [module.training for module in net.modules()] == [True, False, True]


def test_requires_grad_and_zero_grad(net):
    net(fe.ones(1, 2)).sum().backward()
    grad = net.first.weight.grad
    net.zero_grad(set_to_none=False)
    assert net.first.weight.grad.array is grad.array
    assert not grad.any()
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_apply_goes_from_the_inside_out(net):
    seen = []
    assert net.apply(lambda module: seen.append(type(module).__name__)) is net
    assert seen == ["Linear", "Linear", "Block", "Linear", "Block", "Linear", "Linear", "Net"]


# ---- looks


def test_repr_has_pytorchs_form():
    class Named(nn.Module):
        def __init__(self):
            self.first = nn.Linear(2, 3)
            self.rest = [nn.Sequential(nn.ReLU(), nn.Identity())]

        def extra_repr(self):
            return "one\ntwo"

    assert repr(Named()) == (
        "Named(\n"
        "  one\n"
        "  two\n"
        "  (first): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (rest.0): Sequential(\n"
        "    (0): ReLU()\n"
        "    (1): Identity()\n"
        "  )\n"
        ")"
    )
    assert repr(nn.Module()) == "Module()"
