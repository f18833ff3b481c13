"""Bases that leave a method to their subclasses say which one, and are caught as PyTorch's are."""

import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import UnsupportedError
from ferrum_nn.containers import _Numbered
from ferrum_nn.data.transforms.base import ImageTransform, Transform
from ferrum_nn.metrics import Metric
from ferrum_nn.optim.lr_scheduler import LRScheduler
from ferrum_nn.optim.lr_scheduler.cycles import Cycle
from ferrum_nn.optim.lr_scheduler.formulas import Powers, Scaled


def mine(base):
    """Return a subclass that defines nothing."""
    return type("Mine", (base,), {})


def sgd():
    return nn.optim.SGD([fe.ones(1)], lr=0.1)


CALLS = [
    ("forward(self, ...)", lambda: mine(nn.Module)()(fe.ones(1))),
    ("get_extra_state()", lambda: mine(nn.Module)().get_extra_state()),
    ("_part(self, modules)", lambda: mine(_Numbered)()[:0]),
    ("__getitem__", lambda: mine(nn.data.Dataset)()[0]),
    ("__iter__(self)", lambda: iter(mine(nn.data.IterableDataset)())),
    ("__iter__(self)", lambda: iter(mine(nn.data.Sampler)())),
    ("_apply(self, x)", lambda: mine(Transform)()(fe.ones(1))),
    ("_images(self, x)", lambda: mine(ImageTransform)()(fe.ones(1, 2, 2))),
    ("reset(self)", lambda: mine(Metric)()),
    ("update(self, params, grads, options)", lambda: step(mine(nn.optim.Optimizer))),
    ("get_lr(self)", lambda: mine(LRScheduler)(sgd())),
    ("share(self, t)", lambda: mine(Scaled)(sgd())),
    ("count(self, t)", lambda: object.__new__(mine(Powers)).count(1)),
    ("get_momentum(self)", lambda: object.__new__(mine(Cycle)).get_momentum()),
]


def step(make):
    param = nn.Parameter(fe.ones(1))
    param.grad = fe.ones(1)
    make([param], {}).step()


@pytest.mark.parametrize(("method", "call"), CALLS, ids=[method for method, _ in CALLS])
def test_what_is_missing_is_named(method, call):
    try:
        call()
    except NotImplementedError as error:  # as users of PyTorch write
        caught = error
    assert isinstance(caught, UnsupportedError)
    assert str(caught).startswith("Mine: ") and method in str(caught)
