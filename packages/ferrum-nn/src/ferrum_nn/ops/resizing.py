"""Resizing along axes, and its adjoint: two ops whose gradients are each other.

Along an axis each entry of the result is a weighted sum of a few entries of x, its taps. They
depend on sizes alone, and axes are resized one after the other. Filters: "nearest" takes the entry
below a position and "nearest-exact" the closest one; "linear" is a triangle; "cubic" is Keys's
("Cubic convolution interpolation for digital image processing", 1981) with a = -0.75, or -0.5 where
it is widened; "lanczos" is sinc(x) sinc(x / 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ferrum import Spec, TensorLike, op, tensor, where, zeros
from ferrum.dtypes import float32, float64, is_floating
from ferrum.errors import ArgumentError, DTypeError, ShapeError

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Sample, Sampler

Floats = NDArray[np.float64]
Places = NDArray[np.int32]

_REACH = {"linear": 1, "cubic": 2, "lanczos": 3}  # half the width of a filter
_NEAREST = ("nearest", "nearest-exact")
KINDS = (*_NEAREST, *_REACH)
_KEPT = 2**14  # taps of longer axes are made anew each time


class Axis(NamedTuple):
    """How an axis of `inner` entries becomes one of `outer`.

    Entry o of the result stands at (o + 1/2) scale - 1/2 in x, or at o scale if `aligned`: then the
    centres of the outermost entries meet, else their edges. With `antialias` a filter is as wide as
    the scale says where that is above 1, so that it covers all of x.
    """

    inner: int
    outer: int
    kind: str
    scale: float
    aligned: bool
    antialias: bool

    def check(self, name: str) -> None:
        """Refuse sizes below 1, a kind that is none, and a scale that is no positive number."""
        if not 1 <= min(self.inner, self.outer) <= max(self.inner, self.outer) < 2**31:
            raise ShapeError(
                f"{name}: expected from 1 to 2³¹ - 1 entries along each axis, got {self.inner} to "
                f"be made {self.outer}"
            )
        if self.kind not in KINDS or (self.antialias and self.kind in _NEAREST):
            raise ArgumentError(
                f"{name}: expected a filter of {KINDS}, and one of the last three for antialias, "
                f"got {self.kind!r}"
            )
        if self.kind == "lanczos" and not self.antialias:
            raise ArgumentError(f"{name}: the filter 'lanczos' goes with antialias")
        if not (isfinite(self.scale) and self.scale >= 0):
            raise ArgumentError(f"{name}: expected a scale of at least 0, got {self.scale}")

    def taps(self, adjoint: bool) -> tuple[Places, Floats]:
        """Return what each entry is made of: places and weights, both (taps, entries).

        A place behind the last one means that there is no such tap.
        """
        made = _adjoint_taps if adjoint else _taps
        return made(self) if max(self.inner, self.outer) <= _KEPT else made.__wrapped__(self)


@lru_cache(maxsize=64)
def _taps(axis: Axis) -> tuple[Places, Floats]:
    o = np.arange(axis.outer, dtype=np.float64)
    if axis.kind in _NEAREST:
        # in float32 for every dtype, as PyTorch has it: this rounds, and so chooses
        half = 0.5 if axis.kind == "nearest-exact" else 0.0
        found = np.floor(((o + half) * np.float64(np.float32(axis.scale))).astype(np.float32))
        return _kept(np.minimum(found, axis.inner - 1)[None], np.ones((1, axis.outer)))
    if axis.antialias:
        return _wide_taps(axis, (o + 0.5) * axis.scale)
    at = o * axis.scale if axis.aligned else (o + 0.5) * axis.scale - 0.5
    if axis.kind == "linear":
        at = o if axis.inner == axis.outer else np.maximum(at, 0)
    first = np.minimum(np.floor(at), axis.inner - 1)
    t = np.clip(at - first, 0, 1)
    if axis.kind == "linear":
        return _kept(np.minimum([first, first + 1], axis.inner - 1), np.stack([1 - t, t]))
    steps = np.arange(-1.0, 3.0)[:, None]
    return _kept(np.clip(first + steps, 0, axis.inner - 1), _filter("cubic", t - steps, -0.75))


def _wide_taps(axis: Axis, center: Floats) -> tuple[Places, Floats]:
    """Return the taps of a filter that is widened where entries are left out."""
    wide = max(axis.scale, 1.0)
    reach = _REACH[axis.kind] * wide
    first = np.maximum(np.trunc(center - reach + 0.5), 0)
    last = np.minimum(np.trunc(center + reach + 0.5), axis.inner)
    places = first + np.arange(int((last - first).max()))[:, None]
    weights = np.where(places < last, _filter(axis.kind, (places + 0.5 - center) / wide, -0.5), 0)
    total = weights.sum(0)
    weights = weights / np.where(total == 0, 1, total)
    return _kept(np.where(places < last, places, axis.inner), weights)


def _filter(kind: str, x: Floats, a: float) -> Floats:
    """Return the filter's value at x."""
    x = np.abs(x)
    if kind == "linear":
        return np.maximum(1 - x, 0)
    if kind == "lanczos":
        return np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    return np.where(x <= 1, near, np.where(x < 2, (((x - 5) * x + 8) * x - 4) * a, 0))


def _kept(places: Floats | Places, weights: Floats) -> tuple[Places, Floats]:
    """Return both as they are kept: nobody may write there."""
    index = np.ascontiguousarray(places, dtype=np.int32)
    weights = np.ascontiguousarray(weights)
    index.flags.writeable = weights.flags.writeable = False
    return index, weights


@lru_cache(maxsize=64)
def _adjoint_taps(axis: Axis) -> tuple[Places, Floats]:
    """Return the taps of the transposed matrix."""
    index, weights = _taps(axis)
    taps, outer = np.nonzero(axis.inner > index.T)[::-1]  # entry after entry
    to, weight = index[taps, outer], weights[taps, outer]
    order = np.argsort(to, kind="stable")
    to, outer, weight = to[order], outer[order], weight[order]
    counts = np.bincount(to, minlength=axis.inner)
    place = np.arange(len(to)) - (np.cumsum(counts) - counts)[to]  # among those of its entry
    shape = (int(counts.max()), axis.inner)
    places, found = np.full(shape, axis.outer, np.int32), np.zeros(shape)
    places[place, to], found[place, to] = outer, weight
    return _kept(places, found)


def _resized(x: Tensor, axes: tuple[Axis, ...], adjoint: bool) -> Tensor:
    """Return x with the last axes resized, one after the other."""
    dtype = x.dtype
    if 0 in x.shape:
        sizes = tuple(axis.inner if adjoint else axis.outer for axis in axes)
        return zeros(*x.shape[: -len(axes)], *sizes, dtype=dtype, device=x.device)
    if is_floating(dtype):
        x = x.to(float64 if dtype is float64 else float32)
    for number, axis in enumerate(axes, -len(axes)):
        places, weights = axis.taps(adjoint)
        length, out = x.shape[number], None
        for place, weight in zip(places, weights, strict=True):
            there = place < length
            if not there.any():
                continue
            part = x.index_select(number, tensor(np.where(there, place, 0), device=x.device))
            along = (-1, *(1,) * (-1 - number))
            if axis.kind not in _NEAREST:
                part = part * tensor(weight, dtype=x.dtype, device=x.device).reshape(along)
            if not there.all():
                part = where(tensor(there, device=x.device).reshape(along), part, 0)
            out = part if out is None else out + part
        assert out is not None  # an axis has entries, and each of them a tap
        x = out
    return x.to(dtype)


def _rule(name: str, x: TensorLike, axes: tuple[Axis, ...], adjoint: bool) -> Spec:
    if not 1 <= len(axes) <= len(x.shape):
        raise ShapeError(f"{name}: expected a tensor of {len(axes) or 1} axes, got {x.shape}")
    for axis in axes:
        axis.check(name)
    have = tuple(axis.outer if adjoint else axis.inner for axis in axes)
    if x.shape[-len(axes) :] != have:
        raise ShapeError(f"{name}: expected (..., {', '.join(map(str, have))}), got {x.shape}")
    if not is_floating(x.dtype) and (adjoint or any(axis.kind not in _NEAREST for axis in axes)):
        raise DTypeError(f"{name}: expected a floating-point tensor, got {x.dtype.name}")
    size = tuple(axis.inner if adjoint else axis.outer for axis in axes)
    return Spec((*x.shape[: -len(axes)], *size), x.dtype)


@op(ulp=4, scale=8.0)
def resize(x: TensorLike, *, axes: tuple[Axis, ...]) -> Spec:
    """Return x with its last axes resized as `axes` says: (..., *inner) as (..., *outer)."""
    return _rule("resize", x, axes, adjoint=False)


@resize.fallback
def _(x: Tensor, *, axes: tuple[Axis, ...]) -> Tensor:
    return _resized(x, axes, adjoint=False)


@resize.gradient
def _(g: Tensor, *, axes: tuple[Axis, ...]) -> Tensor:
    return resize_adjoint(g, axes=axes)


@op(ulp=4, scale=16.0)
def resize_adjoint(g: TensorLike, *, axes: tuple[Axis, ...]) -> Spec:
    """Return the gradient of what `resize` was given: (..., *outer) as (..., *inner)."""
    return _rule("resize_adjoint", g, axes, adjoint=True)


@resize_adjoint.fallback
def _(g: Tensor, *, axes: tuple[Axis, ...]) -> Tensor:
    return _resized(g, axes, adjoint=True)


@resize_adjoint.gradient
def _(g: Tensor, *, axes: tuple[Axis, ...]) -> Tensor:
    return resize(g, axes=axes)


def _cases() -> Iterator[tuple[Axis, ...]]:
    """Yield axes to resize."""
    for kind in KINDS[:4]:
        yield (Axis(4, 7, kind, 4 / 7, False, False),)
        yield (Axis(5, 3, kind, 5 / 3, False, False), Axis(2, 4, kind, 0.45, False, False))
    for kind in KINDS[2:]:
        yield (Axis(7, 3, kind, 7 / 3, False, True), Axis(3, 5, kind, 3 / 5, False, True))
    for kind in ("linear", "cubic"):
        yield (Axis(3, 6, kind, 2 / 5, True, False), Axis(5, 1, kind, 0.0, True, False))
        yield (Axis(1, 3, kind, 0.0, True, False), Axis(2, 2, kind, 1.0, True, True))
    yield tuple(Axis(i, o, "linear", i / o, False, False) for i, o in ((2, 3), (3, 2), (2, 2)))
    yield tuple(Axis(i, o, "nearest", i / o, False, False) for i, o in ((2, 3), (3, 2), (1, 2)))


def _samples(s: Sampler, adjoint: bool) -> Iterator[Sample]:
    for axes in _cases():
        size = [axis.outer if adjoint else axis.inner for axis in axes]
        yield s(s.real(2, *size, low=-1.0, high=1.0), axes=axes)
    yield s(s.real(*size), axes=axes)
    yield s(s.real(2, 0, *size), axes=axes)
    good = Axis(4, 4, "linear", 1.0, False, False)
    yield s.bad(ShapeError, s.real(2, 5), axes=(good,))
    yield s.bad(ShapeError, s.real(4), axes=(good, good))
    yield s.bad(ShapeError, s.real(2, 4), axes=())
    yield s.bad(ShapeError, s.real(2, 0), axes=(good._replace(inner=0, outer=0),))
    yield s.bad(ArgumentError, s.real(2, 4), axes=(good._replace(kind="area"),))
    yield s.bad(ArgumentError, s.real(2, 4), axes=(good._replace(kind="lanczos"),))
    yield s.bad(ArgumentError, s.real(2, 4), axes=(good._replace(kind="nearest", antialias=True),))
    yield s.bad(ArgumentError, s.real(2, 4), axes=(good._replace(scale=float("nan")),))
    yield s.bad(ArgumentError, s.real(2, 4), axes=(good._replace(scale=-1.0),))
    yield s.bad(DTypeError, s.indices(2, 1, 0, 3), axes=(good,))


@resize.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield from _samples(s, adjoint=False)


@resize_adjoint.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield from _samples(s, adjoint=True)
