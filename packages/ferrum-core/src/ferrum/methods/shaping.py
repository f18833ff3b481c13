"""Tensor methods that look at the same elements another way."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

from ferrum import ops
from ferrum.base import as_tensor
from ferrum.errors import ArgumentError, OutOfRangeError, ShapeError
from ferrum.methods.axes import (
    distinct_axes,
    one_axis,
    real_axis,
    resolved,
    sizes_of,
    some_axes,
    whole,
)
from ferrum.methods.conversion import Conversion
from ferrum.operands import the_tensor
from ferrum.ops.joining import along
from ferrum.spec import Shape

if TYPE_CHECKING:
    from ferrum.tensor import Tensor


@cache
def _backwards(ndim: int) -> tuple[int, ...]:
    return tuple(range(ndim))[::-1]


@cache
def _last_two_exchanged(ndim: int) -> tuple[int, ...]:
    return (*range(ndim - 2), ndim - 1, ndim - 2)


class Shaping(Conversion):
    """Views, and what can be said of a shape."""

    __slots__ = ()

    def size(self, dim: int | None = None) -> Any:
        """Return the shape, or the size along `dim`."""
        return self.shape if dim is None else self.shape[real_axis("size", dim, self.ndim)]

    def dim(self) -> int:
        """Return the number of axes."""
        return self.ndim

    def numel(self) -> int:
        """Return the number of elements."""
        return prod(self.shape)

    nelement = numel

    def __len__(self) -> int:
        if not self.ndim:
            raise OutOfRangeError("len: a 0-d tensor has no length")
        return self.shape[0]

    def reshape(self, *shape: Any) -> Tensor:
        """Return self in another shape, one size of which may be -1: a view where possible."""
        return ops.reshape(
            self, shape=resolved("reshape", sizes_of("reshape", shape), prod(self.shape))
        )

    def view(self, *shape: Any) -> Tensor:
        """Return self in another shape without copying.

        ShapeError where the layout needs a copy.
        """
        out = self.reshape(*shape)
        if out.view_of is None:
            raise ShapeError(
                f"view: the layout of this {self.shape} tensor does not allow a view as "
                f"{out.shape}; use reshape"
            )
        return out

    def view_as(self, other: Tensor) -> Tensor:
        """Return self in the shape of `other` without copying."""
        return self.view(the_tensor("view_as", other).shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Return self with the axes from `start_dim` to `end_dim` made one."""
        start = one_axis("flatten", start_dim, self.ndim)
        end = one_axis("flatten", end_dim, self.ndim)
        if start > end:
            raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
        merged = prod(self.shape[start : end + 1])
        return ops.reshape(self, shape=(*self.shape[:start], merged, *self.shape[end + 1 :]))

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Tensor:
        """Return self with the axis `dim` split into `sizes`, one of which may be -1."""
        axis = real_axis("unflatten", dim, self.ndim)
        split = resolved("unflatten", sizes_of("unflatten", (sizes,)), self.shape[axis])
        if prod(split) != self.shape[axis]:
            raise ShapeError(f"unflatten: {split} does not make up size {self.shape[axis]}")
        return ops.reshape(self, shape=(*self.shape[:axis], *split, *self.shape[axis + 1 :]))

    def squeeze(self, dim: int | Sequence[int] | None = None) -> Tensor:
        """Return self without its axes of size 1, or without those of `dim` that have size 1."""
        none = isinstance(dim, (tuple, list)) and not dim
        axes = () if none else some_axes("squeeze", dim, self.ndim)
        shape = tuple(n for i, n in enumerate(self.shape) if i not in axes or n != 1)
        return ops.reshape(self, shape=shape)

    def unsqueeze(self, dim: int) -> Tensor:
        """Return self with a new axis of size 1 at `dim`."""
        axis = one_axis("unsqueeze", dim, self.ndim + 1)
        return ops.reshape(self, shape=(*self.shape[:axis], 1, *self.shape[axis:]))

    def permute(self, *dims: Any) -> Tensor:
        """Return self with its axes in the order `dims`."""
        axes = tuple(one_axis("permute", dim, self.ndim) for dim in sizes_of("permute", dims))
        return ops.permute(self, axes=axes)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Return self with two axes exchanged."""
        axes = list(range(self.ndim))
        first, second = (one_axis("transpose", dim, self.ndim) for dim in (dim0, dim1))
        if axes:
            axes[first], axes[second] = axes[second], axes[first]
        return ops.permute(self, axes=tuple(axes))

    swapaxes = transpose

    def movedim(self, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
        """Return self with the axis `source` moved to `destination`, or several axes at once."""
        froms = distinct_axes("movedim", sizes_of("movedim", (source,)), self.ndim)
        tos = distinct_axes("movedim", sizes_of("movedim", (destination,)), self.ndim)
        if len(froms) != len(tos):
            raise ShapeError(f"movedim: {source} and {destination} differ in length")
        axes = [axis for axis in range(self.ndim) if axis not in froms]
        for to, axis in sorted(zip(tos, froms, strict=True)):
            axes.insert(to, axis)
        return ops.permute(self, axes=tuple(axes[: self.ndim]))

    def t(self) -> Tensor:
        """Return the transpose of a matrix; tensors of fewer axes as they are."""
        ndim = len(self.array.shape)
        if ndim > 2:
            raise ShapeError(f"t: expected at most 2 dimensions, got {ndim}")
        return ops.permute.__call__(self, axes=_backwards(ndim))

    @property
    def T(self) -> Tensor:  # noqa: N802 - PyTorch's name
        """Self with its axes reversed."""
        return ops.permute.__call__(self, axes=_backwards(len(self.array.shape)))

    @property
    def mT(self) -> Tensor:  # noqa: N802 - PyTorch's name
        """Self with its last two axes exchanged."""
        ndim = len(self.array.shape)
        if ndim < 2:
            raise ShapeError(f"mT: expected at least 2 dimensions, got {ndim}")
        return ops.permute.__call__(self, axes=_last_two_exchanged(ndim))

    def expand(self, *sizes: Any) -> Tensor:
        """Return self repeated along axes of size 1 and new ones in front; -1 keeps a size."""
        wanted = sizes_of("expand", sizes)
        lead = len(wanted) - self.ndim
        if lead < 0 or -1 in wanted[:lead]:
            raise ShapeError(f"expand: {wanted} does not fit the shape {self.shape}")
        shape = tuple(self.shape[i - lead] if size == -1 else size for i, size in enumerate(wanted))
        return ops.expand(self, shape=shape)

    def expand_as(self, other: Tensor) -> Tensor:
        """Return self expanded to the shape of `other`."""
        return ops.expand(self, shape=the_tensor("expand_as", other).shape)

    def broadcast_to(self, shape: Shape) -> Tensor:
        """Return self expanded to `shape`."""
        return self.expand(shape)

    def repeat(self, *sizes: Any) -> Tensor:
        """Return self laid side by side `sizes` times, copied."""
        times = sizes_of("repeat", sizes)
        lead = len(times) - self.ndim
        if lead < 0:
            raise ShapeError(f"repeat: expected at least {self.ndim} sizes, got {times}")
        shape = (1,) * lead + self.shape
        paired = tuple(n for size in shape for n in (1, size))
        wide = tuple(n for pair in zip(times, shape, strict=True) for n in pair)
        out = ops.expand(ops.reshape(self, shape=paired), shape=wide)
        return ops.copy(out).reshape(tuple(m * n for m, n in zip(times, shape, strict=True)))

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """Return the `length` entries of `dim` from `start` on."""
        axis = real_axis("narrow", dim, self.ndim)
        size = self.shape[axis]
        start, length = whole("narrow", "start", start), whole("narrow", "length", length)
        first = start + size if start < 0 else start
        if length < 0 or first < 0 or first + length > size:
            raise OutOfRangeError(
                f"narrow: {length} entries from {start} on leave dim {dim} of size {size}"
            )
        return along(as_tensor(self), axis, first, length)

    def select(self, dim: int, index: int) -> Tensor:
        """Return entry `index` of `dim`, which goes."""
        axis = one_axis("select", dim, self.ndim)
        return as_tensor(self)[(*[slice(None)] * axis, index)]

    def split(self, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Return views of `split_size` entries (the last may be shorter), or of these sizes."""
        axis = real_axis("split", dim, self.ndim)
        size = self.shape[axis]
        if isinstance(split_size, (list, tuple)):
            sizes = list(sizes_of("split", (split_size,)))
            if sum(sizes) != size:
                raise ShapeError(f"split: sizes {sizes} do not add up to {size}")
        else:
            most = whole("split", "split_size", split_size)
            if most <= 0:
                raise ArgumentError(f"split: expected a split_size above 0, got {most}")
            sizes = [min(most, size - start) for start in range(0, max(size, 1), most)]
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        return tuple(
            along(as_tensor(self), axis, end - n, n) for end, n in zip(ends, sizes, strict=True)
        )

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """Return at most `chunks` views of equal size (the last may be shorter); if empty, all."""
        if whole("chunk", "chunks", chunks) <= 0:
            raise ArgumentError(f"chunk: expected chunks above 0, got {chunks}")
        size = self.shape[real_axis("chunk", dim, self.ndim)]
        return self.split(-(-size // chunks) if size else [0] * chunks, dim)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """Return the entries of `dim`, each without it."""
        axis = real_axis("unbind", dim, self.ndim)
        return tuple(self.select(axis, i) for i in range(self.shape[axis]))

    def flip(self, *dims: Any) -> Tensor:
        """Return a copy of self with the order along `dims` reversed."""
        x = as_tensor(self)
        for axis in distinct_axes("flip", sizes_of("flip", dims), self.ndim):
            if self.ndim:
                x = along(x, axis, self.shape[axis] - 1, self.shape[axis], -1)
        return ops.copy(x)

    def is_contiguous(self) -> bool:
        """Return whether the elements are known to lie in row-major order without gaps."""
        return self.device.backend.is_contiguous(self.array)

    def contiguous(self) -> Tensor:
        """Return self if it is contiguous, else a copy that is."""
        return as_tensor(self) if self.is_contiguous() else ops.copy(self)

    def matmul(self, other: Tensor) -> Tensor:
        """Return the matrix product: of vectors, matrices, or batches that broadcast."""
        try:
            vectors = len(self.array.shape) < 2 or len(other.array.shape) < 2
        except AttributeError:  # not a tensor: the op says so
            vectors = False
        if vectors:
            return _matmul_of_vectors(as_tensor(self), other)
        return ops.matmul(self, other)

    __matmul__ = matmul

    def dot(self, other: Tensor) -> Tensor:
        """Return the inner product of two vectors."""
        if the_tensor("dot", other).ndim != 1 or self.ndim != 1:
            raise ShapeError(f"dot: expected two vectors, got {self.shape} and {other.shape}")
        return self.matmul(other)

    def mm(self, other: Tensor) -> Tensor:
        """Return the product of two matrices."""
        if the_tensor("mm", other).ndim != 2 or self.ndim != 2:
            raise ShapeError(f"mm: expected two matrices, got {self.shape} and {other.shape}")
        return ops.matmul(self, other)

    def bmm(self, other: Tensor) -> Tensor:
        """Return the products of two batches of matrices, (b, n, k) and (b, k, m)."""
        if the_tensor("bmm", other).ndim != 3 or self.ndim != 3 or self.shape[0] != other.shape[0]:
            raise ShapeError(
                f"bmm: expected (b, n, k) and (b, k, m), got {self.shape} and {other.shape}"
            )
        return ops.matmul(self, other)


def _matmul_of_vectors(a: Tensor, b: Tensor) -> Tensor:
    if 0 in (a.ndim, b.ndim):
        raise ShapeError(f"matmul: expected at least 1 dimension, got {a.shape} and {b.shape}")
    out = ops.matmul(a.unsqueeze(0) if a.ndim == 1 else a, b.unsqueeze(1) if b.ndim == 1 else b)
    out = out.squeeze(-1) if b.ndim == 1 else out
    return out.squeeze(-1 if b.ndim == 1 else -2) if a.ndim == 1 else out
