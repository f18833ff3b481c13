"""Going through a data set in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import index
from typing import Any

from ferrum import Generator, Tensor, randperm
from ferrum.errors import ArgumentError, OperandError
from ferrum_nn.data.collate import default_collate
from ferrum_nn.data.dataset import Dataset, TensorDataset


class DataLoader:
    """Hands out a data set in batches: `for x, y in DataLoader(data, batch_size=32, shuffle=True)`.

    With `shuffle` each pass has a new order, drawn from `generator` or else the default generator
    as the pass begins: the state of the generator decides it, and nothing else. The last batch may
    be smaller, or is left out with `drop_last`. `collate_fn` makes a batch of a list of samples;
    `default_collate` does it if none is given.

    With a `batch_size` of None samples come one by one, each through `collate_fn`, or as they are.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int | None = 1,
        shuffle: bool = False,
        *,
        collate_fn: Callable[[Any], Any] | None = None,
        drop_last: bool = False,
        generator: Generator | None = None,
    ) -> None:
        for method in ("__len__", "__getitem__"):
            if not hasattr(type(dataset), method):
                raise OperandError(
                    f"DataLoader: expected a data set with __len__ and __getitem__, such as a "
                    f"list, got {type(dataset).__name__}"
                )
        if collate_fn is not None and not callable(collate_fn):
            raise OperandError(f"DataLoader: expected a function as collate_fn, got {collate_fn!r}")
        if generator is not None and not isinstance(generator, Generator):
            raise OperandError(f"DataLoader: expected a Generator, got {type(generator).__name__}")
        if batch_size is None and drop_last:
            raise ArgumentError("DataLoader: drop_last takes a batch_size")
        self.dataset = dataset
        self.batch_size = _batch_size(batch_size)
        self.shuffle = shuffle
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self.generator = generator

    def __len__(self) -> int:
        """Return the number of batches in a pass."""
        size, batch_size = len(self.dataset), self.batch_size or 1
        return size // batch_size if self.drop_last else -(-size // batch_size)

    def __iter__(self) -> Iterator[Any]:
        size, batch_size = len(self.dataset), self.batch_size
        # here, for the body of a generator would not draw before the first batch
        order = randperm(size, generator=self.generator) if self.shuffle else None
        if batch_size is None:
            return self._one_by_one(order)
        starts = range(0, len(self) * batch_size, batch_size)
        spans = [(start, min(start + batch_size, size)) for start in starts]
        if isinstance(self.dataset, TensorDataset) and self.collate_fn is None:
            return _cut(self.dataset.tensors, order, spans)
        return self._collated(order, spans)

    def _one_by_one(self, order: Tensor | None) -> Iterator[Any]:
        for i in _indices(len(self.dataset), order):
            sample = self.dataset[i]
            yield sample if self.collate_fn is None else self.collate_fn(sample)

    def _collated(self, order: Tensor | None, spans: list[tuple[int, int]]) -> Iterator[Any]:
        collate = default_collate if self.collate_fn is None else self.collate_fn
        indices = _indices(len(self.dataset), order)
        for start, end in spans:
            yield collate([self.dataset[i] for i in indices[start:end]])


def _indices(size: int, order: Tensor | None) -> Sequence[int]:
    """Return the numbers of all samples, in `order` if there is one."""
    if order is None:
        return range(size)
    indices: list[int] = order.tolist()
    return indices


def _batch_size(given: Any) -> int | None:
    """Return a batch size that is an integer above 0, or None."""
    if given is None:
        return None
    try:
        size = None if isinstance(given, bool) else index(given)
    except TypeError:
        size = None
    if size is None:
        raise OperandError(f"DataLoader: expected an integer as batch_size, got {given!r}")
    if size < 1:
        raise ArgumentError(f"DataLoader: expected a batch_size above 0, got {given}")
    return size


def _cut(
    tensors: tuple[Tensor, ...], order: Tensor | None, spans: list[tuple[int, int]]
) -> Iterator[tuple[Tensor, ...]]:
    """Yield whole batches of tensors, copies all of them: who gets one may write into it."""
    if order is None:
        for start, end in spans:
            yield tuple([tensor[start:end].clone() for tensor in tensors])
        return
    orders = [order.to(tensor.device) for tensor in tensors]
    for start, end in spans:
        yield tuple([tensor[each[start:end]] for tensor, each in zip(tensors, orders, strict=True)])
