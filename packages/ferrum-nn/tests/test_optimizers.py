"""The optimizers after SGD and Adam: by hand, resumed, recorded, with hooks, and refused."""

import copy
import pickle

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.capture import record
from ferrum.errors import ArgumentError, OperandError, ShapeError

TABLES = {
    "AdamW": {"amsgrad": True},
    "Adamax": {},
    "NAdam": {},
    "RAdam": {},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Adagrad": {"lr_decay": 0.1},
    "Adadelta": {},
    "ASGD": {"t0": 2},
    "Adafactor": {"eps": (None, 1.0)},
    "Muon": {"weight_decay": 0},
    "Rprop": {},
    "Lion": {"weight_decay": 0.1},
}
KINDS = [(kind, {"lr": 0.02, **options}) for kind, options in TABLES.items()]


# ---- Lion, which PyTorch does not have


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("weight_decay", [0, 0.3])
@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.0, 0.5), (0.5, 0.0)])
def test_lion_by_its_formula(betas, weight_decay, maximize, dtype):
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape).astype(dtype) for shape in ((3, 4), (), (0, 2))]
    params = [nn.Parameter(fe.tensor(value)) for value in values]
    optimizer = nn.optim.Lion(
        params, lr=0.05, betas=betas, weight_decay=weight_decay, maximize=maximize
    )
    expected = [value.astype("float64") for value in values]
    momenta = [np.zeros_like(value) for value in expected]
    for i in range(50):
        for j, param in enumerate(params):
            param.grad = None
            if i % 5 != 3 or j:
                param.grad = fe.tensor(rng.normal(size=param.shape).astype(dtype))
                g = param.grad.numpy().astype("float64") * (-1 if maximize else 1)
                sign = np.sign(betas[0] * momenta[j] + (1 - betas[0]) * g)
                expected[j] = expected[j] - 0.05 * (sign + weight_decay * expected[j])
                momenta[j] = betas[1] * momenta[j] + (1 - betas[1]) * g
        optimizer.step()
        for param, value in zip(params, expected, strict=True):
            np.testing.assert_allclose(param.detach().numpy(), value, rtol=1e-6, atol=1e-6)
    assert list(optimizer.state[params[0]]) == ["exp_avg"]


def test_lions_defaults():
    defaults = nn.optim.Lion([fe.ones(1)]).defaults
    assert defaults == {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0, "maximize": False}


# ---- what all have in common


def valley(x):
    return ((x - fe.tensor([1.0, -2.0, 0.5])) ** 2 * fe.tensor([1.0, 4.0, 0.5])).sum()


def train(optimizer, x, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = valley(x)
        loss.backward()
        optimizer.step()
    return valley(x).item()


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_each_one_goes_down(kind, options):
    x = nn.Parameter(fe.zeros(1, 3))
    if kind == "Adadelta":
        options = {"lr": 5.0}
    if kind == "Adagrad":
        options = {"lr": 0.5}
    begun = valley(x).item()
    assert train(getattr(nn.optim, kind)([x], **options), x, 100) < 0.6 * begun


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_resumed_run_has_the_same_bits(kind, options, copied):
    make = getattr(nn.optim, kind)
    x, y = nn.Parameter(fe.zeros(1, 3)), nn.Parameter(fe.ones(1, 3))
    optimizer, resumed = make([x], **options), make([y])
    train(optimizer, x, 8)
    state = copied(optimizer.state_dict())
    with fe.no_grad():
        y.copy_(x)
    resumed.load_state_dict(state)
    train(optimizer, x, 5)
    train(resumed, y, 5)
    assert x.tolist() == y.tolist()


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_recorded_step_counts_and_moves_on(kind, options):
    """Rates that depend on the step number are computed in the graph, not once for all."""
    both = []
    for recorded in (False, True):
        x = nn.Parameter(fe.zeros(1, 3))
        optimizer = getattr(nn.optim, kind)([x], **options)
        train(optimizer, x, 1)  # begins the state
        grads = [fe.tensor([[1.0, i, -0.5]]) for i in range(8)]

        def step(g, x=x, optimizer=optimizer):
            x.grad = g
            optimizer.step()
            return x.detach()

        run = record(step, grads[0]).replay if recorded else step
        for g in grads[recorded:]:
            run(g)
        both.append(x.tolist())
    assert both[0] == both[1]


def test_adagrads_sums_begin_with_the_value_given(parameter):
    p, q = parameter(1.0, grad=[0.0]), parameter(1.0, grad=[0.0])
    optimizer = nn.optim.Adagrad([p], initial_accumulator_value=0.5)
    optimizer.add_param_group({"params": [q], "initial_accumulator_value": 9.0})
    optimizer.step()
    assert optimizer.state[p]["sum"].item() == optimizer.state[q]["sum"].item() == 0.5


# ---- Muon and Adafactor


@pytest.mark.parametrize("shape", [(4, 4), (2, 7), (7, 2)])
def test_muon_makes_a_step_of_equal_singular_values(shape):
    p = nn.Parameter(fe.zeros(*shape))
    p.grad = fe.tensor(np.random.default_rng(0).normal(size=shape).astype("float32"))
    nn.optim.Muon([p], lr=1.0, adjust_lr_fn="match_rms_adamw", momentum=0.5).step()
    left, _, right = np.linalg.svd(p.grad.numpy(), full_matrices=False)
    found = np.diag(left.T @ -p.detach().numpy() @ right.T) / 0.2 / max(shape) ** 0.5
    assert ((found > 0.6) & (found < 1.3)).all()


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 2)])
def test_muon_takes_matrices(parameter, shape):
    with pytest.raises(ShapeError, match=r"^Muon: expected parameters of two axes, .* AdamW"):
        nn.optim.Muon([fe.ones(shape)])
    optimizer = nn.optim.Muon([parameter([1.0])])
    with pytest.raises(ShapeError, match=r"^Muon: expected parameters of two axes, .* AdamW"):
        optimizer.add_param_group({"params": [fe.ones(shape)]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
def test_nothing_is_moved_without_a_complaint(shape):
    for make in (nn.optim.Adafactor, nn.optim.Muon)[: 1 + (len(shape) == 2)]:
        p, q = nn.Parameter(fe.zeros(shape)), nn.Parameter(fe.ones(2, 2))
        p.grad, q.grad = fe.zeros(shape), fe.ones(2, 2)
        optimizer = make([p, q])
        optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.step()
        assert p.shape == shape
        assert (q.detach().numpy() < 1).all()


def test_adafactor_moves_by_large_gradients_too():
    """The product of two means of squares is too large for float32; PyTorch's step is then 0."""
    p = nn.Parameter(fe.ones(2, 2))
    p.grad = fe.full((2, 2), 1e12)
    nn.optim.Adafactor([p], lr=0.1).step()
    np.testing.assert_allclose(p.detach().numpy(), 0.9, rtol=1e-6)


def test_adafactor_keeps_two_factors_of_matrices():
    shapes = (3, 4), (2, 3, 4), (5,), ()
    params = [nn.Parameter(fe.ones(shape)) for shape in shapes]
    for param in params:
        param.grad = fe.ones(param.shape)
    optimizer = nn.optim.Adafactor(params)
    optimizer.step()
    found = [{k: v.shape for k, v in optimizer.state[p].items()} for p in params]
    assert found == [
        {"step": (), "row_var": (3, 1), "col_var": (1, 4)},
        {"step": (), "row_var": (2, 3, 1), "col_var": (2, 1, 4)},
        {"step": (), "variance": (5,)},
        {"step": (), "variance": ()},
    ]
    state = optimizer.state_dict()["state"]
    for number, entry, message in (
        (0, {"step": 1.0, "row_var": fe.ones(3, 1)}, "expected col_var in its state"),
        (0, {**state[0], "col_var": fe.ones(4)}, r"col_var: expected .* shape \(1, 4\)"),
        (0, {**state[0], "variance": fe.ones(3, 4)}, r"variance: .* shape \(3, 4\) has none"),
        (2, state[0], "expected variance in its state, which has only step, row_var, col_var"),
    ):
        bad = {**optimizer.state_dict(), "state": {**state, number: entry}}
        with pytest.raises(nn.StateDictError, match=f"Adafactor: parameter {number}: {message}"):
            optimizer.load_state_dict(bad)


# ---- hooks


def test_hooks_run_around_a_step(parameter):
    p = parameter(1.0, grad=[1.0])
    optimizer = nn.optim.SGD([p], lr=0.5)
    seen = []

    def before(which, args, kwargs):
        seen.append(("before", which, args, kwargs, p.item()))

    def after(which, args, kwargs):
        seen.append(("after", which, args, kwargs, p.item()))

    handles = [
        optimizer.register_step_pre_hook(before),
        optimizer.register_step_post_hook(after),
    ]
    optimizer.step()
    assert seen == [
        ("before", optimizer, (optimizer,), {}, 1.0),
        ("after", optimizer, (optimizer,), {}, 0.5),
    ]
    copy.deepcopy(optimizer).step()  # a copy has no hooks
    handles[0].remove()
    optimizer.step()
    assert [each[0] for each in seen] == ["before", "after", "after"]
    handles[1].remove()
    optimizer.register_step_pre_hook(lambda which, args, kwargs: ((which, lambda: 7), {}))
    assert optimizer.step() == 7
    optimizer.register_step_pre_hook(lambda *_: 5)
    with pytest.raises(OperandError, match=r"step_pre_hook: expected None or \(args, kwargs\)"):
        optimizer.step()
    with pytest.raises(OperandError, match="expected a function, got int"):
        optimizer.register_step_post_hook(5)


def test_hooks_run_around_a_step_of_a_class_of_its_own(parameter):
    class Still(nn.optim.Optimizer):
        def step(self, closure=None):
            return "still"

    for optimizer in (Still([parameter(1.0)], {}), nn.optim.LBFGS([parameter(1.0)])):
        seen = []
        optimizer.register_step_post_hook(lambda *_, seen=seen: seen.append(1))
        optimizer.step(lambda: fe.zeros(()))
        assert seen == [1]


def test_hooks_run_around_saving_and_loading(parameter):
    optimizer = nn.optim.SGD([parameter(1.0)], lr=0.5)
    seen = []
    optimizer.register_state_dict_pre_hook(lambda which: seen.append(("save", which)))
    optimizer.register_state_dict_post_hook(lambda _, state: {**state, "more": 1})
    optimizer.register_state_dict_post_hook(lambda _, state: state.pop("more", None) and None)
    optimizer.register_state_dict_post_hook(
        lambda _, state: seen.append(sorted(state)), prepend=True
    )
    state = optimizer.state_dict()
    assert seen == [("save", optimizer), ["param_groups", "state"]]
    assert sorted(state) == ["param_groups", "state"]

    def renamed(_, state):
        state["state"] = state.pop("old")

    optimizer.register_load_state_dict_pre_hook(renamed)
    optimizer.register_load_state_dict_post_hook(lambda which: seen.append(which.param_groups[0]))
    given = {"old": state["state"], "param_groups": [{**state["param_groups"][0], "lr": 2.0}]}
    optimizer.load_state_dict(given)
    assert "old" in given  # the hook got a copy
    assert seen[-1]["lr"] == 2.0


# ---- L-BFGS


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_finds_the_bottom_of_a_bowl(search):
    x = nn.Parameter(fe.zeros(3))
    optimizer = nn.optim.LBFGS([x], lr=0.5, line_search_fn=search)

    def closure():
        optimizer.zero_grad()
        loss = valley(x)
        loss.backward()
        return loss

    begun = valley(x).item()
    assert optimizer.step(closure).item() == begun
    optimizer.step(closure)
    np.testing.assert_allclose(x.detach().numpy(), [1, -2, 0.5], atol=1e-3)
    entry = optimizer.state_dict()["state"][0]
    assert entry["func_evals"] >= entry["n_iter"] > 0
    again = nn.optim.LBFGS([nn.Parameter(fe.zeros(3, dtype=fe.float64))])
    again.load_state_dict(optimizer.state_dict())
    kept = again.state_dict()["state"][0]
    assert kept["d"].dtype is kept["old_dirs"][0].dtype is fe.float64
    assert kept["old_dirs"] is not entry["old_dirs"]


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_lbfgs_comes_back_from_a_loss_that_is_no_number(parameter, value, search):
    x = parameter(1.0, 2.0)
    optimizer = nn.optim.LBFGS([x], line_search_fn=search)

    def closure():
        optimizer.zero_grad()
        loss = (x * value).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert not np.isfinite(x.detach().numpy()).all()


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_without_anywhere_to_go(parameter, search):
    for x, lr in ((parameter(), 1.0), (parameter(1.0), 0.0)):
        optimizer = nn.optim.LBFGS([x], lr=lr, line_search_fn=search)

        def closure(x=x, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (x**2).sum()
            loss.backward()
            return loss

        before = x.tolist()
        optimizer.step(closure)
        assert x.tolist() == before


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"lr": -1}, ArgumentError),
        ({"lr": None}, OperandError),
        ({"max_iter": -1}, ArgumentError),
        ({"max_iter": 1.5}, ArgumentError),
        ({"max_iter": "x"}, OperandError),
        ({"max_iter": float("inf")}, ArgumentError),
        ({"max_eval": -1}, ArgumentError),
        ({"max_eval": "x"}, OperandError),
        ({"tolerance_grad": "x"}, OperandError),
        ({"tolerance_change": float("nan")}, ArgumentError),
        ({"history_size": 0}, ArgumentError),
        ({"line_search_fn": "armijo"}, ArgumentError),
        ({"line_search_fn": 5}, ArgumentError),
    ],
)
def test_lbfgs_refuses(parameter, options, error):
    with pytest.raises(error, match=f"^LBFGS: expected {next(iter(options))} "):
        nn.optim.LBFGS([parameter(1.0)], **options)
    optimizer = nn.optim.LBFGS([parameter(1.0)])
    optimizer.param_groups[0] |= options
    with pytest.raises(error, match=f"^LBFGS: expected {next(iter(options))} "):
        optimizer.step(lambda: fe.ones(()))


def test_lbfgs_takes_one_group_and_a_closure(parameter):
    with pytest.raises(ArgumentError, match="LBFGS: expected one group of parameters"):
        nn.optim.LBFGS([{"params": [parameter(1.0)]}, {"params": [parameter(1.0)]}])
    optimizer = nn.optim.LBFGS([parameter(1.0)])
    for closure in (None, 5):
        with pytest.raises(OperandError, match="LBFGS: expected a function that works out the"):
            optimizer.step(closure)


@pytest.mark.parametrize(
    "change",
    [
        {"d": fe.zeros(2)},
        {"old_dirs": [fe.zeros(1)]},
        {"ro": None},
        {"n_iter": "x"},
        {"t": None},
        {"H_diag": fe.ones(2)},
    ],
)
def test_lbfgs_refuses_a_state_that_does_not_fit(parameter, change):
    x = parameter(1.0)
    optimizer = nn.optim.LBFGS([x])
    x.grad = fe.ones(1)
    optimizer.step(lambda: (x**2).sum())
    state = optimizer.state_dict()
    state["state"][0] = {**state["state"][0], **change}
    with pytest.raises(nn.StateDictError, match="LBFGS: parameter 0: "):
        optimizer.load_state_dict(state)
