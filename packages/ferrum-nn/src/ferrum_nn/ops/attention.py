"""Scaled dot-product attention, its gradients, and what they share.

Only the sums of exponentials are kept for the way back, as logarithms, one a query: a kernel need
hold no more of the scores than a tile (Dao, "FlashAttention-2", arXiv:2307.08691). The fallbacks
hold all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any, TypeAlias

from ferrum import Spec, TensorLike, arange, op, where, zeros_like
from ferrum.dtypes import DType, bool_, float32, float64, int64, is_floating
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.ops.reduce import widened
from ferrum.spec import Needs, Shape, broadcast_shapes
from ferrum_nn.ops.dropout import dropout

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Input, Sample, Sampler

    Operands: TypeAlias = list[Input | None]
    Call: TypeAlias = tuple[Operands, dict[str, Any]]

Key: TypeAlias = tuple[int, int]


def _scores_shape(
    name: str, q: TensorLike, k: TensorLike, v: TensorLike, mask: TensorLike | None
) -> Shape:
    """Check that operands go together, and return the shape of the scores, (..., l, s)."""
    if not is_floating(q.dtype) or k.dtype is not q.dtype or v.dtype is not q.dtype:
        raise DTypeError(
            f"{name}: expected query, key and value of one floating-point dtype, got "
            f"{q.dtype.name}, {k.dtype.name} and {v.dtype.name}"
        )
    axes = len(q.shape)
    alike = axes >= 2 and len(k.shape) == axes and k.shape[:-3] == q.shape[:-3]
    heads, fewer = (q.shape[-3], k.shape[-3]) if alike and axes > 2 else (1, 1)
    alike = alike and (heads == fewer or (fewer > 0 and heads % fewer == 0))
    if not alike or k.shape[:-1] != v.shape[:-1] or k.shape[-1] != q.shape[-1]:
        raise ShapeError(
            f"{name}: expected query (..., h, l, e), key (..., h / groups, s, e) and value "
            f"(..., h / groups, s, ev), got {q.shape}, {k.shape} and {v.shape}"
        )
    shape = (*q.shape[:-1], k.shape[-2])
    if mask is None:
        return shape
    if mask.dtype not in (kinds := (bool_, float32, q.dtype)):
        names = ", ".join(sorted({each.name for each in kinds}))
        raise DTypeError(f"{name}: expected a mask of {names}, got {mask.dtype.name}")
    if len(mask.shape) > axes or broadcast_shapes(name, mask.shape, shape) != shape:
        raise ShapeError(f"{name}: a mask of shape {mask.shape} does not broadcast to {shape}")
    return shape


def _check(name: str, mask: TensorLike | None, scale: float, causal: bool, p: float) -> None:
    if causal and mask is not None:
        raise ArgumentError(f"{name}: expected a mask or is_causal, got both; let the mask do both")
    if not isfinite(scale):
        raise ArgumentError(f"{name}: expected a finite scale, got {scale!r}")
    if not 0 <= p <= 1:
        raise ArgumentError(f"{name}: expected a probability from 0 to 1, got p={p!r}")


def _check_backward(
    name: str, g: TensorLike, q: TensorLike, v: TensorLike, lse: TensorLike, delta: TensorLike
) -> None:
    """Refuse gradients and sums that are not those of a call with q and v."""
    shape, rows, kept = (*q.shape[:-1], v.shape[-1]), q.shape[:-1], _kept_in(q)
    if g.shape != shape or lse.shape != rows or delta.shape != rows:
        raise ShapeError(
            f"{name}: expected g of shape {shape}, and lse and delta of {rows}, got "
            f"{g.shape}, {lse.shape} and {delta.shape}"
        )
    if g.dtype is not q.dtype or lse.dtype is not kept or delta.dtype is not kept:
        raise DTypeError(
            f"{name}: expected g of {q.dtype.name}, and lse and delta of {kept.name}, got "
            f"{g.dtype.name}, {lse.dtype.name} and {delta.dtype.name}"
        )


def _kept_in(q: TensorLike) -> DType:
    """Return the dtype of the sums."""
    return float64 if q.dtype is float64 else float32


# ---- what the fallbacks are made of


def _for_each_head(x: Tensor, q: Tensor) -> Tensor:
    """Return keys or values with as many heads as q has: each serves a group of its neighbours."""
    x = widened(x)
    if q.ndim == 2 or x.shape[-3] == q.shape[-3]:
        return x
    lead, heads, inner = x.shape[:-3], x.shape[-3], x.shape[-2:]
    groups = q.shape[-3] // heads
    return x.unsqueeze(-3).expand(*lead, heads, groups, *inner).reshape(*lead, q.shape[-3], *inner)


def _for_each_group(x: Tensor, k: Tensor) -> Tensor:
    """Return the sums over groups of heads: the adjoint of `_for_each_head`."""
    if k.ndim == 2 or x.shape[-3] == k.shape[-3]:
        return x
    groups = x.shape[-3] // k.shape[-3]
    return x.reshape(*k.shape[:-2], groups, *x.shape[-2:]).sum(-3)


def _scores(q: Tensor, k: Tensor, mask: Tensor | None, scale: float, causal: bool) -> Tensor:
    """Return scale q kᵀ, masked: -∞ where nothing is to be attended to, whatever stands there."""
    scores = (widened(q) * scale) @ _for_each_head(k, q).mT
    if causal:
        rows, columns = (arange(n, device=q.device) for n in scores.shape[-2:])
        mask = columns <= rows.unsqueeze(-1)
    if mask is None:
        return scores
    if mask.dtype is bool_:
        kept: Tensor = where(mask, scores, -inf)
        return kept
    return scores + mask.to(scores.dtype)


def _weights_and_change(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    lse: Tensor,
    delta: Tensor,
    scale: float,
    causal: bool,
    p: float,
    key: Key,
) -> tuple[Tensor, Tensor]:
    """Return the weights of the values as they were used, and the gradient by the scores."""
    g = widened(g)
    scores = _scores(q, k, mask, scale, causal)
    lse = lse.unsqueeze(-1)
    weights = (scores - where(lse == -inf, 0, lse)).exp()
    change = g @ _for_each_head(v, q).mT
    used = weights
    if p:
        used, change = (dropout(each, p=p, key=key) for each in (weights, change))
    return used, weights * (change - delta.unsqueeze(-1))


# ---- the ops


@op(outputs=("out", "lse"), ulp=16, scale=4.0)
def scaled_dot_product_attention(
    q: TensorLike,
    k: TensorLike,
    v: TensorLike,
    mask: TensorLike | None,
    *,
    scale: float,
    causal: bool,
    p: float,
    key: Key,
) -> tuple[Spec, Spec]:
    """Return dropout(softmax(scale q kᵀ + mask)) v, and the logarithms of softmax's sums (..., l).

    q is (..., h, l, e), k (..., h / groups, s, e) and v (..., h / groups, s, ev), or all of them
    without heads. A mask broadcasts to (..., h, l, s): a bool one says what to attend to, another
    is added. `causal` lets query i attend to keys 0 to i. A query that may attend to nothing gives
    0, and a sum of -∞. Dropout of the weights is that of `dropout` with p and the key.
    """
    name = "scaled_dot_product_attention"
    _scores_shape(name, q, k, v, mask)
    _check(name, mask, scale, causal, p)
    return Spec((*q.shape[:-1], v.shape[-1]), q.dtype), Spec(q.shape[:-1], _kept_in(q))


@scaled_dot_product_attention.fallback
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    *,
    scale: float,
    causal: bool,
    p: float,
    key: Key,
) -> tuple[Tensor, Tensor]:
    scores, values = _scores(q, k, mask, scale, causal), _for_each_head(v, q)
    if not k.shape[-2]:
        return (scores @ values).to(q.dtype), scores.sum(-1) - inf
    if 0 in scores.shape:
        return (scores @ values).to(q.dtype), scores.sum(-1)
    top = scores.detach().amax(-1, keepdim=True)
    top = where(top == -inf, 0, top)
    weights = (scores - top).exp()
    total = weights.sum(-1, keepdim=True)
    empty = total == 0
    safe = where(empty, 1, total)
    weights = weights / safe
    if p:
        weights = dropout(weights, p=p, key=key)
    lse = where(empty, -inf, safe.log() + top)
    return (weights @ values).to(q.dtype), lse.squeeze(-1)


@scaled_dot_product_attention.gradient
def _(
    g: tuple[Tensor | None, ...],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    out: Tensor,
    lse: Tensor,
    *,
    scale: float,
    causal: bool,
    p: float,
    key: Key,
    needs: Needs,
) -> tuple[Tensor | None, ...]:
    dout = zeros_like(out) if g[0] is None else g[0]
    delta = (widened(dout) * widened(out)).sum(-1)
    if g[1] is not None:
        delta = delta - g[1]
    dq = dk = dv = dmask = None
    if any(each is not None for each in needs[:3]):
        dq, dk, dv = attention_backward(
            dout, q, k, v, mask, lse, delta, scale=scale, causal=causal, p=p, key=key
        )
    if needs[3] is not None:
        assert mask is not None
        dmask = attention_mask_backward(
            dout, q, k, v, mask, lse, delta, scale=scale, causal=causal, p=p, key=key
        )
    return dq, dk, dv, dmask


@op(outputs=("dq", "dk", "dv"), ulp=32, scale=8.0)
def attention_backward(
    g: TensorLike,
    q: TensorLike,
    k: TensorLike,
    v: TensorLike,
    mask: TensorLike | None,
    lse: TensorLike,
    delta: TensorLike,
    *,
    scale: float,
    causal: bool,
    p: float,
    key: Key,
) -> tuple[Spec, Spec, Spec]:
    """Return the gradients of scaled_dot_product_attention by q, k and v.

    With the weights w = exp(scores - lse) and d = w (dropout(g vᵀ) - delta) they are scale d k,
    scale dᵀ q and dropout(w)ᵀ g, the last two summed over the heads that share a key. `delta` is
    Σ g out, a number a query, less the gradient by lse.
    """
    name = "attention_backward"
    _scores_shape(name, q, k, v, mask)
    _check(name, mask, scale, causal, p)
    _check_backward(name, g, q, v, lse, delta)
    return Spec(q.shape, q.dtype), Spec(k.shape, k.dtype), Spec(v.shape, v.dtype)


@attention_backward.fallback
def _(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    lse: Tensor,
    delta: Tensor,
    *,
    scale: float,
    causal: bool,
    p: float,
    key: Key,
) -> tuple[Tensor, Tensor, Tensor]:
    used, d = _weights_and_change(g, q, k, v, mask, lse, delta, scale, causal, p, key)
    dq = (d @ _for_each_head(k, q)) * scale
    dk = _for_each_group(d.mT @ (widened(q) * scale), k)
    dv = _for_each_group(used.mT @ widened(g), k)
    return dq.to(q.dtype), dk.to(q.dtype), dv.to(q.dtype)


@op(ulp=32, scale=8.0)
def attention_mask_backward(
    g: TensorLike,
    q: TensorLike,
    k: TensorLike,
    v: TensorLike,
    mask: TensorLike,
    lse: TensorLike,
    delta: TensorLike,
    *,
    scale: float,
    causal: bool,
    p: float,
    key: Key,
) -> Spec:
    """Return the gradient of scaled_dot_product_attention by a mask that is added to the scores.

    It is d of `attention_backward`, summed over the axes along which the mask is broadcast.
    """
    name = "attention_mask_backward"
    _scores_shape(name, q, k, v, mask)
    _check(name, mask, scale, causal, p)
    _check_backward(name, g, q, v, lse, delta)
    if mask.dtype is bool_:
        raise DTypeError(f"{name}: expected a mask of floating-point numbers, got bool")
    return Spec(mask.shape, mask.dtype)


@attention_mask_backward.fallback
def _(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    lse: Tensor,
    delta: Tensor,
    *,
    scale: float,
    causal: bool,
    p: float,
    key: Key,
) -> Tensor:
    _, d = _weights_and_change(g, q, k, v, mask, lse, delta, scale, causal, p, key)
    shape = (1,) * (d.ndim - mask.ndim) + mask.shape
    wide = [i for i in range(d.ndim) if shape[i] != d.shape[i]]
    return (d.sum(wide, keepdim=True) if wide else d).reshape(*mask.shape).to(mask.dtype)


# ---- samples of all three

PLAIN = {"scale": 0.5, "causal": False, "p": 0.0, "key": (0, 0)}


def _cases(s: Sampler) -> Iterator[Call]:
    """Yield query, key, value and mask, and attributes, that go together."""

    def case(q: Shape, k: Shape, ev: int, mask: Input | None = None, **attrs: Any) -> Call:
        given = [s.real(*shape, low=-1.0, high=1.0) for shape in (q, k, (*k[:-1], ev))]
        return [*given, mask], PLAIN | attrs

    yield case((2, 3), (4, 3), 2)
    yield case((2, 2, 3), (2, 2, 3), 3, causal=True)
    yield case((4, 2), (2, 2), 1, causal=True)  # more queries than keys
    yield case((1, 4, 2, 2), (1, 2, 3, 2), 2, causal=True, scale=-0.3)  # in groups
    yield case((2, 2, 2), (1, 3, 2), 2, s.truth(2, 1, 1), p=0.4, key=(7, 2**40))
    yield case((2, 1, 2, 2), (2, 1, 3, 2), 2, s.real(1, 2, 3))
    yield case((2, 2, 2), (2, 3, 2), 2, s.real(3), p=0.5, key=(1, 2))
    yield case((1, 2), (2, 2), 2, p=1.0, key=(1, 2))
    yield case((2, 0), (3, 0), 2)
    yield case((0, 2), (3, 2), 2)
    yield case((0, 2, 2), (0, 3, 2), 1)
    yield case((2, 2), (3, 2), 0)


def _masked(s: Sampler) -> Iterator[Call]:
    """Yield calls with infinite masks or sums, where differences mean nothing."""
    q, k, v = s.real(2, 2), s.real(3, 2), s.real(3, 2)
    yield [q, k, v, s.exact(-inf, 0.25, -inf)], PLAIN
    yield [q, k, v, s.exact(-inf, -inf, -inf)], PLAIN
    yield [q, s.real(0, 2), s.real(0, 2), None], PLAIN


def _bad(s: Sampler) -> Iterator[tuple[type[Exception], Operands, dict[str, Any]]]:
    """Yield what any of the ops refuses."""
    q, k, v = s.real(2, 4, 3), s.real(2, 5, 3), s.real(2, 5, 3)
    refused: list[tuple[type[Exception], Operands]] = [
        (ShapeError, [s.real(3), s.real(3), s.real(3), None]),
        (ShapeError, [q, s.real(5, 3), s.real(5, 3), None]),
        (ShapeError, [q, s.real(2, 5, 4), v, None]),
        (ShapeError, [q, k, s.real(2, 4, 3), None]),
        (ShapeError, [q, k, s.real(1, 5, 3), None]),
        (ShapeError, [q, s.real(3, 5, 3), s.real(3, 5, 3), None]),
        (ShapeError, [q, s.real(0, 5, 3), s.real(0, 5, 3), None]),
        (ShapeError, [q, k, v, s.truth(2, 4, 4)]),
        (ShapeError, [q, k, v, s.truth(3, 4, 5)]),
        (ShapeError, [q, k, v, s.truth(1, 2, 4, 5)]),
        (DTypeError, [q, k, v, s.typed(int64, 4, 5)]),
        (DTypeError, [*[s.typed(int64, 2, 3)] * 3, None]),
        (DTypeError, [q, s.typed(int64, 2, 5, 3), v, None]),
    ]
    for error, operands in refused:
        yield error, operands, PLAIN
    yield ArgumentError, [q, k, v, s.truth(4, 5)], PLAIN | {"causal": True}
    for p in (-0.1, 1.5, nan):
        yield ArgumentError, [q, k, v, None], PLAIN | {"p": p}
    for scale in (inf, nan):
        yield ArgumentError, [q, k, v, None], PLAIN | {"scale": scale}


@scaled_dot_product_attention.samples
def _(s: Sampler) -> Iterator[Sample]:
    for operands, how in _cases(s):
        yield s(*operands, **how)
    for operands, how in _masked(s):
        yield s.kink(*operands, **how)
    for error, operands, how in _bad(s):
        yield s.bad(error, *operands, **how)


def _on_the_way_back(s: Sampler, operands: Operands) -> Operands:
    """Return operands with a gradient before them, and sums behind them."""
    q, _, v, _ = operands
    assert q is not None and v is not None
    rows = q.values.shape[:-1]
    g = s.real(*rows, v.values.shape[-1], low=-1.0, high=1.0)
    return [g, *operands, s.real(*rows, low=0.6, high=1.9), s.real(*rows)]


@attention_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    for operands, how in _cases(s):
        yield s(*_on_the_way_back(s, operands), **how)
    for error, operands, how in _bad(s):
        first = operands[0]
        if first is not None and first.values.ndim == 3:
            yield s.bad(error, *_on_the_way_back(s, operands), **how)
    given, how = next(_cases(s))
    g, *rest, lse, delta = _on_the_way_back(s, given)
    yield s.bad(ShapeError, s.real(2, 3), *rest, lse, delta, **how)
    yield s.bad(ShapeError, g, *rest, s.real(3), delta, **how)
    yield s.bad(ShapeError, g, *rest, lse, s.real(2, 1), **how)
    yield s.bad(DTypeError, g, *rest, s.typed(int64, 2), delta, **how)
    yield s.bad(DTypeError, g, *rest, lse, s.typed(int64, 2), **how)


@attention_mask_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    for operands, how in _cases(s):
        mask = operands[3]
        if mask is not None and mask.dtype is None:
            yield s(*_on_the_way_back(s, operands), **how)
    operands, how = next(_cases(s))
    yield s(*_on_the_way_back(s, [*operands[:3], s.real(2, 4)]), **how)
    yield s(*_on_the_way_back(s, [*operands[:3], s.real(1, 1)]), **how)
    yield s.bad(ShapeError, *_on_the_way_back(s, [*operands[:3], s.real(3)]), **how)
    yield s.bad(DTypeError, *_on_the_way_back(s, [*operands[:3], s.truth(2, 4)]), **how)
    yield s.bad(TypeError, *_on_the_way_back(s, operands), **how)
