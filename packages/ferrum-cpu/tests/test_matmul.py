"""Products of matrices: values in every layout, bits that no number of threads changes, linear."""

import itertools

import ml_dtypes
import numpy as np
import pytest

import ferrum_cpu
from ferrum_cpu import _front

FLOATS = ("float32", "float64", "float16", "bfloat16")
WHOLE = ("uint8", "int8", "int16", "int32", "int64")
# of the error of a sum, in units of the sum of magnitudes
TOLERANCE = {"float32": 1e-6, "float64": 1e-14, "float16": 1e-3, "bfloat16": 8e-3}
# each way that gemm.c knows: in registers, by vector, by tiles, in parts of k, stacks, merged
SHAPES = [
    ((4, 4), (4, 4)),
    ((32, 2), (2, 16)),
    ((32, 16), (16, 1)),
    ((1, 7), (7, 1)),
    ((1, 600), (600, 1)),
    ((1, 600), (600, 50)),
    ((70, 600), (600, 1)),
    ((33, 65), (65, 129)),
    ((130, 700), (700, 70)),
    ((300, 1), (1, 300)),
    ((257, 33), (33, 513)),
    ((3, 5000), (5000, 4)),
    ((5, 9, 33), (33, 17)),
    ((4, 1, 600), (4, 600, 1)),
    ((2, 1, 30, 40), (3, 40, 50)),
    ((40, 50), (3, 50, 60)),
]


def dtype_of(name):
    return np.dtype(getattr(ml_dtypes, name) if name == "bfloat16" else name)


def make(shape, name, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * 3).astype(dtype_of(name))


def layouts(x):
    yield x
    yield np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    strided = np.zeros(tuple(2 * n for n in x.shape), x.dtype)[
        tuple(slice(None, None, 2) for _ in x.shape)
    ]
    strided[...] = x
    yield strided
    yield np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    yield np.ascontiguousarray(x[..., ::-1, :])[..., ::-1, :]


def check(out, a, b, name):
    if name in WHOLE:
        np.testing.assert_array_equal(
            out, np.matmul(a.astype("i8"), b.astype("i8")).astype(out.dtype)
        )
        return
    a, b = a.astype("f8"), b.astype("f8")
    error = np.abs(out.astype("f8") - a @ b) - (6e-8 if name == "float16" else 0)  # subnormal
    assert np.all(error <= TOLERANCE[name] * (np.abs(a) @ np.abs(b)))


@pytest.mark.parametrize("name", FLOATS + WHOLE)
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_values_in_every_layout(left, right, name):
    for a, b in itertools.product(layouts(make(left, name)), layouts(make(right, name, 1))):
        out = _front.matmul(a, b)
        assert out.dtype == a.dtype
        assert out.flags.c_contiguous
        check(out, a, b, name)


@pytest.mark.parametrize("name", FLOATS + WHOLE)
def test_nothing_to_add_up_and_nothing_to_compute(name):
    dtype = dtype_of(name)
    assert _front.matmul(np.ones((2, 0), dtype), np.ones((0, 3), dtype)).tolist() == [[0] * 3] * 2
    bias = np.arange(3).astype(dtype)
    out = _front.linear(np.ones((2, 0), dtype), np.ones((3, 0), dtype), bias)
    assert out.tolist() == [[0, 1, 2]] * 2
    assert _front.matmul(np.ones((0, 3), dtype), np.ones((3, 2), dtype)).shape == (0, 2)
    assert _front.matmul(np.ones((0, 4, 3), dtype), np.ones((3, 2), dtype)).shape == (0, 4, 2)
    assert _front.linear(np.ones((2, 0, 3), dtype), np.ones((4, 3), dtype), None).shape == (2, 0, 4)


@pytest.mark.parametrize("name", [*FLOATS, "int32"])
@pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        (300, 500, 200),
        (64, 784, 512),
        (5, 20000, 3),
        (1, 3000, 2000),
        (2000, 3000, 1),
        (1, 90000, 1),
    ],
)
def test_threads_do_not_change_a_bit(m, k, n, name, threads):
    a, b = make((m, k), name), make((k, n), name, 1)
    threads(1)
    alone = _front.matmul(a, b).tobytes()
    for count in (2, 3, 7):
        threads(count)
        assert _front.matmul(a, b).tobytes() == alone


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("m", "k", "n"), [(4, 4, 4), (60, 60, 60), (1, 100, 60), (60, 100, 1), (2, 9000, 2)]
)
def test_nan_and_infinity_times_0_is_nan(m, k, n, value, name):
    a = np.zeros((m, k), dtype_of(name))
    a[0, k // 2] = value
    out = _front.matmul(a, np.zeros((k, n), a.dtype)).astype("f4")
    assert np.isnan(out[0]).all()
    assert (out[1:] == 0).all()


def test_what_is_broadcast_is_not_repeated_in_memory():
    a = np.broadcast_to(make((50, 1), "float32"), (200, 50, 300))  # no BLAS reads a stride of 0
    b = make((200, 300, 40), "float32", 1)
    before = ferrum_cpu.memory_statistics()["misses"]
    check(_front.matmul(a, b), a, b, "float32")
    assert ferrum_cpu.memory_statistics()["misses"] - before <= 2


@pytest.mark.parametrize("name", FLOATS + WHOLE)
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"),
    [
        ((32,), 2, 16),
        ((32,), 16, 1),
        ((64,), 784, 512),
        ((3,), 5000, 4),
        ((2, 5), 3, 4),
        ((), 600, 70),
        ((2, 1, 90), 300, 33),
    ],
)
def test_linear_is_matmul_and_add_bit_by_bit(rows, inputs, outputs, name):
    x, weight, bias = (
        make((*rows, inputs), name),
        make((outputs, inputs), name, 1),
        make(outputs, name, 2),
    )
    for each in (bias, np.stack([bias, bias], 1)[:, 0], bias[::-1]):
        product = _front.matmul(x.reshape(-1, inputs), weight.T)
        wide = product.astype("f4") if product.dtype.itemsize == 2 and name in FLOATS else product
        expected = (wide + each.astype(wide.dtype)).astype(product.dtype).reshape(*rows, outputs)
        assert _front.linear(x, weight, each).tobytes() == expected.tobytes()
    assert _front.linear(x, weight, None).tobytes() == product.tobytes()


def test_linear_reads_rows_that_do_not_lie_evenly():
    x = make((6, 5, 30), "float32")[::2, 1:4]
    spread = np.broadcast_to(make((5, 30), "float32"), (4, 5, 30))
    weight, bias = make((7, 30), "float32", 1), make(7, "float32", 2)
    for each in (x, spread, np.broadcast_to(spread[:, :1], (4, 5, 30))):
        expected = each.astype("f8") @ weight.astype("f8").T + bias
        np.testing.assert_allclose(_front.linear(each, weight, bias), expected, atol=1e-4)


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        None,
        3.0,
        [[1.0]],
        np.ones(3),
        np.ones((2, 2), bool),
        np.ones((3, 3)),
        np.ones((2, 2), "c8"),
    ],
)
def test_other_operands_are_declined(bad):
    good = np.ones((2, 2), np.float32)
    assert _front.matmul(good, bad) is NotImplemented
    assert _front.matmul(bad, good) is NotImplemented
    assert _front.linear(good, bad, None) is NotImplemented
    assert _front.linear(bad, good, None) is NotImplemented
    if bad is not None:
        assert _front.linear(good, good, bad) is NotImplemented
    assert _front.matmul() is NotImplemented
    assert _front.linear(good, good) is NotImplemented


def test_bfloat16_is_summed_in_float32():
    a = np.ones((40, 4096), ml_dtypes.bfloat16)
    b = np.ones((4096, 40), ml_dtypes.bfloat16)
    assert (_front.matmul(a, b).astype("f4") == 4096).all()  # adding up in bfloat16 stops at 256
    a[:, 1::2] = 2.0**-6
    assert (_front.matmul(a, b).astype("f4") == 2048 + 32).all()
