"""Buffers that are assigned, and layers that are fused, beside PyTorch's."""

import copy
import pickle

import numpy as np
import pytest
from beside_torch import torch

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, OperandError, ShapeError

pytestmark = pytest.mark.torch

BOTH = ((nn, fe), (torch.nn, torch))


def close(got, want, rtol=1e-6):
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=rtol)


def holder(lib, t):
    class Holder(lib.Module):
        def __init__(self):
            super().__init__()
            self.kept = lib.Buffer(t.ones(2))
            self.passing = lib.Buffer(t.zeros(3), persistent=False)
            self.empty = lib.Buffer()
            self.weight = lib.Parameter(t.ones(1))

    return Holder()


@pytest.mark.parametrize(
    "change",
    [
        lambda m, lib, t: m,
        lambda m, lib, t: m.double(),
        lambda m, lib, t: setattr(m, "kept", t.full((4,), 2.0)),
        lambda m, lib, t: setattr(m, "passing", lib.Buffer(t.ones(1))),
        lambda m, lib, t: setattr(m, "kept", lib.Buffer(t.ones(1), persistent=False)),
        lambda m, lib, t: delattr(m, "kept"),
        lambda m, lib, t: m.register_buffer("kept", lib.Buffer(t.ones(3)), persistent=False),
        lambda m, lib, t: m.register_buffer("more", t.ones(3), persistent=False),
    ],
)  # fmt: skip
def test_a_module_holds_them_as_pytorch_does(change):
    ours, theirs = ((holder(*each), *each) for each in BOTH)
    for each in (ours, theirs):
        change(*each)
    ours, theirs = ours[0], theirs[0]
    assert sorted(dict(ours.named_buffers())) == sorted(dict(theirs.named_buffers()))
    assert sorted(ours.state_dict()) == sorted(theirs.state_dict())
    for name, each in theirs.named_buffers():
        np.testing.assert_array_equal(ours.get_buffer(name).numpy(), each.numpy())
        assert str(each.dtype) == f"torch.{ours.get_buffer(name).dtype.name}"


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_keep_what_they_are_and_what_was_written_on_them(again):
    buffer = again(nn.Buffer(fe.tensor([1.0, 2.0]), persistent=False))
    assert type(buffer) is nn.Buffer
    assert not buffer.persistent
    assert buffer.tolist() == [1.0, 2.0]
    parameter = nn.Parameter(fe.ones(2))
    parameter.decay = 0.5
    assert type(again(parameter)) is nn.Parameter
    assert again(parameter).decay == 0.5  # PyTorch's deepcopy drops it, its pickle does not


def test_it_shares_memory_and_keeps_what_it_was_told():
    data = fe.ones(2, requires_grad=True)
    buffer = nn.Buffer(data)
    assert buffer.requires_grad
    assert buffer.is_leaf
    with fe.no_grad():
        data.zero_()
    assert buffer.tolist() == [0.0, 0.0]
    assert not nn.Buffer(fe.ones(2)).requires_grad
    with pytest.raises(OperandError, match="Buffer: expected a tensor, got list"):
        nn.Buffer([1.0])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("features", [3, 1])
def test_a_linear_layer_takes_a_norm_in(bias, features):
    (ours, norm), (theirs, their_norm) = (
        (lib.Linear(4, 3, bias=bias), lib.BatchNorm1d(features)) for lib, _ in BOTH
    )
    draw = np.random.default_rng(0)
    state = {k: draw.random(v.shape, np.float32) for k, v in ours.state_dict().items()}
    ours.load_state_dict({k: fe.tensor(v) for k, v in state.items()})
    theirs.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    for name, each in norm.state_dict().items():
        value = draw.random(each.shape).astype(each.dtype)
        each.copy_(fe.tensor(value))
        their_norm.state_dict()[name].copy_(torch.tensor(value))
    fused = nn.utils.fuse_linear_bn_eval(ours.eval(), norm.eval())
    want = torch.nn.utils.fuse_linear_bn_eval(theirs.eval(), their_norm.eval())
    for name in ("weight", "bias"):
        got = getattr(fused, name)
        assert isinstance(got, nn.Parameter)
        assert got.requires_grad == getattr(want, name).requires_grad
        close(got, getattr(want, name))
    parts = [
        (each.weight, each.bias, n.running_mean, n.running_var, 0.1, n.weight, n.bias)
        for each, n in ((ours, norm), (theirs, their_norm))
    ]
    for got, made in zip(
        nn.utils.fuse_linear_bn_weights(*parts[0]),
        torch.nn.utils.fuse_linear_bn_weights(*parts[1]),
        strict=True,
    ):
        close(got, made)
    x = fe.tensor(draw.random((5, 4), np.float32))
    if features == 3:
        close(fused(x), norm(ours(x)), 1e-5)
    assert repr(fused) == repr(want)
    assert fused.weight is not ours.weight


def test_a_norm_without_a_weight_is_taken_in():
    linear, norm = nn.Linear(2, 2).eval(), nn.BatchNorm1d(2, affine=False).eval()
    norm.running_mean.fill_(3.0)
    x = fe.ones(1, 2)
    fused = nn.utils.fuse_linear_bn_eval(linear, norm)
    close(fused(x), norm(linear(x)))


@pytest.mark.parametrize(
    ("linear", "norm", "error", "text"),
    [
        (nn.Linear(2, 3), nn.BatchNorm1d(3).eval(), ArgumentError, "both in eval mode"),
        (nn.Linear(2, 3).eval(), nn.BatchNorm1d(3), ArgumentError, "both in eval mode"),
        (nn.Linear(2, 3).eval(), nn.BatchNorm1d(4).eval(), ShapeError, "3 features .* 4 into"),
        (nn.ReLU().eval(), nn.BatchNorm1d(3).eval(), OperandError, "got ReLU and BatchNorm1d"),
        (
            nn.Linear(2, 3).eval(),
            nn.BatchNorm1d(3, track_running_stats=False).eval(),
            ArgumentError,
            "track_running_stats=True",
        ),
    ],
)
def test_layers_that_cannot_be_fused(linear, norm, error, text):
    with pytest.raises(error, match=text):
        nn.utils.fuse_linear_bn_eval(linear, norm)
