"""Losses and distances by their formulas, and their gradients by finite differences."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ferrum as fe
import ferrum_nn as nn

F = nn.functional
RNG = np.random.default_rng(3)
X, T = RNG.normal(size=(2, 3, 4))
P, V = RNG.uniform(0.1, 0.9, (2, 3, 4))
SIGNS = np.where(T > 0, 1.0, -1.0)
ONE = SIGNS[:, 0]

DIFFERENTIABLE = [
    ("mse_loss", (X, T), {"weight": P}),
    ("l1_loss", (X, T), {}),
    ("l1_loss", (X, T), {"weight": P}),
    ("smooth_l1_loss", (X, T), {"beta": 0.7}),
    ("huber_loss", (X, T), {"delta": 0.7}),
    ("huber_loss", (X, T), {"weight": P}),
    ("binary_cross_entropy", (P, V), {"weight": V}),
    ("binary_cross_entropy_with_logits", (X, V), {}),
    ("binary_cross_entropy_with_logits", (X, V), {"weight": V, "pos_weight": P}),
    ("poisson_nll_loss", (X, P + 2), {"full": True}),
    ("poisson_nll_loss", (P, V), {"log_input": False}),
    ("gaussian_nll_loss", (X, T, P), {"full": True}),
    ("kl_div", (X, P), {}),
    ("kl_div", (X, T), {"log_target": True}),
    ("soft_margin_loss", (X, SIGNS), {}),
    ("hinge_embedding_loss", (X, fe.tensor(SIGNS)), {"margin": 0.3}),
    ("margin_ranking_loss", (X, T, SIGNS), {"margin": 0.3}),
    ("cosine_embedding_loss", (X, T, fe.tensor(ONE)), {"margin": -0.9}),
    ("multi_margin_loss", (X, fe.tensor([0, 3, 1])), {"p": 1, "margin": 0.7}),
    ("multi_margin_loss", (X, fe.tensor([0, 3, 1])), {"p": 2, "weight": P[0]}),
    ("multilabel_margin_loss", (X, fe.tensor([[0, 3, -1, 1], [2, -1, 0, 0], [-1] * 4])), {}),
    ("multilabel_soft_margin_loss", (X, P), {"weight": V}),
    ("triplet_margin_loss", (X, T, P), {"p": 3, "swap": True}),
    ("triplet_margin_with_distance_loss", (X, T, P), {"distance_function": F.cosine_similarity}),
    ("cosine_similarity", (X, T), {}),
    ("pairwise_distance", (X, T), {"p": 1.5}),
    ("pdist", (X,), {"p": 3}),
]


@pytest.mark.parametrize(("name", "operands", "options"), DIFFERENTIABLE)
def test_gradients_of_two_orders(name, operands, options):
    arrays = {k: v for k, v in options.items() if isinstance(v, np.ndarray)}
    rest = {k: v for k, v in options.items() if k not in arrays}
    leaves = [
        each if isinstance(each, fe.Tensor) else fe.tensor(each, requires_grad=True)
        for each in (*operands, *arrays.values())
    ]

    def loss(*tensors):
        weights = dict(zip(arrays, tensors[len(operands) :], strict=True))
        return getattr(F, name)(*tensors[: len(operands)], **weights, **rest)

    assert fe.gradcheck(loss, leaves)
    assert fe.gradgradcheck(loss, leaves)


@given(st.floats(0.01, 10), st.integers(0, 2**32 - 1))
def test_huber_smooth_and_absolute_are_one_family(width, seed):
    x = fe.tensor(np.random.default_rng(seed).normal(scale=3, size=7))
    zero = fe.zeros_like(x)
    smooth = F.smooth_l1_loss(x, zero, reduction="none", beta=width)
    huber = F.huber_loss(x, zero, "none", width)
    np.testing.assert_allclose(huber.numpy(), (smooth * width).numpy(), rtol=1e-12)
    far = F.l1_loss(x, zero, reduction="none")
    assert ((far - smooth) <= width / 2 + 1e-12).all()
    assert (huber <= F.mse_loss(x, zero, reduction="none") / 2 + 1e-12).all()


@given(st.integers(0, 2**32 - 1))
def test_scores_and_their_probabilities_have_one_cross_entropy(seed):
    rng = np.random.default_rng(seed)
    x, t = fe.tensor(rng.normal(scale=3, size=9)), fe.tensor(rng.uniform(size=9))
    one = F.binary_cross_entropy_with_logits(x, t)
    two = F.binary_cross_entropy(x.sigmoid(), t)
    assert one.item() == pytest.approx(two.item(), rel=1e-9)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3.5, math.inf]))
def test_distances_of_rows(seed, p):
    x = np.random.default_rng(seed).normal(size=(5, 3))
    expected = [np.linalg.norm(x[i] - x[j], p) for i in range(5) for j in range(i + 1, 5)]
    np.testing.assert_allclose(F.pdist(fe.tensor(x), p).numpy(), expected, rtol=1e-12)


def test_scores_far_away():
    x = fe.tensor([1e4, -1e4, 1e4, -1e4], requires_grad=True)
    t = fe.tensor([1.0, 1.0, 0.0, 0.0])
    for options in ({}, {"pos_weight": fe.ones(4)}, {"weight": fe.ones(4)}):
        loss = F.binary_cross_entropy_with_logits(x, t, reduction="none", **options)
        assert loss.tolist() == [0, 1e4, 1e4, 0]
        (grad,) = fe.grad(loss.sum(), x)
        assert grad.tolist() == [0, -1, 1, 0]
    assert F.soft_margin_loss(x, fe.tensor([1, -1, -1, 1]), reduction="sum").item() == 2e4


def test_small_losses_keep_their_digits():
    """float32 of x - x t + log(1 + exp(-x)) at 20 would be 0: the logarithm must stand alone."""
    for x, t in ((20.0, 1.0), (-20.0, 0.0)):
        loss = F.binary_cross_entropy_with_logits(fe.tensor([x]), fe.tensor([t]))
        assert loss.item() == pytest.approx(math.log1p(math.exp(-20)), rel=1e-6)


@pytest.mark.parametrize("dtype", [fe.int64, fe.uint8, fe.bool])
def test_targets_of_whole_numbers_are_labels(dtype):
    x, labels = fe.tensor(X), fe.tensor(T > 0)
    for name in ("binary_cross_entropy_with_logits", "multilabel_soft_margin_loss"):
        function = getattr(F, name)
        one, two = function(x, labels.to(dtype)), function(x, labels.double())
        assert one.item() == two.item()


def test_a_clamped_variance_still_gets_a_gradient():
    var = fe.tensor([0.0, 4.0], requires_grad=True)
    loss = F.gaussian_nll_loss(fe.zeros(2), fe.zeros(2), var, eps=0.5, reduction="sum")
    loss.backward()
    assert loss.item() == pytest.approx((math.log(0.5) + math.log(4)) / 2)
    assert var.grad.tolist() == [1, 0.125]


def test_nothing_to_learn_from_labels_that_all_count():
    """Where every class is a target, or none is, there is no pair to part."""
    for target in ([0, 1, 2], [-1, 0, 1]):
        assert F.multilabel_margin_loss(fe.randn(3), fe.tensor(target)).item() == 0


def test_strided_operands():
    x, t = fe.tensor(X), fe.tensor(P)
    for name in ("l1_loss", "huber_loss", "binary_cross_entropy_with_logits", "kl_div"):
        function = getattr(F, name)
        expected = function(x.t().contiguous(), t.t().contiguous(), reduction="none")
        got = function(x.t(), t.t(), reduction="none")
        np.testing.assert_array_equal(got.numpy(), expected.numpy())
        wide = function(x[:, :1].expand(3, 4), t, reduction="none")
        assert wide.shape == (3, 4)
