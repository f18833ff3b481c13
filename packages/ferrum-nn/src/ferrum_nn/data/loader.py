"""Going through a data set in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from math import isfinite
from operator import index
from typing import TYPE_CHECKING, Any

from ferrum import Generator, default_device, get_default_dtype, randint
from ferrum.errors import ArgumentError, OperandError, UnsupportedError
from ferrum.random import default_generator
from ferrum_nn.data.collate import default_collate, default_convert
from ferrum_nn.data.dataset import Indexed, IterableDataset, length_of
from ferrum_nn.data.fetch import EXHAUSTED, Fetch, draws_of
from ferrum_nn.data.sampler import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    above_0,
    check_generator,
)
from ferrum_nn.errors import StateDictError

if TYPE_CHECKING:  # multiprocessing costs a while, and is imported where there are workers
    from multiprocessing.context import BaseContext

    from ferrum_nn.data.workers import Pool

States = list[list[int]]
OTHER = 0x5EED_5EED_5EED_5EED  # sets the seed of a pass apart from the draw of its order

# What else is made from, as PyTorch has it: to set it later would change nothing.
_SETTLED = {
    "dataset", "batch_size", "drop_last", "sampler", "batch_sampler", "persistent_workers",
    "collate_fn",
}  # fmt: skip


@dataclass
class _Record:
    """A pass: the generators' states as it began, and the batches handed out since."""

    begin: States
    batches: int


class DataLoader:
    """Hands out a data set in batches: `for x, y in DataLoader(data, batch_size=32, shuffle=True)`.

    With `shuffle` each pass has a new order, drawn from `generator` or else the default generator
    as the pass begins: the state of the generator decides it, and nothing else. A `sampler` gives
    an order of its own, a `batch_sampler` the numbers of whole batches. The last batch may be
    smaller, or is left out with `drop_last`. `collate_fn` makes a batch of a list of samples;
    `default_collate` does it if none is given. With a `batch_size` of None samples come one by one,
    each through `collate_fn` or `default_convert`.

    With `num_workers` processes make the batches, `prefetch_factor` each ahead (2), and hand them
    over in shared memory. Order and content are the same for any number of workers, random numbers
    included: while a batch is made, the default generator draws what belongs to this batch. Workers
    use one thread. They are started by `multiprocessing_context`: "forkserver"
    if none is given, "spawn", "fork" or a context; all but "fork" pickle the data set and the
    functions. `worker_init_fn(id)` runs in each as it starts;
    `persistent_workers` keeps them from pass to pass. What a worker raises is raised here; one that
    dies, or gives no batch for `timeout` seconds (0: wait for ever), is a WorkerError.

    `state_dict()` between two batches, or two passes, says where the loader is, and a loader made
    alike goes on from there after `load_state_dict()`, if its sampler is one of FERRUM's.
    """

    def __init__(
        self,
        dataset: Indexed,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: str | BaseContext | None = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        iterable = isinstance(dataset, IterableDataset)
        _check_kinds(dataset, pin_memory, collate_fn=collate_fn, worker_init_fn=worker_init_fn)
        if batch_size is not None:
            batch_size = above_0("DataLoader", batch_size, "batch_size")
        _check_order(iterable, batch_size, shuffle, sampler, batch_sampler, drop_last)
        self.dataset = dataset
        self.generator = check_generator("DataLoader", generator)
        self.num_workers = _workers(num_workers)
        self.timeout = _seconds(timeout)
        self.prefetch_factor = _only_with_workers(
            num_workers, prefetch_factor, persistent_workers, self.timeout
        )
        self.persistent_workers = persistent_workers
        self.worker_init_fn = worker_init_fn
        self.pin_memory = False
        self.multiprocessing_context = _context(num_workers, multiprocessing_context)
        if sampler is None and not iterable:
            sampler = (
                RandomSampler(dataset, generator=generator)
                if shuffle
                else SequentialSampler(dataset)
            )
        self.sampler = sampler
        if batch_sampler is not None:
            batch_size = None
        elif batch_size is not None and sampler is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size, self.drop_last = batch_size, drop_last
        self.batch_sampler = batch_sampler
        batched = batch_size is not None or batch_sampler is not None
        self.collate_fn = collate_fn or (default_collate if batched else default_convert)
        self._fetch = Fetch(dataset, self.collate_fn, batch_size, drop_last, batched)
        self._pool: Pool | None = None
        self._record: _Record | None = None
        self._resumed: _Record | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, unless others were made from it."""
        if name in _SETTLED and name in self.__dict__:
            raise ArgumentError(f"DataLoader: {name} is settled; make another loader with it")
        super().__setattr__(name, value)

    def __len__(self) -> int:
        """Return the number of batches in a pass."""
        if self.batch_sampler is not None:
            return length_of(self.batch_sampler)
        if self.sampler is not None:
            return length_of(self.sampler)
        size, batch_size = length_of(self.dataset), self.batch_size or 1
        return size // batch_size if self.drop_last else -(-size // batch_size)

    def __iter__(self) -> Iterator[Any]:
        record, self._resumed = self._resumed or _Record(self._states(), 0), None
        now = self._states()
        self._set_states(record.begin)
        sampler = self.sampler if self.batch_sampler is None else self.batch_sampler
        batches = repeat(None) if sampler is None else iter(sampler)
        seed = 0 if self._fetch.cuts else self._seed(record.begin)
        done = record.batches
        if done or record.begin != now:  # resumed: the draws were made when the pass began
            self._set_states(now)
        self._record = record
        if sampler is not None:
            return _Pass(self, record, self._run(islice(batches, done, None), seed, done))
        # an iterable data set has no numbers: its batches are made again, up to the next
        return _Pass(self, record, islice(self._run(batches, seed, 0), done, None))

    def _run(self, batches: Iterator[Any], seed: int, first: int) -> Iterator[Any]:
        if not self.num_workers:
            return self._made_here(enumerate(batches, first), seed)
        from ferrum_nn.data.workers import Run

        pool = self._pool if self._pool is not None and self._pool.stop.alive else self._new_pool()
        self._pool = pool if self.persistent_workers else None
        ahead = self.prefetch_factor or 2
        return Run(pool, batches, seed, first, ahead, self.persistent_workers)

    def _new_pool(self) -> Pool:
        from ferrum_nn.data.worker import Recipe
        from ferrum_nn.data.workers import Pool

        recipe = Recipe(
            self._fetch,
            self.worker_init_fn,
            self.num_workers,
            str(default_device()),
            get_default_dtype().name,
        )
        return Pool(recipe, self.multiprocessing_context, self.timeout)

    def _made_here(self, batches: Iterator[tuple[int, Any]], seed: int) -> Iterator[Any]:
        fetch = self._fetch
        if fetch.cuts:
            for _, indices in batches:
                yield fetch(indices)
            return
        with draws_of(seed, 0):
            fetch.start()
        for number, indices in batches:
            with draws_of(seed, number):
                batch = fetch(indices)
            if batch is EXHAUSTED:
                return
            yield batch

    def _seed(self, begin: States) -> int:
        """Return the seed of a pass, and see to it that the next pass has another."""
        generator = self.generator or default_generator
        seed, offset = begin[self._generators().index(generator)]
        if [seed, offset] == list(generator.get_state()):  # no order was drawn from it
            generator.next_key()
        other = Generator().set_state((seed ^ OTHER, offset))
        return int(randint(2**63 - 1, (), generator=other).item())

    # ---- going on later

    def _generators(self) -> list[Generator]:
        """Return the generators that an order may come from, each once."""
        samplers = (self.sampler, self.batch_sampler, getattr(self.batch_sampler, "sampler", None))
        found = [getattr(each, "generator", None) for each in samplers]
        unique = {id(each): each for each in chain(found, [self.generator, default_generator])}
        return [each for each in unique.values() if isinstance(each, Generator)]

    def _states(self) -> States:
        return [list(each.get_state()) for each in self._generators()]

    def _set_states(self, states: States) -> None:
        for generator, state in zip(self._generators(), states, strict=True):
            generator.set_state(state)

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader is, in lists and ints.

        `now` has the states of the generators, `begin` those at the beginning of the latest pass,
        or None if it is over, and `batches` how many it has handed out.
        """
        record = self._resumed or self._record
        return {
            "now": self._states(),
            "begin": None if record is None else record.begin,
            "batches": 0 if record is None else record.batches,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state: the next pass is the rest of the one that it was taken in.

        Sets the generators too, the default one among them. Raises StateDictError where the state
        is not one of such a loader.
        """
        try:
            now, begin = state_dict["now"], state_dict["begin"]
            batches = index(state_dict["batches"])
            for states in (now, begin or now):
                for _, state in zip(self._generators(), states, strict=True):
                    Generator().set_state(state)
            if batches < 0:
                raise ArgumentError(f"expected batches of at least 0, got {batches}")
        except (KeyError, TypeError, ValueError) as error:
            raise StateDictError(
                f"DataLoader: expected the state_dict() of a loader made alike, got one that does "
                f"not fit: {error!r}"
            ) from None
        self._set_states(now)
        self._record = None
        self._resumed = None if begin is None else _Record(begin, batches)


class _Pass:
    """A pass through a loader, which counts its batches."""

    def __init__(self, loader: DataLoader, record: _Record, batches: Iterator[Any]) -> None:
        self.loader, self.record, self.batches = loader, record, batches

    def __iter__(self) -> _Pass:
        return self

    def __next__(self) -> Any:
        try:
            batch = next(self.batches)
        except StopIteration:
            if self.loader._record is self.record:
                self.loader._record = None
            raise
        self.record.batches += 1
        return batch


# ---- what arguments must be


def _check_kinds(dataset: Any, pin_memory: Any, **functions: Any) -> None:
    if not hasattr(type(dataset), "__getitem__"):
        raise OperandError(
            f"DataLoader: expected a data set with __len__ and __getitem__, such as a list, or an "
            f"IterableDataset, got {type(dataset).__name__}"
        )
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise OperandError(f"DataLoader: expected a function as {name}, got {function!r}")
    if pin_memory:
        raise UnsupportedError("DataLoader: pin_memory is not there yet; expected False")


def _check_order(
    iterable: bool,
    batch_size: int | None,
    shuffle: bool | None,
    sampler: Any,
    batch_sampler: Any,
    drop_last: bool,
) -> None:
    if iterable and (shuffle or sampler is not None or batch_sampler is not None):
        raise ArgumentError(
            "DataLoader: an IterableDataset has an order of its own; expected no shuffle, sampler "
            "or batch_sampler"
        )
    for name, given in (("sampler", sampler), ("batch_sampler", batch_sampler)):
        if given is not None and not hasattr(type(given), "__iter__"):
            raise OperandError(f"DataLoader: expected something to iterate as {name}, got {given}")
    if sampler is not None and shuffle:
        raise ArgumentError("DataLoader: expected a sampler or shuffle, got both")
    if batch_sampler is not None and (
        batch_size != 1 or shuffle or sampler is not None or drop_last
    ):
        raise ArgumentError(
            "DataLoader: a batch_sampler says it all; expected no batch_size, shuffle, sampler or "
            "drop_last with it"
        )
    if batch_size is None and drop_last:
        raise ArgumentError("DataLoader: drop_last takes a batch_size")


def _workers(num_workers: Any) -> int:
    if isinstance(num_workers, bool) or not hasattr(num_workers, "__index__"):
        raise OperandError(f"DataLoader: expected an integer as num_workers, got {num_workers!r}")
    if index(num_workers) < 0:
        raise ArgumentError(f"DataLoader: expected at least 0 num_workers, got {num_workers}")
    return index(num_workers)


def _seconds(timeout: Any) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise OperandError(f"DataLoader: expected seconds as timeout, got {timeout!r}")
    if not isfinite(timeout) or timeout < 0:
        raise ArgumentError(f"DataLoader: expected a timeout of at least 0 s, got {timeout}")
    return timeout


def _only_with_workers(
    num_workers: int, prefetch: Any, persistent: Any, timeout: float
) -> int | None:
    if prefetch is not None:
        prefetch = above_0("DataLoader", prefetch, "prefetch_factor")
    if not num_workers and (prefetch is not None or persistent or timeout):
        raise ArgumentError(
            "DataLoader: prefetch_factor, persistent_workers and timeout need num_workers above 0"
        )
    return 2 if num_workers and prefetch is None else prefetch


def _context(num_workers: int, given: Any) -> Any:
    if not num_workers:
        if given is not None:
            raise ArgumentError("DataLoader: multiprocessing_context needs num_workers above 0")
        return None
    import multiprocessing
    from multiprocessing.context import BaseContext

    if given is None:
        given = "forkserver"  # which no thread of this process can disturb, and no lock
    if isinstance(given, str):
        if given not in multiprocessing.get_all_start_methods():
            raise ArgumentError(
                f"DataLoader: expected fork, forkserver or spawn as multiprocessing_context, got "
                f"{given!r}"
            )
        return multiprocessing.get_context(given)
    if not isinstance(given, BaseContext):
        raise OperandError(
            f"DataLoader: expected a start method or a context as multiprocessing_context, got "
            f"{given!r}"
        )
    return given
