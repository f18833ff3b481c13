"""Optimizers: what a step does, their options, and their state."""

import copy
import gc
import pickle
from typing import ClassVar

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import OperandError, UnsupportedError
from ferrum_nn.optim.kept import COUNT, Kept
from ferrum_nn.optim.options import AT_LEAST_ZERO, FLAG, NUMBER

# ---- steps


def test_sgd_by_hand(parameter):
    p = parameter(1.0, 2.0, grad=[1.0, -1.0])
    optimizer = nn.optim.SGD([p], lr=0.5, momentum=0.5, weight_decay=1.0)
    optimizer.step()  # g = (2, 1); m = g
    assert p.tolist() == [0, 1.5]
    optimizer.step()  # g = (1, 0.5); m = (2, 1)
    assert p.tolist() == [-1, 1]
    assert optimizer.state[p]["momentum_buffer"].tolist() == [2, 1]


def test_a_first_momentum_is_the_gradient_whatever_the_dampening(parameter):
    p = parameter(0.0, grad=[1.0])
    optimizer = nn.optim.SGD([p], lr=1.0, momentum=0.5, dampening=0.5)
    optimizer.step()
    assert p.tolist() == [-1]
    optimizer.step()  # m = 0.5 + 0.5
    assert p.tolist() == [-2]


def test_adam_by_hand(parameter):
    p = parameter(1.0, grad=[4.0])
    nn.optim.Adam([p], lr=0.25, eps=0.0).step()
    assert p.item() == pytest.approx(0.75, rel=1e-6)  # a first step has the length lr


def test_adam_counts_and_keeps_its_state_in_pytorchs_form(parameter):
    p = parameter(1.0, 2.0, grad=[1.0, 1.0])
    optimizer = nn.optim.Adam([p], amsgrad=True)
    optimizer.step()
    optimizer.step()
    state = optimizer.state[p]
    assert list(state) == ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
    assert (state["step"].item(), state["step"].shape, state["step"].dtype) == (2, (), fe.float32)
    assert type(state["exp_avg"]) is fe.Tensor


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_adam_with_betas_of_zero(parameter, beta):
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


def test_parameters_without_gradient_stay(parameter):
    still, moving = parameter(1.0), parameter(1.0, grad=[1.0])
    for kind in (nn.optim.SGD, nn.optim.Adam):
        optimizer = kind([still, moving], lr=0.1)
        optimizer.step()
        assert still.item() == 1
        assert still not in optimizer.state
    empty = nn.optim.Adam([still])
    assert empty.step() is None


def test_a_parameter_that_joins_later_starts_its_own_count(parameter):
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


def test_options_are_read_at_every_step(parameter):
    p = parameter(0.0, grad=[1.0])
    optimizer = nn.optim.SGD([p], lr=1.0)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()
    optimizer.param_groups[0]["lr"] = fe.tensor(0.25)
    optimizer.param_groups[0]["maximize"] = True
    optimizer.step()
    assert p.tolist() == [-1.25]


def test_groups_have_options_of_their_own(parameter):
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


def test_a_closure_is_called_with_gradients_on(parameter):
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


def test_a_closure_is_a_function(parameter):
    with pytest.raises(OperandError, match="SGD: expected a function as closure, got 5"):
        nn.optim.SGD([parameter(1.0)]).step(5)


def test_zero_grad(parameter):
    p = parameter(1.0, grad=[2.0])
    optimizer = nn.optim.SGD([p])
    grad = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert grad.tolist() == [0]
    assert p.grad.tolist() == [0]
    optimizer.zero_grad()
    assert p.grad is None


def test_a_step_is_noticed_by_a_graph_that_needs_the_old_parameters(parameter):
    p = parameter(2.0, grad=[1.0])
    loss = (p * p).sum()
    nn.optim.SGD([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_a_gradient_with_a_graph_behind_it_is_stepped_without_one(parameter):
    p = parameter(2.0)
    (p**3).sum().backward(create_graph=True)
    nn.optim.Adam([p], lr=0.1).step()
    assert p.is_leaf
    assert p.requires_grad


def test_the_smallest_optimizer_of_ones_own(parameter):
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
    kept: ClassVar = {"step": COUNT, "average": Kept("momentum")}
    op = staticmethod(move_by_signs)

    def __init__(self, params, lr=0.25, momentum=0.0, maximize=False):
        super().__init__(params, {"lr": lr, "momentum": momentum, "maximize": maximize})


def test_an_optimizer_as_a_table(parameter):
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
def test_a_copied_optimizer_goes_on_by_itself(parameter, copied):
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


def test_repr(parameter):
    text = repr(nn.optim.SGD([parameter(1.0)], lr=0.5))
    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0\n    lr: 0.5\n")
    assert text.endswith(")")


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
