"""Good calls of the C functions that convolve, as `good_calls.py` has them."""


def _tensors(draw):
    """Return an inner tensor, a weight and an outer one, numbers for each axis, and groups."""
    groups, axes, dtype = draw.one(1, 1, 2), draw.one(1, 2, 2, 3), draw.float()
    c, o = draw.one((1, 1), (1, 2), (3, 4), (33, 36))
    inner, outer, kernel, numbers = [], [], [], []
    for _ in range(axes):
        k, stride = draw.one(1, 2, 3, 3), draw.one(1, 1, 2, 3)
        padding, dilation, length = draw.one(0, 1, 1), draw.one(1, 1, 2), draw.one(5, 9, 20)
        inner.append(length)
        outer.append((length + 2 * padding - dilation * (k - 1) - 1) // stride + 1)
        kernel.append(k)
        numbers += [stride, padding, dilation]
    n = draw.one(1, 2, 5)
    shapes = (n, c * groups, *inner), (o * groups, c, *kernel), (n, o * groups, *outer)
    return [*shapes, numbers, groups, dtype]


def convolution(draw):
    """The outer tensor."""
    x, weight, outer, numbers, groups, dtype = _tensors(draw)
    bias = draw.one(None, draw.input(outer[1:2], dtype))
    operands = draw.input(x, dtype), draw.input(weight, dtype), bias
    return [*operands, draw.output(outer, dtype), numbers, groups]


def convolution_input(draw):
    """The inner tensor."""
    x, weight, outer, numbers, groups, dtype = _tensors(draw)
    bias = draw.one(None, draw.input(x[1:2], dtype))
    operands = draw.input(outer, dtype), draw.input(weight, dtype), bias
    return [*operands, draw.output(x, dtype), numbers, groups]


def convolution_weight(draw):
    """The weight."""
    x, weight, outer, numbers, groups, dtype = _tensors(draw)
    operands = draw.input(x, dtype), draw.input(outer, dtype)
    return [*operands, draw.output(weight, dtype), numbers, groups]


RECIPES = {each.__name__: each for each in (convolution, convolution_input, convolution_weight)}
