"""What the steps of optimizers have in common: checks of their lists, and the walk over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf, log
from typing import TYPE_CHECKING, Any, TypeAlias

from ferrum import Spec, TensorLike, is_grad_enabled
from ferrum.dtypes import float32, int64, is_floating
from ferrum.errors import DTypeError, ShapeError

if TYPE_CHECKING:
    from ferrum import Tensor
    from ferrum.samples import Input, Sample, Sampler

Many: TypeAlias = Sequence[TensorLike]

_CAST = (
    "; if the module was cast, optimizer.load_state_dict(optimizer.state_dict()) casts what the "
    "optimizer keeps"
)


def alike(name: str, params: Many, **others: Many | None) -> tuple[Spec, ...]:
    """Check that each list of `others` that is there has a tensor like each parameter."""
    for what, tensors in others.items():
        if tensors is None:
            continue
        as_many(name, params, what, tensors)
        for other, param in zip(tensors, params, strict=True):
            if other.shape != param.shape:
                raise ShapeError(
                    f"{name}: expected {what} of the parameter's shape {param.shape}, got "
                    f"{other.shape}"
                )
            if other.dtype is not param.dtype or not is_floating(param.dtype):
                raise DTypeError(
                    f"{name}: expected {what} of the parameter's floating-point dtype, got "
                    f"{other.dtype.name} for {param.dtype.name}{_CAST if what != 'grads' else ''}"
                )
    return tuple([Spec(param.shape, param.dtype) for param in params])


def counts(name: str, params: Many, steps: Many) -> None:
    """Check that there is a 0-d floating-point count of steps for each parameter."""
    if any(step.shape != () or not is_floating(step.dtype) for step in steps):
        raise ShapeError(f"{name}: expected steps that are 0-d floating-point tensors")
    as_many(name, params, "steps", steps)


def as_many(name: str, params: Many, what: str, tensors: Many) -> None:
    """Check that a list has as many tensors as there are parameters."""
    if len(tensors) != len(params):
        raise ShapeError(
            f"{name}: expected as many {what} as params, got {len(tensors)} for {len(params)}"
        )


def each(
    move: Callable[..., tuple[Tensor, ...]],
    params: list[Tensor],
    grads: list[Tensor],
    *state: list[Tensor],
    maximize: bool,
) -> Any:
    """Write into each parameter and its state what `move` makes of them and the gradient.

    `move(param, grad, *state)` returns the new parameter and the new state. An empty list stands
    for what is switched off. 16-bit floats are moved in float32 and rounded as they are written.
    """
    kept = [tensors for tensors in state if tensors]
    for param, grad, *others in zip(params, grads, *kept, strict=True):
        g = wide(grad)
        written = [param, *others]
        p, *old = map(wide, written)
        new = move(p, -g if maximize else g, *old)
        for tensor, value in zip(written, new, strict=True):
            tensor.copy_(value)
    return tuple(params)


def wide(x: Tensor) -> Tensor:
    """Return x as it is before it is written, with 16-bit floats in float32 until the end."""
    if x.dtype.itemsize == 2:
        return x.to(float32)
    return x.clone() if is_grad_enabled() else x  # backward may ask for it


def used(name: str, what: str, tensors: Many, on: bool) -> Many | None:
    """Return the list of what an option switches on, for `alike`; it must be empty if it is off."""
    if on:
        return tensors
    if tensors:
        raise ShapeError(f"{name}: expected no {what}, which are switched off, got {len(tensors)}")
    return None


def moves(op: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give the fallback of an op: what one parameter and its state become.

    The function decorated is `move(param, grad, *state, **options)` as in `each`; `maximize` has
    been seen to.
    """

    def declare(move: Callable[..., Any]) -> Callable[..., Any]:
        def compose(
            params: list[Tensor], grads: list[Tensor], *state: list[Tensor], **options: Any
        ) -> Any:
            maximize = options.pop("maximize")
            return each(partial(move, **options), params, grads, *state, maximize=maximize)

        op.fallback(compose)
        return move

    return declare


def refused(
    s: Sampler, call: Sequence[list[Input]], numbers: int, **attrs: Any
) -> Iterator[Sample]:
    """Return what all steps refuse. `call` has the lists of a call that is right, of one parameter.

    The first `numbers` of those after params and grads hold 0-d tensors, the last is no such list.
    """
    params, grads, *state = call
    yield s.bad(ShapeError, params, [s.real(7)], *state, **attrs)
    yield s.bad(TypeError, [], [], *[[] for _ in state], **attrs)
    for i, tensors in enumerate(state):
        if tensors:
            yield s.bad(ShapeError, params, grads, *state[:i], [], *state[i + 1 :], **attrs)
            wrong = [s.typed(float32, 1)] if i < numbers else [s.real(7)]
            yield s.bad(ShapeError, params, grads, *state[:i], wrong, *state[i + 1 :], **attrs)
    whole = [s.typed(int64, *each.values.shape) for each in state[-1]]
    yield s.bad(DTypeError, params, grads, *state[:-1], whole, **attrs)


def decayed(p: Tensor, g: Tensor, lr: float, weight_decay: float, decoupled: bool) -> Any:
    """Return the parameter and the gradient, with the weight decay in the one or in the other."""
    if not weight_decay:
        return p, g
    return (p * (1 - lr * weight_decay), g) if decoupled else (p, g + p * weight_decay)


def power_less_one(beta: float, count: Tensor) -> Tensor:
    """Return beta**count - 1, exact also near 0, without waiting for the value of `count`."""
    return (count * (log(beta) if beta else -inf)).expm1()
