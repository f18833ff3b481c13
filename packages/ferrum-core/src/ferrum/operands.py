"""The operands of a call: tensors, numbers, None, and lists of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from ferrum import base
from ferrum.base import TensorBase
from ferrum.errors import OperandError
from ferrum.promotion import SCALARS

if TYPE_CHECKING:
    from ferrum.device import Device
    from ferrum.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def wrapped(result: Any, device: Device) -> tuple[Tensor, ...]:
    """Return what a kernel or a fallback returned as a tuple of tensors."""
    results = result if isinstance(result, tuple) else (result,)
    tensor = base.Tensor
    return tuple([x if isinstance(x, tensor) else tensor(x, device) for x in results])


def flat(args: Sequence[Any]) -> list[Any]:
    """Return the operands with lists of tensors unfolded."""
    found: list[Any] = []
    for arg in args:
        if isinstance(arg, (list, tuple)):
            found += arg
        else:
            found.append(arg)
    return found


def operand(name: str, value: Any) -> Any:
    """Return `value` if an op can take it: a tensor, a number, None, or a list of tensors."""
    if isinstance(value, TensorBase) or value is None or value.__class__ in SCALARS:
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [operand(name, each) for each in value]
    raise OperandError(
        f"{name}: expected a tensor or a number, got {type(value).__module__}."
        f"{type(value).__name__}; make a tensor with fe.tensor(...)"
    )


def the_tensor(name: str, value: Any) -> Tensor:
    """Return `value`, which must be a tensor."""
    if not isinstance(value, TensorBase):
        raise OperandError(
            f"{name}: expected a tensor, got {type(value).__module__}.{type(value).__name__}; "
            f"make a tensor with fe.tensor(...)"
        )
    return base.as_tensor(value)


def of_tensor(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` with a check that its first argument is a tensor, which it relies on."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if args:
            the_tensor(function.__name__, args[0])
        return function(*args, **kwargs)

    return checked


def requires_grad(arg: Any) -> bool:
    """Return whether an operand, or a tensor in a list, requires grad."""
    if arg.__class__ is list:
        return any(map(requires_grad, arg))
    return isinstance(arg, TensorBase) and arg.edge is not None


def edge_of(arg: Any) -> Any:
    """Return the edge of an operand, or a tuple of those in a list; None where there is none."""
    if arg.__class__ is list:
        return tuple([edge_of(each) for each in arg])
    return arg.edge if isinstance(arg, TensorBase) else None


def edges_of(args: Sequence[Any]) -> tuple[Any, ...]:
    """Return the edge of each operand."""
    return tuple([edge_of(arg) for arg in args])


def array_of(arg: Any) -> Any:
    """Return what a kernel gets for an operand: its array, a list of arrays, or the number."""
    if arg.__class__ is list:
        return [array_of(each) for each in arg]
    return arg.array if isinstance(arg, TensorBase) else arg
