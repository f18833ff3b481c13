"""Keeping gradients small. Nothing here waits for a device, unless an error is asked for.

`foreach` is taken because PyTorch takes it, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add
from typing import Any, TypeAlias

from ferrum import Device, Tensor, float32, no_grad, promote_types, stack, tensor
from ferrum.dtypes import is_floating
from ferrum.errors import ArgumentError, DTypeError, GradientError, OperandError, ShapeError
from ferrum_nn.utils.convert_parameters import listed_tensors

Tensors: TypeAlias = "Tensor | Iterable[Tensor]"


@no_grad()
def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients in place so that all together have a norm of at most `max_norm`.

    Each is multiplied by min(1, max_norm / (norm + 1e-6)). Returns the norm before, see
    `get_total_norm`; what has no gradient is passed over (Pascanu et al., arXiv:1211.5063).
    """
    params = listed_tensors("clip_grad_norm_", parameters)
    _limit("clip_grad_norm_", "max_norm", max_norm)
    grads = [param.grad for param in params if param.grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    clip_grads_with_norm_(params, max_norm, total)
    return total


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients in place by min(1, max_norm / (total_norm + 1e-6))."""
    name = "clip_grads_with_norm_"
    params = listed_tensors(name, parameters)
    limit = _limit(name, "max_norm", max_norm)
    if not isinstance(total_norm, Tensor):
        raise OperandError(f"{name}: expected a 0-d tensor as total_norm, got {total_norm!r}")
    if total_norm.ndim:
        raise ShapeError(f"{name}: expected a 0-d tensor as total_norm, got {total_norm.shape}")
    scale = (limit / (total_norm + 1e-6)).clamp(max=1.0)
    for param in params:
        if param.grad is not None:
            param.grad.mul_(scale.to(param.grad.device))


@no_grad()
def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Bring every element of the gradients between -clip_value and clip_value, in place."""
    params = listed_tensors("clip_grad_value_", parameters)
    limit = _limit("clip_grad_value_", "clip_value", clip_value)
    for param in params:
        if param.grad is not None:
            param.grad.clamp_(-limit, limit)


@no_grad()
def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Return the norm of the norms of all tensors, 0-d, on the device of the first.

    `norm_type` p is that of (sum |x|ᵖ)^(1/p), or inf for the largest |x|. For p above 0 that is the
    norm of all elements in one vector. 16-bit floats add up in float32. Without elements it is 0.
    `error_if_nonfinite` raises GradientError for inf and NaN, which waits for the device.
    """
    listed = listed_tensors("get_total_norm", tensors)
    power = _number("get_total_norm", "norm_type", norm_type)
    for each in listed:
        if not is_floating(each.dtype):
            raise DTypeError(
                f"get_total_norm: expected floating-point tensors, got {each.dtype.name}"
            )
    if not listed:
        return tensor(0.0)
    dtype = reduce(promote_types, {each.dtype for each in listed})
    device = listed[0].device
    wide = [
        each.to(float32) if each.dtype.itemsize == 2 else each for each in listed if each.numel()
    ]
    total = (
        _norm(wide, power, device).to(dtype) if wide else tensor(0.0, dtype=dtype, device=device)
    )
    if error_if_nonfinite and not total.isfinite().item():
        raise GradientError(
            f"get_total_norm: the norm is {total.item()}; error_if_nonfinite=False goes on with it"
        )
    return total


def _norm(tensors: Sequence[Tensor], power: float, device: Device) -> Tensor:
    if power == 2:  # no root for each, and no joining: what is clipped at every step
        squares = [(each * each).sum().to(device) for each in tensors]
        return reduce(add, squares).sqrt()
    return stack([each.norm(power).to(device) for each in tensors]).norm(power)


def _limit(name: str, what: str, value: Any) -> float:
    limit = _number(name, what, value)
    if limit < 0:
        raise ArgumentError(f"{name}: expected {what} of at least 0, got {limit}")
    return limit


def _number(name: str, what: str, value: Any) -> float:
    """Return a number, which may be written as "inf"."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise OperandError(f"{name}: expected a number as {what}, got {value!r}") from None
    if number != number:
        raise ArgumentError(f"{name}: expected a number as {what}, got {value!r}")
    return number
