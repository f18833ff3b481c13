"""Layers and losses as functions, under PyTorch's names: `import ferrum_nn.functional as F`."""

from ferrum_nn.functional.activations import log_softmax, relu, sigmoid, softmax, tanh
from ferrum_nn.functional.layers import bilinear, embedding, linear, normalize, one_hot
from ferrum_nn.functional.losses import cross_entropy, mse_loss, nll_loss
from ferrum_nn.functional.norms import batch_norm, layer_norm, rms_norm

__all__ = [
    "batch_norm",
    "bilinear",
    "cross_entropy",
    "embedding",
    "layer_norm",
    "linear",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "relu",
    "rms_norm",
    "sigmoid",
    "softmax",
    "tanh",
]
