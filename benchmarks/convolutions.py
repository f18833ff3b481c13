"""Every convolution of ResNet-18 and MobileNetV2, on 8 images of 224 x 224 pixels.

A row such as "3x3/2 64-128, 56²: weight" has the kernel, the stride, the channels in and out, the
size of what comes in, and what is timed: the convolution itself ("forward"), the gradient of its
input or that of its weight. Two threads, or as many as --threads says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from harness import Build, Case, Work, main
from models import MOBILENET_V2, RESNET_18

IMAGES, SIZE = 8, 224


class Shape(NamedTuple):
    """A convolution of images (IMAGES, inputs, size, size), padded by half of its kernel."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    groups: int
    size: int

    @property
    def name(self) -> str:
        """Return such as "3x3/2 64-128, 56²" or "3x3 depthwise 96, 112²"."""
        kernel = f"{self.kernel}x{self.kernel}" + f"/{self.stride}" * (self.stride > 1)
        channels = f"{self.inputs}-{self.outputs}"
        if self.groups > 1:
            channels = f"depthwise {self.inputs}"
        return f"{kernel} {channels}, {self.size}²"

    @property
    def flops(self) -> float:
        """Return the additions and multiplications of one pass, whichever of the three."""
        pixels = IMAGES * (self.size // self.stride) ** 2
        return 2.0 * pixels * self.outputs * self.inputs / self.groups * self.kernel**2


def resnet_18() -> Iterator[Shape]:
    """Yield the convolutions of models.resnet_18 in order."""
    yield Shape(3, 64, 7, 2, 1, SIZE)
    inputs, size = 64, SIZE // 4
    for outputs, stride in RESNET_18:
        yield Shape(inputs, outputs, 3, stride, 1, size)
        if stride > 1:
            yield Shape(inputs, outputs, 1, stride, 1, size)
        inputs, size = outputs, size // stride
        yield Shape(inputs, outputs, 3, 1, 1, size)


def mobilenet_v2() -> Iterator[Shape]:
    """Yield the convolutions of models.mobilenet_v2 in order."""
    yield Shape(3, 32, 3, 2, 1, SIZE)
    inputs, size = 32, SIZE // 2
    for expansion, outputs, repeats, first in MOBILENET_V2:
        for stride in [first] + [1] * (repeats - 1):
            width = inputs * expansion
            if expansion > 1:
                yield Shape(inputs, width, 1, 1, 1, size)
            yield Shape(width, width, 3, stride, width, size)
            size //= stride
            yield Shape(width, outputs, 1, 1, 1, size)
            inputs = outputs
    yield Shape(inputs, 1280, 1, 1, 1, size)


SHAPES = list(dict.fromkeys([*resnet_18(), *mobilenet_v2()]))


def build(shape: Shape, wanted: str) -> Build:
    """Return one pass of a convolution: "forward", "input" or "weight"."""

    def build(library: Any) -> Work:
        t, conv2d = library.t, library.nn.functional.conv2d
        t.manual_seed(0)
        inputs, outputs, kernel, stride, groups, size = shape
        x = t.randn(IMAGES, inputs, size, size)
        weight = t.randn(outputs, inputs // groups, kernel, kernel)
        options = {"stride": stride, "padding": kernel // 2, "groups": groups}
        if wanted == "forward":
            return lambda: conv2d(x, weight, **options)
        leaf = (x if wanted == "input" else weight).requires_grad_()
        out = conv2d(x, weight, **options)
        seed = t.randn(*out.shape)
        return lambda: t.autograd.grad(out, leaf, seed, retain_graph=True)

    return build


CASES = [
    Case(f"{shape.name}: {wanted}", build(shape, wanted), flops=shape.flops)
    for shape in SHAPES
    for wanted in ("forward", "input", "weight")
]


if __name__ == "__main__":
    main(__file__, CASES, threads=len(os.sched_getaffinity(0)))
