"""Optimizers: `ferrum_nn.optim.Adam(model.parameters(), lr=1e-3)`."""

from ferrum_nn.optim import lr_scheduler, swa_utils
from ferrum_nn.optim.adadelta import Adadelta
from ferrum_nn.optim.adafactor import Adafactor
from ferrum_nn.optim.adagrad import Adagrad
from ferrum_nn.optim.adam import Adam
from ferrum_nn.optim.adamax import Adamax
from ferrum_nn.optim.adamw import AdamW
from ferrum_nn.optim.asgd import ASGD
from ferrum_nn.optim.lbfgs import LBFGS
from ferrum_nn.optim.lion import Lion
from ferrum_nn.optim.muon import Muon
from ferrum_nn.optim.nadam import NAdam
from ferrum_nn.optim.optimizer import Optimizer
from ferrum_nn.optim.radam import RAdam
from ferrum_nn.optim.rmsprop import RMSprop
from ferrum_nn.optim.rprop import Rprop
from ferrum_nn.optim.sgd import SGD

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "swa_utils",
]
