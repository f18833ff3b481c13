"""Random programs against PyTorch: values, gradients and second gradients, and errors.

A program is a pool of tensors, kept in both libraries side by side, and steps that make a tensor
from others or write into one. It follows from a seed, which a failure shows:
`Program(seed, KINDS["general"]).run()` repeats it.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest

import ferrum as fe
from ferrum.errors import FerrumError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = [pytest.mark.torch, pytest.mark.slow]

Shape = tuple[int, ...]
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


# ---- steps: each draws an expression of the tensors x and y, the library, and constants


class Call:
    """An expression, which both libraries understand, and what it reads beside its tensors."""

    def __init__(self, text: str, **constants: Any) -> None:
        self.text, self.constants = text.strip(), constants

    def __call__(self, library: Any, *tensors: Any) -> Any:
        names = dict(zip("xy", tensors, strict=False))
        return eval(compiled(self.text), {"lib": library, **self.constants, **names})


@cache
def compiled(text: str) -> Any:
    return compile(text, text, "eval")


UNARY = """
x.sin(); x.cos(); x.tanh(); x.sigmoid(); x.exp(); x.expm1(); x.erf(); x.relu(); x.abs(); -x;
(x * x + 0.5).log(); (x * x).log1p(); (x.abs() + 0.3).sqrt(); (x * x + 0.7).rsqrt(); x.square();
(x * x + 1).reciprocal(); x**3; x * 0.5; x.clamp(-0.7, 0.9); 2 - x / 3; 1 / (x * x + 1);
x.clone(); x.flip(0) if x.ndim else x + 0; lib.tril(x) if x.ndim >= 2 else x - 1;
x.detach() * x; x.masked_fill(x > 0.2, 0.1); x.contiguous() + 0
"""
BINARY = """
x + y; x - y; x * y; x / (y * y + 1); lib.maximum(x, y); lib.minimum(x, y); x.add(y, alpha=3);
lib.where(x > y, x * 2, y); lib.atan2(x, y * y + 1); (x.abs() + 0.5) ** y
"""
REDUCE = """
x.sum(dim, keep); x.mean(dim, keep); x.amax(dim, keep); x.amin(dim, keep); x.prod(dim, keep);
x.var(dim, correction=0, keepdim=keep); x.logsumexp(dim, keep); x.softmax(dim); x.log_softmax(dim);
x.cumsum(dim); x.sum(); x.mean()
"""
CHOOSE = """
x.max(dim, keep).values; x.min(dim).values; x.sort(dim, descending=keep).values;
x.topk(1, dim).values
"""
VIEW = """
x[key]; x[key]; x.transpose(dim, other); x.permute(order); x.reshape(new); x.flatten();
x.narrow(dim, start, count); x.select(dim, index); x.unsqueeze(dim); x.squeeze()
"""
PICK = """
x[(*before, lib.tensor(places, dtype=lib.int64))]; x[(*before, lib.tensor(mask))];
x[lib.tensor(full)]; x.gather(dim, lib.tensor(grid)); x.scatter_add(dim, lib.tensor(grid), x * 2);
x.index_select(dim, lib.tensor(inside, dtype=lib.int64))
"""
WRITE = """
x.add_(number); x.mul_(number); x.sub_(number); x.div_(2 + number); x.sin_(); x.tanh_();
x.sigmoid_(); x.neg_(); x.square_(); x.clamp_(-0.8, 0.8); x.relu_(); x.fill_(number); x.zero_();
x.masked_fill_(x > 0.3, number); x.__setitem__(key, number); x.__setitem__(x > 0.1, number);
x.__setitem__(lib.tensor(rows, dtype=lib.int64), number)
"""
WRITE_FROM = """
x.add_(y); x.mul_(y); x.sub_(y, alpha=2); x.div_(y * y + 1); x.copy_(y); x.__setitem__(key, y);
x.__setitem__(lib.tensor(rows[:1], dtype=lib.int64), y)
"""


def one_of(rng: random.Random, texts: str, **constants: Any) -> Call:
    return Call(rng.choice(texts.split(";")), **constants)


def constant(rng: random.Random, shape: Shape) -> Call:
    values = np.array([rng.uniform(-1.5, 1.5) for _ in range(math.prod(shape))]).reshape(shape)
    return Call("lib.tensor(values, dtype=lib.float64)", values=values)


def an_axis(rng: random.Random, shape: Shape) -> int:
    return rng.randrange(-len(shape), len(shape)) if shape else 0


def a_key(rng: random.Random, shape: Shape) -> tuple[Any, ...]:
    """Draw a basic index: integers, slices, None, an ellipsis."""
    entries: list[Any] = []
    for size in shape[: rng.randint(0, len(shape))]:
        start, stop = (rng.choice([None, rng.randint(-size - 1, size + 1)]) for _ in range(2))
        part = slice(start, stop, rng.choice([None, 1, 2, 3]))
        entries.append(rng.randrange(-size, size) if size and rng.random() < 0.3 else part)
        entries += [None] if rng.random() < 0.1 else []
    return (*entries, ...) if rng.random() < 0.2 else tuple(entries)


def split_of(rng: random.Random, count: int) -> Shape:
    """Draw a shape of `count` elements."""
    shape, rest = [], count
    while rest > 1 and len(shape) < 3:
        shape.append(rng.choice([n for n in range(1, rest + 1) if rest % n == 0]))
        rest //= shape[-1]
    return (*shape, rest) if count else (0, rng.randint(1, 3))


def a_view(rng: random.Random, shape: Shape) -> Call:
    """Draw a call that looks at a tensor another way."""
    dim, key = an_axis(rng, shape), a_key(rng, shape)
    size = shape[dim] if shape else 0
    if not size:
        return one_of(rng, "x[key]; x.unsqueeze(0); x.squeeze(); x.flatten()", key=key)
    start = rng.randint(0, size)
    return one_of(
        rng, VIEW, dim=dim, key=key, start=start, count=rng.randint(0, size - start),
        order=rng.sample(range(len(shape)), len(shape)), index=rng.randrange(-size, size),
        other=an_axis(rng, shape), new=split_of(rng, math.prod(shape)),
    )  # fmt: skip


def a_reduction(rng: random.Random, x: Any) -> Call:
    """Draw a reduction; those that choose an element only where no two are equal."""
    texts = REDUCE if len(np.unique(x)) < x.size else f"{REDUCE};{CHOOSE}"
    return one_of(rng, texts, dim=an_axis(rng, x.shape), keep=rng.random() < 0.4)


def a_pick(rng: random.Random, shape: Shape) -> Call:
    """Draw a read by integer tensors or a mask; now and then out of range."""
    dim = rng.randrange(len(shape))
    size, count = shape[dim], math.prod(shape)
    places = [rng.randrange(-size, size + (rng.random() < 0.03)) for _ in range(rng.randint(0, 4))]
    return one_of(
        rng, PICK, dim=dim, before=(slice(None),) * dim, places=places,
        inside=[place % size for place in places],
        mask=np.array([rng.random() < 0.5 for _ in range(size)]),
        full=np.array([rng.random() < 0.5 for _ in range(count)]).reshape(shape),
        grid=np.array([rng.randrange(size) for _ in range(count)]).reshape(shape),
    )  # fmt: skip


def a_write(rng: random.Random, shape: Shape) -> Call:
    """Draw a call that writes x, from a number or from y."""
    rows = [rng.randrange(-shape[0], shape[0]) for _ in range(2)] if shape else [0]
    texts = WRITE if rng.random() < 0.5 else WRITE_FROM
    return one_of(rng, texts, number=rng.uniform(-1, 1), key=a_key(rng, shape), rows=rows)


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
        self.seed, self.rng, self.weights = seed, random.Random(seed), mix.weights
        self.seen: Counter[str] = Counter()
        self.story: list[str] = []
        self.leaves = [self.leaf() for _ in range(self.rng.randint(1, 3))]
        self.pool = [*self.leaves, self.made(constant(self.rng, self.shape()))]
        self.pool += [self.made(Call("x * 1"), leaf) for leaf in self.leaves]

    def shape(self) -> Shape:
        sizes = [1, 2, 2, 3, 3, 4] * 4 + [0]
        return tuple(self.rng.choice(sizes) for _ in range(self.rng.choice([0, 1, 2, 2, 2, 3])))

    def leaf(self) -> Pair:
        make = constant(self.rng, self.shape())
        return Pair(make(fe).requires_grad_(), make(torch).requires_grad_())

    def both(self, call: Call, *operands: Pair, quiet: bool = False) -> list[Any]:
        """Return what both libraries make of a call; None where both refuse it."""
        self.story.append(f"{call.text}   # {', '.join(str(each.shape) for each in operands)}")
        results: list[Any] = []
        for library, tensors in (
            (fe, [p.ours for p in operands]),
            (torch, [p.theirs for p in operands]),
        ):
            try:
                with library.set_grad_enabled(not quiet):
                    results.append(call(library, *tensors))
            except (FerrumError, RuntimeError, IndexError, ValueError, TypeError) as error:
                results.append(error)
        if any(isinstance(each, Exception) for each in results):
            assert isinstance(results[0], FerrumError), (
                f"FERRUM {results[0]!r}, PyTorch {results[1]!r}"
            )
            assert isinstance(results[1], Exception), f"FERRUM raised {results[0]!r}"
            self.seen["refused"] += 1
            return [None, None]
        return results

    def made(self, call: Call, *operands: Pair, fixed: bool = False) -> Any:
        """Return the new pair that a call makes; None where both refuse it."""
        ours, theirs = self.both(call, *operands)
        if ours is None:
            return None
        assert tuple(ours.shape) == tuple(theirs.shape)
        assert ours.requires_grad == theirs.requires_grad
        pair = Pair(ours, theirs, fixed)
        if pair.host.size and np.abs(pair.host).max() > LARGE:
            return Pair(ours.tanh(), theirs.tanh())
        return pair

    def add(self, call: Call, *operands: Pair, fixed: bool = False) -> None:
        pair = self.made(call, *operands, fixed=fixed)
        self.pool += [] if pair is None else [pair]

    def any(self) -> Pair:
        return self.rng.choice(self.pool)

    def fitting(self, shape: Shape) -> Pair:
        """Return a pair that broadcasts with `shape`; rarely one that does not."""
        fits = [p for p in self.pool if broadcast(p.shape, shape)]
        return self.rng.choice(fits) if fits and self.rng.random() < 0.97 else self.any()

    # ---- the kinds of step

    def unary(self) -> None:
        self.add(one_of(self.rng, UNARY), self.any())

    def binary(self) -> None:
        x = self.any()
        self.add(one_of(self.rng, BINARY), *self.rng.sample([x, self.fitting(x.shape)], 2))

    def reduce(self) -> None:
        x = self.any()
        if x.host.size:
            self.add(a_reduction(self.rng, x.host), x)

    def pick(self) -> None:
        x = self.any()
        if x.shape and x.host.size:
            self.add(a_pick(self.rng, x.shape), x)

    def matmul(self) -> None:
        x, y = self.any(), self.any()
        if x.shape and len(y.shape) > 1 and x.shape[-1] == y.shape[-1]:
            self.add(Call("x @ y.mT"), x, y)
        else:
            self.add(Call("x.mT @ x" if len(x.shape) > 1 else "x @ y"), x, y)

    def join(self) -> None:
        x = self.any()
        y = self.rng.choice([p for p in self.pool if p.shape == x.shape])
        dim, text = an_axis(self.rng, x.shape), "lib.cat([x, y, x], dim); lib.stack([x, y], dim)"
        self.add(one_of(self.rng, text, dim=dim), x, y)

    def expand(self) -> None:
        x = self.any()
        new = tuple(self.rng.choice([2, 3]) if n == 1 else n for n in x.shape)
        new = (*self.rng.choice([(), (2,)]), *new)
        self.add(Call("x.expand(new)", new=new), x, fixed=x.fixed or new != x.shape)

    def view(self) -> None:
        x = self.rng.choice(self.pool[-3:]) if self.rng.random() < 0.7 else self.any()
        pair = self.made(a_view(self.rng, x.shape), x, fixed=x.fixed)
        if pair is not None and overlap(pair.ours, x.ours) != overlap(pair.theirs, x.theirs):
            pair = self.made(Call("x.clone()"), pair)  # a reshape that copied in one of them
        self.pool += [] if pair is None else [pair]

    def write(self, quiet: bool = False) -> None:
        # PyTorch takes a write of no elements for no write, or for one to a leaf
        open_ones = [p for p in self.pool if not p.fixed and p.host.size]
        others = [p for p in open_ones if p not in self.leaves or self.rng.random() < 0.1]
        if not others:
            return
        x = self.rng.choice(others)
        for pair in self.pool:
            _ = pair.theirs.grad_fn  # or PyTorch takes a view of what was written for a leaf
        y = self.fitting(x.shape)
        if overlap(x.ours, y.ours):  # PyTorch refuses, FERRUM reads before it writes
            y = Pair(y.ours.clone(), y.theirs.clone())
        self.both(a_write(self.rng, x.shape), x, y, quiet=quiet)
        assert x.ours.requires_grad == x.theirs.requires_grad

    def quiet(self) -> None:
        self.write(quiet=True)

    # ---- comparison

    def run(self) -> Counter[str]:
        """Take the steps, compare everything, and return what happened."""
        try:
            kinds = self.rng.choices(
                list(self.weights), self.weights.values(), k=self.rng.randint(3, 12)
            )
            for kind in kinds:
                getattr(self, kind)()
            for pair in self.pool:
                close(pair.ours, pair.theirs)
            self.compare_gradients()
        except AssertionError as error:
            error.add_note("\n".join([f"seed {self.seed}", *self.story]))
            raise
        return self.seen + Counter(kinds)

    def compare_gradients(self) -> None:
        roots = [p for p in self.pool if p.ours.requires_grad and p not in self.leaves]
        chosen = [roots[-1], *self.rng.choices(roots, k=self.rng.randint(0, 2))]
        twice = self.rng.random() < 0.3
        found: list[Any] = []
        for lib, name in ((fe, "ours"), (torch, "theirs")):
            loss = sum([weighted(lib, getattr(pair, name)) for pair in chosen])
            try:
                found.append(
                    gradients(lib, loss, [getattr(leaf, name) for leaf in self.leaves], twice)
                )
            except RuntimeError as error:  # a write after a save
                assert "in place" in str(error) or "inplace" in str(error), repr(error)
                found.append(None)
        if None in found:  # the two do not save the same tensors, so one alone may raise
            self.seen["both raised" if found == [None, None] else "one raised"] += 1
            return
        self.seen["second order" if twice else "first order"] += 1
        for mine, yours in zip(*found, strict=True):
            close(mine, yours)


def broadcast(a: Shape, b: Shape) -> bool:
    return all(n == m or 1 in (n, m) for n, m in zip(a[::-1], b[::-1], strict=False))


def overlap(x: Any, y: Any) -> bool:
    return np.may_share_memory(x.detach().numpy(), y.detach().numpy())


def weighted(lib: Any, x: Any) -> Any:
    weights = np.cos(np.arange(x.numel(), dtype=np.float64)).reshape(tuple(x.shape))
    return (x * lib.tensor(weights)).sum()


def gradients(lib: Any, loss: Any, leaves: list[Any], twice: bool) -> list[Any]:
    grad = fe.grad if lib is fe else torch.autograd.grad
    options = {"allow_unused": True, "materialize_grads": True}
    first = list(grad(loss, leaves, create_graph=twice, **options))
    squares = [(g * g).sum() for g in first if g.requires_grad]
    second = grad(sum(squares), leaves, **options) if squares else map(lib.zeros_like, leaves)
    return [*first, *second] if twice else first


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
    assert seen["first order"] + seen["second order"] > 0.85 * mix.programs
    assert seen["second order"] > 0.2 * mix.programs
    assert 0 < seen["refused"] < mix.programs
    assert seen["both raised"] > 0
    assert seen["one raised"] < 0.06 * mix.programs
