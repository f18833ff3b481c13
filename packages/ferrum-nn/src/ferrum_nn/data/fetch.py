"""Taking the samples of a batch, in this process or in a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ferrum import tensor
from ferrum.errors import ArgumentError
from ferrum.random import default_generator
from ferrum_nn.data.collate import default_collate
from ferrum_nn.data.dataset import IterableDataset, Subset, TensorDataset, samples_of

EXHAUSTED = "exhausted"  # stands for a batch where an iterable data set has no more samples
DRAWS = 32  # a batch has 2**32 draws of its own


@dataclass(frozen=True)
class WorkerInfo:
    """Which worker of how many this process is, its seed, and its copy of the data set."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


this_worker: dict[str, WorkerInfo] = {}  # empty but in a worker process


def get_worker_info() -> WorkerInfo | None:
    """Return what a worker process knows of itself; None in any other process."""
    return this_worker.get("info")


class Fetch:
    """Makes a batch of the numbers of its samples; of an IterableDataset, the next batch."""

    def __init__(
        self,
        dataset: Any,
        collate_fn: Callable[[Any], Any],
        batch_size: int | None,
        drop_last: bool,
        batched: bool,
    ) -> None:
        self.dataset = dataset
        self.collate_fn = collate_fn
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.batched = batched
        self.samples: Iterator[Any] | None = None
        while type(dataset) is Subset:
            dataset = dataset.dataset
        # cut out of tensors at once; nothing of the user's runs, and nothing is drawn
        self.cuts = batched and collate_fn is default_collate and type(dataset) is TensorDataset

    def start(self) -> None:
        """Begin a pass."""
        self.samples = iter(self.dataset) if isinstance(self.dataset, IterableDataset) else None

    def __call__(self, indices: Any) -> Any:
        """Return the batch, or EXHAUSTED."""
        if self.samples is not None:
            samples = list(islice(self.samples, self.batch_size or 1))
            if not samples or (self.drop_last and len(samples) < (self.batch_size or 1)):
                return EXHAUSTED
            return self.collate_fn(samples if self.batched else samples[0])
        if not self.batched:
            return self.collate_fn(self.dataset[indices])
        if self.cuts:
            return _cut(self.dataset, indices)
        return self.collate_fn(samples_of(self.dataset, indices))


def _cut(dataset: Any, indices: list[Any]) -> Any:
    """Return a batch of a TensorDataset, or of a Subset of one: copies, all of them."""
    while type(dataset) is Subset:
        indices = [dataset.indices[i] for i in indices]
        dataset = dataset.dataset
    if not indices:
        raise ArgumentError("DataLoader: expected batches of at least one sample")
    places = tensor(indices, device=dataset.tensors[0].device)
    return tuple([each[places.to(each.device)] for each in dataset.tensors])


@contextmanager
def draws_of(seed: int, number: int) -> Iterator[None]:
    """Let the default generator draw what belongs to batch `number`, whoever makes the batch.

    So random transforms give the same numbers for any number of workers, and after a resume.
    """
    before = default_generator.get_state()
    default_generator.set_state((seed, number << DRAWS))
    try:
        yield
    finally:
        default_generator.set_state(before)
