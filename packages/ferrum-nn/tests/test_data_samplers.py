"""Samplers, combined data sets, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ferrum as fe
from ferrum.errors import ArgumentError, OperandError, OutOfRangeError, ShapeError, UnsupportedError
from ferrum_nn import data
from ferrum_nn.errors import StateDictError


def generator(seed=0):
    return fe.Generator(seed)


@given(st.integers(1, 12), st.integers(1, 40), st.booleans(), st.integers(0, 99))
def test_random_sampler(size, count, replacement, seed):
    sampler = data.RandomSampler(range(size), replacement, count, generator(seed))
    order = list(sampler)
    assert len(order) == len(sampler) == count
    assert set(order) <= set(range(size))
    assert order == list(data.RandomSampler(range(size), replacement, count, generator(seed)))
    if not replacement:  # nothing again before all have come
        for start in range(0, count - size + 1, size):
            assert sorted(order[start : start + size]) == list(range(size))


def test_an_order_is_drawn_as_a_pass_begins():
    for make in (
        lambda g: data.RandomSampler(range(5), generator=g),
        lambda g: data.SubsetRandomSampler([5, 6], g),
        lambda g: data.WeightedRandomSampler([1, 2], 3, generator=g),
        lambda g: data.BatchSampler(data.RandomSampler(range(5), generator=g), 2, False),
    ):
        source = generator()
        iter(make(source))
        assert source.get_state() == (0, 1)
    assert sorted(data.SubsetRandomSampler([5, 9, 7])) == [5, 7, 9]
    assert list(data.RandomSampler([])) == list(data.SubsetRandomSampler([])) == []


@pytest.mark.parametrize("replacement", [True, False])
def test_weights_are_chances(replacement):
    weights = np.array([0.0, 1.0, 2.0, 5.0])
    firsts = np.zeros(4)
    source = generator(3)
    if replacement:
        draws = list(data.WeightedRandomSampler(weights, 20_000, generator=source))
        firsts += np.bincount(draws, minlength=4)
    else:
        for _ in range(4000):
            draws = list(data.WeightedRandomSampler(fe.tensor(weights), 3, False, source))
            assert sorted(draws) == [1, 2, 3]
            firsts[draws[0]] += 1
    expected = weights / weights.sum()
    deviation = np.sqrt(expected * (1 - expected) / firsts.sum())
    assert (abs(firsts / firsts.sum() - expected) <= 4 * deviation).all()
    assert list(data.WeightedRandomSampler([1e-320, 0], 1, False)) == [0]


@given(st.integers(0, 20), st.integers(1, 5), st.booleans(), st.integers(0, 9))
def test_shares_cover_an_epoch(size, replicas, drop_last, epoch):
    shares = []
    for rank in range(replicas):
        sampler = data.DistributedSampler(range(size), replicas, rank, drop_last=drop_last, seed=4)
        sampler.set_epoch(epoch)
        shares.append(list(sampler))
        assert len(shares[-1]) == len(sampler)
    dealt = [i for share in shares for i in share]
    assert set(dealt) <= set(range(size))
    if drop_last:
        assert len(set(dealt)) == len(dealt) == size - size % replicas
    else:
        assert set(dealt) == set(range(size))
    if size > 6:
        whole = data.DistributedSampler(range(size), 1, 0)
        assert len({str([whole.set_epoch(i), *whole]) for i in range(epoch, epoch + 4)}) > 1


def test_fractions_round_to_the_first():
    parts = data.random_split(range(11), [0.5, 0.25, 0.25], generator(1))
    assert [len(each) for each in parts] == [6, 3, 2]
    assert [list(p) for p in data.random_split(range(11), [6, 3, 2], generator(1))] == [
        list(p) for p in parts
    ]


def test_a_subset_of_tensors_is_cut():
    tensors = data.TensorDataset(fe.arange(10), fe.arange(10) * 2)
    train, _ = data.random_split(tensors, [6, 4], generator(1))
    loader = data.DataLoader(train, 4, shuffle=True, generator=generator(2))
    assert loader._fetch.cuts
    batches = list(loader)
    assert [x.shape for x, _ in batches] == [(4,), (2,)]
    assert sorted(i for x, _ in batches for i in x.tolist()) == sorted(train.indices)
    assert all((x * 2 == y).all() for x, y in batches)
    one_by_one = data.DataLoader(
        train, 4, shuffle=True, generator=generator(2), collate_fn=lambda b: data.default_collate(b)
    )
    assert [x.tolist() for x, _ in one_by_one] == [x.tolist() for x, _ in batches]


def test_a_subclass_of_tensor_dataset_is_asked():
    class Negative(data.TensorDataset):
        def __getitem__(self, index):
            return -self.tensors[0][index]

    (batch,) = data.DataLoader(Negative(fe.arange(3)), 3)
    assert batch.tolist() == [0, -1, -2]


def test_getitems_is_asked_once():
    class Many(data.Dataset):
        def __len__(self):
            return 4

        def __getitems__(self, indices):
            return [10 * i for i in indices]

    assert [x.tolist() for x in data.DataLoader(Many(), 3)] == [[0, 10, 20], [30]]
    Many.__getitems__ = lambda self, indices: [1]
    with pytest.raises(ShapeError, match="Many: expected 3 samples of __getitems__, got 1"):
        list(data.DataLoader(Many(), 3))


def test_any_sampler_will_do():
    assert list(data.DataLoader("abcde", 2, sampler=[4, 0, 1])) == [["e", "a"], ["b"]]
    assert list(data.DataLoader("abcde", batch_sampler=[[4], [0, 1]])) == [["e"], ["a", "b"]]
    loader = data.DataLoader("abcde", None, sampler=[3, 3])
    assert list(loader) == ["d", "d"]
    assert len(loader) == 2


class Nothing(data.IterableDataset):
    pass


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: iter(Nothing()), UnsupportedError, r"defines no __iter__\(self\)"),
        (lambda: len(data.DataLoader(Nothing())), OperandError, r"defines no __len__\(self\)"),
        (lambda: iter(data.Sampler()), UnsupportedError, r"the sampler defines no __iter__"),
        (lambda: data.ConcatDataset([Nothing()]), OperandError, "use ChainDataset"),
        (lambda: list(data.ChainDataset([[1]])), OperandError, "expected IterableDatasets"),
        (lambda: data.ConcatDataset([[1], [2]])[2], OutOfRangeError, "index 2 is out of range"),
        (lambda: data.ConcatDataset([[1], [2]])[-3], OutOfRangeError, "index -3 is out of range"),
        (lambda: list(data.RandomSampler([], num_samples=2)), ArgumentError, "of no data"),
        (lambda: data.RandomSampler([1], generator=5), OperandError, "expected a Generator"),
        (lambda: data.RandomSampler([1], num_samples=1.5), OperandError, "an integer as num_s"),
        (lambda: data.WeightedRandomSampler([0, 0], 1), ArgumentError, "and one above 0"),
        (lambda: data.WeightedRandomSampler([], 1), ArgumentError, "and one above 0"),
        (lambda: data.WeightedRandomSampler([-1, 2], 1), ArgumentError, "of at least 0"),
        (lambda: data.WeightedRandomSampler([np.nan], 1), ArgumentError, "finite weights"),
        (lambda: data.WeightedRandomSampler([np.inf], 1), ArgumentError, "finite weights"),
        (lambda: data.WeightedRandomSampler("ab", 1), OperandError, "a sequence of weights"),
        (lambda: data.WeightedRandomSampler([1, 0], 2, False), ArgumentError, "2 of 1 weights"),
        (lambda: data.DistributedSampler([1]), ArgumentError, "no process group .* give both"),
        (lambda: data.DistributedSampler([1], 2), ArgumentError, "no process group .* give both"),
        (lambda: data.DistributedSampler([1], rank=0), ArgumentError, "num_replicas and rank"),
        (lambda: data.DistributedSampler([1], 2, 1.5), OperandError, "an integer as rank"),
        (
            lambda: data.DistributedSampler([1], 2, 1).set_epoch("1"),
            OperandError,
            "an integer as epoch",
        ),
        (lambda: data.DistributedSampler([1], 0, 0), ArgumentError, "num_replicas above 0"),
        (lambda: data.DistributedSampler([1], 2, 2), ArgumentError, "a rank from 0 to 1, got 2"),
        (lambda: data.random_split([1, 2], [1.5, 0.5]), ArgumentError, "add up to 2, or fractions"),
        (lambda: data.random_split([1, 2], [3, -1]), ArgumentError, "lengths of at least 0"),
        (lambda: data.random_split([1, 2], ["a"]), ArgumentError, "lengths of at least 0"),
        (lambda: data.random_split([1, 2], 2), OperandError, "a list of lengths, got 2"),
        (lambda: data.random_split([1, 2], [np.nan, 1]), ArgumentError, "lengths of at least 0"),
        (lambda: data.random_split(Nothing(), [1]), OperandError, "defines no __len__"),
        (lambda: data.DataLoader([1], pin_memory=True), UnsupportedError, "pin_memory is not"),
        (lambda: data.DataLoader([1], num_workers=1.5), OperandError, "integer as num_workers"),
        (lambda: data.DataLoader([1], num_workers=True), OperandError, "integer as num_workers"),
        (lambda: data.DataLoader([1], timeout="5"), OperandError, "seconds as timeout"),
        (lambda: data.DataLoader([1], timeout=np.inf), ArgumentError, "at least 0 s, got inf"),
        (
            lambda: data.DataLoader([1], timeout=5),
            ArgumentError,
            "timeout need num_workers",
        ),
        (lambda: data.DataLoader([1], worker_init_fn=5), OperandError, "as worker_init_fn"),
        (lambda: data.DataLoader([1], sampler=5), OperandError, "to iterate as sampler"),
        (lambda: data.DataLoader([1], batch_sampler=5), OperandError, "iterate as batch_sampler"),
        (lambda: data.DataLoader(Nothing(), shuffle=True), ArgumentError, "order of its own"),
        (lambda: data.DataLoader(Nothing(), sampler=[0]), ArgumentError, "order of its own"),
        (
            lambda: list(
                data.DataLoader(data.TensorDataset(fe.ones(3)), batch_sampler=[[]], num_workers=0)
            ),
            ArgumentError,
            "batches of at least one sample",
        ),
    ],
)
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "change",
    [
        {"now": None},
        {"now": []},
        {"now": [[1, 2]]},
        {"now": [[1, -2]] * 2},
        {"now": [["a", 2]] * 2},
        {"begin": [[1, 2]]},
        {"begin": 5},
        {"batches": -1},
        {"batches": "a"},
        {"batches": None},
    ],
)
def test_a_state_that_does_not_fit(change):
    loader = data.DataLoader([1, 2, 3], generator=generator(), shuffle=True)
    next(iter(loader))
    state = loader.state_dict()
    fe.manual_seed(5)
    with pytest.raises(StateDictError, match="DataLoader: expected the state_dict"):
        loader.load_state_dict({**state, **change})
    with pytest.raises(StateDictError):
        loader.load_state_dict({key: state[key] for key in list(state)[1:]})
    assert loader.state_dict()["batches"] == 1
    assert fe.get_rng_state() == (5, 0)
