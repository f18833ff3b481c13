"""Saving a training run, and going on from there."""

import collections
import json
import math
import random
import struct
import sys
import threading
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import ferrum as fe
import ferrum_nn as nn
from ferrum_nn import checkpoint, plain


class Cell:
    """Something with a state."""

    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def save(folder, step, **parts):
    return nn.save_checkpoint(folder, step=step, rng=False, **parts)


def test_a_model_and_its_optimizer_come_back(tmp_path, net, other_net):
    optimizer = nn.optim.Adam(net.parameters(), lr=0.01)
    net(fe.ones(2, 2)).sum().backward()
    optimizer.step()
    path = nn.save_checkpoint(tmp_path / "a" / "b", step=7, model=net, optimizer=optimizer)
    assert path == tmp_path / "a" / "b" / "step-00000007"
    twin = nn.optim.Adam(other_net.parameters())
    found = nn.load_checkpoint(tmp_path / "a" / "b", model=other_net, optimizer=twin)
    assert (found.step, found.path, found.values) == (7, path, {})
    for name, each in net.state_dict().items():
        assert fe.equal(each, other_net.state_dict()[name])
    for number, each in optimizer.state_dict()["state"].items():
        for name, tensor in each.items():
            assert fe.equal(tensor, twin.state_dict()["state"][number][name])
    assert twin.param_groups[0]["lr"] == 0.01


def test_the_file_of_a_model_is_its_state_dict(tmp_path, net):
    path = nn.save_checkpoint(tmp_path, step=0, model=net)
    assert list(fe.load_file(path / "model.safetensors")) == sorted(net.state_dict())
    assert sorted(each.name for each in path.iterdir()) == ["manifest.json", "model.safetensors"]


def test_values_and_what_no_part_was_given_for_are_in_the_result(tmp_path, net):
    save(tmp_path, 1, model=net, cell=Cell([1]), best=0.5, scheduler=None, seen=fe.arange(3))
    found = nn.load_checkpoint(tmp_path, cell=(cell := Cell(None)), scheduler=None)
    assert cell.state == [1]
    assert found.values["best"] == 0.5
    assert found.values["scheduler"] is None
    assert found.values["seen"].tolist() == [0, 1, 2]
    assert fe.equal(found.values["model"]["first.bias"], net.first.bias)


def test_random_numbers_go_on_where_they_were(tmp_path):
    def draw(own):
        generators = fe.rand(3), fe.rand(3, generator=own)
        return [x.tolist() for x in generators], random.random(), random.gauss(), np.random.rand()

    own = fe.Generator(3)
    random.gauss()  # keeps a second number for later
    nn.save_checkpoint(tmp_path, step=0, own=own)
    drawn = draw(own)
    nn.load_checkpoint(tmp_path, own=(other := fe.Generator()))
    assert draw(other) == drawn
    nn.load_checkpoint(tmp_path, rng=False)
    assert draw(other) != drawn
    save(tmp_path, 1)
    state = fe.get_rng_state()
    nn.load_checkpoint(tmp_path)
    assert fe.get_rng_state() == state


@pytest.mark.parametrize("dtype", [fe.float16, fe.bfloat16, fe.float64, fe.int8, fe.bool])
def test_tensors_keep_dtype_shape_and_bits(tmp_path, dtype):
    tensors = [fe.ones(2, 3).to(dtype=dtype).t(), fe.tensor(1, dtype=dtype), fe.zeros(0, 2)]
    save(tmp_path, 0, some=tensors)
    for back, each in zip(nn.load_checkpoint(tmp_path).values["some"], tensors, strict=True):
        assert (back.dtype, back.shape) == (each.dtype, each.shape)
        assert fe.equal(back, each)


NUMBERS = st.integers(-(2**5000), 2**5000)
KEYS = st.one_of(st.text(max_size=4), NUMBERS, st.booleans(), st.none(), st.tuples(NUMBERS))
STATES = st.recursive(
    st.none()
    | st.booleans()
    | NUMBERS
    | st.floats()
    | st.binary(max_size=9)
    | st.text(st.characters(exclude_categories=()), max_size=9)
    | st.sampled_from([-0.0, 5e-324, 10**2000, -(2**64), "$tensor", "", "\0", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.dictionaries(st.sampled_from(["$tuple", "$dict", "a", "a.b"]), inner)
    ),
    max_leaves=20,
)


def same(a, b):
    """Whether two states are the same, types, order and bits of floats included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, fe.Tensor):
        return fe.equal(a, b)
    return a == b


@given(STATES)
def test_a_state_comes_back_the_same(state):
    tensors = {}
    text = json.dumps(plain.encode("test", state, tensors), allow_nan=False)
    assert tensors == {}
    assert same(plain.decode(json.loads(text), tensors), state)


def test_tensors_deep_inside_come_back_in_their_places(tmp_path):
    a, b, c, d, e, f, g = (fe.tensor(i) for i in range(7))
    state = {"a": {"b": a}, "a.b": b, "a.b#2": (c, [d]), 3: {"\0": e, "\ud800": f}, "": g}
    save(tmp_path, 0, cell=Cell(state), value=a, __metadata__=b, rest={"__metadata__": c})
    found = nn.load_checkpoint(tmp_path).values
    assert same(found["cell"], state)
    assert (int(found["value"]), int(found["__metadata__"])) == (0, 1)
    assert int(found["rest"]["__metadata__"]) == 2


def test_a_state_may_have_64_levels(tmp_path):
    deep = ()
    for _ in range(63):
        deep = (deep,)
    save(tmp_path, 0, deep=deep)
    assert nn.load_checkpoint(tmp_path).values["deep"] == deep


def test_a_nan_keeps_its_bits():
    bits = struct.unpack(">d", bytes.fromhex("7ff800000000beef"))[0]
    assert plain.encode("test", bits, {}) == {"$float": "7ff800000000beef"}
    assert same(plain.decode({"$float": "7ff800000000beef"}, {}), bits)


def test_subclasses_become_what_they_derive_from(tmp_path):
    point = collections.namedtuple("point", "x y")
    counter = collections.Counter({30: 1})
    save(tmp_path, 0, some=[np.float64(0.5), counter, point(1, 2), collections.OrderedDict(a=1)])
    assert same(nn.load_checkpoint(tmp_path).values["some"], [0.5, {30: 1}, (1, 2), {"a": 1}])


# ---- which one


def test_the_last_one_is_that_of_the_highest_step(tmp_path):
    for step in (9, 100_000_000, 10):
        save(tmp_path, step, value=step)
    assert nn.list_checkpoints(tmp_path) == [9, 10, 100_000_000]
    assert nn.load_checkpoint(tmp_path).values == {"value": 100_000_000}
    assert nn.load_checkpoint(tmp_path, step=9).values == {"value": 9}
    assert nn.list_checkpoints(tmp_path / "not there") == []


def test_keep_removes_the_lower_steps(tmp_path):
    for step in range(5):
        save(tmp_path, step, keep=2)
    assert nn.list_checkpoints(tmp_path) == [3, 4]
    save(tmp_path, 1, keep=1)  # what was just saved is never removed
    assert nn.list_checkpoints(tmp_path) == [1]
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "step-5").mkdir()
    save(tmp_path, 2, keep=1)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "notes.txt", "step-00000002", "step-5"
    ]  # fmt: skip


def test_keep_counts_only_what_is_whole(tmp_path):
    for step in range(3):
        save(tmp_path, step, value=fe.ones(2))
    (tmp_path / "step-00000002" / "value.safetensors").unlink()
    (tmp_path / "step-00000001" / "manifest.json").write_bytes(b"{}")
    save(tmp_path, 3, keep=2)
    assert nn.list_checkpoints(tmp_path) == [0, 3]


def test_a_step_that_is_saved_again_replaces_the_first(tmp_path):
    for value in range(4):
        save(tmp_path, 5, value=value)
        assert len(list(tmp_path.iterdir())) == 1
        assert nn.load_checkpoint(tmp_path).values == {"value": value}
    assert nn.list_checkpoints(tmp_path) == [5]


def test_what_a_killed_process_left_is_removed_and_never_read(tmp_path):
    path = save(tmp_path, 1, value=1)
    (tmp_path / ".ferrum-0123456789abcdef.tmp").mkdir()
    path.rename(tmp_path / ".ferrum-0123456789abcdee.tmp")
    assert nn.list_checkpoints(tmp_path) == []
    save(tmp_path, 2, value=2)
    assert [each.name for each in tmp_path.iterdir()] == ["step-00000002"]


def test_threads_save_into_one_folder_one_after_the_other(tmp_path):
    def work(offset):
        for i in range(5):
            save(tmp_path, i, value=fe.full((10,), offset))

    threads = [threading.Thread(target=work, args=(float(i),)) for i in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert nn.list_checkpoints(tmp_path) == [0, 1, 2, 3, 4]
    assert len(list(tmp_path.iterdir())) == 5
    nn.load_checkpoint(tmp_path)


@pytest.mark.parametrize("how", ["no module", "no locks"])
def test_without_locks_nothing_is_cleared_away(tmp_path, monkeypatch, how):
    def refuse(*_):
        raise OSError("no locks here")

    fcntl = None if how == "no module" else SimpleNamespace(flock=refuse, LOCK_EX=2, LOCK_UN=8)
    monkeypatch.setitem(sys.modules, "fcntl", fcntl)
    hidden = tmp_path / ".ferrum-0123456789abcdef.tmp"  # it may be somebody's
    hidden.mkdir()
    save(tmp_path, 1, value=1)
    assert hidden.exists()
    assert nn.load_checkpoint(tmp_path).values == {"value": 1}


def test_two_that_save_one_step_at_once_both_find_a_name(tmp_path, monkeypatch):
    save(tmp_path, 1, value=1)
    listed = checkpoint._listed
    answers = iter([[]])  # the other's folder was not there yet
    monkeypatch.setattr(checkpoint, "_listed", lambda root: next(answers, None) or listed(root))
    save(tmp_path, 1, value=2)
    assert [each.name for each in tmp_path.iterdir()] == ["step-00000001-1"]
    assert nn.load_checkpoint(tmp_path).values == {"value": 2}


@settings(deadline=None, max_examples=20)
@given(st.floats())
def test_a_float_in_a_checkpoint_keeps_its_bits(tmp_path_factory, number):
    folder = tmp_path_factory.mktemp("float")
    save(folder, 0, number=number)
    assert same(nn.load_checkpoint(folder).values["number"], number)
    assert math.isnan(number) or nn.load_checkpoint(folder).values["number"] == number
