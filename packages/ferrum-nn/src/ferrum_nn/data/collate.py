"""Making one batch of several samples."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from copy import copy
from typing import Any

import numpy as np

from ferrum import Tensor, as_tensor, float64, from_numpy, stack, tensor
from ferrum.errors import ArgumentError, OperandError, ShapeError

KINDS: tuple[Any, ...] = (
    Tensor,
    (np.ndarray, np.generic),
    (int, float),
    (str, bytes),
    Mapping,
    (tuple, list),
)


def default_collate(batch: Sequence[Any]) -> Any:
    """Return samples of one form as one of that form, whose tensors have a new axis in front.

    Tensors and arrays are stacked, ints and bools become a tensor, floats one of float64, strings
    stay a list; tuples, lists and dicts are collated entry by entry. Raises OperandError for
    anything else and for samples of several kinds, ShapeError where their sizes or keys differ.
    """
    if not batch:
        raise ArgumentError("default_collate: expected at least one sample")
    first = batch[0]
    kind = next((kind for kind in KINDS if isinstance(first, kind)), object)
    for sample in batch:
        if not isinstance(sample, kind):
            raise OperandError(
                f"default_collate: expected samples of one kind, got {type(first).__name__} and "
                f"{type(sample).__name__}; give the DataLoader a collate_fn"
            )
    if isinstance(first, Tensor):
        return stack(batch)
    if isinstance(first, (np.ndarray, np.generic)):
        shapes = {np.shape(array) for array in batch}
        if len(shapes) > 1:
            raise ShapeError(f"default_collate: expected arrays of one shape, got {sorted(shapes)}")
        return from_numpy(np.stack(batch))
    if isinstance(first, float):
        return tensor(list(batch), dtype=float64)
    if isinstance(first, int):
        return tensor(list(batch))
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        if any(sample.keys() != first.keys() for sample in batch):
            raise ShapeError("default_collate: expected samples with the same keys")
        columns = {key: default_collate([sample[key] for sample in batch]) for key in first}
        return _like(first, columns)
    if isinstance(first, (tuple, list)):
        return _entries(batch)
    raise OperandError(
        f"default_collate: expected tensors, arrays, numbers, strings, or tuples, lists or dicts "
        f"of them, got {type(first).__name__}; give the DataLoader a collate_fn"
    )


def _like(first: Mapping[Any, Any], entries: dict[Any, Any]) -> Mapping[Any, Any]:
    """Return a mapping of the kind of `first`, a defaultdict for one, with other entries."""
    if type(first) is dict or not isinstance(first, MutableMapping):
        return entries
    out = copy(first)
    out.update(entries)
    return out


def default_convert(data: Any) -> Any:
    """Return one sample with its arrays as tensors, in tuples, lists and dicts too.

    Everything else, numbers and strings for two, stays what it is. It is what a DataLoader without
    batches does to samples.
    """
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in "OSU" else as_tensor(data)
    if isinstance(data, Mapping):
        return _like(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, tuple):
        return tuple(map(default_convert, data))
    return list(map(default_convert, data)) if isinstance(data, list) else data


def _entries(batch: Sequence[Any]) -> Any:
    first = batch[0]
    if any(len(sample) != len(first) for sample in batch):
        raise ShapeError("default_collate: expected samples with one number of entries")
    columns = [default_collate(column) for column in zip(*batch, strict=True)]
    if hasattr(first, "_fields"):  # a named tuple takes its entries one by one
        return type(first)(*columns)
    return tuple(columns) if isinstance(first, tuple) else columns
