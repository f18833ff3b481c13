"""Averages of a model's parameters, beside PyTorch's where it is installed."""

import copy

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, OperandError, ShapeError
from ferrum_nn.optim import swa_utils


class Scaled(nn.Module):
    """A module with a parameter, a buffer of floats and one of integers."""

    def __init__(self, value=0.0):
        self.weight = nn.Parameter(fe.full((2, 3), value))
        self.register_buffer("mean", fe.full((3,), value))
        self.register_buffer("seen", fe.tensor(int(value)))

    def forward(self, x):
        return x * self.weight + self.mean


def values(module):
    return [module.weight.flatten()[0].item(), module.mean[0].item(), module.seen.item()]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [3.0, 6, 6]),
        ({"use_buffers": True}, [3.0, 3.0, 2]),  # integers: 0, then 3 / 2 and 1 + 5 / 3, cut off
        ({"multi_avg_fn": swa_utils.get_swa_multi_avg_fn()}, [3.0, 6, 6]),
        ({"avg_fn": swa_utils.get_swa_avg_fn()}, [3.0, 6, 6]),
        ({"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.5)}, [3.75, 6, 6]),
        ({"avg_fn": swa_utils.get_ema_avg_fn(0.5)}, [3.75, 6, 6]),
        ({"avg_fn": lambda mean, param, n: mean + param * n}, [15.0, 6, 6]),
    ],
)
def test_the_average(options, expected):
    model = Scaled(7.0)
    averaged = swa_utils.AveragedModel(model, **options)
    assert values(averaged.module) == [7, 7, 7]
    for i, value in enumerate((0.0, 3.0, 6.0)):
        model.load_state_dict(Scaled(value).state_dict())
        averaged.update_parameters(model)
        assert averaged.n_averaged.item() == i + 1
    assert values(averaged.module) == expected
    assert values(model) == [6, 6, 6]
    assert averaged.module.weight.requires_grad
    assert averaged.module.weight.is_leaf
    x = fe.ones(2, 3)
    assert averaged(x).tolist() == averaged.module(x).tolist()


def test_a_step_does_not_reach_the_average():
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    averaged = swa_utils.AveragedModel(model, device="reference")
    assert [name for name, _ in averaged.named_parameters()] == ["module.0.weight", "module.0.bias"]
    assert list(averaged.state_dict()) == ["n_averaged", "module.0.weight", "module.0.bias"]
    averaged.update_parameters(model)
    before = averaged.module[0].weight.tolist()
    model[0].weight.detach().fill_(9.0)
    assert averaged.module[0].weight.tolist() == before
    copy.deepcopy(averaged).load_state_dict(averaged.state_dict())


class Norm(nn.Module):
    """What update_bn looks for in a layer."""

    def __init__(self):
        self.momentum = 0.1
        self.register_buffer("running_mean", fe.ones(()))
        self.register_buffer("num_batches_tracked", fe.tensor(0))

    def reset_running_stats(self):
        self.running_mean.zero_()
        self.num_batches_tracked.zero_()

    def forward(self, x):
        if self.training:
            self.num_batches_tracked += 1
            rate = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
            with fe.no_grad():
                self.running_mean.mul_(1 - rate).add_(x.mean() * rate)
        return x


def test_running_statistics_are_computed_anew():
    model = nn.Sequential(Norm(), nn.Identity(), Norm()).eval()
    model[1].train()
    batches = [fe.full((4,), float(i)) for i in range(5)]
    swa_utils.update_bn([(x, "label") for x in batches[:2]] + batches[2:], model)
    assert [model[0].running_mean.item(), model[2].running_mean.item()] == pytest.approx([2, 2])
    assert (model[0].momentum, model.training, model[1].training) == (0.1, False, True)
    with pytest.raises(ZeroDivisionError):
        swa_utils.update_bn((1 / 0 for _ in range(1)), model)
    assert (model[0].momentum, model.training) == (0.1, False)
    swa_utils.update_bn((1 / 0 for _ in range(1)), nn.Identity())


REFUSED = [
    (lambda: swa_utils.AveragedModel(3), OperandError, "AveragedModel: expected a module, got int"),
    (
        lambda: swa_utils.AveragedModel(
            Scaled(), avg_fn=swa_utils.get_swa_avg_fn(), multi_avg_fn=print
        ),
        ArgumentError,
        "AveragedModel: expected avg_fn or multi_avg_fn, got both",
    ),
    (
        lambda: swa_utils.AveragedModel(Scaled()).update_parameters(nn.Linear(2, 3)),
        ShapeError,
        "AveragedModel: expected a model with parameters of the shapes",
    ),
    (
        lambda: swa_utils.AveragedModel(nn.Linear(2, 3)).update_parameters(nn.Linear(3, 2)),
        ShapeError,
        "AveragedModel: expected a model with parameters of the shapes",
    ),
    (lambda: swa_utils.get_ema_avg_fn(1.5), ArgumentError, "get_ema_avg_fn: expected decay from 0"),
    (lambda: swa_utils.get_ema_multi_avg_fn(-1), ArgumentError, "get_ema_multi_avg_fn: expected d"),
    (lambda: swa_utils.get_ema_avg_fn("x"), OperandError, "get_ema_avg_fn: expected decay from 0"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_refused(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()


@pytest.mark.torch
@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("kind", ["none", "ema", "swa", "ema_multi", "swa_multi"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_beside_pytorch(kind, use_buffers, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    theirs.register_buffer("mean", torch.zeros(3))
    theirs.to(getattr(torch, dtype))
    ours = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    ours.register_buffer("mean", fe.zeros(3))
    ours.to(dtype)
    pairs = []
    for module, model in ((swa_utils, ours), (torch.optim.swa_utils, theirs)):
        options = {}
        if kind != "none":
            name, multi = kind.partition("_")[::2]
            given = (0.9,) if name == "ema" else ()
            function = getattr(module, f"get_{kind}_avg_fn")(*given)
            options["multi_avg_fn" if multi else "avg_fn"] = function
        pairs.append(module.AveragedModel(model, use_buffers=use_buffers, **options))
    rng = np.random.default_rng(0)
    for _ in range(10):
        state = {k: torch.tensor(rng.normal(size=v.shape)) for k, v in theirs.state_dict().items()}
        theirs.load_state_dict(state)
        ours.load_state_dict(state)
        pairs[0].update_parameters(ours)
        pairs[1].update_parameters(theirs)
    mine, yours = (each.state_dict() for each in pairs)
    assert list(mine) == list(yours)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    if kind == "swa_multi":  # PyTorch divides by n + 1 in float32
        tolerance = 1e-5
    for name, value in yours.items():
        np.testing.assert_allclose(mine[name].numpy(), value.numpy(), tolerance, tolerance)
    pairs[0].load_state_dict(yours)
