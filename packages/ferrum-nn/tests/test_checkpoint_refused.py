"""What is damaged, forged, missing, or cannot be saved: the error says what is wrong."""

import hashlib
import os
import random

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import CheckpointError


def save(folder, step, **parts):
    return nn.save_checkpoint(folder, step=step, rng=False, **parts)


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
    ('{"$tensor":"1"}', '{"$tuple":[{"$object":1}]}', r"cell: expected one of \$tensor"),
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
    path = save(tmp_path, 1, cell=[0, fe.ones(2)]) / "manifest.json"
    sealed(path, lambda rest: rest.replace(old.encode(), new.encode("latin-1"), 1))
    with pytest.raises(CheckpointError, match=message):
        nn.load_checkpoint(tmp_path)


def test_states_of_generators_that_make_no_sense(tmp_path):
    path = nn.save_checkpoint(tmp_path, step=1) / "manifest.json"
    sealed(path, lambda rest: rest.replace(b'"python":', b'"snake":', 1))
    with pytest.raises(CheckpointError, match="rng: expected states of generators"):
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
        nn.load_checkpoint(tmp_path, optimizer=net)
    with pytest.raises(nn.StateDictError, match="missing keys"):
        nn.load_checkpoint(tmp_path, model=net)
    with pytest.raises(fe.errors.OperandError, match="expected an integer as step"):
        nn.load_checkpoint(tmp_path, step="1")
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        nn.load_checkpoint(tmp_path / "file")
    with pytest.raises(OSError):
        save(tmp_path / "file", 1)


@pytest.mark.parametrize("folder", [None, 3, b"x", "a\0b"])
def test_what_is_no_path(folder):
    for call in (
        lambda: save(folder, 1, value=1),
        lambda: nn.load_checkpoint(folder),
        lambda: nn.list_checkpoints(folder),
    ):
        with pytest.raises(fe.FerrumError, match="_checkpoints?: expected a path"):
            call()


def test_rng_is_no_name_for_a_part(tmp_path):
    with pytest.raises(fe.errors.OperandError, match="True or False as rng, got Linear"):
        nn.save_checkpoint(tmp_path, step=1, rng=nn.Linear(1, 1))
    with pytest.raises(fe.errors.OperandError, match="True or False as rng, got Generator"):
        nn.load_checkpoint(tmp_path, rng=fe.Generator())
    assert not list(tmp_path.iterdir())


def test_files_and_links_that_are_called_like_checkpoints(tmp_path):
    """A file stays; a link is no checkpoint of its own step, and goes with the old ones."""
    save(tmp_path, 1, value=1)
    (tmp_path / "step-00000005").symlink_to(tmp_path / "step-00000001")
    (tmp_path / "step-00000007").write_text("mine")
    assert nn.list_checkpoints(tmp_path) == [1]
    with pytest.warns(RuntimeWarning, match="passed over"):
        assert nn.load_checkpoint(tmp_path).step == 1
    save(tmp_path, 7, value=1)
    save(tmp_path, 9, keep=1, value=1)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["step-00000007", "step-00000009"]
    assert (tmp_path / "step-00000007").read_text() == "mine"
