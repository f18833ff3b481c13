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
from ferrum_nn.distance import CosineSimilarity, PairwiseDistance
from ferrum_nn.errors import NameTakenError, StateDictError, UnknownNameError
from ferrum_nn.linear import Bilinear, Flatten, Identity, Linear, Unflatten
from ferrum_nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    GaussianNLLLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    PoissonNLLLoss,
    SmoothL1Loss,
)
from ferrum_nn.margins import (
    CosineEmbeddingLoss,
    HingeEmbeddingLoss,
    MarginRankingLoss,
    MultiLabelMarginLoss,
    MultiLabelSoftMarginLoss,
    MultiMarginLoss,
    SoftMarginLoss,
    TripletMarginLoss,
    TripletMarginWithDistanceLoss,
)
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter
from ferrum_nn.sparse import Embedding

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "Bilinear",
    "CosineEmbeddingLoss",
    "CosineSimilarity",
    "CrossEntropyLoss",
    "Embedding",
    "Flatten",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "Linear",
    "MSELoss",
    "MarginRankingLoss",
    "Module",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "NameTakenError",
    "PairwiseDistance",
    "Parameter",
    "PoissonNLLLoss",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "StateDictError",
    "Tanh",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
    "Unflatten",
    "UnknownNameError",
    "data",
    "functional",
    "init",
    "ops",
    "optim",
]

__version__ = "0.1.0"
