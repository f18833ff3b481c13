"""What is known of a tensor without its values: its shape and its dtype."""

from __future__ import annotations

from math import prod
from typing import NamedTuple, Protocol, TypeAlias

from ferrum.dtypes import DType
from ferrum.errors import ShapeError

Shape: TypeAlias = tuple[int, ...]


class TensorLike(Protocol):
    """Anything with a shape and a dtype: a tensor, a `Spec`, a backend's array."""

    @property
    def shape(self) -> Shape:
        """The size along each axis."""
        ...

    @property
    def dtype(self) -> DType:
        """The dtype of the elements."""
        ...


# What a gradient rule gets as `needs`: an entry per input, None where no gradient is wanted.
Needs: TypeAlias = tuple[TensorLike | None, ...]


class Spec(NamedTuple):
    """The shape and dtype that an operation will produce."""

    shape: Shape
    dtype: DType


def check_addressable(name: str, shape: Shape) -> None:
    """Raise ShapeError for more elements than can be addressed, also where another size is 0."""
    if (prod(shape) or prod(filter(None, shape))) >= 2**60:
        raise ShapeError(f"{name}: a tensor of shape {shape} is too large to address")


def broadcast_shapes(name: str, *shapes: Shape) -> Shape:
    """Return the shape that `shapes` broadcast to; the ShapeError is raised in the name `name`."""
    ndim = max(map(len, shapes))
    padded = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    out = []
    for sizes in zip(*padded, strict=True):
        wide = set(sizes) - {1}
        if len(wide) > 1:
            raise ShapeError(
                f"{name}: shapes {' and '.join(map(str, shapes))} do not broadcast together"
            )
        out.append(wide.pop() if wide else 1)
    return tuple(out)
