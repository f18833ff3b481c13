"""Layers, losses, optimizers and data loading for FERRUM, under PyTorch's names.

One import brings all of it:

    import ferrum as fe
    import ferrum_nn as nn

    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = nn.optim.Adam(model.parameters(), lr=1e-2)
    loss = nn.functional.mse_loss(model(x), y)
"""

from ferrum_nn import data, functional, init, ops, optim, utils
from ferrum_nn.activation import ReLU, Sigmoid, Tanh
from ferrum_nn.containers import ModuleDict, ModuleList, Sequential
from ferrum_nn.errors import NameTakenError, StateDictError, UnknownKeyError, UnknownNameError
from ferrum_nn.linear import Bilinear, Flatten, Identity, Linear, Unflatten
from ferrum_nn.loss import CrossEntropyLoss, MSELoss
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter
from ferrum_nn.parameter_containers import ParameterDict, ParameterList
from ferrum_nn.sparse import Embedding

__all__ = [
    "Bilinear",
    "CrossEntropyLoss",
    "Embedding",
    "Flatten",
    "Identity",
    "Linear",
    "MSELoss",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NameTakenError",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "StateDictError",
    "Tanh",
    "Unflatten",
    "UnknownKeyError",
    "UnknownNameError",
    "data",
    "functional",
    "init",
    "ops",
    "optim",
    "utils",
]

__version__ = "0.1.0"
