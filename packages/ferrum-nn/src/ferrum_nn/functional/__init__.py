"""Layers and losses as functions, under PyTorch's names: `import ferrum_nn.functional as F`."""

from ferrum_nn.functional.activations import log_softmax, relu, sigmoid, softmax, tanh
from ferrum_nn.functional.layers import bilinear, embedding, linear, normalize, one_hot
from ferrum_nn.functional.losses import cross_entropy, mse_loss, nll_loss

__all__ = [
    "bilinear",
    "cross_entropy",
    "embedding",
    "linear",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]
