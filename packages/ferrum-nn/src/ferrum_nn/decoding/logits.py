"""What shapes the logits of the next token, (..., classes), and what picks one of them.

A class that is ruled out gets -∞. Each function returns new logits, so that they are chained by
calls: `top_p(temperature(logits, 0.7), 0.9)`.
"""

from __future__ import annotations

from math import inf
from operator import index

from ferrum import Generator, Tensor, ones_like, rand, where, zeros
from ferrum.dtypes import CATEGORY, float64, int64, is_floating
from ferrum.errors import ArgumentError, DTypeError, OperandError, OutOfRangeError, ShapeError
from ferrum.mode import current
from ferrum_nn.functional.losses_checks import number


def temperature(logits: Tensor, temperature: float) -> Tensor:
    """Return logits / temperature: below 1 likely classes gain, above 1 they lose.

    Raises ArgumentError unless it is above 0; at 0 there would be `greedy`.
    """
    _check("temperature", logits)
    if not 0 < number("temperature", "temperature", temperature) < inf:
        raise ArgumentError(
            f"temperature: expected a finite number above 0, got {temperature}; choose=greedy is "
            f"its limit at 0"
        )
    return logits / temperature


def top_k(logits: Tensor, k: int) -> Tensor:
    """Return logits in which the k largest stay, and what equals the smallest of these.

    All stay if there are no more than k. Fan, Lewis and Dauphin, "Hierarchical Neural Story
    Generation", 2018.
    """
    _check("top_k", logits)
    if whole("top_k", "k", k) < 1:
        raise ArgumentError(f"top_k: expected k of at least 1, got {k}")
    least = logits.topk(min(k, logits.shape[-1])).values[..., -1:]
    return _without(logits, logits < least)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Return logits in which the fewest classes stay whose probabilities add up to p or more.

    These are the likeliest ones, and at least one (Holtzman et al., "The Curious Case of Neural
    Text Degeneration", 2020).
    """
    _check("top_p", logits)
    if not 0 < number("top_p", "p", p) <= 1:
        raise ArgumentError(f"top_p: expected p above 0 and up to 1, got {p}")
    order = logits.argsort(-1, descending=True)
    probabilities = logits.gather(-1, order).to(float64).softmax(-1)
    enough = probabilities.cumsum(-1) - probabilities >= p
    return logits if p == 1 else _without(logits, enough.gather(-1, order.argsort(-1)))


def min_p(logits: Tensor, p: float) -> Tensor:
    """Return logits in which classes stay that are at least p times as likely as the likeliest.

    Nguyen et al., "Turning Up the Heat: Min-p Sampling", 2024.
    """
    _check("min_p", logits)
    if not 0 <= number("min_p", "p", p) <= 1:
        raise ArgumentError(f"min_p: expected p from 0 to 1, got {p}")
    probabilities = logits.softmax(-1)
    return _without(logits, probabilities < p * probabilities.amax(-1, keepdim=True))


def repetition_penalty(logits: Tensor, tokens: Tensor, penalty: float) -> Tensor:
    """Return logits (n, classes) with those of `tokens` (n, length) made smaller.

    Such a logit is divided by the penalty if it is above 0 and multiplied with it if it is below,
    once however often the token is there (Keskar et al., "CTRL", 2019). A penalty of 1 changes
    nothing; one below 1 favours repetition. Raises OutOfRangeError for a token that is no class.
    """
    name = "repetition_penalty"
    _check(name, logits)
    check_tokens(name, tokens)
    if logits.ndim != 2 or tokens.shape[0] != logits.shape[0]:
        raise ShapeError(
            f"{name}: expected logits (n, classes) and tokens (n, length), got {logits.shape} and "
            f"{tokens.shape}"
        )
    if not 0 < number(name, "penalty", penalty) < inf:
        raise ArgumentError(f"{name}: expected a finite penalty above 0, got {penalty}")
    tokens = tokens.to(int64)
    none = zeros(*logits.shape, dtype=int64, device=logits.device)
    try:
        seen = none.scatter_add(1, tokens, ones_like(tokens)) > 0
    except OutOfRangeError:
        raise OutOfRangeError(
            f"{name}: expected tokens from 0 to {logits.shape[1] - 1}, got one outside of them"
        ) from None
    penalized: Tensor = where(logits < 0, logits * penalty, logits / penalty)
    found: Tensor = where(seen, penalized, logits)
    return found


def greedy(logits: Tensor) -> Tensor:
    """Return the class with the largest logit (...), the first of equals.

    Raises ArgumentError where none is left: all are -∞, or one is NaN.
    """
    _check("greedy", logits)
    return _picked("greedy", logits, logits.argmax(-1))


def sample(logits: Tensor, generator: Generator | None = None) -> Tensor:
    """Return a class (...) drawn with the probabilities softmax(logits).

    It is the largest of logits to which noise of Gumbel's distribution is added (Gumbel, 1954): one
    draw from `generator`, or from the one that `fe.manual_seed` starts anew. A logit of -∞ is never
    drawn. Raises ArgumentError where none is left: all are -∞, or one is NaN.
    """
    _check("sample", logits)
    uniform = rand(*logits.shape, generator=generator, dtype=float64, device=logits.device)
    noise = -(-uniform.log()).log()
    return _picked("sample", logits, (logits.to(float64) + noise).argmax(-1))


def _picked(name: str, logits: Tensor, found: Tensor) -> Tensor:
    """Return classes that were picked, or raise where there was none to pick."""
    values = logits.gather(-1, found.unsqueeze(-1))
    if not current().forbids_values and not (values > -inf).all():
        raise ArgumentError(
            f"{name}: expected a logit above -∞ and none that is NaN for every token; is every "
            f"class ruled out?"
        )
    return found


def _without(logits: Tensor, ruled_out: Tensor) -> Tensor:
    kept: Tensor = where(ruled_out, -inf, logits)
    return kept


def _check(name: str, logits: Tensor) -> None:
    """Raise unless these are logits (..., classes) of one class or more."""
    if not isinstance(logits, Tensor):
        raise OperandError(f"{name}: expected a tensor of logits, got {type(logits).__name__}")
    if not is_floating(logits.dtype):
        raise DTypeError(f"{name}: expected floating-point logits, got {logits.dtype.name}")
    if not logits.ndim or not logits.shape[-1]:
        raise ShapeError(f"{name}: expected logits (..., classes), got {logits.shape}")


def check_tokens(name: str, tokens: Tensor) -> None:
    """Raise unless these are tokens (n, length)."""
    if not isinstance(tokens, Tensor):
        raise OperandError(f"{name}: expected a tensor of tokens, got {type(tokens).__name__}")
    if CATEGORY[tokens.dtype] != 1:
        raise DTypeError(f"{name}: expected integer tokens, got {tokens.dtype.name}")
    if tokens.ndim != 2:
        raise ShapeError(
            f"{name}: expected tokens (n, length), got {tokens.shape}; unsqueeze(0) makes one "
            f"sequence a batch"
        )


def whole(name: str, what: str, value: int) -> int:
    """Return an integer argument, or raise OperandError."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return index(value)
    except TypeError:
        raise OperandError(f"{name}: expected an integer as {what}, got {value!r}") from None
