"""Attention and its gradients; the gradient by a mask, as large as all scores, is decomposed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ferrum.backend import Kernel
from ferrum_cpu._front import empty
from ferrum_cpu.library import id_of, lib, refused

_MASK = 2**64 - 1


def _wide(dtype: Any) -> Any:
    """Return what is computed in: float32 for narrow dtypes."""
    return dtype if dtype == np.float64 else np.dtype(np.float32)


def _how(scale: float, causal: bool, p: float, key: Any) -> tuple[Any, ...]:
    return scale, bool(causal), p, key[0] & _MASK, key[1] & _MASK


def scaled_dot_product_attention(
    q: Any, k: Any, v: Any, mask: Any, *, scale: float, causal: bool, p: float, key: Any
) -> Any:
    """Return the attention and the logarithms of softmax's sums."""
    name = "scaled_dot_product_attention"
    out = empty(name, (*q.shape[:-1], v.shape[-1]), q.dtype)
    lse = empty(name, q.shape[:-1], _wide(q.dtype))
    operands = map(id_of, (q, k, v, mask, out, lse))
    code = lib.attention(*operands, *_how(scale, causal, p, key))
    return refused(name, code) if code else (out, lse)


def attention_backward(
    g: Any,
    q: Any,
    k: Any,
    v: Any,
    mask: Any,
    lse: Any,
    delta: Any,
    *,
    scale: float,
    causal: bool,
    p: float,
    key: Any,
) -> Any:
    """Return the gradients by q, k and v."""
    name = "attention_backward"
    wide = _wide(q.dtype)
    sums = [np.require(each, wide, ["C", "A"]) for each in (lse, delta)]
    outs = [empty(name, each.shape, wide) for each in (q, k, v)]
    operands = map(id_of, (g, q, k, v, mask, *sums, *outs))
    code = lib.attention_backward(*operands, *_how(scale, causal, p, key))
    if code:
        return refused(name, code)
    return tuple([each.astype(q.dtype, copy=False) for each in outs])


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name."""
    return {
        f"nn.{each.__name__}": Kernel(each)
        for each in (scaled_dot_product_attention, attention_backward)
    }
