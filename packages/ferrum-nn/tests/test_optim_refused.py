"""Optimizers: options, parameters and states that are refused, and options changed later."""

import copy
import math
import re

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError

BAD_OPTIONS = [
    ("SGD", {"lr": -1.0}, ArgumentError, "expected lr of at least 0, got lr=-1.0"),
    ("SGD", {"lr": math.nan}, ArgumentError, "expected lr of at least 0, got lr=nan"),
    ("SGD", {"lr": "x"}, OperandError, "expected lr of at least 0, got lr='x'"),
    ("SGD", {"lr": None}, OperandError, "expected lr of at least 0, got lr=None"),
    ("SGD", {"lr": True}, OperandError, "expected lr of at least 0, got lr=True"),
    ("SGD", {"lr": 10**400}, ArgumentError, "expected lr of at least 0, got"),
    ("SGD", {"lr": fe.tensor(-1.0)}, ArgumentError, "expected lr of at least 0, got"),
    ("SGD", {"lr": fe.ones(2)}, ArgumentError, "expected lr of at least 0, got"),
    ("SGD", {"lr": np.ones(2)}, OperandError, "expected lr of at least 0, got"),
    ("SGD", {"momentum": -0.1}, ArgumentError, "expected momentum of at least 0"),
    ("SGD", {"dampening": "x"}, OperandError, "expected dampening to be a number"),
    ("SGD", {"dampening": math.nan}, ArgumentError, "expected dampening to be a number"),
    ("SGD", {"weight_decay": -0.1}, ArgumentError, "expected weight_decay of at least 0"),
    ("SGD", {"nesterov": "yes"}, OperandError, "expected nesterov to be True or False"),
    ("SGD", {"maximize": 2}, ArgumentError, "expected maximize to be True or False"),
    ("SGD", {"nesterov": True}, ArgumentError, "nesterov takes a momentum above 0"),
    ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, ArgumentError, "nesterov"),
    ("Adam", {"lr": -1.0}, ArgumentError, "expected lr of at least 0"),
    ("Adam", {"eps": -1e-8}, ArgumentError, "expected eps of at least 0"),
    ("Adam", {"weight_decay": -1}, ArgumentError, "expected weight_decay of at least 0"),
    ("Adam", {"betas": (1.0, 0.9)}, ArgumentError, "expected betas to be two numbers from 0 up to"),
    ("Adam", {"betas": (0, -1)}, ArgumentError, "expected betas to be two numbers"),
    ("Adam", {"betas": (0, 0.1, 0.2)}, ArgumentError, "expected betas to be two numbers"),
    ("Adam", {"betas": (0, math.nan)}, ArgumentError, "expected betas to be two numbers"),
    ("Adam", {"betas": None}, OperandError, "expected betas to be two numbers"),
    ("Adam", {"betas": 0.9}, OperandError, "expected betas to be two numbers"),
    ("Adam", {"betas": ("a", "b")}, OperandError, "expected betas to be two numbers"),
    ("Adam", {"amsgrad": None}, OperandError, "expected amsgrad to be True or False"),
    ("AdamW", {"weight_decay": -1}, ArgumentError, "expected weight_decay of at least 0"),
    ("AdamW", {"eps": "x"}, OperandError, "expected eps of at least 0"),
    ("Adamax", {"lr": -1.0}, ArgumentError, "expected lr of at least 0"),
    ("Adamax", {"betas": (0.9, 1.0)}, ArgumentError, "expected betas to be two numbers from 0 up"),
    ("NAdam", {"momentum_decay": -1}, ArgumentError, "expected momentum_decay of at least 0"),
    (
        "NAdam",
        {"decoupled_weight_decay": 2},
        ArgumentError,
        "expected decoupled_weight_decay to be",
    ),
    ("NAdam", {"betas": [0.9]}, ArgumentError, "expected betas to be two numbers from 0 up to 1"),
    ("RAdam", {"betas": (-0.1, 0.9)}, ArgumentError, "expected betas to be two numbers from 0 up"),
    ("RAdam", {"eps": math.nan}, ArgumentError, "expected eps of at least 0"),
    ("RAdam", {"maximize": "no"}, OperandError, "expected maximize to be True or False"),
    ("RMSprop", {"alpha": -0.1}, ArgumentError, "expected alpha of at least 0"),
    ("RMSprop", {"momentum": -0.1}, ArgumentError, "expected momentum of at least 0"),
    ("RMSprop", {"centered": None}, OperandError, "expected centered to be True or False"),
    ("RMSprop", {"lr": fe.ones(2)}, ArgumentError, "expected lr of at least 0"),
    ("Adagrad", {"lr_decay": -1}, ArgumentError, "expected lr_decay of at least 0"),
    ("Adagrad", {"eps": None}, OperandError, "expected eps of at least 0"),
    (
        "Adagrad",
        {"initial_accumulator_value": -1},
        ArgumentError,
        "expected initial_accumulator_value of at least 0",
    ),
    ("Adadelta", {"rho": 1.1}, ArgumentError, "expected rho from 0 to 1, got rho=1.1"),
    ("Adadelta", {"rho": math.nan}, ArgumentError, "expected rho from 0 to 1"),
    ("Adadelta", {"rho": "x"}, OperandError, "expected rho from 0 to 1"),
    ("Adadelta", {"eps": -1}, ArgumentError, "expected eps of at least 0"),
    (
        "Adafactor",
        {"beta2_decay": 0.1},
        ArgumentError,
        "expected beta2_decay of at most 0, got beta2_decay=0.1",
    ),
    ("Adafactor", {"beta2_decay": None}, OperandError, "expected beta2_decay of at most 0"),
    ("Adafactor", {"eps": (-1, 1)}, ArgumentError, "expected eps to be None or a number, and a"),
    ("Adafactor", {"eps": (None, -1)}, ArgumentError, "expected eps to be None or a number, and"),
    ("Adafactor", {"eps": (1, None)}, OperandError, "expected eps to be None or a number, and a"),
    ("Adafactor", {"eps": (1e-8,)}, ArgumentError, "expected eps to be None or a number, and a"),
    ("Adafactor", {"eps": 1e-8}, OperandError, "expected eps to be None or a number, and a num"),
    ("Adafactor", {"d": 0.9}, ArgumentError, "expected d of at least 1, got d=0.9"),
    ("Adafactor", {"d": math.nan}, ArgumentError, "expected d of at least 1"),
    ("Adafactor", {"maximize": None}, OperandError, "expected maximize to be True or False"),
    ("Muon", {"momentum": -0.1}, ArgumentError, "expected momentum of at least 0"),
    ("Muon", {"nesterov": "x"}, OperandError, "expected nesterov to be True or False"),
    ("Muon", {"ns_coefficients": (1, 2)}, ArgumentError, "expected ns_coefficients to be three"),
    ("Muon", {"ns_coefficients": 3.0}, OperandError, "expected ns_coefficients to be three num"),
    ("Muon", {"ns_steps": 100}, ArgumentError, "expected ns_steps to be a whole number from 0 to"),
    ("Muon", {"ns_steps": 2.5}, ArgumentError, "expected ns_steps to be a whole number from 0 to"),
    ("Muon", {"ns_steps": None}, OperandError, "expected ns_steps to be a whole number from 0 to"),
    ("Muon", {"adjust_lr_fn": "x"}, ArgumentError, "expected adjust_lr_fn to be one of (None,"),
    ("Muon", {"adjust_lr_fn": 5}, ArgumentError, "expected adjust_lr_fn to be one of (None,"),
    ("Muon", {"eps": -1}, ArgumentError, "expected eps of at least 0"),
    ("ASGD", {"lambd": "x"}, OperandError, "expected lambd to be a number"),
    ("ASGD", {"alpha": math.nan}, ArgumentError, "expected alpha to be a number"),
    ("ASGD", {"t0": None}, OperandError, "expected t0 to be a number"),
    ("ASGD", {"weight_decay": -1}, ArgumentError, "expected weight_decay of at least 0"),
    ("Rprop", {"etas": (0.0, 1.2)}, ArgumentError, "expected etas to be two numbers, one between"),
    ("Rprop", {"etas": (0.5, 1.0)}, ArgumentError, "expected etas to be two numbers, one between"),
    ("Rprop", {"etas": 0.5}, OperandError, "expected etas to be two numbers, one between"),
    ("Rprop", {"step_sizes": (1, 2, 3)}, ArgumentError, "expected step_sizes to be two numbers"),
    ("Rprop", {"step_sizes": ("a", 2)}, OperandError, "expected step_sizes to be two numbers"),
    ("Lion", {"betas": (0.9, 1)}, ArgumentError, "expected betas to be two numbers from 0 up to 1"),
    ("Lion", {"lr": -1}, ArgumentError, "expected lr of at least 0"),
    ("Lion", {"weight_decay": None}, OperandError, "expected weight_decay of at least 0"),
]


@pytest.mark.parametrize(("kind", "options", "error", "message"), BAD_OPTIONS)
def test_options_are_checked_on_every_way_in(parameter, kind, options, error, message):
    """Given to the constructor or a group, assigned, loaded: nothing is changed by any."""
    make = getattr(nn.optim, kind)
    p, q = (parameter([1.0], grad=[[1.0]]) for _ in range(2))
    message = rf"^{kind}: {re.escape(message)}"
    with pytest.raises(error, match=message):
        make([p], **options)
    with pytest.raises(error, match=message):
        make([{"params": [p], **options}])
    optimizer = make([p], lr=0.5)
    with pytest.raises(error, match=message):
        optimizer.add_param_group({"params": [q], **options})
    assert len(optimizer.param_groups) == 1

    optimizer.step()
    moved = p.item()
    state = copy.deepcopy(optimizer.state_dict())
    bad = copy.deepcopy(state)
    bad["param_groups"][0] |= options
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(bad)
    assert optimizer.state_dict()["param_groups"] == state["param_groups"]

    optimizer.add_param_group({"params": [q]})
    good = dict(optimizer.param_groups[1])
    optimizer.param_groups[1].update(options)
    for _ in range(2):
        with pytest.raises(error, match=message):
            optimizer.step()
    assert (p.item(), q.item(), q in optimizer.state) == (moved, 1, False)
    optimizer.param_groups[1].update(good)
    optimizer.step()
    assert q.item() < 1


def test_options_that_may_be_written_are_read_at_every_step(parameter):
    p = parameter(0.0, grad=[1.0])
    lr, betas = fe.tensor(1.0), [0.0, 0.0]
    optimizer = nn.optim.Adam([p], lr=lr, betas=betas, eps=0.0)
    optimizer.step()
    lr.fill_(2.0)
    optimizer.step()
    assert p.item() == -3
    betas[0] = 1.0
    with pytest.raises(ArgumentError, match="betas"):
        optimizer.step()
    del optimizer.param_groups[0]["lr"]
    with pytest.raises(ArgumentError, match="Adam: expected a group with the option 'lr'"):
        optimizer.step()


def test_momentum_switched_on_later_starts_with_the_gradient(parameter):
    p = parameter(0.0, grad=[1.0])
    optimizer = nn.optim.SGD([p], lr=1.0)
    optimizer.step()
    assert p not in optimizer.state
    optimizer.param_groups[0] |= {"momentum": 0.5, "dampening": 0.5}
    optimizer.step()
    optimizer.step()
    assert p.tolist() == [-3]  # m = 1, then 0.5 + 0.5
    optimizer.param_groups[0]["momentum"] = 0
    optimizer.step()
    assert p.tolist() == [-4]
    assert optimizer.state[p]["momentum_buffer"].tolist() == [1]


def test_amsgrad_switched_on_later_takes_the_largest_from_then_on(parameter):
    p = parameter(1.0, 2.0, grad=[4.0, 0.5])
    optimizer = nn.optim.Adam([p], betas=(0.9, 0.5))
    optimizer.step()
    optimizer.param_groups[0]["amsgrad"] = True
    optimizer.step()
    state = optimizer.state[p]
    largest = state["max_exp_avg_sq"].tolist()
    assert largest == state["exp_avg_sq"].tolist()
    p.grad = fe.zeros(2)
    optimizer.step()
    assert state["max_exp_avg_sq"].tolist() == largest
    again = nn.optim.Adam([parameter(1.0, 2.0)])
    again.load_state_dict(optimizer.state_dict())
    assert again.param_groups[0]["amsgrad"] is True


def test_a_step_that_fails_leaves_no_state(parameter):
    p = parameter(1.0, 2.0)
    p.grad = fe.zeros(2)
    p.grad.array = np.zeros(3, np.float32)  # nothing but a broken plugin could do this
    for make in (nn.optim.Adam, lambda ps: nn.optim.SGD(ps, momentum=0.9, dampening=0.5)):
        optimizer = make([p])
        with pytest.raises(ShapeError):
            optimizer.step()
        assert not optimizer.state


def changed(path, value):
    def change(state):
        *way, last = path
        for key in way:
            state = state[key]
        state[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(["state"], [1]), r"expected a state of the parameters \[0, 1\], got list"),
        (changed(["state", 7], {}), r"expected a state of the parameters \[0, 1\], got \[0, 1, 7"),
        (changed(["state", 0], 5), "parameter 0: expected a dict, got int"),
        (changed(["state", 0], {"step": 1}), "parameter 0: expected exp_avg, exp_avg_sq in its"),
        (
            changed(["state", 0], {"momentum_buffer": fe.zeros(2)}),
            "parameter 0: expected step, exp_avg, exp_avg_sq in its state, which has only momentum",
        ),
        (changed(["state", 1, "exp_avg"], fe.zeros(())), "parameter 1: exp_avg: expected a tensor"),
        (changed(["state", 1, "exp_avg"], "x"), "parameter 1: exp_avg: expected a tensor of shape"),
        (changed(["state", 1, "exp_avg"], np.array("x")), "parameter 1: exp_avg: from_dlpack"),
        (changed(["state", 1, "step"], fe.zeros(2)), r"parameter 1: step: expected .* shape \(\)"),
        (changed(["param_groups"], 5), "expected param_groups, a list of dicts"),
        (changed(["param_groups"], []), r"expected groups of \[2\] parameters, the state dict has"),
        (changed(["param_groups", 0], 5), "expected param_groups, a list of dicts"),
        (changed(["param_groups", 0, "params"], None), "expected param_groups, a list of dicts"),
        (changed(["param_groups", 0, "params"], [0, 0]), r"expected params with numbers of their"),
        (changed(["param_groups", 0, "params"], [0, []]), r"expected params with numbers of their"),
        (changed(["param_groups", 0, "params"], [0]), r"expected groups of \[2\] parameters"),
    ],
)
def test_states_of_another_form_are_refused(parameter, change, message):
    p, q = parameter(1.0, 2.0, grad=[1.0, 1.0]), parameter(3.0, grad=[1.0])
    optimizer = nn.optim.Adam([p, q])
    optimizer.step()
    before = optimizer.state_dict()
    state = copy.deepcopy(before)
    state["param_groups"][0]["lr"] = 9.0
    change(state)
    with pytest.raises(nn.StateDictError, match=f"^Adam: {message}"):
        optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 1e-3
    assert optimizer.state_dict()["state"][1]["exp_avg"] is before["state"][1]["exp_avg"]


def test_a_state_dict_that_is_none(parameter):
    with pytest.raises(nn.StateDictError, match="SGD: expected a state dict with 'state'"):
        nn.optim.SGD([parameter(1.0)]).load_state_dict(None)


def test_a_saved_momentum_of_none_is_none(parameter):
    """PyTorch's SGD once saved it so."""
    optimizer = nn.optim.SGD([parameter(1.0, grad=[1.0])], momentum=0.9)
    state = optimizer.state_dict() | {"state": {0: {"momentum_buffer": None}}}
    optimizer.load_state_dict(state)
    optimizer.step()
    assert optimizer.state_dict()["state"][0]["momentum_buffer"].tolist() == [1]


def test_parameters_are_checked(parameter):
    p = parameter(1.0)
    for params, error in (
        (p, OperandError),
        (None, OperandError),
        (5, OperandError),
        ("text", OperandError),
        (nn.Linear(1, 1), OperandError),
        (nn.Sequential(nn.Linear(1, 1)), OperandError),
        ([], ArgumentError),
        (iter([]), ArgumentError),
        ([p, p], ArgumentError),
        ([{"params": [p]}, {"params": [p]}], ArgumentError),
        ([{"param": [p]}], ArgumentError),
        ([{"params": {p}}], OperandError),
        ([{"params": None}], OperandError),
        ([{"params": "text"}], OperandError),
        ([{"params": [p]}, parameter(2.0)], OperandError),
        ([p, {"params": [parameter(2.0)]}], OperandError),
        ([1.0], OperandError),
        ([None], OperandError),
        ([p * 2], ArgumentError),
        ([fe.tensor([1, 2])], DTypeError),
        ([("a", p), parameter(2.0)], ArgumentError),
        ([("a", 1.0)], OperandError),
        ({"params": [p]}, OperandError),
    ):
        with pytest.raises(error, match=r"^SGD: "):
            nn.optim.SGD(params, lr=0.1)


def test_a_gradient_that_does_not_fit_is_refused_before_anything_moves(parameter):
    first, second = parameter(1.0, grad=[1.0]), parameter(1.0, 2.0)
    second.grad = fe.zeros(2)
    second.grad.array = np.zeros(3, np.float32)  # nothing but a broken plugin could do this
    with pytest.raises(ShapeError, match="sgd_step: expected grads of the parameter's shape"):
        nn.optim.SGD([first, second], lr=0.1).step()
    assert first.item() == 1
    second.grad.array = np.zeros(2, np.float64)
    with pytest.raises(DTypeError, match="adam_step: expected grads of the parameter's"):
        nn.optim.Adam([first, second], lr=0.1).step()
    assert first.item() == 1


@pytest.mark.parametrize("kind", [nn.optim.SGD, nn.optim.Adam])
def test_a_parameter_in_memory_that_is_read_only_leaves_all_as_they_were(kind):
    fixed = np.ones(3, np.float32)
    fixed.flags.writeable = False
    parameters = [nn.Parameter(fe.ones(3)), nn.Parameter(fe.from_numpy(fixed))]
    for each in parameters:
        each.grad = fe.ones(3)
    with pytest.raises(ArgumentError, match="read-only"):
        kind(parameters, lr=0.1).step()
    assert parameters[0].tolist() == [1, 1, 1]
