"""Weights by their lengths and by their spectral norms, beside PyTorch's."""

import itertools

import numpy as np
import pytest
from beside_torch import torch

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, OperandError, ShapeError

pytestmark = pytest.mark.torch

BOTH = ((nn, fe), (torch.nn, torch))
SHAPES = [(4, 3), (3, 4), (2, 3, 4), (5,)]


def close(got, want, rtol=1e-10):
    np.testing.assert_allclose(
        got.detach().numpy(), want.detach().numpy(), rtol=rtol, atol=1e-12, strict=True
    )


def pair(shape, change):
    """Return modules with one weight of the same values, in float64, after `change`."""
    value = np.random.default_rng(0).standard_normal(shape)
    made = []
    for lib, t in BOTH:
        module = lib.Module()
        module.weight = lib.Parameter(t.tensor(value, dtype=t.float64))
        made.append(change(lib.utils.parametrizations, module))
    return made


def walk(ours, theirs, steps=3):
    """Compare values and gradients over steps of training, and in eval mode."""
    for step in range(steps):
        for module in (ours, theirs):
            module.zero_grad()
            (module.weight.sin() * (step + 1)).sum().backward()
        for (name, got), (other, want) in zip(
            ours.named_parameters(), theirs.named_parameters(), strict=True
        ):
            assert name == other
            close(got.grad, want.grad, 1e-8)
        for module, t in ((ours, fe), (theirs, torch)):
            with t.no_grad():
                for each in module.parameters():
                    each -= 0.1 * each.grad
    ours.eval()
    theirs.eval()
    close(ours.weight, theirs.weight)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, want in theirs.state_dict().items():
        close(ours.state_dict()[name], want)


@pytest.mark.parametrize(
    ("shape", "dim"),
    [
        (s, d)
        for s, d in itertools.product(SHAPES, [0, 1, -1, -2, None])
        if len(s) > 1 or d in (0, None, -1)
    ],
)
def test_weight_norm(shape, dim):
    ours, theirs = pair(shape, lambda p, m: p.weight_norm(m, dim=dim))
    for name in ("original0", "original1"):
        close(
            getattr(ours.parametrizations.weight, name),
            getattr(theirs.parametrizations.weight, name),
        )
    walk(ours, theirs)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(
    ("shape", "dim"), [((4, 3), None), ((4, 3), 1), ((2, 3, 4), 0), ((2, 3, 4), -1), ((5,), None)]
)
def test_spectral_norm(shape, dim, steps):
    ours, theirs = pair(
        shape, lambda p, m: p.spectral_norm(m, n_power_iterations=steps, eps=1e-9, dim=dim)
    )
    state = {name: each.numpy() for name, each in theirs.state_dict().items()}  # the same vectors
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict({name: fe.tensor(each) for name, each in state.items()})
    walk(ours, theirs)


def test_it_is_the_largest_singular_value():
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4))
    for _ in range(100):
        layer(fe.ones(6))
    assert np.linalg.svd(layer.weight.detach().numpy())[1][0] == pytest.approx(1, abs=1e-4)


def test_gradients_of_gradients():
    p = nn.utils.parametrizations
    for wrap in (p.weight_norm, p.spectral_norm):
        layer = wrap(nn.Linear(3, 2).double()).eval()
        kept = layer.parametrizations.weight
        tensors = [
            each.detach().requires_grad_() for _, each in kept.named_parameters(recurse=False)
        ]
        change = kept[0]
        assert fe.gradcheck(change, tensors)
        assert fe.gradgradcheck(change, tensors)


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
@pytest.mark.parametrize(
    ("module", "tensor", "dim", "error", "text"),
    [
        (nn.Linear(2, 2), "w", 0, ArgumentError, "no parameter or buffer called 'w'"),
        (nn.Linear(2, 2), "weight", 2, ShapeError, "expected dim in a tensor of 2 axes, got 2"),
        (nn.Linear(2, 2), "weight", 0.0, OperandError, "an integer as dim, got 0.0"),
        (fe.ones(2), "weight", 0, OperandError, "expected a Module, got Tensor"),
    ],
)
def test_what_cannot_be_parametrized(name, module, tensor, dim, error, text):
    with pytest.raises(error, match=text):
        getattr(nn.utils.parametrizations, name)(module, tensor, dim=dim)


def test_a_power_method_without_a_step():
    with pytest.raises(ArgumentError, match="n_power_iterations of at least 1, got 0"):
        nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2), n_power_iterations=0)
