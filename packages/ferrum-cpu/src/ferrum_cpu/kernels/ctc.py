"""Connectionist temporal classification and its gradient: a thread for each sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from ferrum.backend import Kernel
from ferrum.errors import OutOfRangeError
from ferrum_cpu._front import empty
from ferrum_cpu.library import OUT_OF_RANGE, lib, refused


def _wide(dtype: Any) -> Any:
    """Return the dtype to compute in."""
    return dtype if dtype == np.float64 else np.dtype(np.float32)


def _whole(*given: Any) -> list[Any]:
    """Return targets and lengths as C reads them."""
    return [np.require(each, np.int64, ["C", "A"]) for each in given]


def _fault(name: str, code: int, classes: int) -> Any:
    if code == OUT_OF_RANGE:
        raise OutOfRangeError(
            f"{name}: expected targets from 0 to {classes - 1}, got one outside of them"
        )
    return refused(name, code)


def ctc_loss(
    log_probs: Any, targets: Any, *, input_lengths: Any, target_lengths: Any, blank: int
) -> Any:
    """Return the losses, and the probabilities that the gradient needs."""
    dtype, (steps, batch, classes) = log_probs.dtype, log_probs.shape
    scores = np.require(log_probs, _wide(dtype), "A")
    labels, *lengths = _whole(targets, input_lengths, target_lengths)
    out = empty("ctc_loss", (batch,), scores.dtype)
    alpha = empty("ctc_loss", (batch, steps, 2 * targets.shape[1] + 1), scores.dtype)
    code = lib.ctc_loss(id(scores), id(labels), *map(id, lengths), id(out), id(alpha), blank)
    if code:
        return _fault("ctc_loss", code, classes)
    return out.astype(dtype, copy=False), alpha


def ctc_loss_backward(
    g: Any,
    alpha: Any,
    targets: Any,
    *,
    input_lengths: Any,
    target_lengths: Any,
    classes: int,
    blank: int,
) -> Any:
    """Return the gradient by the log-probabilities."""
    name, dtype, (batch, steps, _) = "ctc_loss_backward", g.dtype, alpha.shape
    of_losses, before = (np.require(each, _wide(dtype), ["C", "A"]) for each in (g, alpha))
    labels, *lengths = _whole(targets, input_lengths, target_lengths)
    out = empty(name, (steps, batch, classes), of_losses.dtype)
    code = lib.ctc_loss_backward(
        id(of_losses), id(before), id(labels), *map(id, lengths), id(out), blank
    )
    return _fault(name, code, classes) if code else out.astype(dtype, copy=False)


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name; the ops' rules see to it that what C gets fits."""
    found = ctc_loss, ctc_loss_backward
    return {f"nn.{each.__name__}": Kernel(each) for each in found}
