"""Recurrence with gates: lstm and gru. How their rows lie is said in `recurrence`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ferrum import Spec, TensorLike, cat, op
from ferrum.dtypes import float32, float64
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.ops.reduce import widened
from ferrum.spec import Needs, Shape
from ferrum_nn.ops.recurrence import (
    BAD_SIZES,
    cases,
    check,
    check_like,
    earlier,
    gradient_of,
    joined,
    renewed,
    walk,
)

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler


# ---- lstm


@op(outputs=("out", "last_h", "last_c", "gates", "cells"), ulp=8, scale=16.0)
def lstm(
    x: TensorLike,
    h: TensorLike,
    c: TensorLike,
    weight: TensorLike,
    projection: TensorLike | None,
    *,
    sizes: Shape,
    reverse: bool,
) -> tuple[Spec, Spec, Spec, Spec, Spec]:
    """Return the states of all steps, both last ones of each sequence, and all gates and cells.

    With i, f, g, o = σ, σ, tanh, σ of the four parts of x_t + h_{t-1} Wᵀ, the cell is
    c_t = f c_{t-1} + i g and the state h_t = o tanh(c_t), times `projection`ᵀ unless that is None.
    x is (rows, 4n), h (batch, p), c (batch, n), W (4n, p) and `projection` (p, n); p is n without
    (Hochreiter and Schmidhuber, "Long short-term memory", 1997; Sak et al., arXiv:1402.1128).
    """
    check("lstm", sizes, x, h, weight, 4)
    _check_cells("lstm", h, c, weight, projection)
    rows, size = x.shape[0], weight.shape[0] // 4
    shapes = (rows, h.shape[1]), h.shape, c.shape, x.shape, (rows, size)
    out, last_h, last_c, gates, cells = (Spec(shape, x.dtype) for shape in shapes)
    return out, last_h, last_c, gates, cells


def _check_cells(
    name: str, h: TensorLike, c: TensorLike, weight: TensorLike, projection: TensorLike | None
) -> None:
    size = weight.shape[0] // 4
    check_like(name, "cells", c, (h.shape[0], size), h)
    check_like(name, "a projection", projection, (h.shape[1], size), h)
    if projection is None and h.shape[1] != size:
        raise ShapeError(f"{name}: expected a state of {size} without projection, got {h.shape}")


@lstm.fallback
def _(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weight: Tensor,
    projection: Tensor | None,
    *,
    sizes: Shape,
    reverse: bool,
) -> tuple[Tensor, ...]:
    dtype, size = x.dtype, c.shape[1]
    outs, gates, cells = [], [], []
    x, h, c, turned = widened(x), widened(h), widened(c), widened(weight).mT
    for step in walk(sizes, reverse):
        n = step.stop - step.start
        total = x[step] + h[:n] @ turned
        before, middle = total[:, : 2 * size].sigmoid(), total[:, 2 * size : 3 * size].tanh()
        o = total[:, 3 * size :].sigmoid()
        cell = before[:, size:] * c[:n] + before[:, :size] * middle
        out = o * cell.tanh()
        out = out if projection is None else out @ widened(projection).mT
        outs.append(out)
        gates.append(cat([before, middle, o], 1))
        cells.append(cell)
        h, c = renewed(h, out), renewed(c, cell)
    all_steps = [joined(each, reverse).to(dtype) for each in (outs, gates, cells)]
    return all_steps[0], h.to(dtype), c.to(dtype), all_steps[1], all_steps[2]


@lstm.gradient
def _(
    g: tuple[Tensor | None, ...],
    h: Tensor,
    c: Tensor,
    weight: Tensor,
    projection: Tensor | None,
    out: Tensor,
    gates: Tensor,
    cells: Tensor,
    *,
    sizes: Shape,
    reverse: bool,
    needs: Needs,
) -> Any:
    if projection is not None or any(each is not None for each in g[3:]):
        return NotImplemented  # rare: the fallback's gradient serves
    how: Any = {"sizes": sizes, "reverse": reverse}
    found = lstm_backward(g[0], g[1], g[2], out, gates, cells, h, c, weight, **how)
    return *found, None


@op(outputs=("dx", "dh", "dc", "dweight"), ulp=8, scale=32.0)
def lstm_backward(
    g: TensorLike | None,
    last_h: TensorLike | None,
    last_c: TensorLike | None,
    out: TensorLike,
    gates: TensorLike,
    cells: TensorLike,
    h: TensorLike,
    c: TensorLike,
    weight: TensorLike,
    *,
    sizes: Shape,
    reverse: bool,
) -> tuple[Spec, Spec, Spec, Spec]:
    """Return the gradients of lstm, without projection, by x, h, c and weight.

    The gradients of its states and of the last ones may be None.
    """
    name = "lstm_backward"
    check(name, sizes, gates, h, weight, 4)
    _check_cells(name, h, c, weight, None)
    shape = gates.shape[0], c.shape[1]
    check_like(name, "states", out, shape, gates)
    check_like(name, "all cells", cells, shape, gates)
    check_like(name, "a gradient", g, shape, gates)
    check_like(name, "a gradient of the last states", last_h, h.shape, gates)
    check_like(name, "a gradient of the last cells", last_c, c.shape, gates)
    shapes = gates.shape, h.shape, c.shape, weight.shape
    dx, dh, dc, dweight = (Spec(each, gates.dtype) for each in shapes)
    return dx, dh, dc, dweight


@lstm_backward.fallback
def _(
    g: Tensor | None,
    last_h: Tensor | None,
    last_c: Tensor | None,
    out: Tensor,
    gates: Tensor,
    cells: Tensor,
    h: Tensor,
    c: Tensor,
    weight: Tensor,
    *,
    sizes: Shape,
    reverse: bool,
) -> tuple[Tensor, ...]:
    dtype, size, parts = gates.dtype, c.shape[1], []
    g = gradient_of(g, out, size)
    dh, dc = gradient_of(last_h, h, size), gradient_of(last_c, c, size)
    out, gates, cells, matrix = widened(out), widened(gates), widened(cells), widened(weight)
    i, f, middle, o = (gates[:, k * size : (k + 1) * size] for k in range(4))
    tangent, before = cells.tanh(), joined(earlier(cells, widened(c), sizes, reverse), reverse)
    of_cell, of_o = o * (1 - tangent * tangent), tangent * o * (1 - o)
    of_i, of_f, of_middle = middle * i * (1 - i), before * f * (1 - f), i * (1 - middle * middle)
    for step in reversed(walk(sizes, reverse)):
        n = step.stop - step.start
        d = g[step] + dh[:n]
        dcell = dc[:n] + d * of_cell[step]
        inner = [dcell * each[step] for each in (of_i, of_f, of_middle)]
        parts.append(cat([*inner, d * of_o[step]], 1))
        dh, dc = renewed(dh, parts[-1] @ matrix), renewed(dc, dcell * f[step])
    dx = joined(parts[::-1], reverse)
    dweight = dx.mT @ joined(earlier(out, widened(h), sizes, reverse), reverse)
    return dx.to(dtype), dh.to(dtype), dc.to(dtype), dweight.to(dtype)


# ---- gru


@op(outputs=("out", "last", "gates"), ulp=8, scale=16.0)
def gru(
    x: TensorLike,
    h: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None,
    *,
    sizes: Shape,
    reverse: bool,
) -> tuple[Spec, Spec, Spec]:
    """Return the states of all steps, the last one of each sequence, and all gates.

    With u the three parts of h_{t-1} Wᵀ + bias the gates are r = σ(x₁ + u₁), z = σ(x₂ + u₂) and
    n = tanh(x₃ + r u₃), and h_t = (1 - z) n + z h_{t-1}. `gates` (rows, 4n) are r, z, n and u₃.
    x is (rows, 3n), h (batch, n), W (3n, n) and the bias (3n,) or None (Cho et al.,
    arXiv:1406.1078, with r behind the product).
    """
    check("gru", sizes, x, h, weight, 3)
    _check_gru("gru", h, weight, bias)
    gates = Spec((x.shape[0], 4 * h.shape[1]), x.dtype)
    return Spec((x.shape[0], h.shape[1]), x.dtype), Spec(h.shape, x.dtype), gates


def _check_gru(name: str, h: TensorLike, weight: TensorLike, bias: TensorLike | None) -> None:
    if weight.shape[0] != 3 * h.shape[1]:
        raise ShapeError(f"{name}: expected a weight (3 n, n), got {weight.shape}")
    check_like(name, "a bias", bias, weight.shape[:1], h)


@gru.fallback
def _(
    x: Tensor, h: Tensor, weight: Tensor, bias: Tensor | None, *, sizes: Shape, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dtype, size, outs, gates = x.dtype, h.shape[1], [], []
    x, h, turned = widened(x), widened(h), widened(weight).mT
    for step in walk(sizes, reverse):
        old = h[: step.stop - step.start]
        inner = old @ turned
        inner = inner if bias is None else inner + widened(bias)
        both = (x[step][:, : 2 * size] + inner[:, : 2 * size]).sigmoid()
        r, z, u = both[:, :size], both[:, size:], inner[:, 2 * size :]
        new = (x[step][:, 2 * size :] + r * u).tanh()
        outs.append((1 - z) * new + z * old)
        gates.append(cat([both, new, u], 1))
        h = renewed(h, outs[-1])
    return joined(outs, reverse).to(dtype), h.to(dtype), joined(gates, reverse).to(dtype)


@gru.gradient
def _(
    g: tuple[Tensor | None, ...],
    h: Tensor,
    weight: Tensor,
    out: Tensor,
    gates: Tensor,
    *,
    sizes: Shape,
    reverse: bool,
    needs: Needs,
) -> Any:
    if g[2] is not None:
        return NotImplemented  # rare: the fallback's gradient serves
    how: Any = {"sizes": sizes, "reverse": reverse}
    dx, dh, dweight, dbias = gru_backward(g[0], g[1], out, gates, h, weight, **how)
    return dx, dh, dweight, None if needs[3] is None else dbias


@op(outputs=("dx", "dh", "dweight", "dbias"), ulp=8, scale=32.0)
def gru_backward(
    g: TensorLike | None,
    last: TensorLike | None,
    out: TensorLike,
    gates: TensorLike,
    h: TensorLike,
    weight: TensorLike,
    *,
    sizes: Shape,
    reverse: bool,
) -> tuple[Spec, Spec, Spec, Spec]:
    """Return the gradients of gru by x, h, weight and bias; those of its results may be None."""
    name = "gru_backward"
    rows = Spec((out.shape[0], weight.shape[0]), out.dtype)
    check(name, sizes, rows, h, weight, 3)
    _check_gru(name, h, weight, None)
    shape = sum(sizes), h.shape[1]
    check_like(name, "states", out, shape, h)
    check_like(name, "gates", gates, (shape[0], 4 * shape[1]), h)
    check_like(name, "a gradient", g, shape, h)
    check_like(name, "a gradient of the last states", last, h.shape, h)
    weight_spec = Spec(weight.shape, h.dtype)
    return rows, Spec(h.shape, h.dtype), weight_spec, Spec(weight.shape[:1], h.dtype)


@gru_backward.fallback
def _(
    g: Tensor | None,
    last: Tensor | None,
    out: Tensor,
    gates: Tensor,
    h: Tensor,
    weight: Tensor,
    *,
    sizes: Shape,
    reverse: bool,
) -> tuple[Tensor, ...]:
    dtype, size, parts = gates.dtype, h.shape[1], []
    g, dh = gradient_of(g, out, size), gradient_of(last, h, size)
    out, gates, matrix = widened(out), widened(gates), widened(weight)
    r, z, new, u = (gates[:, k * size : (k + 1) * size] for k in range(4))
    before = joined(earlier(out, widened(h), sizes, reverse), reverse)
    of_z, of_new = (before - new) * z * (1 - z), (1 - z) * (1 - new * new)
    of_r = of_new * u * r * (1 - r)
    for step in reversed(walk(sizes, reverse)):
        d = g[step] + dh[: step.stop - step.start]
        parts.append(cat([d * of_r[step], d * of_z[step], d * of_new[step]], 1))
        dr_dz, dnew = parts[-1][:, : 2 * size], parts[-1][:, 2 * size :]
        inner = cat([dr_dz, dnew * r[step]], 1)
        dh = renewed(dh, d * z[step] + inner @ matrix)
    dx = joined(parts[::-1], reverse)
    inner = cat([dx[:, : 2 * size], dx[:, 2 * size :] * r], 1)
    found = dx, dh, inner.mT @ before, inner.sum(0)
    return tuple(each.to(dtype) for each in found)


# ---- samples


@lstm.samples
def _(s: Sampler) -> Iterator[Sample]:
    for i, attrs in enumerate(cases()):
        rows, batch = sum(attrs["sizes"]), attrs["sizes"][0]
        x, c = s.real(rows, 8), s.real(batch, 2)
        yield s(x, s.real(batch, 2), c, s.real(8, 2), None, **attrs)
        if i < 2:
            yield s(x, s.real(batch, 3), c, s.real(8, 3), s.real(3, 2), **attrs)
    fits = {"sizes": (2, 1), "reverse": False}
    x, h, weight = s.real(3, 8), s.real(2, 2), s.real(8, 2)
    for sizes in BAD_SIZES:
        yield s.bad(ArgumentError, x, h, h, weight, None, **{**fits, "sizes": sizes})
    yield s.bad(ShapeError, s.real(4, 8), h, h, weight, None, **fits)
    yield s.bad(ShapeError, x, s.real(2, 3), h, weight, None, **fits)
    yield s.bad(ShapeError, x, h, s.real(2, 3), weight, None, **fits)
    yield s.bad(ShapeError, x, s.real(2, 3), h, s.real(8, 3), None, **fits)
    yield s.bad(ShapeError, x, h, h, weight, s.real(2, 3), **fits)
    yield s.bad(ShapeError, s.real(3, 6), h, h, s.real(6, 2), None, **fits)
    narrow, wider = s.typed(float32, 2, 2), s.typed(float64, 2, 2)
    x, weight = s.typed(float32, 3, 8), s.typed(float32, 8, 2)
    yield s.bad(DTypeError, x, wider, narrow, weight, None, **fits)
    yield s.bad(DTypeError, x, narrow, wider, weight, None, **fits)


@lstm_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    for i, attrs in enumerate(cases()):
        rows, batch = sum(attrs["sizes"]), attrs["sizes"][0]
        g, h, c = s.real(rows, 2), s.real(batch, 2), s.real(batch, 2)
        gates = s.real(rows, 8, low=0.1, high=0.9)
        saved = s.real(rows, 2), gates, s.real(rows, 2), s.real(batch, 2), s.real(batch, 2)
        yield s(g, h if i % 2 else None, None, *saved, s.real(8, 2), **attrs)
        yield s(g if i % 2 else None, h, c, *saved, s.real(8, 2), **attrs)
    fits = {"sizes": (2, 1), "reverse": False}
    row, gates, h, weight = s.real(3, 2), s.real(3, 8), s.real(2, 2), s.real(8, 2)
    for k in range(5):
        operands = [row, h, h, row, gates, row, h, h, weight]
        operands[(0, 1, 2, 3, 5)[k]] = s.real(2, 3)
        yield s.bad(ShapeError, *operands, **fits)
    yield s.bad(ArgumentError, *operands[:3], row, gates, row, h, h, weight, sizes=(), reverse=True)


@gru.samples
def _(s: Sampler) -> Iterator[Sample]:
    for i, attrs in enumerate(cases()):
        rows, batch = sum(attrs["sizes"]), attrs["sizes"][0]
        bias = s.real(6) if i % 2 else None
        yield s(s.real(rows, 6), s.real(batch, 2), s.real(6, 2), bias, **attrs)
    fits = {"sizes": (2, 1), "reverse": False}
    x, h, weight = s.real(3, 6), s.real(2, 2), s.real(6, 2)
    for sizes in BAD_SIZES:
        yield s.bad(ArgumentError, x, h, weight, None, **{**fits, "sizes": sizes})
    yield s.bad(ShapeError, s.real(4, 6), h, weight, None, **fits)
    yield s.bad(ShapeError, x, s.real(2, 3), weight, None, **fits)
    yield s.bad(ShapeError, x, h, weight, s.real(2), **fits)
    yield s.bad(ShapeError, s.real(3, 9), h, s.real(9, 2), None, **fits)
    narrow = s.typed(float32, 3, 6), s.typed(float32, 2, 2), s.typed(float32, 6, 2)
    yield s.bad(DTypeError, *narrow, s.typed(float64, 6), **fits)


@gru_backward.samples
def _(s: Sampler) -> Iterator[Sample]:
    for i, attrs in enumerate(cases()):
        rows, batch = sum(attrs["sizes"]), attrs["sizes"][0]
        g, last = s.real(rows, 2), s.real(batch, 2)
        gates = s.real(rows, 8, low=0.1, high=0.9)
        saved = s.real(rows, 2), gates, s.real(batch, 2), s.real(6, 2)
        yield s(g, last if i % 2 else None, *saved, **attrs)
        yield s(None, last, *saved, **attrs)
    fits = {"sizes": (2, 1), "reverse": False}
    row, gates, h, weight = s.real(3, 2), s.real(3, 8), s.real(2, 2), s.real(6, 2)
    for k in range(4):
        operands = [row, h, row, gates, h, weight]
        operands[k] = s.real(2, 3)
        yield s.bad(ShapeError, *operands, **fits)
