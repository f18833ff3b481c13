"""Good calls of the C functions that pool, as `good_calls.py` has them."""

import numpy as np


def _pooled(draw):
    """Return shapes of planes and what is made of them, how many axes they have, and windows."""
    shape = tuple(max(n, 1) for n in draw.shape(1))
    axes = draw.random.randint(1, min(3, len(shape)))
    size = tuple(draw.one(1, 2, n) for n in shape[-axes:])
    numbers = []
    for _ in size:
        numbers += [draw.one(0, 1, 2, 3), draw.one(1, 2, 3), draw.one(0, 1), draw.one(1, 1, 2)]
    return shape, shape[:-axes] + size, axes, numbers


def max_pool(draw):
    """The largest of windows."""
    shape, small, axes, numbers = _pooled(draw)
    dtype = draw.float()
    return [
        draw.input(shape, dtype),
        *draw.apart(1, small, dtype),
        draw.output(small, "i8"),
        axes,
        numbers,
    ]


def max_pool_input(draw):
    """Its gradient."""
    shape, small, axes, _ = _pooled(draw)
    dtype, count = draw.float(), int(np.prod(shape[-axes:]))
    return [
        draw.input(small, dtype),
        draw.input(small, "i8", count),
        draw.output(shape, dtype),
        axes,
    ]


def average_pool(draw):
    """The means of windows."""
    shape, small, axes, numbers = _pooled(draw)
    dtype = draw.float()
    x, out = draw.input(shape, dtype), draw.output(small, dtype)
    return [x, out, axes, numbers, draw.one(0, 1), draw.one(0.0, 3.0)]


def average_pool_input(draw):
    """Its gradient."""
    shape, small, axes, numbers = _pooled(draw)
    dtype = draw.float()
    g, out = draw.input(small, dtype), draw.output(shape, dtype)
    return [g, out, axes, numbers, draw.one(0, 1), draw.one(0.0, 3.0)]


RECIPES = {
    each.__name__: each for each in (max_pool, max_pool_input, average_pool, average_pool_input)
}
