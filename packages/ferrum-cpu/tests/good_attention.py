"""Good calls of the C functions of attention, as `good_calls.py` has them."""

import numpy as np

LEADS = [((), ()), ((1,), (1,)), ((4,), (2,)), ((2, 3), (2, 1)), ((0,), (0,)), ((2, 1, 2),) * 2]


def _operands(draw):
    """Return query, key, value, mask and gradient, what is computed in, and numbers."""
    (lead, shared), rows, keys = draw.one(*LEADS), draw.one(0, 1, 9, 70), draw.one(0, 1, 5, 300)
    size, value, dtype = draw.one(0, 1, 16, 33), draw.one(0, 3, 32), draw.float()
    wide = np.dtype("f8" if dtype == "f8" else "f4")
    scores = (*lead, rows, keys)
    mask = draw.input(draw.broadcast(scores), draw.one(np.dtype("?"), np.dtype("f4"), dtype))
    return [
        draw.input((*lead, rows, size), dtype),
        draw.input((*shared, keys, size), dtype),
        draw.input((*shared, keys, value), dtype),
        draw.one(None, mask),
        draw.input((*lead, rows, value), dtype),
        wide,
        [draw.one(0.5, -1.0), draw.one(0, 1), draw.one(0.0, 0.3, 1.0), draw.one(0, 2**64 - 1), 1],
    ]


def attention(draw):
    """All results."""
    q, k, v, mask, g, wide, numbers = _operands(draw)
    out, lse = draw.output(g.shape, g.dtype), draw.output(q.shape[:-1], wide)
    return [q, k, v, mask, out, lse, *numbers]


def attention_backward(draw):
    """Their gradients."""
    q, k, v, mask, g, wide, numbers = _operands(draw)
    lse, delta = draw.apart(2, q.shape[:-1], wide)
    outs = [draw.apart(1, each.shape, wide)[0] for each in (q, k, v)]
    return [g, q, k, v, mask, lse, delta, *outs, *numbers]


RECIPES = {each.__name__: each for each in (attention, attention_backward)}
