"""The ops of ferrum_nn, declared with the decorator that anyone can use.

Their attributes are normalised; `ferrum_nn.functional` has the public functions. This module is the
entry point `nn` of the group `ferrum.ops`.
"""

from ferrum_nn.ops.activations import (
    elu,
    elu_,
    elu_backward,
    gelu,
    gelu_backward,
    glu,
    glu_backward,
    logsigmoid,
    logsigmoid_backward,
    mish,
    mish_,
    mish_backward,
    silu,
    silu_,
    silu_backward,
    softplus,
    softplus_backward,
)
from ferrum_nn.ops.activations_straight import (
    hardshrink,
    hardsigmoid,
    hardsigmoid_,
    hardsigmoid_backward,
    hardswish,
    hardswish_,
    hardswish_backward,
    hardtanh,
    hardtanh_,
    hardtanh_backward,
    leaky_relu,
    leaky_relu_,
    leaky_relu_backward,
    prelu,
    prelu_,
    prelu_backward,
    shrink_backward,
    softshrink,
    threshold,
    threshold_,
    threshold_backward,
)
from ferrum_nn.ops.attention import (
    attention_backward,
    attention_mask_backward,
    scaled_dot_product_attention,
)
from ferrum_nn.ops.batch_norms import batch_norm, batch_norm_backward, batch_norm_eval
from ferrum_nn.ops.convolution import convolution, convolution_input, convolution_weight
from ferrum_nn.ops.ctc import ctc_loss, ctc_loss_backward
from ferrum_nn.ops.dropout import dropout
from ferrum_nn.ops.embedding import embedding
from ferrum_nn.ops.embedding_bag import (
    embedding_bag,
    embedding_bag_max,
    embedding_bag_scale,
    embedding_bag_weight,
)
from ferrum_nn.ops.folding import fold, unfold
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
from ferrum_nn.ops.padding import pad
from ferrum_nn.ops.pooling import max_pool, max_pool_input
from ferrum_nn.ops.pooling_average import average_pool, average_pool_input
from ferrum_nn.ops.recurrence import rnn, rnn_backward
from ferrum_nn.ops.recurrence_gated import gru, gru_backward, lstm, lstm_backward
from ferrum_nn.ops.resizing import resize, resize_adjoint
from ferrum_nn.ops.sampling import grid_sample, grid_sample_grid, grid_sample_input
from ferrum_nn.ops.steps import adam_step, sgd_step
from ferrum_nn.ops.steps_factors import adafactor_step
from ferrum_nn.ops.steps_moments import adamax_step, nadam_step, radam_step
from ferrum_nn.ops.steps_others import asgd_step, lion_step, rprop_step
from ferrum_nn.ops.steps_squares import adadelta_step, adagrad_step, rmsprop_step

__all__ = [
    "adadelta_step",
    "adafactor_step",
    "adagrad_step",
    "adam_step",
    "adamax_step",
    "asgd_step",
    "attention_backward",
    "attention_mask_backward",
    "average_pool",
    "average_pool_input",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_eval",
    "bce_with_logits",
    "bce_with_logits_backward",
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "convolution",
    "convolution_input",
    "convolution_weight",
    "cross_entropy",
    "cross_entropy_backward",
    "ctc_loss",
    "ctc_loss_backward",
    "dropout",
    "elu",
    "elu_",
    "elu_backward",
    "embedding",
    "embedding_bag",
    "embedding_bag_max",
    "embedding_bag_scale",
    "embedding_bag_weight",
    "fold",
    "gelu",
    "gelu_backward",
    "glu",
    "glu_backward",
    "grid_sample",
    "grid_sample_grid",
    "grid_sample_input",
    "gru",
    "gru_backward",
    "hardshrink",
    "hardsigmoid",
    "hardsigmoid_",
    "hardsigmoid_backward",
    "hardswish",
    "hardswish_",
    "hardswish_backward",
    "hardtanh",
    "hardtanh_",
    "hardtanh_backward",
    "layer_norm",
    "layer_norm_backward",
    "leaky_relu",
    "leaky_relu_",
    "leaky_relu_backward",
    "linear",
    "lion_step",
    "logsigmoid",
    "logsigmoid_backward",
    "lstm",
    "lstm_backward",
    "max_pool",
    "max_pool_input",
    "mish",
    "mish_",
    "mish_backward",
    "mse_loss",
    "mse_loss_backward",
    "nadam_step",
    "nll_loss",
    "pad",
    "prelu",
    "prelu_",
    "prelu_backward",
    "radam_step",
    "resize",
    "resize_adjoint",
    "rms_norm",
    "rms_norm_backward",
    "rmsprop_step",
    "rnn",
    "rnn_backward",
    "rprop_step",
    "scaled_dot_product_attention",
    "sgd_step",
    "shrink_backward",
    "silu",
    "silu_",
    "silu_backward",
    "smooth_l1_loss",
    "smooth_l1_loss_backward",
    "softplus",
    "softplus_backward",
    "softshrink",
    "threshold",
    "threshold_",
    "threshold_backward",
    "unfold",
]
