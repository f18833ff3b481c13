"""Objects on their way between processes of one loader: memory is shared, the rest is pickled.

A memory of more than `SMALL` bytes goes into a file that has no name (memfd), whose descriptor the
socket hands over; nothing can be left behind, however a process ends. Smaller ones are sent as they
are, since mapping costs more than copying them.

A message is its length, then its bytes. Who gives a function `ready` never waits in a socket: it is
called wherever one would wait, with the event of `select.poll` to wait for, and may raise.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import select
import socket
import struct
import tempfile
import weakref
from array import array
from collections.abc import Callable, Sequence
from errno import EMFILE
from typing import Any

import numpy as np

from ferrum import Tensor, device
from ferrum.dtypes import as_dtype

SMALL = 1 << 16
MAPPED = 1 << 20  # from this size on memory is mapped where it arrives, below it is copied
FILES = 16  # a parcel has at most so many files; Linux bounds those under way
MAPS = 256  # so many are mapped at a time, since each holds a descriptor; the rest is copied

POPULATE = getattr(mmap, "MAP_POPULATE", 0)  # Linux maps it all at once
CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # no program that is started has the files
LENGTH = struct.Struct("!Q")
ROOM = socket.CMSG_SPACE(FILES * array("i").itemsize)

Ready = Callable[[int], None]

_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


class _Pickler(pickle.Pickler):
    """Pickles tensors as arrays, which go out of band."""

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, Tensor):
            return NotImplemented
        if obj.requires_grad and not obj.is_leaf:
            return obj.__reduce_ex__(5)  # which says why not
        host = np.ascontiguousarray(obj.detach().numpy()).reshape(-1).view(np.uint8)
        form = (type(obj), obj.dtype.name, obj.shape, str(obj.device), obj.requires_grad)
        return _tensor, (host, *form)


def _tensor(
    host: Any, kind: type[Tensor], dtype: str, shape: Any, where: str, requires_grad: bool
) -> Tensor:
    found = device(where)
    out = kind.__new__(kind)  # whose own constructor may take something else
    Tensor.__init__(out, found.from_numpy(host.view(as_dtype(dtype)).reshape(shape)), found)
    return out.requires_grad_(requires_grad)


class Parcel:
    """An object packed for sending, as often as one likes; `close` frees its files."""

    def __init__(self, content: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        stream = io.BytesIO()
        _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(content)
        memories = [buffer.raw() for buffer in buffers]
        large = max(SMALL, sum(memory.nbytes for memory in memories) // FILES)
        self.data = stream.getvalue()
        self.parts: list[bytearray | int] = []
        self.files: list[int] = []
        try:
            for memory in memories:
                if memory.nbytes > large:
                    self.files.append(_filed(memory))
                    self.parts.append(memory.nbytes)
                else:
                    self.parts.append(bytearray(memory))
        except BaseException:
            self.close()
            raise

    def send(self, end: socket.socket, ready: Ready | None = None) -> None:
        """Send the object to who calls `receive` at the other end."""
        send(end, pickle.dumps((self.data, self.parts), protocol=5), self.files, ready)

    def close(self) -> None:
        """Free the files: who received them has them still."""
        _close(self.files)


def _filed(memory: memoryview) -> int:
    """Return a file without a name that holds a copy of `memory`."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("ferrum")
    else:  # other systems than Linux
        with tempfile.TemporaryFile() as unnamed:
            file = os.dup(unnamed.fileno())
    try:
        rest = memory
        while rest:
            rest = rest[os.write(file, rest) :]
    except BaseException:
        os.close(file)
        raise
    return file


def send(
    end: socket.socket, data: bytes, files: Sequence[int] = (), ready: Ready | None = None
) -> None:
    """Send a message, and descriptors with it."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", files))] if files else []
    rest = [memoryview(LENGTH.pack(len(data))), memoryview(data)]
    while rest:
        try:
            sent = end.sendmsg(rest, rights, socket.MSG_DONTWAIT if ready else 0)
        except BlockingIOError:
            if ready is None:
                raise
            ready(select.POLLOUT)
            continue
        rights = []
        while rest and sent >= len(rest[0]):
            sent -= len(rest.pop(0))
        if sent:
            rest[0] = rest[0][sent:]


def take(end: socket.socket, ready: Ready | None = None) -> tuple[bytearray, list[int]]:
    """Wait for a message; return it and the descriptors that came with it."""
    files: list[int] = []
    try:
        (length,) = LENGTH.unpack(_filled(end, LENGTH.size, files, ready))
        return _filled(end, length, files, ready), files
    except BaseException:
        _close(files)
        raise


def _filled(end: socket.socket, size: int, files: list[int], ready: Ready | None) -> bytearray:
    data = bytearray(size)
    rest = memoryview(data)
    flags = CLOEXEC | (socket.MSG_DONTWAIT if ready else 0)
    while rest:
        try:
            count, extras, _, _ = end.recvmsg_into([rest], ROOM, flags)
        except BlockingIOError:
            if ready is None:
                raise
            ready(select.POLLIN)
            continue
        if not count:
            raise EOFError
        for level, kind, given in extras:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                files += array("i", given[: len(given) - len(given) % array("i").itemsize])
        rest = rest[count:]
    return data


def _close(files: list[int]) -> None:
    while files:
        os.close(files.pop())


def receive(
    end: socket.socket, ready: Ready | None = None, private: bool = False
) -> Callable[[], Any]:
    """Wait for an object that was sent, and return a function that unpickles it.

    Its memory is shared with all who received the same parcel; with `private` what one of them
    writes is seen by no other. Raises EOFError if the other end hung up, OSError if there are not
    descriptors enough.
    """
    message, files = take(end, ready)
    try:
        data, parts = pickle.loads(message)
        if len(files) < sum(not isinstance(part, bytearray) for part in parts):
            raise OSError(EMFILE, os.strerror(EMFILE))
        buffers = [
            part if isinstance(part, bytearray) else _opened(files.pop(0), part, private)
            for part in parts
        ]
    finally:
        _close(files)
    return lambda: pickle.loads(data, buffers=buffers)


def _opened(file: int, size: int, private: bool) -> mmap.mmap | bytearray:
    try:
        if private:
            return mmap.mmap(file, size, flags=mmap.MAP_PRIVATE)
        if size >= MAPPED and len(_maps) < MAPS:
            memory = mmap.mmap(file, size, flags=mmap.MAP_SHARED | POPULATE)
            _maps.add(memory)
            return memory
        copied = bytearray(size)
        rest = memoryview(copied)
        while rest:
            rest = rest[os.preadv(file, [rest], size - len(rest)) :]
        return copied
    finally:
        os.close(file)
