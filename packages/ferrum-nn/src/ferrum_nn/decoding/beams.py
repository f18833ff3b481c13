"""Beam search."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf, isfinite
from typing import NamedTuple

from ferrum import Tensor, arange, cat, full, no_grad, tensor, where
from ferrum.dtypes import float64, int64
from ferrum.errors import ArgumentError, OutOfRangeError
from ferrum_nn.decoding.generation import (
    Process,
    Step,
    Stop,
    last_length,
    next_logits,
    stops,
    tokens_of,
)
from ferrum_nn.decoding.logits import check_tokens, whole
from ferrum_nn.functional.losses_checks import number


class Beams(NamedTuple):
    """The best sequences of each prompt, the best one first.

    tokens (n, beams, length), of which `lengths` (n, beams) count, and scores (n, beams), float64.
    """

    tokens: Tensor
    scores: Tensor
    lengths: Tensor


@no_grad()
def beam_search(
    step: Step,
    prompt: Tensor,
    beams: int,
    *,
    max_new_tokens: int | None = None,
    max_length: int | None = None,
    process: Process | None = None,
    stop_tokens: int | Iterable[int] = (),
    stop: Stop | None = None,
    length_penalty: float = 0.0,
    reorder: Callable[[Tensor], None] | None = None,
    pad_token: int = 0,
) -> Beams:
    """Return the `beams` best sequences that begin with each prompt (n, length).

    A sequence's score is the sum of its new tokens' log-probabilities over ((5 + m) / 6) **
    length_penalty, where m counts these tokens (Wu et al., "Google's Neural Machine Translation
    System", 2016). After each step the `beams` best sequences that go on are kept, and the `beams`
    best of all that have ended: behind one of `stop_tokens`, where `stop` says so, or at the limit.
    It ends when none that goes on can become better than these.

    `step`, `process`, `stop` and the limits are those of `generate`, of n * beams rows: the beams
    of the first prompt, of the second, and so on. Where they have caches, `reorder(rows)` must make
    row i of these what row rows[i] was; it is called before every step but the first.

    Where there are fewer sequences than `beams`, the others have the score -∞ and no new tokens.
    Raises ArgumentError where a logit is NaN or all of a row are -∞.
    """
    name = "beam_search"
    check_tokens(name, prompt)
    if whole(name, "beams", beams) < 1:
        raise ArgumentError(f"{name}: expected at least 1 beam, got {beams}")
    limit = last_length(name, prompt, max_new_tokens, max_length)
    search = _Search(prompt, beams, limit, _penalty_of(length_penalty), pad_token)
    ends = tokens_of(name, stop_tokens)
    if not prompt.shape[0] or search.length >= limit:
        return search.of_prompts()
    while True:
        logits = next_logits(name, step, search.rows(), process)
        origin = search.grow(logits, ends)
        if stop is not None:
            search.end(stops(name, stop, search.rows()))
        if search.length == limit:
            search.end(full((search.rows().shape[0],), True, device=prompt.device))
        if search.is_over():
            return search.ended
        if reorder is not None:
            reorder(origin)


def _penalty_of(power: float) -> Callable[[int], float]:
    """Return Wu's penalty as a function of how many tokens are new."""
    power = number("beam_search", "length_penalty", power)
    if not isfinite(power):
        raise ArgumentError(f"beam_search: expected a finite length_penalty, got {power}")

    def penalty(new: int) -> float:
        try:
            found: float = ((5 + new) / 6) ** power
        except OverflowError:
            found = inf
        if not 0 < found < inf:
            raise ArgumentError(
                f"beam_search: expected a length_penalty that {new} tokens have, got {power}"
            )
        return found

    return penalty


class _Search:
    """Sequences that go on, with the sums of their log-probabilities, and the best that ended."""

    def __init__(
        self, prompt: Tensor, beams: int, limit: int, penalty: Callable[[int], float], pad: int
    ) -> None:
        self.beams, self.limit, self.penalty = beams, limit, penalty
        self.pad = whole("beam_search", "pad_token", pad)
        prompts, self.start = prompt.shape
        device = prompt.device
        self.tokens = prompt.to(int64).unsqueeze(1).expand(prompts, beams, self.start)
        none = full((prompts, beams), -inf, dtype=float64, device=device)
        self.ended = Beams(self.tokens, none, full((prompts, beams), self.start, device=device))
        # All beams of a prompt are alike at first: one of them counts.
        self.sums = where(arange(beams, device=device) == 0, 0.0, none)

    @property
    def length(self) -> int:
        """How many tokens the sequences that go on have."""
        return self.tokens.shape[2]

    def rows(self) -> Tensor:
        """Return the sequences that go on, (n * beams, length)."""
        return self.tokens.reshape(-1, self.length)

    def of_prompts(self) -> Beams:
        """Return the prompts alone: there is nothing to add, which is certain."""
        return self.ended._replace(scores=self.sums)

    def grow(self, logits: Tensor, ends: list[int]) -> Tensor:
        """Add a token to each sequence; return which row each one was before."""
        prompts, classes = self.tokens.shape[0], logits.shape[1]
        each = logits.to(float64).log_softmax(-1).reshape(prompts, self.beams, classes)
        sums = self.sums.unsqueeze(2)
        sums = where(sums == -inf, sums, sums + each)  # what is no sequence may have any logits
        if sums.isnan().any():
            raise ArgumentError(
                "beam_search: expected a logit above -∞ and none that is NaN for every sequence; "
                "is every class ruled out?"
            )
        if ends:
            sums = self._end_in(sums, ends)
        best = sums.reshape(prompts, -1).topk(self.beams, 1)
        beam = best.indices // classes
        self.sums = best.values
        self.tokens = cat([_picked(self.tokens, beam), (best.indices % classes).unsqueeze(2)], 2)
        first = arange(prompts, device=logits.device).unsqueeze(1) * self.beams
        before: Tensor = (first + beam).reshape(-1)
        return before

    def end(self, ended: Tensor) -> None:
        """Take out the sequences for which `ended`, booleans (n * beams,), is true."""
        ended = ended.reshape(*self.sums.shape)
        self._keep(where(ended, self.sums, -inf), self.tokens)
        self.sums = where(ended, -inf, self.sums)

    def is_over(self) -> bool:
        """Return whether no sequence that goes on can become better than those that ended."""
        new = self.length - self.start
        penalty = max(self.penalty(new + 1), self.penalty(max(self.limit - self.start, new + 1)))
        within_reach = self.sums.amax(1) / penalty  # sums only fall
        return bool((self.ended.scores.amin(1) >= within_reach).all())

    def _end_in(self, sums: Tensor, ends: list[int]) -> Tensor:
        """Take out what ends in one of these tokens; return the sums of all that goes on."""
        if not 0 <= ends[0] <= ends[-1] < sums.shape[2]:
            raise OutOfRangeError(
                f"beam_search: expected stop_tokens from 0 to {sums.shape[2] - 1}, got {ends}"
            )
        last = tensor(ends, dtype=int64, device=sums.device)
        shape = (*sums.shape[:2], len(ends))
        before = self.tokens.unsqueeze(2).expand(*shape, self.length)
        tokens = cat([before, last.expand(*shape).unsqueeze(3)], 3)
        self._keep(
            sums[:, :, last].reshape(shape[0], -1),
            tokens.reshape(shape[0], -1, self.length + 1),
        )
        going_on = (arange(sums.shape[2], device=sums.device).unsqueeze(1) != last).all(1)
        found: Tensor = where(going_on, sums, -inf)
        return found

    def _keep(self, sums: Tensor, tokens: Tensor) -> None:
        """Keep the best of what has ended and of tokens (n, m, length) with sums (n, m)."""
        old, length = self.ended, tokens.shape[2]
        shape = (*old.scores.shape, length - old.tokens.shape[2])
        padded = cat([old.tokens, full(shape, self.pad, device=sums.device)], 2)
        scores = cat([old.scores, sums / self.penalty(length - self.start)], 1)
        best = scores.topk(self.beams, 1)
        lengths = cat([old.lengths, full(sums.shape, length, device=sums.device)], 1)
        self.ended = Beams(
            _picked(cat([padded, tokens], 1), best.indices),
            best.values,
            lengths.gather(1, best.indices),
        )


def _picked(tokens: Tensor, which: Tensor) -> Tensor:
    """Return of each n the sequences (n, m, length) that `which` (n, k) says."""
    return tokens.gather(1, which.unsqueeze(2).expand(*which.shape, tokens.shape[2]))
