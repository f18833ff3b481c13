"""Decoding: from what a model says of the next token to whole sequences.

    step = lambda tokens: model(tokens)[:, -1]
    found = nn.decoding.generate(step, prompt, max_new_tokens=50, stop_tokens=[end])

`step` is any function of all tokens so far (n, length) that returns the logits of the next ones
(n, classes): a model with caches of keys and values takes those of `tokens` that it has not seen.
What shapes the logits, and what picks a token, are plain functions of tensors.
"""

from ferrum_nn.decoding.beams import Beams, beam_search
from ferrum_nn.decoding.generation import Generated, generate
from ferrum_nn.decoding.logits import (
    greedy,
    min_p,
    repetition_penalty,
    sample,
    temperature,
    top_k,
    top_p,
)

__all__ = [
    "Beams",
    "Generated",
    "beam_search",
    "generate",
    "greedy",
    "min_p",
    "repetition_penalty",
    "sample",
    "temperature",
    "top_k",
    "top_p",
]
