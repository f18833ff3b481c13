"""Layers and functions for images take PyTorch's arguments, in its order, with its defaults."""

from inspect import Parameter, signature

import pytest
from beside_torch import torch

import ferrum_nn as nn

pytestmark = pytest.mark.torch

LAYERS = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm2d",
    "BatchNorm3d",
    "ChannelShuffle",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Fold",
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "LocalResponseNorm",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "PixelShuffle",
    "PixelUnshuffle",
    "SyncBatchNorm",
    "Unfold",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
]

FUNCTIONS = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d_with_indices",
    "affine_grid",
    "fold",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d_with_indices",
    "grid_sample",
    "group_norm",
    "instance_norm",
    "interpolate",
    "local_response_norm",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d_with_indices",
    "max_pool2d_with_indices",
    "max_pool3d_with_indices",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "unfold",
    "upsample",
]

# PyTorch's own of these choose between two functions, which have the same arguments.
CHOSEN = [
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "fractional_max_pool2d",
    "fractional_max_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]


def arguments(function):
    return [
        (each.name, each.default, each.kind is Parameter.KEYWORD_ONLY)
        for each in signature(function).parameters.values()
        if each.name not in ("device", "dtype")
    ]


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    assert arguments(getattr(nn, name)) == arguments(getattr(torch.nn, name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    theirs = getattr(torch.nn.functional, name)
    assert arguments(getattr(nn.functional, name)) == arguments(theirs)


@pytest.mark.parametrize("name", CHOSEN)
def test_functions_that_choose(name):
    theirs = getattr(torch.nn.functional, f"_{name}")
    assert arguments(getattr(nn.functional, name)) == arguments(theirs)
