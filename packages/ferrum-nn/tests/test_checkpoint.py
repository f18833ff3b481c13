"""Saving a training run, and going on from there."""

import collections
import hashlib
import json
import math
import os
import random
import struct
import threading

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import CheckpointError
from ferrum_nn import plain


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


# ---- damage


def bits(content, count):
    """Yield `content` with one bit turned over, `count` times."""
    draw = random.Random(4)
    for place in draw.sample(range(8 * len(content)), count):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        yield bytes(changed)


@pytest.mark.parametrize("file", ["manifest.json", "model.safetensors"])
def test_any_changed_bit_and_any_missing_end_is_found(tmp_path, file):
    path = nn.save_checkpoint(tmp_path, step=1, model=nn.Linear(2, 2)) / file
    content = path.read_bytes()
    cut = (content[: len(content) * i // 100] for i in range(100))
    for damaged in [*bits(content, 300), *cut, content + b" "]:
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=file):
            nn.load_checkpoint(tmp_path)
    path.write_bytes(content)
    nn.load_checkpoint(tmp_path)


def test_a_damaged_one_is_passed_over_with_a_warning(tmp_path):
    for step in range(3):
        save(tmp_path, step, value=fe.full((3,), step))
    (tmp_path / "step-00000002" / "value.safetensors").write_bytes(b"nothing")
    with pytest.warns(RuntimeWarning, match=r"step-00000002.value.safetensors: expected \d+ bytes"):
        found = nn.load_checkpoint(tmp_path)
    assert (found.step, found.values["value"].tolist()) == (1, [1, 1, 1])
    with pytest.raises(CheckpointError, match="got 7"):
        nn.load_checkpoint(tmp_path, step=2)
    assert nn.list_checkpoints(tmp_path) == [0, 1]
    for step in range(2):
        (tmp_path / f"step-0000000{step}" / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"(?s)whole.*0002.*0001.*0000.*No such file"):
        nn.load_checkpoint(tmp_path)


def test_nothing_to_load_has_a_kind_of_its_own(tmp_path):
    for folder, step in [(tmp_path, None), (tmp_path / "none", None), (tmp_path, 3)]:
        with pytest.raises(CheckpointError, match="found none") as caught:
            nn.load_checkpoint(folder, step=step)
        assert caught.value.kind == "missing"


def sealed(path, change):
    """Write the manifest anew, changed, with the right SHA-256."""
    rest = change(path.read_bytes().partition(b",")[2])
    path.write_bytes(b'{"sha256":"%s",' % hashlib.sha256(rest).hexdigest().encode() + rest)


# what to replace in a manifest whose SHA-256 is right, by what, and what the error says
FORGED = [
    ('"ferrum_checkpoint":1', '"ferrum_checkpoint":2', "version 1, got 2, from FERRUM '"),
    ('"ferrum_checkpoint":1', '"ferrum_checkpoint":0', "an integer as ferrum_checkpoint, got 0"),
    ('"ferrum_checkpoint":1', '"ferrum_checkpoint":true', "ferrum_checkpoint, got True"),
    ('"ferrum_checkpoint":1', '"ferrum_checkpoint":"1"', "ferrum_checkpoint, got '1'"),
    ('"ferrum_checkpoint":1,', "", "ferrum_checkpoint, got None"),
    ('"step":1', '"step":2', "expected step 1, as its folder says, got 2"),
    ('"step":1', '"step":-1', "from 0 on as step, got -1"),
    ('"step":1', '"step":1.0', "as step, got 1.0"),
    ('"step":1', '"step":1' + 30 * "0", "as step, got 1000"),
    ('"step":1', '"step":1' + 5000 * "0", "expected JSON, got: Exceeds the limit"),
    ('"step":1', '"step":NaN', "expected JSON, got NaN"),
    ('"step":1', '"step":1,"step":1', "each key once"),
    ('"step":1', '"step":', "expected JSON"),
    ('"files":{', '"files":[{', "expected JSON"),
    ('"files":', '"files":[],"lost":', r"an object as files, got \[\]"),
    ('"cell.safetensors":{', '"../cell.safetensors":{', "file, got '../cell.safetensors'"),
    ('"cell.safetensors":{', '"/etc/cell.safetensors":{', "file, got '/etc/cell"),
    ('"cell.safetensors":{', '"cell.safetensors/x":{', "of a .safetensors file"),
    ('"cell.safetensors":{', '"manifest.json":{', "of a .safetensors file"),
    ('"cell.safetensors":{', '"cell\\u0000.safetensors":{', "of a .safetensors file"),
    ('"cell.safetensors":{', '"other.safetensors":{', "other.safetensors: expected a file, got"),
    ('"size":', '"size":1', r"expected 1\d+ bytes, got \d+"),
    ('"size":', '"size":-', "a size and a sha256"),
    ('"size":', '"size":9' + 40 * "9", "expected 9"),
    ('"size":', '"length":', "a size and a sha256"),
    ('"size":', '"sha256":1,"size":', "each key once"),
    ('"sha256":"', '"sha256":"0', "the SHA-256 that the manifest has"),
    ('"sha256":"', '"sha256":null,"x":"', "a size and a sha256"),
    ('"state":', '"state":[],"lost":', r"an object as state, got \[\]"),
    ('{"$tensor":"1"}', '{"$tensor":"2"}', "cell: expected the name of a tensor"),
    ('{"$tensor":"1"}', '{"$tensor":[]}', "cell: expected the name of a tensor"),
    ('{"$tensor":"1"}', '{"$tensor":"1","more":1}', r"cell: expected one of \$tensor"),
    ('{"$tensor":"1"}', '{"$object":"os.system"}', r"cell: expected one of \$tensor"),
    ('{"$tensor":"1"}', '{"$float":"7ff0"}', "cell: expected 16 hexadecimal digits"),
    ('{"$tensor":"1"}', '{"$float":1}', "cell: expected 16 hexadecimal digits"),
    ('{"$tensor":"1"}', '{"$bytes":"0g"}', "cell: expected hexadecimal digits"),
    ('{"$tensor":"1"}', '{"$tuple":{}}', "cell: expected a list as"),
    ('{"$tensor":"1"}', '{"$dict":[[1]]}', "cell: expected a list of pairs"),
    ('{"$tensor":"1"}', '{"$dict":[[1,2],[1,3]]}', "cell: expected a list of pairs"),
    ('{"$tensor":"1"}', '{"$dict":[[[],2]]}', "cell: expected a list of pairs"),
    ('{"$tensor":"1"}', 300 * '{"$tuple":[' + 300 * "]}", "cell: expected a few levels"),
    ('{"$tensor":"1"}', 100_000 * "[" + 100_000 * "]", "JSON of a few levels"),
    ('{"$tensor":"1"}', "Infinity", "expected JSON, got Infinity"),
    ('"$tensor"', "\x80", "expected JSON"),
]


@pytest.mark.parametrize("old, new, message", FORGED, ids=[new[:40] for _, new, _ in FORGED])
def test_a_forged_manifest_is_refused(tmp_path, old, new, message):
    path = save(tmp_path, 1, cell=Cell([0, fe.ones(2)])) / "manifest.json"
    sealed(path, lambda rest: rest.replace(old.encode(), new.encode("latin-1"), 1))
    with pytest.raises(CheckpointError, match=message):
        nn.load_checkpoint(tmp_path)


def test_a_manifest_may_say_more_than_is_known(tmp_path):
    path = save(tmp_path, 1, value=1) / "manifest.json"
    sealed(path, lambda rest: rest.replace(b'"step"', b'"new":[1],"step"', 1))
    assert nn.load_checkpoint(tmp_path).values == {"value": 1}


def test_a_later_version_is_not_passed_over(tmp_path):
    save(tmp_path, 1)
    path = save(tmp_path, 2) / "manifest.json"
    sealed(path, lambda rest: rest.replace(b'checkpoint":1', b'checkpoint":7', 1))
    with pytest.raises(CheckpointError, match="load it with that one") as caught:
        nn.load_checkpoint(tmp_path)
    assert caught.value.kind == "unsupported"


@pytest.mark.parametrize("file", ["manifest.json", "value.safetensors"])
@pytest.mark.parametrize("kind", ["folder", "link", "fifo"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, file, kind):
    path = save(tmp_path, 1, value=fe.ones(1)) / file
    path.rename(tmp_path / "away")
    {
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(tmp_path / "away"),
        "fifo": lambda: os.mkfifo(path),
    }[kind]()
    with pytest.raises(CheckpointError, match="expected a regular file") as caught:
        nn.load_checkpoint(tmp_path)
    assert caught.value.kind == "unsafe"


def test_a_huge_manifest_is_not_read(tmp_path):
    path = save(tmp_path, 1) / "manifest.json"
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # a hole: it takes no room
    with pytest.raises(CheckpointError, match="at most") as caught:
        nn.load_checkpoint(tmp_path)
    assert caught.value.kind == "too large"


LOOP = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"step": "1"}, fe.errors.OperandError, "expected an integer as step, got '1'"),
        ({"step": True}, fe.errors.OperandError, "expected an integer as step, got True"),
        ({"step": 1.0}, fe.errors.OperandError, "expected an integer as step"),
        ({"step": -1}, fe.errors.ArgumentError, "expected a step from 0"),
        ({"step": 10**18}, fe.errors.ArgumentError, "expected a step from 0"),
        ({"keep": 0}, fe.errors.ArgumentError, "expected to keep at least 1"),
        ({"keep": 1.5}, fe.errors.OperandError, "expected an integer as keep"),
        ({"../x": 1}, fe.errors.ArgumentError, "expected names of Python, got '../x'"),
        ({"größe": 1}, fe.errors.ArgumentError, "expected names of Python"),
        ({"x": 1, "X": 1}, fe.errors.ArgumentError, "two names differ in case only"),
        ({"x": object()}, fe.errors.OperandError, "x: the value: expected tensors.*got object"),
        ({"x": {"a": [{1}]}}, fe.errors.OperandError, "x: a.0: expected tensors.*got set"),
        ({"x": {1: np.ones(2)}}, fe.errors.OperandError, "x: 1: .*got ndarray"),
        ({"x": 1j}, fe.errors.OperandError, "got complex"),
        ({"x": {fe.ones(1): 1}}, fe.errors.OperandError, "numbers or strings as keys"),
        ({"x": LOOP}, fe.errors.ArgumentError, "x: 0.0.*: expected at most 64 levels"),
        ({"x": eval("[" * 65 + "]" * 65)}, fe.errors.ArgumentError, "x: .*at most 64 levels"),
        (
            {"x": 1 << 9000},
            fe.errors.ArgumentError,
            "x: the value: expected an integer of at most 8192 bits",
        ),
    ],
)
def test_what_cannot_be_saved_leaves_nothing_behind(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        nn.save_checkpoint(tmp_path / "new", **{"step": 1, **arguments})
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_loaded(tmp_path, net):
    save(tmp_path, 1, model=net.first, value=1)
    with pytest.raises(fe.errors.OperandError, match=r"value: .* got int; values are in"):
        nn.load_checkpoint(tmp_path, value=1)
    with pytest.raises(fe.errors.ArgumentError, match="expected optimizer in it, which has model"):
        nn.load_checkpoint(tmp_path, optimizer=Cell(None))
    with pytest.raises(nn.StateDictError, match="missing keys"):
        nn.load_checkpoint(tmp_path, model=net)
    with pytest.raises(fe.errors.OperandError, match="expected an integer as step"):
        nn.load_checkpoint(tmp_path, step="1")
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        nn.load_checkpoint(tmp_path / "file")
    with pytest.raises(OSError):
        save(tmp_path / "file", 1)


@settings(deadline=None, max_examples=20)
@given(st.floats())
def test_a_float_in_a_checkpoint_keeps_its_bits(tmp_path_factory, number):
    folder = tmp_path_factory.mktemp("float")
    save(folder, 0, number=number)
    assert same(nn.load_checkpoint(folder).values["number"], number)
    assert math.isnan(number) or nn.load_checkpoint(folder).values["number"] == number
