"""The ops of ferrum_nn, declared with the decorator that anyone can use.

Their attributes are normalised; `ferrum_nn.functional` has the public functions. This module is the
entry point `nn` of the group `ferrum.ops`.
"""

from ferrum_nn.ops.embedding import embedding
from ferrum_nn.ops.layers import linear
from ferrum_nn.ops.losses import (
    cross_entropy,
    cross_entropy_backward,
    mse_loss,
    mse_loss_backward,
    nll_loss,
)
from ferrum_nn.ops.losses_elementwise import (
    bce_with_logits,
    bce_with_logits_backward,
    binary_cross_entropy,
    binary_cross_entropy_backward,
    smooth_l1_loss,
    smooth_l1_loss_backward,
)
from ferrum_nn.ops.steps import adam_step, sgd_step

__all__ = [
    "adam_step",
    "bce_with_logits",
    "bce_with_logits_backward",
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "embedding",
    "linear",
    "mse_loss",
    "mse_loss_backward",
    "nll_loss",
    "sgd_step",
    "smooth_l1_loss",
    "smooth_l1_loss_backward",
]
