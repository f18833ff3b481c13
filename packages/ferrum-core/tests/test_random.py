"""Generators: states that can be kept, draws that do not disturb each other, and what they say."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ferrum as fe
from ferrum import Generator, Tensor, philox
from ferrum.capture import record
from ferrum.errors import ArgumentError, DTypeError, FerrumError, OperandError, ShapeError

QUIET = settings(deadline=None, derandomize=True, max_examples=60, database=None)
U64 = st.integers(0, 2**64 - 1)

DRAWS: dict[str, Callable[[Generator | None], Tensor]] = {
    "rand": lambda g: fe.rand(2, 3, generator=g),
    "randn": lambda g: fe.randn((2, 3), generator=g),
    "randint": lambda g: fe.randint(10, (2, 3), generator=g),
    "randint from": lambda g: fe.randint(-5, 5, (6,), generator=g),
    "randperm": lambda g: fe.randperm(6, generator=g),
    "bernoulli": lambda g: fe.bernoulli(fe.full((2, 3), 0.5), generator=g),
    "rand_like": lambda g: fe.rand_like(fe.ones(6), generator=g),
    "randn_like": lambda g: fe.randn_like(fe.ones(6), generator=g),
}


# ---- states


@QUIET
@given(U64, st.integers(0, 5), st.sampled_from(sorted(DRAWS)))
def test_a_state_brings_back_what_followed_it(seed: int, before: int, name: str) -> None:
    generator = Generator(seed)
    for _ in range(before):
        generator.next_key()
    state = generator.get_state()
    assert state == (seed, before)
    first = [DRAWS[name](generator).tolist() for _ in range(3)]
    assert generator.get_state() == (seed, before + 3)
    assert generator.set_state(state) is generator
    assert [DRAWS[name](generator).tolist() for _ in range(3)] == first
    assert [DRAWS[name](Generator().set_state(state)).tolist()] == first[:1]


def test_a_draw_is_a_function_of_seed_and_offset_alone() -> None:
    generator = Generator(5).set_state((5, 17))
    expected = philox.uniform(shape=(2, 3), dtype=fe.float32, key=(5, 17))
    assert np.array_equal(fe.rand(2, 3, generator=generator).numpy(), expected)
    expected = philox.normal(shape=(4,), dtype=fe.float64, key=(5, 18))
    assert np.array_equal(fe.randn(4, dtype=fe.float64, generator=generator).numpy(), expected)


def test_one_call_is_one_draw_whatever_its_size() -> None:
    """So what is drawn later does not depend on how much was drawn before."""
    later = []
    for size in (1, 1000):
        generator = Generator(3)
        fe.rand(size, generator=generator)
        later.append(fe.rand(5, generator=generator).tolist())
    assert later[0] == later[1]


@pytest.mark.parametrize("name", DRAWS)
def test_draws_differ_between_calls_and_seeds(name: str) -> None:
    generator = Generator(0)
    many = [tuple(DRAWS[name](generator).reshape(-1).tolist()) for _ in range(20)]
    others = [tuple(DRAWS[name](Generator(seed)).reshape(-1).tolist()) for seed in range(20)]
    assert len(set(many)) > 10
    assert len(set(others)) > 10


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("odd", [5, "a", [1], Generator().next_key()], ids=str)
def test_what_is_no_generator_is_refused(name: str, odd: Any) -> None:
    public = name.split(maxsplit=1)[0].removesuffix("_like")
    with pytest.raises(OperandError, match=rf"^{public}: expected a fe\.Generator, got \w+; make"):
        DRAWS[name](odd)


@pytest.mark.parametrize("odd", [-0.1, 1.5, float("nan")])
def test_probabilities_lie_between_0_and_1(odd: float) -> None:
    assert fe.bernoulli(fe.tensor([0.0, 1.0])).tolist() == [0, 1]
    assert fe.bernoulli(fe.zeros(0)).shape == (0,)
    with pytest.raises(ArgumentError, match="^bernoulli: expected probabilities from 0 to 1"):
        fe.bernoulli(fe.tensor([0.5, odd]))
    graph = record(fe.bernoulli, fe.tensor([0.0, 1.0]))  # where no value is known
    assert graph.replay(fe.tensor([1.0, 0.0])).tolist() == [1, 0]


def test_the_default_generator() -> None:
    fe.manual_seed(11)
    assert fe.get_rng_state() == (11, 0)
    first, state, second = fe.rand(3), fe.get_rng_state(), fe.rand(3)
    assert first.tolist() == fe.rand(3, generator=Generator(11)).tolist()
    fe.rand(3, generator=Generator(4))
    assert fe.get_rng_state() == (11, 2)
    fe.set_rng_state(state)
    assert fe.rand(3).tolist() == second.tolist()
    assert fe.manual_seed(11).initial_seed() == 11
    assert fe.rand(3).tolist() == first.tolist()


def test_a_generator_starts_anew() -> None:
    generator = Generator(1)
    generator.next_key()
    assert generator.manual_seed(2**64 + 3) is generator
    assert generator.get_state() == (3, 0)
    seeds = {generator.seed() for _ in range(4)}
    assert len(seeds) == 4
    assert generator.initial_seed() in seeds
    assert generator.get_state()[1] == 0
    assert repr(Generator(3)) == "Generator(seed=3, offset=0)"


def test_the_offset_wraps() -> None:
    generator = Generator(1).set_state((1, 2**64 - 1))
    assert generator.next_key() == (1, 2**64 - 1)
    assert generator.get_state() == (1, 0)


@pytest.mark.parametrize(
    "state", [(1,), (1, 2, 3), (-1, 0), (0, 2**64), ("1", 0), (1.0, 0), 7, None, "ab"]
)
def test_wrong_states_are_refused_and_change_nothing(state: Any) -> None:
    generator = Generator(6)
    with pytest.raises(ArgumentError, match="set_state: expected two integers of 64 bits"):
        generator.set_state(state)
    assert generator.get_state() == (6, 0)


def test_states_are_saved_with_generators() -> None:
    generator = Generator(8)
    generator.next_key()
    for again in (pickle.loads(pickle.dumps(generator)), copy.deepcopy(generator)):
        assert again.get_state() == generator.get_state()
        again.next_key()
        assert generator.get_state() == (8, 1)


# ---- what is drawn


@pytest.mark.parametrize("dtype", [fe.float16, fe.bfloat16, fe.float32, fe.float64], ids=str)
def test_floats_have_the_dtype_and_range_asked_for(dtype: Any) -> None:
    x = fe.rand(2000, dtype=dtype, generator=Generator(0))
    assert x.dtype is dtype
    assert x.min(0).values.item() >= 0
    assert x.max(0).values.item() < 1
    assert abs(x.double().mean().item() - 0.5) < 0.03
    y = fe.randn(2000, dtype=dtype, generator=Generator(0)).double()
    assert abs(y.mean().item()) < 0.1
    assert abs(y.std().item() - 1) < 0.1


def test_integers_cover_their_range_and_permutations_are_ones() -> None:
    x = fe.randint(-2, 3, (500,), generator=Generator(0))
    assert (sorted(set(x.tolist())), x.dtype) == ([-2, -1, 0, 1, 2], fe.int64)
    assert fe.randint(3, (2,), dtype=fe.uint8).dtype is fe.uint8
    assert sorted(fe.randperm(50, generator=Generator(0)).tolist()) == list(range(50))
    assert fe.randperm(0).tolist() == []


def test_bernoulli_follows_its_probabilities() -> None:
    p = fe.tensor([0.0, 0.25, 1.0]).expand(2000, 3)
    x = fe.bernoulli(p, generator=Generator(0))
    assert x.dtype is fe.float32
    means = x.mean(0).tolist()
    assert (means[0], means[2]) == (0.0, 1.0)
    assert abs(means[1] - 0.25) < 0.04


def test_random_leaves() -> None:
    assert fe.rand(2, requires_grad=True).is_leaf
    assert fe.randn(2, requires_grad=True).requires_grad
    x = fe.rand(2, dtype=fe.float64)
    assert (fe.rand_like(x).dtype, fe.randn_like(x).shape) == (fe.float64, (2,))
    assert not fe.bernoulli(fe.full((2,), 0.5).requires_grad_()).requires_grad


def test_wrong_arguments() -> None:
    wrong: list[tuple[type[FerrumError], Callable[[], Any]]] = [
        (ShapeError, lambda: fe.rand(-1)),
        (DTypeError, lambda: fe.rand(2, dtype=fe.int64)),
        (DTypeError, lambda: fe.randn(2, dtype=fe.bool)),
        (ArgumentError, lambda: fe.randint(0, (2,))),
        (ArgumentError, lambda: fe.randint(5, 5, (2,))),
        (OperandError, lambda: fe.randint(5)),
        (ArgumentError, lambda: fe.randperm(-1)),
        (DTypeError, lambda: fe.bernoulli(fe.tensor([1]))),
    ]
    for error, call in wrong:
        with pytest.raises(error):
            call()
