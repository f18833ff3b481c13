"""First values: their laws, by moments, bounds and structure."""

from math import ceil, erf, exp, inf, nan, pi, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, DTypeError, FerrumError, OperandError, ShapeError

I = nn.init  # noqa: E741
DRAWN = [
    I.uniform_,
    I.normal_,
    I.trunc_normal_,
    I.xavier_uniform_,
    I.xavier_normal_,
    I.kaiming_uniform_,
    I.kaiming_normal_,
    I.orthogonal_,
    lambda x, **options: I.sparse_(x, 0.3, **options),
]
SET = [I.zeros_, I.ones_, I.eye_, lambda x: I.constant_(x, 2.5)]


@pytest.fixture(autouse=True, scope="module")
def seed():
    """The same draws at every run."""
    fe.manual_seed(11)


def values(x):
    return x.detach().to(fe.float64).numpy().ravel()


@pytest.mark.parametrize("write", DRAWN)
def test_what_is_drawn_depends_on_the_generator_alone(write):
    one, two, other = (write(fe.zeros(5, 4), generator=fe.Generator(s)) for s in (1, 1, 2))
    assert fe.equal(one, two)
    assert not fe.equal(one, other)
    fe.manual_seed(3)
    first = write(fe.zeros(5, 4))
    fe.manual_seed(3)
    assert fe.equal(first, write(fe.zeros(5, 4)))


@pytest.mark.parametrize("dtype", [fe.float16, fe.bfloat16, fe.float32, fe.float64])
@pytest.mark.parametrize("write", [*DRAWN, *SET])
def test_parameters_of_every_dtype_are_written_without_history(write, dtype):
    x = nn.Parameter(fe.full((6, 4), nan, dtype=dtype))
    assert write(x) is x
    assert x.dtype is dtype
    assert x.requires_grad
    assert x.is_leaf
    assert np.isfinite(values(x)).all()


@pytest.mark.parametrize("write", [*DRAWN, *SET])
def test_views_and_nothing(write):
    base = fe.full((4, 6), 9.0)
    assert np.isfinite(values(write(base.t()[::2]))).all()
    assert (base[:, 1::2] == 9).all().item()
    assert write(fe.zeros(0, 3)).shape == (0, 3)
    assert write(fe.zeros(3, 0)).shape == (3, 0)


@given(st.floats(-5, 5), st.floats(0.01, 3))
def test_uniform_and_normal(mean, width):
    x, generator = fe.zeros(20_000, dtype=fe.float64), fe.Generator(4)
    data = values(I.uniform_(x, mean - width, mean + width, generator))
    assert mean - width <= data.min() < data.max() <= mean + width
    assert data.mean() == pytest.approx(mean, abs=0.03 * width)
    assert data.std() == pytest.approx(width / sqrt(3), rel=0.03)
    data = values(I.normal_(x, mean, width, generator))
    assert data.mean() == pytest.approx(mean, abs=0.04 * width)
    assert data.std() == pytest.approx(width, rel=0.04)


def density(z):
    return exp(-z * z / 2) / sqrt(2 * pi) if abs(z) < 40 else 0.0


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [
        (0, 1, -2, 2),
        (0, 0.02, -2, 2),
        (1, 2, -9, 0.5),
        (0, 1, -0.1, 0.2),
        (0, 1, 0, 0.3),
        (0, 1, 2, 3),
        (0, 1, -3, -2),
        (3, 0.5, 5, inf),
        (0, 1, -inf, -1),
        (0, 1, -inf, inf),
        (0, 1, 1, 1 + 1e-5),
    ],
)
def test_trunc_normal_has_the_moments_of_its_law(mean, std, a, b):
    data = values(I.trunc_normal_(fe.zeros(40_000, dtype=fe.float64), mean, std, a, b))
    assert a <= data.min() <= data.max() <= b
    low, high = (a - mean) / std, (b - mean) / std
    mass = (erf(high / sqrt(2)) - erf(low / sqrt(2))) / 2
    shift = (density(low) - density(high)) / mass
    ends = [z * density(z) if abs(z) < 40 else 0.0 for z in (low, high)]
    spread = sqrt(max(1 + (ends[0] - ends[1]) / mass - shift**2, 0))
    assert data.mean() == pytest.approx(mean + std * shift, abs=0.03 * std * max(spread, 1e-3))
    if spread > 1e-3:
        assert data.std() == pytest.approx(std * spread, rel=0.03)


def test_trunc_normal_far_from_the_mean_and_between_two_equal_bounds():
    far = values(I.trunc_normal_(fe.zeros(5000), 0, 1, 30, 1e6))
    assert far.min() >= 30
    assert far.mean() == pytest.approx(30 + 1 / 30, abs=0.003)
    assert (values(I.trunc_normal_(fe.zeros(9), 0, 1, 0.5, 0.5)) == 0.5).all()


def test_fans():
    x = fe.zeros(60, 40, 3, 2)
    for write, deviation in (
        (lambda: I.xavier_uniform_(x, 2), 2 * sqrt(2 / 600)),
        (lambda: I.xavier_normal_(x, gain=0.5), 0.5 * sqrt(2 / 600)),
        (lambda: I.kaiming_uniform_(x, nonlinearity="relu"), sqrt(2 / 240)),
        (lambda: I.kaiming_normal_(x, mode="fan_out", nonlinearity="tanh"), 5 / 3 / sqrt(360)),
        (lambda: I.kaiming_normal_(x, a=1), sqrt(1 / 240)),
    ):
        data = values(write())
        assert data.std() == pytest.approx(deviation, rel=0.03)
        assert abs(data.mean()) < 0.05 * deviation
    for write, bound in (
        (lambda: I.xavier_uniform_(x), sqrt(6 / 600)),
        (lambda: I.kaiming_uniform_(x, a=sqrt(5)), sqrt(1 / 240)),
    ):
        assert 0.99 * bound < np.abs(values(write())).max() <= bound * (1 + 1e-6)


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (2, 3, 4), (24, 2, 3), (1, 5), (5, 1)])
@pytest.mark.parametrize("gain", [1, 0.3])
def test_orthogonal(shape, gain):
    x = I.orthogonal_(fe.zeros(shape, dtype=fe.float64), gain)
    flat = x.numpy().reshape(shape[0], -1)
    small = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    np.testing.assert_allclose(small, gain**2 * np.eye(len(small)), atol=1e-12)


def test_orthogonal_is_uniform():
    generator = fe.Generator(1)
    draws = [I.orthogonal_(fe.zeros(2, 2), generator=generator).numpy() for _ in range(1500)]
    assert np.abs(np.mean(draws, 0)).max() < 0.06  # without the signs of R the diagonal is not 0
    assert np.mean([np.linalg.det(each) for each in draws]) == pytest.approx(0, abs=0.09)


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.5, 1])
def test_sparse(sparsity):
    x = values(I.sparse_(fe.ones(30, 200), sparsity, std=2.0)).reshape(30, 200)
    zeros = (x == 0).sum(0)
    assert (zeros == ceil(sparsity * 30)).all()
    if 0 < sparsity < 1:
        assert (x == 0).any(1).all()  # not always the same rows
        assert x[x != 0].std() == pytest.approx(2, rel=0.05)


def test_eye_and_dirac():
    assert I.eye_(fe.full((2, 3), 7.0)).tolist() == [[1, 0, 0], [0, 1, 0]]
    x = I.dirac_(fe.full((4, 2, 3, 5), 7.0), groups=2)
    signal = fe.randn(2)
    assert (x[:, :, 1, 2] @ signal).tolist() == [*signal.tolist(), *signal.tolist()]
    assert x.sum().item() == 4
    assert I.dirac_(fe.ones(3, 2, 4)).sum().item() == 2
    assert I.dirac_(fe.ones(2, 2, 0)).shape == (2, 2, 0)


def test_gains():
    for kind in ("conv1d", "conv3d", "conv_transpose2d", "linear", "sigmoid"):
        assert I.calculate_gain(kind) == 1
    assert I.calculate_gain("selu") == 0.75
    assert I.calculate_gain("leaky_relu", 2) == sqrt(2 / 5)


MATRIX = fe.zeros(2, 3)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        *[(lambda f=f: f([1.0]), OperandError) for f in (*DRAWN, *SET, I.dirac_)],
        (lambda: I.uniform_(MATRIX, 1, 0), ArgumentError),
        (lambda: I.uniform_(MATRIX, 0, inf), ArgumentError),
        (lambda: I.uniform_(MATRIX, nan, 1), OperandError),
        (lambda: I.uniform_(MATRIX, generator=5), OperandError),
        (lambda: I.uniform_(fe.tensor([1])), DTypeError),
        (lambda: I.normal_(MATRIX, 0, -1), ArgumentError),
        (lambda: I.normal_(MATRIX, "a"), OperandError),
        (lambda: I.normal_(fe.tensor([1])), DTypeError),
        (lambda: I.trunc_normal_(fe.tensor([1])), DTypeError),
        (lambda: I.orthogonal_(fe.tensor([[1]])), DTypeError),
        (lambda: I.trunc_normal_(MATRIX, std=0), ArgumentError),
        (lambda: I.trunc_normal_(MATRIX, a=1, b=0), ArgumentError),
        (lambda: I.trunc_normal_(MATRIX, a=inf, b=inf), ArgumentError),
        (lambda: I.trunc_normal_(MATRIX, mean=inf), ArgumentError),
        (lambda: I.trunc_normal_(MATRIX, generator="x"), OperandError),
        (lambda: I.xavier_uniform_(fe.zeros(3)), ShapeError),
        (lambda: I.xavier_normal_(fe.zeros(())), ShapeError),
        (lambda: I.xavier_uniform_(MATRIX, gain=-1), ArgumentError),
        (lambda: I.xavier_normal_(MATRIX, gain="relu"), OperandError),
        (lambda: I.kaiming_normal_(fe.zeros(3)), ShapeError),
        (lambda: I.kaiming_normal_(MATRIX, mode="fan"), ArgumentError),
        (lambda: I.kaiming_uniform_(MATRIX, nonlinearity="x"), ArgumentError),
        (lambda: I.orthogonal_(fe.zeros(3)), ShapeError),
        (lambda: I.orthogonal_(MATRIX, gain=None), OperandError),
        (lambda: I.sparse_(fe.zeros(2, 2, 2), 0.5), ShapeError),
        (lambda: I.sparse_(MATRIX, 1.5), ArgumentError),
        (lambda: I.sparse_(MATRIX, -0.1), ArgumentError),
        (lambda: I.sparse_(MATRIX, None), OperandError),
        (lambda: I.eye_(fe.zeros(2)), ShapeError),
        (lambda: I.dirac_(MATRIX), ShapeError),
        (lambda: I.dirac_(fe.zeros(3, 2, 2), groups=2), ArgumentError),
        (lambda: I.dirac_(fe.zeros(3, 2, 2), groups=0), ArgumentError),
        (lambda: I.dirac_(fe.zeros(3, 2, 2), groups=1.0), OperandError),
        (lambda: I.constant_(MATRIX, "x"), FerrumError),
        (lambda: I.calculate_gain("leaky_relu", "x"), OperandError),
        (lambda: I.calculate_gain(None), ArgumentError),
    ],
)
def test_what_makes_no_sense(call, error):
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, FerrumError)
    assert not MATRIX.any()


def test_a_vector_without_elements_stays_as_it_is():
    for write in (I.kaiming_uniform_, I.kaiming_normal_):
        x = fe.zeros(0)
        assert write(x) is x
