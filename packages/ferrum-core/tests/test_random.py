"""Generators and random tensors: the same seed, the same bits; sane laws; errors by name."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ferrum as fe
from ferrum import Generator, philox
from ferrum.dtypes import FLOATS, INTEGERS
from ferrum.errors import ArgumentError, DTypeError, FerrumError, OperandError, ShapeError

SEEDS = st.integers(0, 2**64 - 1)
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)

DRAWS: dict[str, Callable[[Generator | None], fe.Tensor]] = {
    "rand": lambda g: fe.rand(3, 2, generator=g),
    "randn": lambda g: fe.randn(3, 2, generator=g),
    "rand_like": lambda g: fe.rand_like(fe.zeros(3, 2), generator=g),
    "randn_like": lambda g: fe.randn_like(fe.zeros(3, 2), generator=g),
    "randint": lambda g: fe.randint(-5, 100, (3, 2), generator=g),
    "randperm": lambda g: fe.randperm(20, generator=g),
    "bernoulli": lambda g: fe.bernoulli(fe.full((6, 5), 0.5), generator=g),
}
each_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


@pytest.fixture(autouse=True)
def state() -> Iterator[None]:
    """The default generator, put back afterwards."""
    before = fe.get_rng_state()
    yield
    fe.set_rng_state(before)


# ---- generators


@settings(derandomize=True, deadline=None, max_examples=60)
@given(SEEDS, st.lists(st.sampled_from(sorted(DRAWS)), max_size=6))
def test_a_saved_state_resumes_anywhere(seed: int, names: list[str]) -> None:
    """The offset counts the draws; from a state on, bits and states are the same again."""
    generator = Generator(seed)
    states, drawn = [], []
    for name in names:
        states.append(generator.get_state())
        drawn.append(DRAWS[name](generator).tolist())
    assert states == [(seed, i) for i in range(len(names))]
    for i, name in enumerate(names):
        other = Generator().set_state(states[i])
        assert DRAWS[name](other).tolist() == drawn[i]
        assert other.get_state() == (seed, i + 1)


@each_draw
def test_the_same_seed_gives_the_same_bits(draw: Callable[..., fe.Tensor]) -> None:
    fe.manual_seed(7)
    first, second = draw(None).tolist(), draw(None).tolist()
    assert first != second
    assert fe.get_rng_state() == (7, 2)
    fe.manual_seed(7)
    assert [draw(None).tolist(), draw(None).tolist()] == [first, second]
    own = Generator(7)
    assert [draw(own).tolist(), draw(own).tolist()] == [first, second]
    assert draw(Generator(8)).tolist() != first


@each_draw
def test_generators_are_independent(draw: Callable[..., fe.Tensor]) -> None:
    before = fe.get_rng_state()
    a, b = Generator(1), Generator(1)
    expected = [draw(a).tolist() for _ in range(2)]
    draw(Generator(2))
    assert [draw(b).tolist() for _ in range(2)] == expected
    assert fe.get_rng_state() == before


@settings(derandomize=True, deadline=None)
@given(st.integers(-(2**70), 2**70))
def test_any_integer_is_a_seed(seed: int) -> None:
    assert Generator(seed).get_state() == (seed % 2**64, 0)
    assert Generator(5).manual_seed(seed).initial_seed() == seed % 2**64
    assert fe.manual_seed(seed).get_state() == fe.get_rng_state() == (seed % 2**64, 0)


def test_numpy_integers_are_seeds() -> None:
    assert Generator(np.int32(-1)).get_state() == (2**64 - 1, 0)


def test_the_offset_wraps_around() -> None:
    generator = Generator().set_state((3, 2**64 - 1))
    assert tuple(generator.next_key()) == (3, 2**64 - 1)
    assert generator.get_state() == (3, 0)


def test_a_fresh_seed_comes_from_the_system() -> None:
    generator = Generator(1)
    generator.next_key()
    seeds = {generator.seed() for _ in range(4)}
    assert len(seeds) == 4
    assert generator.get_state() == (generator.initial_seed(), 0)
    assert generator.initial_seed() in seeds


def test_generators_print_copy_and_pickle() -> None:
    generator = Generator(3)
    generator.next_key()
    assert repr(generator) == "Generator(seed=3, offset=1)"
    for twin in (copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))):
        assert twin.get_state() == (3, 1)
        twin.next_key()
    assert generator.get_state() == (3, 1)


@pytest.mark.parametrize("seed", ["1", 1.0, None, (1,)])
def test_what_is_no_integer_is_no_seed(seed: Any) -> None:
    with pytest.raises(OperandError, match=r"^Generator: expected an integer, got"):
        Generator(seed)
    before = fe.get_rng_state()
    with pytest.raises(OperandError, match=r"^manual_seed: expected an integer, got"):
        fe.manual_seed(seed)
    assert fe.get_rng_state() == before


@pytest.mark.parametrize(
    "wrong", [None, 3, "ab", (1,), (1, 2, 3), (-1, 0), (0, 2**64), (0.0, 1), ("a", "b")]
)
def test_a_wrong_state_is_refused_and_changes_nothing(wrong: Any) -> None:
    generator = Generator(4)
    with pytest.raises(ArgumentError, match=r"^set_state: expected two integers of 64 bits"):
        generator.set_state(wrong)
    assert generator.get_state() == (4, 0)


def test_no_key_is_given_twice_to_threads() -> None:
    generator, each, threads = Generator(9), 2000, 8
    with ThreadPoolExecutor(threads) as pool:
        runs = [
            pool.submit(lambda: [generator.next_key() for _ in range(each)]) for _ in range(threads)
        ]
        keys = [key for run in runs for key in run.result()]
    assert sorted(keys) == [(9, i) for i in range(each * threads)]
    assert generator.get_state() == (9, each * threads)


def test_a_state_is_never_torn() -> None:
    """Seed and offset are read together, also while another thread sets both."""
    generator, pairs = Generator(0), [(i, i) for i in range(64)]

    def write() -> None:
        for _ in range(200):
            for pair in pairs:
                generator.set_state(pair)

    with ThreadPoolExecutor(1) as pool:
        writing, seen = pool.submit(write), Counter[bool]()
        while not writing.done():
            seed, offset = generator.get_state()
            seen[seed == offset] += 1
        writing.result()
    assert set(seen) == {True}


# ---- tensors


@settings(derandomize=True, deadline=None, max_examples=60)
@given(SEEDS, SEEDS, SHAPES, st.sampled_from(FLOATS))
def test_the_numbers_are_those_of_philox(
    seed: int, offset: int, shape: tuple[int, ...], dtype: Any
) -> None:
    for function, law in ((fe.rand, philox.uniform), (fe.randn, philox.normal)):
        generator = Generator().set_state((seed, offset))
        out = function(shape, dtype=dtype, generator=generator)
        expected = law(shape=shape, dtype=dtype, key=(seed, offset))
        assert out.shape == shape
        assert out.dtype is dtype
        assert out.numpy().tobytes() == expected.tobytes()


@settings(derandomize=True, deadline=None, max_examples=60)
@given(SEEDS, st.data())
def test_integers_stay_in_their_range(seed: int, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(INTEGERS))
    info = np.iinfo(dtype)
    low = data.draw(st.integers(info.min, info.max))
    high = data.draw(st.integers(low + 1, info.max + 1))
    out = fe.randint(low, high, (40,), dtype=dtype, generator=Generator(seed))
    assert out.dtype is dtype
    assert all(low <= each < high for each in out.tolist())


@settings(derandomize=True, deadline=None, max_examples=30)
@given(SEEDS, st.integers(0, 50))
def test_permutations_hold_every_integer_once(seed: int, n: int) -> None:
    out = fe.randperm(n, generator=Generator(seed))
    assert out.dtype is fe.int64
    assert sorted(out.tolist()) == list(range(n))


def test_sizes_and_dtypes() -> None:
    assert fe.rand().shape == ()
    assert fe.rand(2, 3).shape == fe.rand((2, 3)).shape == fe.rand([2, 3]).shape == (2, 3)
    assert fe.randn(0, 3).tolist() == []
    assert fe.rand(1).dtype is fe.randn(1).dtype is fe.float32
    assert fe.randint(3, (2,)).dtype is fe.int64
    assert fe.randn(2, requires_grad=True).is_leaf
    assert fe.rand_like(fe.zeros(2, dtype=fe.float16), dtype=fe.float64).dtype is fe.float64
    assert fe.randn_like(fe.zeros(2, 5, dtype=fe.bfloat16)).dtype is fe.bfloat16
    assert not fe.rand_like(fe.zeros(2, requires_grad=True)).requires_grad


def test_every_spelling_of_randint_draws_the_same() -> None:
    def draw(*args: Any, **kwargs: Any) -> Any:
        return fe.randint(*args, generator=Generator(5), **kwargs).tolist()

    expected = draw(0, 10, (4,))
    assert len(set(expected)) > 1
    assert draw(10, (4,)) == draw(10, [4]) == draw(10, size=(4,)) == expected
    assert draw(np.int64(0), np.int64(10), (4,)) == draw(0, fe.tensor(10), size=(4,)) == expected


@settings(derandomize=True, deadline=None, max_examples=20)
@given(SEEDS, st.sampled_from(FLOATS))
def test_bernoulli_compares_uniform_draws_with_p(seed: int, dtype: Any) -> None:
    p = fe.linspace(0, 1, 33).to(dtype)
    out = fe.bernoulli(p, generator=Generator(seed))
    uniform = fe.rand(33, dtype=fe.float64, generator=Generator(seed))
    assert out.dtype is dtype
    assert out.tolist() == [float(u < q) for u, q in zip(uniform.tolist(), p.tolist(), strict=True)]
    assert (out[0].item(), out[-1].item()) == (0.0, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_moments(seed: int) -> None:
    """Means and variances lie within five standard errors."""
    n = 40_000
    uniform = fe.rand(n, dtype=fe.float64, generator=Generator(seed)).numpy()
    normal = fe.randn(n, dtype=fe.float64, generator=Generator(seed)).numpy()
    assert abs(uniform.mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / n)
    assert abs(uniform.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / n)
    assert abs(normal.mean()) < 5 / np.sqrt(n)
    assert abs(normal.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs((normal**3).mean()) < 5 * np.sqrt(15 / n)
    assert abs((normal**4).mean() - 3) < 5 * np.sqrt(96 / n)
    assert abs(np.corrcoef(normal[:-1], normal[1:])[0, 1]) < 5 / np.sqrt(n)


def chi_square(counts: np.ndarray[Any, Any]) -> float:
    """Return how many standard deviations Pearson's statistic lies above its mean."""
    expected = counts.sum() / counts.size
    freedom = counts.size - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom))


@pytest.mark.parametrize("seed", range(3))
def test_chi_square(seed: int) -> None:
    generator = Generator(seed)
    uniform = fe.rand(50_000, generator=generator).numpy()
    integers = fe.randint(7, (70_000,), generator=generator).numpy()
    first = np.array([fe.randperm(5, generator=generator)[0].item() for _ in range(500)])
    across = np.array([fe.rand(1, generator=generator).item() for _ in range(2_000)])
    for counts in (
        np.histogram(uniform, 100, (0, 1))[0],
        np.bincount(integers, minlength=7),
        np.bincount(first, minlength=5),
        np.histogram(across, 20, (0, 1))[0],
    ):
        assert abs(chi_square(counts)) < 5


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: fe.rand(-1), ShapeError, "uniform: expected sizes of at least 0, got (-1,)"),
        (lambda: fe.rand(2.5), OperandError, "rand: expected integers, got (2.5,)"),
        (lambda: fe.randn("3"), OperandError, "randn: expected integers, got ('3',)"),
        (lambda: fe.rand(2, dtype=fe.int64), DTypeError, "uniform: expected a floating-point"),
        (lambda: fe.rand_like(fe.tensor([1])), DTypeError, "uniform: expected a floating-point"),
        (lambda: fe.randn_like(3), OperandError, "randn_like: expected a tensor, got"),
        (lambda: fe.randint(5, 5, (3,)), ArgumentError, "randint: expected"),
        (lambda: fe.randint(0, 300, (3,), dtype=fe.uint8), ArgumentError, "randint: expected 0 <="),
        (lambda: fe.randint(5, (3,), dtype=fe.float32), DTypeError, "randint: expected bool or"),
        (lambda: fe.randint(0.5, 5, (3,)), OperandError, "randint: expected integers, got"),
        (lambda: fe.randint(5, 3), OperandError, "randint: expected randint(high, size) or"),
        (lambda: fe.randint(5), OperandError, "randint: expected randint(high, size) or"),
        (lambda: fe.randperm(-1), ArgumentError, "randperm: expected n of at least 0, got -1"),
        (lambda: fe.randperm(2.5), OperandError, "randperm: expected integers, got (2.5,)"),
        (lambda: fe.bernoulli(0.5), OperandError, "bernoulli: expected a tensor, got"),
        (lambda: fe.bernoulli(fe.tensor([1])), DTypeError, "bernoulli: expected floating-point"),
    ],
)
def test_bad_arguments(call: Callable[[], Any], error: type[FerrumError], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(text)
