"""The array: a look at flat memory, by a shape and strides."""

import math

import numpy as np


class Grid:
    """A block of bytes, where in it the first element lies, and how far apart neighbours are."""

    __slots__ = ("dtype", "memory", "offset", "shape", "strides")

    def __init__(self, memory, shape, strides, offset, dtype):
        self.memory = memory
        self.shape = shape
        self.strides = strides
        self.offset = offset
        self.dtype = dtype

    def look(self, shape, strides, offset=0):
        """Return another look at the same memory; `offset` is in bytes from this one's."""
        return Grid(self.memory, tuple(shape), tuple(strides), self.offset + offset, self.dtype)

    @property
    def window(self):
        """The elements, for NumPy to compute with: it reads and writes this memory."""
        return np.ndarray(self.shape, self.dtype, self.memory, self.offset, self.strides)

    @property
    def is_contiguous(self):
        """Whether the elements lie in row-major order without gaps."""
        steps = zip(self.shape, self.strides, gapless(self.shape, self.dtype), strict=True)
        return 0 in self.shape or all(have == want for size, have, want in steps if size > 1)


def gapless(shape, dtype):
    """Return the strides of row-major order."""
    return tuple(dtype.itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape)))


def stored(values, dtype):
    """Return a grid of its own with the values of a NumPy array."""
    memory = bytearray(max(values.size, 1) * dtype.itemsize)
    grid = Grid(memory, values.shape, gapless(values.shape, dtype), 0, dtype)
    np.copyto(grid.window, values, casting="unsafe")
    return grid
