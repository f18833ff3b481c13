"""Random programs against PyTorch: values, gradients and second gradients, and errors.

A program is a pool of tensors, kept in both libraries side by side, and steps that make a tensor
from others or write into one. It follows from a seed, which a failure shows:
`Program(seed, KINDS["general"]).run()` repeats it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

import ferrum as fe
from ferrum.errors import FerrumError, GradientError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = [pytest.mark.torch, pytest.mark.slow]

Call = Callable[..., Any]
Shape = tuple[int, ...]
FAILURES = (FerrumError, RuntimeError, IndexError, ValueError, TypeError)
LARGE = 20.0  # beyond, values are brought back by tanh, so that no rounding error grows


@dataclass(frozen=True, eq=False)
class Pair:
    """One tensor in both libraries; `fixed` ones are not written, for there the two differ."""

    ours: Any
    theirs: Any
    fixed: bool = False

    @property
    def shape(self) -> Shape:
        return tuple(self.ours.shape)

    @property
    def host(self) -> Any:
        return self.ours.numpy(force=True)


def on_both(call: Call, pairs: list[Pair]) -> tuple[Any, Any]:
    """Return what `call(library, *tensors)` returns in both, or the errors that it raises."""
    results: list[Any] = []
    for library, operands in ((fe, [p.ours for p in pairs]), (torch, [p.theirs for p in pairs])):
        try:
            results.append(call(library, *operands))
        except FAILURES as error:
            results.append(error)
    return results[0], results[1]


# ---- steps: each draws a call, and how many operands it takes


def fill(rng: random.Random, shape: Shape) -> list[float]:
    return [rng.uniform(-1.5, 1.5) for _ in range(int(np.prod(shape)))]


def constant(rng: random.Random, shape: Shape) -> Call:
    values = np.array(fill(rng, shape)).reshape(shape)
    return lambda lib: lib.tensor(values, dtype=lib.float64)


def an_axis(rng: random.Random, shape: Shape) -> int:
    return rng.randrange(-len(shape), len(shape)) if shape else 0


def a_slice(rng: random.Random, size: int) -> slice:
    start, stop = (rng.choice([None, rng.randint(-size - 1, size + 1)]) for _ in range(2))
    return slice(start, stop, rng.choice([None, 1, 2, 3]))


def a_key(rng: random.Random, shape: Shape) -> tuple[Any, ...]:
    """Draw a basic index: integers, slices, None, an ellipsis."""
    entries: list[Any] = []
    for size in shape[: rng.randint(0, len(shape))]:
        entries.append(rng.randrange(-size, size) if size and rng.random() < 0.3 else a_slice(rng, size))
        if rng.random() < 0.1:
            entries.append(None)
    if rng.random() < 0.2:
        entries.append(...)
    return tuple(entries)


def split_of(rng: random.Random, count: int) -> Shape:
    """Draw a shape of `count` elements."""
    shape, rest = [], count
    while rest > 1 and len(shape) < 3:
        factor = rng.choice([n for n in range(1, rest + 1) if rest % n == 0])
        shape.append(factor)
        rest //= factor
    return (*shape, rest) if count else (0, rng.randint(1, 3))


VIEWS = ("key", "transpose", "permute", "reshape", "narrow", "select", "unsqueeze", "squeeze", "flatten")


def a_view(rng: random.Random, shape: Shape) -> Call:
    """Draw a call that looks at a tensor another way."""
    axis, size = an_axis(rng, shape), 0 if not shape else shape[an_axis(rng, shape)]
    kind = rng.choice(VIEWS)
    if kind == "key" or not shape:
        key = a_key(rng, shape)
        return lambda _, x: x[key]
    if kind == "transpose":
        other = an_axis(rng, shape)
        return lambda _, x: x.transpose(axis, other)
    if kind == "permute":
        order = rng.sample(range(len(shape)), len(shape))
        return lambda _, x: x.permute(order)
    if kind == "reshape":
        new = split_of(rng, int(np.prod(shape)))
        return lambda _, x: x.reshape(new)
    if kind == "narrow":
        size = shape[axis]
        start = rng.randint(0, size)
        return lambda _, x, n=rng.randint(0, size - start): x.narrow(axis, start, n)
    if kind == "select" and shape[axis]:
        index = rng.randrange(-shape[axis], shape[axis])
        return lambda _, x: x.select(axis, index)
    if kind == "unsqueeze":
        return lambda _, x: x.unsqueeze(axis)
    return (lambda _, x: x.squeeze()) if kind == "squeeze" else (lambda _, x: x.flatten())


UNARY: list[Call] = [
    lambda _, x: x.sin(),
    lambda _, x: x.cos(),
    lambda _, x: x.tanh(),
    lambda _, x: x.sigmoid(),
    lambda _, x: x.exp(),
    lambda _, x: (x * x + 0.5).log(),
    lambda _, x: (x * x).log1p(),
    lambda _, x: x.expm1(),
    lambda _, x: (x.abs() + 0.3).sqrt(),
    lambda _, x: (x * x + 0.7).rsqrt(),
    lambda _, x: (x * x + 1).reciprocal(),
    lambda _, x: x.erf(),
    lambda _, x: x.relu(),
    lambda _, x: x.abs(),
    lambda _, x: x.square(),
    lambda _, x: x**3,
    lambda _, x: x.clamp(-0.7, 0.9),
    lambda _, x: -x,
    lambda _, x: 2 - x / 3,
    lambda _, x: x * 0.5,
    lambda _, x: 1 / (x * x + 1),
    lambda _, x: x.flip(0) if x.ndim else x + 0,
    lambda lib, x: lib.tril(x) if x.ndim >= 2 else x - 1,
    lambda _, x: x.masked_fill(x > 0.2, 0.1),
    lambda _, x: x.clone(),
    lambda _, x: x.detach() * x,
    lambda _, x: x.contiguous() + 0,
]
BINARY: list[Call] = [
    lambda _, x, y: x + y,
    lambda _, x, y: x - y,
    lambda _, x, y: x * y,
    lambda _, x, y: x / (y * y + 1),
    lambda lib, x, y: lib.maximum(x, y),
    lambda lib, x, y: lib.minimum(x, y),
    lambda lib, x, y: lib.where(x > y, x * 2, y),
    lambda lib, x, y: lib.atan2(x, y * y + 1),
    lambda _, x, y: (x.abs() + 0.5) ** y,
    lambda _, x, y: x.add(y, alpha=3),
]


def a_reduction(rng: random.Random, x: Any) -> Call:
    """Draw a reduction; those that choose an element only where no two are equal."""
    dim, keep = an_axis(rng, x.shape), rng.random() < 0.4
    calls: list[Call] = [
        lambda _, x: x.sum(dim, keep),
        lambda _, x: x.mean(dim, keep),
        lambda _, x: x.amax(dim, keep),
        lambda _, x: x.amin(dim, keep),
        lambda _, x: x.prod(dim, keep),
        lambda _, x: x.var(dim, correction=0, keepdim=keep),
        lambda _, x: x.logsumexp(dim, keep),
        lambda _, x: x.softmax(dim),
        lambda _, x: x.log_softmax(dim),
        lambda _, x: x.cumsum(dim),
        lambda _, x: x.sum(),
        lambda _, x: x.mean(),
    ]
    if x.size and len(np.unique(x)) == x.size:
        calls += [
            lambda _, x: x.max(dim, keep).values,
            lambda _, x: x.min(dim).values,
            lambda _, x: x.sort(dim, descending=keep).values,
            lambda _, x: x.topk(1, dim).values,
        ]
    return rng.choice(calls)


def a_pick(rng: random.Random, shape: Shape) -> Call:
    """Draw a read by integer tensors or a mask; now and then out of range."""
    if not shape or not all(shape):
        return lambda _, x: x[..., None]
    axis = rng.randrange(len(shape))
    size, count = shape[axis], rng.randint(0, 4)
    places = [rng.randrange(-size, size + (rng.random() < 0.03)) for _ in range(count)]
    mask = np.array([rng.random() < 0.5 for _ in range(size)])
    full = np.array([rng.random() < 0.5 for _ in range(int(np.prod(shape)))]).reshape(shape)
    grid = np.array([rng.randrange(size) for _ in range(int(np.prod(shape)))]).reshape(shape)
    before = (slice(None),) * axis
    return rng.choice(
        [
            lambda lib, x: x[(*before, lib.tensor(places, dtype=lib.int64))],
            lambda lib, x: x[(*before, lib.tensor(mask))],
            lambda lib, x: x[lib.tensor(full)],
            lambda lib, x: x.gather(axis, lib.tensor(grid)),
            lambda lib, x: x.index_select(axis, lib.tensor([p % size for p in places], dtype=lib.int64)),
            lambda lib, x: x.scatter_add(axis, lib.tensor(grid), x * 2),
        ]
    )


def a_write(rng: random.Random, shape: Shape) -> tuple[Call, int]:
    """Draw a call that writes its first operand; return it with its number of operands."""
    number, key = rng.uniform(-1, 1), a_key(rng, shape)
    rows = [rng.randrange(-shape[0], shape[0]) for _ in range(2)] if shape and shape[0] else []
    one: list[Call] = [
        lambda _, x: x.add_(number),
        lambda _, x: x.mul_(number),
        lambda _, x: x.sub_(number),
        lambda _, x: x.div_(2 + number),
        lambda _, x: x.sin_(),
        lambda _, x: x.tanh_(),
        lambda _, x: x.sigmoid_(),
        lambda _, x: x.neg_(),
        lambda _, x: x.square_(),
        lambda _, x: x.clamp_(-0.8, 0.8),
        lambda _, x: x.relu_(),
        lambda _, x: x.fill_(number),
        lambda _, x: x.masked_fill_(x > 0.3, number),
        lambda _, x: x.__setitem__(key, number),
        lambda lib, x: x.__setitem__(x > 0.1, number),
        lambda lib, x: x.__setitem__(lib.tensor(rows, dtype=lib.int64), number) if rows else x.zero_(),
    ]
    two: list[Call] = [
        lambda _, x, y: x.add_(y),
        lambda _, x, y: x.mul_(y),
        lambda _, x, y: x.sub_(y, alpha=2),
        lambda _, x, y: x.div_(y * y + 1),
        lambda _, x, y: x.copy_(y),
        lambda _, x, y: x.__setitem__(key, y),
        lambda lib, x, y: x.__setitem__(lib.tensor(rows[:1], dtype=lib.int64), y) if rows else None,
    ]
    return (rng.choice(one), 1) if rng.random() < 0.5 else (rng.choice(two), 2)


# ---- programs


class Mix(NamedTuple):
    """How often a step is of each kind, per hundred."""

    programs: int
    weights: dict[str, int]


KINDS = {
    "general": Mix(
        2200,
        {"unary": 24, "binary": 24, "view": 14, "reduce": 10, "matmul": 8, "pick": 8, "join": 5,
         "expand": 4, "write": 14, "quiet": 1},
    ),
    "views": Mix(1100, {"view": 50, "write": 40, "binary": 4, "unary": 2, "expand": 2, "quiet": 2}),
}  # fmt: skip


class Program:
    """A pool of tensors that random steps make and write."""

    def __init__(self, seed: int, mix: Mix) -> None:
        self.rng = random.Random(seed)
        self.kinds, self.weights = list(mix.weights), list(mix.weights.values())
        self.seed = seed
        self.log: list[str] = []
        self.leaves = [self.leaf() for _ in range(self.rng.randint(1, 3))]
        self.pool = [*self.leaves, self.made(constant(self.rng, self.shape()), [])]
        self.pool += [self.made(lambda _, x: x * 1, [leaf]) for leaf in self.leaves]

    def shape(self) -> Shape:
        sizes = [1, 2, 2, 3, 3, 4] * 4 + [0]
        return tuple(self.rng.choice(sizes) for _ in range(self.rng.choice([0, 1, 2, 2, 2, 3])))

    def leaf(self) -> Pair:
        make = constant(self.rng, self.shape())
        return Pair(make(fe).requires_grad_(), make(torch).requires_grad_())

    def made(self, call: Call, operands: list[Pair], fixed: bool = False) -> Any:
        """Return the new pair that `call` makes; None where both refuse."""
        ours, theirs = on_both(call, operands)
        if isinstance(ours, Exception) or isinstance(theirs, Exception):
            assert isinstance(ours, FerrumError), f"PyTorch raised {theirs!r}, FERRUM {ours!r}"
            assert isinstance(theirs, Exception), f"FERRUM raised {ours!r}"
            self.log.append("refused")
            return None
        assert tuple(ours.shape) == tuple(theirs.shape)
        assert ours.requires_grad == theirs.requires_grad
        pair = Pair(ours, theirs, fixed)
        if pair.host.size and np.abs(pair.host).max() > LARGE:
            return Pair(ours.tanh(), theirs.tanh())
        return pair

    def step(self) -> None:
        kind = self.rng.choices(self.kinds, self.weights)[0]
        self.log.append(kind)
        getattr(self, kind)()

    def any(self) -> Pair:
        return self.rng.choice(self.pool)

    def fitting(self, shape: Shape) -> Pair:
        """Return a pair that broadcasts with `shape`; rarely one that does not."""
        fits = [p for p in self.pool if self.broadcasts(p.shape, shape)]
        return self.rng.choice(fits) if fits and self.rng.random() < 0.97 else self.any()

    @staticmethod
    def broadcasts(a: Shape, b: Shape) -> bool:
        return all(n == m or 1 in (n, m) for n, m in zip(a[::-1], b[::-1], strict=False))

    def add(self, call: Call, *operands: Pair, fixed: bool = False) -> None:
        pair = self.made(call, list(operands), fixed)
        if pair is not None:
            self.pool.append(pair)

    def unary(self) -> None:
        self.add(self.rng.choice(UNARY), self.any())

    def binary(self) -> None:
        x = self.any()
        self.add(self.rng.choice(BINARY), *self.rng.sample([x, self.fitting(x.shape)], 2))

    def reduce(self) -> None:
        x = self.any()
        if x.host.size:
            self.add(a_reduction(self.rng, x.host), x)

    def pick(self) -> None:
        x = self.any()
        self.add(a_pick(self.rng, x.shape), x)

    def matmul(self) -> None:
        x, y = self.any(), self.any()
        if x.shape and y.shape and len(y.shape) > 1 and x.shape[-1] == y.shape[-1]:
            self.add(lambda _, a, b: a @ b.mT, x, y)
        elif len(x.shape) > 1:
            self.add(lambda _, a: a.mT @ a, x)
        else:
            self.add(lambda _, a, b: a @ b, x, y)

    def join(self) -> None:
        x = self.any()
        alike = [p for p in self.pool if p.shape == x.shape]
        parts = [x, *self.rng.choices(alike, k=self.rng.randint(0, 2))]
        axis = an_axis(self.rng, x.shape)
        name = self.rng.choice(["cat", "stack"])
        self.add(lambda lib, *xs: getattr(lib, name)(xs, axis), *parts)

    def expand(self) -> None:
        x = self.any()
        new = tuple(self.rng.choice([2, 3]) if n == 1 else n for n in x.shape)
        new = (*self.rng.choice([(), (2,)]), *new)
        self.add(lambda _, x: x.expand(new), x, fixed=x.fixed or new != x.shape)

    def view(self) -> None:
        x = self.rng.choice(self.pool[-3:]) if self.rng.random() < 0.7 else self.any()
        pair = self.made(a_view(self.rng, x.shape), [x], x.fixed)
        if pair is not None and self.shares(fe, pair.ours, x.ours) != self.shares(torch, pair.theirs, x.theirs):
            pair = self.made(lambda _, v: v.clone(), [pair])  # a reshape that copied in one of them
        self.pool += [] if pair is None else [pair]

    @staticmethod
    def shares(library: Any, x: Any, y: Any) -> bool:
        return np.may_share_memory(x.detach().numpy(), y.detach().numpy())

    def write(self, quiet: bool = False) -> None:
        # PyTorch takes a write of no elements for no write, or for a write to a leaf
        open_ones = [p for p in self.pool if not p.fixed and p.host.size]
        if not open_ones:
            return
        x = self.rng.choice(open_ones)
        for pair in self.pool:
            _ = pair.theirs.grad_fn  # or PyTorch takes a view of what was written for a leaf
        call, count = a_write(self.rng, x.shape)
        others = [self.apart(x, self.fitting(x.shape))] if count == 2 else []

        def apply(lib: Any, *operands: Any) -> Any:
            with lib.set_grad_enabled(not quiet):
                call(lib, *operands)

        ours, theirs = on_both(apply, [x, *others])
        assert isinstance(ours, Exception) == isinstance(theirs, Exception), f"{ours!r} {theirs!r}"
        assert ours is None or isinstance(ours, FerrumError)
        if ours is not None:
            self.log.append("refused")
        assert x.ours.requires_grad == x.theirs.requires_grad

    def apart(self, x: Pair, y: Pair) -> Pair:
        """Return y, or a copy where it overlaps x: PyTorch refuses, FERRUM reads it first."""
        overlap = np.may_share_memory(x.host, y.host)
        return Pair(y.ours.clone(), y.theirs.clone()) if overlap else y

    def quiet(self) -> None:
        self.write(quiet=True)

    # ---- comparison

    def run(self) -> Counter[str]:
        """Take the steps, compare everything, and return what happened."""
        try:
            for _ in range(self.rng.randint(3, 12)):
                self.step()
            for pair in self.pool:
                self.close(pair.ours, pair.theirs)
            self.compare_gradients()
        except AssertionError as error:
            error.add_note(f"seed {self.seed}: {' '.join(self.log)}")
            raise
        return Counter(self.log)

    def compare_gradients(self) -> None:
        roots = [p for p in self.pool if p.ours.requires_grad and p not in self.leaves]
        chosen = [roots[-1], *self.rng.choices(roots, k=self.rng.randint(0, 2))]
        loss = self.made(lambda lib, *xs: sum([self.weighted(lib, x) for x in xs]), chosen)
        twice = self.rng.random() < 0.3
        ours, theirs = on_both(lambda lib, x, *xs: self.gradients(lib, x, xs, twice), [loss, *self.leaves])
        if isinstance(ours, Exception) or isinstance(theirs, Exception):
            self.compare_errors(ours, theirs)
            return
        self.log.append("second order" if twice else "gradient")
        for mine, yours in zip(ours, theirs, strict=True):
            self.close(mine, yours)

    def compare_errors(self, ours: Any, theirs: Any) -> None:
        """A write after a save raises. The two may save different tensors, so one alone may raise."""
        for error in (ours, theirs):
            if isinstance(error, Exception):
                assert any(word in str(error) for word in ("in place", "inplace")), repr(error)
        assert not isinstance(ours, Exception) or isinstance(ours, GradientError)
        only = "both" if type(ours) is not list and type(theirs) is not list else "one"
        self.log.append(f"{only} raised")

    @staticmethod
    def weighted(lib: Any, x: Any) -> Any:
        weights = np.cos(np.arange(x.numel(), dtype=np.float64)).reshape(tuple(x.shape))
        return (x * lib.tensor(weights)).sum()

    @staticmethod
    def gradients(lib: Any, loss: Any, leaves: Any, twice: bool) -> list[Any]:
        grad = fe.grad if lib is fe else torch.autograd.grad
        options = {"allow_unused": True, "materialize_grads": True}
        first = list(grad(loss, leaves, create_graph=twice, **options))
        squares = [(g * g).sum() for g in first if g.requires_grad]
        second = grad(sum(squares), leaves, **options) if squares else map(lib.zeros_like, leaves)
        return [*first, *second] if twice else first

    @staticmethod
    def close(ours: Any, theirs: Any) -> None:
        mine, yours = ours.numpy(force=True), theirs.numpy(force=True)
        scale = max(1.0, float(np.abs(yours).max())) if yours.size else 1.0
        np.testing.assert_allclose(mine, yours, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("kind", KINDS)
def test_programs(kind: str) -> None:
    torch.set_num_threads(1)
    mix = KINDS[kind]
    seen: Counter[str] = Counter()
    for seed in range(mix.programs):
        seen += Program(seed, mix).run()
    # the test tests something: every kind of step came up, and few programs ended in an error
    assert all(seen[name] > mix.programs * weight / 50 for name, weight in mix.weights.items())
    assert seen["gradient"] + seen["second order"] > 0.8 * mix.programs
    assert seen["second order"] > 0.1 * mix.programs
    assert 0 < seen["refused"] < mix.programs
    assert seen["one raised"] < 0.05 * mix.programs
