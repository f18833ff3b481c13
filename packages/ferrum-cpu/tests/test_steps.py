"""Optimizers' steps: the bits of the ops' fallbacks."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

import ferrum as fe
from ferrum_cpu.library import ISAS, isa, lib
from ferrum_nn import ops
from ferrum_nn.ops import steps

DTYPES = [np.dtype(name) for name in ("f2", "f4", "f8")] + [np.dtype(ml_dtypes.bfloat16)]
SHAPES = [(2, 8), (), (0, 3), (7, 5), (1500,), (33, 1100)]
SGD = {
    "lr": 0.1,
    "momentum": 0.0,
    "dampening": 0.0,
    "weight_decay": 0.0,
    "nesterov": False,
    "maximize": False,
}
ADAM = {
    "lr": 0.01,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "weight_decay": 0.0,
    "amsgrad": False,
    "maximize": False,
    "decoupled_weight_decay": False,
}


@pytest.fixture(params=ISAS)
def each_isa(request: pytest.FixtureRequest):
    if not lib.isa_choose(request.param.encode()):
        pytest.skip(f"this processor does not run {request.param}")
    yield request.param
    lib.isa_choose(isa.encode())


def layouts(x: np.ndarray) -> list[np.ndarray]:
    """Return x in several layouts."""
    if x.ndim < 2:
        return [x, np.repeat(x, 2, -1)[..., ::2] if x.ndim else x]
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return [x, x.T.copy().T, x[::-1].copy()[::-1], wide[..., ::2]]


def tensors(rng, dtype, layout, positive=False):
    made = [np.asarray(rng.standard_normal(shape)).astype(dtype) for shape in SHAPES]
    made = [np.asarray(abs(x)) if positive else x for x in made]
    return [_wrap(layouts(x)[layout % len(layouts(x))]) for x in made]


def _wrap(x: np.ndarray):
    return fe.base.Tensor(x, fe.device("cpu"))


def copies(lists):
    return [[_wrap(each.numpy().copy()) for each in tensors] for tensors in lists]


def check(op, lists, attrs):
    """Run the kernel and the fallback, twice each, and compare all bits."""
    native, composed = lists, copies(lists)
    with fe.no_grad(), fe.strict():
        for _ in range(2):
            op(*native, **attrs)
    with fe.no_grad():
        for _ in range(2):
            op.compose(*composed, **attrs)
    for ours, theirs in zip(native, composed, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.numpy().tobytes() == b.numpy().tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.1, "maximize": True},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01},
        {"momentum": 0.9, "nesterov": True, "maximize": True},
    ],
    ids=str,
)
def test_sgd_has_the_bits_of_its_fallback(each_isa, dtype, options):
    rng = np.random.default_rng(0)
    for layout in range(4):
        attrs = {**SGD, **options}
        lists = [tensors(rng, dtype, 0), tensors(rng, dtype, layout)]
        check(steps.sgd_step, [*lists, tensors(rng, dtype, 0) if attrs["momentum"] else []], attrs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"betas": (0.0, 0.5), "weight_decay": 0.1, "maximize": True},
        {"amsgrad": True, "eps": 1e-3},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    ids=str,
)
def test_adam_has_the_bits_of_its_fallback(each_isa, dtype, options):
    rng = np.random.default_rng(1)
    attrs = {**ADAM, **options}
    for layout in range(4):
        lists = [
            tensors(rng, dtype, 0),
            tensors(rng, dtype, layout),
            [_wrap(np.array(i, np.float32)) for i in range(len(SHAPES))],
            tensors(rng, dtype, 0),
            tensors(rng, dtype, 0, positive=True),
            tensors(rng, dtype, 0, positive=True) if attrs["amsgrad"] else [],
        ]
        check(steps.adam_step, lists, attrs)


PLAIN = {"lr": 0.01, "weight_decay": 0.0, "maximize": False}
BETAS = {"betas": (0.9, 0.999), "eps": 1e-8}
COUPLED = {**BETAS, "decoupled_weight_decay": False}
OTHERS = {
    "adadelta": ("tvv", {"rho": 0.9, "eps": 1e-6}),
    "adagrad": ("tv", {"lr_decay": 0.1, "eps": 1e-8}),
    "adamax": ("tmv", BETAS),
    "lion": ("m", {"betas": (0.9, 0.99)}),
    "nadam": ("tumv", {**COUPLED, "momentum_decay": 0.004}),
    "radam": ("tmv", COUPLED),
    "rmsprop": ("tv--", {"alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "centered": False}),
}
CHANGES = [("-", {}), ("-", {"weight_decay": 0.1, "maximize": True})]
CASES = [(name, *change) for name in OTHERS for change in CHANGES]
CASES += [(name, "-", {"betas": (0.0, 0.5)}) for name in ("adamax", "lion", "nadam", "radam")]
DECOUPLED = {"weight_decay": 0.1, "decoupled_weight_decay": True}
CASES += [("nadam", "-", DECOUPLED), ("radam", "-", DECOUPLED)]
CASES += [
    ("rmsprop", "tvm-", {"momentum": 0.9}),
    ("rmsprop", "tv-a", {"centered": True}),
    ("rmsprop", "tvma", {"momentum": 0.9, "centered": True, "maximize": True}),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "state", "options"), CASES, ids=str)
def test_the_others_have_the_bits_of_their_fallbacks(each_isa, dtype, name, state, options):
    """t counts, u is a product of momenta, m a mean, v one of squares, a small; - is left out."""
    rng = np.random.default_rng(3)
    kept, attrs = OTHERS[name]
    for layout in range(4):
        made = {
            "t": [_wrap(np.array(2 * i, np.float32)) for i in range(len(SHAPES))],
            "u": [_wrap(np.array(0.5, np.float32)) for _ in SHAPES],
            "m": tensors(rng, dtype, 0),
            "a": [x * 0.01 for x in tensors(rng, dtype, 0)],
            "-": [],
        }
        lists = [tensors(rng, dtype, 0), tensors(rng, dtype, layout)]
        lists += [
            tensors(rng, dtype, 0, positive=True) if key == "v" else made[key]
            for key in (state if "v" in state else kept)
        ]
        check(getattr(ops, f"{name}_step"), lists, PLAIN | attrs | options)


def test_bits_do_not_depend_on_threads():
    found = []
    for threads in (1, 2, 5):
        lib.threads_set(threads)
        rng = np.random.default_rng(2)
        p, g, m, v = (_wrap(abs(rng.standard_normal(200_001, np.float32))) for _ in range(4))
        t = _wrap(np.zeros((), np.float32))
        with fe.no_grad():
            steps.adam_step([p], [g], [t], [m], [v], [], **ADAM)
        found.append(p.numpy().tobytes())
    lib.threads_set(2)
    assert found[0] == found[1] == found[2]


def test_adam_moves_by_its_formula():
    p, g = _wrap(np.array([1.0, -2.0])), _wrap(np.array([0.5, -0.25]))
    t, m, v = _wrap(np.zeros(())), _wrap(np.zeros(2)), _wrap(np.zeros(2))
    with fe.no_grad():
        for _ in range(3):
            steps.adam_step([p], [g], [t], [m], [v], [], **ADAM)
    assert t.item() == 3
    for param, grad, first, second in zip(
        (1.0, -2.0), (0.5, -0.25), m.tolist(), v.tolist(), strict=True
    ):
        assert first == pytest.approx(grad * (1 - 0.9**3), rel=1e-12)
        assert second == pytest.approx(grad**2 * (1 - 0.999**3), rel=1e-12)
        param -= 3 * 0.01 * math.copysign(1, grad)
        assert param == pytest.approx(p.tolist()[0 if grad > 0 else 1], rel=1e-7)


def test_a_parameter_that_comes_twice_is_moved_twice():
    p, g = _wrap(np.ones(3)), _wrap(np.ones(3))
    with fe.no_grad():
        steps.sgd_step([p, p], [g, g], [], **SGD)
    assert p.tolist() == [0.8, 0.8, 0.8]


def test_what_overlaps_or_is_not_dense_is_left_to_the_fallback():
    memory = np.arange(6.0)
    p, g = _wrap(memory[:4]), _wrap(memory[2:])
    with fe.no_grad():
        steps.sgd_step([p], [g], [], **SGD)
    assert memory.tolist()[:4] == pytest.approx([-0.2, 0.7, 1.6, 2.5])
    p = _wrap(np.ones((2, 3)).T)
    with fe.no_grad():
        steps.sgd_step([p], [_wrap(np.ones((3, 2)))], [], **SGD)
    assert p.tolist() == [[0.9, 0.9]] * 3


def test_read_only_memory_is_refused_and_stays():
    frozen = np.ones(3)
    frozen.flags.writeable = False
    with fe.no_grad(), pytest.raises(fe.errors.ArgumentError, match="read-only"):
        steps.sgd_step([_wrap(frozen)], [_wrap(np.ones(3))], [], **SGD)
    assert frozen.tolist() == [1, 1, 1]
