"""Convolution and its two adjoints: three ops over one geometry, whose gradients are each other.

With stride s, padding p and dilation d, position o of the outer tensor, k of the kernel and
i = o s - p + k d of the inner one meet, along each axis; what lies outside of a tensor counts as 0.
The inner tensor is (n, c, ...), the outer one (n, o, ...) and the weight (o, c / groups, ...). Each
op computes one of the three from the other two, with the sizes along the axes that `size` says. So
`convolution_input` is also what is called transposed convolution (Dumoulin and Visin, "A guide to
convolution arithmetic for deep learning", 2016).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from ferrum import Spec, TensorLike, op, zeros
from ferrum.dtypes import float32, float64, is_floating
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.spec import Needs, Shape

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.dtypes import DType
    from ferrum.samples import Input, Sample, Sampler

Slices = tuple[slice, ...]


class Geometry(NamedTuple):
    """How the three tensors meet: a number for each axis, and the groups that channels form."""

    stride: Shape
    padding: Shape
    dilation: Shape
    groups: int

    def check(self, name: str, one: TensorLike, other: TensorLike, size: Shape) -> None:
        """Refuse operands of several or other dtypes, and numbers that do not fit their axes."""
        if one.dtype is not other.dtype or not is_floating(one.dtype):
            raise DTypeError(
                f"{name}: expected floating-point operands of one dtype, got {one.dtype.name} and "
                f"{other.dtype.name}; convert one with .to(...)"
            )
        axes = len(one.shape) - 2
        if axes < 1 or len(other.shape) != axes + 2:
            raise ShapeError(
                f"{name}: expected operands of as many axes, 3 or more, got {one.shape} and "
                f"{other.shape}"
            )
        least = {"size": 0, "stride": 1, "dilation": 1}
        for what, given in (("size", size), *zip(self._fields, self[:3], strict=False)):
            if len(given) != axes or min(given) < least.get(what, min(given)):
                raise ArgumentError(
                    f"{name}: expected {axes} numbers of at least {least.get(what, 'any size')} as "
                    f"{what}, got {given}"
                )
        if self.groups < 1:
            raise ArgumentError(f"{name}: expected at least 1 group, got {self.groups}")

    def meetings(
        self, kernel: Shape, inner: Shape, outer: Shape
    ) -> Iterator[tuple[tuple[int, ...], Slices, Slices]]:
        """Yield each place in the kernel, and what it joins of the inner and the outer tensor."""
        for place in product(*map(range, kernel)):
            ins, outs = [], []
            axes = zip(place, inner, outer, *self[:3], strict=True)
            for k, length, outer_length, stride, padding, dilation in axes:
                start = k * dilation - padding  # what outer position 0 meets
                first = max(0, -(start // stride))
                last = min(outer_length, (length - 1 - start) // stride + 1)
                outs.append(slice(first, last))
                ins.append(slice(first * stride + start, (last - 1) * stride + start + 1, stride))
            if all(each.start < each.stop for each in outs):
                yield place, tuple(ins), tuple(outs)


def _wide(x: Tensor) -> Tensor:
    """Return x in the dtype to add in."""
    return x.to(float64 if x.dtype is float64 else float32)


def _grouped(x: Tensor, groups: int) -> Tensor:
    """Return (n, channels, ...) as (n, groups, channels / groups, ...)."""
    return _wide(x).reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def _kernels(weight: Tensor, groups: int) -> Tensor:
    """Return (o, c / groups, ...) as (groups, o / groups, c / groups, ...)."""
    return _wide(weight).reshape(groups, weight.shape[0] // groups, *weight.shape[1:])


def _flat(x: Tensor) -> Tensor:
    """Return (n, groups, channels, ...) with one axis for all sizes."""
    return x.reshape(*x.shape[:3], prod(x.shape[3:]))


def _finished(out: Tensor, bias: Tensor | None, dtype: DType) -> Tensor:
    """Return (n, groups, channels, ...) as (n, all channels, ...), with the bias added."""
    out = out.reshape(out.shape[0], out.shape[1] * out.shape[2], *out.shape[3:])
    if bias is not None:
        out = out + bias.to(out.dtype).reshape(-1, *(1,) * (out.ndim - 2))
    return out.to(dtype)


def _check_bias(name: str, bias: TensorLike | None, channels: int, dtype: DType) -> None:
    if bias is None:
        return
    if bias.shape != (channels,):
        raise ShapeError(f"{name}: expected a bias of shape ({channels},), got {bias.shape}")
    if bias.dtype is not dtype:
        raise DTypeError(f"{name}: expected a bias of {dtype.name}, got {bias.dtype.name}")


def _of_bias(g: Tensor, needs: Needs) -> Tensor | None:
    return None if needs[2] is None else g.sum((0, *range(2, g.ndim)))


# ---- the outer tensor


@op(ulp=4, scale=16.0)
def convolution(
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None,
    *,
    size: Shape,
    geometry: Geometry,
) -> Spec:
    """Return the outer tensor (n, o, *size) of an inner x (n, c, ...) and a weight.

    It is the sum over the places in the kernel and the channels of a group, plus the bias (o,).
    """
    geometry.check("convolution", x, weight, size)
    groups, channels = geometry.groups, weight.shape[0]
    if x.shape[1] != weight.shape[1] * groups or channels % groups:
        raise ShapeError(
            f"convolution: expected x (n, c, ...) and a weight (o, c / groups, ...) with both "
            f"channels in {groups} groups, got {x.shape} and {weight.shape}"
        )
    _check_bias("convolution", bias, channels, x.dtype)
    return Spec((x.shape[0], channels, *size), x.dtype)


@convolution.fallback
def _(x: Tensor, weight: Tensor, bias: Tensor | None, *, size: Shape, geometry: Geometry) -> Tensor:
    inner, kernels = _grouped(x, geometry.groups), _kernels(weight, geometry.groups)
    shape = (*inner.shape[:2], kernels.shape[1], *size)
    out = zeros(*shape, dtype=inner.dtype, device=x.device)
    for place, ins, outs in geometry.meetings(weight.shape[2:], x.shape[2:], size):
        part = out[(..., *outs)]
        part.add_((kernels[(..., *place)] @ _flat(inner[(..., *ins)])).reshape(part.shape))
    return _finished(out, bias, x.dtype)


@convolution.gradient
def _(
    g: Tensor, x: Tensor, weight: Tensor, *, geometry: Geometry, needs: Needs
) -> tuple[Tensor | None, ...]:
    to_x = to_weight = None
    if needs[0] is not None:
        to_x = convolution_input(g, weight, None, size=needs[0].shape[2:], geometry=geometry)
    if needs[1] is not None:
        to_weight = convolution_weight(x, g, size=needs[1].shape[2:], geometry=geometry)
    return to_x, to_weight, _of_bias(g, needs)


convolution.keep_for(x="weight", weight="x")


@convolution.samples
def _(s: Sampler) -> Iterator[Sample]:
    for inner, outer, weight, how in _cases(s):
        size = outer.values.shape[2:]
        yield s(inner, weight, None, size=size, geometry=how)
    yield s(inner, weight, s.real(weight.values.shape[0]), size=size, geometry=how)
    yield from _refused(s, s.real(2, 4, 5), s.real(6, 2, 3), 6)


# ---- the inner tensor


@op(ulp=4, scale=16.0)
def convolution_input(
    outer: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None,
    *,
    size: Shape,
    geometry: Geometry,
) -> Spec:
    """Return the inner tensor (n, c, *size) of an outer one (n, o, ...) and a weight.

    It is the sum over the places in the kernel and the channels of a group, plus the bias (c,).
    """
    geometry.check("convolution_input", outer, weight, size)
    groups, channels = geometry.groups, weight.shape[1] * geometry.groups
    if outer.shape[1] != weight.shape[0] or weight.shape[0] % groups:
        raise ShapeError(
            f"convolution_input: expected (n, o, ...) and a weight (o, c / groups, ...) with the o "
            f"channels in {groups} groups, got {outer.shape} and {weight.shape}"
        )
    _check_bias("convolution_input", bias, channels, outer.dtype)
    return Spec((outer.shape[0], channels, *size), outer.dtype)


@convolution_input.fallback
def _(
    outer: Tensor, weight: Tensor, bias: Tensor | None, *, size: Shape, geometry: Geometry
) -> Tensor:
    spread, kernels = _grouped(outer, geometry.groups), _kernels(weight, geometry.groups)
    shape = (*spread.shape[:2], kernels.shape[2], *size)
    out = zeros(*shape, dtype=spread.dtype, device=outer.device)
    for place, ins, outs in geometry.meetings(weight.shape[2:], size, outer.shape[2:]):
        part = out[(..., *ins)]
        part.add_((kernels[(..., *place)].mT @ _flat(spread[(..., *outs)])).reshape(part.shape))
    return _finished(out, bias, outer.dtype)


@convolution_input.gradient
def _(
    g: Tensor, outer: Tensor, weight: Tensor, *, geometry: Geometry, needs: Needs
) -> tuple[Tensor | None, ...]:
    to_outer = to_weight = None
    if needs[0] is not None:
        to_outer = convolution(g, weight, None, size=needs[0].shape[2:], geometry=geometry)
    if needs[1] is not None:
        to_weight = convolution_weight(g, outer, size=needs[1].shape[2:], geometry=geometry)
    return to_outer, to_weight, _of_bias(g, needs)


convolution_input.keep_for(outer="weight", weight="outer")


@convolution_input.samples
def _(s: Sampler) -> Iterator[Sample]:
    for inner, outer, weight, how in _cases(s):
        size = inner.values.shape[2:]
        yield s(outer, weight, None, size=size, geometry=how)
    yield s(outer, weight, s.real(inner.values.shape[1]), size=size, geometry=how)
    yield from _refused(s, s.real(2, 6, 5), s.real(6, 2, 3), 4)


# ---- the weight


@op(ulp=4, scale=32.0)
def convolution_weight(
    x: TensorLike, outer: TensorLike, *, size: Shape, geometry: Geometry
) -> Spec:
    """Return the weight (o, c / groups, *size) of an inner x (n, c, ...) and an outer (n, o, ...).

    It is the sum over the batch and the positions in the outer tensor.
    """
    geometry.check("convolution_weight", x, outer, size)
    groups = geometry.groups
    if x.shape[0] != outer.shape[0] or x.shape[1] % groups or outer.shape[1] % groups:
        raise ShapeError(
            f"convolution_weight: expected (n, c, ...) and (n, o, ...) with channels in {groups} "
            f"groups, got {x.shape} and {outer.shape}"
        )
    return Spec((outer.shape[1], x.shape[1] // groups, *size), x.dtype)


@convolution_weight.fallback
def _(x: Tensor, outer: Tensor, *, size: Shape, geometry: Geometry) -> Tensor:
    inner, spread = (_grouped(each, geometry.groups) for each in (x, outer))
    shape = (*spread.shape[1:3], inner.shape[2], *size)
    out = zeros(*shape, dtype=inner.dtype, device=x.device)
    for place, ins, outs in geometry.meetings(size, x.shape[2:], outer.shape[2:]):
        products = _flat(spread[(..., *outs)]) @ _flat(inner[(..., *ins)]).mT
        out[(..., *place)] = products.sum(0)
    return out.reshape(outer.shape[1], *shape[2:]).to(x.dtype)


@convolution_weight.gradient
def _(
    g: Tensor, x: Tensor, outer: Tensor, *, geometry: Geometry, needs: Needs
) -> tuple[Tensor | None, ...]:
    to_x = to_outer = None
    if needs[0] is not None:
        to_x = convolution_input(outer, g, None, size=needs[0].shape[2:], geometry=geometry)
    if needs[1] is not None:
        to_outer = convolution(x, g, None, size=needs[1].shape[2:], geometry=geometry)
    return to_x, to_outer


convolution_weight.keep_for(x="outer", outer="x")


@convolution_weight.samples
def _(s: Sampler) -> Iterator[Sample]:
    for inner, outer, weight, how in _cases(s):
        yield s(inner, outer, size=weight.values.shape[2:], geometry=how)
    plain = Geometry((1,), (0,), (1,), 2)
    x, outer = s.real(2, 4, 5), s.real(2, 6, 3)
    yield s.bad(ShapeError, x, s.real(1, 6, 3), size=(3,), geometry=plain)
    yield s.bad(ShapeError, x, s.real(2, 5, 3), size=(3,), geometry=plain)
    yield s.bad(ShapeError, s.real(2, 3, 5), outer, size=(3,), geometry=plain)
    yield s.bad(ShapeError, x, s.real(2, 6, 3, 1), size=(3,), geometry=plain)
    yield s.bad(ArgumentError, x, outer, size=(-1,), geometry=plain)
    wide = s.typed(float64, 2, 6, 3)
    yield s.bad(DTypeError, s.typed(float32, 2, 4, 5), wide, size=(3,), geometry=plain)


# ---- samples of all three


def _cases(s: Sampler) -> Iterator[tuple[Input, Input, Input, Geometry]]:
    """Yield inner and outer tensors, weights and geometries that go together."""

    def case(
        n: int, c: int, o: int, axes: list[tuple[int, int, int, int, int]], groups: int = 1
    ) -> tuple[Input, Input, Input, Geometry]:
        inner, kernel, stride, padding, dilation = zip(*axes, strict=True)
        outer = [
            (i + 2 * p - d * (k - 1) - 1) // step + 1 if i + 2 * p > d * (k - 1) else 0
            for i, k, step, p, d in axes
        ]
        how = Geometry(stride, padding, dilation, groups)
        shapes = (n, c, *inner), (n, o, *outer), (o, c // groups, *kernel)
        x, g, w = (s.real(*shape, low=-1.0, high=1.0) for shape in shapes)
        return x, g, w, how

    plain = (4, 3, 1, 0, 1)
    yield case(2, 2, 3, [plain])
    yield case(1, 1, 2, [(4, 3, 2, 1, 1), (4, 2, 1, 2, 2)])
    yield case(2, 2, 3, [(2, 1, 1, 0, 1), (3, 1, 1, 0, 1)])  # of a kernel of one place
    yield case(1, 4, 2, [(4, 3, 2, 1, 1)], groups=2)
    yield case(1, 2, 2, [(3, 3, 1, 1, 1), (4, 2, 1, 1, 1)], groups=2)  # depthwise
    yield case(1, 2, 4, [(4, 3, 2, 1, 1)], groups=2)
    yield case(1, 1, 2, [(2, 2, 1, 1, 1), (3, 2, 2, 0, 1), (2, 1, 1, 0, 1)])
    yield case(1, 1, 2, [(5, 2, 3, -1, 1)])  # a padding that takes away
    yield case(1, 1, 1, [(2, 3, 1, 4, 3)])  # places that meet nothing
    yield case(0, 2, 3, [plain])
    yield case(1, 0, 3, [plain])
    yield case(1, 2, 3, [(2, 3, 1, 0, 1)])  # an outer tensor without elements
    yield case(1, 1, 2, [plain, (3, 2, 1, 0, 1)])


def _refused(s: Sampler, x: Input, weight: Input, channels: int) -> Iterator[Sample]:
    """Yield calls of `convolution` or `convolution_input` that do not fit."""
    fits = Geometry((1,), (0,), (1,), 2)

    def bad(
        error: type[Exception], *operands: Input | None, size: Shape = (3,), how: Geometry = fits
    ) -> Sample:
        return s.bad(error, *operands, size=size, geometry=how)

    yield bad(ShapeError, x, weight, s.real(channels + 1))
    yield bad(ShapeError, x, s.real(5, 3, 3), None)
    yield bad(ShapeError, x, s.real(6, 2, 3, 1), None)
    yield bad(ShapeError, s.real(4, 5), s.real(6, 2), None)
    yield bad(ShapeError, x, weight, None, how=fits._replace(groups=4))
    yield bad(ArgumentError, x, weight, None, how=fits._replace(groups=0))
    yield bad(ArgumentError, x, weight, None, how=fits._replace(stride=(0,)))
    yield bad(ArgumentError, x, weight, None, how=fits._replace(dilation=(1, 1)))
    yield bad(ArgumentError, x, weight, None, how=fits._replace(padding=()))
    yield bad(ArgumentError, x, weight, None, size=(-1,))
    narrow = s.typed(float32, *x.values.shape), s.typed(float32, *weight.values.shape)
    yield bad(DTypeError, narrow[0], s.typed(float64, *weight.values.shape), None)
    yield bad(DTypeError, *narrow, s.typed(float64, channels))
