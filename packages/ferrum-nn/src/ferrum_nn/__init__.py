"""Layers, losses, optimizers and data loading for FERRUM, under PyTorch's names.

One import brings all of it:

    import ferrum as fe
    import ferrum_nn as nn

    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = nn.optim.Adam(model.parameters(), lr=1e-2)
    loss = nn.functional.mse_loss(model(x), y)
"""

from ferrum_nn import data, functional, init, ops, optim
from ferrum_nn.activation import ReLU, Sigmoid, Tanh
from ferrum_nn.containers import Sequential
from ferrum_nn.dropout import (
    AlphaDropout,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    FeatureAlphaDropout,
)
from ferrum_nn.errors import NameTakenError, StateDictError, UnknownNameError
from ferrum_nn.linear import Flatten, Identity, Linear
from ferrum_nn.loss import CrossEntropyLoss, MSELoss
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter

__all__ = [
    "AlphaDropout",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "Flatten",
    "Identity",
    "Linear",
    "MSELoss",
    "Module",
    "NameTakenError",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "StateDictError",
    "Tanh",
    "UnknownNameError",
    "data",
    "functional",
    "init",
    "ops",
    "optim",
]

__version__ = "0.1.0"
