"""Worker processes: the same batches for any number, and what they take."""

import gc
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import worker_sets as sets
from worker_sets import descriptors, gone

import ferrum as fe
from ferrum_nn.data import DataLoader, TensorDataset, WorkerError, get_worker_info

SPAWN = pytest.param(1, "spawn", True, marks=pytest.mark.slow)
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def plain(batch):
    """Return a batch as something to compare."""
    if isinstance(batch, dict):
        return {key: plain(value) for key, value in batch.items()}
    return batch.tolist() if isinstance(batch, fe.Tensor) else batch


def passes(workers, method="fork", seed=1, data=None, count=2, **options):
    """Return the batches of some passes."""
    if workers:
        options["multiprocessing_context"] = method
    loader = DataLoader(
        data or sets.Noisy(),
        8,
        shuffle=None if isinstance(data, sets.Counting) else True,
        num_workers=workers,
        generator=fe.Generator(seed),
        **options,
    )
    return [[plain(batch) for batch in loader] for _ in range(count)]


@pytest.fixture
def leftovers():
    with sets.nothing_left():
        yield


# ---- the same for any number of workers


@pytest.fixture(scope="module")
def expected():
    return passes(0)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_batches_do_not_depend_on_the_workers(workers, expected):
    assert passes(workers) == expected


@pytest.mark.parametrize(
    ("workers", "method", "keep"), [(2, "forkserver", False), (2, "forkserver", True), SPAWN]
)
def test_nor_on_how_they_start(workers, method, keep, expected):
    assert passes(workers, method, persistent_workers=keep) == expected


def test_passes_differ_and_a_batch_does_not_disturb_the_default_generator(expected):
    assert expected[0] != expected[1]
    fe.manual_seed(3)
    for _ in DataLoader(sets.Noisy(), 8, generator=fe.Generator(1)):
        pass
    assert fe.get_rng_state() == (3, 0)
    one, two = (passes(0, seed=7, count=1) for _ in range(2))
    assert one == two


def test_passes_in_order_draw_anew():
    """Without a shuffle too, or each pass would augment alike."""
    loader = DataLoader(sets.Noisy(4), 4)
    fe.manual_seed(3)
    first, second = (plain(next(iter(loader))) for _ in range(2))
    assert first["i"] == second["i"]
    assert first["x"] != second["x"]


@pytest.mark.parametrize("workers", [0, 2])
def test_tensors_are_cut_in_workers_too(workers):
    data = TensorDataset(fe.arange(10), fe.ones(10, 20_000))
    batches = passes(workers, data=data, count=1)[0]
    assert [x for batch in batches for x in plain(batch[0])] == fe.randperm(
        10, generator=fe.Generator(1)
    ).tolist()
    assert batches[0][1].shape == (8, 20_000)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_iterable(workers):
    loader = DataLoader(
        sets.Counting(), 3, num_workers=workers, multiprocessing_context="fork" if workers else None
    )
    batches = [batch.tolist() for batch in loader]
    assert sorted(chain(*batches)) == list(range(20))
    if workers == 2:
        assert batches[:2] == [[0, 2, 4], [1, 3, 5]]
    else:
        assert list(chain(*batches)) == list(range(20))
    ones = DataLoader(sets.Counting(), batch_size=None, num_workers=workers)
    assert sorted(ones) == list(range(20))


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_everything_arrives_whole(method):
    loader = DataLoader(
        sets.Kinds(3),
        3,
        num_workers=1,
        collate_fn=sets.odd_batch,
        multiprocessing_context=method,
    )
    (batch,) = loader
    ours = sets.odd_batch([0, 1, 2])
    for got, expected in zip(batch["tensors"], ours["tensors"], strict=True):
        assert (got.dtype, got.shape, got.device) == (
            expected.dtype,
            expected.shape,
            expected.device,
        )
        assert got.tolist() == expected.tolist()
    for got, expected in zip(batch["arrays"], ours["arrays"], strict=True):
        np.testing.assert_array_equal(got, expected, strict=True)
    assert batch["leaf"].requires_grad
    assert batch["leaf"].is_leaf
    assert batch["samples"] == [0, 1, 2]
    batch["tensors"][-1].fill_(1)
    batch["arrays"][0][:] = 0  # memory of its own, which may be written


def test_what_a_worker_is():
    fe.manual_seed(4)
    loader = DataLoader(
        sets.Kinds(4),
        1,
        num_workers=2,
        collate_fn=sets.facts,
        worker_init_fn=sets.mark,
        generator=fe.Generator(3),
    )
    first, second, *_ = batches = list(loader)
    assert [each["info"] for each in batches] == [(0, 2, 4), (1, 2, 4)] * 2
    assert [each["mark"] for each in batches] == ["worker 0", "worker 1"] * 2
    assert second["seed"] == first["seed"] + 1
    assert first["numpy"] != second["numpy"]
    assert not any(each["mpi"] for each in batches)
    assert all(each["threads"] == 1 for each in batches)
    assert {each["device"] for each in batches} == {str(fe.default_device())}
    assert get_worker_info() is None


def test_large_data_sets_are_shared_not_copied():
    data = TensorDataset(fe.arange(500_000), fe.ones(500_000))
    (batch,) = DataLoader(data, 500_000, num_workers=2, multiprocessing_context="forkserver")
    assert int(batch[0].sum()) == 500_000 * 499_999 // 2


# ---- persistent workers


@pytest.mark.usefixtures("leftovers")
def test_persistent_workers_stay():
    options = {"num_workers": 2, "multiprocessing_context": "fork", "collate_fn": sets.pid_batch}
    loader = DataLoader(sets.Kinds(6), persistent_workers=True, **options)
    first, second = set(loader), set(loader)
    assert first == second
    assert len(first) == 2
    iterator = iter(loader)
    assert next(iterator) in first
    assert set(loader) == first  # a pass left half-way does not show in the next
    with pytest.raises(WorkerError, match="another pass has begun"):
        next(iterator)
    del loader, iterator
    gc.collect()
    assert gone(first)
    loader = DataLoader(sets.Kinds(6), **options)
    first, second = set(loader), set(loader)
    assert not first & second
    assert gone(first | second)


@pytest.mark.usefixtures("leftovers")
def test_after_an_error_persistent_workers_start_anew():
    loader = DataLoader(
        sets.Broken(sets.lookup), num_workers=2, persistent_workers=True, sampler=[1, 5]
    )
    for _ in range(2):
        iterator = iter(loader)
        assert next(iterator).tolist() == [1]
        with pytest.raises(KeyError):
            next(iterator)
        with pytest.raises(StopIteration):
            next(iterator)


@pytest.mark.usefixtures("leftovers")
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_leaving_a_pass_ends_its_workers(method):
    options = {"collate_fn": sets.pid_batch, "multiprocessing_context": method}
    iterator = iter(DataLoader(sets.Kinds(100), num_workers=2, **options))
    pids = [next(iterator), next(iterator)]
    start = time.monotonic()
    del iterator
    gc.collect()
    assert gone(pids, 2)
    assert time.monotonic() - start < 2


# ---- what they take


@pytest.mark.serial
def test_nothing_grows():
    loader = DataLoader(
        sets.Noisy(8), 8, num_workers=2, multiprocessing_context="fork", persistent_workers=True
    )
    once = DataLoader(sets.Noisy(8), 8, num_workers=2)

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    for _ in range(50):
        list(loader)
    list(once)
    before, memory = descriptors(), resident()
    for _ in range(100):
        list(loader)
    for _ in range(5):
        list(once)
    assert descriptors() == before
    assert resident() - memory < 1 << 20


def test_batches_may_be_kept():
    """More than there are descriptors for, were each to hold one."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (330, hard))
    try:
        data = TensorDataset(fe.ones(4, 270_000, dtype=fe.uint8))
        loader = DataLoader(data, 4, num_workers=1, sampler=[0, 1, 2, 3] * 360)
        batches = list(loader)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(batches) == 360


# ---- going on later


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("own", [True, False])
def test_a_loader_goes_on_from_any_batch(workers, own):
    def make(data=None):
        return DataLoader(
            data or sets.Noisy(),
            8,
            shuffle=None if data else True,
            num_workers=workers,
            generator=fe.Generator(5) if own else None,
            multiprocessing_context="fork" if workers else None,
            persistent_workers=bool(workers),
        )

    for data in (None, sets.Counting(30)):
        fe.manual_seed(6)
        loader, states, batches = make(data), [], []
        for _ in range(2):
            states.append(loader.state_dict())
            for batch in loader:
                fe.rand(2)  # what training draws meanwhile
                batches.append(plain(batch))
                states.append(loader.state_dict())
        per_pass = len(batches) // 2
        position = 0
        for number, state in enumerate(states):
            position = number - number // (per_pass + 1)
            if workers and number % 3:
                continue
            fe.manual_seed(77)
            again = make(data)
            again.load_state_dict(state)
            assert again.state_dict() == state
            rest = []
            while len(rest) < len(batches) - position:
                for batch in again:
                    fe.rand(2)
                    rest.append(plain(batch))
            assert rest == batches[position:]
