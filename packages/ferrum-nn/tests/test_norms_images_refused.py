"""Bad input to the norms of images: an error that says what was expected, and what came."""

import pytest

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ShapeError

REFUSED = [
    lambda: nn.BatchNorm2d(3)(fe.ones(2, 3, 4)),
    lambda: nn.BatchNorm2d(3)(fe.ones(2, 3, 4, 5, 6)),
    lambda: nn.BatchNorm3d(3)(fe.ones(2, 3, 4, 5)),
    lambda: nn.BatchNorm2d(3)(fe.ones(2, 4, 4, 5)),
    lambda: nn.BatchNorm2d(3)(fe.ones(1, 3, 1, 1)),
    lambda: nn.SyncBatchNorm(3)(fe.ones(3)),
    lambda: nn.GroupNorm(4, 6),
    lambda: nn.GroupNorm(0, 6),
    lambda: nn.GroupNorm(2, 6)(fe.ones(2, 4, 3)),
    lambda: nn.GroupNorm(2, 6)(fe.ones(6)),
    lambda: nn.GroupNorm(6, 6)(fe.ones(1, 6)),
    lambda: nn.GroupNorm(1.5, 6),
    lambda: nn.functional.group_norm(fe.ones(2, 6, 3), 4),
    lambda: nn.functional.group_norm(fe.ones(2, 6, 3), 2, fe.ones(5)),
    lambda: nn.functional.group_norm(fe.ones(2, 6, 3), 2, None, fe.ones(6, 1)),
    lambda: nn.functional.group_norm(fe.ones(2, 6, 3), -1),
    lambda: nn.functional.group_norm(fe.ones(2, 6, 3), "2"),
    lambda: nn.functional.group_norm(fe.ones(6), 2),
    lambda: nn.functional.group_norm([1.0], 2),
    lambda: nn.InstanceNorm1d(3)(fe.ones(2, 3, 4, 5)),
    lambda: nn.InstanceNorm1d(3)(fe.ones(3)),
    lambda: nn.InstanceNorm2d(3)(fe.ones(2, 3)),
    lambda: nn.InstanceNorm2d(3, affine=True)(fe.ones(2, 4, 3, 3)),
    lambda: nn.InstanceNorm2d(3)(fe.ones(2, 3, 1, 1)),
    lambda: nn.InstanceNorm3d(3)(fe.ones(2, 3, 4)),
    lambda: nn.functional.instance_norm(fe.ones(2, 3, 4), use_input_stats=False),
    lambda: nn.functional.instance_norm(fe.ones(2, 3, 1)),
    lambda: nn.functional.instance_norm(fe.ones(2, 3, 4), fe.ones(2), fe.ones(2)),
    lambda: nn.functional.instance_norm(fe.ones(2, 3, 4), weight=fe.ones(2)),
    lambda: nn.functional.instance_norm(None),
    lambda: nn.functional.local_response_norm(fe.ones(2, 3), 2),
    lambda: nn.functional.local_response_norm(fe.ones(2, 3, 4), 0),
    lambda: nn.functional.local_response_norm(fe.ones(2, 3, 4), 1.5),
    lambda: nn.functional.local_response_norm("x", 2),
]


@pytest.mark.parametrize("call", REFUSED)
def test_refused(call):
    with pytest.raises(fe.FerrumError, match="expected") as caught:
        call()
    assert len(str(caught.value)) > 30


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm2d(3), nn.GroupNorm(3, 3), nn.InstanceNorm2d(3), nn.SyncBatchNorm(3)]
)
def test_other_channels_are_named_and_leave_no_trace(layer):
    before = {name: each.clone() for name, each in layer.state_dict().items()}
    with pytest.raises(ShapeError, match=r"expected 3 channels, got shape \(2, 6, 4, 5\)"):
        layer(fe.ones(2, 6, 4, 5))
    after = layer.state_dict()
    assert all(fe.equal(each, after[name]) for name, each in before.items())


@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm2d(3, affine=False, track_running_stats=False), nn.GroupNorm(3, 3, affine=False)],
)
def test_layers_that_hold_nothing_take_any_channels(layer):
    """As PyTorch's do."""
    assert layer(fe.rand(2, 6, 4, 5)).shape == (2, 6, 4, 5)
