"""Layers, losses, optimizers and data loading for FERRUM, under PyTorch's names.

One import brings all of it:

    import ferrum as fe
    import ferrum_nn as nn

    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = nn.optim.Adam(model.parameters(), lr=1e-2)
    loss = nn.functional.mse_loss(model(x), y)
"""

from ferrum_nn import data, functional, init, ops, optim
from ferrum_nn.activation import (
    CELU,
    ELU,
    GELU,
    SELU,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    RReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    Threshold,
)
from ferrum_nn.activation_along import GLU, LogSoftmax, Softmax, Softmax2d, Softmin
from ferrum_nn.containers import Sequential
from ferrum_nn.errors import NameTakenError, StateDictError, UnknownNameError
from ferrum_nn.linear import Bilinear, Flatten, Identity, Linear, Unflatten
from ferrum_nn.loss import CrossEntropyLoss, MSELoss
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter
from ferrum_nn.sparse import Embedding

__all__ = [
    "Bilinear",
    "CELU",
    "CrossEntropyLoss",
    "ELU",
    "Embedding",
    "Flatten",
    "GELU",
    "GLU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "Mish",
    "Module",
    "NameTakenError",
    "PReLU",
    "Parameter",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SELU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "StateDictError",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "Unflatten",
    "UnknownNameError",
    "data",
    "functional",
    "init",
    "ops",
    "optim",
]

__version__ = "0.1.0"
