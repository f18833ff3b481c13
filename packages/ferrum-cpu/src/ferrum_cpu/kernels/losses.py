"""Losses and their gradients: one pass over the scores each."""

from __future__ import annotations

from typing import Any

import numpy as np

from ferrum.backend import Kernel
from ferrum.dtypes import bfloat16, float16, float32, float64
from ferrum.errors import OutOfRangeError
from ferrum_cpu._front import empty
from ferrum_cpu.library import OUT_OF_RANGE, lib, refused

_REDUCTION = {"none": 0, "mean": 1, "sum": 2}
# The dtype of a sum of weights, for the dtypes that losses have.
_TOTAL = {float16: float32, bfloat16: float32, float32: float32, float64: float64}
_ndarray = np.ndarray


def _number_of(reduction: Any, ignore_index: Any = 0) -> int | None:
    """Return how C knows a reduction; None where it does not take it, or the index."""
    if reduction.__class__ is not str or ignore_index.__class__ is not int:
        return None
    return _REDUCTION.get(reduction) if -(2**63) <= ignore_index < 2**63 else None


def _fault(name: str, code: int, scores: Any = None, ignore_index: int = 0) -> Any:
    """Return NotImplemented for a call that C declined; raise what else it says."""
    if code == OUT_OF_RANGE:
        raise OutOfRangeError(
            f"{name}: expected classes from 0 to {scores.shape[1] - 1}, or ignore_index="
            f"{ignore_index}, got a target outside"
        )
    return refused(name, code)


def _value(name: str, kind: int, width: float, input: Any, target: Any, reduction: str) -> Any:
    """Return a loss of two arrays alike, of the kind that csrc/losses.h numbers."""
    how = _number_of(reduction)
    if (
        how is None
        or input.__class__ is not _ndarray
        or target.__class__ is not _ndarray
        or input.dtype not in _TOTAL
    ):
        return NotImplemented
    out = empty(name, () if how else input.shape, input.dtype)
    code = lib.pointwise_loss(kind, width, id(input), id(target), id(out), how)
    return _fault(name, code) if code else out


def _slope(
    name: str, kind: int, width: float, g: Any, input: Any, target: Any, reduction: str
) -> Any:
    """Return its gradient."""
    how = _number_of(reduction)
    if (
        how is None
        or g.__class__ is not _ndarray
        or input.__class__ is not _ndarray
        or target.__class__ is not _ndarray
        or input.dtype not in _TOTAL
    ):
        return NotImplemented
    out = empty(name, input.shape, input.dtype)
    code = lib.pointwise_loss_backward(kind, width, id(g), id(input), id(target), id(out), how)
    return _fault(name, code) if code else out


def mse_loss(input: Any, target: Any, *, reduction: str) -> Any:
    """Return (input - target)², or the mean or sum of it."""
    return _value("mse_loss", 0, 0.0, input, target, reduction)


def mse_loss_backward(g: Any, input: Any, target: Any, *, reduction: str) -> Any:
    """Return 2 g (input - target), over the number of elements for "mean"."""
    return _slope("mse_loss_backward", 0, 0.0, g, input, target, reduction)


def _smooth(beta: float, scaled: bool) -> int | None:
    """Return the kind, or None for a width that there is no loss of."""
    if not beta >= 0 or (scaled and not beta):
        return None
    return (3 if scaled else 2) if beta else 1


def smooth_l1_loss(input: Any, target: Any, *, beta: float, scaled: bool, reduction: str) -> Any:
    """Return the absolute error, smooth below beta, or Huber's loss if `scaled`."""
    kind = _smooth(beta, scaled)
    if kind is None:
        return NotImplemented
    return _value("smooth_l1_loss", kind, beta, input, target, reduction)


def smooth_l1_loss_backward(
    g: Any, input: Any, target: Any, *, beta: float, scaled: bool, reduction: str
) -> Any:
    """Return its gradient."""
    kind = _smooth(beta, scaled)
    if kind is None:
        return NotImplemented
    return _slope("smooth_l1_loss_backward", kind, beta, g, input, target, reduction)


def bce_with_logits(input: Any, target: Any, *, reduction: str) -> Any:
    """Return the binary cross entropy of scores."""
    return _value("bce_with_logits", 4, 0.0, input, target, reduction)


def bce_with_logits_backward(g: Any, input: Any, target: Any, *, reduction: str) -> Any:
    """Return g (sigmoid(input) - target), over the number of elements for "mean"."""
    return _slope("bce_with_logits_backward", 4, 0.0, g, input, target, reduction)


def _total(x: Any, target: Any, weight: Any) -> Any:
    """Return an array for the sum of weights; None where the call is none for these kernels."""
    if (
        x.__class__ is not _ndarray
        or target.__class__ is not _ndarray
        or not (weight is None or weight.__class__ is _ndarray)
    ):
        return None
    dtype = _TOTAL.get(x.dtype)
    return None if dtype is None else empty("nll_loss", (), dtype)


def nll_loss(log_probs: Any, target: Any, weight: Any, *, ignore_index: int, reduction: str) -> Any:
    """Return -weight[t] log_probs[t] of the target class t, and the sum of weight[t]."""
    how = _number_of(reduction, ignore_index)
    total = _total(log_probs, target, weight)
    if how is None or total is None:
        return NotImplemented
    out = empty("nll_loss", () if how else target.shape, log_probs.dtype)
    code = lib.nll_loss(
        id(log_probs),
        id(target),
        0 if weight is None else id(weight),
        id(out),
        id(total),
        ignore_index,
        how,
    )
    return _fault("nll_loss", code, log_probs, ignore_index) if code else (out, total)


def cross_entropy(
    x: Any,
    target: Any,
    weight: Any,
    *,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> Any:
    """Return nll_loss of log_softmax(x), log_softmax(x), and the sum of the targets' weights."""
    how = _number_of(reduction, ignore_index)
    total = _total(x, target, weight)
    if how is None or total is None or not 0 <= label_smoothing <= 1:
        return NotImplemented
    out = empty("cross_entropy", () if how else target.shape, x.dtype)
    log_probs = empty("cross_entropy", x.shape, x.dtype)
    code = lib.cross_entropy(
        id(x),
        id(target),
        0 if weight is None else id(weight),
        id(out),
        id(log_probs),
        id(total),
        ignore_index,
        label_smoothing,
        how,
    )
    return _fault("cross_entropy", code, x, ignore_index) if code else (out, log_probs, total)


def cross_entropy_backward(
    g: Any,
    log_probs: Any,
    target: Any,
    weight: Any,
    total: Any,
    *,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> Any:
    """Return the gradient of cross_entropy."""
    how = _number_of(reduction, ignore_index)
    if (
        how is None
        or g.__class__ is not _ndarray
        or log_probs.__class__ is not _ndarray
        or target.__class__ is not _ndarray
        or total.__class__ is not _ndarray
        or not (weight is None or weight.__class__ is _ndarray)
        or log_probs.dtype not in _TOTAL
    ):
        return NotImplemented
    out = empty("cross_entropy_backward", log_probs.shape, log_probs.dtype)
    code = lib.cross_entropy_backward(
        id(g),
        id(log_probs),
        id(target),
        0 if weight is None else id(weight),
        id(total),
        id(out),
        ignore_index,
        label_smoothing,
        how,
    )
    return _fault("cross_entropy_backward", code, log_probs, ignore_index) if code else out


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    found = (
        bce_with_logits,
        bce_with_logits_backward,
        cross_entropy,
        cross_entropy_backward,
        mse_loss,
        mse_loss_backward,
        nll_loss,
        smooth_l1_loss,
        smooth_l1_loss_backward,
    )
    return {f"nn.{each.__name__}": Kernel(each, checked=True) for each in found}
