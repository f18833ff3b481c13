"""Connectionist temporal classification, for targets and lengths in every form."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import inf
from operator import index

from ferrum import Tensor, arange, tensor, where
from ferrum.dtypes import CATEGORY, int64
from ferrum.errors import ArgumentError, DTypeError, OperandError, OutOfRangeError, ShapeError
from ferrum_nn import ops
from ferrum_nn.functional.losses_checks import check_loss, reduced

__all__ = ["ctc_loss"]


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Return -log of the summed probability of all alignments of steps with a target.

    log_probs is (t, n, classes), or (t, classes) for one sequence; targets are (n, s), or (s,), or
    those of all sequences one after the other; lengths are (n,), or one number. "mean" divides each
    loss by its target's length, at least 1, and takes the mean of those. A target that no alignment
    fits has the loss ∞, or with `zero_infinity` 0. Unlike PyTorch's, the gradient is that of the
    loss also where log_probs do not come from log_softmax; where they do, both give the same
    (Graves et al., ICML 2006).

    Raises ArgumentError for lengths outside of what there is, OutOfRangeError for a target that is
    no class.
    """
    check_loss("ctc_loss", reduction, log_probs, targets)
    if CATEGORY[targets.dtype] != 1:
        raise DTypeError(f"ctc_loss: expected integer targets, got {targets.dtype.name}")
    if log_probs.ndim not in (2, 3):
        raise ShapeError(
            f"ctc_loss: expected log_probs (t, n, classes) or (t, classes), got {log_probs.shape}"
        )
    one = log_probs.ndim == 2
    x = log_probs.unsqueeze(1) if one else log_probs
    into = _lengths("input_lengths", input_lengths, x.shape[1])
    out = _lengths("target_lengths", target_lengths, x.shape[1])
    padded = _padded(targets.to(int64), out, one)
    try:
        losses, _ = ops.ctc_loss(
            x, padded, input_lengths=into, target_lengths=out, blank=_blank(blank)
        )
    except OutOfRangeError as error:
        raise OutOfRangeError(
            f"ctc_loss: expected targets from 0 to {x.shape[2] - 1}, got one outside of them"
        ) from error
    if zero_infinity:
        losses = where(losses == inf, 0.0, losses)
    if reduction == "mean":
        counts = tensor([max(each, 1) for each in out], dtype=x.dtype, device=x.device)
        losses = losses / counts
    return losses.squeeze(0) if one and reduction == "none" else reduced(losses, reduction)


def _blank(blank: int) -> int:
    try:
        return index(blank)
    except TypeError:
        raise OperandError(f"ctc_loss: expected an integer as blank, got {blank!r}") from None


def _lengths(what: str, given: Tensor | Sequence[int] | int, batch: int) -> tuple[int, ...]:
    """Return lengths as a tuple of `batch` numbers, or raise."""
    values = given.tolist() if isinstance(given, Tensor) else given
    try:
        found = tuple(map(index, values if isinstance(values, list | tuple) else [values]))
    except TypeError:
        raise OperandError(
            f"ctc_loss: expected integers as {what}, in a tensor (n,) or a tuple, got {given!r}"
        ) from None
    if len(found) != batch:
        raise ShapeError(f"ctc_loss: expected {what} of {batch} sequences, got {len(found)}")
    if min(found, default=0) < 0:
        raise ArgumentError(f"ctc_loss: expected {what} of at least 0, got {found}")
    return found


def _padded(targets: Tensor, lengths: tuple[int, ...], one: bool) -> Tensor:
    """Return targets as (n, s): those that lie one after the other are laid out in rows."""
    if targets.ndim == 2:
        return targets
    if targets.ndim != 1:
        raise ShapeError(
            f"ctc_loss: expected targets (n, s), or one axis of them, got {targets.shape}"
        )
    if one:
        return targets.unsqueeze(0)
    if len(targets) != sum(lengths):
        raise ShapeError(
            f"ctc_loss: expected {sum(lengths)} targets, as many as target_lengths say in all, got "
            f"{len(targets)}"
        )
    if not len(targets):
        return targets.reshape(len(lengths), 0)
    starts = tensor([*accumulate(lengths, initial=0)][:-1], dtype=int64, device=targets.device)
    places = starts.unsqueeze(1) + arange(max(lengths), device=targets.device)
    return targets[places.clamp(max=len(targets) - 1)]
