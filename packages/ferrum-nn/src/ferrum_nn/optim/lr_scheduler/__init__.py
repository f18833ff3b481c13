"""Schedules of the learning rate: `nn.optim.lr_scheduler.StepLR(optimizer, step_size=30)`."""

from ferrum_nn.optim.lr_scheduler.composed import ChainedScheduler, SequentialLR
from ferrum_nn.optim.lr_scheduler.cycles import CyclicLR, OneCycleLR
from ferrum_nn.optim.lr_scheduler.formulas import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from ferrum_nn.optim.lr_scheduler.plateau import ReduceLROnPlateau
from ferrum_nn.optim.lr_scheduler.scheduler import LRScheduler

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
