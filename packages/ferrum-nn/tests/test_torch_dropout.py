"""Dropout beside PyTorch's. The masks differ, so what is compared is what becomes of the kept."""

import inspect

import numpy as np
import pytest
from beside_torch import torch

import ferrum as fe
import ferrum_nn as nn
import ferrum_nn.functional as F

pytestmark = pytest.mark.torch

SHAPES = {
    "dropout": (400,),
    "dropout1d": (20, 20, 3),
    "dropout2d": (20, 20, 3, 2),
    "dropout3d": (20, 20, 1, 2, 2),
    "alpha_dropout": (400,),
    "feature_alpha_dropout": (20, 20, 3),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("inplace", [False, True])
def test_what_kept_and_dropped_become(name, p, dtype, inplace):
    """Of equal elements: two values, and of each the same gradient, in both libraries."""
    theirs = torch.full(SHAPES[name], 0.7, dtype=getattr(torch, dtype), requires_grad=True)
    ours = fe.full(SHAPES[name], 0.7, dtype=dtype, requires_grad=True)
    found = []
    for functional, x in ((F, ours), (torch.nn.functional, theirs)):
        out = getattr(functional, name)(x * 1, p, True, inplace)
        out.sum().backward()
        out, grad = (each.detach().double().numpy().ravel() for each in (out, x.grad))
        found.append(sorted(set(zip(out.tolist(), grad.tolist(), strict=True))))
    assert len(found[0]) == (1 if p == 1 else 2)
    tolerance = {"float32": 1e-6, "float64": 1e-14, "bfloat16": 0.02}[dtype]
    np.testing.assert_allclose(found[0], found[1], tolerance, tolerance)


@pytest.mark.parametrize("name", SHAPES)
def test_signatures(name):
    ours, theirs = (
        inspect.signature(getattr(each, name)).parameters for each in (F, torch.nn.functional)
    )
    assert list(ours) == list(theirs)
    assert [each.default for each in ours.values()] == [each.default for each in theirs.values()]
    for p in (-0.1, 1.1):
        with pytest.raises(ValueError, match="between"):
            getattr(torch.nn.functional, name)(torch.ones(2, 3, 4), p)
        with pytest.raises(ValueError, match="from 0 to 1"):
            getattr(F, name)(fe.ones(2, 3, 4), p)


@pytest.mark.parametrize("kind", [each for each in torch.nn.__dict__ if "Dropout" in each])
def test_layers(kind):
    for args in ((), (0.25,), (0, True)):
        assert repr(getattr(nn, kind)(*args)) == repr(getattr(torch.nn, kind)(*args))
    for p in (-1, 2):
        with pytest.raises(ValueError, match="between"):
            getattr(torch.nn, kind)(p)
        with pytest.raises(ValueError, match="from 0 to 1"):
            getattr(nn, kind)(p)


def test_what_is_not_finite():
    values = [float("nan"), float("inf"), -float("inf")] * 20
    for p in (0.5, 1.0):
        ours = F.dropout(fe.tensor(values), p).numpy()
        theirs = torch.nn.functional.dropout(torch.tensor(values), p).numpy()
        assert {str(x) for x in ours} == {str(x) for x in theirs}
