"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict: what they hold and how."""

import copy
import pickle
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import (
    ArgumentError,
    DTypeError,
    FerrumError,
    OperandError,
    OutOfRangeError,
    UnsupportedError,
)


def kinds(modules):
    return [type(each).__name__ for each in modules]


def numbered(modules):
    return [name for name, _ in modules.named_children()] == [str(i) for i in range(len(modules))]


@pytest.fixture(params=[nn.ModuleList, lambda modules=(): nn.Sequential(*modules)])
def make(request):
    """A function that makes a container of modules in an order."""
    return request.param


# ---- in an order


@given(
    st.sampled_from(["list", "sequential"]),
    st.lists(
        st.tuples(
            st.sampled_from(["append", "extend", "insert", "pop", "del", "slice", "set"]),
            st.integers(-4, 4),
            st.integers(-4, 4),
        ),
        max_size=8,
    ),
)
def test_they_do_what_a_list_does(kind, steps):
    ours = nn.ModuleList() if kind == "list" else nn.Sequential()
    plain = []
    for what, i, j in steps:
        new = nn.Identity()
        if what == "append":
            assert ours.append(new) is ours
            plain.append(new)
        elif what == "extend":
            assert ours.extend([new, new]) is ours
            plain += [new, new]
        elif what == "insert" and -len(plain) <= i <= len(plain):
            ours.insert(i, new)
            plain.insert(i, new)
        elif what == "slice":
            del ours[i:j]
            del plain[i:j]
        elif -len(plain) <= i < len(plain):
            if what == "pop":
                assert ours.pop(i) is plain.pop(i)
            elif what == "del":
                del ours[i]
                del plain[i]
            elif what == "set":
                ours[i] = new
                plain[i] = new
        assert [id(each) for each in ours] == [id(each) for each in plain]
        assert [name for name, _ in ours.named_modules(remove_duplicate=False)][1:] == [
            str(k) for k in range(len(plain))
        ]
        assert [id(each) for each in ours[i:j]] == [id(each) for each in plain[i:j]]
    assert len(ours) == len(plain)


def test_popping_a_slice(make):
    modules = make([nn.ReLU(), nn.Tanh(), nn.Sigmoid()])
    taken = modules.pop(slice(0, 2))
    assert type(taken) is type(modules)
    assert kinds(taken) == ["ReLU", "Tanh"]
    assert kinds(modules) == ["Sigmoid"]
    assert numbered(modules)


def test_adding(make):
    one, two = make([nn.ReLU()]), make([nn.Tanh(), nn.Sigmoid()])
    both = one + two
    assert kinds(both) == ["ReLU", "Tanh", "Sigmoid"]
    assert type(both) is type(one)
    assert numbered(both)
    assert kinds(one) == ["ReLU"]
    before = one
    one += two
    assert one is before
    assert kinds(one) == kinds(both)
    one += one
    assert len(one) == 6


def test_multiplying_a_sequential():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    for twice in (net * 2, 2 * net):
        assert [id(each) for each in twice] == [id(each) for each in [*net, *net]]
        assert len(list(twice.parameters())) == 2
    before = net
    net *= 3
    assert net is before
    assert len(net) == 6
    assert net[0] is net[4]
    x = fe.ones(1, 2)
    assert fe.equal(net(x), net[:2](net[:2](net[:2](x))))


def test_deleting_by_name_and_index_calls_the_rest_anew():
    net = nn.Sequential(OrderedDict(a=nn.ReLU(), b=nn.Tanh(), c=nn.Sigmoid()))
    del net[0]
    assert [name for name, _ in net.named_children()] == ["0", "1"]
    tail = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid())[1:]
    tail.insert(1, nn.Identity())
    assert kinds(tail) == ["Tanh", "Identity", "Sigmoid"]
    assert numbered(tail)


def test_a_module_list_in_a_module_has_the_names_of_a_plain_list():
    class Net(nn.Module):
        def __init__(self, layers, table):
            self.layers = layers
            self.table = table

    layers, table = [nn.Linear(2, 2), nn.Linear(2, 3)], {"x": nn.Linear(1, 1)}
    plain = Net(layers, table)
    listed = Net(nn.ModuleList(layers), nn.ModuleDict(table))
    assert list(plain.state_dict()) == list(listed.state_dict())
    assert listed.load_state_dict(plain.state_dict()) == ([], [])
    assert [id(p) for p in plain.parameters()] == [id(p) for p in listed.parameters()]
    listed.eval()
    assert not listed.layers[1].training


def test_repeated_layers_take_one_line():
    layers = nn.ModuleList([nn.Linear(1, 1), nn.ReLU(), nn.ReLU(), nn.Sequential(nn.Tanh())])
    assert repr(layers) == (
        "ModuleList(\n"
        "  (0): Linear(in_features=1, out_features=1, bias=True)\n"
        "  (1-2): 2 x ReLU()\n"
        "  (3): Sequential(\n"
        "    (0): Tanh()\n"
        "  )\n"
        ")"
    )
    assert repr(nn.ModuleList()) == "ModuleList()"


# ---- by key


def test_a_module_dict_is_a_dict():
    table = nn.ModuleDict({"b": nn.ReLU(), "a": nn.Linear(1, 1)})
    assert list(table) == list(table.keys()) == ["b", "a"]
    assert "a" in table
    assert "c" not in table
    assert 3 not in table
    assert len(table) == 2
    table["b"] = nn.Tanh()
    table.update([("c", nn.ReLU()), ("a", nn.Sigmoid())])
    assert kinds(table.values()) == ["Tanh", "Sigmoid", "ReLU"]
    assert [key for key, _ in table.items()] == ["b", "a", "c"]
    popped = table["a"]
    assert table.pop("a") is popped
    del table["b"]
    assert list(table) == ["c"]
    other = nn.ModuleDict(table)
    assert other["c"] is table["c"]
    table.clear()
    assert not len(table)
    assert repr(table) == "ModuleDict()"


def test_lists_of_parameters():
    values = nn.ParameterList([fe.ones(2, 3), nn.Parameter(fe.zeros(1)), 5])
    assert [type(each).__name__ for each in values] == ["Parameter", "Parameter", "int"]
    assert list(values.state_dict()) == ["0", "1"]
    values[-1] = fe.ones(())
    values += [fe.ones(1)]
    assert len(values) == 4
    assert values.append(7) is values
    assert type(values[1:3]) is nn.ParameterList
    assert values[1:3][0] is values[1]
    assert [name for name, _ in values.named_parameters()] == ["0", "1", "2", "3"]
    assert repr(nn.ParameterList([fe.ones(2, 3), 5])) == (
        "ParameterList(\n"
        "    (0): Parameter containing: [float32 of size 2x3]\n"
        "    (1): Object of type: int\n"
        ")"
    )


def test_dicts_of_parameters():
    table = nn.ParameterDict({"b": fe.ones(2), "a": 5})
    assert list(table) == ["a", "b"]  # as in PyTorch: those of a plain dict are sorted
    table |= OrderedDict(d=fe.ones(1), c=fe.zeros(1))
    assert list(table.keys()) == ["a", "b", "d", "c"]
    assert list(reversed(table)) == ["c", "d", "b", "a"]
    assert list(table.state_dict()) == ["b", "d", "c"]
    assert isinstance(table["b"], nn.Parameter)
    assert table.get("a") == 5
    assert table.get("keys") is None
    assert table.setdefault("a", 6) == 5
    assert table.setdefault("e", 6) == 6
    assert "e" in table
    assert 5 not in table
    assert table.popitem() == ("e", 6)
    assert table.pop("a") == 5
    del table["d"]
    other = table.copy()
    assert other["b"] is table["b"]
    assert [key for key, _ in (table | {"z": 1}).items()] == ["b", "c", "z"]
    assert list({"z": 1} | table) == ["z", "b", "c"]
    assert list(table.fromkeys(["x", "y"], 3).values()) == [3, 3]
    table.clear()
    assert len(table) == 0
    assert next(other.parameters()) is other["b"]


def test_a_subclass_need_not_call_super_init():
    class Mine(nn.ParameterDict):
        def __init__(self):
            self["x"] = fe.ones(1)

    class Ours(nn.ParameterList):
        def __init__(self):
            self.append(fe.ones(1))

    assert list(Mine().state_dict()) == ["x"]
    assert list(Ours().state_dict()) == ["0"]


@pytest.mark.parametrize(
    "container",
    [
        nn.ModuleList([nn.Linear(1, 1)]),
        nn.ModuleDict({"a": nn.Linear(1, 1)}),
        nn.ParameterList([fe.ones(2), 3]),
        nn.ParameterDict({"a": fe.ones(2), "b": 3}),
    ],
)
def test_copies(container):
    for other in (copy.deepcopy(container), pickle.loads(pickle.dumps(container))):
        assert repr(other) == repr(container)
        assert len(other) == len(container)
        assert list(other.state_dict()) == list(container.state_dict())
        assert next(other.parameters()) is not next(container.parameters())
        with pytest.raises(UnsupportedError, match="defines no forward"):
            other(1)


LIST, DICT = nn.ModuleList([nn.ReLU()]), nn.ModuleDict({"a": nn.ReLU()})
SEQUENCE = nn.Sequential(nn.ReLU())
VALUES, TABLE = nn.ParameterList([1]), nn.ParameterDict({"a": 1})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LIST[1], OutOfRangeError, "ModuleList: index 1 is out of range for 1"),
        (lambda: LIST["a"], OperandError, "ModuleList: expected an integer or a slice, got 'a'"),
        (lambda: LIST[None], OperandError, "ModuleList: expected an integer or a slice"),
        (lambda: LIST.append(3), OperandError, "ModuleList: expected a Module, got int"),
        (lambda: LIST.append(None), OperandError, "ModuleList: expected a Module, got NoneType"),
        (lambda: LIST.extend(3), OperandError, "ModuleList: expected modules, got int"),
        (lambda: LIST.insert(2, nn.ReLU()), OutOfRangeError, "ModuleList: index 2"),
        (lambda: LIST.insert(0, 2), OperandError, "ModuleList: expected a Module"),
        (lambda: LIST.insert("0", nn.ReLU()), OperandError, "ModuleList: expected an integer"),
        (lambda: LIST.pop(1), OutOfRangeError, "ModuleList: index 1"),
        (lambda: LIST.__delitem__(-2), OutOfRangeError, "ModuleList: index -2"),
        (lambda: LIST.__setitem__(0, 2), OperandError, "ModuleList: expected a Module"),
        (lambda: LIST + 3, OperandError, "ModuleList: expected modules, got int"),
        (lambda: nn.ModuleList(nn.ReLU()), OperandError, "ModuleList: expected modules, got ReLU"),
        (lambda: nn.ModuleList("ab"), OperandError, "ModuleList: expected a Module, got str"),
        (lambda: SEQUENCE + LIST, ArgumentError, "Sequential: expected another to add"),
        (lambda: SEQUENCE * 0, ArgumentError, "Sequential: expected a positive number of times"),
        (lambda: SEQUENCE * 1.5, OperandError, "Sequential: expected an integer to multiply by"),
        (lambda: SEQUENCE.pop(3), OutOfRangeError, "Sequential: index 3"),
        (lambda: SEQUENCE.insert(-2, nn.ReLU()), OutOfRangeError, "Sequential: index -2"),
        (lambda: nn.Sequential(OrderedDict(a=1)), OperandError, "Sequential: expected a Module"),
        (lambda: DICT["b"], nn.UnknownKeyError, "ModuleDict: there is no entry 'b'"),
        (lambda: DICT[[1]], nn.UnknownKeyError, "ModuleDict: there is no entry"),
        (lambda: DICT.pop("training"), nn.UnknownKeyError, "ModuleDict: there is no entry"),
        (lambda: DICT.update({"keys": nn.ReLU()}), nn.NameTakenError, "ModuleDict: there is an"),
        (lambda: DICT.update({"a.b": nn.ReLU()}), nn.NameTakenError, "ModuleDict: a name"),
        (lambda: DICT.update({3: nn.ReLU()}), OperandError, "ModuleDict: expected a name"),
        (lambda: DICT.update({"b": None}), OperandError, "ModuleDict: expected a Module"),
        (lambda: DICT.update([nn.ReLU()]), ArgumentError, "ModuleDict: expected pairs"),
        (lambda: DICT.update(5), OperandError, "ModuleDict: expected"),
        (lambda: VALUES[1], OutOfRangeError, "ParameterList: index 1"),
        (lambda: VALUES.extend(fe.ones(2)), OperandError, "ParameterList: expected values"),
        (lambda: VALUES.extend(5), OperandError, "ParameterList: expected"),
        (lambda: VALUES.append(fe.tensor(1)), DTypeError, "requires_grad"),
        (lambda: TABLE["b"], nn.UnknownKeyError, "ParameterDict: there is no entry 'b'"),
        (lambda: TABLE.update({"items": 1}), nn.NameTakenError, "ParameterDict: there is an"),
        (lambda: TABLE.update({5: 1}), OperandError, "ParameterDict: expected a name"),
        (lambda: TABLE.update([1]), ArgumentError, "ParameterDict: expected pairs"),
        (lambda: nn.ParameterDict().popitem(), KeyError, "ParameterDict: there is no entry"),
        (lambda: TABLE.fromkeys(5), OperandError, "ParameterDict: expected"),
    ],
)
def test_what_makes_no_sense(call, error, message):
    with pytest.raises(error, match=f"^{message}") as caught:
        call()
    assert isinstance(caught.value, FerrumError)
    assert len(LIST) == len(DICT) == len(SEQUENCE) == len(VALUES) == len(TABLE) == 1
