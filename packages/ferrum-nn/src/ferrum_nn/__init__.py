"""Layers, losses, optimizers and data loading for FERRUM, under PyTorch's names.

One import brings all of it:

    import ferrum as fe
    import ferrum_nn as nn

    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = nn.optim.Adam(model.parameters(), lr=1e-2)
    loss = nn.functional.mse_loss(model(x), y)
"""

from ferrum_nn import data, functional, init, metrics, ops, optim, tensorboard, utils
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
from ferrum_nn.checkpoint import Checkpoint, list_checkpoints, load_checkpoint, save_checkpoint
from ferrum_nn.containers import ModuleDict, ModuleList, Sequential
from ferrum_nn.distance import CosineSimilarity, PairwiseDistance
from ferrum_nn.dropout import (
    AlphaDropout,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    FeatureAlphaDropout,
)
from ferrum_nn.errors import NameTakenError, StateDictError, UnknownKeyError, UnknownNameError
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
from ferrum_nn.normalization import BatchNorm1d, LayerNorm, RMSNorm
from ferrum_nn.parameter import Buffer, Parameter
from ferrum_nn.parameter_containers import ParameterDict, ParameterList
from ferrum_nn.sparse import Embedding
from ferrum_nn.training import evaluate, fit

__all__ = [
    "AlphaDropout",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "Bilinear",
    "Buffer",
    "CELU",
    "CosineEmbeddingLoss",
    "CosineSimilarity",
    "Checkpoint",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "ELU",
    "Embedding",
    "FeatureAlphaDropout",
    "Flatten",
    "GELU",
    "GLU",
    "GaussianNLLLoss",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "MarginRankingLoss",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "NameTakenError",
    "PReLU",
    "PairwiseDistance",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "PoissonNLLLoss",
    "RMSNorm",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SELU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "SoftMarginLoss",
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
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
    "Unflatten",
    "UnknownKeyError",
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
    "utils",
    "save_checkpoint",
    "tensorboard",
]

__version__ = "1.0.0"
