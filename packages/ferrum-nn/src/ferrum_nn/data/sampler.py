"""In which order samples are taken, and which of them make a batch.

What is random in an order is drawn as a pass begins, from `generator` or else from the default
generator: its state decides the order, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from operator import index
from typing import Any, Generic, TypeVar

import numpy as np

from ferrum import Generator, Tensor, float64, rand, randint, randperm
from ferrum.errors import ArgumentError, OperandError, UnsupportedError
from ferrum_nn.data.dataset import length_of

T_co = TypeVar("T_co", covariant=True)


class Sampler(Generic[T_co]):
    """An order: `__iter__` gives the numbers of samples, or lists of numbers, of one pass."""

    def __iter__(self) -> Iterator[T_co]:
        raise UnsupportedError(f"{type(self).__name__}: the sampler defines no __iter__(self)")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ... to the length of the data."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __len__(self) -> int:
        return length_of(self.data_source)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))


class RandomSampler(Sampler[int]):
    """The numbers of the data in random order, `num_samples` of them or as many as there are data.

    With `replacement` each is drawn from all of them. Without, no number comes again before all of
    them have come.
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = _flag("RandomSampler", "replacement", replacement)
        self._num_samples = None if num_samples is None else above_0("RandomSampler", num_samples)
        self.generator = check_generator("RandomSampler", generator)

    @property
    def num_samples(self) -> int:
        """How many numbers a pass has."""
        return length_of(self.data_source) if self._num_samples is None else self._num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        size, count = length_of(self.data_source), self.num_samples
        if size == 0 and count:
            raise ArgumentError(f"RandomSampler: cannot draw {count} samples of no data")
        if self.replacement:
            return iter(randint(size, (count,), generator=self.generator).tolist() if size else ())
        order: list[int] = []
        while len(order) < count:
            order += randperm(size, generator=self.generator).tolist()
        return iter(order[:count])


class SubsetRandomSampler(Sampler[int]):
    """These numbers in random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = check_generator("SubsetRandomSampler", generator)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        order = randperm(len(self), generator=self.generator).tolist()
        return iter([self.indices[i] for i in order])


class WeightedRandomSampler(Sampler[int]):
    """`num_samples` numbers, each drawn with a chance in proportion to its weight.

    Without `replacement` no number comes twice: each gets a key Exp(1)/weight, and the smallest
    keys win, in their order (Efraimidis and Spirakis, 2006).
    """

    def __init__(
        self,
        weights: Sequence[float] | Tensor,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        self.num_samples = above_0("WeightedRandomSampler", num_samples)
        self.replacement = _flag("WeightedRandomSampler", "replacement", replacement)
        self.generator = check_generator("WeightedRandomSampler", generator)
        array = weights.detach().numpy() if isinstance(weights, Tensor) else weights
        try:
            self.weights = np.array(array, dtype=float64)
        except (TypeError, ValueError):
            raise OperandError(
                f"WeightedRandomSampler: expected a sequence of weights, got {weights!r}"
            ) from None
        if self.weights.ndim != 1:
            raise ArgumentError(
                f"WeightedRandomSampler: expected weights of one axis, got {self.weights.shape}"
            )
        possible = np.count_nonzero(self.weights)
        if not (np.isfinite(self.weights).all() and (self.weights >= 0).all() and possible):
            raise ArgumentError(
                "WeightedRandomSampler: expected finite weights of at least 0, and one above 0"
            )
        if not self.replacement and self.num_samples > possible:
            raise ArgumentError(
                f"WeightedRandomSampler: cannot draw {self.num_samples} of {possible} weights "
                f"above 0 without replacement"
            )

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        weights = self.weights / self.weights.max()
        (possible,) = weights.nonzero()
        weights = weights[possible]
        size = self.num_samples if self.replacement else len(possible)
        draws = rand(size, generator=self.generator, dtype=float64).numpy()
        if self.replacement:
            ends = weights.cumsum()
            places = ends.searchsorted(draws * ends[-1], side="right").clip(max=len(ends) - 1)
        else:
            with np.errstate(over="ignore"):
                keys = -np.log1p(-draws) / weights
            places = keys.argsort(kind="stable")[: self.num_samples]
        return iter(possible[places].tolist())


class DistributedSampler(Sampler[int]):
    """The share of one of several processes that train together: each rank its own samples.

    All ranks draw one order from `seed` and the epoch, and rank r takes entries r, r +
    num_replicas, ... So that shares are equal, the order is filled up from its beginning, or with
    `drop_last` cut. Call `set_epoch` before each pass, or every pass has the same order.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            raise ArgumentError(
                "DistributedSampler: expected num_replicas and rank, the number of processes and "
                "this one's place among them; there is no process group to take them from, so "
                "give both"
            )
        self.dataset = dataset
        self.num_replicas = above_0("DistributedSampler", num_replicas, "num_replicas")
        self.rank = _integer("DistributedSampler", rank, "rank")
        if not 0 <= self.rank < self.num_replicas:
            raise ArgumentError(
                f"DistributedSampler: expected a rank from 0 to {self.num_replicas - 1}, got {rank}"
            )
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
        self.epoch = 0
        size = length_of(dataset)
        self.num_samples = size // num_replicas if drop_last else -(-size // num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        order = list(range(length_of(self.dataset)))
        if self.shuffle:
            order = randperm(len(order), generator=Generator(self.seed + self.epoch)).tolist()
        if order and self.total_size > len(order):
            order *= -(-self.total_size // len(order))
        return iter(order[self.rank : self.total_size : self.num_replicas])

    def set_epoch(self, epoch: int) -> None:
        """Say which pass comes next, so that it has an order of its own."""
        self.epoch = _integer("DistributedSampler", epoch, "epoch")


class BatchSampler(Sampler[list[int]]):
    """What a sampler gives, in lists of `batch_size`; the last may be shorter, or is dropped."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        self.sampler = sampler
        self.batch_size = above_0("BatchSampler", batch_size, "batch_size")
        self.drop_last = _flag("BatchSampler", "drop_last", drop_last)

    def __len__(self) -> int:
        size = length_of(self.sampler)
        return size // self.batch_size if self.drop_last else -(-size // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        return self._batches(iter(self.sampler))  # which draws now, not with the first batch

    def _batches(self, indices: Iterator[int]) -> Iterator[list[int]]:
        while batch := list(islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch


def check_generator(name: str, generator: Any) -> Generator | None:
    """Return a Generator, or None; OperandError for anything else."""
    if generator is not None and not isinstance(generator, Generator):
        raise OperandError(f"{name}: expected a Generator, got {type(generator).__name__}")
    return generator


def _flag(name: str, argument: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise OperandError(f"{name}: expected True or False as {argument}, got {value!r}")
    return value


def above_0(name: str, given: Any, argument: str = "num_samples") -> int:
    """Return an integer above 0; OperandError or ArgumentError for anything else."""
    size = _integer(name, given, argument)
    if size < 1:
        raise ArgumentError(f"{name}: expected a {argument} above 0, got {given}")
    return size


def _integer(name: str, given: Any, argument: str) -> int:
    with suppress(TypeError):
        if not isinstance(given, bool):
            return index(given)
    raise OperandError(f"{name}: expected an integer as {argument}, got {given!r}")
