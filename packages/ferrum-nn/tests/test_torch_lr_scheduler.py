"""Schedulers beside PyTorch's: 200 steps of each, chained, resumed, and their states exchanged."""

import copy
import itertools
import math

import numpy as np
import pytest
from beside_torch import torch

import ferrum as fe
import ferrum_nn as nn

pytestmark = pytest.mark.torch

STEPS = 200
OURS, THEIRS = nn.optim.lr_scheduler, torch.optim.lr_scheduler


def product(**options):
    return [
        dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())
    ]


class Growing:
    """A function with state of its own."""

    def __init__(self, by):
        self.by = by

    def __call__(self, epoch):
        return 1 + self.by * math.sin(epoch)


CASES = {
    "StepLR": product(step_size=[1, 7, 300], gamma=[0.1, 0.9, 1.05, 0.0]),
    "MultiStepLR": product(milestones=[[], [0], [30, 80, 80, 150], (5, 3)], gamma=[0.1, 1.5]),
    "ConstantLR": [*product(factor=[1 / 3, 0.5, 1.0], total_iters=[0, 1, 5, 250]), {}],
    "LinearLR": [
        *product(start_factor=[1 / 3, 1], end_factor=[0.0, 0.7, 1.0], total_iters=[0, 1, 7, 90]),
        {},
    ],
    "ExponentialLR": product(gamma=[0.1, 0.97, 1.01, 0.0]),
    "PolynomialLR": [*product(total_iters=[0, 1, 5, 150, 400], power=[0.0, 0.5, 1.0, 2.0]), {}],
    "CosineAnnealingLR": product(T_max=[1, 2, 9, 50, 64.0, 1000], eta_min=[0.0, 0.01, 0.7]),
    "CosineAnnealingWarmRestarts": product(T_0=[1, 10], T_mult=[1, 2, 3], eta_min=[0.0, 0.01]),
    "LambdaLR": [
        {"lr_lambda": lambda t: 0.95**t},
        {"lr_lambda": Growing(0.3)},
        {"lr_lambda": [lambda t: t // 30, lambda t: 0.95**t]},
    ],
    "MultiplicativeLR": [
        {"lr_lambda": lambda t: 0.95},
        {"lr_lambda": (Growing(0.3), lambda t: 1 - 1 / (1 + t))},
    ],
    "CyclicLR": product(
        base_lr=[0.01],
        max_lr=[[0.1, 0.2]],
        step_size_up=[1, 30],
        step_size_down=[None, 0, 17],
        mode=["triangular", "triangular2", "exp_range"],
        gamma=[0.99],
    )
    + product(
        base_lr=[0.01],
        max_lr=[0.1],
        step_size_up=[30],
        scale_fn=[lambda x: 1 / (1 + x), Growing(0.1)],
        scale_mode=["cycle", "iterations"],
        cycle_momentum=[True, False],
        base_momentum=[0.7],
        max_momentum=[[0.8, 0.9]],
    ),
    "OneCycleLR": [
        *product(
            max_lr=[0.1, [0.1, 0.4]],
            total_steps=[200, 777],
            pct_start=[0.3, 0.45],
            anneal_strategy=["cos", "linear"],
            three_phase=[False, True],
            cycle_momentum=[True, False],
        ),
        {"max_lr": 1, "epochs": 20, "steps_per_epoch": 11, "div_factor": 3, "final_div_factor": 7},
        {"max_lr": 0.1, "total_steps": 200, "base_momentum": [0.1, 0.2], "max_momentum": 0.5},
    ],
}
ALL = [
    pytest.param(kind, options, id=f"{kind}-{i}")
    for kind, each in CASES.items()
    for i, options in enumerate(each)
]
FEW = [pytest.param(kind, each[-1], id=kind) for kind, each in CASES.items()]


def optimizers(kind="SGD", rates=(0.5, 0.02)):
    made = []
    for lib, optim in ((fe, nn.optim), (torch, torch.optim)):
        options = {"momentum": 0.9} if kind == "SGD" else {}
        groups = [
            {"params": [lib.zeros(1, dtype=lib.float64).requires_grad_()], "lr": rate}
            for rate in rates
        ]
        made.append(getattr(optim, kind)(groups, lr=0.1, **options))
    return made


class Pair:
    """A scheduler of both libraries, made by `make(module, optimizer)`."""

    def __init__(self, make, kind="SGD"):
        self.make = make
        self.optimizers = optimizers(kind)
        self.both = self.made()

    def made(self):
        made = [
            self.make(lib, optimizer)
            for lib, optimizer in zip((OURS, THEIRS), self.optimizers, strict=True)
        ]
        for optimizer in self.optimizers:
            optimizer.step()
        return made

    def step(self, *args):
        for scheduler in self.both:
            scheduler.step(*args)

    def rows(self):
        """All that the schedulers have written, for each library."""
        return [
            [
                *map(float, scheduler.get_last_lr()),
                getattr(scheduler, "last_epoch", 0),
                *(
                    float(value)
                    for group in optimizer.param_groups
                    for name in ("lr", "momentum", "initial_lr", "max_lr", "min_lr", "swa_lr")
                    for value in [group.get(name, -1.0)]
                ),
                *(beta for group in optimizer.param_groups for beta in group.get("betas", ())),
            ]
            for optimizer, scheduler in zip(self.optimizers, self.both, strict=True)
        ]

    def compare(self, *more):
        rows = [*more, self.rows()]
        ours, theirs = (np.array(each) for each in zip(*rows, strict=True))
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)

    def run(self, steps=STEPS):
        rows = []
        for _ in range(steps):
            rows.append(self.rows())
            self.step()
        self.compare(*rows)


def simple(kind, options):
    return lambda lib, optimizer: getattr(lib, kind)(optimizer, **options)


@pytest.mark.parametrize(("kind", "options"), ALL)
def test_step_by_step(kind, options):
    Pair(simple(kind, options)).run()


@pytest.mark.parametrize("kind", ["CyclicLR", "OneCycleLR"])
def test_the_first_beta_is_cycled(kind):
    Pair(simple(kind, CASES[kind][0]), kind="Adam").run()
    Pair(simple(kind, CASES[kind][-1]), kind="Adam").run()


@pytest.mark.parametrize(("kind", "options"), FEW)
def test_a_rate_changed_in_between(kind, options):
    pair = Pair(simple(kind, options))
    pair.run(20)
    for optimizer in pair.optimizers:
        optimizer.param_groups[0]["lr"] = 0.3
    pair.run(20)


@pytest.mark.parametrize(("kind", "options"), FEW)
@pytest.mark.filterwarnings("ignore:.*epoch:UserWarning")
def test_the_closed_form(kind, options):
    pair = Pair(simple(kind, options))
    for epoch in (3, 3, 50, 4, 0, 150):
        pair.step(epoch)
        pair.compare()
        pair.step()
        pair.compare()


@pytest.mark.parametrize(
    ("kind", "options"),
    [each for each in ALL if each.values[1].get("T_mult", 1) == 1],
)
def test_going_on_from_an_epoch(kind, options):
    """Without T_mult: PyTorch loses count of the runs of different lengths then."""
    pair = Pair(simple(kind, options))
    pair.run(29)
    pair.make = simple(kind, {**options, "last_epoch": pair.both[0].last_epoch})
    pair.both = pair.made()
    pair.run(20)


@pytest.mark.parametrize(("kind", "options"), ALL)
def test_states_go_both_ways(kind, options):
    pair = Pair(simple(kind, options))
    pair.run(33)
    ours, theirs = (copy.deepcopy(each.state_dict()) for each in pair.both)
    assert ours.keys() == theirs.keys()
    groups = [[dict(group) for group in each.param_groups] for each in pair.optimizers]
    pair.both = pair.made()
    for optimizer, saved in zip(pair.optimizers, groups, strict=True):
        for group, old in zip(optimizer.param_groups, saved, strict=True):
            group |= {name: value for name, value in old.items() if name != "params"}
    before = copy.deepcopy(theirs)
    pair.both[0].load_state_dict(theirs)
    assert theirs == before
    pair.both[1].load_state_dict(ours)
    pair.run(40)


def composed():
    def warmup(lib, o):
        parts = [lib.LinearLR(o, 0.1, total_iters=10), lib.CosineAnnealingLR(o, 50)]
        return lib.SequentialLR(o, parts, [10])

    def three(lib, o):
        parts = [lib.ConstantLR(o, 0.5, 4), lib.ExponentialLR(o, 0.9), lib.StepLR(o, 3, 0.5)]
        return lib.SequentialLR(o, parts, [20, 40])

    def many(lib, o):
        parts = [
            lib.PolynomialLR(o, 10),
            lib.CosineAnnealingWarmRestarts(o, 7, 2),
            lib.MultiStepLR(o, [3, 9]),
            lib.LambdaLR(o, lambda t: 0.9**t),
            lib.MultiplicativeLR(o, lambda t: 0.9),
            lib.CyclicLR(o, 0.01, 0.1, 5),
        ]
        return lib.SequentialLR(o, parts, [0, 30, 45, 46, 90])

    def one_cycle(lib, o):
        parts = [lib.OneCycleLR(o, 0.1, total_steps=300), lib.ConstantLR(o)]
        return lib.SequentialLR(o, parts, [100])

    def chained(lib, o):
        return lib.ChainedScheduler([lib.ConstantLR(o, 0.5, 4), lib.ExponentialLR(o, 0.9)])

    def chain(lib, o):
        parts = [lib.LinearLR(o), lib.StepLR(o, 9), lib.CosineAnnealingLR(o, 50, 0.001)]
        return lib.ChainedScheduler(parts, o)

    def chain_of_sequences(lib, o):
        return lib.ChainedScheduler([warmup(lib, o), lib.ExponentialLR(o, 0.99)])

    def sequence_of_chains(lib, o):
        parts = [chained(lib, o), lib.StepLR(o, 30)]
        return lib.SequentialLR(o, parts, [15])

    def sequence_of_sequences(lib, o):
        return lib.SequentialLR(o, [warmup(lib, o), lib.ExponentialLR(o, 0.9)], [30])

    made = {k: v for k, v in locals().items() if callable(v)}
    return [pytest.param(make, id=name) for name, make in made.items()]


@pytest.mark.parametrize("make", composed())
@pytest.mark.filterwarnings("ignore:Detected call:UserWarning")
def test_composed(make):
    pair = Pair(make)
    pair.run()


@pytest.mark.parametrize("make", composed())
@pytest.mark.filterwarnings("ignore:Detected call:UserWarning")
@pytest.mark.parametrize("at", [3, 12, 44])
def test_composed_states_go_both_ways(make, at):
    whole, pair = Pair(make), Pair(make)
    for _ in range(at):
        whole.step()
    ours, theirs = (copy.deepcopy(each.state_dict()) for each in whole.both)
    assert ours.keys() == theirs.keys()
    for fresh, old in zip(pair.optimizers, whole.optimizers, strict=True):
        fresh.load_state_dict(old.state_dict())
    pair.both[0].load_state_dict(theirs)
    pair.both[1].load_state_dict(ours)
    for _ in range(50):
        pair.step()
        pair.compare()
        whole.step()
        assert pair.both[0].get_last_lr() == pytest.approx(whole.both[1].get_last_lr(), rel=1e-12)


PLATEAUS = product(
    mode=["min", "max"],
    factor=[0.1, 0.7],
    patience=[0, 3],
    threshold_mode=["rel", "abs"],
    cooldown=[0, 2],
    min_lr=[0, [0.001, 0.1]],
    threshold=[1e-4, 0.1],
)


@pytest.mark.parametrize("options", PLATEAUS)
def test_reduce_on_plateau(options):
    pair = Pair(simple("ReduceLROnPlateau", options))
    assert pair.both[0].state_dict() == pair.both[1].state_dict()
    for t in range(STEPS):
        metric = math.nan if t == 50 else math.exp(-t / 30) + 0.2 * math.sin(t * t)
        pair.step(metric)
        pair.compare()
        ours, theirs = (each.state_dict() for each in pair.both)
        assert ours.keys() == theirs.keys()
        lists = ("_last_lr", "min_lrs")
        assert {k: v for k, v in ours.items() if k not in lists} == {
            k: v for k, v in theirs.items() if k not in lists
        }
        if t == 100:
            pair.both = pair.made()
            pair.both[0].load_state_dict(theirs)
            pair.both[1].load_state_dict(ours)


@pytest.mark.parametrize(
    "options",
    product(
        swa_lr=[0.05, [0.05, 0.1]], anneal_epochs=[0, 1, 10], anneal_strategy=["cos", "linear"]
    ),
)
def test_swa_lr(options):
    def make(lib, optimizer):
        module = nn.optim if lib is OURS else torch.optim
        return module.swa_utils.SWALR(optimizer, **options)

    pair = Pair(make)
    pair.run(5)
    for optimizer in pair.optimizers:
        optimizer.param_groups[0]["lr"] = 0.3
    pair.run(3)
    ours, theirs = (copy.deepcopy(each.state_dict()) for each in pair.both)
    assert ours.keys() == theirs.keys()
    rates = [each.param_groups[0]["lr"] for each in pair.optimizers]
    pair.both = pair.made()
    pair.both[0].load_state_dict(theirs)
    pair.both[1].load_state_dict(ours)
    for optimizer, rate in zip(pair.optimizers, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
    pair.run(20)


@pytest.mark.parametrize("kind", ["StepLR", "ExponentialLR"])
def test_a_group_added_later(kind):
    pair = Pair(simple(kind, CASES[kind][1]))
    pair.run(5)
    for lib, optimizer in zip((fe, torch), pair.optimizers, strict=True):
        optimizer.add_param_group({"params": [lib.zeros(1)], "lr": 0.7})
    for _ in range(30):
        pair.step()
        ours, theirs = (each.get_last_lr() for each in pair.both)
        assert ours == pytest.approx(theirs, rel=1e-12)


def test_rates_that_are_tensors_are_written():
    made = []
    for lib, optim in ((fe, nn.optim), (torch, torch.optim)):
        rate = lib.tensor(0.5)
        optimizer = optim.SGD([lib.zeros(1).requires_grad_()], lr=rate)
        optimizer.step()
        schedulers = optim.lr_scheduler
        scheduler = schedulers.SequentialLR(
            optimizer,
            [schedulers.LinearLR(optimizer), schedulers.CosineAnnealingLR(optimizer, 9)],
            [6],
        )
        curve = []
        for _ in range(30):
            optimizer.step()
            scheduler.step()
            assert optimizer.param_groups[0]["lr"] is rate
            assert isinstance(scheduler.get_last_lr()[0], lib.Tensor)
            curve.append(float(scheduler.get_last_lr()[0]))
        made.append(curve)
    assert made[0] == pytest.approx(made[1], rel=1e-5, abs=1e-7)


BAD = [
    ("StepLR", ()),
    ("MultiStepLR", (3,)),
    ("ConstantLR", (1.5,)),
    ("ConstantLR", (-0.1,)),
    ("LinearLR", (0,)),
    ("LinearLR", (1.5,)),
    ("LinearLR", (0.5, 1.5)),
    ("LinearLR", (0.5, -0.5)),
    ("CosineAnnealingWarmRestarts", (0,)),
    ("CosineAnnealingWarmRestarts", (5, 0)),
    ("CosineAnnealingWarmRestarts", (-5,)),
    ("LambdaLR", ([abs],)),
    ("MultiplicativeLR", ([abs],)),
    ("MultiplicativeLR", (3,)),
    ("ReduceLROnPlateau", ("best",)),
    ("ReduceLROnPlateau", ("min", 1.0)),
    ("ReduceLROnPlateau", ("min", 0.1, 10, 1e-4, "relative")),
    ("ReduceLROnPlateau", ("min", 0.1, 10, 1e-4, "rel", 0, [0.1])),
    ("CyclicLR", (0.1, 0.2, 10, 10, "square")),
    ("CyclicLR", ([0.1], 0.2)),
    ("CyclicLR", (0.1, [0.2])),
    ("OneCycleLR", (0.1,)),
    ("OneCycleLR", (0.1, 0)),
    ("OneCycleLR", (0.1, None, 3)),
    ("OneCycleLR", (0.1, None, 0, 3)),
    ("OneCycleLR", (0.1, None, 3, -1)),
    ("OneCycleLR", (0.1, 10, None, None, 1.5)),
    ("OneCycleLR", (0.1, 10, None, None, 0.3, "exp")),
    ("OneCycleLR", ([0.1], 10)),
    ("SequentialLR", ([], [])),
    ("SequentialLR", ([1], [])),
]


@pytest.mark.parametrize(("kind", "args"), BAD)
def test_both_refuse(kind, args):
    ours, theirs = optimizers()
    with pytest.raises((ValueError, TypeError)) as yours:
        getattr(THEIRS, kind)(theirs, *args)
    with pytest.raises((fe.FerrumError, TypeError)) as mine:
        getattr(OURS, kind)(ours, *args)
    assert isinstance(mine.value, type(yours.value)) or kind == "MultiStepLR"


@pytest.mark.parametrize("kind", [*CASES, "ReduceLROnPlateau"])
def test_signatures(kind):
    import inspect

    ours, theirs = (inspect.signature(getattr(lib, kind)).parameters for lib in (OURS, THEIRS))
    assert list(ours) == list(theirs)
    assert [p.default for p in ours.values()] == [p.default for p in theirs.values()]
    assert {*THEIRS.__all__} == {*OURS.__all__}
