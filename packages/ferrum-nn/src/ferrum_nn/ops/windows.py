"""The windows of pooling: which elements of a plane each position of the result is made from."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ferrum import TensorLike, tensor
from ferrum.errors import ArgumentError, ShapeError
from ferrum.spec import Shape

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Input, Sampler


class Along(NamedTuple):
    """The windows along one axis, a row for each position: where they lie, and how many count."""

    places: npt.NDArray[np.int64]
    """What the position is made from; where the window reaches outside, the nearest of them."""
    inside: npt.NDArray[np.bool_]
    """Whether it is one of the window's, and no repetition."""
    padded: npt.NDArray[np.int64]
    """The length of the window with the padding that it reaches."""


class Windows(NamedTuple):
    """Where windows lie, in numbers for each axis of a plane.

    Place k of the window of position o is o stride - padding + k dilation. Without a kernel, as an
    empty tuple, windows adapt: of n elements and a result of m, position o is made from those from
    ⌊o n / m⌋ to ⌈(o + 1) n / m⌉. A window that meets no element has the one that is nearest.
    """

    kernel: Shape = ()
    stride: Shape = ()
    padding: Shape = ()
    dilation: Shape = ()

    def check(self, name: str, x: TensorLike, size: Shape, inner: Shape) -> None:
        """Refuse numbers that do not fit the axes, or planes with nothing in them."""
        axes = len(size)
        if not 1 <= axes <= len(x.shape) or len(inner) != axes:
            raise ShapeError(f"{name}: expected planes of {axes} axes, 1 or more, got {x.shape}")
        least = {"kernel": 1, "stride": 1, "padding": 0, "dilation": 1}
        for (what, low), given in zip(least.items(), self, strict=True):
            if (given or self.kernel) and (len(given) != axes or min(given) < low):
                raise ArgumentError(
                    f"{name}: expected {axes} numbers of at least {low} as {what}, got {given}"
                )
        if min(size) < 0 or min(inner) < 0:
            raise ArgumentError(f"{name}: expected sizes of at least 0, got {size} and {inner}")
        if 0 in inner:
            raise ShapeError(f"{name}: expected planes with elements, got {inner}")

    def along(self, axis: int, length: int, size: int) -> Along:
        """Return the windows of `size` positions along an axis of `length` elements."""
        o, step = np.arange(size), 1
        if self.kernel:
            step, start = self.dilation[axis], o * self.stride[axis] - self.padding[axis]
            stop, end = start + self.kernel[axis] * step, o * 0 + length + self.padding[axis]
        else:
            start = o * length // max(size, 1)
            stop = end = -(-(o + 1) * length // max(size, 1))
        first = start + np.maximum(0, -(start // step)) * step
        count = -((first - np.minimum(stop, length)) // step)
        first = np.where(count > 0, first, start.clip(0, length - 1))
        count = np.maximum(count, 1)[:, None]
        k = np.arange(count.max(initial=1))
        places = first[:, None] + np.minimum(k, count - 1) * step
        return Along(places, k < count, np.maximum(0, -((start - np.minimum(stop, end)) // step)))


def joined(each: list[Tensor]) -> list[Tensor]:
    """Return tensors (m, k), one for each axis, in shapes that broadcast to (m..., k...)."""
    axes = len(each)
    shaped = []
    for axis, x in enumerate(each):
        shape = [1] * (2 * axes)
        shape[axis], shape[axes + axis] = x.shape
        shaped.append(x.reshape(*shape))
    return shaped


def spread_out(x: Tensor, windows: Windows, size: Shape, inner: Shape) -> tuple[Tensor, Tensor]:
    """Return for each position, in one axis, which elements of a flat plane its window has.

    Two tensors (positions, places): their indices, and whether they are no repetitions.
    """
    found = [windows.along(axis, *each) for axis, each in enumerate(zip(inner, size, strict=True))]
    places = joined([tensor(each.places, device=x.device) for each in found])
    truths = joined([tensor(each.inside, device=x.device) for each in found])
    index, inside = places[0], truths[0]
    for n, place, truth in zip(inner[1:], places[1:], truths[1:], strict=True):
        index = index * n + place
        inside = inside & truth
    shape = prod(size), prod(index.shape[len(size) :])
    return index.reshape(*shape), inside.reshape(*shape)


def cases(s: Sampler) -> Iterator[tuple[Input, Shape, Windows]]:
    """Yield planes, the sizes of results and the windows of samples."""

    def case(
        lead: Shape, *axes: tuple[int, int, int, int, int, int]
    ) -> tuple[Input, Shape, Windows]:
        inner, size, kernel, stride, padding, dilation = zip(*axes, strict=True)
        return s.real(*lead, *inner), size, Windows(kernel, stride, padding, dilation)

    yield case((2, 2), (5, 2, 2, 2, 0, 1))
    yield case((1,), (4, 2, 2, 2, 0, 1), (6, 3, 2, 2, 0, 1))
    yield case((1,), (5, 3, 3, 2, 1, 1), (4, 4, 3, 1, 1, 1))
    yield case((), (3, 2, 3, 2, 1, 1), (33, 17, 3, 2, 1, 1))
    yield case((), (4, 3, 3, 2, 1, 1), (5, 2, 3, 3, 0, 1))  # the last ones reach over the end
    yield case((1,), (2, 1, 2, 2, 0, 1), (3, 2, 2, 2, 1, 1), (3, 3, 3, 1, 1, 1))
    yield case((1,), (6, 4, 2, 1, 0, 2), (5, 3, 2, 2, 1, 2))
    yield case((1, 2), (3, 1, 3, 1, 0, 1), (3, 1, 3, 1, 0, 1))
    yield case((0, 2), (5, 2, 2, 2, 0, 1))
    yield s.real(2, 5, 7), (3, 4), Windows()
    yield s.real(1, 4, 3), (1, 1), Windows()
    yield s.real(2, 5), (7,), Windows()
    yield s.real(1, 3, 2, 4), (2, 2, 3), Windows()
    yield s.real(1, 3, 2), (0, 2), Windows()
