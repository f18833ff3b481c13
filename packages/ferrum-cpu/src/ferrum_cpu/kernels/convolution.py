"""Convolution and its two adjoints."""

from __future__ import annotations

from itertools import chain
from typing import Any

from ferrum.backend import Kernel
from ferrum_cpu._front import empty
from ferrum_cpu.library import id_of, lib, refused


def _numbers(geometry: Any) -> list[int]:
    """Return stride, padding and dilation, axis by axis."""
    return [*chain(*zip(geometry.stride, geometry.padding, geometry.dilation, strict=True))]


def convolution(x: Any, weight: Any, bias: Any, *, size: Any, geometry: Any) -> Any:
    """Return the outer tensor of an inner x and a weight."""
    out = empty("convolution", (x.shape[0], weight.shape[0], *size), x.dtype)
    code = lib.convolution(
        id(x), id(weight), id_of(bias), id(out), _numbers(geometry), geometry.groups
    )
    return refused("convolution", code) if code else out


def convolution_input(outer: Any, weight: Any, bias: Any, *, size: Any, geometry: Any) -> Any:
    """Return the inner tensor of an outer one and a weight."""
    shape = (outer.shape[0], weight.shape[1] * geometry.groups, *size)
    out = empty("convolution_input", shape, outer.dtype)
    code = lib.convolution_input(
        id(outer), id(weight), id_of(bias), id(out), _numbers(geometry), geometry.groups
    )
    return refused("convolution_input", code) if code else out


def convolution_weight(x: Any, outer: Any, *, size: Any, geometry: Any) -> Any:
    """Return the weight of an inner x and an outer tensor."""
    shape = (outer.shape[1], x.shape[1] // geometry.groups, *size)
    out = empty("convolution_weight", shape, x.dtype)
    code = lib.convolution_weight(id(x), id(outer), id(out), _numbers(geometry), geometry.groups)
    return refused("convolution_weight", code) if code else out


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name; the ops' rules see to it that what C gets fits."""
    found = (convolution, convolution_input, convolution_weight)
    return {f"nn.{each.__name__}": Kernel(each) for each in found}
