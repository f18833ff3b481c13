"""What the tests share. They run on the device `reference` unless FERRUM_DEVICE says otherwise."""

import os
import sys
from pathlib import Path

os.environ.setdefault("FERRUM_DEVICE", "reference")
sys.path.insert(0, str(Path(__file__).parent))  # for beside_torch.py

import pytest

import ferrum as fe
import ferrum_nn as nn


class Block(nn.Module):
    def __init__(self):
        self.inner = nn.Linear(3, 3)
        self.scale = nn.Parameter(fe.ones(3))
        self.register_buffer("mean", fe.zeros(3))
        self.register_buffer("seen", fe.tensor(0), persistent=False)

    def forward(self, x):
        return self.inner(x - self.mean) * self.scale


class Net(nn.Module):
    def __init__(self):
        self.first = nn.Linear(2, 3)
        self.blocks = [Block(), Block()]
        self.heads = {"a": nn.Linear(3, 1), "b": (nn.Linear(3, 1, bias=False), "not a module")}
        self.gains = [nn.Parameter(fe.ones(1)), nn.Parameter(fe.zeros(1))]
        self.name = "net"
        self.constant = fe.ones(2)  # neither a parameter nor a buffer
        self.nothing = None

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](x)


@pytest.fixture
def block():
    """A module with a parameter, two buffers and a layer."""
    return Block()


@pytest.fixture
def net():
    """A module that holds others in attributes, a list, a dict and a tuple."""
    return Net()


@pytest.fixture
def other_net():
    """A second one, with numbers of its own."""
    return Net()


@pytest.fixture
def parameter():
    """A function that makes a parameter of numbers, with a gradient if one is given."""

    def make(*values, grad=None):
        made = nn.Parameter(fe.tensor(values))
        made.grad = None if grad is None else fe.tensor(grad)
        return made

    return make
