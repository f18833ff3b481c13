"""A convolution with the norm after it folded in, beside PyTorch's."""

import itertools

import numpy as np
import pytest
from beside_torch import close, torch

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, OperandError, ShapeError

pytestmark = pytest.mark.torch

EITHER = (False, True)


def trained(layer, norm):
    """Return the layers in eval mode, their numbers all different."""
    rng = np.random.default_rng(0)
    for each in (layer, norm):
        state = {
            name: value
            if name == "num_batches_tracked"
            else rng.uniform(0.5, 2, tuple(value.shape))
            for name, value in each.state_dict().items()
        }
        make = torch.tensor if isinstance(each, torch.nn.Module) else fe.tensor
        numbers = {n: make(v) if isinstance(v, np.ndarray) else v for n, v in state.items()}
        each.load_state_dict(numbers)
        each.eval()
    return layer, norm


def pairs(library, axes, transpose, bias, affine):
    kind = getattr(library, f"Conv{'Transpose' * transpose}{axes}d")
    float64 = (fe if library is nn else torch).float64
    conv = kind(3, 4, 2, stride=2, bias=bias, dtype=float64)
    return trained(
        conv, getattr(library, f"BatchNorm{axes}d")(4, eps=0.1, affine=affine, dtype=float64)
    )


@pytest.mark.parametrize(("bias", "affine"), [*itertools.product(EITHER, EITHER)])
@pytest.mark.parametrize("transpose", EITHER)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_one_layer_does_what_both_did(axes, transpose, bias, affine):
    conv, norm = pairs(nn, axes, transpose, bias, affine)
    before = {name: value.clone() for name, value in conv.state_dict().items()}
    fused = nn.utils.fuse_conv_bn_eval(conv, norm, transpose)
    theirs = torch.nn.utils.fuse_conv_bn_eval(
        *pairs(torch.nn, axes, transpose, bias, affine), transpose
    )
    for name, value in theirs.state_dict().items():
        close(fused.state_dict()[name], value)
    x = fe.tensor(np.random.default_rng(1).normal(size=(2, 3, *(5,) * axes)))
    np.testing.assert_allclose(fused(x).detach(), norm(conv(x)).detach(), atol=1e-12)
    assert all((conv.state_dict()[name] == value).all() for name, value in before.items())
    assert [each.requires_grad for each in fused.parameters()] == [True, bias]


@pytest.mark.parametrize("transpose", EITHER)
def test_weights(transpose):
    parts = [], []
    shapes = [(4, 4, 3, 3), (4,), (4,), (4,), (4,), (4,)]
    for seed, shape in enumerate(shapes):
        values = np.random.default_rng(seed).uniform(0.5, 2, shape)
        parts[0].append(fe.tensor(values))
        parts[1].append(torch.tensor(values))
    results = [
        library.utils.fuse_conv_bn_weights(*given[:4], 0.1, *given[4:], transpose)
        for library, given in zip((nn, torch.nn), parts, strict=True)
    ]
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda f: f(nn.Linear(3, 4), nn.BatchNorm2d(4)), OperandError, "got Linear"),
        (lambda f: f(nn.Conv2d(3, 4, 2), nn.GroupNorm(1, 4)), OperandError, "and GroupNorm"),
        (lambda f: f(nn.Conv2d(3, 4, 2).eval(), nn.BatchNorm2d(3).eval()), ShapeError, "3 into"),
        (lambda f: f(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4)), ArgumentError, "eval mode"),
        (lambda f: f(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), True), ArgumentError, "=False for a"),
        (lambda f: f(nn.ConvTranspose2d(3, 4, 2), nn.BatchNorm2d(4)), ArgumentError, "=True for"),
        (
            lambda f: f(nn.ConvTranspose2d(4, 4, 2, groups=2), nn.BatchNorm2d(4), True),
            ArgumentError,
            "2 groups",
        ),
        (
            lambda f: f(
                nn.Conv2d(3, 4, 2).eval(), nn.BatchNorm2d(4, track_running_stats=False).eval()
            ),
            ArgumentError,
            "track_running_stats=True",
        ),
    ],
)
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(nn.utils.fuse_conv_bn_eval)
