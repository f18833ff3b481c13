"""Modules, layers and losses beside PyTorch's: names, values, gradients of two orders, errors."""

import itertools

import numpy as np
import pytest
from beside_torch import both_refuse, close, pair, same_gradients, torch

import ferrum as fe
import ferrum_nn as nn

pytestmark = pytest.mark.torch

REDUCTIONS = ("none", "mean", "sum")


# ---- layers


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (0, 3), (2, 0, 3)])
def test_linear(shape, bias):
    theirs = torch.nn.Linear(3, 4, bias=bias, dtype=torch.float64)
    ours = nn.Linear(3, 4, bias=bias, dtype=fe.float64)
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    x, y = pair(np.random.default_rng(0).normal(size=shape))
    close(ours(x), theirs(y))
    same_gradients(ours(x), theirs(y), [x, *ours.parameters()], [y, *theirs.parameters()])


def test_linear_starts_in_the_same_range():
    theirs, ours = torch.nn.Linear(7, 4000), nn.Linear(7, 4000)
    for mine, yours in zip(ours.parameters(), theirs.parameters(), strict=True):
        a, b = mine.detach().numpy(), yours.detach().numpy()
        for statistic in (np.std, np.max, np.min):
            assert statistic(a) == pytest.approx(statistic(b), rel=0.03)


@pytest.mark.parametrize(
    ("name", "args"),
    [("ReLU", ()), ("Tanh", ()), ("Sigmoid", ()), ("Identity", ()), ("Flatten", (0, 1))],
)
def test_layers_without_parameters(name, args):
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    assert repr(ours) == repr(theirs)
    x, y = pair(np.random.default_rng(1).normal(size=(2, 3, 4)))
    close(ours(x), theirs(y))
    same_gradients(ours(x), theirs(y), [x], [y])


def test_kaiming_uniform_has_pytorchs_bound():
    for mode, (name, a) in itertools.product(
        ("fan_in", "fan_out"), [("leaky_relu", 0.3), ("relu", 0), ("tanh", 0), ("linear", 0)]
    ):
        ours, theirs = fe.zeros(300, 40), torch.zeros(300, 40)
        nn.init.kaiming_uniform_(ours, a, mode, name)
        torch.nn.init.kaiming_uniform_(theirs, a, mode, name)
        assert ours.abs().amax().item() == pytest.approx(theirs.abs().max().item(), rel=1e-2)
        assert nn.init.calculate_gain(name, a) == torch.nn.init.calculate_gain(name, a)


# ---- modules


class OurNet(nn.Module):
    def __init__(self):
        self.body = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
        self.scale = nn.Parameter(fe.ones(3))
        self.layers = [nn.Linear(3, 3), nn.Linear(3, 1, bias=False)]
        self.table = {"a": nn.Linear(1, 1)}
        self.gains = [nn.Parameter(fe.ones(1)), nn.Parameter(fe.ones(2))]
        self.register_buffer("mean", fe.zeros(2))
        self.register_buffer("hidden", fe.zeros(2), persistent=False)


class TheirNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh())
        self.scale = torch.nn.Parameter(torch.ones(3))
        self.layers = torch.nn.ModuleList(
            [torch.nn.Linear(3, 3), torch.nn.Linear(3, 1, bias=False)]
        )
        self.table = torch.nn.ModuleDict({"a": torch.nn.Linear(1, 1)})
        self.gains = torch.nn.ParameterList([torch.ones(1), torch.ones(2)])
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("hidden", torch.zeros(2), persistent=False)


def test_names_and_their_order_are_pytorchs():
    ours, theirs = OurNet(), TheirNet()
    for method in ("named_parameters", "named_buffers"):
        assert [name for name, _ in getattr(ours, method)()] == [
            name for name, _ in getattr(theirs, method)()
        ]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    for name, each in ours.state_dict().items():
        close(each, theirs.state_dict()[name])


def test_pytorch_loads_our_state():
    ours, theirs = OurNet(), TheirNet()
    state = {name: torch.from_dlpack(each) for name, each in ours.state_dict().items()}
    theirs.load_state_dict(state)
    close(ours.layers[0].weight, theirs.layers[0].weight)


def test_both_name_the_same_keys():
    state = {"scale": np.ones(4), "new": np.ones(1)}
    ours = {name: fe.tensor(each) for name, each in state.items()}
    theirs = {name: torch.tensor(each) for name, each in state.items()}
    with pytest.raises(RuntimeError) as caught:
        TheirNet().load_state_dict(theirs)
    error = both_refuse(
        lambda: OurNet().load_state_dict(ours), lambda: TheirNet().load_state_dict(theirs)
    )
    for key in (*error.missing_keys, *error.unexpected_keys, "scale"):
        assert key in str(caught.value)
        assert key in str(error)


def test_repr():
    def build(lib):
        inner = lib.Sequential(lib.Linear(2, 3, bias=False), lib.ReLU(inplace=True))
        return lib.Sequential(inner, lib.Flatten(), lib.CrossEntropyLoss(), lib.MSELoss())

    assert repr(build(nn)) == repr(build(torch.nn))


def run_with_hooks(lib, tensor, grad_of):
    """Return what hooks of every kind saw, as lists."""
    seen = []
    net = lib.Sequential(lib.Linear(2, 3), lib.Tanh(), lib.Linear(3, 1)).double()
    for i, parameter in enumerate(net.parameters()):
        parameter.requires_grad_(False)
        parameter.copy_(tensor(np.cos(np.arange(parameter.numel()) + i)).reshape(parameter.shape))
        parameter.requires_grad_()

    def listed(*values):
        return [[None if v is None else v.tolist() for v in value] for value in values]

    net[0].register_full_backward_hook(lambda m, gi, go: seen.append(listed(gi, go)))
    net[1].register_full_backward_hook(lambda m, gi, go: (gi[0] * 2,))
    net[1].register_full_backward_pre_hook(lambda m, go: (go[0] + 1,))
    net[2].register_full_backward_hook(lambda m, gi, go: seen.append(listed(gi, go)))
    net[1].register_forward_pre_hook(lambda m, args: (args[0] * 3,))
    net[1].register_forward_hook(lambda m, args, out: out + 1)
    x = tensor(np.ones((2, 2)))
    x.requires_grad_()
    net(x).sum().backward()
    return [*seen, x.grad.tolist(), *[p.grad.tolist() for p in net.parameters()]]


def test_hooks():
    ours = run_with_hooks(nn, fe.tensor, fe.grad)
    theirs = run_with_hooks(torch.nn, torch.tensor, torch.autograd.grad)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        for x, y in zip(flat(a), flat(b), strict=True):
            assert x == pytest.approx(y, rel=1e-12)


def flat(value):
    if isinstance(value, (list, tuple)):
        return [leaf for each in value for leaf in flat(each)]
    return [value]


# ---- losses


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0, 3)])
def test_mse_loss(shape, reduction):
    rng = np.random.default_rng(2)
    (x, y), (a, b) = (pair(rng.normal(size=shape)) for _ in range(2))
    ours = nn.MSELoss(reduction=reduction)(x, a)
    theirs = torch.nn.MSELoss(reduction=reduction)(y, b)
    close(ours, theirs)
    same_gradients(ours, theirs, [x, a], [y, b])


def problem(seed, shape, classes, weighted, ignored):
    rng = np.random.default_rng(seed)
    x = rng.normal(scale=2, size=(shape[0], classes, *shape[1:]))
    target = rng.integers(0, classes, shape)
    if ignored is not None:
        target[rng.random(shape) < 0.3] = ignored
    return x, target, rng.uniform(0.2, 2, classes) if weighted else None


OPTIONS = list(itertools.product(REDUCTIONS, (0.0, 0.2), (False, True), (None, -100, 1)))


@pytest.mark.parametrize(("reduction", "smoothing", "weighted", "ignored"), OPTIONS)
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 2, 2)])
def test_cross_entropy_with_indices(shape, reduction, smoothing, weighted, ignored):
    x, target, weight = problem(3, shape, 4, weighted, ignored)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    options["ignore_index"] = -100 if ignored is None else ignored
    (ours, theirs), (t, u), (w, v) = pair(x), pair(target), pair(weight, requires_grad=False)
    one = nn.CrossEntropyLoss(w, **options)(ours, t)
    two = torch.nn.CrossEntropyLoss(v, **options)(theirs, u)
    close(one, two)
    same_gradients(one, two, [ours], [theirs])


@pytest.mark.parametrize(
    ("reduction", "smoothing", "weighted"), [*itertools.product(REDUCTIONS, (0.0, 0.2), (0, 1))]
)
@pytest.mark.parametrize("shape", [(4,), (5, 4), (3, 4, 2)])
def test_cross_entropy_with_probabilities(shape, reduction, smoothing, weighted):
    rng = np.random.default_rng(4)
    x, q = rng.normal(size=shape), rng.uniform(size=shape)
    weight = rng.uniform(0.2, 2, 4) if weighted else None
    options = {"reduction": reduction, "label_smoothing": smoothing}
    (ours, theirs), (t, u), (w, v) = pair(x), pair(q), pair(weight, requires_grad=False)
    one = nn.CrossEntropyLoss(w, **options)(ours, t)
    two = torch.nn.CrossEntropyLoss(v, **options)(theirs, u)
    close(one, two)
    same_gradients(one, two, [ours, t], [theirs, u])


@pytest.mark.parametrize(("reduction", "weighted"), [*itertools.product(REDUCTIONS, (0, 1))])
@pytest.mark.parametrize("shape", [(5,), (3, 4)])
def test_nll_loss(shape, reduction, weighted):
    x, target, weight = problem(5, shape, 3, weighted, 2)
    options = {"reduction": reduction, "ignore_index": 2}
    (ours, theirs), (t, u), (w, v) = pair(x), pair(target), pair(weight, requires_grad=False)
    one = nn.functional.nll_loss(ours, t, w, **options)
    two = torch.nn.functional.nll_loss(theirs, u, v, **options)
    close(one, two)
    same_gradients(one, two, [ours], [theirs])


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_losses_of_nothing_and_of_nothing_but_ignored(reduction):
    for x, target in ((np.zeros((0, 3)), np.zeros(0, int)), (np.ones((2, 3)), np.full(2, -100))):
        (ours, theirs), (t, u) = pair(x), pair(target)
        one = nn.functional.cross_entropy(ours, t, reduction=reduction)
        two = torch.nn.functional.cross_entropy(theirs, u, reduction=reduction)
        close(one, two)
        one.sum().backward()
        two.sum().backward()
        close(ours.grad, theirs.grad)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_narrow_losses(dtype):
    x, target, _ = problem(6, (50,), 5, False, None)
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 1e-6}[dtype]
    ours = fe.tensor(x, dtype=dtype, requires_grad=True)
    theirs = torch.tensor(x, dtype=getattr(torch, dtype), requires_grad=True)
    one = nn.functional.cross_entropy(ours, fe.tensor(target))
    two = torch.nn.functional.cross_entropy(theirs, torch.tensor(target))
    one.backward()
    two.backward()
    assert one.dtype.name == dtype
    assert one.item() == pytest.approx(two.item(), rel=tolerance)
    np.testing.assert_allclose(
        ours.grad.to(fe.float64).numpy(), theirs.grad.double().numpy(), atol=tolerance / 10
    )


@pytest.mark.parametrize(
    ("x", "target", "options"),
    [
        ((2, 3), [0, 3], {}),
        ((2, 3), [0, -1], {}),
        ((2, 3), [0, 1, 2], {}),
        ((2, 3), [[0, 1]], {}),
        ((), 0, {}),
        ((2, 3), [0, 1], {"reduction": "average"}),
        ((2, 3), [0, 1], {"label_smoothing": 1.5}),
        ((2, 3), [0, 1], {"weight": 2}),
        ((2, 3), [0.5, 0.5], {}),
        ((2, 3), [[0.5] * 3] * 2, {"weight": 2}),
        ((2, 3), [[0.5] * 3] * 2, {"ignore_index": 2}),
    ],
)
def test_both_refuse(x, target, options):
    def call(lib, function):
        kwargs = dict(options)
        if "weight" in kwargs:
            kwargs["weight"] = lib.ones(kwargs["weight"])
        return function(lib.zeros(x), lib.tensor(target), **kwargs)

    both_refuse(
        lambda: call(fe, nn.functional.cross_entropy),
        lambda: call(torch, torch.nn.functional.cross_entropy),
    )
