"""Decoding: logits by the definitions of other libraries, sampling, stopping, and beams."""

import itertools
from math import inf

import numpy as np
import pytest

import ferrum as fe
from ferrum_nn import decoding

RNG = np.random.default_rng(0)
LOGITS = [RNG.normal(size=shape) * 3 for shape in ((4,), (3, 7), (2, 3, 5), (1, 1), (5, 40))]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("x", LOGITS, ids=lambda x: str(x.shape))
@pytest.mark.parametrize("by", [0.3, 1, 2.5])
def test_temperature(x, by):
    np.testing.assert_array_equal(decoding.temperature(fe.tensor(x), by).numpy(), x / by)


@pytest.mark.parametrize("x", LOGITS, ids=lambda x: str(x.shape))
@pytest.mark.parametrize("k", [1, 2, 5, 100])
def test_top_k_is_a_threshold(x, k):
    least = np.sort(x, -1)[..., -min(k, x.shape[-1])][..., None]
    expected = np.where(x < least, -inf, x)
    np.testing.assert_array_equal(decoding.top_k(fe.tensor(x), k).numpy(), expected)


@pytest.mark.parametrize("x", LOGITS, ids=lambda x: str(x.shape))
@pytest.mark.parametrize("p", [0.01, 0.3, 0.8, 0.999, 1.0])
def test_top_p_by_rising_sums(x, p):
    """The smallest are ruled out while together they have no more than 1 - p."""
    order = x.argsort(-1)
    sums = np.take_along_axis(softmax(x), order, -1).cumsum(-1)
    out = sums <= 1 - p
    out[..., -1] = False
    ruled_out = np.zeros_like(out)
    np.put_along_axis(ruled_out, order, out, -1)
    expected = np.where(ruled_out, -inf, x)
    np.testing.assert_array_equal(decoding.top_p(fe.tensor(x), p).numpy(), expected)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_top_p_keeps_the_fewest_of_equals(count):
    kept = decoding.top_p(fe.zeros(1, count), 0.5).numpy() > -inf
    np.testing.assert_array_equal(kept[0], np.arange(count) < count // 2)


@pytest.mark.parametrize("x", LOGITS, ids=lambda x: str(x.shape))
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_min_p(x, p):
    likely = softmax(x)
    expected = np.where(likely < p * likely.max(-1, keepdims=True), -inf, x)
    np.testing.assert_array_equal(decoding.min_p(fe.tensor(x), p).numpy(), expected)


@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.5])
@pytest.mark.parametrize("tokens", [[[0], [2], [6]], [[1, 1, 1], [3, 4, 3], [0, 0, 6]]])
def test_repetition_penalty(tokens, penalty):
    x = LOGITS[1]
    expected = x.copy()
    for row, seen in enumerate(tokens):
        for token in set(seen):
            value = x[row, token]
            expected[row, token] = value * penalty if value < 0 else value / penalty
    found = decoding.repetition_penalty(fe.tensor(x), fe.tensor(tokens), penalty)
    np.testing.assert_array_equal(found.numpy(), expected)


# ---- picking


@pytest.mark.parametrize("x", LOGITS, ids=lambda x: str(x.shape))
def test_greedy(x):
    np.testing.assert_array_equal(decoding.greedy(fe.tensor(x)).numpy(), x.argmax(-1))


def test_frequencies_of_samples_are_their_probabilities():
    x = np.array([1.0, -inf, 0.0, 2.0, -1.0])
    generator = fe.Generator(3)
    found = decoding.sample(fe.tensor(x).expand(20_000, 5), generator).numpy()
    shares = np.bincount(found, minlength=5) / 20_000
    assert shares[1] == 0
    expected = softmax(x)
    assert (np.abs(shares - expected) <= 4 * np.sqrt(expected * (1 - expected) / 20_000)).all()


def test_samples_are_those_of_the_seed():
    x = fe.zeros(50, 11)
    fe.manual_seed(5)
    one, two = decoding.sample(x), decoding.sample(x)
    fe.manual_seed(5)
    assert fe.equal(decoding.sample(x), one)
    assert not fe.equal(one, two)
    assert fe.equal(decoding.sample(x, fe.Generator(5)), one)


# ---- generating


def counting(tokens):
    """After a token comes the next one, of 7."""
    return (fe.arange(7) == ((tokens[:, -1:] + 1) % 7)).float() * 9


def test_generate_counts():
    found = decoding.generate(counting, fe.tensor([[0], [4]]), max_new_tokens=4)
    assert found.tokens.tolist() == [[0, 1, 2, 3, 4], [4, 5, 6, 0, 1]]
    assert found.lengths.tolist() == [5, 5]


def test_each_row_stops_by_itself():
    found = decoding.generate(
        counting, fe.tensor([[0], [4]]), max_length=9, stop_tokens=[6, 3], pad_token=-1
    )
    assert found.tokens.tolist() == [[0, 1, 2, 3], [4, 5, 6, -1]]
    assert found.lengths.tolist() == [4, 3]


def test_a_function_stops_rows():
    found = decoding.generate(
        counting,
        fe.tensor([[0], [4]]),
        max_new_tokens=9,
        stop=lambda tokens: tokens.sum(1) >= 10,
    )
    assert found.tokens.tolist() == [[0, 1, 2, 3, 4], [4, 5, 6, 0, 0]]
    assert found.lengths.tolist() == [5, 3]


@pytest.mark.parametrize("limits", [{"max_new_tokens": 0}, {"max_length": 2}, {"max_length": 1}])
def test_nothing_to_generate(limits):
    prompt = fe.tensor([[3, 4]])
    assert decoding.generate(counting, prompt, **limits).tokens.tolist() == [[3, 4]]
    beams = decoding.beam_search(counting, prompt, 2, **limits)
    assert beams.tokens.tolist() == [[[3, 4], [3, 4]]]
    assert beams.scores.tolist() == [[0.0, -inf]]


def test_logits_are_processed():
    found = decoding.generate(
        lambda tokens: fe.arange(5).float().expand(tokens.shape[0], 5),
        fe.tensor([[0]]),
        max_new_tokens=4,
        process=lambda logits, tokens: decoding.repetition_penalty(logits, tokens, 100.0),
    )
    assert found.tokens.tolist() == [[0, 4, 3, 2, 1]]


# ---- beams


def chain(seed, classes, order=2):
    """Return a step whose logits depend on the last tokens, and its log-probabilities."""
    table = np.random.default_rng(seed).normal(size=(classes,) * (order + 1)) * 2

    def scores(tokens):
        return table[tuple(tokens[-order:])]

    def step(tokens):
        return fe.tensor(np.array([scores(row) for row in tokens.tolist()]))

    return step, lambda tokens: np.log(softmax(scores(tokens)))


def exhaustive(log_probs, prompt, new, ends, power):
    """Return the scores and tokens of every sequence that ends, the best one first."""
    found = []

    def extend(tokens, total, left):
        count = len(tokens) - len(prompt)
        if count and (not left or tokens[-1] in ends):
            found.append((total / ((5 + count) / 6) ** power, tokens))
            return
        for token, each in enumerate(log_probs(tokens)):
            extend([*tokens, token], total + each, left - 1)

    extend([*prompt], 0.0, new)
    return sorted(found, key=lambda each: -each[0])


@pytest.mark.parametrize("power", [0.0, 0.6, 2.0, -1.0])
@pytest.mark.parametrize(("classes", "new"), [(2, 5), (3, 4), (4, 3), (5, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_beams_that_are_wide_enough_are_exhaustive(seed, classes, new, power):
    step, log_probs = chain(seed, classes)
    ends = [[], [classes - 1], [0, 1]][seed % 3]
    prompts, beams = [[0, 1], [1, 1]], classes**new
    found = decoding.beam_search(
        step,
        fe.tensor(prompts),
        beams,
        max_new_tokens=new,
        stop_tokens=ends,
        length_penalty=power,
    )
    for row, prompt in enumerate(prompts):
        expected = exhaustive(log_probs, prompt, new, ends, power)
        scores = found.scores[row].numpy()
        np.testing.assert_allclose(scores[: len(expected)], [s for s, _ in expected], rtol=1e-12)
        assert (scores[len(expected) :] == -inf).all()
        named = {tuple(tokens): score for score, tokens in expected}  # equal scores: in any order
        lengths = found.lengths[row].tolist()[: len(expected)]
        kept = zip(found.tokens[row].tolist(), lengths, scores.tolist(), strict=False)
        ours = {tuple(tokens[:length]): score for tokens, length, score in kept}
        assert ours == pytest.approx(named, rel=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_one_beam_is_greedy(seed):
    step, _ = chain(seed, 5)
    prompt = fe.tensor([[0, 1], [3, 3], [2, 0]])
    beams = decoding.beam_search(step, prompt, 1, max_new_tokens=6)
    greedy = decoding.generate(step, prompt, max_new_tokens=6)
    assert fe.equal(beams.tokens[:, 0], greedy.tokens)


@pytest.mark.parametrize(("seed", "beams"), list(itertools.product(range(4), [2, 3])))
def test_scores_are_those_of_the_sequences(seed, beams):
    step, log_probs = chain(seed, 6)
    found = decoding.beam_search(
        step, fe.tensor([[0, 1]]), beams, max_new_tokens=5, stop_tokens=5, length_penalty=0.7
    )
    assert (np.diff(found.scores.numpy()) <= 0).all()
    for tokens, score, length in zip(
        found.tokens[0].tolist(), found.scores[0].tolist(), found.lengths[0].tolist(), strict=True
    ):
        total = sum(log_probs(tokens[:i])[tokens[i]] for i in range(2, length))
        assert score == pytest.approx(total / ((5 + length - 2) / 6) ** 0.7, rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_caches_follow_their_beams(seed):
    """A cache that is reordered holds what the sequences say at every step."""
    step, _ = chain(seed, 5)
    cache = []

    def cached(tokens):
        if cache:
            assert cache[0].tolist() == tokens[:, :-1].tolist()
        cache[:] = [tokens]
        return step(tokens)

    def reorder(rows):
        cache[0] = cache[0][rows]

    prompt = fe.tensor([[0, 1], [4, 2]])
    one = decoding.beam_search(cached, prompt, 3, max_new_tokens=6, reorder=reorder)
    two = decoding.beam_search(step, prompt, 3, max_new_tokens=6)
    assert fe.equal(one.tokens, two.tokens)


@pytest.mark.parametrize("seed", range(4))
def test_a_function_stops_beams_as_tokens_do(seed):
    step, _ = chain(seed, 4)
    options = {"max_new_tokens": 4, "length_penalty": 0.5}
    prompt = fe.tensor([[0, 1], [1, 2]])
    one = decoding.beam_search(step, prompt, 64, stop_tokens=3, **options)
    two = decoding.beam_search(step, prompt, 64, stop=lambda t: t[:, -1] == 3, **options)
    np.testing.assert_array_equal(one.scores.numpy(), two.scores.numpy())
