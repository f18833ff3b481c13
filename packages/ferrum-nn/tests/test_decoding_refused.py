"""Bad input to decoding: an error that says what to do."""

from math import inf, nan

import pytest

import ferrum as fe
from ferrum.errors import ArgumentError, DTypeError, OperandError, OutOfRangeError, ShapeError
from ferrum_nn import decoding as d

X, TOKENS = fe.zeros(2, 5), fe.tensor([[0, 1], [2, 3]])


def step(tokens):
    return fe.zeros(tokens.shape[0], 5)


def generate(step=step, prompt=TOKENS, **options):
    return d.generate(step, prompt, **{"max_new_tokens": 2, **options})


def beams(step=step, prompt=TOKENS, beams=2, **options):
    return d.beam_search(step, prompt, beams, **{"max_new_tokens": 2, **options})


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: d.temperature([0.0], 1), OperandError, "tensor of logits, got list"),
        (lambda: d.temperature(X.long(), 1), DTypeError, "floating-point logits, got int64"),
        (lambda: d.temperature(X, 0), ArgumentError, "choose=greedy"),
        (lambda: d.temperature(X, -1.0), ArgumentError, "above 0"),
        (lambda: d.temperature(X, nan), ArgumentError, "above 0"),
        (lambda: d.temperature(X, inf), ArgumentError, "finite"),
        (lambda: d.temperature(X, "1"), OperandError, "as temperature, got '1'"),
        (lambda: d.temperature(fe.tensor(0.0), 1), ShapeError, r"\(..., classes\)"),
        (lambda: d.top_k(fe.zeros(2, 0), 1), ShapeError, r"got \(2, 0\)"),
        (lambda: d.top_k(X, 0), ArgumentError, "at least 1"),
        (lambda: d.top_k(X, 1.5), OperandError, "integer as k"),
        (lambda: d.top_k(X, True), OperandError, "integer as k"),
        (lambda: d.top_p(X, 0), ArgumentError, "above 0 and up to 1"),
        (lambda: d.top_p(X, 1.1), ArgumentError, "up to 1"),
        (lambda: d.top_p(X, None), OperandError, "a number"),
        (lambda: d.min_p(X, -0.1), ArgumentError, "from 0 to 1"),
        (lambda: d.min_p(X, nan), ArgumentError, "from 0 to 1"),
        (lambda: d.repetition_penalty(X, TOKENS, 0), ArgumentError, "penalty above 0"),
        (lambda: d.repetition_penalty(X, TOKENS[:1], 2.0), ShapeError, r"\(n, length\)"),
        (lambda: d.repetition_penalty(X, TOKENS.float(), 2.0), DTypeError, "integer tokens"),
        (lambda: d.repetition_penalty(X, TOKENS + 3, 2.0), OutOfRangeError, "from 0 to 4"),
        (lambda: d.repetition_penalty(X, TOKENS - 1, 2.0), OutOfRangeError, "from 0 to 4"),
        (lambda: d.repetition_penalty(X[0], TOKENS, 2.0), ShapeError, r"logits \(n, classes\)"),
        (lambda: d.greedy(X - inf), ArgumentError, "every class ruled out"),
        (lambda: d.greedy(X + nan), ArgumentError, "none that is NaN"),
        (lambda: d.sample(X - inf), ArgumentError, "every class ruled out"),
        (lambda: d.sample(X, 5), OperandError, "fe.Generator"),
        (lambda: generate(max_new_tokens=None), ArgumentError, "max_new_tokens or max_length"),
        (lambda: generate(max_new_tokens=-1), ArgumentError, "at least 0"),
        (lambda: generate(max_new_tokens=1.0), OperandError, "integer as max_new_tokens"),
        (lambda: generate(prompt=TOKENS[0]), ShapeError, "unsqueeze"),
        (lambda: generate(prompt=[[0]]), OperandError, "tensor of tokens"),
        (lambda: generate(prompt=TOKENS.float()), DTypeError, "integer tokens"),
        (lambda: generate(prompt=TOKENS[:, :0]), ShapeError, "at least one token"),
        (lambda: generate(stop_tokens="a"), OperandError, "stop_tokens, got 'a'"),
        (lambda: generate(stop_tokens=[0.5]), OperandError, "stop_tokens, got 0.5"),
        (lambda: generate(pad_token=None), OperandError, "pad_token"),
        (lambda: generate(lambda t: None), OperandError, "step to return a tensor"),
        (lambda: generate(lambda t: fe.zeros(2, 2, 5)), ShapeError, "take"),
        (lambda: generate(lambda t: fe.zeros(3, 5)), ShapeError, r"logits \(2, classes\)"),
        (lambda: generate(lambda t: t), DTypeError, "step to return floating-point"),
        (lambda: generate(process=lambda x, t: x[0]), ShapeError, "process to return"),
        (lambda: generate(choose=lambda x: 3), OperandError, "choose to return a tensor"),
        (lambda: generate(choose=lambda x: x), ShapeError, r"tokens \(2,\)"),
        (lambda: generate(choose=lambda x: x[:, 0]), DTypeError, "integer tokens"),
        (lambda: generate(stop=lambda t: False), OperandError, "one boolean for each row"),
        (lambda: generate(stop=lambda t: t[:, 0]), ShapeError, r"booleans \(2,\)"),
        (lambda: beams(beams=0), ArgumentError, "at least 1 beam"),
        (lambda: beams(beams=2.0), OperandError, "integer as beams"),
        (lambda: beams(length_penalty="1"), OperandError, "length_penalty"),
        (lambda: beams(length_penalty=nan), ArgumentError, "finite length_penalty"),
        (lambda: beams(length_penalty=1e9), ArgumentError, "length_penalty that"),
        (lambda: beams(stop_tokens=5), OutOfRangeError, "from 0 to 4"),
        (lambda: beams(lambda t: fe.zeros(2, 5)), ShapeError, r"logits \(4, classes\)"),
        (lambda: beams(lambda t: step(t) - inf), ArgumentError, "every class ruled out"),
        (lambda: beams(prompt=TOKENS[0]), ShapeError, "unsqueeze"),
        (lambda: beams(max_new_tokens=None), ArgumentError, "max_new_tokens or max_length"),
        (lambda: beams(stop=lambda t: t[:2, 0] == 0), ShapeError, r"booleans \(4,\)"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_no_prompts():
    none = fe.zeros(0, 2, dtype=fe.int64)
    assert generate(prompt=none).tokens.shape == (0, 2)
    assert beams(prompt=none).tokens.shape == (0, 2, 2)
