"""Random calls on `cpu` and on `reference`: any dtype, shape, layout, overlap and number.

A call follows from a seed, which a failure shows: `Trial(seed).run()` repeats it. Where the two may
differ (the order of sums, the sign of a zero among equals) this says by how much.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

import ferrum as fe
from ferrum.errors import FerrumError

TRIALS = 6000
DEVICES = ("cpu", "reference")
REAL = {fe.float16: 2**-10, fe.bfloat16: 2**-7, fe.float32: 2**-23, fe.float64: 2**-52}
WHOLE = [fe.bool, fe.uint8, fe.int8, fe.int16, fe.int32, fe.int64]
DTYPES = [*WHOLE, *REAL]

UNARY = """
x.abs(); x.sign(); x.exp(); x.expm1(); x.log(); x.log1p(); x.sqrt(); x.rsqrt(); x.sin(); x.cos();
x.tanh(); x.erf(); x.floor(); x.ceil(); x.trunc(); x.round(); x.square(); x.reciprocal(); -x; ~x;
x.sigmoid(); x.relu(); x.logical_not(); x.isnan(); x.isinf(); x.isfinite(); x.clone(); x.flip(dim);
x.half(); x.bfloat16(); x.float(); x.double(); x.int(); x.long(); x.bool(); x.to(fe.uint8);
x.tril(small); x.triu(small); x.nonzero(); x.masked_fill(x > n, m); x.contiguous()
"""
REDUCE = """
x.sum(dim, keep); x.sum(dims, keep); x.sum(); x.mean(dim, keep); x.mean(dims); x.any(dim, keep);
x.all(dims); x.argmax(dim, keep); x.argmin(); x.argsort(dim, descending=keep); x.cumsum(dim);
x.sort(dim, descending=keep).values; x.topk(1, dim, largest=keep).values; x.amax(dims, keep);
x.amin(dim, keep); x.max(dim).indices; x.softmax(dim); x.log_softmax(dim); x.logsumexp(dim, keep)
"""
BINARY = """
x + y; x - y; x * y; x / y; x // y; x % y; x == y; x != y; x < y; x <= y; x > y; x >= y; x & y;
x | y; x ^ y; fe.maximum(x, y); fe.minimum(x, y); fe.atan2(x, y); fe.logical_and(x, y);
fe.logical_or(x, y); fe.logical_xor(x, y); fe.where(x > n, x, y); x.add(y, alpha=2); x.type_as(y);
fe.div(x, y, rounding_mode="floor"); fe.div(x, y, rounding_mode="trunc"); fe.cat([x, y], dim);
fe.stack([x, y]); x @ y; x.mT @ x; x.masked_fill(y.bool(), n)
"""
NUMBER = """
x + n; n - x; x * n; x / n; n / x; x // n; n // x; x % n; n % x; x == n; x < n; n >= x; x & n;
x | n; x ^ n; fe.where(x > 0, n, m); fe.full_like(x, n); x.clamp(min=n); x.clamp(n, m)
"""
PICK = """
x[key]; x[rows]; x[rows, columns]; x[:, columns]; x[x > n]; x.gather(dim, grid); x[rows][key];
x.scatter_add(dim, grid, x); x.index_select(dim, grid.flatten()); x[None, rows]; x[..., columns]
"""
WRITE = """
x.add_(y); x.mul_(y); x.sub_(y); x.div_(y); x.copy_(y); x.remainder_(y); x.__iand__(y);
x[1:].add_(x[:-1]); x[:-1].add_(x[1:]); x.copy_(x.t()); x.mul_(x[0]); x.add_(x.mT);
x.sub_(x.flip(0)); x[::2].copy_(x[:len(x[::2])]); x[1:].copy_(x[:-1]); x[:-1].copy_(x[1:]);
x.add_(n); x.mul_(n); x.floor_divide_(n); x.fill_(n); x.zero_(); x.exp_(); x.neg_(); x.round_();
x.clamp_(n, m); x.masked_fill_(x > n, m); x.__setitem__(key, n); x.__setitem__(key, y);
x.__setitem__(rows, x[0]); x.__setitem__(x > n, m); x[..., 0].add_(x[..., -1]); x.copy_(x[0]);
x.T.copy_(x); x.scatter_add_(dim, grid, x); x.div_(x[..., :1]); x.cumsum_(dim); x.abs_()
"""
KINDS = {
    name: [each.strip() for each in text.split(";")]
    for name, text in (
        ("unary", UNARY),
        ("reduce", REDUCE),
        ("binary", BINARY),
        ("number", NUMBER),
        ("pick", PICK),
        ("write", WRITE),
    )
}
NUMBERS = [
    *(0, 1, -1, 2, 3, -2, 7, -7, True, False, 127, -128, 255, 256, 2**31, 2**63 - 1, -(2**63)),
    *(2**63, 2**80, 0.0, -0.0, 0.5, 2.5, -0.5, 1e5, 65504.0, 1e38, 1e300, 5e-324),
    *(math.nan, math.inf, -math.inf),
]
SPECIAL = [
    *(math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, 1e-45, 6e-8, 65504.0, 3e38, 1e300),
    *(1e4, -1e4, 88.0, 710.0, 2.5, -0.5, 2.0**31, -(2.0**63)),
]
EITHER_ZERO = ("cumsum", "amax", "amin", "max", "min", "clamp")


class Trial:
    """One call, of tensors that both devices hold in one layout."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.generator = np.random.default_rng(seed)
        self.special = self.random.random() < 0.3
        self.story = [f"seed {seed}"]

    def shape(self) -> tuple[int, ...]:
        draw = self.random
        if draw.random() < 0.04:
            return (draw.choice([17, 64, 1025, 5000, 40000]),)
        sizes = [1, 2, 3, 4, 5, 7] * 5 + [0]
        return tuple(draw.choice(sizes) for _ in range(draw.choice([0, 1, 2, 2, 3, 3, 4, 5])))

    def values(self, shape: tuple[int, ...], dtype: Any) -> Any:
        if dtype in REAL or dtype is fe.bool:
            found = self.generator.standard_normal(shape) * 2
            chosen = self.generator.random(shape) < (0.3 if self.special else 0)
            found = np.where(chosen, self.generator.choice(SPECIAL, shape), found)
            with np.errstate(all="ignore"):
                return found.astype(dtype) if dtype in REAL else found > 0
        info = np.iinfo(dtype)
        low, high = (info.min, info.max) if self.special else (max(info.min, -5), 5)
        return self.generator.integers(low, high, shape, dtype, endpoint=True)

    def layout(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], Any]:
        """Draw a base's shape, and the view of it that has `shape`."""
        draw, kind, ndim = self.random, self.random.randrange(6), len(shape)
        axis = draw.randrange(ndim) if ndim else 0
        if kind == 0 or not ndim:
            return shape, lambda base: base
        if kind == 1:
            order = draw.sample(range(ndim), ndim)
            turned = tuple(shape[i] for i in order)
            return turned, lambda base: base.permute([order.index(i) for i in range(ndim)])
        if kind == 2:
            base = tuple(n * 3 + 1 if i == axis else n for i, n in enumerate(shape))
            return base, lambda base: base[(*(slice(None),) * axis, slice(1, None, 3))]
        if kind == 3 and shape[axis]:
            base = tuple(1 if i == axis else n for i, n in enumerate(shape))
            return base, lambda base: base.expand(shape)
        if kind == 4:
            reach = tuple(n + 2 for n in shape)
            return reach, lambda base: base[(slice(1, -1),) * ndim]
        wide = tuple(2 * n + 1 for n in shape[::-1])
        return wide, lambda base: base.permute(*range(ndim)[::-1])[(slice(1, None, 2),) * ndim]

    def operand(self, shape: tuple[int, ...], dtype: Any) -> list[tuple[Any, Any]]:
        """Return a base and its view on each device."""
        of_base, look = self.layout(shape)
        values = self.values(of_base, dtype)
        self.story.append(f"{dtype.name} {shape} of {of_base}: {values.ravel()[:12]}")
        bases = [fe.tensor(values, dtype=dtype, device=device) for device in DEVICES]
        return [(base, look(base)) for base in bases]

    def key(self, shape: tuple[int, ...]) -> tuple[Any, ...]:
        draw, found = self.random, []
        for size in shape[: draw.randint(0, len(shape))]:
            ends = [draw.choice([None, draw.randint(-size - 1, size + 1)]) for _ in range(2)]
            part = slice(*ends, draw.choice([None, 1, 2, 3]))
            found.append(draw.randrange(size) if size and draw.random() < 0.3 else part)
        return (*found, ...) if draw.random() < 0.2 else tuple(found)

    def run(self) -> str:
        """Make the call on both devices, compare, and return its kind or that both refused it."""
        draw = self.random
        kind = draw.choice(list(KINDS))
        text, shape, dtype = draw.choice(KINDS[kind]), self.shape(), draw.choice(DTYPES)
        other = dtype if draw.random() < 0.6 else draw.choice(DTYPES)
        second = tuple(n if draw.random() < 0.8 else 1 for n in shape)
        xs, ys = self.operand(shape, dtype), self.operand(second, other)
        ndim = len(shape)
        dim = draw.randrange(-ndim, ndim) if ndim else 0
        ends = [shape[0], shape[-1], shape[dim]] if ndim else [1, 1, 1]
        picks = [self.generator.integers(-n, n, 3) if n else np.zeros(0, int) for n in ends[:2]]
        if draw.random() < 0.1:
            picks = [picks[0][:1] + draw.choice([0, 99]), picks[1][: draw.choice([0, 1])]]
        constants = {
            "fe": fe, "dim": dim, "dims": tuple(draw.sample(range(ndim), draw.randint(0, ndim))),
            "keep": draw.random() < 0.5, "small": draw.randint(-3, 3), "n": draw.choice(NUMBERS),
            "m": draw.choice(NUMBERS), "key": self.key(shape),
        }  # fmt: skip
        grid = self.generator.integers(0, max(ends[2], 1), shape)
        self.story += [text, str(constants), str(picks)]
        results: list[Any] = []
        for device, (base, x), (other_base, y) in zip(DEVICES, xs, ys, strict=True):
            places = {"rows": picks[0], "columns": picks[1], "grid": grid}
            tensors = {name: fe.tensor(each, device=device) for name, each in places.items()}
            try:
                found = eval(text, {"x": x, "y": y, **constants, **tensors})
                results.append([base, other_base] if kind == "write" else [found])
            except (FerrumError, TypeError) as error:
                results.append(error)
        if any(isinstance(each, Exception) for each in results):
            assert type(results[0]) is type(results[1]), results
            return "refused"
        self.compare(text, kind, results, [xs[1][0], ys[1][0]])
        return kind

    def compare(self, text: str, kind: str, results: list[Any], inputs: list[Any]) -> None:
        """Check results, whose sums may be off by some ULP of the sum of sizes."""
        sizes = [np.abs(host(each).astype(float)) for each in inputs]
        largest = max(each[np.isfinite(each)].max(initial=1.0) for each in sizes)
        count = max(1, inputs[0].numel())
        scale = 0.0
        if kind == "reduce" or "cumsum" in text:
            scale = largest * count
        elif "scatter_add" in text:
            scale = largest * 8
        elif "@" in text:
            scale = largest * largest * count
        for ours, theirs in zip(*results, strict=True):
            assert ours.dtype is theirs.dtype
            assert ours.shape == theirs.shape
            same(host(ours), host(theirs), ours.dtype, scale, text)


def host(x: Any) -> Any:
    return x.numpy(force=True)


def same(ours: Any, theirs: Any, dtype: Any, scale: float, text: str) -> None:
    if dtype not in REAL:
        np.testing.assert_array_equal(ours, theirs)
        return
    if not any(each in text for each in EITHER_ZERO):
        zeros = (ours == 0) & (theirs == 0)
        assert (np.signbit(ours) == np.signbit(theirs))[zeros].all(), "the sign of a zero"
    least = 2e-323 if dtype is fe.float64 else 1e-7 if dtype is fe.float16 else 1e-40
    ours, theirs = ours.astype(float), theirs.astype(float)
    # a sum that passes the largest number does so early in one order and late in another
    near = np.isinf(ours) | np.isinf(theirs) if scale * REAL[dtype] > 1e30 else False
    with np.errstate(all="ignore"):
        allowed = 16 * REAL[dtype] * np.maximum(np.abs(theirs), scale) + least
        close = (ours == theirs) | (np.abs(ours - theirs) <= allowed) | near
    assert (close | (np.isnan(ours) & np.isnan(theirs))).all(), "the value"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_calls_agree_with_the_reference() -> None:
    seen: Counter[str] = Counter()
    for seed in range(TRIALS):
        trial = Trial(seed)
        try:
            seen[trial.run()] += 1
        except Exception as error:
            error.add_note("\n".join(trial.story))
            raise
    assert all(seen[kind] > TRIALS / 20 for kind in KINDS)
    assert seen["refused"] < TRIALS / 3
