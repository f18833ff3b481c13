"""Layers, losses, optimizers and data loading for FERRUM, under PyTorch's names.

One import brings all of it:

    import ferrum as fe
    import ferrum_nn as nn

    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = nn.optim.Adam(model.parameters(), lr=1e-2)
    loss = nn.functional.mse_loss(model(x), y)
"""

from ferrum_nn import data, functional, init, metrics, ops, optim, tensorboard
from ferrum_nn.activation import ReLU, Sigmoid, Tanh
from ferrum_nn.checkpoint import Checkpoint, list_checkpoints, load_checkpoint, save_checkpoint
from ferrum_nn.containers import Sequential
from ferrum_nn.errors import NameTakenError, StateDictError, UnknownNameError
from ferrum_nn.linear import Bilinear, Flatten, Identity, Linear, Unflatten
from ferrum_nn.loss import CrossEntropyLoss, MSELoss
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter
from ferrum_nn.sparse import Embedding
from ferrum_nn.training import evaluate, fit

__all__ = [
    "Bilinear",
    "Checkpoint",
    "CrossEntropyLoss",
    "Embedding",
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
    "Unflatten",
    "UnknownNameError",
    "data",
    "evaluate",
    "fit",
    "functional",
    "init",
    "list_checkpoints",
    "load_checkpoint",
    "metrics",
    "ops",
    "optim",
    "save_checkpoint",
    "tensorboard",
]

__version__ = "0.1.0"
