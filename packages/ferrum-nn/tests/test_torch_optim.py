"""Optimizers beside PyTorch's: every option, step by step, and their states exchanged."""

import itertools

import numpy as np
import pytest
from beside_torch import torch

import ferrum as fe
import ferrum_nn as nn

pytestmark = pytest.mark.torch

STEPS = 50
SGDS = [
    {"momentum": m, "dampening": d, "weight_decay": w, "nesterov": n, "maximize": x}
    for m, d, w, n, x in itertools.product(
        (0, 0.9), (0, 0.3), (0, 0.1), (False, True), (False, True)
    )
    if not (n and (m == 0 or d != 0))
]
ADAMS = [
    {"weight_decay": w, "amsgrad": a, "maximize": x, "decoupled_weight_decay": d, "eps": 1e-6}
    for w, a, x, d in itertools.product((0, 0.1), (False, True), (False, True), (False, True))
]
ADAMS += [{"betas": (0.0, 0.5), "eps": 1e-6}, {"betas": (0.5, 0.9)}]
CASES = [pytest.param("SGD", each, id=f"SGD-{i}") for i, each in enumerate(SGDS)]
CASES += [pytest.param("Adam", each, id=f"Adam-{i}") for i, each in enumerate(ADAMS)]


class Twins:
    """The same two-layer regression in both libraries."""

    def __init__(self, kind, options, dtype="float64", lr=0.05):
        self.theirs = torch.nn.Sequential(
            torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)
        ).to(getattr(torch, dtype))
        rng = np.random.default_rng(0)
        with torch.no_grad():
            for parameter in self.theirs.parameters():
                parameter.copy_(torch.tensor(rng.normal(scale=0.5, size=parameter.shape)))
        self.ours = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)
        self.ours.load_state_dict(self.theirs.state_dict())
        self.optimizer = getattr(nn.optim, kind)(self.ours.parameters(), lr=lr, **options)
        self.other = getattr(torch.optim, kind)(self.theirs.parameters(), lr=lr, **options)
        self.sign = -1 if options.get("maximize") else 1  # so that every run converges
        self.batches = [rng.normal(size=(2, 8, n)).astype(dtype) for n in (3, 2)]

    def step(self, i):
        x, y = (each[i % 2] for each in self.batches)
        for lib, net, optimizer in (
            (fe, self.ours, self.optimizer),
            (torch, self.theirs, self.other),
        ):
            optimizer.zero_grad()
            (((net(lib.tensor(x)) - lib.tensor(y)) ** 2).mean() * self.sign).backward()
            optimizer.step()

    def compare(self, tolerance):
        pairs = zip(self.ours.parameters(), self.theirs.parameters(), strict=True)
        for i, (mine, yours) in enumerate(pairs):
            np.testing.assert_allclose(
                mine.detach().numpy(),
                yours.detach().numpy(),
                rtol=tolerance,
                atol=tolerance,
                err_msg=f"parameter {i}",
            )


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_step_by_step(kind, options):
    twins = Twins(kind, options)
    for i in range(STEPS):
        twins.step(i)
        twins.compare(1e-11)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_step_by_step_in_single_precision(kind):
    twins = Twins(kind, {"weight_decay": 0.01}, dtype="float32")
    for i in range(STEPS):
        twins.step(i)
        twins.compare(1e-6)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("SGD", {"momentum": 0.9}), ("SGD", {}), ("Adam", {}), ("Adam", {"amsgrad": True})],
)
def test_states_go_both_ways(kind, options):
    twins = Twins(kind, options)
    for i in range(5):
        twins.step(i)
    fresh = Twins(kind, options, lr=1.0)
    fresh.ours.load_state_dict(twins.theirs.state_dict())
    fresh.optimizer.load_state_dict(twins.other.state_dict())
    fresh.theirs.load_state_dict(twins.theirs.state_dict())
    fresh.other.load_state_dict(as_torch(twins.optimizer.state_dict()))
    for i in range(5, 10):
        twins.step(i)
        fresh.step(i)
        fresh.compare(1e-11)
    expected = twins.theirs[0].weight.detach().numpy()
    np.testing.assert_allclose(fresh.ours[0].weight.detach().numpy(), expected, rtol=1e-11)


def as_torch(value):
    if isinstance(value, dict):
        return {key: as_torch(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_torch(each) for each in value]
    return torch.from_dlpack(value.clone()) if isinstance(value, fe.Tensor) else value


@pytest.mark.parametrize(("kind", "options"), [("SGD", {"momentum": 0.9}), ("Adam", {})])
def test_the_states_have_one_layout(kind, options):
    twins = Twins(kind, options)
    twins.step(0)
    ours, theirs = twins.optimizer.state_dict(), twins.other.state_dict()
    assert ours["state"].keys() == theirs["state"].keys()
    for number, entry in theirs["state"].items():
        mine = ours["state"][number]
        assert list(mine) == list(entry)
        for name, each in entry.items():
            assert mine[name].shape == tuple(each.shape)
            assert mine[name].dtype.name == str(each.dtype).removeprefix("torch.")
    assert ours["param_groups"][0].items() <= theirs["param_groups"][0].items()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SGD", {"lr": -1}),
        ("SGD", {"momentum": -1}),
        ("SGD", {"weight_decay": -1}),
        ("SGD", {"nesterov": True}),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
        ("Adam", {"lr": -1}),
        ("Adam", {"eps": -1}),
        ("Adam", {"betas": (1.0, 0.9)}),
        ("Adam", {"betas": (0.9, -0.1)}),
        ("Adam", {"weight_decay": -1}),
    ],
)
def test_both_refuse(kind, options):
    with pytest.raises(ValueError, match=r"\d|requires") as theirs:
        getattr(torch.optim, kind)([torch.ones(1)], **options)
    with pytest.raises(fe.FerrumError) as ours:
        getattr(nn.optim, kind)([fe.ones(1)], **options)
    assert isinstance(ours.value, type(theirs.value))


@pytest.mark.parametrize("dampening", [0, 0.3])
def test_momentum_switched_on_and_off(dampening):
    twins = Twins("SGD", {})
    for i, momentum in enumerate((0, 0, 0.9, 0.9, 0, 0.5, 0.5)):
        for optimizer in (twins.optimizer, twins.other):
            optimizer.param_groups[0] |= {"momentum": momentum, "dampening": dampening}
        twins.step(i)
        twins.compare(1e-11)


def test_a_classifier_learns_alike():
    """The loss curve of a network on blobs, 50 steps of Adam on cross entropy."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(loc=c, size=(20, 2)) for c in (-2, 0, 2)])
    y = np.repeat([0, 1, 2], 20)
    curves = []
    theirs = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    theirs.double()
    ours = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    ours.load_state_dict(theirs.state_dict())
    for lib, layers, optim, net in (
        (fe, nn, nn.optim, ours),
        (torch, torch.nn, torch.optim, theirs),
    ):
        loss_of = layers.CrossEntropyLoss(label_smoothing=0.1)
        optimizer = optim.Adam(net.parameters(), lr=0.05)
        curve = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = loss_of(net(lib.tensor(x)), lib.tensor(y))
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
        curves.append(curve)
    assert curves[0][-1] < 0.75 * curves[0][0]
    np.testing.assert_allclose(*curves, rtol=1e-9)
