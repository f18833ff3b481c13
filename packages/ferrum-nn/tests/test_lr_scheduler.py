"""Schedulers: what they say of themselves, warnings, states, and what is refused."""

import copy
import math
import pickle
import re
import warnings

import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, OperandError, UnsupportedError
from ferrum_nn.optim import SGD, Adam
from ferrum_nn.optim import lr_scheduler as ls
from ferrum_nn.optim.swa_utils import SWALR


def optimizer(lr=1.0, groups=1, kind=SGD, **options):
    made = kind([{"params": [nn.Parameter(fe.zeros(1))]} for _ in range(groups)], lr=lr, **options)
    made.step()
    return made


def rates(scheduler, steps):
    """The rates of the first group over steps of the optimizer and the scheduler."""
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_rates_by_hand():
    assert rates(ls.StepLR(optimizer(), 2, 0.5), 5) == [1, 1, 0.5, 0.5, 0.25]
    assert rates(ls.MultiStepLR(optimizer(), [1, 3, 3], 0.5), 5) == [1, 0.5, 0.5, 0.125, 0.125]
    assert rates(ls.ConstantLR(optimizer(), 0.5, 2), 4) == [0.5, 0.5, 1, 1]
    assert rates(ls.LinearLR(optimizer(), 0.5, 1, 2), 4) == [0.5, 0.75, 1, 1]
    assert rates(ls.ExponentialLR(optimizer(), 2), 4) == [1, 2, 4, 8]
    assert rates(ls.PolynomialLR(optimizer(), 4), 6) == [1, 0.75, 0.5, 0.25, 0, 0]
    assert rates(ls.CosineAnnealingLR(optimizer(), 2), 5) == pytest.approx([1, 0.5, 0, 0.5, 1])
    restarts = ls.CosineAnnealingWarmRestarts(optimizer(), 1, 2)
    assert rates(restarts, 4) == pytest.approx([1, 1, 0.5, 1])
    assert rates(ls.LambdaLR(optimizer(), lambda t: t * t), 4) == [0, 1, 4, 9]
    assert rates(ls.MultiplicativeLR(optimizer(), lambda t: t), 4) == [1, 1, 2, 6]
    cyclic = ls.CyclicLR(optimizer(), 1, 2, 2, mode="triangular2")
    assert rates(cyclic, 7) == [1, 1.5, 2, 1.5, 1, 1.25, 1.5]
    assert cyclic.optimizer.param_groups[0]["momentum"] == pytest.approx(0.875)
    one = ls.OneCycleLR(optimizer(kind=Adam), 25, total_steps=5, pct_start=0.6)
    assert rates(one, 5) == pytest.approx([1, 13, 25, 12.50005, 1e-4])
    assert rates(SWALR(optimizer(), 3, 2, "linear"), 4) == [1, 2, 3, 3]


def test_a_rate_decays_for_ever_without_overflow():
    """The ratio of two epochs is what is taken, not that of powers, which leave the floats."""
    scheduler = ls.ExponentialLR(optimizer(1e-300), 1.5)
    scheduler.optimizer.step()
    scheduler.last_epoch = 5000
    scheduler.step()
    assert scheduler.get_last_lr() == [1.5e-300]


def test_zero_is_left_where_pytorch_divides_by_it():
    assert rates(ls.ConstantLR(optimizer(), 0.0, 2), 4) == [0, 0, 1, 1]
    one = ls.OneCycleLR(optimizer(), 25, total_steps=10, pct_start=0.1)
    assert rates(one, 2)[0] == 25


class Warming:
    def __init__(self, epochs):
        self.epochs = epochs

    def __call__(self, epoch):
        return min(1.0, (epoch + 1) / self.epochs)


def test_functions_are_not_in_the_state_objects_are():
    def half(epoch):
        return 0.5

    scheduler = ls.LambdaLR(optimizer(groups=3), [half, Warming(4), float])
    state = scheduler.state_dict()
    assert state["lr_lambdas"] == [None, {"epochs": 4}, None]
    pickle.dumps(state)
    fresh = ls.LambdaLR(optimizer(groups=3), [half, Warming(9), float])
    fresh.load_state_dict(state)
    assert fresh.lr_lambdas[1].epochs == 4
    cyclic = ls.CyclicLR(optimizer(), 0.1, 1, scale_fn=Warming(4))
    state = pickle.loads(pickle.dumps(cyclic.state_dict()))
    fresh = ls.CyclicLR(optimizer(), 0.1, 1, scale_fn=Warming(9))
    fresh.load_state_dict(state)
    assert fresh.scale_fn(0) == 0.25
    assert ls.CyclicLR(optimizer(), 0.1, 1, scale_fn=half).state_dict()["_scale_fn_custom"] is None


def test_a_step_before_the_optimizers_warns():
    unstepped = SGD([nn.Parameter(fe.zeros(1))], lr=1.0)
    scheduler = ls.StepLR(unstepped, 2)
    with pytest.warns(UserWarning, match=r"StepLR.step\(\) was called before optimizer.step\(\)"):
        scheduler.step()
    scheduler.step()  # once is enough
    unstepped.step()
    ls.StepLR(unstepped, 2).step()


def test_the_optimizer_is_itself_again_after_its_first_step():
    fresh = SGD([nn.Parameter(fe.zeros(1))], lr=1.0)
    scheduler = ls.StepLR(fresh, 2)
    ls.StepLR(fresh, 2)
    twin = copy.deepcopy(scheduler)
    assert fresh.step(lambda: 5) == 5
    assert "step" not in vars(fresh)
    scheduler.step()
    with pytest.warns(UserWarning, match="before"):
        twin.step()
    twin.optimizer.step()
    assert "step" not in vars(twin.optimizer)


def test_a_step_that_somebody_else_has_put_there_stays():
    fresh = SGD([nn.Parameter(fe.zeros(1))], lr=1.0)
    calls = []
    inner = fresh.step

    def counting(*args):
        calls.append(args)
        return inner(*args)

    fresh.step = counting
    ls.StepLR(fresh, 2).optimizer.step()
    assert vars(fresh)["step"] is counting
    fresh.step()
    assert len(calls) == 2
    late = SGD([nn.Parameter(fe.zeros(1))], lr=1.0)
    scheduler = ls.StepLR(late, 2)
    first = late.step
    late.step = lambda: first()
    late.step()
    late.step()
    scheduler.step()


def test_other_warnings():
    scheduler = ls.StepLR(optimizer(), 2)
    scheduler.optimizer.step()
    with pytest.warns(UserWarning, match=r"StepLR.step\(epoch\) goes out of use") as caught:
        scheduler.step(5)
    assert caught[0].filename == __file__
    assert scheduler.get_last_lr() == pytest.approx([0.01])
    with pytest.warns(UserWarning, match=r"StepLR: get_last_lr\(\) has") as caught:
        scheduler.get_lr()
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="goes out of use"):
        ls.ReduceLROnPlateau(optimizer()).step(1.0, 5)


def test_fractions_of_an_epoch():
    scheduler = ls.CosineAnnealingWarmRestarts(optimizer(), 2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch, rate in ((0.5, (1 + math.sqrt(0.5)) / 2), (1, 0.5), (4, 0.5), (6, 1), (1, 0.5)):
            scheduler.step(epoch)
            assert scheduler.get_last_lr() == pytest.approx([rate])
    scheduler = ls.CosineAnnealingWarmRestarts(optimizer(), 1, 10)
    scheduler.step(111)  # the fourth run begins; log(1000, 10) is below 3 in floats
    assert (scheduler.T_cur, scheduler.T_i) == (0, 1000)


def test_plateau_waits_and_cools_down():
    scheduler = ls.ReduceLROnPlateau(optimizer(), factor=0.5, patience=1, cooldown=2)
    found = []
    for metric in (fe.tensor(1.0), 1, math.nan, 1, 1, 1, 1, 0.5, 1):
        scheduler.step(metric)
        found.append(scheduler.get_last_lr()[0])
    assert found == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_a_subclass_is_a_function_of_the_epoch():
    class Halving(ls.LRScheduler):
        def get_lr(self):
            return [base / 2**self.last_epoch for base in self.base_lrs]

    assert rates(Halving(optimizer()), 3) == [1, 0.5, 0.25]
    with pytest.raises(UnsupportedError, match=r"LRScheduler: the class defines no get_lr"):
        ls.LRScheduler(optimizer())


def test_composed_schedules_begin_at_milestones():
    """PyTorch raises NotImplementedError when it gets there."""
    o = optimizer()
    chain = ls.ChainedScheduler([ls.ConstantLR(o, 0.5, 2), ls.ExponentialLR(o, 0.5)])
    scheduler = ls.SequentialLR(o, [ls.ConstantLR(o, 1.0), chain], [2])
    assert rates(scheduler, 7) == [1, 1, 0.5, 0.25, 0.25, 0.125, 0.0625]
    o = optimizer()
    inner = ls.SequentialLR(o, [ls.ExponentialLR(o, 0.5), ls.ConstantLR(o, 0.125, 2)], [3])
    scheduler = ls.SequentialLR(o, [ls.ConstantLR(o, 0.75), inner], [1])
    assert rates(scheduler, 7) == [0.75, 1, 0.5, 0.25, 0.125, 0.125, 1]


def test_resumed_with_the_optimizer_to_the_same_rates():
    def make():
        made = optimizer(lr=0.3, kind=Adam)
        return made, ls.SequentialLR(
            made,
            [ls.LinearLR(made, total_iters=5), ls.OneCycleLR(made, 0.3, total_steps=40)],
            [5],
        )

    first, scheduler = make()
    rates(scheduler, 12)
    saved = pickle.loads(pickle.dumps((first.state_dict()["param_groups"], scheduler.state_dict())))
    second, fresh = make()
    second.load_state_dict({"state": {}, "param_groups": saved[0]})
    fresh.load_state_dict(saved[1])
    assert rates(fresh, 20) == rates(scheduler, 20)
    assert first.param_groups[0]["betas"] == second.param_groups[0]["betas"]


def test_loading_copies():
    scheduler, fresh = ls.StepLR(optimizer(), 2), ls.StepLR(optimizer(), 2)
    state = scheduler.state_dict()
    fresh.load_state_dict(state)
    fresh.base_lrs[0] = 7.0
    assert scheduler.base_lrs == [1.0]


STATES = [
    ({}, "the state dict lacks"),
    (None, "expected a state dict, got NoneType"),
    ({"last_epoch": 3}, "the state dict lacks step_size, gamma, base_lrs"),
    ({"optimizer": 1}, "unexpected keys optimizer"),
    ({"step": 1}, "unexpected keys step"),
    ({"base_lrs": [1.0, 2.0]}, "expected base_lrs of 1 groups"),
    ({"_last_lr": None}, "expected _last_lr of 1 groups"),
]


@pytest.mark.parametrize(("change", "message"), STATES)
def test_states_that_are_refused(change, message):
    scheduler = ls.StepLR(optimizer(), 2)
    whole = scheduler.state_dict()
    partial = "lacks" in message or change is None
    with pytest.raises(nn.StateDictError, match=f"^StepLR: {message}"):
        scheduler.load_state_dict(change if partial else {**whole, **change})
    assert scheduler.state_dict() == whole


def test_states_of_other_parts_are_refused():
    made = optimizer()
    chain = ls.ChainedScheduler([ls.StepLR(made, 2), ls.ExponentialLR(made, 0.5)])
    whole = chain.state_dict()
    for parts in (whole["_schedulers"][:1], whole["_schedulers"][::-1], None):
        with pytest.raises(nn.StateDictError):
            chain.load_state_dict({**whole, "_schedulers": parts})
        assert chain.state_dict() == whole
    scheduler = ls.LambdaLR(made, lambda t: 1.0)
    for functions in ([], [{"a": 1}], [3], None):
        with pytest.raises(nn.StateDictError, match="^LambdaLR: "):
            scheduler.load_state_dict({**scheduler.state_dict(), "lr_lambdas": functions})


def made(kind, *args, **options):
    return lambda o: getattr(ls, kind)(o, *args, **options)


def two():
    return optimizer(groups=2)


REFUSED = [
    (made("StepLR", 0), ArgumentError, "StepLR: expected step_size to be an integer above 0"),
    (made("StepLR", True), OperandError, "StepLR: expected step_size to be an integer above 0"),
    (made("StepLR", 1.5), OperandError, "StepLR: expected step_size to be an integer above 0"),
    (made("StepLR", 2, "x"), OperandError, "StepLR: expected gamma to be a number"),
    (made("StepLR", 2, math.nan), ArgumentError, "StepLR: expected gamma to be a number"),
    (made("StepLR", 2, 0.1, -2), ArgumentError, "StepLR: expected last_epoch to be an integer of"),
    (made("StepLR", 2, 0.1, 3), ArgumentError, "StepLR: going on from last_epoch=3 takes 'initial"),
    (made("MultiStepLR", 3), OperandError, "MultiStepLR: expected a list of epochs as milestones"),
    (made("MultiStepLR", "35"), OperandError, "MultiStepLR: expected a list of epochs"),
    (made("MultiStepLR", [1.5]), OperandError, "MultiStepLR: expected milestones to be an integer"),
    (made("ConstantLR", 2), ArgumentError, "ConstantLR: expected factor from 0 to 1, got factor=2"),
    (made("LinearLR", 0), ArgumentError, "LinearLR: expected start_factor above 0 and up to 1"),
    (made("LinearLR", 1, 2), ArgumentError, "LinearLR: expected end_factor from 0 to 1"),
    (made("LinearLR", 1, 1, None), OperandError, "LinearLR: expected total_iters to be a number"),
    (made("ExponentialLR", None), OperandError, "ExponentialLR: expected gamma to be a number"),
    (made("PolynomialLR", 5, -1), ArgumentError, "PolynomialLR: expected power of at least 0"),
    (made("CosineAnnealingLR", 0), ArgumentError, "CosineAnnealingLR: expected T_max above 0"),
    (made("CosineAnnealingWarmRestarts", 1.5), OperandError, "CosineAnnealingWarmRestarts: expect"),
    (made("CosineAnnealingWarmRestarts", 1, 0), ArgumentError, "CosineAnnealingWarmRestarts: exp"),
    (made("LambdaLR", 3), OperandError, "LambdaLR: expected a function as lr_lambda, got 3"),
    (made("LambdaLR", []), ArgumentError, "LambdaLR: expected one lr_lambda for each of the 2"),
    (made("MultiplicativeLR", [abs]), ArgumentError, "MultiplicativeLR: expected one lr_lambda"),
    (made("CyclicLR", 0.1, [1]), ArgumentError, "CyclicLR: expected one max_lr for each of the 2"),
    (made("CyclicLR", 0.1, 1, 0), ArgumentError, "CyclicLR: expected step_size_up above 0, got 0"),
    (made("CyclicLR", 0.1, 1, mode="x"), ArgumentError, "CyclicLR: expected mode to be one of"),
    (made("CyclicLR", 0.1, 1, scale_mode=""), ArgumentError, "CyclicLR: expected scale_mode to be"),
    (made("CyclicLR", 0.1, 1, scale_fn=3), OperandError, "CyclicLR: expected a function as scale"),
    (made("CyclicLR", 0.1, 1, base_momentum=[1]), ArgumentError, "CyclicLR: expected one base_mo"),
    (made("OneCycleLR", 1), ArgumentError, "OneCycleLR: expected total_steps, or epochs and steps"),
    (made("OneCycleLR", 1, 2.5), OperandError, "OneCycleLR: expected total_steps to be an integer"),
    (
        made("OneCycleLR", 1, 9, div_factor=0),
        ArgumentError,
        "OneCycleLR: expected div_factor othe",
    ),
    (made("OneCycleLR", 1, 9, pct_start=2), ArgumentError, "OneCycleLR: expected pct_start from 0"),
    (made("OneCycleLR", 1, 9, anneal_strategy="x"), ArgumentError, "OneCycleLR: expected anneal_s"),
    (made("ReduceLROnPlateau", "mean"), ArgumentError, "ReduceLROnPlateau: expected mode to be"),
    (made("ReduceLROnPlateau", factor=1), ArgumentError, "ReduceLROnPlateau: expected a factor"),
    (made("ReduceLROnPlateau", min_lr=[0]), ArgumentError, "ReduceLROnPlateau: expected one min_"),
    (lambda o: ls.ReduceLROnPlateau(o).step("x"), OperandError, "ReduceLROnPlateau: expected step"),
    (lambda o: ls.SequentialLR(o, [], []), ArgumentError, "SequentialLR: expected at least one"),
    (lambda o: ls.SequentialLR(o, [o], []), OperandError, "SequentialLR: expected schedulers, got"),
    (
        lambda o: ls.SequentialLR(o, [ls.StepLR(o, 1)], [3]),
        ArgumentError,
        "SequentialLR: expected 0 milestones for 1 schedulers, got 1",
    ),
    (
        lambda o: ls.SequentialLR(o, [ls.StepLR(o, 1) for _ in range(3)], [3, 2]),
        ArgumentError,
        "SequentialLR: expected milestones in order, got [3, 2]",
    ),
    (
        lambda o: ls.ChainedScheduler([ls.StepLR(o, 1), ls.StepLR(two(), 1)]),
        ArgumentError,
        "ChainedScheduler: expected schedulers of one optimizer, got one of another at index 1",
    ),
    (
        lambda o: ls.ChainedScheduler([ls.ReduceLROnPlateau(o)]),
        ArgumentError,
        "ChainedScheduler: ReduceLROnPlateau, at index 0, takes a metric",
    ),
    (lambda o: ls.ChainedScheduler(3), OperandError, "ChainedScheduler: expected a list of sched"),
    (lambda o: ls.StepLR(o.param_groups, 1), OperandError, "StepLR: expected an optimizer, got l"),
    (lambda o: SWALR(o, [1.0]), ArgumentError, "SWALR: expected one swa_lr for each of the 2"),
    (lambda o: SWALR(o, 1.0, -1), ArgumentError, "SWALR: expected anneal_epochs of at least 0"),
    (lambda o: SWALR(o, 1.0, 1, "x"), ArgumentError, "SWALR: expected anneal_strategy to be 'cos'"),
]


@pytest.mark.parametrize(("make", "error", "message"), REFUSED)
def test_refused(make, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        make(two())


def test_refused_at_a_step():
    scheduler = ls.OneCycleLR(optimizer(), 1, total_steps=2)
    rates(scheduler, 2)
    with pytest.raises(ArgumentError, match="OneCycleLR: expected at most 2 steps, got step 3"):
        scheduler.step()
    scheduler = ls.CosineAnnealingWarmRestarts(optimizer(), 2)
    for epoch in (-1, math.nan):
        with pytest.raises(ArgumentError, match="CosineAnnealingWarmRestarts: expected epoch of"):
            scheduler.step(epoch)
    o = optimizer()
    scheduler = ls.LambdaLR(o, lambda t: 1.0)
    o.add_param_group({"params": [nn.Parameter(fe.zeros(1))]})
    o.step()
    with pytest.raises(ArgumentError, match="LambdaLR: expected one lr_lambda for each of the 2"):
        scheduler.step()

    class Bare(nn.optim.Optimizer):
        pass

    bare = Bare([nn.Parameter(fe.zeros(1))], {"lr": 0.1})
    with pytest.raises(ArgumentError, match="CyclicLR: Bare has neither momentum nor betas"):
        ls.CyclicLR(bare, 0.1, 1)
    assert bare.param_groups[0]["lr"] == 0.1
    ls.CyclicLR(bare, 0.5, 1, cycle_momentum=False)
    assert bare.param_groups[0]["lr"] == 0.5
