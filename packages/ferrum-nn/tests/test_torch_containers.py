"""Containers, first values, clipping and parametrizations beside PyTorch's."""

import itertools
from collections import OrderedDict
from math import inf

import numpy as np
import pytest
from beside_torch import both_refuse, close, same_gradients, torch

import ferrum as fe
import ferrum_nn as nn

pytestmark = pytest.mark.torch

BOTH = ((nn, fe), (torch.nn, torch))


def alike(build):
    """Check that both libraries make the same of `build(nn, fe)`: looks, names, order."""
    ours, theirs = (build(*each) for each in BOTH)
    assert repr(ours) == repr(theirs).replace("torch.FloatTensor", "float32").replace("torch.", "")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for method in ("named_parameters", "named_modules", "named_children"):
        assert [name for name, _ in getattr(ours, method)()] == [
            name for name, _ in getattr(theirs, method)()
        ]
    return ours, theirs


# ---- containers


def change(modules, lib):
    """Do everything that both sequences can."""
    modules.append(lib.Tanh())
    modules.insert(1, lib.Linear(3, 3))
    modules.extend([lib.Identity(), lib.Linear(3, 2)])
    modules += type(modules)()
    modules[0] = lib.Linear(2, 3, bias=False)
    del modules[3]
    del modules[-2:]
    modules.pop(-1)
    return modules


@pytest.mark.parametrize("name", ["Sequential", "ModuleList"])
def test_sequences(name):
    def build(lib, _):
        kind = getattr(lib, name)
        layers = [lib.Linear(2, 3), lib.ReLU(), lib.ReLU()]
        return change(kind(*layers) if name == "Sequential" else kind(layers), lib)

    alike(build)
    alike(lambda lib, _: build(lib, _)[1:])
    alike(lambda lib, _: build(lib, _)[::-1])
    alike(lambda lib, _: build(lib, _) + build(lib, _))


LEFT_OUT = {
    "T_destination",
    "call_super_init",
    "compile",
    "dump_patches",
    "ipu",
    "mtia",
    "register_backward_hook",
    "share_memory",
    "xpu",
}


@pytest.mark.parametrize(
    "name",
    ["Module", "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"],
)
def test_every_method_is_there_or_left_out(name):
    ours, theirs = getattr(nn, name), getattr(torch.nn, name)
    names = {each for each in dir(theirs) if not each.startswith("_")}
    assert {each for each in names if not hasattr(ours, each)} == LEFT_OUT
    for special in ("add", "contains", "delitem", "getitem", "iadd", "imul", "ior", "iter", "len"):
        method = f"__{special}__"
        assert not hasattr(theirs, method) or hasattr(ours, method)


def test_multiplied_sequentials_and_named_ones():
    def build(lib, _):
        net = lib.Sequential(OrderedDict(a=lib.Linear(1, 1), b=lib.ReLU()))
        return lib.Sequential(net, net * 2, 2 * net[:1], net + net)

    alike(build)


def test_dicts():
    def modules(lib, _):
        table = lib.ModuleDict({"b": lib.ReLU(), "a": lib.Linear(1, 2)})
        table["c"] = lib.Tanh()
        table.update([("d", lib.Linear(1, 1)), ("b", lib.Sigmoid())])
        table.update(OrderedDict(e=lib.Identity()))
        table.pop("c")
        return table

    def parameters(lib, t):
        table = lib.ParameterDict({"b": t.ones(2), "a": t.ones(1), "x": 3})
        table.update(OrderedDict(z=t.ones(2, 3), y=t.ones(())))
        table |= {"q": t.ones(1)}
        table.setdefault("w", t.zeros(4))
        table.pop("a")
        return lib.ModuleDict({"one": table, "two": table.copy(), "three": table | {"u": 5}})

    def lists(lib, t):
        values = lib.ParameterList([t.ones(2), "text"])
        values.append(t.ones(1)).extend([t.zeros(2, 2)])
        values[0] = t.ones(3)
        return lib.ModuleList([values, values[1:], lib.ParameterList()])

    for build in (modules, parameters, lists):
        alike(build)


@pytest.mark.parametrize(
    "call",
    [
        lambda lib: lib.ModuleList([lib.ReLU()])[1],
        lambda lib: lib.ModuleList([5]),
        lambda lib: lib.ModuleList().extend(5),
        lambda lib: lib.ModuleList()["a"],
        lambda lib: lib.Sequential() + lib.ModuleList([lib.ReLU()]),
        lambda lib: lib.Sequential() * 0,
        lambda lib: lib.Sequential() * "a",
        lambda lib: lib.Sequential().insert(1, lib.ReLU()),
        lambda lib: lib.Sequential().pop(0),
        lambda lib: lib.ParameterList([1])[2],
        lambda lib: lib.ParameterList(5),
        lambda lib: lib.ParameterDict([1]),
        lambda lib: lib.ParameterDict({"a": 1}).update(7),
        lambda lib: lib.ModuleDict(7),
        lambda lib: lib.ModuleDict([("a", 5)]),
        lambda lib: lib.Sequential(lib.ReLU()).set_submodule("", lib.ReLU()),
    ],
)
def test_both_refuse(call):
    both_refuse(lambda: call(nn), lambda: call(torch.nn))


# ---- first values


WEIGHTS = [(40, 30), (30, 40), (20, 10, 3), (10, 20, 2, 2)]
LAWS = [
    ("uniform_", {"a": -1, "b": 3}),
    ("normal_", {"mean": 2, "std": 0.5}),
    ("trunc_normal_", {}),
    ("trunc_normal_", {"mean": 1, "std": 2, "a": 0.5, "b": 1}),
    ("xavier_uniform_", {"gain": 2}),
    ("xavier_normal_", {}),
    *[
        (f"kaiming_{law}_", {"mode": mode, "nonlinearity": kind, "a": 0.3})
        for law in ("uniform", "normal")
        for mode in ("fan_in", "fan_out")
        for kind in ("relu", "leaky_relu")
    ],
    ("orthogonal_", {"gain": 3}),
]


@pytest.mark.parametrize(("name", "options"), LAWS)
@pytest.mark.parametrize("shape", WEIGHTS)
def test_first_values_have_pytorchs_moments(name, options, shape):
    ours, theirs = (
        [
            getattr(lib.init, name)(t.zeros(shape, dtype=t.float64), **options, generator=source)
            for _ in range(12)
        ]
        for (lib, t), source in zip(
            BOTH, (fe.Generator(0), torch.Generator().manual_seed(0)), strict=True
        )
    )
    a, b = (np.stack([each.numpy() for each in some]) for some in (ours, theirs))
    scale = b.std()
    assert a.mean() == pytest.approx(b.mean(), abs=0.06 * scale)
    assert a.std() == pytest.approx(scale, rel=0.05)
    if "normal" not in name or "trunc" in name:
        assert np.abs(a).max() == pytest.approx(np.abs(b).max(), rel=0.25)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
def test_eye_sparse_and_constants(shape):
    for name, args in (("eye_", ()), ("zeros_", ()), ("ones_", ()), ("constant_", (0.3,))):
        ours, theirs = (getattr(lib.init, name)(t.full(shape, 7.0), *args) for lib, t in BOTH)
        close(ours, theirs)
    for sparsity in (0.0, 0.1, 0.5, 0.9, 1.0):
        ours, theirs = (lib.init.sparse_(t.ones(shape), sparsity) for lib, t in BOTH)
        assert (ours == 0).sum(0).tolist() == (theirs == 0).sum(0).tolist()


@pytest.mark.parametrize("kernel", [(3,), (2, 4), (1, 3, 5)])
@pytest.mark.parametrize(
    ("outputs", "inputs", "groups"), [(4, 4, 1), (4, 2, 2), (2, 5, 1), (6, 1, 3)]
)
def test_dirac(outputs, inputs, groups, kernel):
    ours, theirs = (
        lib.init.dirac_(t.full((outputs, inputs, *kernel), 7.0), groups) for lib, t in BOTH
    )
    close(ours, theirs)


def test_gains():
    for name in ("linear", "conv2d", "conv_transpose1d", "sigmoid", "tanh", "relu", "selu"):
        assert nn.init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    for slope in (None, 0.2, 1):
        ours, theirs = (lib.init.calculate_gain("leaky_relu", slope) for lib, _ in BOTH)
        assert ours == theirs


@pytest.mark.parametrize(
    "call",
    [
        lambda init, t: init.eye_(t.zeros(2)),
        lambda init, t: init.dirac_(t.zeros(2, 2)),
        lambda init, t: init.dirac_(t.zeros(3, 2, 1), 2),
        lambda init, t: init.xavier_normal_(t.zeros(3)),
        lambda init, t: init.kaiming_normal_(t.zeros(3, 3), mode="both"),
        lambda init, t: init.kaiming_normal_(t.zeros(3, 3), nonlinearity="gelu"),
        lambda init, t: init.orthogonal_(t.zeros(3)),
        lambda init, t: init.sparse_(t.zeros(3), 0.1),
        lambda init, t: init.normal_(t.zeros(3), 0, -1),
        lambda init, t: init.uniform_(t.zeros(3), 1, 0),
        lambda init, t: init.calculate_gain("leaky_relu", "a"),
    ],
)
def test_both_refuse_to_write(call):
    both_refuse(lambda: call(nn.init, fe), lambda: call(torch.nn.init, torch))


# ---- utils


def models(seed, dtype):
    rng = np.random.default_rng(seed)
    ours, theirs = [], []
    for shape in ((3, 4), (), (5,), (2, 1, 3)):
        grad = rng.normal(size=shape) * 3
        ours.append(nn.Parameter(fe.zeros(shape, dtype=dtype)))
        theirs.append(torch.nn.Parameter(torch.zeros(shape, dtype=getattr(torch, dtype))))
        ours[-1].grad = fe.tensor(grad, dtype=dtype)
        theirs[-1].grad = torch.tensor(grad, dtype=getattr(torch, dtype))
    ours.append(nn.Parameter(fe.zeros(2)))
    theirs.append(torch.nn.Parameter(torch.zeros(2)))
    return ours, theirs


TOLERANCE = {"float64": 1e-14, "float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("norm_type", [2, 2.0, 1, 0.5, 3.5, -2, 0, inf, -inf, "inf"])
@pytest.mark.parametrize("max_norm", [0, 0.7, 1e6])
def test_clip_grad_norm(max_norm, norm_type, dtype):
    ours, theirs = models(1, dtype)
    one = nn.utils.clip_grad_norm_(ours, max_norm, norm_type)
    two = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    wide = TOLERANCE[dtype] * (4 if norm_type == 0.5 else 1)
    assert one.dtype.name == str(two.dtype).removeprefix("torch.")
    assert one.item() == pytest.approx(two.item(), rel=wide)
    for a, b in zip(ours[:-1], theirs[:-1], strict=True):
        assert a.grad.dtype.name == dtype
        np.testing.assert_allclose(
            a.grad.double().numpy(), b.grad.double().numpy(), rtol=2 * wide, atol=1e-7
        )
    assert ours[-1].grad is theirs[-1].grad is None


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("clip_value", [0, 0.7, 1e4])
def test_clip_grad_value(clip_value, dtype):
    ours, theirs = models(2, dtype)
    nn.utils.clip_grad_value_(ours, clip_value)
    torch.nn.utils.clip_grad_value_(theirs, clip_value)
    for a, b in zip(ours[:-1], theirs[:-1], strict=True):
        np.testing.assert_array_equal(a.grad.double().numpy(), b.grad.double().numpy())


def test_norms_of_several_dtypes():
    for one, two in itertools.product(TOLERANCE, TOLERANCE):
        ours, theirs = (
            lib.utils.get_total_norm(
                [t.ones(2, dtype=getattr(t, one)), t.ones(3, dtype=getattr(t, two))]
            )
            for lib, t in BOTH
        )
        assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-2)


def test_vectors():
    ours, theirs = models(3, "float64")
    ours, theirs = ours[:-1], theirs[:-1]
    one = nn.utils.parameters_to_vector(ours)
    two = torch.nn.utils.parameters_to_vector(theirs)
    close(one, two)
    same_gradients(one * one, two * two, ours, theirs)
    data = np.arange(24.0)
    nn.utils.vector_to_parameters(fe.tensor(data), ours)
    torch.nn.utils.vector_to_parameters(torch.tensor(data), theirs)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)


# ---- parametrizations


def parts(lib):
    class Symmetric(lib.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).mT

        def right_inverse(self, x):
            return x.triu()

    class Scaled(lib.Module):
        def __init__(self):
            super().__init__()
            self.linear = lib.Linear(3, 3, bias=False)

        def forward(self, x):
            return self.linear(x).tanh()

    class Outer(lib.Module):
        def forward(self, x, y):
            return x.unsqueeze(-1) * y

        def right_inverse(self, z):
            return z[:, 0], z[0]

    return Symmetric(), Scaled(), Outer()


@pytest.mark.parametrize("chosen", [(0,), (1,), (0, 1), (1, 0), (2,), (2, 1)])
def test_parametrized_layers(chosen):
    def build(lib, t):
        layer = lib.Linear(3, 3).double()
        made = parts(lib)
        for i in chosen:
            lib.utils.parametrize.register_parametrization(layer, "weight", made[i].double())
        return layer

    ours, theirs = alike(build)
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    data = np.random.default_rng(5).normal(size=(2, 3))
    x, y = fe.tensor(data), torch.tensor(data)
    close(ours.weight, theirs.weight)
    same_gradients(ours(x), theirs(y), [*ours.parameters()], [*theirs.parameters()])
    for lib, layer in ((nn, ours), (torch.nn, theirs)):
        lib.utils.parametrize.remove_parametrizations(layer, "weight")
    close(ours.weight, theirs.weight)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_assigned_parametrizations():
    data = np.random.default_rng(6).normal(size=(3, 3))
    for i in (0, 2):
        layers = []
        for lib, t in BOTH:
            layer = lib.Linear(3, 3).double()
            lib.utils.parametrize.register_parametrization(layer, "weight", parts(lib)[i])
            layer.weight = t.tensor(data)
            layers.append(layer)
        ours, theirs = layers
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for name, each in ours.state_dict().items():
            if name != "bias":
                close(each, theirs.state_dict()[name])


# ---- state


def test_extra_state_and_hooks_are_called_alike():
    def build(lib, t):
        class Counted(lib.Module):
            def __init__(self):
                super().__init__()
                self.weight = lib.Parameter(t.ones(1))
                self.inner = lib.Linear(1, 1)
                self.count = 3

            def get_extra_state(self):
                return self.count

            def set_extra_state(self, state):
                self.count = state

        net = lib.Sequential(Counted())
        seen = []
        net[0].register_state_dict_pre_hook(lambda m, *args: seen.append(args))
        net[0].register_state_dict_post_hook(lambda m, d, p, _: seen.append((list(d), p)))
        net[0].register_load_state_dict_pre_hook(
            lambda m, d, p, _, __, *lists: seen.append((list(d), p, [*map(list, lists)]))
        )
        net[0].register_load_state_dict_post_hook(lambda m, keys: seen.append(list(keys)))
        state = net.state_dict(prefix="a.")
        seen.append(list(state))
        state = net.state_dict()
        state["0._extra_state"] = 8
        state.pop("0.inner.bias")
        net.load_state_dict(state, strict=False)
        return seen, net[0].count

    assert build(nn, fe) == build(torch.nn, torch)


def test_assigning_a_state_dict():
    ours, theirs = nn.Linear(2, 1), torch.nn.Linear(2, 1)
    theirs.load_state_dict({k: v.double() for k, v in theirs.state_dict().items()}, assign=True)
    ours.load_state_dict(theirs.state_dict(), assign=True)
    close(ours.weight, theirs.weight)
    assert ours.weight.requires_grad is theirs.weight.requires_grad is True
