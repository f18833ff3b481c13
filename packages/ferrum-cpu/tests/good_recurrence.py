"""Good calls of the C functions of recurrence, as `good_calls.py` has them."""

import numpy as np

GATES, KEPT = (1, 1, 4, 3), (0, 0, 4, 4)


def _numbers(draw):
    """Return the kind, the direction, the sizes of steps, rows, batch, units and the dtype."""
    batch = draw.one(0, 1, 3, 9)
    lengths = [draw.random.randint(1, 6) for _ in range(batch)]
    sizes = [sum(each > t for each in lengths) for t in range(max(lengths, default=2))]
    steps = np.array(sizes, np.int64)
    n, dtype = draw.one(1, 3, 16, 37), draw.one(np.dtype("f4"), np.dtype("f8"))
    return draw.random.randrange(4), draw.one(0, 1), steps, sum(sizes), batch, n, dtype


def recurrence(draw):
    """All steps of a layer."""
    kind, reverse, steps, rows, batch, n, dtype = _numbers(draw)
    wide, lstm, gated = GATES[kind] * n, kind == 2, kind > 1
    (out, cells), (h, c) = draw.apart(2, (rows, n), dtype), draw.apart(2, (batch, n), dtype)
    return [
        kind,
        reverse,
        steps,
        np.ones((rows, wide), dtype),
        np.ones((batch, n), dtype),
        np.ones((batch, n), dtype) if lstm else None,
        np.ones((wide, n), dtype),
        draw.one(None, np.ones(wide, dtype)),
        out,
        h,
        c if lstm else None,
        *(draw.apart(1, (rows, KEPT[kind] * n), dtype) if gated else [None]),
        cells if lstm else None,
    ]


def recurrence_backward(draw):
    """Its gradients."""
    kind, reverse, steps, rows, batch, n, dtype = _numbers(draw)
    wide, lstm, gated = GATES[kind] * n, kind == 2, kind > 1
    dh, dc = draw.apart(2, (batch, n), dtype)
    return [
        kind,
        reverse,
        steps,
        draw.one(None, np.ones((rows, n), dtype)),
        draw.one(None, np.ones((batch, n), dtype)),
        draw.one(None, np.ones((batch, n), dtype)),
        np.ones((rows, n), dtype),
        np.ones((rows, KEPT[kind] * n), dtype) if gated else None,
        np.ones((rows, n), dtype) if lstm else None,
        np.ones((batch, n), dtype),
        np.ones((batch, n), dtype) if lstm else None,
        np.ones((wide, n), dtype),
        *draw.apart(1, (rows, wide), dtype),
        dh,
        dc if lstm else None,
        *draw.apart(1, (wide, n), dtype),
        *(draw.apart(1, (wide,), dtype) if kind == 3 else [None]),
    ]


RECIPES = {each.__name__: each for each in (recurrence, recurrence_backward)}
