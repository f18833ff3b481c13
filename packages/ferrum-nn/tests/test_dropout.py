"""Dropout: how much is dropped, what becomes of the rest, gradients, and what is refused."""

import math

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn
import ferrum_nn.functional as F
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError

ALL = [
    ("dropout", (4, 5)),
    ("dropout1d", (4, 3, 5)),
    ("dropout1d", (3, 5)),
    ("dropout2d", (2, 3, 4, 5)),
    ("dropout3d", (2, 3, 2, 2, 2)),
    ("dropout3d", (3, 2, 2, 2)),
    ("alpha_dropout", (4, 5)),
    ("feature_alpha_dropout", (4, 3, 5)),
]
LAYERS = {
    "Dropout": "dropout",
    "Dropout1d": "dropout1d",
    "Dropout2d": "dropout2d",
    "Dropout3d": "dropout3d",
    "AlphaDropout": "alpha_dropout",
    "FeatureAlphaDropout": "feature_alpha_dropout",
}


@pytest.fixture(autouse=True)
def _seed():
    fe.manual_seed(1)


def ramp(shape, dtype=None):
    return (fe.arange(math.prod(shape)).to(dtype or fe.float64) + 1).reshape(shape)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.73])
def test_how_many_are_dropped(p):
    """Within five standard deviations, and independent of the neighbour."""
    n = 40_000
    out = F.dropout(fe.ones(n), p).numpy()
    assert {0.0, np.float32(1 / (1 - p))} == set(out.tolist())
    gone = out == 0
    assert abs(gone.mean() - p) < 5 * math.sqrt(p * (1 - p) / n)
    both = (gone[1:] & gone[:-1]).mean()
    assert abs(both - p * p) < 5 * math.sqrt(p * p / n)
    assert abs(out.mean() - 1) < 5 * math.sqrt(p / (1 - p) / n)


@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_alpha_keeps_mean_and_variance(name, p):
    x = fe.randn(200, 200, 1, dtype=fe.float64)
    out = getattr(F, name)(x, p, training=True)
    assert abs(out.mean().item()) < 0.03
    assert abs(out.var().item() - 1) < 0.05
    assert np.unique(out.numpy().round(12), return_counts=True)[1].max() > 40_000 * p * 0.95


@pytest.mark.parametrize(("name", "shape"), ALL[1:6] + ALL[7:])
def test_channels_go_whole(name, shape):
    channels = 1 if (name, len(shape)) in (("dropout1d", 2), ("dropout3d", 4)) else 2
    dropped = set()
    for _ in range(20):
        x = fe.ones(shape)
        out = getattr(F, name)(x, 0.5, training=True).numpy()
        flat = out.reshape(math.prod(shape[:channels]), -1)
        assert (flat == flat[:, :1]).all()
        dropped |= set(flat[:, 0].tolist())
    assert len(dropped) == 2


@pytest.mark.parametrize(("name", "shape"), ALL)
def test_nothing_is_done_or_drawn(name, shape):
    function = getattr(F, name)
    before = fe.get_rng_state()
    for inplace in (False, True):
        x = ramp(shape)
        assert function(x, 0.5, False, inplace) is x
        assert function(x, 0, True, inplace) is x
        assert (x == ramp(shape)).all()
        empty = fe.zeros(0, *shape[1:])
        assert function(empty, 0.5, True, inplace) is empty
    assert fe.get_rng_state() == before


@pytest.mark.parametrize(("name", "shape"), ALL)
def test_all_of_it(name, shape):
    x = ramp(shape)
    assert (getattr(F, name)(x, 1.0, True) == 0).all()
    bad = fe.full(shape, math.inf)
    assert getattr(F, name)(bad, 1.0, True).isnan().all()


@pytest.mark.parametrize(("name", "shape"), ALL)
@pytest.mark.parametrize("dtype", [fe.float32, fe.float64, fe.float16, fe.bfloat16])
def test_in_place_and_by_seed(name, shape, dtype):
    function = getattr(F, name)
    x = ramp(shape, dtype)
    fe.manual_seed(7)
    expected = function(x, 0.4, True)
    assert expected.dtype is dtype
    assert (x == ramp(shape, dtype)).all()
    fe.manual_seed(7)
    assert function(x, 0.4, True, True) is x
    assert x.tolist() == expected.tolist()
    assert function(ramp(shape, dtype), 0.4, True).tolist() != expected.tolist()


def test_one_mask_in_all_dtypes_and_layouts():
    masks = []
    for x in (
        fe.ones(6, 8),
        fe.ones(6, 8, dtype=fe.float64),
        fe.ones(6, 8, dtype=fe.bfloat16),
        fe.ones(8, 6).mT,
    ):
        fe.manual_seed(3)
        masks.append((F.dropout(x, 0.3) == 0).tolist())
    assert masks.count(masks[0]) == 4


class Seeded:
    """A function that draws the same numbers at every call."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __call__(self, x):
        fe.manual_seed(5)
        return self.function(x, *self.args)


@pytest.mark.parametrize(("name", "shape"), ALL)
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_gradients(name, shape, p):
    x = ramp(shape).mul(0.1).requires_grad_()
    function = Seeded(getattr(F, name), p, True)
    assert fe.gradcheck(function, (x,))
    assert fe.gradgradcheck(function, (x,))


def test_the_gradient_has_the_mask():
    x = fe.ones(50, requires_grad=True)
    out = F.dropout(x, 0.3)
    (g,) = fe.grad(out.sum(), [x], create_graph=True)
    assert g.tolist() == out.tolist()
    assert fe.grad((g * x).sum(), [x])[0].tolist() == out.tolist()


@pytest.mark.parametrize(("kind", "name"), LAYERS.items())
def test_layers(kind, name):
    layer = getattr(nn, kind)()
    assert (layer.p, layer.inplace) == (0.5, False)
    assert repr(getattr(nn, kind)(0.2, True)) == f"{kind}(p=0.2, inplace=True)"
    shape = dict(ALL[::-1])[name]
    x = ramp(shape)
    fe.manual_seed(2)
    out = layer(x)
    fe.manual_seed(2)
    assert out.tolist() == getattr(F, name)(x, 0.5, training=True).tolist()
    assert layer.eval()(x) is x
    assert not layer.state_dict()


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    ("p", "error"),
    [
        (-0.1, ArgumentError),
        (1.1, ArgumentError),
        (math.nan, ArgumentError),
        (math.inf, ArgumentError),
        ("0.5", OperandError),
        (None, OperandError),
        ([0.5], OperandError),
    ],
)
def test_probabilities_that_are_refused(kind, p, error):
    name = LAYERS[kind]
    with pytest.raises(error, match=f"^{kind}: expected a probability from 0 to 1, got p="):
        getattr(nn, kind)(p)
    with pytest.raises(error, match=f"^{name}: expected a probability from 0 to 1, got p="):
        getattr(F, name)(fe.ones(2, 3, 4), p, False)


@pytest.mark.parametrize("name", LAYERS.values())
def test_inputs_that_are_refused(name):
    function = getattr(F, name)
    with pytest.raises(DTypeError, match=f"^{name}: expected a floating-point tensor, got int64"):
        function(fe.arange(3))
    with pytest.raises(OperandError, match=f"^{name}: expected a tensor, got list"):
        function([1.0])
    if name not in ("dropout", "alpha_dropout"):
        for shape in ((), (3,)):
            with pytest.raises(ShapeError, match=f"^{name}: expected .*axes"):
                function(fe.ones(shape), training=True)


@pytest.mark.parametrize(
    ("name", "axes", "message"),
    [
        ("dropout1d", 4, "3 or 2 axes"),
        ("dropout2d", 2, "4 axes"),
        ("dropout2d", 5, "4 axes"),
        ("dropout3d", 3, "5 or 4 axes"),
        ("dropout3d", 6, "5 or 4 axes"),
    ],
)
def test_axes_that_are_refused(name, axes, message):
    with pytest.raises(ShapeError, match=f"^{name}: expected {message}"):
        getattr(F, name)(fe.ones([2] * axes))


def test_three_axes_in_2d_warn():
    with pytest.warns(UserWarning, match="dropout2d: 3 axes are taken to be"):
        out = F.dropout2d(fe.ones(20, 20, 3)).numpy()
    assert (out == out[:, :, :1]).all()
    assert 0.3 < (out == 0).mean() < 0.7
