"""Convolution, its transpose and padding beside PyTorch's."""

import itertools

import numpy as np
import pytest
from beside_torch import both_refuse, close, pair, same_gradients, torch

import ferrum as fe
import ferrum_nn as nn

pytestmark = pytest.mark.torch
F, T = nn.functional, torch.nn.functional
SIZES = {1: (7,), 2: (5, 6), 3: (3, 4, 3)}
KERNELS = {1: (3,), 2: (3, 2), 3: (2, 3, 1)}


def drawn(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape)


def same(name, shapes, *args, **options):
    """Compare a function of (x, weight, bias) in value and in gradients of two orders."""
    pairs = [pair(None if shape is None else drawn(*shape)) for shape in shapes]
    ours, theirs = zip(*pairs, strict=True)
    one, two = (
        getattr(lib, name)(*given, *args, **options) for lib, given in ((F, ours), (T, theirs))
    )
    close(one, two, 1e-12)
    leaves = [[each for each in given if each is not None] for given in (ours, theirs)]
    same_gradients(one, two, *leaves)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups", "bias"),
    [
        *itertools.product([1, 2], [0, 1, 2], [1, 2], [1], [True]),
        *itertools.product([1, 3], [2], [1], [2, 4], [True, False]),
    ],
)
def test_conv(axes, stride, padding, dilation, groups, bias):
    if padding == 0 and dilation == 2:
        padding = 1  # or the kernel would not fit
    weight = (4, 4 // groups, *KERNELS[axes])
    shapes = [(2, 4, *SIZES[axes]), weight, (4,) if bias else None]
    same(f"conv{axes}d", shapes, stride, padding, dilation, groups)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_conv_with_padding_by_name(axes, dilation, padding):
    shapes = [(2, 2, *(9,) * axes), (3, 2, *KERNELS[axes]), (3,)]
    same(f"conv{axes}d", shapes, padding=padding, dilation=dilation)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel", [(1, 1), (2, 4), (5, 3), (9, 9)])
def test_conv_keeps_the_size(kernel):
    same("conv2d", [(1, 2, 5, 6), (3, 2, *kernel), None], padding="same")


@pytest.mark.parametrize(
    "options",
    [
        {"stride": (2, 1), "padding": (0, 2)},
        {"padding": (1,), "dilation": (2, 1)},
        {"stride": [3, 2], "padding": [2, 1]},
        {"stride": 5},
    ],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_conv_with_numbers_for_each_axis(options, groups):
    same("conv2d", [(2, 4, 6, 7), (6, 4 // groups, 3, 3), (6,)], groups=groups, **options)


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv3d"])
def test_conv_of_one_example(name):
    axes = int(name[-2])
    same(name, [(2, *SIZES[axes]), (3, 2, *KERNELS[axes]), (3,)])


@pytest.mark.parametrize("name", ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"])
def test_conv_transpose_of_one_example(name):
    axes = int(name[-2])
    same(name, [(2, *SIZES[axes]), (2, 3, *KERNELS[axes]), (3,)])


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_depthwise_conv(multiplier, stride, kernel):
    shapes = [(2, 3, 6, 6), (3 * multiplier, 1, kernel, kernel), (3 * multiplier,)]
    same("conv2d", shapes, stride, kernel // 2, groups=3)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    ("stride", "padding", "more", "dilation", "groups", "bias"),
    [
        *itertools.product([1, 2], [0, 1], [0], [1, 2], [1], [True]),
        *itertools.product([2], [0, 1], [1], [1, 3], [2, 4], [True, False]),
    ],
)
def test_conv_transpose(axes, stride, padding, more, dilation, groups, bias):
    weight = (4, 4 // groups, *KERNELS[axes])
    shapes = [(2, 4, *(3,) * axes), weight, (4,) if bias else None]
    same(f"conv_transpose{axes}d", shapes, stride, padding, more, groups, dilation)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_narrow_dtypes(name, dtype):
    arrays = [drawn(2, 4, 6, 6), drawn(4, 4, 3, 3), drawn(4)]
    ours = [fe.tensor(each, dtype=getattr(fe, dtype), requires_grad=True) for each in arrays]
    theirs = [
        torch.tensor(each, dtype=getattr(torch, dtype), requires_grad=True) for each in arrays
    ]
    one, two = getattr(F, name)(*ours, padding=1), getattr(T, name)(*theirs, padding=1)
    one.float().square().sum().backward()
    two.float().square().sum().backward()
    eps = {"float32": 2e-6, "float16": 4e-3, "bfloat16": 4e-2}[dtype]
    for a, b in [(one, two), *((x.grad, y.grad) for x, y in zip(ours, theirs, strict=True))]:
        assert a.dtype.name == dtype
        want = b.detach().float().numpy()
        np.testing.assert_allclose(
            a.detach().float().numpy(), want, rtol=0, atol=eps * np.abs(want).max()
        )


@pytest.mark.parametrize(
    ("x", "weight"),
    [((0, 2, 5, 5), (3, 2, 3, 3)), ((2, 2, 5, 5), (3, 2, 5, 5)), ((1, 2, 3, 9), (3, 2, 3, 1))],
)
def test_sizes_at_the_edge(x, weight):
    same("conv2d", [x, weight, None])


REFUSED = [
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 6, 3)),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), dilation=3),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 3, 3, 3)),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 1, 3, 3), groups=2),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), t.rand(2)),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), t.rand(1, 3)),
    lambda f, t: f.conv2d(t.rand(5, 5), t.rand(3, 2, 3, 3)),
    lambda f, t: f.conv2d(t.rand(1, 1, 2, 5, 5), t.rand(3, 2, 3, 3)),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3)),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 0, 3)),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), stride=0),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), stride=-1),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), stride=1.5),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), stride=True),
    lambda f, t: f.max_pool2d(t.rand(1, 2, 5, 5), True),
    lambda f, t: f.pixel_shuffle(t.rand(1, 4, 5, 5), True),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), stride=(1, 1, 1)),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), padding=-1),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), padding=(1, 1, 1)),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), padding="full"),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), padding="same", stride=2),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), dilation=0),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), groups=0),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), groups=3),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5).double(), t.rand(3, 2, 3, 3)),
    lambda f, t: f.conv2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3), t.rand(3).double()),
    lambda f, t: f.conv2d([[1.0]], t.rand(3, 2, 3, 3)),
    lambda f, t: f.conv1d(t.rand(1, 2, 5), t.rand(3, 2, 3, 3)),
    lambda f, t: f.conv3d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3)),
    lambda f, t: f.conv_transpose2d(t.rand(1, 2, 5, 5), t.rand(3, 2, 3, 3)),
    lambda f, t: f.conv_transpose2d(t.rand(1, 2, 5, 5), t.rand(2, 2, 3, 3), groups=3),
    lambda f, t: f.conv_transpose2d(t.rand(1, 2, 5, 5), t.rand(2, 2, 3, 3), t.rand(3)),
    lambda f, t: f.conv_transpose2d(t.rand(1, 2, 5, 5), t.rand(2, 2, 3, 3), output_padding=1),
    lambda f, t: f.conv_transpose2d(t.rand(1, 2, 5, 5), t.rand(2, 2, 3, 3), output_padding=-1),
    lambda f, t: f.conv_transpose2d(t.rand(1, 2, 4, 4), t.rand(2, 2, 1, 1), padding=2),
    lambda f, t: f.conv_transpose2d(t.rand(1, 2, 4, 4), t.rand(2, 2, 3, 3), padding="same"),
    lambda f, t: f.pad(t.rand(1, 4), (1,)),
    lambda f, t: f.pad(t.rand(1, 4), (1, 1, 1, 1, 1, 1)),
    lambda f, t: f.pad(t.rand(1, 4), (1.5, 1)),
    lambda f, t: f.pad(t.rand(1, 4), (-3, -2)),
    lambda f, t: f.pad(t.rand(1, 4), (1, 1), mode="mirror"),
    lambda f, t: f.pad(t.rand(1, 4), (4, 0), mode="reflect"),
    lambda f, t: f.pad(t.rand(1, 4), (5, 0), mode="circular"),
    lambda f, t: f.pad(t.rand(1, 1, 0), (1, 0), mode="replicate"),
    lambda f, t: f.pad(t.rand(1, 4), (1, 1), mode="reflect", value=1.0),
    lambda f, t: f.pad(t.rand(4), (1, 1), mode="reflect"),
    lambda f, t: f.pad(t.rand(1, 1, 1, 4), (1, 1), mode="replicate"),
    lambda f, t: f.pad([1.0], (1, 1)),
]


@pytest.mark.parametrize("call", REFUSED)
def test_calls_that_both_refuse(call):
    both_refuse(lambda: call(F, fe), lambda: call(T, torch))


# ---- padding


@pytest.mark.parametrize(
    "pad",
    [(1, 2), (0, 3), (-1, 2), (1, 0, 2, 1), (-2, -1, 0, 1), (1, 1, 1, 1, 1, 1), (-4, 0), ()],
)
@pytest.mark.parametrize("value", [None, 0.5])
def test_pad_with_a_number(pad, value):
    x, y = pair(drawn(2, 3, 4))
    one, two = F.pad(x, pad, value=value), T.pad(y, pad, value=value)
    close(one, two)
    same_gradients(one.square(), two.square(), [x], [y])


@pytest.mark.parametrize("dtype", ["int64", "bool", "float32", "uint8"])
def test_pad_of_other_dtypes(dtype):
    array = np.array([[0, 1, 2]]).astype(dtype)
    for value in (None, 1, 1.5):
        close(
            F.pad(fe.tensor(array), (1, 2), value=value),
            T.pad(torch.tensor(array), (1, 2), value=value),
        )


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    ("shape", "pad"),
    [
        ((2, 4), (1, 2)),
        ((2, 3, 4), (3, 0)),
        ((2, 3, 4), (-1, 2)),
        ((2, 3, 4), (1, 0, 2, 1)),
        ((2, 2, 3, 4), (0, -1, 1, -1)),
        ((2, 2, 3, 4), (2, 1, 1, 0, 1, 1)),
        ((1, 2, 2, 3, 4), (1, 1, 1, 1, 1, 1)),
        ((0, 2, 4), (1, 1)),
    ],
)
def test_pad_with_what_is_there(mode, shape, pad):
    x, y = pair(drawn(*shape))
    one, two = F.pad(x, pad, mode), T.pad(y, pad, mode)
    close(one, two)
    same_gradients(one.square(), two.square(), [x], [y])


PADS = [
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
]


@pytest.mark.parametrize("name", PADS)
@pytest.mark.parametrize("each", [False, True])
def test_layers_that_pad(name, each):
    axes = int(name[-2])
    given = ((1, 2, 0, 1, 2, 1)[: 2 * axes] if each else 2, *([1.5] * name.startswith("Const")))
    ours, theirs = (getattr(lib, name)(*given) for lib in (nn, torch.nn))
    x, y = pair(drawn(2, 1, *(4,) * axes))
    close(ours(x), theirs(y))
    assert repr(ours) == repr(theirs)


# ---- layers


OPTIONS = [
    {},
    {"stride": 2, "padding": 1},
    {"padding": 1, "dilation": 2, "groups": 2},
    {"groups": 4, "bias": False},
]


def copied(ours, theirs):
    """Give one layer the parameters of the other."""
    assert sorted(ours.state_dict()) == sorted(theirs.state_dict())
    theirs.double()
    ours.double().load_state_dict(theirs.state_dict())


def same_layers(ours, theirs, shape):
    copied(ours, theirs)
    x, y = pair(drawn(*shape))
    one, two = ours(x), theirs(y)
    close(one, two, 1e-12)
    leaves = [x, *ours.parameters()], [y, *theirs.parameters()]
    same_gradients(one, two, *leaves)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("name", ["Conv1d", "Conv2d", "Conv3d"])
@pytest.mark.parametrize("options", [*OPTIONS, {"padding": "same"}, {"padding": "valid"}])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_conv_layers(name, options, mode):
    given = {**options, "padding_mode": mode}
    ours, theirs = (getattr(lib, name)(4, 8, 3, **given) for lib in (nn, torch.nn))
    same_layers(ours, theirs, (1, 4, *(5,) * int(name[-2])))


@pytest.mark.parametrize("name", ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"])
@pytest.mark.parametrize("options", [*OPTIONS, {"stride": 2, "output_padding": 1}])
def test_conv_transpose_layers(name, options):
    ours, theirs = (getattr(lib, name)(4, 8, 3, **options) for lib in (nn, torch.nn))
    same_layers(ours, theirs, (1, 4, *(3,) * int(name[-2])))


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (1, 8, 7, 7), (9, 9), (6, 7), (7,), (8, 3, 8, 8)])
@pytest.mark.parametrize("batch", [True, False])
def test_sizes_that_are_asked_of_a_transposed_layer(size, batch):
    ours, theirs = (lib.ConvTranspose2d(2, 8, 3, stride=2, padding=1) for lib in (nn, torch.nn))
    copied(ours, theirs)
    x, y = pair(drawn(*[1] * batch, 2, 4, 4))
    try:
        want = theirs(y, output_size=size)
    except (ValueError, RuntimeError):
        with pytest.raises(fe.FerrumError):
            ours(x, output_size=size)
    else:
        close(ours(x, output_size=size), want, 1e-12)


def test_layers_start_as_theirs_do():
    for name in ("Conv2d", "ConvTranspose2d"):
        ours, theirs = (getattr(lib, name)(16, 32, 3, groups=2) for lib in (nn, torch.nn))
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a, b = a.detach().numpy(), b.detach().numpy()
            bound = 1 / np.sqrt(np.prod(theirs.weight.shape[1:]))
            for each in (a, b):
                assert bound * 0.8 < np.abs(each).max() <= bound * 1.0001


@pytest.mark.parametrize(
    "make",
    [
        lambda lib: lib.Conv2d(3, 4, 3, groups=2),
        lambda lib: lib.Conv2d(4, 3, 3, groups=2),
        lambda lib: lib.Conv2d(4, 4, 3, groups=0),
        lambda lib: lib.Conv2d(4, 4, 3, padding="all"),
        lambda lib: lib.Conv2d(4, 4, 3, padding="same", stride=2),
        lambda lib: lib.Conv2d(4, 4, 3, padding_mode="mirror"),
        lambda lib: lib.ConvTranspose2d(4, 4, 3, padding_mode="reflect"),
        lambda lib: lib.ConvTranspose2d(3, 4, 3, groups=2),
    ],
)
def test_layers_that_both_refuse(make):
    both_refuse(lambda: make(nn), lambda: make(torch.nn))
