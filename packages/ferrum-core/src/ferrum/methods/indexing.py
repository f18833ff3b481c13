"""`x[...]` and `x[...] = y`, and the methods that pick by integer tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ferrum import ops
from ferrum.base import TensorBase, as_tensor
from ferrum.dtypes import CATEGORY, bool_, int64
from ferrum.errors import DTypeError, OperandError, OutOfRangeError, ShapeError
from ferrum.methods.axes import one_axis
from ferrum.methods.shaping import Shaping
from ferrum.operands import the_tensor
from ferrum.ops.views import BasicKey
from ferrum.promotion import SCALARS
from ferrum.spec import Shape, broadcast_shapes

if TYPE_CHECKING:
    from ferrum.tensor import Tensor


class Indexing(Shaping):
    """Reading and writing parts of a tensor, with NumPy's and PyTorch's rules."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Tensor:
        basic = _plain(self.array.shape, key)
        if basic is not None:
            return ops.getitem.__call__(self, key=basic)
        basic, indices = parse(as_tensor(self), key)
        view = ops.getitem(self, key=basic)
        return ops.index(view, indices) if indices is not None else view

    def __setitem__(self, key: Any, value: Any) -> None:
        indices = None
        basic = _plain(self.array.shape, key)
        if basic is None:
            basic, indices = parse(as_tensor(self), key)
        view = ops.getitem(self, key=basic)
        new = _without_leading_ones(self._like(value))
        if indices is not None:
            new = ops.index_put(view, new, indices, accumulate=False)
        ops.copy_(view, new)

    def _like(self, value: Any) -> Tensor:
        """Return `value`, a tensor or numbers, as a tensor of this dtype and device."""
        if isinstance(value, TensorBase):
            return as_tensor(value).to(self.dtype)
        if isinstance(value, (bool, int, float)) and value.__class__ in SCALARS:
            return ops.full(shape=(), value=value, dtype=self.dtype, device=self.device)
        if isinstance(value, (list, tuple, np.ndarray, np.generic)):
            array = np.asarray(value).astype(self.dtype)
            return type(as_tensor(self))(self.device.from_numpy(array), self.device)
        raise OperandError(f"setitem: expected a tensor or numbers, got {type(value).__name__}")

    def gather(self, dim: int, index: Tensor) -> Tensor:
        """Return out[.., i, ..] = self[.., index[.., i, ..], ..] along `dim`."""
        axis = one_axis("gather", dim, self.ndim)
        if the_tensor("gather", index).ndim and self.ndim:
            return ops.gather(self, index, axis=axis)
        return ops.gather(*map(_vector, (self, index)), axis=axis).reshape(index.shape)

    def scatter_add(self, dim: int, index: Tensor, src: Tensor) -> Tensor:
        """Return a copy with out[.., index[.., i, ..], ..] += src[.., i, ..] along `dim`."""
        axis = one_axis("scatter_add", dim, self.ndim)
        if (
            the_tensor("scatter_add", index).ndim
            and the_tensor("scatter_add", src).ndim
            and self.ndim
        ):
            return ops.scatter_add(self, index, src, axis=axis)
        return ops.scatter_add(*map(_vector, (self, index, src)), axis=axis).reshape(self.shape)

    def scatter_add_(self, dim: int, index: Tensor, src: Tensor) -> Tensor:
        """Add src[.., i, ..] to self[.., index[.., i, ..], ..] along `dim`."""
        return ops.copy_(self, self.scatter_add(dim, index, src))

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Return the entries of `dim` that a vector of integers picks."""
        axis = one_axis("index_select", dim, self.ndim)
        if the_tensor("index_select", index).ndim > 1:
            raise ShapeError(f"index_select: expected a vector of indices, got {index.shape}")
        x, indices = (self, _vector(index)) if self.ndim else (_vector(self), index)
        return ops.index(x, [indices if i == axis else None for i in range(x.ndim)])

    def masked_select(self, mask: Tensor) -> Tensor:
        """Return the elements where `mask` holds, as a vector; both broadcast."""
        if the_tensor("masked_select", mask).dtype is not bool_:
            raise DTypeError(f"masked_select: expected a bool mask, got {mask.dtype.name}")
        shape = broadcast_shapes("masked_select", self.shape, mask.shape)
        return self.expand(shape)[mask.expand(shape)]

    def nonzero(self, *, as_tuple: bool = False) -> Any:
        """Return the indices of what is not 0: a tensor (count, ndim), or a tuple of columns."""
        if as_tuple:
            return _vector(self).nonzero().unbind(1)
        return ops.nonzero(self)


def _without_leading_ones(x: Tensor) -> Tensor:
    """Return x without its leading axes of size 1, which an assignment allows in excess."""
    lead = next((i for i, size in enumerate(x.shape) if size != 1), x.ndim)
    return ops.reshape(x, shape=x.shape[lead:]) if lead else x


def _vector(x: Any) -> Tensor:
    """Return a 0-d tensor as a vector of one element, any other as it is."""
    return as_tensor(x) if x.ndim else as_tensor(x).reshape(1)


def parse(x: Tensor, key: Any) -> tuple[BasicKey, list[Tensor | None] | None]:
    """Return the view that `key` takes of x, and the index tensors that it applies to the view."""
    entries = list(key) if isinstance(key, tuple) else [key]
    entries = [_entry(x, each) for each in entries]
    used = sum(_axes_of(each) for each in entries)
    dots = [i for i, each in enumerate(entries) if each is Ellipsis]
    if len(dots) > 1:
        raise OutOfRangeError("getitem: an index can only have one ellipsis ('...')")
    if used > x.ndim:
        raise OutOfRangeError(f"getitem: too many indices for shape {x.shape}: {used}")
    fill = [slice(None)] * (x.ndim - used)
    at = dots[0] if dots else len(entries)
    entries = [*entries[:at], *fill, *entries[at + 1 :]]
    return _split(x, entries)


def _plain(shape: Shape, key: Any) -> BasicKey | None:
    """Return the view that `key` takes, if it has ints and slices only, as most keys have."""
    entries = key if key.__class__ is tuple else (key,)
    if len(entries) > len(shape):
        return None
    plain: list[Any] = []
    for entry, size in zip(entries, shape):  # noqa: B905 - the rest of the axes are whole
        if entry.__class__ is int and -size <= entry < size:
            plain.append(entry % size)
        elif entry.__class__ is slice:
            plain.append(_range(entry, size))
        else:
            return None
    plain += [(0, size, 1) for size in shape[len(entries) :]]
    return tuple(plain)


def _entry(x: Tensor, entry: Any) -> Any:
    """Return one entry of a key in its plain form.

    Int, slice, None, Ellipsis, or an index tensor.
    """
    if entry is None or entry is Ellipsis or isinstance(entry, slice):
        return entry
    if isinstance(entry, TensorBase):
        return _index_tensor(as_tensor(entry))
    if isinstance(entry, (bool, np.bool_)):
        return _index_tensor(_on_device_of(x, np.asarray(entry)))
    if isinstance(entry, (list, tuple, np.ndarray)):
        array = np.asarray(entry) if len(entry) else np.zeros(0, np.int64)
        return _index_tensor(_on_device_of(x, array))
    try:
        return entry.__index__()
    except AttributeError:
        raise OperandError(
            f"getitem: expected integers, slices, None, ... or integer or bool tensors, "
            f"got {type(entry).__name__}"
        ) from None


def _on_device_of(x: Tensor, array: Any) -> Tensor:
    if array.dtype.kind not in "iub":
        raise DTypeError(f"getitem: expected integer or bool indices, got {array.dtype}")
    array = array.astype(bool_ if array.dtype.kind == "b" else int64)
    return type(x)(x.device.from_numpy(array), x.device)


def _index_tensor(index: Tensor) -> Tensor:
    if CATEGORY[index.dtype] > 1:
        raise DTypeError(f"getitem: expected integer or bool indices, got {index.dtype.name}")
    return index if index.dtype is bool_ else index.to(int64)


def _axes_of(entry: Any) -> int:
    if entry is None or entry is Ellipsis:
        return 0
    if isinstance(entry, TensorBase) and entry.dtype is bool_:
        return entry.ndim
    return 1


def _split(x: Tensor, entries: Sequence[Any]) -> tuple[BasicKey, list[Tensor | None] | None]:
    """Separate what a view can do from what index tensors do."""
    key: list[Any] = []
    indices: list[Tensor | None] = []
    axis = 0
    for entry in entries:
        if entry is None:
            key.append(None)
            indices.append(None)
        elif isinstance(entry, slice):
            key.append(_range(entry, x.shape[axis]))
            indices.append(None)
            axis += 1
        elif isinstance(entry, TensorBase):
            picked = _picks(x, as_tensor(entry), axis)
            covered = x.shape[axis : axis + _axes_of(entry)]
            # a 0-d mask covers no axis: it picks from a new one
            key += [(0, size, 1) for size in covered] if covered else [None]
            indices += picked
            axis += len(covered)
        else:
            key.append(_position(entry, x.shape[axis], x))
            axis += 1
    return tuple(key), indices if any(each is not None for each in indices) else None


def _picks(x: Tensor, index: Tensor, axis: int) -> list[Tensor]:
    """Return one integer tensor per axis that `index`, integers or a mask, stands for."""
    if index.dtype is not bool_:
        return [index]
    covered = x.shape[axis : axis + index.ndim]
    if index.shape != covered:
        raise OutOfRangeError(
            f"getitem: a mask of shape {index.shape} does not fit {x.shape} from axis {axis} on"
        )
    if not index.ndim:
        return [ops.nonzero(index.reshape(1)).select(1, 0)]
    found = ops.nonzero(index)
    return [found.select(1, i) for i in range(index.ndim)]


def _range(entry: slice, size: int) -> tuple[int, int, int]:
    if entry.step == 0:
        raise OutOfRangeError("getitem: expected a slice step other than 0")
    start, stop, step = entry.indices(size)
    count = len(range(start, stop, step))
    return (start, count, step) if count else (0, 0, 1)


def _position(index: int, size: int, x: Tensor) -> int:
    if not -size <= index < size:
        raise OutOfRangeError(
            f"getitem: index {index} is out of range for size {size} of {x.shape}"
        )
    return index % size
