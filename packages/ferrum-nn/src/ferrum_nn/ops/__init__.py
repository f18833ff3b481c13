"""The ops of ferrum_nn, declared with the decorator that anyone can use.

Their attributes are normalised; `ferrum_nn.functional` has the public functions. This module is the
entry point `nn` of the group `ferrum.ops`.
"""

from ferrum_nn.ops.activations import (
    elu,
    elu_backward,
    gelu,
    gelu_backward,
    glu,
    glu_backward,
    softplus,
    softplus_backward,
)
from ferrum_nn.ops.activations_straight import (
    hardshrink,
    hardtanh,
    hardtanh_backward,
    leaky_relu,
    leaky_relu_backward,
    prelu,
    prelu_backward,
    shrink_backward,
    softshrink,
    threshold,
    threshold_backward,
)
from ferrum_nn.ops.dropout import dropout
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
from ferrum_nn.ops.norms import layer_norm, layer_norm_backward, rms_norm, rms_norm_backward
from ferrum_nn.ops.steps import adam_step, sgd_step
from ferrum_nn.ops.steps_moments import adamax_step, nadam_step, radam_step
from ferrum_nn.ops.steps_others import asgd_step, lion_step, rprop_step
from ferrum_nn.ops.steps_squares import adadelta_step, adagrad_step, rmsprop_step

__all__ = [
    "adadelta_step",
    "adagrad_step",
    "adam_step",
    "adamax_step",
    "asgd_step",
    "bce_with_logits",
    "bce_with_logits_backward",
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "dropout",
    "elu",
    "elu_backward",
    "embedding",
    "gelu",
    "gelu_backward",
    "glu",
    "glu_backward",
    "hardshrink",
    "hardtanh",
    "hardtanh_backward",
    "layer_norm",
    "layer_norm_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "lion_step",
    "mse_loss",
    "mse_loss_backward",
    "nadam_step",
    "nll_loss",
    "prelu",
    "prelu_backward",
    "radam_step",
    "rms_norm",
    "rms_norm_backward",
    "rmsprop_step",
    "rprop_step",
    "sgd_step",
    "shrink_backward",
    "smooth_l1_loss",
    "smooth_l1_loss_backward",
    "softplus",
    "softplus_backward",
    "softshrink",
    "threshold",
    "threshold_backward",
]
