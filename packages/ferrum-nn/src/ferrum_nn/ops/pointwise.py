"""What the ops of activations share: their rule, and what tests try."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any

from ferrum import Spec, TensorLike
from ferrum.dtypes import float32, int64
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum.op import BinaryOp, UnaryOp
from ferrum.ops.elementwise import flat_gradient
from ferrum.ops.families import EXTREME, FLOATS, spec_of

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.operation import Op
    from ferrum.samples import Sample, Sampler, Samples


def spec(name: str, *operands: TensorLike, **numbers: float) -> Spec:
    """Return the spec of operands of one floating-point dtype, which broadcast."""
    dtypes = {x.dtype for x in operands if hasattr(x, "dtype")}
    if len(dtypes) > 1:
        names = ", ".join(sorted(each.name for each in dtypes))
        raise DTypeError(f"{name}: expected operands of one dtype, got {names}")
    found = spec_of(name, FLOATS, *operands)
    for key, value in numbers.items():
        if not isinstance(value, (int, float)):
            raise OperandError(f"{name}: expected a number as {key}, got {value!r}")
    return found


def widely(compose: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a fallback compute in float32 where the operands are narrower."""

    @wraps(compose)
    def wide(*tensors: Any, **attrs: Any) -> Tensor:
        dtype = next(x.dtype for x in tensors if hasattr(x, "dtype"))
        if dtype.itemsize != 2:
            return compose(*tensors, **attrs)
        wider = [x.to(float32) if hasattr(x, "dtype") else x for x in tensors]
        return compose(*wider, **attrs).to(dtype)

    return wide


def tried(pair: tuple[Op[..., Tensor], ...], *points: float, **attrs: Any) -> None:
    """Have a function and its gradient tried with these attributes, also at corner `points`."""
    for made in pair:
        made.sampler = _sampler(made, points, attrs)


def _sampler(made: Op[..., Tensor], points: tuple[float, ...], attrs: dict[str, Any]) -> Samples:
    count, before = len(made.inputs), made.sampler
    extreme = (*EXTREME, 80.0, -80.0, *points)

    def sampler(s: Sampler) -> Iterator[Sample]:
        if before is not None:
            yield from before(s)
        for shape in ((3, 4), (), (0, 2), (35,)):
            yield s(*[s.real(*shape, low=-4.0, high=4.0) for _ in range(count)], **attrs)
        ones = [s.exact(*[1.0] * len(extreme))] * (count - 1)
        yield s.kink(*ones, s.exact(*extreme), **attrs)
        yield s.bad(DTypeError, *[s.typed(int64, 3)] * count, **attrs)
        yield s.bad(TypeError, *["text"] * count, **attrs)
        if count > 1:
            yield s.bad(ShapeError, *[s.real(3)] * (count - 1), s.real(4), **attrs)
        for name, value in attrs.items():
            wrong = (TypeError, None) if isinstance(value, float) else (ArgumentError, "text")
            yield s.bad(wrong[0], *[s.real(3)] * count, **{**attrs, name: wrong[1]})

    return sampler


def zeros_for(need: object, g: Tensor) -> Tensor | None:
    """Return the second gradient of what is made of straight lines: zeros, if one is wanted.

    Zeros, not None: as in PyTorch, a gradient of it may be asked for.
    """
    return None if need is None else flat_gradient(g)


def pair(
    name: str,
    doc: str,
    value: Callable[[Tensor], Tensor],
    slope_doc: str,
    slope: Callable[[Tensor, Tensor], Tensor],
    *,
    ulp: float,
    slope_ulp: float,
    slope_scale: float = 0.0,
    flat: bool = False,
) -> tuple[Op[[TensorLike], Tensor], Op[[TensorLike, TensorLike], Tensor]]:
    """Declare a function of x alone, and its gradient, a function of g and x.

    `flat` says that there is nothing to bend it: its second derivative is 0.
    """

    def rule(x: TensorLike) -> Spec:
        return spec(name, x)

    def slope_rule(g: TensorLike, x: TensorLike) -> Spec:
        return spec(f"{name}_backward", g, x)

    for each, called, text in ((rule, name, doc), (slope_rule, f"{name}_backward", slope_doc)):
        each.__name__ = each.__qualname__ = called
        each.__doc__ = text
    made: Op[[TensorLike], Tensor] = UnaryOp(rule, ulp=ulp)
    backward: Op[[TensorLike, TensorLike], Tensor] = BinaryOp(
        slope_rule, ulp=slope_ulp, scale=slope_scale
    )
    made.fallback(widely(value))
    made.gradient(lambda g, x: backward(g, x))
    backward.fallback(widely(slope))
    if flat:
        backward.gradient(lambda gg, x, *, needs: (backward(gg, x), zeros_for(needs[1], gg)))
    return made, backward
