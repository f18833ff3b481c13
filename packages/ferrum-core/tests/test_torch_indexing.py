"""Indexing against PyTorch, reading and writing, with gradients; negative steps against NumPy."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum.dtypes import INTEGERS, DType

pytestmark = pytest.mark.torch

RNG = np.random.default_rng(0)
A, ALL = np.array, slice(None)
NONE = np.zeros(0, np.int64)
MASK3, MASK4 = A([True, False, True]), A([True, True, False, True])
MASK34, MASK234 = RNG.random((3, 4)) < 0.5, RNG.random((2, 3, 4)) < 0.5


def grid(*shape: int) -> Any:
    return np.asarray(RNG.permutation(prod(shape)).reshape(shape) * 0.7 - 3.1)


KEYS: dict[tuple[int, ...], list[Any]] = {
    (4,): [
        0, -1, 3, 4, -5, ALL, slice(1, 3), slice(None, None, 2), slice(3, 1), slice(-3, None),
        slice(1, 100), slice(-100, 2), slice(5, 9), None, ..., (0,), (), (None, 0), (..., None),
        (..., 0), ([0, 2],), A([0, 2, 2]), A([-1, 0]), A([4]), A([-5]), A([[0, 1], [2, 3]]), A(2),
        NONE, MASK4, MASK4 & False, A([True]), True, False, (True, 0), A(True), A(False),
        (None, A([1, 0])), [True, False, True, False], [0, 1], [], (ALL, None, None), (0, 0), 1.0,
        "a", slice(0, 4, 0), A([0, 1], np.int32), A([0.0, 1.0]), (slice(1, 3), A([0])), (0, 1, 2),
    ],
    (3, 4): [
        0, -1, (0, 1), (-1, -1), (ALL, 0), (ALL, slice(1, 3)), (slice(0, 3, 2), slice(0, 4, 3)),
        (..., 1), (1, ...), (None, 1), (1, None), (ALL, None, slice(2)), (None, None), A([0, 2]),
        (A([0, 2]), A([1, 3])), (A([0, 2]), slice(1, 3)), (slice(1, 3), A([0, 0, 3])),
        (A([[0], [2]]), A([1, 3])), (0, A([1, 2])), (A([1, 2]), 0), (ALL, A([[0, 1], [2, 3]])),
        MASK34, MASK3, (MASK3,), (ALL, MASK4), (MASK3, A([1, 2])), (MASK3, slice(1, 3)), (MASK3, 0),
        (slice(0, 2), MASK4), MASK4, MASK34[:2], (MASK34, 0), A([0, 5]), (A([0, 1]), A([0, 1, 2])),
        (None, A([0, 1])), (A([0, 1]), None), (A([0, 1]), None, A([0, 1])), (ALL, None, A([0, 1])),
        ([0, 1], [1, 2]), ([0, 1], ALL), ([[0], [1]], [0, 1]), (..., A([1, 2])), (A([1, 2]), ...),
        (True,), (False, 0), (True, A([0, 1])), (0, 0, 0), (3,), (0, 4), (0, -5), (A(1), A(2)),
        (A(1), slice(2)), slice(3, 0), (slice(0, 0), 0), ((0, 1),), ([True, False, True],), [0, 2],
    ],
    (2, 3, 4): [
        (0, 1), (ALL, 1), (..., 0), (0, ..., 0), (A([0, 1]), ALL, A([1, 2])), (1, 2, 3),
        (ALL, A([0, 1]), A([1, 2])), (A([0, 1]), A([1, 2])), (A([0, 1]), 1, slice(1, 3)),
        (0, ALL, A([1, 2])), (A([1, 0]), ALL, 1), (1, A([1, 0]), ALL), (ALL, 1, A([0, 3])), MASK234,
        (ALL, MASK34), MASK234[:, :, 0], (MASK234[:, :, 0], slice(1, 3)), (MASK234[:, :, 0], 2),
        (slice(0, 1), MASK3), (ALL, MASK3, A([0, 1])), (ALL, MASK3, slice(1, 3)),
        (None, A([0, 1]), None, A([1, 2])), (A([0, 1]), None, A([1, 2])),
        (A([[0, 1]]), ALL, A([[1], [2]])), (..., A([0, 1]), A([0, 3])), (A([0, 1]), ..., A([0, 3])),
        (slice(None, None, 2), ..., slice(1, None, 2)), (0, None, ALL, None, 0),
        (A([0, 1]), A([0, 1]), A([0, 1])), (ALL, ALL, MASK4), (ALL, A(1), ALL), (A(0), A([1, 2])),
        (1, 2, 3, 0), (ALL, 0, A([1, 2])), (0, A([0, 1]), 0), (MASK234[:, 0, 0], ALL, A([0])),
    ],
    (): [(), ..., None, (None, ...), 0, True, False, A(True), A(False), (True, None), ALL, A([0])],
    (0, 3): [0, ALL, NONE, (ALL, 1), (ALL, A([0, 2])), A([0]), np.zeros((0, 3), bool), [],
             np.zeros(0, bool), slice(2, 5), (None, ALL, 0)],
}  # fmt: skip
CASES = [
    pytest.param(shape, key, id=f"{shape}-{i}")
    for shape, keys in KEYS.items()
    for i, key in enumerate(keys)
]


def put(x: Any, key: Any, value: Any) -> Any:
    x = x.clone()
    x[key] = value
    return x * 1


@pytest.mark.parametrize(("shape", "key"), CASES)
class TestKeys:
    def test_read(self, twins: Any, shape: tuple[int, ...], key: Any) -> None:
        x = grid(*shape)
        twins.agree(lambda t, k: t[k], x, key)
        twins.agree(lambda t, k: t[k], np.arange(x.size).reshape(shape), key, order=0)
        if len(shape) > 1 and 0 not in shape:  # of a view that is not contiguous
            twins.agree(lambda t, k: t.transpose(0, -1)[k], x.swapaxes(0, -1).copy(), key)

    def test_write(self, twins: Any, shape: tuple[int, ...], key: Any) -> None:
        x = grid(*shape)
        part = self.part(twins, shape, key)
        values = [7.5, 7, A(2.5), grid(*part), grid(1, *part), grid(*part[-1:])]
        values += [grid(*part, 9)] if prod(part) else []  # nothing takes values of any shape
        for value in values:
            twins.agree(put, x, key, value)
        twins.agree(put, np.arange(x.size).reshape(shape), key, -3, order=0)

    def part(self, twins: Any, shape: tuple[int, ...], key: Any) -> tuple[int, ...]:
        """Return the shape of what `key` picks; that of x where it picks nothing."""
        try:
            ((values, _),) = (out for _, out in twins.theirs.run(
                lambda t, k: t[k], [np.zeros(shape, np.float32), key], {}, 0
            ))  # fmt: skip
        except (IndexError, TypeError, ValueError):
            return shape
        return tuple(values.shape)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_indices_of_every_integer_dtype(dtype: DType) -> None:
    """PyTorch takes int32 and int64, and uint8 for a mask."""
    x, index = grid(4, 3), A([2, 0, 1], dtype)
    assert np.array_equal(fe.tensor(x)[fe.tensor(index)].numpy(), x[index])


BACKWARDS = [
    slice(None, None, -1), slice(None, None, -2), slice(3, 0, -1), slice(-1, -4, -2),
    slice(0, 3, -1), slice(1, None, -1), (slice(None, None, -1), slice(None, None, -3)),
    (1, slice(2, None, -1)), (..., slice(None, None, -1)), (slice(None, None, -1), A([0, 2])),
]  # fmt: skip


@pytest.mark.parametrize("key", BACKWARDS, ids=str)
def test_negative_steps(key: Any) -> None:
    """PyTorch has none: NumPy says what is right."""
    x = grid(5, 4)
    t = fe.tensor(x, requires_grad=True)
    assert np.array_equal(t[key].detach().numpy(), x[key])
    written, copied = x.copy(), t.clone()
    written[key] = 9
    copied[key] = 9
    assert np.array_equal(copied.detach().numpy(), written)
    t[key].sum().backward()
    ones = np.zeros_like(x)
    np.add.at(ones, key, 1)
    assert t.grad is not None
    assert np.array_equal(t.grad.numpy(), ones)


def test_where_numpy_is_followed() -> None:
    x = fe.tensor(grid(2, 3, 4))
    assert x[[[0, 1]]].shape == (1, 2, 3, 4)  # PyTorch takes a list of lists for a tuple
    assert x[fe.tensor(0), :, fe.tensor([1, 2])].shape == (2, 3)  # PyTorch: an int, so (3, 2)
    y = fe.zeros(3, dtype=fe.float64)
    y[fe.tensor([0, 1])] = fe.tensor([1, 2])  # cast, as y[:2] = is; PyTorch refuses
    assert y.tolist() == [1, 2, 0]
    with pytest.raises(fe.FerrumError, match="one ellipsis"):
        x[..., 0, ...]


# ---- methods that pick


INDICES = {
    "all": RNG.integers(0, 3, (3, 4)), "part": RNG.integers(0, 3, (2, 2)), "wide": A([[0, 2, 0]]),
    "long": RNG.integers(0, 3, (5, 4)), "vector": A([0, 1]), "empty": np.zeros((0, 4), np.int64),
    "beyond": A([[5, 0, 0, 0]]), "negative": A([[-1, 0]]), "float": A([[1.0]]), "0-d": A(1),
    "int32": RNG.integers(0, 3, (2, 2)).astype(np.int32),
}  # fmt: skip


@pytest.mark.parametrize("dim", [0, 1, -1, 2])
@pytest.mark.parametrize("label", INDICES)
class TestPicking:
    def test_gather(self, twins: Any, dim: int, label: str) -> None:
        for x in (grid(3, 4), grid(3), grid())[: 1 if label == "empty" else 3]:
            twins.agree("gather", x, dim, INDICES[label])

    def test_scatter_add(self, twins: Any, dim: int, label: str) -> None:
        index = INDICES[label]
        # PyTorch cannot differentiate it where src is larger than the index
        for src, order in ((grid(*index.shape), 2), (grid(6, 6), 0), (grid(3), 0)):
            if label == "empty" and src.ndim == 1:
                continue  # nothing fits everywhere
            twins.agree("scatter_add", grid(3, 4), dim, index, src, order=order)

    def test_index_select(self, twins: Any, dim: int, label: str) -> None:
        for index in (INDICES[label], INDICES[label].ravel()[:1], A([1, 1, 0]), NONE):
            if label != "negative" and not (label == "empty" and index.ndim == 2):
                twins.agree("index_select", grid(3, 4), dim, index)


@pytest.mark.parametrize(
    "mask", [MASK34, MASK4, A(True), A([True]), np.ones((2, 3, 4), bool), np.zeros((3, 4), bool),
             np.ones((3, 4)), np.ones(3, bool)], ids=str,
)  # fmt: skip
def test_masks(twins: Any, mask: Any) -> None:
    x = grid(3, 4)
    twins.agree("masked_select", x, mask)
    for value in (0, 1.5, True, A(2.5), A(2), A([1.0, 2.0])):
        twins.agree("masked_fill", x, mask, value)
        twins.agree(lambda t, m, v: t.clone().masked_fill_(m, v), x, mask, value)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32, np.float64])
def test_nonzero(twins: Any, dtype: Any) -> None:
    for x in (A([[0, 1, 0], [2, 0, 3]]), A(0), A(5), np.zeros((0, 2)), np.ones((2, 0, 2))):
        twins.agree("nonzero", x.astype(dtype), order=0)
        twins.agree("nonzero", x.astype(dtype), as_tuple=True, order=0)
        if dtype is np.bool_:
            twins.agree("where", x.astype(dtype), order=0)
    twins.agree("nonzero", A([NAN, 0, -0.0]), order=0)


NAN = float("nan")
CHOICES = [grid(4), grid(4).astype(np.float32), A([1, 2, 1, 3]), MASK4, 1, 2.5, True, A(3.5), A(3)]


@pytest.mark.parametrize("first", range(len(CHOICES)))
def test_where(twins: Any, first: int) -> None:
    for second in CHOICES:
        pair = CHOICES[first], second
        order = 0 if np.float32 in [getattr(each, "dtype", None) for each in pair] else 2
        twins.agree("where", MASK4[::-1].copy(), *pair, order=order)
        twins.agree("where", np.ones((3, 1), bool), *pair, order=order)
    twins.refused("where", np.ones(4), CHOICES[first], 1.0)
