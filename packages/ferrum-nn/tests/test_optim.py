"""Optimizers: what a step does, options, state, and what is refused."""

import copy
import gc
import math
import pickle
import re
from typing import ClassVar

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError, UnsupportedError
from ferrum_nn.optim.options import AT_LEAST_ZERO, FLAG, NUMBER


def parameter(*values, grad=None):
    p = nn.Parameter(fe.tensor(values))
    p.grad = None if grad is None else fe.tensor(grad)
    return p


# ---- steps


def test_sgd_by_hand():
    p = parameter(1.0, 2.0, grad=[1.0, -1.0])
    optimizer = nn.optim.SGD([p], lr=0.5, momentum=0.5, weight_decay=1.0)
    optimizer.step()  # g = (2, 1); m = g
    assert p.tolist() == [0, 1.5]
    optimizer.step()  # g = (1, 0.5); m = (2, 1)
    assert p.tolist() == [-1, 1]
    assert optimizer.state[p]["momentum_buffer"].tolist() == [2, 1]


def test_a_first_momentum_is_the_gradient_whatever_the_dampening():
    p = parameter(0.0, grad=[1.0])
    optimizer = nn.optim.SGD([p], lr=1.0, momentum=0.5, dampening=0.5)
    optimizer.step()
    assert p.tolist() == [-1]
    optimizer.step()  # m = 0.5 + 0.5
    assert p.tolist() == [-2]


def test_adam_by_hand():
    p = parameter(1.0, grad=[4.0])
    nn.optim.Adam([p], lr=0.25, eps=0.0).step()
    assert p.item() == pytest.approx(0.75, rel=1e-6)  # a first step has the length lr


def test_adam_counts_and_keeps_its_state_in_pytorchs_form():
    p = parameter(1.0, 2.0, grad=[1.0, 1.0])
    optimizer = nn.optim.Adam([p], amsgrad=True)
    optimizer.step()
    optimizer.step()
    state = optimizer.state[p]
    assert list(state) == ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
    assert (state["step"].item(), state["step"].shape, state["step"].dtype) == (2, (), fe.float32)
    assert type(state["exp_avg"]) is fe.Tensor


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_adam_with_betas_of_zero(beta):
    p = parameter(1.0, grad=[4.0])
    nn.optim.Adam([p], lr=0.25, betas=(beta, 0.0), eps=0.0).step()
    assert p.item() == pytest.approx(0.75)


@pytest.mark.parametrize("dtype", [fe.float16, fe.bfloat16])
def test_sixteen_bit_parameters_round_once_a_step(dtype):
    values, grads = [1.0, -2.0, 0.5], [0.25, 3.0, -1.0]
    for make in (
        lambda ps: nn.optim.Adam(ps, lr=0.125),
        lambda ps: nn.optim.SGD(ps, lr=0.125, momentum=0.5, weight_decay=0.125),
    ):
        narrow = nn.Parameter(fe.tensor(values, dtype=dtype))
        wide = nn.Parameter(fe.tensor(values))
        narrow.grad, wide.grad = fe.tensor(grads, dtype=dtype), fe.tensor(grads)
        for each in (narrow, wide):
            make([each]).step()
        assert narrow.dtype is dtype
        assert narrow.tolist() == wide.to(dtype).tolist()


def test_parameters_without_gradient_stay():
    still, moving = parameter(1.0), parameter(1.0, grad=[1.0])
    for kind in (nn.optim.SGD, nn.optim.Adam):
        optimizer = kind([still, moving], lr=0.1)
        optimizer.step()
        assert still.item() == 1
        assert still not in optimizer.state
    empty = nn.optim.Adam([still])
    assert empty.step() is None


def test_a_parameter_that_joins_later_starts_its_own_count():
    first, late = parameter(1.0, grad=[1.0]), parameter(1.0)
    optimizer = nn.optim.Adam([first, late], lr=0.1)
    optimizer.step()
    late.grad = fe.tensor([1.0])
    optimizer.step()
    assert [optimizer.state[p]["step"].item() for p in (first, late)] == [2, 1]
    momentum = nn.optim.SGD([first, late], lr=0.1, momentum=0.9, dampening=0.5)
    late.grad = None
    momentum.step()
    late.grad = fe.tensor([1.0])
    momentum.step()
    assert momentum.state[late]["momentum_buffer"].tolist() == [1]


def test_options_are_read_at_every_step():
    p = parameter(0.0, grad=[1.0])
    optimizer = nn.optim.SGD([p], lr=1.0)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()
    optimizer.param_groups[0]["lr"] = fe.tensor(0.25)
    optimizer.param_groups[0]["maximize"] = True
    optimizer.step()
    assert p.tolist() == [-1.25]


def test_groups_have_options_of_their_own():
    fast, slow = parameter(0.0, grad=[1.0]), parameter(0.0, grad=[1.0])
    optimizer = nn.optim.SGD([{"params": fast, "lr": 1.0}, {"params": [slow]}], lr=0.25)
    optimizer.add_param_group({"params": iter([parameter(0.0)]), "momentum": 0.5})
    optimizer.step()
    assert (fast.item(), slow.item()) == (-1, -0.25)
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 1, 1]


def test_named_parameters():
    layer = nn.Linear(1, 1)
    optimizer = nn.optim.SGD(layer.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.param_groups[0]["params"][0] is layer.weight


def test_a_closure_is_called_with_gradients_on():
    p = parameter(3.0)
    optimizer = nn.optim.SGD([p], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with fe.no_grad():
        assert optimizer.step(closure).item() == 9
    assert p.tolist() == [0]


def test_a_closure_is_a_function():
    with pytest.raises(OperandError, match="SGD: expected a function as closure, got 5"):
        nn.optim.SGD([parameter(1.0)]).step(5)


def test_zero_grad():
    p = parameter(1.0, grad=[2.0])
    optimizer = nn.optim.SGD([p])
    grad = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert grad.tolist() == [0]
    assert p.grad.tolist() == [0]
    optimizer.zero_grad()
    assert p.grad is None


def test_a_step_is_noticed_by_a_graph_that_needs_the_old_parameters():
    p = parameter(2.0, grad=[1.0])
    loss = (p * p).sum()
    nn.optim.SGD([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_a_gradient_with_a_graph_behind_it_is_stepped_without_one():
    p = parameter(2.0)
    (p**3).sum().backward(create_graph=True)
    nn.optim.Adam([p], lr=0.1).step()
    assert p.is_leaf
    assert p.requires_grad


def test_the_smallest_optimizer_of_ones_own():
    class Signs(nn.optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        def update(self, params, grads, options):
            for param, grad in zip(params, grads, strict=True):
                param.sub_(grad.sign() * options["lr"])

    p = parameter(1.0, 1.0, grad=[5.0, -0.5])
    Signs([p], lr=0.25).step()
    assert p.tolist() == [0.75, 1.25]
    with pytest.raises(UnsupportedError, match="Optimizer: the class defines neither `op`"):
        nn.optim.Optimizer([p], {}).step()


def move_by_signs(params, grads, steps, averages, *, lr, momentum, maximize):
    for i, (param, grad, step) in enumerate(zip(params, grads, steps, strict=True)):
        if momentum:
            grad = averages[i].mul_(momentum).add_(grad)
        param.add_(grad.sign() * (lr if maximize else -lr))
        step.add_(1)


class Signs(nn.optim.Optimizer):
    """An optimizer as a table: its options, what it keeps, and a function instead of an op."""

    options: ClassVar = {"lr": AT_LEAST_ZERO, "momentum": NUMBER, "maximize": FLAG}
    kept: ClassVar = {"step": "", "average": "momentum"}
    op = staticmethod(move_by_signs)

    def __init__(self, params, lr=0.25, momentum=0.0, maximize=False):
        super().__init__(params, {"lr": lr, "momentum": momentum, "maximize": maximize})


def test_an_optimizer_as_a_table():
    p = parameter(1.0, 1.0, grad=[5.0, -0.5])
    optimizer = Signs([p])
    optimizer.step()
    assert p.tolist() == [0.75, 1.25]
    assert list(optimizer.state[p]) == ["step"]
    optimizer.param_groups[0]["momentum"] = 0.5
    p.grad = fe.tensor([-2.0, 2.0])
    optimizer.step()
    assert p.tolist() == [1, 1]
    assert optimizer.state[p]["average"].tolist() == [-2, 2]
    q = parameter(1.0, 1.0, grad=[0.5, 0.5])
    resumed = Signs([q], lr=9.0)
    resumed.load_state_dict(optimizer.state_dict())
    resumed.step()
    assert resumed.state[q]["step"].item() == 3
    assert q.tolist() == [1.25, 0.75]
    with pytest.raises(OperandError, match="Signs: expected maximize to be True or False"):
        Signs([p], maximize="x")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copied_optimizer_goes_on_by_itself(copied):
    p = parameter(1.0, grad=[1.0])
    optimizer = nn.optim.Adam([p], lr=0.5)
    optimizer.step()
    other = copied(optimizer)
    q = other.param_groups[0]["params"][0]
    q.grad = fe.tensor([1.0])
    other.param_groups[0]["lr"] = 0.0
    other.step()
    assert (p.item(), q.item()) == (q.item(), p.item())
    assert [o.state[x]["step"].item() for o, x in ((optimizer, p), (other, q))] == [1, 2]


# ---- state


def trained(make, steps=3, seed=0):
    fe.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = make(net.parameters())
    continue_training(net, optimizer, steps)
    return net, optimizer


def continue_training(net, optimizer, steps):
    x = fe.tensor(np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2))
    for _ in range(steps):
        optimizer.zero_grad()
        (net(x) ** 2).mean().backward()
        optimizer.step()


MAKERS = [
    pytest.param(lambda ps: nn.optim.SGD(ps, lr=0.1, momentum=0.9), id="SGD"),
    pytest.param(lambda ps: nn.optim.Adam(ps, lr=0.1, amsgrad=True), id="Adam"),
]


@pytest.mark.parametrize("make", MAKERS)
def test_a_resumed_run_has_the_same_bits(make):
    net, optimizer = trained(make, steps=6)
    half, saved = trained(make, steps=3)
    state = copy.deepcopy(saved.state_dict())
    other, resumed = trained(make, steps=1, seed=1)
    other.load_state_dict(half.state_dict())
    resumed.load_state_dict(state)
    continue_training(half, saved, 3)  # the state was copied: this does not disturb it
    continue_training(other, resumed, 3)
    for name, each in net.state_dict().items():
        assert fe.equal(each, other.state_dict()[name])
    assert resumed.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


def test_the_layout_of_a_state_dict():
    net, optimizer = trained(lambda ps: nn.optim.SGD(ps, lr=0.1, momentum=0.9))
    state = optimizer.state_dict()
    assert set(state) == {"state", "param_groups"}
    assert sorted(state["state"]) == [0, 1, 2, 3]
    assert list(state["state"][0]) == ["momentum_buffer"]
    assert state["param_groups"] == [
        {
            "lr": 0.1,
            "momentum": 0.9,
            "dampening": 0,
            "weight_decay": 0,
            "nesterov": False,
            "maximize": False,
            "params": [0, 1, 2, 3],
        }
    ]


def test_loaded_state_fits_the_parameter():
    p = nn.Parameter(fe.zeros(2, dtype=fe.float64))
    optimizer = nn.optim.Adam([p])
    entry = {"step": 5, "exp_avg": np.ones(2, np.float32), "exp_avg_sq": fe.ones(2), "note": "x"}
    groups = [{**optimizer.state_dict()["param_groups"][0], "lr": 0.5, "foreach": None}]
    optimizer.load_state_dict({"state": {0: entry}, "param_groups": groups})
    state = optimizer.state[p]
    assert state["exp_avg"].dtype is state["exp_avg_sq"].dtype is fe.float64
    assert (state["step"].item(), state["step"].dtype) == (5, fe.float32)
    assert state["note"] == "x"
    p.grad = fe.ones(2, dtype=fe.float64)
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 6
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_state_that_does_not_fit_changes_nothing():
    net, optimizer = trained(lambda ps: nn.optim.Adam(ps, lr=0.1))
    before = optimizer.state_dict()
    other = nn.optim.Adam(nn.Linear(2, 4).parameters()).state_dict()
    with pytest.raises(nn.StateDictError, match=r"Adam: expected groups of \[4\] parameters"):
        optimizer.load_state_dict(other)
    with pytest.raises(nn.StateDictError, match="'state' and 'param_groups'"):
        optimizer.load_state_dict({})
    wrong = copy.deepcopy(before)
    wrong["state"][0]["exp_avg"] = fe.zeros(7)
    wrong["param_groups"][0]["lr"] = 9.0
    with pytest.raises(nn.StateDictError, match=r"parameter 0: exp_avg: expected a tensor of"):
        optimizer.load_state_dict(wrong)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert optimizer.state_dict()["state"][0]["exp_avg"] is before["state"][0]["exp_avg"]


def test_repr():
    text = repr(nn.optim.SGD([parameter(1.0)], lr=0.5))
    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0\n    lr: 0.5\n")
    assert text.endswith(")")


# ---- refused


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
]


@pytest.mark.parametrize(("kind", "options", "error", "message"), BAD_OPTIONS)
def test_options_are_checked_on_every_way_in(kind, options, error, message):
    """Given to the constructor or a group, assigned, loaded: nothing is changed by any."""
    make = getattr(nn.optim, kind)
    p, q = parameter(1.0, grad=[1.0]), parameter(1.0, grad=[1.0])
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


def test_options_that_may_be_written_are_read_at_every_step():
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


def test_momentum_switched_on_later_starts_with_the_gradient():
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


def test_amsgrad_switched_on_later_takes_the_largest_from_then_on():
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


def test_a_step_that_fails_leaves_no_state():
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
def test_states_of_another_form_are_refused(change, message):
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


def test_a_state_dict_that_is_none():
    with pytest.raises(nn.StateDictError, match="SGD: expected a state dict with 'state'"):
        nn.optim.SGD([parameter(1.0)]).load_state_dict(None)


def test_a_saved_momentum_of_none_is_none():
    """PyTorch's SGD once saved it so."""
    optimizer = nn.optim.SGD([parameter(1.0, grad=[1.0])], momentum=0.9)
    state = optimizer.state_dict() | {"state": {0: {"momentum_buffer": None}}}
    optimizer.load_state_dict(state)
    optimizer.step()
    assert optimizer.state_dict()["state"][0]["momentum_buffer"].tolist() == [1]


def test_parameters_are_checked():
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


def test_a_gradient_that_does_not_fit_is_refused_before_anything_moves():
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


# ---- memory


def test_steps_leave_nothing_behind():
    net, optimizer = trained(lambda ps: nn.optim.Adam(ps, lr=0.1))
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        continue_training(net, optimizer, 50)
        assert len(gc.get_objects()) - before < 100
    finally:
        gc.enable()
