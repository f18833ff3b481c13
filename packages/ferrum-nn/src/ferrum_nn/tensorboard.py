"""Event files for TensorBoard, written without it: `tensorboard --logdir runs` shows them.

    with nn.tensorboard.SummaryWriter("runs/a") as writer:
        writer.add_scalar("loss", loss, step)

A file is a list of records, each a protobuf message `Event`. A record is the length as a
little-endian uint64, its checksum, the bytes, and their checksum: a CRC-32C (RFC 3720), rotated by
15 bits, plus 0xa282ead8. Of protobuf only four forms are needed: integers, floats, doubles, bytes.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from ferrum import Tensor
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum_nn.paths import path_of

Array = npt.NDArray[Any]


class SummaryWriter:
    """Writes events into a new file in `log_dir`.

    Without a `log_dir` that is runs/<date and time>_<host><comment>. What was added is in the file
    after `flush` or `close`, and at the latest `flush_secs` seconds later, at the next `add_...`.
    Several threads may add. All methods take the step as `global_step`, 0 if it is None, and the
    time as `walltime`, now if it is None.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        comment: str = "",
        *,
        flush_secs: float = 120,
        filename_suffix: str = "",
    ) -> None:
        for name, text in (("comment", comment), ("filename_suffix", filename_suffix)):
            if not isinstance(text, str):
                raise OperandError(f"SummaryWriter: expected a string as {name}, got {text!r}")
        if {os.sep, os.altsep, "\0"} & {*filename_suffix}:
            raise ArgumentError(
                f"SummaryWriter: expected the end of a name as filename_suffix, got "
                f"{filename_suffix!r}"
            )
        if not _seconds("SummaryWriter", "flush_secs", flush_secs) >= 0:
            raise ArgumentError(
                f"SummaryWriter: expected flush_secs of at least 0, got {flush_secs}"
            )
        if log_dir is None:
            stamp = datetime.now().strftime("%b%d_%H-%M-%S")
            log_dir = Path("runs") / f"{stamp}_{socket.gethostname()}{comment}"
        folder = path_of("SummaryWriter", "log_dir", log_dir)
        self.log_dir = str(log_dir)
        self.flush_secs = flush_secs
        self._lock = threading.Lock()
        self._file = _new_file(folder, filename_suffix)
        self._flushed = time.monotonic()
        self._others: dict[str, SummaryWriter] = {}
        self._event(_text(3, "brain.Event:2"), None, None)
        self.flush()

    # ---- adding

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Add a number, or a tensor of one element. It is kept as float32."""
        value = _number("add_scalar", scalar_value)
        self._add("add_scalar", tag, _float(2, value), global_step, walltime)

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Add several numbers to one chart, each as a run of its own, log_dir/<main_tag>_<tag>."""
        if not isinstance(tag_scalar_dict, Mapping):
            raise OperandError(
                f"add_scalars: expected a dict of numbers, got {type(tag_scalar_dict).__name__}"
            )
        for tag, value in tag_scalar_dict.items():
            name = re.sub(r"[^\w.\-]", "_", f"{main_tag}_{tag}")
            with self._lock:
                self._check_open()
                if name not in self._others:
                    folder = Path(self.log_dir) / name
                    self._others[name] = SummaryWriter(folder, flush_secs=self.flush_secs)
            self._others[name].add_scalar(main_tag, value, global_step, walltime)

    def add_histogram(
        self,
        tag: str,
        values: Any,
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Add the distribution of a tensor, an array or a list; what is not finite is left out."""
        numbers = _array("add_histogram", values).astype(np.float64).reshape(-1)
        if not numbers.size:
            raise ShapeError("add_histogram: expected at least one value")
        message = _message(5, _histogram(numbers[np.isfinite(numbers)]))
        self._add("add_histogram", tag, message, global_step, walltime)

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """Add an image: uint8, or floats from 0 to 1; with 1, 3 (RGB) or 4 (RGBA) channels.

        `dataformats` names the axes, "CHW", "HWC" or "HW".
        """
        pixels = _pixels(_array("add_image", img_tensor), dataformats)
        height, width, channels = pixels.shape
        image = _int(1, height) + _int(2, width) + _int(3, channels) + _message(4, png(pixels))
        self._add("add_image", tag, _message(4, image), global_step, walltime)

    def add_text(
        self,
        tag: str,
        text_string: str,
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Add a text, which TensorBoard shows as Markdown."""
        if not isinstance(text_string, str):
            raise OperandError(f"add_text: expected a string, got {type(text_string).__name__}")
        metadata = _message(9, _message(1, _text(1, "text")))  # the name of the plugin
        one = _message(2, _message(2, _int(1, 1)))  # a shape: one axis, of size 1
        tensor = _message(8, _int(1, 7) + one + _text(8, text_string))  # 7 is DT_STRING
        value = metadata + tensor
        self._add("add_text", tag, value, global_step, walltime, suffix="/text_summary")

    # ---- the file

    def flush(self) -> None:
        """Hand all that was added to the system."""
        with self._lock:
            self._check_open()
            self._file.flush()
            self._flushed = time.monotonic()
            others = list(self._others.values())
        for other in others:
            other.flush()

    def close(self) -> None:
        """Write what was added and close the file; nothing can be added then."""
        with self._lock:
            self._file.close()
            others = list(self._others.values())
        for other in others:
            other.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._file.closed:
            raise ArgumentError(f"SummaryWriter: {self.log_dir}: the writer is closed")

    def _add(
        self,
        where: str,
        tag: str,
        value: bytes,
        step: int | None,
        walltime: float | None,
        suffix: str = "",
    ) -> None:
        if not isinstance(tag, str):
            raise OperandError(f"{where}: expected a string as tag, got {type(tag).__name__}")
        if step is not None and not isinstance(step, (int, np.integer)):
            raise OperandError(f"{where}: expected an integer as step, got {type(step).__name__}")
        if not -(2**63) <= (step or 0) < 2**63:
            raise ArgumentError(f"{where}: expected a step of 64 bits, got {step}")
        if walltime is not None:
            _seconds(where, "walltime", walltime)
        self._event(_message(5, _message(1, _text(1, tag + suffix) + value)), step, walltime)

    def _event(self, what: bytes, step: int | None, walltime: float | None) -> None:
        when = _double(1, time.time() if walltime is None else float(walltime))
        event = when + (_int(2, int(step)) if step else b"") + what
        length = struct.pack("<Q", len(event))
        record = length + _masked_crc(length) + event + _masked_crc(event)
        with self._lock:
            self._check_open()
            self._file.write(record)
            if time.monotonic() - self._flushed >= self.flush_secs:
                self._file.flush()
                self._flushed = time.monotonic()


def _seconds(where: str, name: str, value: Any) -> float:
    if not isinstance(value, (int, float)):
        raise OperandError(f"{where}: expected seconds as {name}, got {value!r}")
    return value


def _new_file(folder: Path, suffix: str) -> BinaryIO:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"events.out.tfevents.{int(time.time()):010}.{socket.gethostname()}.{os.getpid()}"
    for number in count():
        try:
            return (folder / f"{stem}.{number}{suffix}").open("xb")
        except FileExistsError:
            continue
    raise AssertionError


# ---- what is added


def _array(where: str, value: Any) -> Array:
    if isinstance(value, Tensor):
        value = value.detach().numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise DTypeError(f"{where}: expected numbers, got {array.dtype}")
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _number(where: str, value: Any) -> float:
    array = _array(where, value)
    if array.size != 1:
        raise ShapeError(f"{where}: expected one number, got the shape {array.shape}")
    return float(array.reshape(()))


def _histogram(values: Array) -> bytes:
    """Return a HistogramProto. Its buckets grow by a tenth, from 1e-12 to 1e20 on either side."""
    steps = 1e-12 * 1.1 ** np.arange(775)
    most = np.finfo(np.float64).max
    limits = np.concatenate([[-most], -steps[::-1], [0.0], steps, [most]])
    counts, _ = np.histogram(values, limits)
    used = np.flatnonzero(counts)
    if used.size:  # and one empty bucket in front, for the first one's left end
        counts, limits = (x[max(used[0] - 1, 0) : used[-1] + 1] for x in (counts, limits[1:]))
    else:
        counts, limits = np.zeros(1), np.zeros(1)
    ends = [values.min(), values.max()] if values.size else [0.0, 0.0]
    with np.errstate(over="ignore"):
        facts = [*ends, values.size, values.sum(), np.square(values).sum()]
    return b"".join(
        [
            *(_double(i, float(fact)) for i, fact in enumerate(facts, 1)),
            _message(6, limits.astype("<f8").tobytes()),
            _message(7, counts.astype("<f8").tobytes()),
        ]
    )


def _pixels(image: Array, axes: str) -> Array:
    """Return an image as uint8 of the axes height, width, channels."""
    if axes not in ("CHW", "HWC", "HW"):
        raise ArgumentError(f"add_image: expected 'CHW', 'HWC' or 'HW' as dataformats, got {axes}")
    if image.ndim != len(axes):
        raise ShapeError(f"add_image: expected the axes {axes}, got the shape {image.shape}")
    if axes == "HW":
        image = image[:, :, None]
    elif axes == "CHW":
        image = image.transpose(1, 2, 0)
    if image.shape[2] not in (1, 3, 4) or not image.size:
        raise ShapeError(f"add_image: expected 1, 3 or 4 channels, got (H, W, C) = {image.shape}")
    if image.dtype.kind in "fb":
        image = (np.nan_to_num(image.astype(np.float32)) * 255).clip(0, 255).astype(np.uint8)
    if image.dtype != np.uint8:
        raise DTypeError(f"add_image: expected uint8 or floats from 0 to 1, got {image.dtype}")
    return image


def png(pixels: Array) -> bytes:
    """Return the PNG file of pixels (height, width, channels) of uint8 (RFC 2083)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width, channels = pixels.shape
    color = {1: 0, 3: 2, 4: 6}[channels]
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # in front, the filter: none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


# ---- protobuf: each field begins with its number and the form of what follows


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # a negative int64 takes ten bytes
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    with np.errstate(over="ignore"):  # what is too large becomes an infinity
        narrow = float(np.float32(value))
    return _varint(field << 3 | 5) + struct.pack("<f", narrow)


def _message(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode("utf-8", "replace"))


# ---- CRC-32C


def _table() -> Iterable[int]:
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


_CRC = tuple(_table())


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data`, of Castagnoli's polynomial 0x1edc6f41."""
    crc, table = 0xFFFFFFFF, _CRC
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _masked_crc(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
