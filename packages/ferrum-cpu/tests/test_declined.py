"""What a kernel makes of C's other answers: that a call is not for it, and that memory ran out."""

import numpy as np
import pytest

from ferrum.errors import OutOfMemoryError, OutOfRangeError
from ferrum_cpu.kernels import indexing, memory, random, steps
from ferrum_cpu.library import NO_MEMORY

X = np.ones((2, 3), "f4")
STEP = {"lr": 0.1, "weight_decay": 0.0, "maximize": False}
SGD = STEP | {"momentum": 0.0, "dampening": 0.0, "nesterov": False}
ADAM = STEP | {"betas": (0.9, 0.999), "eps": 1e-8, "amsgrad": False, "decoupled_weight_decay": True}

LION, RMSPROP = (steps.kernels()[f"nn.{name}_step"].function for name in ("lion", "rmsprop"))
RMS = {"momentum": 0.0, "centered": False, "alpha": 0.9, "eps": 1e-8}


@pytest.mark.parametrize(
    ("kernel", "operands", "attrs"),
    [
        (indexing.nonzero, [np.ones(3, complex)], {}),
        (memory.concat, [[X, np.ones((2, 4), "f4")]], {"axis": 0, "sizes": (2, 2)}),
        (steps.sgd_step, [[X], [[1.0]], []], SGD),
        (steps.sgd_step, [[X], [], []], SGD),
        (steps.adam_step, [[X], [X], [1], [X], [X], []], ADAM),
        (steps.adam_step, [[X], [X], [], [X], [X], []], ADAM),
        (LION, [[X], [X], []], STEP | {"betas": (0.9, 0.99)}),
        (LION, [[X], [X], [1]], STEP | {"betas": (0.9, 0.99)}),
        (LION, [[X], [X], [X.copy()]], STEP | {"betas": (-0.9, 0.99)}),
        (RMSPROP, [[X], [X], [X], [X], [X], []], STEP | RMS),
        (RMSPROP, [[X], [X], [X], [X], [], []], STEP | RMS | {"momentum": 0.9}),
    ],
)
def test_other_calls_are_declined(kernel, operands, attrs):
    assert kernel(*operands, **attrs) is NotImplemented


class Full:
    """A library that has no memory for anything."""

    def __getattr__(self, name):
        return lambda *arguments: NO_MEMORY


def test_memory_that_ran_out_is_named(monkeypatch):
    monkeypatch.setattr(memory, "lib", Full())
    monkeypatch.setattr(random, "lib", Full())
    with pytest.raises(OutOfMemoryError, match="copy_: no room"):
        memory.copy_(X.copy(), X)
    with pytest.raises(OutOfMemoryError, match="randperm: no room"):
        random.randperm(n=3, key=(0, 0))


def test_the_axis_that_an_index_lies_outside_of_is_named():
    inside, outside = np.zeros(1, int), np.full(1, 3)
    with pytest.raises(OutOfRangeError, match=r"axis of size 3 of \(2, 3\)"):
        indexing.index(X, [inside, outside])
