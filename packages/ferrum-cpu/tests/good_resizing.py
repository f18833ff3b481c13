"""Good calls of the C functions that resize and sample, as `good_calls.py` has them."""

SIZES = ((3, 4), (7, 5), (1, 1), (40, 33))


def resize(draw):
    """Resize planes."""
    dtype, (h, w), (rows, columns) = draw.one("f4", "f8"), draw.one(*SIZES), draw.one(*SIZES)
    taps = draw.one(1, 2, 5)
    weighed = taps > 1 or draw.one(True, False)
    along = [
        each
        for length, size in ((h, rows), (w, columns))
        for each in (
            draw.generator.integers(0, length, (taps, size)).astype("i4"),
            draw.output((taps, size), dtype) if weighed else None,
        )
    ]
    return [draw.output((2, h, w), dtype), draw.output((2, rows, columns), dtype), *along]


def _sampling(draw):
    """Return an image, samples, a grid, and numbers that say how."""
    dtype, size, places = draw.one("f4", "f8"), draw.one(*SIZES), draw.one(*SIZES)
    image, samples = (draw.output((2, 3, *each), dtype) for each in (size, places))
    grid = draw.output((2, *places, 2), dtype)
    return image, samples, grid, [draw.one(0, 1, 2), draw.one(0, 1, 2), draw.one(0, 1)]


def grid_sample(draw):
    """Sample an image."""
    image, samples, grid, how = _sampling(draw)
    return [image, grid, *how, samples]


def grid_sample_input(draw):
    """The gradient of the image."""
    image, samples, grid, how = _sampling(draw)
    return [samples, grid, *how, image]


def grid_sample_grid(draw):
    """The gradient of the grid."""
    image, samples, grid, how = _sampling(draw)
    return [samples, image, grid, *how, draw.output(grid.shape, grid.dtype)]


RECIPES = {
    each.__name__: each for each in (resize, grid_sample, grid_sample_input, grid_sample_grid)
}
