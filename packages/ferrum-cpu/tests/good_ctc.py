"""Good calls of the C functions of CTC, as `good_calls.py` has them."""

import numpy as np


def _call(draw):
    """Return the steps, the batch, the states and the classes, the dtype, and what both have."""
    steps, batch, size = draw.one(0, 1, 5, 40), draw.one(0, 1, 3), draw.one(0, 1, 4, 20)
    classes, dtype = draw.one(1, 3, 70), draw.one(np.dtype("f4"), np.dtype("f8"))
    targets = draw.generator.integers(0, classes, (batch, size))
    lengths = [draw.generator.integers(0, most + 1, batch) for most in (steps, size)]
    blank = draw.random.randrange(classes)
    return steps, batch, 2 * size + 1, classes, dtype, [targets, *lengths], blank


def ctc_loss(draw):
    """The losses of a batch."""
    steps, batch, states, classes, dtype, whole, blank = _call(draw)
    log_probs = draw.input((steps, batch, classes), dtype)
    out, alpha = np.zeros(batch, dtype), np.zeros((batch, steps, states), dtype)
    return [log_probs, *whole, out, alpha, blank]


def ctc_loss_backward(draw):
    """Their gradient."""
    steps, batch, states, classes, dtype, whole, blank = _call(draw)
    alpha = np.ones((batch, steps, states), dtype)
    return [np.ones(batch, dtype), alpha, *whole, np.zeros((steps, batch, classes), dtype), blank]


RECIPES = {each.__name__: each for each in (ctc_loss, ctc_loss_backward)}
