"""Data sets, collating, and loaders."""

from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ferrum as fe
import ferrum_nn as nn
from ferrum.errors import ArgumentError, OperandError, ShapeError, UnsupportedError
from ferrum_nn.data import DataLoader, TensorDataset, default_collate

Pair = namedtuple("Pair", "x y")


def numbered(size):
    return TensorDataset(fe.arange(size), fe.arange(size) * 10)


class Squares(nn.data.Dataset):
    """The general road: not a TensorDataset."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return fe.tensor(index), index * 10


# ---- data sets


def test_tensor_dataset():
    data = numbered(4)
    assert len(data) == 4
    assert [x.item() for x in data[2]] == [2, 20]
    assert [x.tolist() for x in data[1:3]] == [[1, 2], [10, 20]]
    assert [x.tolist() for x in data[fe.tensor([3, 0])]] == [[3, 0], [30, 0]]
    with pytest.raises(ShapeError, match=r"TensorDataset: expected tensors of one length, got"):
        TensorDataset(fe.zeros(3), fe.zeros(4))
    with pytest.raises(ArgumentError, match="at least one tensor"):
        TensorDataset()
    with pytest.raises(ShapeError, match=r"of one length, got \[\(\), \(\)\]"):
        TensorDataset(fe.tensor(1), fe.tensor(2))
    for other in (np.zeros(3), [1, 2, 3], 5, None):
        with pytest.raises(OperandError, match="TensorDataset: expected tensors, got"):
            TensorDataset(fe.zeros(3), other)


def test_a_data_set_that_defines_nothing_says_so():
    class Nothing(nn.data.Dataset):
        pass

    with pytest.raises(OperandError, match=r"Nothing: the data set defines no __len__\(self\)"):
        len(DataLoader(Nothing()))
    with pytest.raises(UnsupportedError, match=r"Nothing: the data set defines no __getitem__"):
        Nothing()[0]


# ---- collating


def test_collate_by_kind():
    assert default_collate([fe.ones(2), fe.zeros(2)]).tolist() == [[1, 1], [0, 0]]
    assert default_collate([np.ones(2), np.zeros(2)]).dtype is fe.float64
    assert default_collate([np.float32(1), np.float32(2)]).dtype is fe.float32
    assert default_collate([1, 2]).dtype is fe.int64
    assert default_collate([True, False]).dtype is fe.bool
    assert default_collate([1.5, 2.5]).dtype is fe.float64
    assert default_collate(["a", "b"]) == ["a", "b"]


def test_collate_nested():
    batch = default_collate([{"x": (1, [2.0]), "y": "a"}, {"x": (3, [4.0]), "y": "b"}])
    assert batch["x"][0].tolist() == [1, 3]
    assert isinstance(batch["x"], tuple)
    assert isinstance(batch["x"][1], list)
    assert batch["x"][1][0].tolist() == [2, 4]
    assert batch["y"] == ["a", "b"]
    pair = default_collate([Pair(1, 2), Pair(3, 4)])
    assert type(pair) is Pair
    assert pair.y.tolist() == [2, 4]


def test_collate_refuses():
    with pytest.raises(OperandError, match="default_collate: .* got object; give the DataLoader"):
        default_collate([object()])
    with pytest.raises(ShapeError, match="one number of entries"):
        default_collate([(1, 2), (1,)])
    for pair in ([fe.zeros(2), fe.zeros(3)], [np.zeros(2), np.zeros(3)], [{"a": 1}, {"b": 2}]):
        with pytest.raises(ShapeError):
            default_collate(pair)
    with pytest.raises(ArgumentError, match="default_collate: expected at least one sample"):
        default_collate([])
    for mixed in ([{"a": 1}, 5], [(1, 2), 5], [1, "a"], [1.5, None], [fe.zeros(2), 5]):
        with pytest.raises(OperandError, match="default_collate: expected samples of one kind"):
            default_collate(mixed)


# ---- loaders


@given(st.integers(0, 13), st.integers(1, 6), st.booleans(), st.booleans(), st.booleans())
def test_a_pass_gives_every_sample_once(size, batch_size, shuffle, drop_last, fast):
    data = numbered(size) if fast else Squares(size)
    loader = DataLoader(
        data, batch_size, shuffle, drop_last=drop_last, generator=fe.Generator(size)
    )
    batches = list(loader)
    assert len(batches) == len(loader)
    seen = [i for x, _ in batches for i in x.tolist()]
    assert all(y.tolist() == [10 * i for i in x.tolist()] for x, y in batches)
    full = size - size % batch_size if drop_last else size
    assert len(seen) == len(set(seen)) == full
    if not shuffle:
        assert seen == list(range(full))
    sizes = [len(x) for x, _ in batches]
    assert all(each == batch_size for each in sizes[:-1])


@given(st.integers(1, 20), st.integers(1, 6), st.integers(0, 2**64 - 1))
def test_the_order_is_a_function_of_the_generator(size, batch_size, seed):
    passes = []
    for data in (numbered(size), Squares(size)):
        loader = DataLoader(data, batch_size, shuffle=True, generator=fe.Generator(seed))
        passes.append([[x.tolist() for x, _ in loader] for _ in range(2)])
    assert passes[0] == passes[1]
    order = fe.randperm(size, generator=fe.Generator(seed)).tolist()
    assert [i for batch in passes[0][0] for i in batch] == order


def test_each_pass_has_a_new_order():
    loader = DataLoader(numbered(50), 50, shuffle=True, generator=fe.Generator(0))
    first, second = (next(iter(loader))[0].tolist() for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second)


def test_the_order_is_drawn_when_a_pass_begins():
    generator = fe.Generator(0)
    loader = DataLoader(numbered(9), 3, shuffle=True, generator=generator)
    iter(loader)
    assert generator.get_state() == (0, 1)


def test_the_default_generator_serves_where_none_is_given():
    orders = []
    for _ in range(2):
        fe.manual_seed(5)
        orders.append([x.tolist() for x, _ in DataLoader(numbered(9), 4, shuffle=True)])
    assert orders[0] == orders[1]


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_may_be_written(shuffle):
    data = numbered(6)
    for x, y in DataLoader(data, 2, shuffle=shuffle):
        x.fill_(-1)
        y.mul_(0)
    assert data[:][0].tolist() == list(range(6))


def test_batches_have_gradients_where_the_data_have():
    x = fe.ones(4, requires_grad=True)
    for (batch,) in DataLoader(TensorDataset(x), 3):
        (batch * 2).sum().backward()
    assert x.grad.tolist() == [2] * 4


def test_a_collate_fn_gets_the_samples():
    loader = DataLoader(numbered(3), 2, collate_fn=lambda batch: [x.item() for x, _ in batch])
    assert list(loader) == [[0, 1], [2]]


def test_any_sequence_is_a_data_set():
    assert [x.tolist() for x in DataLoader([3, 1, 2], 2)] == [[3, 1], [2]]
    assert len(DataLoader(range(10), 3, drop_last=True)) == 3


@pytest.mark.parametrize("data", [numbered(4), Squares(4)])
def test_no_batches(data):
    """PyTorch's meaning of a batch_size of None: samples one by one, as they are."""
    loader = DataLoader(data, batch_size=None)
    assert len(loader) == 4
    samples = list(loader)
    assert [int(x) for x, _ in samples] == [0, 1, 2, 3]
    assert all(x.shape == () and y == 10 * x for x, y in samples)
    doubled = DataLoader(data, None, True, collate_fn=lambda s: 2 * int(s[0]))
    assert sorted(doubled) == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ArgumentError, "expected a batch_size above 0, got 0"),
        ({"batch_size": -1}, ArgumentError, "expected a batch_size above 0, got -1"),
        ({"batch_size": 2.5}, OperandError, "expected an integer as batch_size, got 2.5"),
        ({"batch_size": "4"}, OperandError, "expected an integer as batch_size, got '4'"),
        ({"batch_size": True}, OperandError, "expected an integer as batch_size, got True"),
        ({"batch_size": None, "drop_last": True}, ArgumentError, "drop_last takes a batch_size"),
        ({"collate_fn": 5}, OperandError, "expected a function as collate_fn, got 5"),
        ({"generator": 5}, OperandError, "expected a Generator, got int"),
        ({"dataset": 5}, OperandError, "expected a data set with __len__ and __getitem__, such"),
        ({"dataset": iter([1])}, OperandError, "expected a data set with __len__"),
        ({"dataset": {1, 2}}, OperandError, "expected a data set with __len__"),
    ],
)
def test_arguments_that_make_no_sense(arguments, error, message):
    with pytest.raises(error, match=f"^DataLoader: {message}"):
        DataLoader(**{"dataset": [1], **arguments})


@pytest.mark.parametrize("name", ["dataset", "batch_size", "sampler", "drop_last", "collate_fn"])
def test_what_a_loader_is_made_of_is_settled(name):
    loader = nn.data.DataLoader([1, 2, 3])
    before = getattr(loader, name)
    with pytest.raises(ArgumentError, match=f"{name} is settled; make another"):
        setattr(loader, name, 2)
    assert getattr(loader, name) is before
    assert [each.item() for each in loader] == [1, 2, 3]
