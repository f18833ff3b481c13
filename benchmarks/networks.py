"""Whole networks for images: training steps of LeNet and ResNet-18, and inference.

The definitions are those of models.py, one for both frameworks. Two threads, or as many as
--threads says.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from harness import Build, Case, Work, main
from models import lenet, mobilenet_v2, resnet_18

Network = Callable[[Any], Any]


def training(network: Network, optimizer: str, images: tuple[int, ...], kinds: int) -> Build:
    """Return a step: forward, backward, and the optimizer's change of the weights."""

    def build(library: Any) -> Work:
        t, nn = library.t, library.nn
        t.manual_seed(0)
        model = network(nn)
        steps = getattr(library.optim, optimizer)(model.parameters(), lr=1e-3)
        x, y = t.rand(*images), t.randint(0, kinds, images[:1])
        loss_of = nn.CrossEntropyLoss()

        def step() -> None:
            steps.zero_grad()
            loss_of(model(x), y).backward()
            steps.step()

        return step

    return build


def inference(network: Network, *images: int) -> Build:
    """Return the forward pass as `eval()` leaves it, without gradients."""

    def build(library: Any) -> Work:
        t = library.t
        t.manual_seed(0)
        model = network(library.nn).eval()
        x = t.rand(*images)

        def work() -> object:
            with t.no_grad():
                return model(x)

        return work

    return build


PHOTOGRAPHS = (8, 3, 224, 224)

CASES = [
    Case("LeNet step, Adam, 64 images", training(lenet, "Adam", (64, 1, 28, 28), 10)),
    Case("ResNet-18 step, SGD, 8 images", training(resnet_18, "SGD", PHOTOGRAPHS, 1000)),
    Case("ResNet-18, 8 images", inference(resnet_18, *PHOTOGRAPHS)),
    Case("MobileNetV2, 8 images", inference(mobilenet_v2, *PHOTOGRAPHS)),
]


if __name__ == "__main__":
    main(__file__, CASES, threads=len(os.sched_getaffinity(0)))
