"""Pooling beside PyTorch's."""

import itertools

import numpy as np
import pytest
from beside_torch import both_refuse, close, pair, same_gradients, torch

import ferrum as fe
import ferrum_nn as nn

pytestmark = pytest.mark.torch
F, T = nn.functional, torch.nn.functional
SIZES = {1: (9,), 2: (6, 7), 3: (4, 5, 6)}
AXES = pytest.mark.parametrize("axes", [1, 2, 3])


def drawn(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape)


def same(name, array, *args, **options):
    """Compare a function of x in value, index if it has one, and gradients of two orders."""
    x, y = pair(array)
    one, two = getattr(F, name)(x, *args, **options), getattr(T, name)(y, *args, **options)
    if isinstance(two, tuple):
        same_index(one[1], two[1])
        one, two = one[0], two[0]
    close(one, two, 1e-12)
    same_gradients(one, two, [x], [y])


def same_index(one, two):
    assert one.dtype is fe.int64
    assert one.shape == tuple(two.shape)
    np.testing.assert_array_equal(one.numpy(), two.numpy())


@AXES
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "ceil"),
    [
        *itertools.product([2, 3], [1, 2], [0, 1], [1], [False, True]),
        *itertools.product([2, 3], [1, 2], [0, 1], [2], [False, True]),
    ],
)
def test_max_pool(axes, kernel, stride, padding, dilation, ceil):
    if (kernel, dilation) == (3, 2) and axes == 3:
        padding = 1  # or the window would not fit
    x = drawn(1, 2, *SIZES[axes])
    same(f"max_pool{axes}d", x, kernel, stride, padding, dilation, ceil, True)


@AXES
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil", "include"),
    list(itertools.product([2, 3], [None, 1], [0, 1], [False, True], [False, True])),
)
def test_avg_pool(axes, kernel, stride, padding, ceil, include):
    same(f"avg_pool{axes}d", drawn(1, 2, *SIZES[axes]), kernel, stride, padding, ceil, include)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("divisor", [1, 3, 100, -2])
@pytest.mark.parametrize("ceil", [False, True])
def test_avg_pool_with_a_divisor(axes, divisor, ceil):
    x = drawn(2, 2, *SIZES[axes])
    same(f"avg_pool{axes}d", x, 3, 2, 1, ceil, True, divisor)
    same(f"avg_pool{axes}d", x, 3, 2, 1, ceil, False, divisor)


@AXES
@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 11])
def test_adaptive_pool(axes, kind, size):
    args = (size, True) if kind == "max" else (size,)
    same(f"adaptive_{kind}_pool{axes}d", drawn(1, 2, *SIZES[axes]), *args)


@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize("size", [(2, 3), (None, 4), (3, None), (None, None), [1, 2]])
def test_adaptive_pool_with_sizes_for_each_axis(kind, size):
    same(f"adaptive_{kind}_pool2d", drawn(2, 3, 6, 7), size)


@AXES
@pytest.mark.parametrize("name", ["max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool"])
def test_one_example(axes, name):
    same(f"{name}{axes}d", drawn(3, *SIZES[axes]), 2)


@AXES
@pytest.mark.parametrize("norm", [1, 2, 3, 2.5, -1, float("inf"), -float("inf")])
@pytest.mark.parametrize(("stride", "ceil"), [(None, False), (1, False), (2, True)])
def test_lp_pool(axes, norm, stride, ceil):
    x = np.abs(drawn(1, 2, *SIZES[axes])) + 0.1
    same(f"lp_pool{axes}d", x, norm, 3 if axes < 3 else 2, stride, ceil)


@AXES
@pytest.mark.parametrize("norm", [1, 2, 3])
def test_lp_pool_of_zeros(axes, norm):
    x, y = pair(np.zeros((1, 1, *SIZES[axes])))
    one, two = (getattr(lib, f"lp_pool{axes}d")(z, norm, 2) for lib, z in ((F, x), (T, y)))
    one.sum().backward()
    two.sum().backward()
    close(one, two)
    close(x.grad, y.grad)


def test_lp_pool_of_negative_numbers():
    same("lp_pool2d", drawn(2, 2, 6, 6), 2, (2, 3), 1)
    x, y = pair(-np.ones((1, 1, 4)))
    close(F.lp_pool1d(x, 3, 2), T.lp_pool1d(y, 3, 2))  # NaN: PyTorch keeps the sign


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0)},
        {"kernel_size": [2, 3], "stride": [2, 1], "padding": [1, 1], "ceil_mode": True},
        {"kernel_size": (2,), "stride": (3,)},
        {"kernel_size": (6, 7)},
        {"kernel_size": (1, 1), "stride": 2},
        {"kernel_size": 2, "stride": 5, "ceil_mode": True},
        {"kernel_size": (5, 4), "stride": (2, 3), "padding": (2, 2), "ceil_mode": True},
    ],
)
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_numbers_for_each_axis(name, options):
    same(name, drawn(2, 3, 6, 7), **options)


@AXES
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(2, None, 0), (2, 1, 0), (3, 2, 1), (3, 1, 1), (2, 3, 1)]
)
def test_max_unpool(axes, kernel, stride, padding):
    array = drawn(2, 3, *SIZES[axes])
    pooled, index = getattr(T, f"max_pool{axes}d")(
        torch.tensor(array), kernel, stride, padding, return_indices=True
    )
    size = array.shape if axes == 2 else array.shape[2:]
    (x, y), i = pair(pooled.numpy()), fe.tensor(index.numpy())
    how = {"stride": stride, "padding": padding, "output_size": size}
    one = getattr(F, f"max_unpool{axes}d")(x, i, kernel, **how)
    two = getattr(T, f"max_unpool{axes}d")(y, index, kernel, **how)
    close(one, two)
    same_gradients(one, two, [x], [y])


@AXES
def test_max_unpool_without_a_size(axes):
    array = drawn(3, *(6,) * axes)
    (x, y), layer = pair(array), f"MaxPool{axes}d"
    one = getattr(nn, f"MaxUnpool{axes}d")(2)(*getattr(nn, layer)(2, return_indices=True)(x))
    two = getattr(torch.nn, f"MaxUnpool{axes}d")(2)(
        *getattr(torch.nn, layer)(2, return_indices=True)(y)
    )
    close(one, two)
    same_gradients(one, two, [x], [y])


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize(
    ("kernel", "how"),
    [
        (2, {"output_size": 3}),
        (3, {"output_size": 1}),
        (2, {"output_size": 5}),
        (1, {"output_ratio": (0.5,) * 3}),
        (2, {"output_ratio": (0.75, 0.5, 0.5)}),
    ],
)
def test_fractional_max_pool(axes, batch, kernel, how):
    how = {what: each[:axes] if isinstance(each, tuple) else each for what, each in how.items()}
    array = drawn(*((2,) if batch else ()), 3, *(8, 7, 9)[:axes])
    samples = np.random.default_rng(1).random((2 if batch else 1, 3, axes))
    (x, y), (u, v) = pair(array), pair(samples, requires_grad=False)
    name = f"fractional_max_pool{axes}d"
    one, i = getattr(F, name)(x, kernel, **how, return_indices=True, _random_samples=u)
    two, j = getattr(T, name)(y, kernel, **how, return_indices=True, _random_samples=v)
    same_index(i, j)
    close(one, two)
    same_gradients(one, two, [x], [y])


@pytest.mark.parametrize("plane", [(10, 13), (31, 28), (64, 50)])
def test_fractional_max_pool_in_float32(plane):
    array = drawn(2, 3, *plane).astype("float32")
    samples = np.random.default_rng(2).random((2, 3, 2)).astype("float32")
    size = (plane[0] // 2 - 1, plane[1] * 2 // 3)
    ours, theirs = [
        lib.fractional_max_pool2d(
            make(array), 2, size, return_indices=True, _random_samples=make(samples)
        )
        for lib, make in ((F, fe.tensor), (T, torch.tensor))
    ]
    same_index(ours[1], theirs[1])
    close(ours[0], theirs[0])


LAYERS = [
    *((f"MaxPool{axes}d", (3, 2, 1), {}) for axes in (1, 2, 3)),
    *((f"MaxPool{axes}d", (2,), {"ceil_mode": True, "dilation": 2}) for axes in (1, 2, 3)),
    *((f"AvgPool{axes}d", (3, 2, 1), {}) for axes in (1, 2, 3)),
    *((f"AvgPool{axes}d", (2,), {"ceil_mode": True}) for axes in (1, 2, 3)),
    *((f"LPPool{axes}d", (2, 3), {}) for axes in (1, 2, 3)),
    *((f"LPPool{axes}d", (1.5, 2, 1), {"ceil_mode": True}) for axes in (1, 2, 3)),
    *((f"AdaptiveAvgPool{axes}d", (3,), {}) for axes in (1, 2, 3)),
    *((f"AdaptiveMaxPool{axes}d", (2,), {}) for axes in (1, 2, 3)),
    ("MaxPool2d", ((3, 2), (2, 1), (1, 0)), {}),
    ("AvgPool2d", ((3, 2), (2, 1), (1, 0)), {"divisor_override": 5}),
    ("AvgPool3d", (2, 2, 1, True, False), {}),
    ("AdaptiveAvgPool2d", ((None, 2),), {}),
    ("AdaptiveAvgPool3d", ((2, None, 1),), {}),
    ("AdaptiveMaxPool2d", ((3, None),), {}),
]


@pytest.mark.parametrize(("name", "args", "options"), LAYERS)
def test_layers(name, args, options):
    one, two = (getattr(lib, name)(*args, **options) for lib in (nn, torch.nn))
    array = np.abs(drawn(2, 3, *SIZES[int(name[-2])])) + 0.1
    x, y = pair(array)
    close(one(x), two(y), 1e-12)
    same_gradients(one(x), two(y), [x], [y])
    assert repr(one) == repr(two)
    assert not one.state_dict()


@pytest.mark.parametrize("args", [(3,), (3, 2), (2, 1, 1)])
@AXES
def test_max_unpool_says_what_it_is(axes, args):
    name = f"MaxUnpool{axes}d"
    assert repr(getattr(nn, name)(*args)) == repr(getattr(torch.nn, name)(*args))


@pytest.mark.parametrize("axes", [2, 3])
def test_fractional_layers(axes):
    name = f"FractionalMaxPool{axes}d"
    samples = np.random.default_rng(1).random((2, 3, axes))
    (u, v), (x, y) = pair(samples, requires_grad=False), pair(drawn(2, 3, *SIZES[axes]))
    one = getattr(nn, name)(2, output_ratio=0.6, _random_samples=u)
    two = getattr(torch.nn, name)(2, output_ratio=0.6, _random_samples=v)
    close(one(x), two(y))
    same_gradients(one(x), two(y), [x], [y])
    assert repr(one) == repr(two)
    assert list(one.state_dict()) == list(two.state_dict())
    assert list(getattr(nn, name)(2, 2).state_dict()) == []


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "values",
    [
        [NAN, 1, 2, 3],
        [1, NAN, 2, NAN],
        [NAN, NAN, NAN, NAN],
        [INF, INF, 1, 2],
        [-INF, -INF, -INF, -INF],
        [1, 1, 1, 1],
        [0.0, -0.0, -0.0, 0.0],
        [-INF, NAN, INF, -INF],
    ],
)
def test_values_at_the_edge(values):
    array = np.array(values, "float64").reshape(1, 1, 4)
    x, y = fe.tensor(array), torch.tensor(array)
    for name, args in (
        ("max_pool1d", (2, 1, 1)),
        ("max_pool1d", (4,)),
        ("max_pool1d", (2,)),
        ("adaptive_max_pool1d", (3,)),
        ("avg_pool1d", (2, 1, 1)),
        ("adaptive_avg_pool1d", (3,)),
    ):
        one = getattr(F, name)(x, *args, **({} if "avg" in name else {"return_indices": True}))
        two = getattr(T, name)(y, *args, **({} if "avg" in name else {"return_indices": True}))
        if isinstance(one, tuple):
            same_index(one[1], two[1])
            one, two = one[0], two[0]
        close(one, two)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("max_pool2d", (3, 2, 1)),
        ("avg_pool2d", (3, 2, 1)),
        ("adaptive_avg_pool2d", (3,)),
        ("adaptive_max_pool2d", (3,)),
    ],
)
def test_narrow_dtypes(name, args, dtype):
    array = drawn(2, 3, 8, 9)
    x = fe.tensor(array, dtype=getattr(fe, dtype), requires_grad=True)
    y = torch.tensor(array, dtype=getattr(torch, dtype), requires_grad=True)
    one, two = getattr(F, name)(x, *args), getattr(T, name)(y, *args)
    one.float().square().sum().backward()
    two.float().square().sum().backward()
    eps = {"float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}[dtype]
    for a, b in ((one, two), (x.grad, y.grad)):
        assert a.dtype.name == dtype
        want = b.detach().float().numpy()
        np.testing.assert_allclose(a.detach().float().numpy(), want, rtol=eps, atol=eps)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_largest_integers(dtype):
    array = np.arange(30, dtype=dtype).reshape(1, 5, 6)[:, ::-1].copy()
    one = F.max_pool2d(fe.tensor(array), 3, 2, 1, return_indices=True)
    two = T.max_pool2d(torch.tensor(array), 3, 2, 1, return_indices=True)
    close(one[0], two[0])
    same_index(one[1], two[1])


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("max_pool2d", (2,)),
        ("avg_pool2d", (2,)),
        ("lp_pool2d", (2, 2)),
        ("adaptive_avg_pool2d", (2,)),
        ("adaptive_max_pool2d", (2,)),
        ("fractional_max_pool2d", (2, 2)),
    ],
)
def test_an_empty_batch(name, args):
    same(name, drawn(0, 2, 5, 5), *args)


@pytest.mark.parametrize(
    ("name", "shape", "args"),
    [
        ("max_pool2d", (1, 1, 4, 4), (5,)),
        ("max_pool2d", (1, 1, 4, 4), (3, 1, 2)),
        ("max_pool2d", (1, 1, 4, 4), (2, 0)),
        ("max_pool2d", (1, 1, 4, 4), (0,)),
        ("max_pool2d", (1, 1, 4, 4), ((2, 2, 2),)),
        ("max_pool2d", (1, 1, 4, 4), (2, 2, -1)),
        ("max_pool2d", (1, 1, 4, 4), (2, 2, 0, 0)),
        ("max_pool2d", (4, 4), (2,)),
        ("max_pool1d", (4,), (2,)),
        ("max_pool3d", (1, 4, 4), (2,)),
        ("max_pool2d", (1, 0, 4, 4), (2,)),
        ("avg_pool2d", (1, 1, 4, 4), (5,)),
        ("avg_pool2d", (1, 1, 4, 4), (3, 1, 2)),
        ("avg_pool2d", (1, 1, 4, 4), (2, 2, 0, False, True, 0)),
        ("avg_pool1d", (1, 1, 4), ((2, 2),)),
        ("avg_pool3d", (1, 4, 4), (2,)),
        ("adaptive_avg_pool2d", (1, 1, 4, 4), ((2, 2, 2),)),
        ("adaptive_avg_pool2d", (1, 1, 4, 4), ((-1, 2),)),
        ("adaptive_avg_pool2d", (1, 1, 0, 4), (2,)),
        ("adaptive_max_pool2d", (1, 1, 4, 4), ((2, 2, 2),)),
        ("adaptive_max_pool1d", (4,), (2,)),
        ("lp_pool2d", (1, 1, 4, 4), (2, 5)),
        ("fractional_max_pool2d", (1, 1, 4, 4), (3, 3)),
        ("fractional_max_pool2d", (1, 1, 4, 4), (2,)),
        ("fractional_max_pool2d", (4, 4), (2, 2)),
    ],
)
def test_both_refuse(name, shape, args):
    x, y = pair(drawn(*shape))
    both_refuse(lambda: getattr(F, name)(x, *args), lambda: getattr(T, name)(y, *args))
