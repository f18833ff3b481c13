"""Data sets, samplers, collating and loaders beside PyTorch's."""

import inspect
from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest
from beside_torch import torch

import ferrum as fe
import ferrum_nn.data as ours

pytestmark = pytest.mark.torch
theirs = torch.utils.data
Pair = namedtuple("Pair", "x y")
CLASSES = [
    "BatchSampler",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "DistributedSampler",
    "RandomSampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
]


@pytest.mark.parametrize("name", CLASSES)
def test_arguments_have_the_same_names_order_and_defaults(name):
    left_out = {"pin_memory_device", "in_order"}

    def arguments(module):
        parameters = inspect.signature(getattr(module, name)).parameters.values()
        return [(p.name, p.kind, p.default) for p in parameters if p.name not in left_out]

    if name == "TensorDataset":
        assert [p[1:] for p in arguments(ours)] == [p[1:] for p in arguments(theirs)]
    else:
        assert arguments(ours) == arguments(theirs)


def test_random_split_has_the_same_arguments():
    parameters = [list(inspect.signature(m.random_split).parameters) for m in (ours, theirs)]
    assert parameters[0] == parameters[1]


def plain(x):
    if isinstance(x, dict):
        return {key: plain(value) for key, value in x.items()}
    if isinstance(x, (tuple, list)):
        return [plain(value) for value in x]
    return x.tolist() if hasattr(x, "tolist") else x


@pytest.mark.parametrize("size", [1, 2, 7, 10, 12])
@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
@pytest.mark.parametrize("drop_last", [False, True])
def test_distributed_shares(size, replicas, drop_last):
    for rank in range(replicas):
        arguments = (list(range(size)), replicas, rank, False, 0, drop_last)
        one, two = ours.DistributedSampler(*arguments), theirs.DistributedSampler(*arguments)
        assert list(one) == list(two)
        assert len(one) == len(two)
        assert (one.num_samples, one.total_size) == (two.num_samples, two.total_size)


@pytest.mark.parametrize("size", [0, 1, 9, 10])
@pytest.mark.parametrize("batch_size", [1, 3, 10])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches(size, batch_size, drop_last):
    for data in (list(range(size)), np.arange(size * 2.0).reshape(size, 2)):
        loaders = [m.DataLoader(data, batch_size, drop_last=drop_last) for m in (ours, theirs)]
        assert plain(list(loaders[0])) == plain(list(loaders[1]))
        assert len(loaders[0]) == len(loaders[1])
    one, two = (m.BatchSampler(range(size), batch_size, drop_last) for m in (ours, theirs))
    assert list(one) == list(two)
    assert len(one) == len(two)


@pytest.mark.parametrize("batch_size", [None, 1, 4])
@pytest.mark.parametrize("drop_last", [False, True])
def test_iterable(batch_size, drop_last):
    if batch_size is None and drop_last:
        for m in (ours, theirs):
            with pytest.raises(ValueError, match="batch_size"):
                m.DataLoader([1, 2], batch_size, drop_last=drop_last)
        return

    def loader(module):
        class Ten(module.IterableDataset):
            def __iter__(self):
                return iter(range(10))

            def __len__(self):
                return 10

        chained = Ten() + Ten()
        return module.DataLoader(chained, batch_size, drop_last=drop_last)

    assert plain(list(loader(ours))) == plain(list(loader(theirs)))
    assert len(loader(ours)) == len(loader(theirs))


@pytest.mark.parametrize(
    "batch",
    [
        [1, 2],
        [True, False],
        [1.5, 2.5],
        ["a", "b"],
        [b"a", b"b"],
        [np.float32(1), np.float32(2)],
        [np.int16(1), np.int16(2)],
        [np.ones((2, 3)), np.zeros((2, 3))],
        [(1, "a"), (2, "b")],
        [[1, [2.0]], [3, [4.0]]],
        [{"x": 1, "y": (2, 3)}, {"x": 4, "y": (5, 6)}],
        [OrderedDict(b=1, a=2), OrderedDict(b=3, a=4)],
        [defaultdict(list, a=1), defaultdict(list, a=2)],
        [Pair(1, 2.0), Pair(3, 4.0)],
        [{}, {}],
    ],
)
def test_collate(batch):
    one, two = ours.default_collate(batch), theirs.default_collate(batch)
    assert plain(one) == plain(two)
    if not isinstance(one, (tuple, list)):
        assert type(one).__name__ == type(two).__name__
    if isinstance(one, fe.Tensor):
        assert one.dtype.name == str(two.dtype).removeprefix("torch.")
    assert plain(ours.default_convert(batch)) == plain(theirs.default_convert(batch))


@pytest.mark.parametrize("lengths", [[3, 7], [10, 0], [0.5, 0.5], [0.33, 0.33, 0.34], [1.0], [1]])
def test_split(lengths):
    one = ours.random_split(range(10), lengths)
    two = theirs.random_split(range(10), lengths)
    assert [len(each) for each in one] == [len(each) for each in two]
    assert sorted(i for each in one for i in each) == list(range(10))


def test_combined():
    def build(module, tensor):
        data = module.TensorDataset(tensor(range(5)), tensor(range(5, 10)))
        both = data + module.Subset(data, [3, 1])
        stacked = module.StackDataset(a=data, b=module.Subset(data, [4, 3, 2, 1, 0]))
        return [
            [plain(both[i]) for i in (*range(7), -1, -7)],
            both.cumulative_sizes,
            [plain(stacked[i]) for i in range(5)],
            plain(stacked.__getitems__([1, 3])),
            plain(module.StackDataset(data, data)[2]),
            plain(list(module.DataLoader(module.Subset(data, [4, 0, 2]), 2))),
            plain(module.Subset(module.Subset(data, [4, 0, 2]), [2, 0])[0]),
        ]

    assert build(ours, lambda x: fe.tensor(list(x))) == build(
        theirs, lambda x: torch.tensor(list(x))
    )


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("DataLoader", ([1],), {"num_workers": -1}),
        ("DataLoader", ([1],), {"timeout": -1}),
        ("DataLoader", ([1],), {"timeout": 1}),
        ("DataLoader", ([1],), {"prefetch_factor": 2}),
        ("DataLoader", ([1],), {"num_workers": 1, "prefetch_factor": -1}),
        ("DataLoader", ([1],), {"persistent_workers": True}),
        ("DataLoader", ([1],), {"multiprocessing_context": "fork"}),
        ("DataLoader", ([1],), {"multiprocessing_context": "no", "num_workers": 1}),
        ("DataLoader", ([1],), {"multiprocessing_context": 5, "num_workers": 1}),
        ("DataLoader", ([1],), {"sampler": [0], "shuffle": True}),
        ("DataLoader", ([1],), {"batch_sampler": [[0]], "batch_size": 2}),
        ("DataLoader", ([1],), {"batch_sampler": [[0]], "shuffle": True}),
        ("DataLoader", ([1],), {"batch_sampler": [[0]], "sampler": [0]}),
        ("DataLoader", ([1],), {"batch_sampler": [[0]], "drop_last": True}),
        ("DataLoader", ([1],), {"batch_size": None, "drop_last": True}),
        ("DataLoader", ([1],), {"batch_size": 0}),
        ("BatchSampler", ([1], 0, False), {}),
        ("BatchSampler", ([1], True, False), {}),
        ("BatchSampler", ([1], 2, 5), {}),
        ("RandomSampler", ([1],), {"replacement": 5}),
        ("RandomSampler", ([1],), {"num_samples": 0}),
        ("RandomSampler", ([1],), {"num_samples": -3}),
        ("WeightedRandomSampler", ([1.0], 0), {}),
        ("WeightedRandomSampler", ([1.0], 1, 5), {}),
        ("WeightedRandomSampler", ([[1.0]], 1), {}),
        ("DistributedSampler", ([1], 2, 2), {}),
        ("DistributedSampler", ([1], 2, -1), {}),
        ("DistributedSampler", ([1],), {}),
        ("DistributedSampler", ([1], 2), {}),
        ("DistributedSampler", ([1],), {"rank": 0}),
        ("StackDataset", ([1], [1, 2]), {}),
        ("StackDataset", (), {}),
        ("StackDataset", ([1],), {"b": [1]}),
        ("ConcatDataset", ([],), {}),
        ("random_split", ([1, 2], [0.5, -0.5, 1.0]), {}),
        ("random_split", ([1, 2], [2, 1]), {}),
    ],
)
def test_both_refuse(name, arguments, options):
    with pytest.raises(Exception):  # noqa: B017 - assertions too
        list(getattr(theirs, name)(*arguments, **options))
    with pytest.raises(fe.FerrumError):
        getattr(ours, name)(*arguments, **options)
