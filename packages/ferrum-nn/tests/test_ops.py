"""The ops of ferrum_nn, each on its own samples, and what is special about some."""

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import FerrumError, GradientError
from ferrum.op import OPS
from ferrum.plugins import load_ops
from ferrum.samples import Input, Sampler

NAMES = [f"nn.{name}" for name in nn.ops.__all__]
SAMPLES = [
    pytest.param(OPS[name], sample, id=f"{name}-{i}")
    for name in NAMES
    for i, sample in enumerate(OPS[name].sampler(Sampler(name)))
]
GOOD = [each for each in SAMPLES if each.values[1].error is None]
BAD = [each for each in SAMPLES if each.values[1].error is not None]
SMOOTH = [each for each in GOOD if each.values[1].smooth and not each.values[0].writes]


def tensors(operand, requires_grad=False):
    """Return a sample's operand with float64 tensors for its inputs."""
    if isinstance(operand, list):
        return [tensors(each, requires_grad) for each in operand]
    if not isinstance(operand, Input):
        return operand
    x = fe.tensor(operand.values.astype(operand.dtype or np.float64))
    return x.requires_grad_() if requires_grad and x.dtype is fe.float64 else x


def test_the_entry_point_loads_them():
    assert load_ops() == {}
    assert {name for name in OPS if name.startswith("nn.")} == set(NAMES)


@pytest.mark.parametrize(("op", "sample"), GOOD)
def test_the_result_is_what_the_rule_says(op, sample):
    args = [tensors(each) for each in sample.inputs]
    specs = op.rule(*args, **sample.attrs)
    result = op(*args, **sample.attrs)
    outs = result if isinstance(result, tuple) else (result,)
    specs = specs if specs.__class__ is tuple else (specs,)
    assert [(out.shape, out.dtype) for out in outs] == [tuple(spec) for spec in specs]


@pytest.mark.parametrize(("op", "sample"), BAD)
def test_a_bad_call_is_refused_in_the_name_of_an_op(op, sample):
    with pytest.raises(sample.error, match=r"^\w+: ") as caught:
        op(*[tensors(each) for each in sample.inputs], **sample.attrs)
    assert isinstance(caught.value, FerrumError)


@pytest.mark.parametrize(("op", "sample"), SMOOTH)
def test_gradients_of_first_and_second_order(op, sample):
    args = [tensors(each, requires_grad=True) for each in sample.inputs]

    def call(*xs):
        return op(*xs, **sample.attrs)

    assert fe.gradcheck(call, args)
    assert fe.gradgradcheck(call, args)


@pytest.mark.parametrize("op", [nn.ops.sgd_step, nn.ops.adam_step])
def test_steps_are_differentiable_too(op):
    """A step taken on results of other ops, as in learning to learn, has gradients."""
    sample = next(s for s in op.sampler(Sampler(op.name)) if s.error is None)
    inputs = [each for each in sample.inputs if isinstance(each, list)]
    leaves = [tensors(each, requires_grad=True) for each in inputs]
    flat = [x for each in leaves for x in each if x.requires_grad]

    def call(*xs):
        given = iter(xs)
        args = [[(next(given) if x.requires_grad else x).clone() for x in each] for each in leaves]
        return op(*args, **sample.attrs)

    assert fe.gradcheck(call, flat)


# ---- what a kernel saves for backward


def scores(requires_grad=True):
    x = fe.tensor(np.linspace(-1, 1, 12).reshape(4, 3), requires_grad=requires_grad)
    return x, fe.tensor([0, 2, 1, 2])


ATTRS = {"ignore_index": -100, "label_smoothing": 0.1, "reduction": "mean"}


def test_the_saved_log_probabilities_serve_a_first_gradient_alone(monkeypatch):
    x, target = scores()
    calls = []
    rule = nn.ops.cross_entropy.vjp
    monkeypatch.setattr(
        nn.ops.cross_entropy, "vjp", lambda *args, **kw: calls.append(1) or rule(*args, **kw)
    )
    (plain,) = fe.grad(nn.ops.cross_entropy(x, target, None, **ATTRS)[0], x)
    assert calls == [1]
    (graph,) = fe.grad(nn.ops.cross_entropy(x, target, None, **ATTRS)[0], x, create_graph=True)
    assert calls == [1]  # the fallback's gradient served: it can be differentiated again
    assert graph.requires_grad
    np.testing.assert_allclose(plain.numpy(), graph.detach().numpy(), atol=1e-15)


def test_gradients_that_the_rule_does_not_know_come_from_the_fallback():
    x, target = scores()
    weight = fe.tensor([0.5, 1.0, 2.0], dtype=fe.float64, requires_grad=True)
    _, log_probs, total = nn.ops.cross_entropy(x, target, weight, **ATTRS)
    (g,) = fe.grad(log_probs[:, 0].sum() + total * 0, x)
    expected = x.detach().requires_grad_()
    (h,) = fe.grad(expected.log_softmax(1)[:, 0].sum(), expected)
    np.testing.assert_allclose(g.numpy(), h.numpy(), atol=1e-15)

    def call(w):
        return nn.ops.cross_entropy(x, target, w, **ATTRS)[::2]

    assert fe.gradcheck(call, [weight])
    assert fe.gradgradcheck(call, [weight])


def test_a_freed_graph_says_so():
    x, target = scores()
    loss = nn.ops.cross_entropy(x, target, None, **ATTRS)[0]
    loss.backward()
    with pytest.raises(GradientError, match="retain_graph"):
        loss.backward()
    with pytest.raises(GradientError, match="retain_graph"):
        loss.backward(create_graph=True)


def test_a_target_changed_after_the_loss_is_noticed():
    x, target = scores()
    loss = nn.functional.cross_entropy(x, target)
    target.fill_(0)
    with pytest.raises(GradientError, match="changed in place"):
        loss.backward()


# ---- a backend's kernels


def test_kernels_take_the_place_of_fallbacks():
    device = fe.default_device()
    calls = []

    def kernel(x, weight, bias):
        calls.append("linear")
        return np.asarray(x @ weight.T + bias)

    x, layer = fe.ones(2, 3), nn.Linear(3, 4)
    expected = layer(x)
    before = device.kernels[nn.ops.linear]
    device.kernels[nn.ops.linear] = kernel
    try:
        out = layer(x)
        out.sum().backward()
    finally:
        device.kernels[nn.ops.linear] = before
    assert calls == ["linear"]
    assert fe.equal(out, expected)
    assert layer.bias.grad.tolist() == [2] * 4


def test_one_call_steps_all_parameters():
    """A backend that steps in one kernel is called once, with everything in lists."""
    device = fe.default_device()
    calls = []

    def kernel(params, grads, momenta, **attrs):
        calls.append((len(params), len(grads), len(momenta), attrs["lr"]))
        for param, grad in zip(params, grads, strict=True):
            param -= attrs["lr"] * grad

    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    optimizer = nn.optim.SGD(net.parameters(), lr=0.5)
    net(fe.ones(4, 2)).sum().backward()
    expected = (net[2].bias - net[2].bias.grad * 0.5).tolist()
    version = net[2].bias._version
    device.kernels[nn.ops.sgd_step] = kernel
    try:
        optimizer.step()
    finally:
        del device.kernels[nn.ops.sgd_step]
    assert calls == [(4, 4, 0, 0.5)]
    assert net[2].bias.tolist() == expected
    assert net[2].bias._version == version + 1


def test_a_leaf_is_not_stepped_while_recording():
    p = nn.Parameter(fe.ones(1))
    attrs = {"lr": 0.1, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0}
    with pytest.raises(GradientError, match="sgd_step: a leaf that requires grad"):
        nn.ops.sgd_step([p], [fe.ones(1)], [], nesterov=False, maximize=False, **attrs)
