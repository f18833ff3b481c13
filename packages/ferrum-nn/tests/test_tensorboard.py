"""Event files are read back by a reader of this file's own, and by TensorBoard where it is."""

import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ferrum as fe
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum_nn import tensorboard
from ferrum_nn.tensorboard import SummaryWriter


def crc32c(data):
    """The checksum bit by bit, as RFC 3720 has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def records(path):
    content, place = Path(path).read_bytes(), 0

    def take(size):
        nonlocal place
        piece = content[place : place + size]
        assert len(piece) == size, "a record is cut off"
        place += size
        return piece

    def checked(size):
        data = take(size)
        (masked,) = struct.unpack("<I", take(4))
        rotated = (masked - 0xA282EAD8) % 2**32
        assert (rotated << 15 | rotated >> 17) % 2**32 == crc32c(data)
        return data

    while place < len(content):
        yield checked(struct.unpack("<Q", checked(8))[0])


def fields(message):
    """The fields of a protobuf message: a list of values for each number."""
    found, place = {}, 0

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(message):
        key = varint()
        if key & 7 == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(key & 7) or varint()
            value = message[place : place + size]
            assert len(value) == size
            place += size
            if key & 7 != 2:
                value = struct.unpack("<d" if key & 7 == 1 else "<f", value)[0]
        found.setdefault(key >> 3, []).append(value)
    return found


def events(folder):
    """(tag, step, time, the fields of the value) of each event in the one file of a folder."""
    (path,) = (each for each in Path(folder).iterdir() if each.is_file())
    first, *rest = map(fields, records(path))
    assert first[3] == [b"brain.Event:2"]
    found = []
    for event in rest:
        (value,) = fields(event[5][0])[1]
        value = fields(value)
        found.append((value[1][0].decode(), event.get(2, [0])[0], event[1][0], value))
    return found


def test_scalars(tmp_path):
    with SummaryWriter(tmp_path / "a" / "b") as writer:
        writer.add_scalar("loss", 0.1, 3, 12.5)
        writer.add_scalar("größe", fe.tensor([2.0], dtype=fe.bfloat16))
        writer.add_scalar("x", np.int64(7), np.int64(2**40))
        writer.add_scalar("x", fe.tensor(1.0, requires_grad=True) * 2, global_step=-1)
        writer.add_scalar("x", float("nan"))
        writer.add_scalar("x", 1e300)
    found = events(tmp_path / "a" / "b")
    assert [each[0] for each in found] == ["loss", "größe", "x", "x", "x", "x"]
    assert [each[1] for each in found] == [3, 0, 2**40, 2**64 - 1, 0, 0]
    values = [each[3][2][0] for each in found]
    assert values[0] == np.float32(0.1)
    assert values[1:4] == [2.0, 7.0, 2.0]
    assert np.isnan(values[4]) and values[5] == np.inf
    assert found[0][2] == 12.5
    assert abs(found[1][2] - time.time()) < 60


def test_several_scalars_are_runs_of_their_own(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        for step in range(2):
            writer.add_scalars("loss", {"train": step, "a/b": 2 * step}, step)
        writer.flush()
        assert [each[3][2][0] for each in events(tmp_path / "loss_train")] == [0.0, 1.0]
    assert [each[:2] for each in events(tmp_path / "loss_a_b")] == [("loss", 0), ("loss", 1)]
    assert events(tmp_path) == []


def histogram(folder, values):
    with SummaryWriter(folder) as writer:
        writer.add_histogram("h", values)
    ((_, _, _, value),) = events(folder)
    found = fields(value[5][0])
    limits, counts = (np.frombuffer(found[i][0], "<f8") for i in (6, 7))
    return [found[i][0] for i in range(1, 6)], limits, counts


def test_histograms(tmp_path):
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    facts, limits, counts = histogram(tmp_path, fe.from_numpy(values.reshape(10, 100)))
    exact = values.astype(np.float64)
    assert facts[:3] == [exact.min(), exact.max(), 1000]
    assert facts[3:] == pytest.approx([exact.sum(), (exact**2).sum()])
    assert counts.sum() == 1000
    assert len(limits) == len(counts)
    assert (np.diff(limits) > 0).all()
    assert counts[0] == 0 and counts[-1] > 0  # the left end of the first bucket that is used
    for limit, below in zip(limits, counts.cumsum(), strict=True):
        assert (exact < limit).sum() == below


@pytest.mark.parametrize(
    "values, number",
    [
        ([0.0], 1), ([1e30, -1e30], 2), ([float("nan"), 1.0, float("inf")], 1),
        ([float("nan")], 0), ([True, False], 2), ([1, 1, 1], 3), (np.float16(1), 1), ([1e308], 1),
    ],
)  # fmt: skip
def test_histograms_of_anything(tmp_path, values, number):
    facts, limits, counts = histogram(tmp_path, values)
    assert facts[2] == counts.sum() == number
    assert len(limits) == len(counts) > 0


def decoded(image):
    """The pixels of a PNG without filters."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(image):
        (size,) = struct.unpack(">I", image[place : place + 4])
        body = image[place + 4 : place + 8 + size]
        assert struct.unpack(">I", image[place + 8 + size : place + 12 + size])[0] == (
            zlib.crc32(body)
        )
        chunks[body[:4]] = body[4:]
        place += 12 + size
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, color, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, rest) == (8, [0, 0, 0])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, {0: 1, 2: 3, 6: 4}[color])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("axes", ["CHW", "HWC"])
def test_images(tmp_path, channels, axes):
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, channels), np.uint8)
    given = pixels if axes == "HWC" else pixels.transpose(2, 0, 1)
    with SummaryWriter(tmp_path) as writer:
        writer.add_image("i", fe.tensor(given.copy()), 1, dataformats=axes)
    ((tag, step, _, value),) = events(tmp_path)
    image = fields(value[4][0])
    assert (tag, step) == ("i", 1)
    assert [image[i] for i in (1, 2, 3)] == [[5], [7], [channels]]
    assert np.array_equal(decoded(image[4][0]), pixels)


def test_images_of_floats_and_bools(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.add_image("i", fe.tensor([[0.0, 0.5, 1.0, 2.0, -1.0, fe.nan]]), dataformats="HW")
        writer.add_image("i", fe.tensor([[True, False]]), dataformats="HW")
    images = [decoded(fields(each[3][4][0])[4][0]).ravel().tolist() for each in events(tmp_path)]
    assert images == [[0, 127, 255, 255, 0, 0], [255, 0]]


def test_texts(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.add_text("t", "*a* ✓ \ud800", 4)
    ((tag, step, _, value),) = events(tmp_path)
    assert (tag, step) == ("t/text_summary", 4)
    assert fields(fields(value[9][0])[1][0])[1] == [b"text"]
    tensor = fields(value[8][0])
    assert tensor[1] == [7]
    assert tensor[8] == ["*a* ✓ ?".encode()]


@given(st.binary(max_size=40))
def test_the_checksum(data):
    assert tensorboard.crc32c(data) == crc32c(data)


def test_the_checksum_of_the_standard():
    assert tensorboard.crc32c(b"123456789") == 0xE3069283
    assert tensorboard.crc32c(bytes(32)) == 0x8A9136AA


def test_what_was_added_is_in_the_file_after_flush_or_in_time(tmp_path):
    writer = SummaryWriter(tmp_path)
    assert events(tmp_path) == []
    writer.add_scalar("x", 1)
    writer.flush()
    assert len(events(tmp_path)) == 1
    writer.close()
    writer.close()
    at_once = SummaryWriter(tmp_path / "b", flush_secs=0)
    at_once.add_scalar("x", 1)
    assert len(events(tmp_path / "b")) == 1
    at_once.close()


def test_each_writer_has_a_file_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SummaryWriter("a"), SummaryWriter("a", filename_suffix=".end"), SummaryWriter("a"):
        names = [path.name for path in Path("a").iterdir()]
    assert len(names) == 3
    assert sum(name.endswith(".end") for name in names) == 1
    with SummaryWriter(comment="_mine") as writer:
        assert Path(writer.log_dir).parent == Path("runs")
    assert [path.name.endswith("_mine") for path in Path("runs").iterdir()] == [True]


@pytest.mark.parametrize(
    "error, message, method, arguments",
    [
        (OperandError, "add_scalar: expected a string as tag, got int", "add_scalar", (1, 1)),
        (OperandError, "expected an integer as step, got float", "add_scalar", ("x", 1, 1.0)),
        (OperandError, "expected an integer as step, got str", "add_text", ("x", "y", "1")),
        (ShapeError, r"expected one number, got the shape \(2,\)", "add_scalar", ("x", [1, 2])),
        (ShapeError, r"expected one number, got the shape \(0,\)", "add_scalar", ("x", [])),
        (DTypeError, "add_scalar: expected numbers", "add_scalar", ("x", "1")),
        (DTypeError, "add_scalar: expected numbers", "add_scalar", ("x", None)),
        (DTypeError, "add_scalar: expected numbers", "add_scalar", ("x", 1j)),
        (OperandError, "add_scalars: expected a dict", "add_scalars", ("x", [1])),
        (ShapeError, "add_histogram: expected at least one value", "add_histogram", ("x", [])),
        (DTypeError, "add_histogram: expected numbers", "add_histogram", ("x", ["a"])),
        (OperandError, "add_text: expected a string, got int", "add_text", ("x", 1)),
        (ShapeError, r"the axes CHW, got the shape \(2, 2\)", "add_image", ("x", np.ones((2, 2)))),
        (ShapeError, "expected 1, 3 or 4 channels", "add_image", ("x", np.ones((2, 2, 2)))),
        (ShapeError, "expected 1, 3 or 4 channels", "add_image", ("x", np.ones((3, 0, 2)))),
        (DTypeError, "uint8 or floats", "add_image", ("x", np.ones((1, 2, 2), np.int64))),
        (ArgumentError, "as dataformats, got XY", "add_image", ("x", np.ones(2), 0, 0.0, "XY")),
        (ArgumentError, "a step of 64 bits", "add_scalar", ("x", 1, 2**64)),
        (OperandError, "expected seconds as walltime", "add_scalar", ("x", 1, 1, "now")),
    ],
)
def test_what_cannot_be_added(tmp_path, error, message, method, arguments):
    with SummaryWriter(tmp_path) as writer, pytest.raises(error, match=message):
        getattr(writer, method)(*arguments)
    assert events(tmp_path) == []


def test_a_closed_writer_says_so(tmp_path):
    writer = SummaryWriter(tmp_path)
    writer.close()
    for act in [writer.flush, lambda: writer.add_scalar("x", 1), lambda: writer.add_text("x", "")]:
        with pytest.raises(ArgumentError, match="the writer is closed"):
            act()
    with pytest.raises(ArgumentError, match="the writer is closed"):
        writer.add_scalars("x", {"a": 1})
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        SummaryWriter(tmp_path / "file")


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"log_dir": 3}, OperandError, "expected a path as log_dir, got 3"),
        ({"log_dir": "a\0"}, ArgumentError, "expected a path without NUL as log_dir"),
        ({"comment": 3}, OperandError, "expected a string as comment"),
        ({"filename_suffix": None}, OperandError, "expected a string as filename_suffix"),
        ({"filename_suffix": "/a"}, ArgumentError, "the end of a name as filename_suffix"),
        ({"flush_secs": "x"}, OperandError, "expected seconds as flush_secs, got 'x'"),
        ({"flush_secs": -1}, ArgumentError, "flush_secs of at least 0, got -1"),
        ({"flush_secs": float("nan")}, ArgumentError, "flush_secs of at least 0, got nan"),
    ],
)
def test_writers_that_cannot_be_made(tmp_path, arguments, error, message):
    with pytest.raises(error, match=f"SummaryWriter: .*{message}"):
        SummaryWriter(**{"log_dir": tmp_path, **arguments})
    assert not list(tmp_path.iterdir())


def test_tensorboard_reads_it(tmp_path):
    module = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = pytest.importorskip(module)
    with SummaryWriter(tmp_path) as writer:
        for step in range(3):
            writer.add_scalar("loss", step / 2, step)
        writer.add_histogram("weights", np.arange(-5.0, 5.0), 7)
        writer.add_image("image", np.full((3, 4, 5), 0.5), 8)
        writer.add_text("text", "hello", 9)
    found = accumulator.EventAccumulator(str(tmp_path), {"tensors": 0})
    found.Reload()
    tags = found.Tags()
    assert set(tags["tensors"]) | set(tags["scalars"]) | set(tags["images"]) | set(
        tags["histograms"]
    ) == {"loss", "weights", "image", "text/text_summary"}
    assert [(each.step, each.value) for each in found.Scalars("loss")] == [
        (0, 0.0), (1, 0.5), (2, 1.0)
    ]  # fmt: skip
    (weights,) = found.Histograms("weights")
    value = weights.histogram_value
    assert (value.min, value.max, value.num) == (-5, 4, 10)
    assert (sum(value.bucket), len(value.bucket)) == (10, len(value.bucket_limit))
    (image,) = found.Images("image")
    assert (image.width, image.height) == (5, 4)
    assert (decoded(image.encoded_image_string) == 127).all()
    (text,) = found.Tensors("text/text_summary")
    assert list(text.tensor_proto.string_val) == [b"hello"]
    assert found.SummaryMetadata("text/text_summary").plugin_data.plugin_name == "text"
