"""Normalisation and its gradients: over rows of the last axes, and over the channels of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ferrum.backend import Kernel
from ferrum.dtypes import bfloat16, float16, float32, float64
from ferrum_cpu._front import empty
from ferrum_cpu.library import id_of, lib, refused

_FLOATS = {float16, bfloat16, float32, float64}
_ndarray = np.ndarray


def _takes(eps: Any, x: Any, *others: Any) -> bool:
    """Return whether these are arrays, or None but for x, and a number: C looks at the rest."""
    return (
        x.__class__ is _ndarray
        and x.dtype in _FLOATS
        and (eps.__class__ is float or (eps.__class__ is int and abs(eps) < 2**63))
        and eps == eps
        and all(each is None or each.__class__ is _ndarray for each in others)
    )


def layer_norm(x: Any, weight: Any, bias: Any, *, last: int, eps: float) -> Any:
    """Return (x - mean) / √(var + eps) weight + bias over the last axes."""
    if not _takes(eps, x, weight, bias) or last.__class__ is not int:
        return NotImplemented
    out = empty("layer_norm", x.shape, x.dtype)
    code = lib.row_norm(1, id(x), id_of(weight), id_of(bias), id(out), last, eps)
    return refused("layer_norm", code) if code else out


def layer_norm_backward(g: Any, x: Any, weight: Any, *, last: int, eps: float) -> Any:
    """Return the gradients of layer_norm by x, weight and bias."""
    if not _takes(eps, x, g, weight) or last.__class__ is not int:
        return NotImplemented
    dtype = x.dtype if weight is None else weight.dtype
    if dtype not in _FLOATS:
        return NotImplemented
    dx = empty("layer_norm_backward", x.shape, x.dtype)
    dweight = empty("layer_norm_backward", x.shape[-last:], dtype)
    dbias = empty("layer_norm_backward", x.shape[-last:], dtype)
    code = lib.row_norm_backward(
        1, id_of(g), id(x), id_of(weight), id(dx), id(dweight), id(dbias), last, eps
    )
    return refused("layer_norm_backward", code) if code else (dx, dweight, dbias)


def rms_norm(x: Any, weight: Any, *, last: int, eps: float) -> Any:
    """Return x / √(mean(x²) + eps) weight over the last axes."""
    if not _takes(eps, x, weight) or last.__class__ is not int:
        return NotImplemented
    out = empty("rms_norm", x.shape, x.dtype)
    code = lib.row_norm(0, id(x), id_of(weight), 0, id(out), last, eps)
    return refused("rms_norm", code) if code else out


def rms_norm_backward(g: Any, x: Any, weight: Any, *, last: int, eps: float) -> Any:
    """Return the gradients of rms_norm by x and weight."""
    if not _takes(eps, x, g, weight) or last.__class__ is not int:
        return NotImplemented
    dtype = x.dtype if weight is None else weight.dtype
    if dtype not in _FLOATS:
        return NotImplemented
    dx = empty("rms_norm_backward", x.shape, x.dtype)
    dweight = empty("rms_norm_backward", x.shape[-last:], dtype)
    code = lib.row_norm_backward(
        0, id_of(g), id(x), id_of(weight), id(dx), id(dweight), 0, last, eps
    )
    return refused("rms_norm_backward", code) if code else (dx, dweight)


def batch_norm(x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    """Return (x - mean) / √(var + eps) weight + bias of each channel, and its mean and var."""
    if not _takes(eps, x, weight, bias):
        return NotImplemented
    out = empty("batch_norm", x.shape, x.dtype)
    mean = empty("batch_norm", x.shape[1:2], float64)
    var = empty("batch_norm", x.shape[1:2], float64)
    code = lib.batch_norm(id(x), id_of(weight), id_of(bias), id(out), id(mean), id(var), eps)
    return refused("batch_norm", code) if code else (out, mean, var)


def batch_norm_eval(x: Any, mean: Any, var: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    """Return (x - mean) / √(var + eps) weight + bias with the mean and var that are given."""
    if not _takes(eps, x, mean, var, weight, bias):
        return NotImplemented
    out = empty("batch_norm_eval", x.shape, x.dtype)
    code = lib.batch_norm_eval(
        id(x), id_of(mean), id_of(var), id_of(weight), id_of(bias), id(out), eps
    )
    return refused("batch_norm_eval", code) if code else out


def batch_norm_backward(
    g: Any, x: Any, mean: Any, var: Any, weight: Any, *, eps: float, training: bool
) -> Any:
    """Return the gradients of batch_norm, or batch_norm_eval, by x, weight and bias."""
    if not _takes(eps, x, g, mean, var, weight) or training.__class__ is not bool:
        return NotImplemented
    dtype = x.dtype if weight is None else weight.dtype
    if dtype not in _FLOATS:
        return NotImplemented
    dx = empty("batch_norm_backward", x.shape, x.dtype)
    dweight = empty("batch_norm_backward", x.shape[1:2], dtype)
    dbias = empty("batch_norm_backward", x.shape[1:2], dtype)
    code = lib.batch_norm_backward(
        id_of(g),
        id(x),
        id_of(mean),
        id_of(var),
        id_of(weight),
        id(dx),
        id(dweight),
        id(dbias),
        eps,
        training,
    )
    return refused("batch_norm_backward", code) if code else (dx, dweight, dbias)


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    found = (
        layer_norm,
        layer_norm_backward,
        rms_norm,
        rms_norm_backward,
        batch_norm,
        batch_norm_eval,
        batch_norm_backward,
    )
    return {f"nn.{each.__name__}": Kernel(each, checked=True) for each in found}
