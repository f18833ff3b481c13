"""The ops of ferrum_nn, declared with the decorator that anyone can use.

Their attributes are normalised; `ferrum_nn.functional` has the public functions. This module is the
entry point `nn` of the group `ferrum.ops`.
"""

from ferrum_nn.ops.batch_norms import batch_norm, batch_norm_backward, batch_norm_eval
from ferrum_nn.ops.embedding import embedding
from ferrum_nn.ops.layers import linear
from ferrum_nn.ops.losses import (
    cross_entropy,
    cross_entropy_backward,
    mse_loss,
    mse_loss_backward,
    nll_loss,
)
from ferrum_nn.ops.norms import layer_norm, layer_norm_backward, rms_norm, rms_norm_backward
from ferrum_nn.ops.steps import adam_step, sgd_step

__all__ = [
    "adam_step",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_eval",
    "cross_entropy",
    "cross_entropy_backward",
    "embedding",
    "layer_norm",
    "layer_norm_backward",
    "linear",
    "mse_loss",
    "mse_loss_backward",
    "nll_loss",
    "rms_norm",
    "rms_norm_backward",
    "sgd_step",
]
