"""Calls of the C functions that are as they should be, for the fuzz, which then spoils them.

Each function that takes arrays has a recipe here, which draws its arguments: arrays for what C
gets by its id(), None for no array, and lists of them.
"""

import math
import random

import good_attention
import good_convolution
import good_ctc
import good_pooling
import good_recurrence
import good_resizing
import ml_dtypes
import numpy as np

from ferrum.ops.indexing import indexed_shape
from ferrum_cpu.library import lib

BF16 = np.dtype(ml_dtypes.bfloat16)
WHOLE = [np.dtype(name) for name in ("?", "u1", "i1", "i2", "i4", "i8")]
FLOATS = [np.dtype("f2"), BF16, np.dtype("f4"), np.dtype("f8")]
INT64 = np.dtype("i8")
SHAPES = [(1,), (3,), (300,), (7, 5), (5, 7), (2, 0, 3), (3, 1, 4), (16, 33), (1, 1, 2, 1)]
LARGE = (9, 4001)  # for more than one thread
NUMBERS = [0.0, 0.1, 0.9, 1.0]


class Draw:
    """Draws arrays that fit together, of a few dtypes, shapes and layouts that it keeps."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.generator = np.random.default_rng(seed)
        self.kept = {}

    def one(self, *choices):
        """Return one of the choices."""
        return self.random.choice(choices)

    def float(self):
        """Return a floating-point dtype."""
        return self.random.choice(FLOATS)

    def any(self):
        """Return a dtype."""
        return self.random.choice(WHOLE + FLOATS)

    def shape(self, least=0):
        """Return a shape of at least so many axes."""
        if self.random.random() < 0.02 and least <= 2:
            return LARGE
        found = self.random.choice(SHAPES)
        return found if len(found) >= least else found + (2,) * (least - len(found))

    def input(self, shape, dtype, below=4):
        """Return an array in some layout, its values at least 0 and less than `below`."""
        key = (shape, dtype, below)
        if key not in self.kept:
            values = np.asarray(self.generator.integers(0, max(below, 1), shape)).astype(dtype)
            wide = np.repeat(values, 2, axis=-1) if shape else values
            odd = np.frombuffer(bytearray(values.nbytes + 1), np.uint8)[1:].view(dtype)
            odd = odd.reshape(shape)
            odd[...] = values
            self.kept[key] = [
                values,
                np.asfortranarray(values),
                wide[..., ::2] if shape else values,
                odd,
                np.flip(np.flip(values).copy()) if shape else values,
                np.broadcast_to(values[:1], shape) if shape and shape[0] else values,
            ]
        return self.random.choice(self.kept[key])

    def output(self, shape, dtype):
        """Return an array without gaps: the same one may come again."""
        key = (shape, dtype)
        if key not in self.kept or self.random.random() < 0.1:
            self.kept[key] = [np.zeros(shape, dtype) for _ in range(8)]
        return self.random.choice(self.kept[key])

    def apart(self, count, shape, dtype):
        """Return `count` outputs that share nothing."""
        return [np.zeros(shape, dtype) for _ in range(count)]

    def broadcast(self, shape):
        """Return a shape that broadcasts to this one."""
        start = self.random.randint(0, len(shape))
        return tuple(1 if self.random.random() < 0.2 else n for n in shape[start:])


def copy_into(draw):
    """Copy anything into anything that it broadcasts to."""
    shape = draw.shape()
    to = draw.output(shape, draw.any())
    return [draw.input(draw.broadcast(shape), draw.any()), draw.one(to, to[::-1])]


def copy_over(draw):
    """The same, where the two may overlap."""
    x, out = copy_into(draw)
    return [draw.one(x, out, out[::-1], out[:1]), out]


def copy_part(draw):
    """Copy a part along an axis."""
    shape, dtype = draw.shape(1), draw.any()
    axis = draw.random.randrange(len(shape))
    start = draw.random.randint(0, shape[axis])
    part = (*shape[:axis], shape[axis] - start, *shape[axis + 1 :])
    return [draw.input(part, dtype), draw.output(shape, dtype), axis, start]


def arange_floats(draw):
    """Fill an array of one axis."""
    out = draw.output((draw.one(0, 1, 300, 40000),), draw.any())
    return [out, draw.one(0.0, -1.5, 1e300, math.nan), draw.one(*NUMBERS)]


def arange_whole(draw):
    """Fill an array of one axis."""
    out = draw.output((draw.one(0, 1, 300, 40000),), draw.any())
    return [out, draw.one(0, -3, 2**63 - 1), draw.one(1, -7, -(2**63))]


def picks(draw, x):
    """Return indices for some axes of x, and the shape of what they pick."""
    joint = draw.one((), (4,), (3, 1), (0,), (2, 3))
    indices = [None] * len(x)
    for axis in draw.random.sample(range(len(x)), draw.random.randint(1, len(x))):
        kind = draw.one(np.dtype("i8"), np.dtype("i8"), np.dtype("i4"), np.dtype("u1"))
        indices[axis] = draw.input(draw.broadcast(joint), kind, min(x[axis], 256))
    return indices, indexed_shape("index", np.broadcast_to(0, x), indices)


def index_pick(draw):
    """Pick from an array none of whose axes is empty."""
    shape, dtype = tuple(max(n, 1) for n in draw.shape(1)), draw.any()
    indices, found = picks(draw, shape)
    return [draw.input(shape, dtype), indices, len(shape), draw.output(found, dtype)]


def index_place(draw):
    """Place values, broadcast, or add them."""
    shape, dtype = tuple(max(n, 1) for n in draw.shape(1)), draw.any()
    indices, found = picks(draw, shape)
    values = draw.input(draw.broadcast(found), dtype)
    x, out = draw.input(shape, dtype), draw.output(shape, dtype)
    return [x, values, indices, len(shape), out, draw.one(0, 1)]


def along(draw):
    """Return a shape, one for indices into it along an axis, and the axis."""
    shape = tuple(max(n, 1) for n in draw.shape(1))
    axis = draw.random.randrange(len(shape))
    part = tuple(draw.random.randint(0, n) for n in shape)
    return shape, (*part[:axis], draw.one(0, 1, 5), *part[axis + 1 :]), axis


def gather(draw):
    """Pick along an axis."""
    shape, part, axis = along(draw)
    dtype = draw.any()
    index = draw.input(part, INT64, shape[axis])
    return [draw.input(shape, dtype), index, draw.output(part, dtype), axis]


def scatter_add(draw):
    """Add along an axis."""
    shape, part, axis = along(draw)
    dtype = draw.any()
    index, src = draw.input(part, INT64, shape[axis]), draw.input(part, dtype)
    return [draw.input(shape, dtype), index, src, draw.output(shape, dtype), axis]


def argsort(draw):
    """Sort along an axis."""
    shape = draw.shape(1)
    axis = draw.random.randrange(len(shape))
    return [draw.input(shape, draw.any()), draw.output(shape, INT64), axis, draw.one(0, 1)]


def nonzero_chunks(draw):
    """Count the chunks of an array."""
    return [draw.input(draw.shape(), draw.any())]


def nonzero_count(draw):
    """Count what is not 0."""
    x = draw.input(draw.shape(), draw.any())
    return [x, draw.output((lib.nonzero_chunks(id(x)),), INT64)]


def nonzero_fill(draw):
    """Find what is not 0."""
    x, counts = nonzero_count(draw)
    lib.nonzero_count(id(x), id(counts))
    return [x, counts.cumsum() - counts, draw.output((int(counts.sum()), x.ndim), INT64)]


def pointwise_loss(draw):
    """A loss of two arrays alike."""
    shape, dtype, how = draw.shape(), draw.float(), draw.one(0, 1, 2)
    out = draw.output(() if how else shape, dtype)
    kind = draw.one(0, 1, 2, 3, 4)
    return [kind, 0.5, draw.input(shape, dtype), draw.input(shape, dtype), out, how]


def pointwise_loss_backward(draw):
    """Its gradient."""
    kind, width, x, target, g, how = pointwise_loss(draw)
    return [kind, width, g, x, target, draw.output(x.shape, x.dtype), how]


def classes(draw):
    """Return scores, targets, weights or none, one loss or one for each, their sum, and how."""
    shape, dtype, how = draw.shape(2), draw.float(), draw.one(0, 1, 2)
    if not shape[1]:
        shape = (shape[0], 3, *shape[2:])
    each = shape[:1] + shape[2:]
    weight = draw.one(None, draw.input(shape[1:2], dtype))
    total = draw.output((), np.dtype("f8" if dtype == "f8" else "f4"))
    target = draw.input(each, INT64, shape[1])
    out = draw.output(() if how else each, dtype)
    return draw.input(shape, dtype), target, weight, out, total, draw.one(-100, 0, 1), how


def nll_loss(draw):
    """A loss of classes."""
    return list(classes(draw))


def cross_entropy(draw):
    """The same of scores."""
    x, target, weight, out, total, ignored, how = classes(draw)
    log_probs = draw.output(x.shape, x.dtype)
    return [x, target, weight, out, log_probs, total, ignored, draw.one(*NUMBERS), how]


def cross_entropy_backward(draw):
    """Its gradient."""
    x, target, weight, g, total, ignored, how = classes(draw)
    out = draw.output(x.shape, x.dtype)
    return [g, x, target, weight, total, out, ignored, draw.one(*NUMBERS), how]


def random_uniform(draw):
    """Fill an array with random numbers."""
    return [draw.one(0, 2**64 - 1), draw.one(0, 7), draw.output(draw.shape(), draw.float())]


def random_integers(draw):
    """Fill an array with random integers."""
    out = draw.output(draw.shape(), draw.random.choice(WHOLE))
    return [draw.one(0, 2**64 - 3), draw.one(0, 1, 10, 2**40), 0, draw.one(0, 7), out]


def random_permutation(draw):
    """Fill an array with a permutation."""
    return [draw.one(0, 2**64 - 1), 0, draw.output((draw.one(0, 1, 300, 40000),), INT64)]


def reduce(draw):
    """Reduce some axes by any of the reductions."""
    shape, op = draw.shape(), draw.random.randint(0, 7)
    dtype = draw.float() if op >= 6 else draw.any()
    mask = draw.random.randrange(1 << len(shape))
    kept = tuple(n for axis, n in enumerate(shape) if not mask >> axis & 1)
    result = dtype
    if op in (4, 5):
        result = np.dtype("?")
    elif op in (0, 1) and dtype not in FLOATS:
        result = INT64
    return [op, draw.input(shape, dtype), draw.output(kept, result), mask, draw.one(0.0, 1.0)]


def reduce_index(draw):
    """Find the largest or the least along an axis that is not empty."""
    shape = tuple(max(n, 1) for n in draw.shape(1))
    axis = draw.random.randrange(len(shape))
    out = draw.output(shape[:axis] + shape[axis + 1 :], INT64)
    return [draw.one(0, 1), draw.input(shape, draw.any()), out, axis]


def cumulative_sum(draw):
    """Add up along an axis."""
    shape, dtype = draw.shape(1), draw.any()
    out = draw.output(shape, dtype if dtype in FLOATS else INT64)
    return [draw.input(shape, dtype), out, draw.random.randrange(len(shape))]


def softmax(draw):
    """Normalise along an axis."""
    shape, dtype = draw.shape(1), draw.float()
    axis = draw.random.randrange(len(shape))
    return [draw.one(0, 1), draw.input(shape, dtype), draw.output(shape, dtype), axis]


def softmax_backward(draw):
    """Its gradient."""
    logarithm, g, out, axis = softmax(draw)
    return [logarithm, g, draw.input(g.shape, g.dtype), out, axis]


def maybe(draw, shape, dtype):
    """Return a parameter of a normalisation, or none."""
    return draw.one(None, draw.input(shape, draw.one(dtype, np.dtype("f4"))))


def row_norm(draw):
    """Normalise the last axes."""
    shape, dtype = draw.shape(1), draw.float()
    last = draw.random.randint(1, len(shape))
    weight, bias = (maybe(draw, shape[-last:], dtype) for _ in range(2))
    x, out = draw.input(shape, dtype), draw.output(shape, dtype)
    return [draw.one(0, 1), x, weight, bias, out, last, draw.one(*NUMBERS)]


def row_norm_backward(draw):
    """Its gradients: that of a bias only where there may be one."""
    centred, x, weight, _, out, last, eps = row_norm(draw)
    shape, dtype = x.shape[-last:], x.dtype if weight is None else weight.dtype
    dweight, dbias = draw.apart(2, shape, dtype)
    g = draw.input(x.shape, x.dtype)
    return [centred, g, x, weight, out, dweight, dbias if centred else None, last, eps]


def batch_norm(draw):
    """Normalise a batch by itself."""
    shape, dtype = draw.shape(2), draw.float()
    weight, bias = (maybe(draw, shape[1:2], dtype) for _ in range(2))
    mean, var = draw.apart(2, shape[1:2], np.dtype("f8"))
    x, out = draw.input(shape, dtype), draw.output(shape, dtype)
    return [x, weight, bias, out, mean, var, draw.one(*NUMBERS)]


def batch_norm_eval(draw):
    """Normalise a batch by other numbers."""
    x, weight, bias, out, _, _, eps = batch_norm(draw)
    mean, var = (draw.input(x.shape[1:2], draw.float()) for _ in range(2))
    return [x, mean, var, weight, bias, out, eps]


def batch_norm_backward(draw):
    """The gradients of both."""
    x, mean, var, weight, _, out, eps = batch_norm_eval(draw)
    dweight, dbias = draw.apart(2, x.shape[1:2], x.dtype if weight is None else weight.dtype)
    g = draw.input(x.shape, x.dtype)
    return [g, x, mean, var, weight, out, dweight, dbias, eps, draw.one(0, 1)]


def parameters(draw, lists):
    """Return a list of arrays for an optimizer, list by list, and the number of parameters."""
    count, found = draw.one(1, 1, 2, 3), []
    kinds = [(draw.shape(), draw.float()) for _ in range(count)]
    for is_step in lists:
        for shape, dtype in kinds:
            found += draw.apart(1, () if is_step else shape, dtype)
    for i, (shape, dtype) in enumerate(kinds):
        found[count + i] = draw.input(shape, dtype)
    return found, count


def sgd_step(draw):
    """Move parameters, with momentum or without."""
    momentum = draw.one(0.0, 0.9)
    arrays, count = parameters(draw, [0, 0, 0] if momentum else [0, 0])
    numbers = [0.1, momentum, draw.one(*NUMBERS), draw.one(*NUMBERS)]
    return [arrays, count, *numbers, draw.one(0, 1), draw.one(0, 1)]


def adam_step(draw):
    """Move parameters."""
    amsgrad = draw.one(0, 1)
    arrays, count = parameters(draw, [0, 0, 1, 0, 0] + [0] * amsgrad)
    return [
        arrays,
        count,
        0.1,
        0.9,
        0.99,
        1e-8,
        draw.one(*NUMBERS),
        amsgrad,
        *draw.one((0, 1), (1, 0)),
    ]


def kind_step(draw):
    """Move parameters, by an optimizer of the table: the 0-d lists of its state, and the others."""
    kinds = [([1], [0, 0]), ([1], [0]), ([1], [0, 0]), ([], [0]), ([1, 1], [0, 0]), ([1], [0, 0])]
    centered, momentum = draw.one(0, 1), draw.one(0.0, 0.9)
    kinds.append(([1], [0] * (1 + centered + (momentum > 0))))
    kind = draw.one(*range(len(kinds)))
    numbers, others = kinds[kind]
    arrays, count = parameters(draw, [0, 0, *numbers, *others])
    rates = [0.1, 0.9, 0.99, 1e-8, draw.one(*NUMBERS), momentum]
    lists = len(numbers) + len(others)
    return [kind, arrays, count, lists, *rates, centered, draw.one(0, 1), draw.one(0, 1)]


RECIPES = {
    each.__name__: each
    for each in (
        copy_into,
        copy_over,
        copy_part,
        arange_floats,
        arange_whole,
        index_pick,
        index_place,
        gather,
        scatter_add,
        argsort,
        nonzero_chunks,
        nonzero_count,
        nonzero_fill,
        pointwise_loss,
        pointwise_loss_backward,
        nll_loss,
        cross_entropy,
        cross_entropy_backward,
        random_uniform,
        random_integers,
        random_permutation,
        reduce,
        reduce_index,
        cumulative_sum,
        softmax,
        softmax_backward,
        row_norm,
        row_norm_backward,
        batch_norm,
        batch_norm_eval,
        batch_norm_backward,
        sgd_step,
        adam_step,
        kind_step,
    )
}
RECIPES["random_normal"] = random_uniform
RECIPES |= good_convolution.RECIPES | good_pooling.RECIPES | good_resizing.RECIPES
RECIPES |= good_recurrence.RECIPES | good_ctc.RECIPES | good_attention.RECIPES
