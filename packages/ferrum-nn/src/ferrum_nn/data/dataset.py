"""Where samples come from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import floor, isclose
from numbers import Integral, Real
from operator import index as whole
from typing import Any, Generic, Protocol, TypeVar

from ferrum import Generator, Tensor, randperm
from ferrum.errors import (
    ArgumentError,
    OperandError,
    OutOfRangeError,
    ShapeError,
    UnsupportedError,
)

T_co = TypeVar("T_co", covariant=True)


class Indexed(Protocol):
    """What gives samples by number: data sets, lists, arrays."""

    def __getitem__(self, index: Any, /) -> Any:
        """Return sample number `index`."""


class Dataset(Generic[T_co]):
    """Samples by number: `__getitem__` gives one, and `__len__` says how many there are.

    It may define `__getitems__(indices)` too, which gives the samples of a batch at once. Other
    objects with `__len__` and `__getitem__` do as well, a list for one.
    """

    def __getitem__(self, index: Any, /) -> T_co:
        """Return sample number `index`, from 0 on."""
        raise UnsupportedError(
            f"{type(self).__name__}: the data set defines no __getitem__(self, index)"
        )

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        """Return the samples of both, one after the other."""
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co]):
    """Samples one after the other: `__iter__` gives them, in an order of its own.

    With worker processes each one goes through a copy of the data set, so that `__iter__` must
    choose the worker's share by `get_worker_info()`, or all samples come once a worker.
    """

    def __iter__(self) -> Iterator[T_co]:
        raise UnsupportedError(f"{type(self).__name__}: the data set defines no __iter__(self)")

    def __add__(self, other: IterableDataset[Any]) -> ChainDataset:  # type: ignore[override]
        """Return the samples of both, one after the other."""
        return ChainDataset([self, other])


def length_of(dataset: Any) -> int:
    """Return the number of samples; OperandError from what does not say.

    It is a TypeError, as Python's own is, which `list(loader)` takes for an answer.
    """
    if not hasattr(type(dataset), "__len__"):
        raise OperandError(f"{type(dataset).__name__}: the data set defines no __len__(self)")
    return len(dataset)


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Sample i is entry i of each of the tensors; ShapeError unless they have one length.

    What indexes a tensor indexes the data set: a slice or a tensor of indices gives a whole batch.
    """

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors:
            raise ArgumentError("TensorDataset: expected at least one tensor")
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                raise OperandError(
                    f"TensorDataset: expected tensors, got {type(tensor).__name__}; make a tensor "
                    f"with fe.tensor(...)"
                )
        shapes = [tensor.shape for tensor in tensors]
        if () in shapes or len({shape[0] for shape in shapes}) > 1:
            raise ShapeError(f"TensorDataset: expected tensors of one length, got {shapes}")
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any, /) -> tuple[Tensor, ...]:
        return tuple([tensor[index] for tensor in self.tensors])


class StackDataset(Dataset[Any]):
    """Sample i is sample i of each of the data sets: a tuple, or a dict if they come by keyword."""

    def __init__(self, *args: Indexed, **kwargs: Indexed) -> None:
        if bool(args) == bool(kwargs):
            raise ArgumentError(
                "StackDataset: expected at least one data set, all of them with or without a name"
            )
        self.datasets: tuple[Any, ...] | dict[str, Any] = args or kwargs
        lengths = [length_of(each) for each in args or kwargs.values()]
        if len(set(lengths)) > 1:
            raise ShapeError(f"StackDataset: expected data sets of one length, got {lengths}")
        self._length = lengths[0]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any, /) -> Any:
        if isinstance(self.datasets, dict):
            return {name: each[index] for name, each in self.datasets.items()}
        return tuple([each[index] for each in self.datasets])

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return the samples of these numbers."""
        if isinstance(self.datasets, dict):
            columns = [samples_of(each, indices) for each in self.datasets.values()]
            names = list(self.datasets)
            return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        columns = [samples_of(each, indices) for each in self.datasets]
        return list(zip(*columns, strict=True))


def samples_of(dataset: Any, indices: Sequence[int]) -> Sequence[Any]:
    """Return the samples of these numbers, at once where the data set can."""
    at_once = getattr(dataset, "__getitems__", None)
    if at_once is None:
        return [dataset[i] for i in indices]
    samples: Sequence[Any] = at_once(indices)
    if len(samples) != len(indices):
        raise ShapeError(
            f"{type(dataset).__name__}: expected {len(indices)} samples of __getitems__, got "
            f"{len(samples)}"
        )
    return samples


class ConcatDataset(Dataset[Any]):
    """The samples of several data sets, one data set after the other."""

    def __init__(self, datasets: Iterable[Indexed]) -> None:
        self.datasets: list[Any] = list(datasets)
        if not self.datasets:
            raise ArgumentError("ConcatDataset: expected at least one data set")
        if any(isinstance(each, IterableDataset) for each in self.datasets):
            raise OperandError("ConcatDataset: an IterableDataset has no numbers; use ChainDataset")
        self.cumulative_sizes = list(accumulate(length_of(each) for each in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: Any, /) -> Any:
        i = whole(index)
        if not -len(self) <= i < len(self):
            raise OutOfRangeError(f"ConcatDataset: index {i} is out of range of {len(self)}")
        i %= len(self)
        part = bisect_right(self.cumulative_sizes, i)
        return self.datasets[part][i - (self.cumulative_sizes[part - 1] if part else 0)]


class ChainDataset(IterableDataset[Any]):
    """The samples of several iterable data sets, one data set after the other."""

    def __init__(self, datasets: Iterable[IterableDataset[Any]]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[Any]:
        for each in self.datasets:
            if not isinstance(each, IterableDataset):
                raise OperandError(
                    f"ChainDataset: expected IterableDatasets, got {type(each).__name__}"
                )
            yield from each

    def __len__(self) -> int:
        return sum(length_of(each) for each in self.datasets)


class Subset(Dataset[T_co]):
    """The samples of a data set that have these numbers, in this order."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any, /) -> T_co:
        if isinstance(index, list):
            index = [self.indices[i] for i in index]
            return self.dataset[index]  # type: ignore[no-any-return]
        return self.dataset[self.indices[index]]  # type: ignore[no-any-return]

    def __getitems__(self, indices: Sequence[int]) -> Sequence[T_co]:
        """Return the samples of these numbers."""
        return samples_of(self.dataset, [self.indices[i] for i in indices])


def random_split(
    dataset: Any, lengths: Sequence[float], generator: Generator | None = None
) -> list[Subset[Any]]:
    """Return the samples, dealt out at random, as Subsets of these lengths.

    Lengths that add up to 1 are fractions, rounded down; what is left over goes to the first
    subsets, one sample each. Raises ArgumentError unless lengths add up to the data set's, or to 1.
    """
    if isinstance(lengths, (str, Mapping)) or not isinstance(lengths, Sequence):
        raise OperandError(f"random_split: expected a list of lengths, got {lengths!r}")
    size = length_of(dataset)
    counts = _counts(list(lengths), size)
    order = randperm(size, generator=generator).tolist()
    ends = list(accumulate(counts))
    pairs = zip(ends, counts, strict=True)
    return [Subset(dataset, order[end - count : end]) for end, count in pairs]


def _counts(lengths: list[Any], size: int) -> list[int]:
    if not all(isinstance(each, Real) and float(each) >= 0 for each in lengths):
        raise ArgumentError(f"random_split: expected lengths of at least 0, got {lengths}")
    if isclose(sum(lengths), 1) and all(each <= 1 for each in lengths):
        counts = [floor(size * each) for each in lengths]
        for i in range(size - sum(counts)):
            counts[i % len(counts)] += 1
        return counts
    if not all(isinstance(each, Integral) for each in lengths) or sum(lengths) != size:
        raise ArgumentError(
            f"random_split: expected lengths that add up to {size}, or fractions that add up to 1, "
            f"got {lengths}"
        )
    return lengths
