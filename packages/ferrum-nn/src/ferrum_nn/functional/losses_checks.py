"""What losses check, and how they are reduced."""

from __future__ import annotations

from numbers import Real

from ferrum import Tensor, result_type, where
from ferrum.dtypes import is_floating
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum.spec import broadcast_shapes
from ferrum_nn.ops.losses import check_same, reduced_shape
from ferrum_nn.ops.losses_elementwise import reduced


def check_tensors(name: str, *tensors: object) -> None:
    """Raise OperandError unless all are tensors."""
    for each in tensors:
        if not isinstance(each, Tensor):
            raise OperandError(
                f"{name}: expected tensors, got {type(each).__name__}; make a tensor with "
                f"fe.tensor(...)"
            )


def check_flags(name: str, **flags: object) -> None:
    """Raise OperandError unless all are True or False: "same" or 2 is no truth that was meant."""
    for what, given in flags.items():
        if given.__class__ is not bool:
            raise OperandError(f"{name}: expected {what} to be True or False, got {given!r}")


def check_loss(
    name: str, reduction: str, *tensors: Tensor, weights: tuple[Tensor | None, ...] = ()
) -> None:
    """Raise unless `reduction` is one, all are tensors (weights: or None), the first of floats."""
    reduced_shape(name, (), reduction)
    check_tensors(name, *tensors, *(each for each in weights if each is not None))
    check_floating(name, tensors[0])


def check_floating(name: str, input: Tensor) -> None:
    """Raise DTypeError unless a tensor is of floating-point numbers."""
    if not is_floating(input.dtype):
        raise DTypeError(f"{name}: expected a floating-point input, got {input.dtype.name}")


def promoted(name: str, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return input and target in the dtype that they are promoted to."""
    if getattr(input, "dtype", None) is getattr(target, "dtype", None):
        return input, target  # what are no tensors is the op's to refuse
    check_tensors(name, input, target)
    dtype = result_type(input, target)
    return input.to(dtype), target.to(dtype)


def check_shapes(name: str, input: Tensor, *others: Tensor | None) -> None:
    """Raise ShapeError unless all but None have the shape of `input`."""
    for each in others:
        if each is not None and each.shape != input.shape:
            raise ShapeError(
                f"{name}: expected tensors of one shape, got {input.shape} and {each.shape}; "
                f"reshape or expand one of them"
            )


def check_broadcasts(name: str, input: Tensor, *others: Tensor | None) -> None:
    """Raise ShapeError unless all but None broadcast to the shape of `input`."""
    for each in others:
        if each is not None and broadcast_shapes(name, input.shape, each.shape) != input.shape:
            raise ShapeError(
                f"{name}: expected a shape that broadcasts to {input.shape}, got {each.shape}"
            )


def number(name: str, what: str, value: object) -> float:
    """Return the argument `what` of the function `name` as a float, or raise OperandError."""
    if not isinstance(value, (float, Real)):  # a float is known at once
        raise OperandError(f"{name}: expected a number as {what}, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ArgumentError(f"{name}: {what} is larger than any float64") from None


def above_zero(name: str, what: str, value: float) -> float:
    """Return a number that must be above 0 as a float."""
    value = number(name, what, value)
    if not value > 0:
        raise ArgumentError(f"{name}: expected {what} above 0, got {value}")
    return value


def clamp_through(x: Tensor, least: float) -> Tensor:
    """Return max(x, least), whose gradient is 1 everywhere: as if nothing had been clamped."""
    clamped: Tensor = where(x < least, (x - x.detach()) + least, x)
    return clamped


__all__ = [
    "above_zero",
    "check_broadcasts",
    "check_floating",
    "check_loss",
    "check_same",
    "check_flags",
    "check_shapes",
    "check_tensors",
    "clamp_through",
    "number",
    "promoted",
    "reduced",
]
