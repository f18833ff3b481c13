"""Chains of views and writes against NumPy: values, dtypes, and who shares memory with whom.

NumPy's arrays are the oracle. A chain is a list of numbers, each of which draws one step: a view of
a tensor of the chain, a write into one, or an op that makes a new one. After every step all
tensors of the chain are compared with their arrays.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ferrum as fe
from ferrum import Tensor
from ferrum.errors import ArgumentError

pytestmark = pytest.mark.slow

CHAINS = 5200
SHAPES = [
    (),
    (4,),
    (5,),
    (2, 3),
    (3, 4),
    (3, 1),
    (1, 2, 3),
    (2, 3, 2),
    (2, 1, 3, 2),
    (0,),
    (2, 0, 3),
]
DTYPES = [fe.int64, fe.float64, fe.int8, fe.bool, fe.float16]
ENTROPY = st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=7)

Both = tuple[Callable[[Tensor], Any], Callable[[Any], Any]]


class Draw:
    """Small numbers drawn from a large one."""

    def __init__(self, entropy: int) -> None:
        self.rest = (entropy * 0x9E3779B97F4A7C15) % 2**89

    def below(self, count: int) -> int:
        self.rest, drawn = divmod(self.rest, count)
        if not self.rest:
            self.rest = (drawn + 3) * 0xD1342543DE82EF95
        return drawn

    def of(self, options: Any) -> Any:
        return options[self.below(len(options))]

    def array(self, shape: tuple[int, ...], dtype: Any) -> Any:
        values = np.array([self.below(7) - 3 for _ in range(math.prod(shape))])
        return values.reshape(shape).astype(dtype)


# ---- views: what both libraries do


def a_slice(draw: Draw, size: int) -> slice:
    ends = [None, *range(-size - 2, size + 3)]
    return slice(draw.of(ends), draw.of(ends), draw.of([None, 1, 2, 3, -1, -2, -3]))


def a_key(draw: Draw, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Draw a basic index: integers, slices with steps of either sign, None, an ellipsis."""
    key: list[Any] = []
    for size in shape[: draw.below(len(shape) + 1)]:
        key.append(
            draw.below(2 * size) - size if size and not draw.below(3) else a_slice(draw, size)
        )
        key += [None] if not draw.below(6) else []
    if not draw.below(4):
        key.append(...)
    return tuple(key)


def read(a: Any, key: tuple[Any, ...]) -> Any:
    """Return a[key], as an array also where it is one element."""
    return a[key] if any(each is ... for each in key) else a[(*key, ...)]


def keyed(draw: Draw, x: Any) -> Both:
    key = a_key(draw, x.shape)
    return (lambda t: t[key]), (lambda a: read(a, key))


def turned(draw: Draw, x: Any) -> Both:
    first, second = (draw.below(2 * x.ndim) - x.ndim if x.ndim else 0 for _ in range(2))
    if not x.ndim:
        return (lambda t: t.T), (lambda a: a.T)
    return (lambda t: t.transpose(first, second)), (lambda a: a.swapaxes(first, second))


def permuted(draw: Draw, x: Any) -> Both:
    axes = list(range(x.ndim))
    order = [axes.pop(draw.below(len(axes))) for _ in range(x.ndim)]
    return (lambda t: t.permute(*order)), (lambda a: a.transpose(order))


def reshaped(draw: Draw, x: Any) -> Both:
    rest, shape = x.size, []
    while rest > 1 and len(shape) < 3:
        shape.append(draw.of([n for n in range(1, rest + 1) if rest % n == 0]))
        rest //= shape[-1]
    shape = draw.of([(*shape, rest), (1, *shape, rest), (*shape, -1)]) if x.size else (3, 0)
    return (lambda t: t.reshape(shape)), (lambda a: a.reshape(shape))


def flattened(draw: Draw, x: Any) -> Both:
    return (lambda t: t.flatten()), (lambda a: a.reshape(-1))


def squeezed(draw: Draw, x: Any) -> Both:
    axes = [i for i, n in enumerate(x.shape) if n == 1]
    if axes and draw.below(2):
        axis = draw.of(axes)
        return (lambda t: t.squeeze(axis)), (lambda a: a.squeeze(axis))
    return (lambda t: t.squeeze()), (lambda a: a.squeeze())


def unsqueezed(draw: Draw, x: Any) -> Both:
    axis = draw.below(2 * x.ndim + 2) - x.ndim - 1
    return (lambda t: t.unsqueeze(axis)), (lambda a: np.expand_dims(a, axis))


def narrowed(draw: Draw, x: Any) -> Both:
    if not x.ndim:
        return keyed(draw, x)
    axis = draw.below(x.ndim)
    start = draw.below(x.shape[axis] + 1)
    count = draw.below(x.shape[axis] - start + 1)
    key = (slice(None),) * axis + (slice(start, start + count),)
    return (lambda t: t.narrow(axis, start, count)), (lambda a: a[key])


def unbound(draw: Draw, x: Any) -> Both:
    if not x.ndim or not x.shape[0]:
        return keyed(draw, x)
    i = draw.below(x.shape[0])
    return (lambda t: t.unbind(0)[i]), (lambda a: a[i, ...])


def split(draw: Draw, x: Any) -> Both:
    if not x.ndim or not x.shape[-1]:
        return keyed(draw, x)
    size = 1 + draw.below(x.shape[-1])
    i = draw.below(-(-x.shape[-1] // size))
    part = (..., slice(i * size, (i + 1) * size))
    return (lambda t: t.split(size, -1)[i]), (lambda a: a[part])


def expanded(draw: Draw, x: Any) -> Both:
    lead = draw.of([(), (), (2,)])
    shape = (*lead, *(draw.of([1, 2, 3]) if n == 1 else n for n in x.shape))

    def expand(a: Any) -> Any:  # what NumPy's broadcast_to makes may not be written
        strides = np.broadcast_to(a, shape).strides
        return np.lib.stride_tricks.as_strided(a, shape, strides, writeable=True)

    return (lambda t: t.expand(*shape)), expand


VIEWS = [
    keyed,
    keyed,
    turned,
    permuted,
    reshaped,
    flattened,
    squeezed,
    unsqueezed,
    narrowed,
    unbound,
]
VIEWS += [split, expanded]


def overlaps(a: Any) -> bool:
    """Return whether two elements of an array lie in one place."""
    places = np.zeros((), np.int64)
    for size, stride in zip(a.shape, a.strides, strict=True):
        places = np.add.outer(places, np.arange(size) * stride)
    return len(np.unique(places)) < a.size


# ---- writes, and ops that make something new


def assigned(draw: Draw, x: Any) -> Both:
    """Assign to a basic index, an index array, two of them, or a mask."""
    kinds = ["basic", "basic"] + (["rows", "mask", "row mask", "values"] if x.size else [])
    kind, key = draw.of(kinds), a_key(draw, x.shape)
    value: Any = draw.below(5) - 2
    if kind == "rows" and x.ndim:
        axis = draw.below(x.ndim)
        rows = np.array([draw.below(2 * x.shape[axis]) - x.shape[axis] for _ in range(2)])
        key = (slice(None),) * axis + (rows,)
    elif kind == "row mask" and x.ndim:
        key = (draw.array(x.shape[:1], bool),)
    elif kind in ("mask", "values"):
        key = (draw.array(x.shape, bool),)
    part = read(x, key)
    if kind == "values" or draw.below(2):
        value = draw.array(part.shape[draw.below(part.ndim + 1) :], x.dtype)
    tensors = tuple(fe.tensor(k) if isinstance(k, np.ndarray) else k for k in key)
    written = value if isinstance(value, int) else fe.tensor(value)
    return (lambda t: t.__setitem__(tensors, written)), (lambda a: a.__setitem__(key, value))


def computed(draw: Draw, x: Any) -> Both:
    number, other = draw.below(5) - 2, draw.array(x.shape[draw.below(x.ndim + 1) :], x.dtype)
    tensor = fe.tensor(other)
    kinds: list[Both] = [
        (lambda t: t.fill_(number), lambda a: a.fill(number)),
        (lambda t: t.zero_(), lambda a: a.fill(0)),
        (lambda t: t.copy_(tensor), lambda a: np.copyto(a, other)),
        (lambda t: t.add_(tensor), lambda a: np.add(a, other, out=a)),
        (lambda t: t.mul_(tensor), lambda a: np.multiply(a, other, out=a)),
        (
            lambda t: t.masked_fill_(t == tensor, number != 0),
            lambda a: np.copyto(a, number != 0, where=a == other, casting="unsafe"),
        ),
    ]
    if x.dtype != bool:
        kinds += [
            (lambda t: t.sub_(number), lambda a: np.subtract(a, number, out=a)),
            (lambda t: t.neg_(), lambda a: np.negative(a, out=a)),
            (lambda t: t.abs_(), lambda a: np.abs(a, out=a)),
            (lambda t: t.clamp_(-2, 2), lambda a: np.clip(a, -2, 2, out=a)),
            (lambda t: t.square_(), lambda a: np.square(a, out=a)),
        ]
    return draw.of(kinds)


NEW: list[Both] = [
    (lambda t: t + t, lambda a: a + a),
    (lambda t: t.clone(), lambda a: a.copy()),
    (lambda t: t * t, lambda a: a * a),
    (
        lambda t: t.flip(0) if t.ndim else t.clone(),
        lambda a: np.flip(a, 0).copy() if a.ndim else a.copy(),
    ),
    (lambda t: t[t != 0], lambda a: a[a != 0]),
    (lambda t: fe.where(t > 0, t, 0).to(t.dtype), lambda a: np.where(a > 0, a, 0).astype(a.dtype)),
    (lambda t: t.contiguous().clone(), lambda a: a.copy()),
]


# ---- chains


class Chain:
    def __init__(self, entropy: int, seen: Counter[str]) -> None:
        draw = Draw(entropy)
        array = draw.array(draw.of(SHAPES), draw.of(DTYPES))
        self.seen = seen
        self.pairs: list[tuple[Tensor, Any]] = [(fe.tensor(array), array)]

    def step(self, entropy: int) -> None:
        draw = Draw(entropy)
        kind = draw.below(10)
        tensor, array = self.pairs[-1] if draw.below(3) else draw.of(self.pairs)
        if kind < 5:
            view = draw.of(VIEWS)
            self.seen[view.__name__] += 1
            self.make(*view(draw, array), tensor, array)
        elif kind < 9:
            write = draw.of([assigned, computed])
            self.seen[write.__name__] += 1
            self.write(*write(draw, array), tensor, array, whole=write is computed)
        else:
            self.seen["new"] += 1
            self.make(*draw.of(NEW), tensor, array)
        for each, expected in self.pairs:
            np.testing.assert_array_equal(each.numpy(), expected, strict=True)

    def make(self, ours: Any, theirs: Any, tensor: Tensor, array: Any) -> None:
        made = ours(tensor), np.asarray(theirs(array))
        for other, base in self.pairs:
            shared = np.shares_memory(made[0].numpy(), other.numpy())
            assert shared == np.shares_memory(made[1], base)
            self.seen["shared" if shared else "apart"] += 1
            assert (made[0]._version == other._version) or not shared
        self.pairs.append(made)

    def write(self, ours: Any, theirs: Any, tensor: Tensor, array: Any, *, whole: bool) -> None:
        before = tensor._version
        try:
            ours(tensor)
        except ArgumentError as error:
            assert "expanded" in str(error)
            assert overlaps(array)
            self.seen["refused"] += 1
            assert tensor._version == before
            return
        assert not (whole and overlaps(array))  # a part that is assigned may lie by itself
        theirs(array)
        assert tensor._version > before


def test_chains_do_what_numpy_does() -> None:
    seen: Counter[str] = Counter()

    @settings(
        max_examples=CHAINS,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(ENTROPY)
    def run(entropy: list[int]) -> None:
        chain = Chain(entropy[0], seen)
        with np.errstate(all="ignore"):  # a chain may overflow, in both alike
            for number in entropy[1:]:
                chain.step(number)
        seen["chains"] += 1
        seen["steps"] += len(entropy) - 1

    run()
    assert seen["chains"] >= 5000
    assert seen["steps"] > 2.5 * seen["chains"]
    names = {each.__name__ for each in VIEWS} | {"assigned", "computed", "new", "refused"}
    assert {name: seen[name] for name in names if seen[name] < 100} == {}
    assert min(seen["shared"], seen["apart"]) > 2000
