"""Optimizers: `ferrum_nn.optim.Adam(model.parameters(), lr=1e-3)`."""

from ferrum_nn.optim import lr_scheduler, swa_utils
from ferrum_nn.optim.adam import Adam
from ferrum_nn.optim.optimizer import Optimizer
from ferrum_nn.optim.sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer", "lr_scheduler", "swa_utils"]
