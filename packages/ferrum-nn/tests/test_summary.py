"""The summary of modules as they are; what it does with anything is tested in the core."""

import pytest

import ferrum as fe
import ferrum_nn as nn


def test_modules_in_lists_and_dicts_stand_under_their_module(net):
    found = fe.summary(net, (2, 2))
    assert [(row.label, row.kind, row.depth, row.output, row.parameters) for row in found.rows] == [
        ("", "Net", 0, (2, 1), 2),
        ("first", "Linear", 1, (2, 3), 9),
        ("blocks.0", "Block", 1, (2, 3), 3),
        ("inner", "Linear", 2, (2, 3), 12),
        ("blocks.1", "Block", 1, (2, 3), 3),
        ("inner", "Linear", 2, (2, 3), 12),
        ("heads.a", "Linear", 1, (2, 1), 4),
        ("heads.b.0", "Linear", 1, None, 3),
    ]
    assert found.parameters == sum(p.numel() for p in net.parameters())
    assert found.buffer_bytes == 2 * (12 + 8)


def test_a_module_that_is_held_twice_has_one_row():
    layer = nn.Linear(2, 2)
    found = fe.summary(nn.Sequential(layer, nn.Tanh(), layer), (1, 2))
    assert [(row.label, row.calls) for row in found.rows] == [("", 1), ("0", 2), ("1", 1)]
    assert found.parameters == 6


def test_the_model_is_as_before_also_after_an_error(net):
    net.blocks[0].eval()
    modes = [module.training for module in net.modules()]
    calls = []
    net.register_forward_hook(lambda *_: calls.append(1))
    for shape, error in [((2, 2), None), ((2, 9), fe.errors.ShapeError)]:
        if error is None:
            fe.summary(net, shape)
        else:
            with pytest.raises(error):
                fe.summary(net, shape)
        assert [module.training for module in net.modules()] == modes
        assert all(p.grad is None and p.requires_grad for p in net.parameters())
        hooks = [module._hooks for module in net.modules() if module._hooks is not None]
        assert sum(len(each.after) for each in hooks) == 1
    assert calls == [1]
