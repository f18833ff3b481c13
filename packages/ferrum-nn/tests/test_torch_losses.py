"""Losses and distances beside PyTorch's: values, gradients of two orders, kinks, errors."""

import itertools
import math

import numpy as np
import pytest
from beside_torch import close, pair, same_gradients, torch

import ferrum as fe
import ferrum_nn as nn

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:reduction. 'mean':UserWarning")]
F, T = nn.functional, torch.nn.functional
REDUCTIONS = ("none", "mean", "sum")
INF, NAN = math.inf, math.nan


def real(*shape, seed=0, scale=1.0):
    return np.random.default_rng(seed).normal(scale=scale, size=shape)


def unit(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.05, 0.95, size=shape)


def signs(*shape, seed=5):
    return np.random.default_rng(seed).choice([-1.0, 1.0], size=shape)


SHAPES = [(), (5,), (3, 4), (2, 3, 2), (0, 3)]


def cases():
    """Yield a name, arrays, and keyword arguments, of which arrays are operands, too."""
    for shape in SHAPES:
        x, t, w = real(*shape), real(*shape, seed=1), unit(*shape, seed=2)
        p, v = unit(*shape, seed=3), unit(*shape, seed=4)
        yield "mse_loss", (x, t), {}
        yield "mse_loss", (x, t), {"weight": w}
        yield "l1_loss", (x, t), {}
        yield "l1_loss", (x, t), {"weight": w}
        for beta in (0.0, 0.3, 1.0, 2):
            yield "smooth_l1_loss", (x, t), {"beta": beta}
        for delta in (0.3, 1, 2.0, INF):
            yield "huber_loss", (x, t), {"delta": delta}
        yield "huber_loss", (x, t), {"weight": w}
        yield "binary_cross_entropy", (p, v), {}
        yield "binary_cross_entropy", (p, v), {"weight": w}
        yield "binary_cross_entropy_with_logits", (x * 3, t), {}
        for weight, positive in ((w, None), (None, w), (w, w[..., :1] if shape else w)):
            options = {"weight": weight, "pos_weight": positive}
            yield "binary_cross_entropy_with_logits", (x * 3, p), options
        for log_input, full in itertools.product([True, False], repeat=2):
            options = {"log_input": log_input, "full": full, "eps": 0.01}
            yield "poisson_nll_loss", (p, v * 4), options
        for full in (True, False):
            yield "gaussian_nll_loss", (x, t, v), {"full": full, "eps": 0.2}
            yield "gaussian_nll_loss", (x, t), {"var": 0.7, "full": full}
            yield "gaussian_nll_loss", (x, t), {"var": 1e-9, "eps": 0.2}
            if len(shape) > 1:
                yield "gaussian_nll_loss", (x, t, v[..., 0]), {"full": full}
                yield "gaussian_nll_loss", (x, t, v[:1]), {"full": full}
        yield "kl_div", (x, v), {}
        yield "kl_div", (x, np.log(v)), {"log_target": True}
        yield "soft_margin_loss", (x, signs(*shape)), {}
        for margin in (0, 0.4, -0.5):
            yield "margin_ranking_loss", (x, t, signs(*shape)), {"margin": margin}
            yield "hinge_embedding_loss", (x, signs(*shape)), {"margin": margin}
        if shape:
            yield "multilabel_soft_margin_loss", (x * 3, p), {}
            yield "multilabel_soft_margin_loss", (x * 3, p), {"weight": w[..., :1]}
            for p_norm, eps, swap in itertools.product([1, 2.0, 3, INF], [1e-6, 0.1], [0, 1]):
                options = {"margin": 0.7, "p": p_norm, "eps": eps, "swap": bool(swap)}
                yield "triplet_margin_loss", (x, t, w), options
            for swap in (False, True):
                options = {"margin": 0.7, "swap": swap}
                yield "triplet_margin_with_distance_loss", (x, t, w), options
    yield "kl_div", (real(3, 4), unit(4)), {}
    yield "poisson_nll_loss", (real(3, 4), unit(4)), {}
    yield "hinge_embedding_loss", (real(3, 4), signs(4)), {"margin": 0.1}
    yield "margin_ranking_loss", (real(3, 1), real(1, 4), signs(3, 4)), {"margin": 0.1}
    for shape in ((4, 3), (3,), (0, 3)):
        lead = shape[:-1]
        for margin in (0, 0.3, -0.9):
            for seed in (5, 6):
                operands = (real(*shape), real(*shape, seed=1), signs(*lead, seed=seed))
                yield "cosine_embedding_loss", operands, {"margin": margin}
        target = np.random.default_rng(1).integers(0, 3, lead)
        for p, margin, weight in itertools.product(
            (1, 2), (0.5, 1.0), (None, np.array([0.5, 1, 2]))
        ):
            options = {"p": p, "margin": margin, "weight": weight}
            yield "multi_margin_loss", (real(*shape), target), options
    several = np.array([[3, 0, -1, 1], [-1, 1, 2, 3], [2, 1, 3, 0], [1, 1, -1, 0]])
    yield "multilabel_margin_loss", (real(4, 4), several), {}
    for row in several:
        yield "multilabel_margin_loss", (real(4), row), {}
    yield "multilabel_margin_loss", (real(0, 4), several[:0]), {}
    x = real(4, 3, scale=2)
    for ignore, weight in itertools.product((-100, 1), (None, np.array([0.5, 1, 2]))):
        options = {"ignore_index": ignore, "weight": weight}
        yield "nll_loss", (x, np.array([0, 1, 2, 1])), options
        yield "nll_loss", (real(2, 3, 2), np.array([[0, 1], [2, 2]])), options


CASES = list(cases())
ONCE = {"multi_margin_loss", "multilabel_margin_loss"}  # PyTorch has no second gradients of them
CONSTANT_WEIGHTS = {  # PyTorch has no gradients of them
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "multi_margin_loss",
    "nll_loss",
}
CONSTANT_TARGETS = {"cosine_embedding_loss", "hinge_embedding_loss", "soft_margin_loss"}


def both(arrays, dtype=None):
    ours, theirs = [], []
    for each in arrays:
        if (
            isinstance(each, np.ndarray | np.floating)
            and dtype
            and np.asarray(each).dtype.kind == "f"
        ):
            a = fe.tensor(each, dtype=getattr(fe, dtype), requires_grad=True)
            b = torch.tensor(each, dtype=getattr(torch, dtype), requires_grad=True)
        else:
            a, b = pair(np.asarray(each))
        ours.append(a)
        theirs.append(b)
    return ours, theirs


def run(name, arrays, options, dtype=None):
    """Return the results of both, and the operands that want gradients."""
    tensors = {k: v for k, v in options.items() if isinstance(v, np.ndarray | np.floating)}
    ours, theirs = both([*arrays, *tensors.values()], dtype)
    count = len(arrays)
    for_ours = {**options, **dict(zip(tensors, ours[count:], strict=True))}
    for_theirs = {**options, **dict(zip(tensors, theirs[count:], strict=True))}
    constants = slice(len(ours), None)
    if name in CONSTANT_WEIGHTS:
        constants = slice(count, None)
    elif name in CONSTANT_TARGETS:
        constants = slice(count - 1, count)
    for each in (*ours[constants], *theirs[constants]):
        each.requires_grad_(False)
    one = getattr(F, name)(*ours[:count], **for_ours)
    two = getattr(T, name)(*theirs[:count], **for_theirs)
    return one, two, *([x for x in each if x.requires_grad] for each in (ours, theirs))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", sorted({each[0] for each in CASES}))
def test_values_and_gradients(name, reduction):
    for _, arrays, options in (each for each in CASES if each[0] == name):
        if name in ONCE and reduction == "mean" and not arrays[0].size:
            continue  # PyTorch returns what it finds in memory
        one, two, ours, theirs = run(name, arrays, {**options, "reduction": reduction})
        close(one, two)
        if name in ONCE:
            assert_same_first(one, two, ours, theirs)
        else:
            same_gradients(one, two, ours, theirs)


def assert_same_first(one, two, ours, theirs, tolerance=1e-11):
    seed = np.cos(np.arange(one.numel())).reshape(one.shape)
    mine = fe.grad((one * fe.tensor(seed, dtype=one.dtype)).sum(), ours)
    yours = torch.autograd.grad((two * torch.tensor(seed, dtype=two.dtype)).sum(), theirs)
    for a, b in zip(mine, yours, strict=True):
        close(a, b, tolerance)


@pytest.mark.parametrize("name", sorted({each[0] for each in CASES}))
def test_float32(name):
    for _, arrays, options in (each for each in CASES if each[0] == name):
        if name in ONCE and not arrays[0].size:
            continue
        one, two, ours, theirs = run(name, arrays, options, "float32")
        close(one, two, 1e-5)
        assert_same_first(one, two, ours, theirs, 1e-5)
