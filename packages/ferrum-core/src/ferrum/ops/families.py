"""Families of elementwise ops: a shape rule, samples and an in-place twin for a line each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from ferrum.dtypes import CATEGORY, bool_
from ferrum.errors import DTypeError, ShapeError
from ferrum.inplace import InPlaceTwin
from ferrum.op import BinaryOp, UnaryOp
from ferrum.operation import Op
from ferrum.promotion import SCALARS
from ferrum.spec import Shape, Spec, TensorLike, broadcast_shapes

if TYPE_CHECKING:
    from ferrum.samples import Sample, Sampler, Samples
    from ferrum.tensor import Tensor

Operand: TypeAlias = "TensorLike | float"
Unary: TypeAlias = "Op[[TensorLike], Tensor]"
Binary: TypeAlias = "Op[[Operand, Operand], Tensor]"

ANY, NUMBERS, FLOATS, WHOLE = "bif", "if", "f", "bi"
INF, NAN = math.inf, math.nan
EXTREME = (0.0, -0.0, 1.0, -1.0, INF, -INF, NAN)
_KIND = "bif"  # by category: bool, integers, floats


def shape_of(x: Operand) -> Shape:
    """Return the shape of an operand; that of a number is ()."""
    return () if x.__class__ in SCALARS else x.shape  # type: ignore[union-attr]


def spec_of(name: str, kinds: str, *operands: Operand) -> Spec:
    """Return the spec of an elementwise result.

    `kinds` are the categories of dtype that are allowed.
    """
    dtype = next(x.dtype for x in operands if x.__class__ not in SCALARS)  # type: ignore[union-attr]
    if _KIND[CATEGORY[dtype]] not in kinds:
        allowed = " or ".join(
            word
            for kind, word in zip(_KIND, ("bool", "integer", "float"), strict=True)
            if kind in kinds
        )
        raise DTypeError(f"{name}: expected {allowed} tensors, got {dtype.name}")
    shape = shape_of(operands[0])
    for x in operands[1:]:
        if shape_of(x) != shape:
            return Spec(broadcast_shapes(name, *map(shape_of, operands)), dtype)
    return Spec(shape, dtype)


def _named(rule: Callable[..., Spec], name: str, doc: str) -> Callable[..., Spec]:
    rule.__name__ = rule.__qualname__ = name
    rule.__doc__ = doc
    return rule


def _finish(
    made: Op[..., Any], gradient: Callable[..., Any] | None, sampler: Samples, truth: bool
) -> None:
    made.sampler = sampler
    if gradient is not None:
        made.gradient(gradient)
    if not truth:
        InPlaceTwin(made)


def unary(
    name: str,
    doc: str,
    gradient: Callable[..., Tensor] | None,
    *,
    kinds: str = ANY,
    promote: str = "",
    domain: tuple[float, float] = (-2.0, 2.0),
    points: tuple[float, ...] = (),
    ulp: float = 0.0,
    truth: bool = False,
) -> Unary:
    """Declare an op of one operand.

    `points` are values off the smooth road that tests try as well.
    """

    def rule(x: TensorLike) -> Spec:
        spec = spec_of(name, kinds, x)
        return Spec(spec.shape, bool_) if truth else spec

    made: Unary = UnaryOp(
        _named(rule, name, doc), promote=promote, differentiable=gradient is not None, ulp=ulp
    )

    def sampler(s: Sampler) -> Iterator[Sample]:
        for shape in ((3, 4), (), (0, 2), (2, 1, 3), (5, 13)):
            yield s(s.real(*shape, low=domain[0], high=domain[1]))
        if points:
            yield s.kink(s.exact(*points))
        yield s.bad(TypeError, "text")
        yield s.bad(TypeError, s.real(2), s.real(2))

    _finish(made, gradient, sampler, truth)
    return made


def binary(
    name: str,
    doc: str,
    gradient: Callable[..., tuple[Any, Any]] | None,
    *,
    kinds: str = ANY,
    promote: str = "same",
    domain: tuple[float, float] = (-2.0, 2.0),
    points: tuple[float, ...] = (),
    ulp: float = 0.0,
    truth: bool = False,
) -> Binary:
    """Declare an op of two operands, tensors or numbers, at least one a tensor."""

    def rule(x1: Operand, x2: Operand) -> Spec:
        spec = spec_of(name, kinds, x1, x2)
        return Spec(spec.shape, bool_) if truth else spec

    made: Binary = BinaryOp(
        _named(rule, name, doc), promote=promote, differentiable=gradient is not None, ulp=ulp
    )

    def sampler(s: Sampler) -> Iterator[Sample]:
        low, high = domain
        for first, second in (
            ((3, 4), (3, 4)),
            ((3, 4), (4,)),
            ((), (2, 1)),
            ((0, 3), (3,)),
            ((2, 1), (3,)),
            ((5, 13), (5, 13)),
        ):
            yield s(
                s.real(*first, low=low, high=high),
                s.real(*second, low=low + 0.02, high=high + 0.05),
            )
        yield s(s.real(3, low=low, high=high), 2)
        yield s(3, s.real(3, low=low, high=high))
        if points:
            yield s.kink(
                s.exact(*(a for a in points for _ in points)), s.exact(*(points * len(points)))
            )
        yield s.bad(ShapeError, s.real(3), s.real(4))
        yield s.bad(TypeError, s.real(3), "text")

    _finish(made, gradient, sampler, truth)
    return made
