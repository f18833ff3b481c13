"""The optimizers after SGD and Adam beside PyTorch's: each option that changes a formula."""

import copy
import inspect
import itertools

import numpy as np
import pytest
from beside_torch import torch

import ferrum as fe
import ferrum_nn as nn

pytestmark = pytest.mark.torch

STEPS = 50


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """PyTorch's threads wait for each other longer than its small products take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


SHAPES = {
    "Adafactor": [(3, 4), (), (2, 3, 4), (5,)],
    "Muon": [(3, 4), (5, 2), (0, 2), (4, 4)],
}
OTHER_SHAPES = [(3, 4), (), (0, 2)]
# Muon stores matrices in bfloat16 on its way. Another order of a sum may round one the other way,
# by 2⁻⁸ of an element that moves the parameter by about lr; every other number is the same.
ROUNDED = {"Muon": 1e-3}


def every(**choices):
    """Return all combinations, half of them with weight decay and another sign."""
    combined = itertools.product(*choices.values())
    found = [{"lr": 0.05, **dict(zip(choices, values, strict=True))} for values in combined]
    return [*found, *[{**each, "weight_decay": 0.1, "maximize": True} for each in found]]


BETAS = {"betas": ((0.9, 0.999), (0.0, 0.5), (0.5, 0.0))}
LENGTHS = {"betas": ((0.9, 0.999), (0.0, 0.7), (0.9, 0.6), (0.9, 0.0))}  # longest 5.7, 4 and 1
DECOUPLED = {"decoupled_weight_decay": (False, True)}
OPTIONS = {
    "AdamW": every(amsgrad=(False, True), **BETAS),
    "Adamax": every(eps=(1e-8, 0.1), **BETAS),
    "NAdam": every(momentum_decay=(0, 0.3), **BETAS, **DECOUPLED),
    "RAdam": every(**LENGTHS, **DECOUPLED),
    "RMSprop": every(alpha=(0.99, 0.5), momentum=(0, 0.9), centered=(False, True)),
    "Adagrad": every(lr_decay=(0, 0.1), initial_accumulator_value=(0, 0.5)),
    "Adafactor": every(beta2_decay=(-0.8, 0.0), eps=((None, 1e-3), (0.5, 1.0)), d=(1.0, 3.0)),
    "Adadelta": every(rho=(0.0, 0.9, 1.0), eps=(1e-6, 0.1)),
    "ASGD": every(lambd=(1e-4, 0.1), alpha=(0.75, 0), t0=(1e6, 5, -3.0)),
    "Rprop": [
        {"lr": 0.05, "maximize": True},
        {"etas": (0.1, 3.0), "step_sizes": (0.01, 0.1)},
    ],
    "Muon": [
        {"lr": 0.05, "momentum": m, "nesterov": n, **rest}
        for m, n in ((0.95, True), (0.95, False), (0.3, True))
        for rest in (
            {},
            {"ns_steps": 0, "weight_decay": 0.0},
            {"adjust_lr_fn": "original", "ns_coefficients": (2.0, -1.5, 0.5), "ns_steps": 9},
            {"adjust_lr_fn": "match_rms_adamw", "eps": 10.0, "weight_decay": 0.3},
        )
    ],
}
ENDS = [(kind, each[i]) for kind, each in OPTIONS.items() for i in (0, -1)]
CASES = [
    pytest.param(kind, options, id=f"{kind}-{i}")
    for kind, listed in OPTIONS.items()
    for i, options in enumerate(listed)
]


class Pair:
    """The same parameters in both libraries, in two groups, moved by the same gradients."""

    def __init__(self, kind, options, dtype="float64", second=None):
        self.rng = np.random.default_rng(0)
        self.dtype = dtype
        shapes = SHAPES.get(kind, OTHER_SHAPES)
        values = [self.rng.normal(size=shape).astype(dtype) for shape in shapes]
        self.ours = [nn.Parameter(fe.tensor(value)) for value in values]
        self.theirs = [torch.nn.Parameter(torch.tensor(value)) for value in values]
        second = {"lr": 0.01} if second is None else second
        self.optimizer, self.other = (
            getattr(optim, kind)(
                [{"params": ps[:1]}, {"params": ps[1:], **second}], **copy.deepcopy(options)
            )
            for optim, ps in ((nn.optim, self.ours), (torch.optim, self.theirs))
        )

    def step(self, i):
        """Move all but, in some steps, one."""
        for j, (mine, yours) in enumerate(zip(self.ours, self.theirs, strict=True)):
            grad = self.rng.normal(size=yours.shape).astype(self.dtype)
            has_none = i % 4 == 3 and j == i % len(self.ours)
            mine.grad = None if has_none else fe.tensor(grad)
            yours.grad = None if has_none else torch.tensor(grad)
        self.optimizer.step()
        self.other.step()

    def compare(self, tolerance):
        mine, yours = map(flat, (self.ours, self.theirs))
        np.testing.assert_allclose(mine, yours, rtol=tolerance, atol=tolerance)


def flat(params):
    return np.concatenate([param.detach().numpy().ravel() for param in params])


def give(values, params, lib):
    """Write PyTorch's `values` into params."""
    with lib.no_grad():
        for param, value in zip(params, values, strict=True):
            param.copy_(lib.tensor(value.detach().numpy()))


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_step_by_step(kind, options):
    pair = Pair(kind, options)
    for i in range(STEPS):
        pair.step(i)
        if i < 3 or i % 4 == 1:  # comparing is half of the time
            pair.compare(ROUNDED.get(kind, 1e-11))


@pytest.mark.parametrize(("kind", "options"), ENDS)
def test_step_by_step_in_single_precision(kind, options):
    pair = Pair(kind, options, "float32")
    for i in range(STEPS):
        pair.step(i)
        pair.compare(ROUNDED.get(kind, 2e-6))


@pytest.mark.parametrize("kind", OPTIONS)
def test_sixteen_bits_go_the_same_way(kind):
    """PyTorch rounds after every operation, so only the way is compared, and the dtypes."""
    p = nn.Parameter(fe.ones(2, 2, dtype=fe.bfloat16))
    q = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))
    pairs = [(getattr(nn.optim, kind)([p]), p, fe), (getattr(torch.optim, kind)([q]), q, torch)]
    for optimizer, param, lib in pairs:
        for _ in range(3):
            param.grad = lib.tensor([[1.0, -2.0], [0.5, 0.0]], dtype=lib.bfloat16)
            optimizer.step()
    np.testing.assert_allclose(p.detach().float().numpy(), q.detach().float().numpy(), atol=0.02)
    for name, value in pairs[0][0].state[p].items():
        assert value.dtype.name == str(pairs[1][0].state[q][name].dtype).removeprefix("torch.")


# ---- state dicts


def as_torch(value):
    if isinstance(value, dict):
        return {key: as_torch(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_torch(each) for each in value]
    return torch.from_dlpack(value.clone()) if isinstance(value, fe.Tensor) else value


@pytest.mark.parametrize(("kind", "options"), ENDS)
def test_states_go_both_ways(kind, options):
    pair = Pair(kind, options)
    for i in range(7):
        pair.step(i)
    fresh = Pair(kind, {"lr": 1.0})
    give(pair.theirs, fresh.ours, fe)
    give(pair.theirs, fresh.theirs, torch)
    fresh.rng = copy.deepcopy(pair.rng)
    fresh.optimizer.load_state_dict(pair.other.state_dict())
    fresh.other.load_state_dict(as_torch(pair.optimizer.state_dict()))
    for i in range(7, 12):
        pair.step(i)
        fresh.step(i)
        fresh.compare(ROUNDED.get(kind, 1e-11))
        np.testing.assert_allclose(
            flat(fresh.ours), flat(pair.theirs), rtol=ROUNDED.get(kind, 1e-10)
        )
    again = fresh.optimizer.state_dict()["param_groups"][0]
    assert {name: again[name] for name in options} == options  # PyTorch's other keys do no harm


@pytest.mark.parametrize(("kind", "options"), ENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_states_have_one_layout(kind, options, dtype):
    pair = Pair(kind, options, dtype)
    pair.step(0)
    ours, theirs = pair.optimizer.state_dict(), pair.other.state_dict()
    assert ours["state"].keys() == theirs["state"].keys()
    for number, entry in theirs["state"].items():
        mine = ours["state"][number]
        assert list(mine) == list(entry)
        for name, each in entry.items():
            assert mine[name].shape == tuple(each.shape)
            assert mine[name].dtype.name == str(each.dtype).removeprefix("torch.")
            np.testing.assert_allclose(mine[name].numpy(), each.numpy(), rtol=1e-6, atol=1e-6)
    for mine, yours in zip(ours["param_groups"], theirs["param_groups"], strict=True):
        assert mine.items() <= yours.items()


def test_adamw_keeps_its_decay_when_it_loads_an_adam():
    both = []
    for optim, ones in ((nn.optim, fe.ones), (torch.optim, torch.ones)):
        saved = optim.Adam([ones(2)], lr=0.5).state_dict()
        optimizer = optim.AdamW([ones(2)])
        optimizer.load_state_dict(saved)
        both.append(optimizer.param_groups[0])
    assert both[0]["decoupled_weight_decay"] is both[1]["decoupled_weight_decay"] is True
    assert both[0]["lr"] == both[1]["lr"] == 0.5


SPECIAL = {
    "zero": np.zeros((3, 4)),
    "a row of zeros": np.concatenate([np.zeros((1, 4)), np.ones((2, 4))]),
    "NaN": np.where(np.eye(3, 4) == 1, np.nan, 1.0),
    "inf": np.where(np.eye(3, 4) == 1, np.inf, 1.0),
    "-inf": np.full((3, 4), -np.inf),
    "small": np.full((3, 4), 1e-30),
    "large": np.full((3, 4), 1e30),
    "a column": np.ones((3, 1)),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", ["Adafactor", "Muon"])
@pytest.mark.parametrize("grad", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_special_gradients(kind, grad, dtype):
    found = []
    for lib, optim, make in (
        (fe, nn.optim, nn.Parameter),
        (torch, torch.optim, torch.nn.Parameter),
    ):
        param = make(lib.ones(*grad.shape, dtype=getattr(lib, dtype)))
        optimizer = getattr(optim, kind)([param], lr=0.1)
        for _ in range(3):
            param.grad = lib.tensor(grad).to(param.dtype)
            optimizer.step()
        found.append(param.detach().numpy())
    tolerance = 4e-3 if dtype == "float16" else ROUNDED.get(kind, 2e-6)
    np.testing.assert_allclose(*found, rtol=tolerance, atol=tolerance)


# ---- signatures and refusals

LEFT_OUT = {"foreach", "fused", "capturable", "differentiable"}


@pytest.mark.parametrize("kind", ["SGD", "Adam", *OPTIONS, "LBFGS"])
def test_the_arguments_are_pytorchs(kind):
    mine, yours = (
        inspect.signature(getattr(optim, kind)).parameters for optim in (nn.optim, torch.optim)
    )
    assert set(mine) == set(yours) - LEFT_OUT
    for name, parameter in mine.items():
        assert parameter.default == yours[name].default
    positional = [
        [n for n, p in each.items() if p.kind is p.POSITIONAL_OR_KEYWORD] for each in (mine, yours)
    ]
    assert positional[0] == positional[1][: len(positional[0])]
    for name in LEFT_OUT & set(yours):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            getattr(nn.optim, kind)([fe.ones(1)], **{name: True})


REFUSED = [
    *[(kind, {"lr": -1}) for kind in (*OPTIONS, "LBFGS")],
    *[(kind, {"weight_decay": -1}) for kind in OPTIONS if kind != "Rprop"],
    *[(kind, {"eps": -1}) for kind in ("Adadelta", "Adagrad", "Adamax", "AdamW", "RMSprop")],
    *[(kind, {"eps": -1}) for kind in ("NAdam", "RAdam")],
    *[("Adafactor", {"eps": eps}) for eps in ((-1, 1e-3), (None, -1))],
    ("Adafactor", {"beta2_decay": 0.1}),
    ("Adafactor", {"d": 0.5}),
    ("Muon", {"momentum": -0.1}),
    *[
        (kind, {"betas": betas})
        for kind in ("AdamW", "Adamax", "NAdam", "RAdam")
        for betas in ((1.0, 0.9), (0.9, -0.1))
    ],
    ("NAdam", {"momentum_decay": -1}),
    ("RMSprop", {"momentum": -1}),
    ("RMSprop", {"alpha": -1}),
    ("Adagrad", {"lr_decay": -1}),
    ("Adagrad", {"initial_accumulator_value": -1}),
    ("Adadelta", {"rho": 1.5}),
    ("Adadelta", {"rho": -0.5}),
    *[("Rprop", {"etas": etas}) for etas in ((0, 1.2), (0.5, 1.0), (1.5, 1.2))],
]


@pytest.mark.parametrize(("kind", "options"), REFUSED)
def test_both_refuse(kind, options):
    with pytest.raises(ValueError, match=r"\d") as theirs:
        getattr(torch.optim, kind)([torch.ones(1, 1)], **options)
    with pytest.raises(fe.FerrumError, match=rf"^{kind}: expected {next(iter(options))} ") as ours:
        getattr(nn.optim, kind)([fe.ones(1, 1)], **options)
    assert isinstance(ours.value, type(theirs.value))


@pytest.mark.parametrize("named_first", [True, False])
def test_both_refuse_groups_with_and_without_names(named_first):
    for optim, one in ((nn.optim, fe.ones), (torch.optim, torch.ones)):
        groups = [{"params": [("a", one(1))]}, {"params": [one(1)]}]
        optimizer = optim.SGD([groups[not named_first]], lr=0.1)
        with pytest.raises(ValueError, match=r"with(/without)? names"):
            optimizer.add_param_group(groups[named_first])
        assert len(optimizer.param_groups) == 1
        with pytest.raises(ValueError, match=r"with(/without)? names"):
            optim.SGD(groups, lr=0.1)


@pytest.mark.parametrize("kind", ["Adam", *[each for each in OPTIONS if each != "Rprop"]])
def test_both_refuse_a_state_of_another_dtype(kind):
    for optim, layers, lib in ((nn.optim, nn, fe), (torch.optim, torch.nn, torch)):
        net = layers.Linear(2, 2, bias=False)
        optimizer = getattr(optim, kind)(net.parameters(), lr=0.1)
        net(lib.ones(1, 2)).sum().backward()
        optimizer.step()
        net.double()
        optimizer.zero_grad()
        net(lib.ones(1, 2, dtype=lib.float64)).sum().backward()
        if lib is fe:
            with pytest.raises(TypeError, match="expected .* dtype, got float32 .* casts what the"):
                optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.step()


@pytest.mark.parametrize("shape", [[], [3], [2, 3, 4]])
def test_both_refuse_other_things_than_matrices(shape):
    for optim, ones in ((nn.optim, fe.ones), (torch.optim, torch.ones)):
        with pytest.raises(ValueError, match="of two axes|only supports 2D"):
            optim.Muon([ones(shape)])


# ---- L-BFGS


class Valleys:
    """A curved valley and a quartic bowl in both libraries."""

    def __init__(self, options, dtype="float64"):
        rng = np.random.default_rng(0)
        values = [rng.normal(size=shape).astype(dtype) for shape in ((6,), (2, 2), (0, 2), ())]
        self.ours = [nn.Parameter(fe.tensor(value)) for value in values]
        self.theirs = [torch.nn.Parameter(torch.tensor(value)) for value in values]
        self.calls = [0, 0]
        self.optimizer = nn.optim.LBFGS(self.ours, **options)
        self.other = torch.optim.LBFGS(self.theirs, **options)

    def step(self):
        losses = []
        for i, (params, optimizer) in enumerate(
            ((self.ours, self.optimizer), (self.theirs, self.other))
        ):

            def closure(params=params, optimizer=optimizer, i=i):
                self.calls[i] += 1
                optimizer.zero_grad(set_to_none=False)
                x, y, *_ = params  # the others have no gradient
                bend = x[1:] - x[:-1] ** 2
                loss = ((1 - x[:-1]) ** 2).sum() + 10 * (bend**2).sum() + ((y - 1) ** 4).sum()
                loss.backward()
                return loss

            losses.append(optimizer.step(closure).item())
        return losses

    def compare(self, tolerance):
        assert self.calls[0] == self.calls[1]
        mine, yours = map(flat, (self.ours, self.theirs))
        np.testing.assert_allclose(mine, yours, rtol=tolerance, atol=tolerance)


WOLFE = {"line_search_fn": "strong_wolfe"}
SEARCHES = [
    {},
    {"lr": 0.1, "history_size": 3},
    {"max_iter": 1, "lr": 0.01},
    {"max_iter": 0},
    {"max_eval": 3},
    {"tolerance_grad": 50.0},
    {"tolerance_change": 1.0},
    WOLFE,
    {**WOLFE, "history_size": 2, "max_iter": 4},
    {**WOLFE, "history_size": 1},
    {**WOLFE, "max_iter": 5, "max_eval": 7, "lr": 3.0},
    {**WOLFE, "lr": 0.001, "max_eval": 1},
    {**WOLFE, "lr": 1e-4, "max_eval": 4},
    {**WOLFE, "lr": 300.0},
]


@pytest.mark.parametrize("options", SEARCHES)
def test_lbfgs_step_by_step(options):
    valleys = Valleys(options)
    for _ in range(4):
        mine, yours = valleys.step()
        np.testing.assert_allclose(mine, yours, rtol=1e-6, atol=1e-12)
        valleys.compare(1e-7)


@pytest.mark.parametrize("options", [{"max_iter": 5}, {**WOLFE, "max_iter": 5}])
def test_lbfgs_in_single_precision(options):
    valleys = Valleys(options, "float32")
    valleys.step()
    valleys.compare(1e-5)


@pytest.mark.parametrize("options", [{"max_iter": 4}, {**WOLFE, "max_iter": 4, "history_size": 3}])
def test_the_states_of_lbfgs_go_both_ways(options):
    valleys, fresh = Valleys(options), Valleys({})
    valleys.step()
    give(valleys.theirs, fresh.ours, fe)
    give(valleys.theirs, fresh.theirs, torch)
    fresh.optimizer.load_state_dict(valleys.other.state_dict())
    fresh.other.load_state_dict(as_torch(valleys.optimizer.state_dict()))
    entry, theirs = (each.state_dict()["state"][0] for each in (fresh.optimizer, valleys.other))
    assert entry["n_iter"] == theirs["n_iter"] == 4
    assert [y.tolist() for y in entry["old_dirs"]] == [y.tolist() for y in theirs["old_dirs"]]
    assert set(valleys.optimizer.state_dict()["state"][0]) == set(theirs) - {"al"}  # room to work
    for _ in range(3):
        valleys.step()
        fresh.step()
        fresh.compare(1e-8)
        valleys.compare(1e-8)
        np.testing.assert_allclose(flat(fresh.ours), flat(valleys.theirs), rtol=1e-8)
