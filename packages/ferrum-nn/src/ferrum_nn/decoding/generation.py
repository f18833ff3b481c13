"""Sequences that grow by one token a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from ferrum import Tensor, cat, full, full_like, no_grad, where, zeros
from ferrum.dtypes import bool_, int64, is_floating
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum_nn.decoding.logits import check_tokens, greedy, whole

Step: TypeAlias = Callable[[Tensor], Tensor]
Process: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Stop: TypeAlias = Callable[[Tensor], Tensor]


class Generated(NamedTuple):
    """What `generate` found: tokens (n, length), and how many of each row count (n,)."""

    tokens: Tensor
    lengths: Tensor


@no_grad()
def generate(
    step: Step,
    prompt: Tensor,
    *,
    max_new_tokens: int | None = None,
    max_length: int | None = None,
    process: Process | None = None,
    choose: Callable[[Tensor], Tensor] = greedy,
    stop_tokens: int | Iterable[int] = (),
    stop: Stop | None = None,
    pad_token: int = 0,
) -> Generated:
    """Return the prompt (n, length) with tokens behind it, one a step.

    `step(tokens)` gets all tokens so far (n, length) and returns the logits of the next ones
    (n, classes). `process(logits, tokens)` may shape them, `choose(logits)` picks a token (n,) of
    each row: `greedy`, `sample`, or a function of one's own. A row stops behind one of
    `stop_tokens`, or where `stop(tokens)`, a boolean (n,), is true of it; `pad_token` fills it up.
    It ends when all rows have stopped, after `max_new_tokens`, or at `max_length` with the prompt:
    one of the two is needed.

    Raises ShapeError or DTypeError where one of the functions returns anything else.
    """
    name = "generate"
    check_tokens(name, prompt)
    limit = last_length(name, prompt, max_new_tokens, max_length)
    ends, pad = tokens_of(name, stop_tokens), whole(name, "pad_token", pad_token)
    tokens = prompt.to(int64)
    rows = tokens.shape[0]
    stopped = zeros(rows, dtype=bool_, device=tokens.device)
    lengths = full((rows,), tokens.shape[1], dtype=int64, device=tokens.device)
    while rows and tokens.shape[1] < limit and not stopped.all():
        logits = next_logits(name, step, tokens, process)
        found = _chosen(choose(logits), rows)
        tokens = cat([tokens, where(stopped, full_like(found, pad), found).unsqueeze(1)], 1)
        lengths = where(stopped, lengths, lengths + 1)
        for token in ends:
            stopped = stopped | (found == token)
        if stop is not None:
            stopped = stopped | stops(name, stop, tokens)
    return Generated(tokens, lengths)


def last_length(
    name: str, prompt: Tensor, max_new_tokens: int | None, max_length: int | None
) -> int:
    """Return how long a sequence may get, or raise ArgumentError."""
    given = {"max_new_tokens": max_new_tokens, "max_length": max_length}
    limits = {what: whole(name, what, n) for what, n in given.items() if n is not None}
    if not limits:
        raise ArgumentError(f"{name}: expected max_new_tokens or max_length, or it might not end")
    for what, limit in limits.items():
        if limit < 0:
            raise ArgumentError(f"{name}: expected {what} of at least 0, got {limit}")
    if not prompt.shape[1]:
        raise ShapeError(
            f"{name}: expected a prompt of at least one token a row, got {prompt.shape}; begin "
            f"with a token that says so"
        )
    if "max_new_tokens" in limits:
        limits["max_new_tokens"] += prompt.shape[1]
    return min(limits.values())


def tokens_of(name: str, given: int | Iterable[int]) -> list[int]:
    """Return stop tokens as a list without repeats, or raise OperandError."""
    values = [*given] if isinstance(given, Iterable) else [given]
    return sorted({whole(name, "stop_tokens", each) for each in values})


def next_logits(name: str, step: Step, tokens: Tensor, process: Process | None) -> Tensor:
    """Return the logits (n, classes) behind tokens (n, length), or raise."""
    logits = _logits(name, "step", step(tokens), tokens.shape[0])
    if process is None:
        return logits
    return _logits(name, "process", process(logits, tokens), tokens.shape[0])


def _logits(name: str, what: str, logits: Tensor, rows: int) -> Tensor:
    if not isinstance(logits, Tensor):
        raise OperandError(
            f"{name}: expected {what} to return a tensor, got {type(logits).__name__}"
        )
    if logits.ndim != 2 or logits.shape[0] != rows or not logits.shape[1]:
        raise ShapeError(
            f"{name}: expected {what} to return logits ({rows}, classes) of the next token, got "
            f"{logits.shape}; of logits at every position take [:, -1]"
        )
    if not is_floating(logits.dtype):
        raise DTypeError(
            f"{name}: expected {what} to return floating-point logits, got {logits.dtype.name}"
        )
    return logits


def _chosen(found: Tensor, rows: int) -> Tensor:
    if not isinstance(found, Tensor):
        raise OperandError(
            f"generate: expected choose to return a tensor, got {type(found).__name__}"
        )
    if found.shape != (rows,):
        raise ShapeError(f"generate: expected choose to return tokens ({rows},), got {found.shape}")
    check_tokens("generate", found.unsqueeze(1))
    return found.to(int64)


def stops(name: str, stop: Stop, tokens: Tensor) -> Tensor:
    """Return where sequences stop, a boolean (n,), or raise."""
    found = stop(tokens)
    if not isinstance(found, Tensor):
        raise OperandError(
            f"{name}: expected stop to return a tensor, got {type(found).__name__}; one boolean "
            f"for each row"
        )
    if found.dtype is not bool_ or found.shape != tokens.shape[:1]:
        raise ShapeError(
            f"{name}: expected stop to return booleans ({tokens.shape[0]},), got "
            f"{found.dtype.name} {found.shape}"
        )
    return found
