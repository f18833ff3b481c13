"""Going through a data set in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import index
from typing import Any

from ferrum import Generator, Tensor, randperm
from ferrum.errors import ArgumentError
from ferrum_nn.data.collate import default_collate
from ferrum_nn.data.dataset import Dataset, TensorDataset


class DataLoader:
    """Hands out a data set in batches: `for x, y in DataLoader(data, batch_size=32, shuffle=True)`.

    With `shuffle` each pass has a new order, drawn from `generator` or else the default generator
    as the pass begins: the state of the generator decides it, and nothing else. The last batch may
    be smaller, or is left out with `drop_last`. `collate_fn` makes a batch of a list of samples;
    `default_collate` does it if none is given.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        drop_last: bool = False,
        generator: Generator | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = index(batch_size)
        if self.batch_size < 1:
            raise ArgumentError(f"DataLoader: expected a batch_size above 0, got {batch_size}")
        self.shuffle = shuffle
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self.generator = generator

    def __len__(self) -> int:
        """Return the number of batches in a pass."""
        size = len(self.dataset)
        return size // self.batch_size if self.drop_last else -(-size // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        size = len(self.dataset)
        starts = [i * self.batch_size for i in range(len(self))]
        spans = [(start, min(start + self.batch_size, size)) for start in starts]
        # here, for the body of a generator would not draw before the first batch
        order = randperm(size, generator=self.generator) if self.shuffle else None
        if isinstance(self.dataset, TensorDataset) and self.collate_fn is None:
            return _cut(self.dataset.tensors, order, spans)
        indices = range(size) if order is None else order.tolist()
        return self._collated(indices, spans)

    def _collated(self, indices: Sequence[int], spans: list[tuple[int, int]]) -> Iterator[Any]:
        collate = default_collate if self.collate_fn is None else self.collate_fn
        for start, end in spans:
            yield collate([self.dataset[i] for i in indices[start:end]])


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
