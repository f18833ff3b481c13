"""Layers and losses as functions, under PyTorch's names: `import ferrum_nn.functional as F`."""

from ferrum_nn.functional.activations import log_softmax, relu, sigmoid, softmax, tanh
from ferrum_nn.functional.dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from ferrum_nn.functional.layers import linear
from ferrum_nn.functional.losses import cross_entropy, mse_loss, nll_loss

__all__ = [
    "alpha_dropout",
    "cross_entropy",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
    "linear",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]
