"""One direction of a recurrent layer over packed rows: what layers and cells are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ferrum import Tensor
from ferrum.errors import DTypeError, OperandError, ShapeError
from ferrum.spec import Shape
from ferrum_nn import ops

States: TypeAlias = tuple[Tensor, ...]

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def direction(
    mode: str,
    x: Tensor,
    states: States,
    weights: Sequence[Tensor],
    bias: bool,
    sizes: Shape,
    reverse: bool = False,
) -> tuple[Tensor, States]:
    """Return the outputs (rows, n) for rows x, and the last states (batch, n).

    `weights` are those of input and state, then both biases with `bias`, then a projection if any.
    One product makes all steps' part of the input. Only GRU keeps the state's bias apart.
    """
    of_input, of_state, *others = weights
    of_x, of_h = (others.pop(0), others.pop(0)) if bias else (None, None)
    if mode == "GRU":
        rows = ops.linear(x, of_input, of_x)
        out, last, _ = ops.gru(rows, states[0], of_state, of_h, sizes=sizes, reverse=reverse)
        return out, (last,)
    rows = ops.linear(x, of_input, None if of_x is None or of_h is None else of_x + of_h)
    if mode == "LSTM":
        projection = others[0] if others else None
        h, c = states
        out, h, c, _, _ = ops.lstm(rows, h, c, of_state, projection, sizes=sizes, reverse=reverse)
        return out, (h, c)
    kind = mode.removeprefix("RNN_").lower()
    out, last = ops.rnn(rows, states[0], of_state, sizes=sizes, reverse=reverse, nonlinearity=kind)
    return out, (last,)


def states_of(name: str, hx: object, count: int) -> States:
    """Return what was given as initial states as a tuple, or raise unless it is one."""
    found = hx if count > 1 else (hx,)
    if not isinstance(found, tuple | list) or len(found) != count:
        raise OperandError(f"{name}: expected hx to be a pair (h, c) of tensors, got {hx!r:.60}")
    for each in found:
        if not isinstance(each, Tensor):
            raise OperandError(f"{name}: expected hx of tensors, got {type(each).__name__}")
    return tuple(found)


def check_states(name: str, states: States, shapes: Sequence[Shape], x: Tensor) -> None:
    """Raise unless the states have these shapes and the dtype of x."""
    for which, state, shape in zip("hc", states, shapes, strict=False):
        if state.shape != shape:
            raise ShapeError(f"{name}: expected {which} of shape {shape}, got {state.shape}")
        if state.dtype is not x.dtype:
            raise DTypeError(f"{name}: expected {which} of {x.dtype.name}, got {state.dtype.name}")


def check_input(name: str, x: object, axes: tuple[int, ...], size: int, weight: Tensor) -> Tensor:
    """Return x, or raise unless it is a tensor of so many axes, with `size` in the last."""
    if not isinstance(x, Tensor):
        raise OperandError(
            f"{name}: expected a tensor, got {type(x).__name__}; make one with fe.tensor(...)"
        )
    if x.ndim not in axes or x.shape[-1] != size:
        wanted = " or ".join(map(str, axes))
        raise ShapeError(
            f"{name}: expected an input of {wanted} axes, the last of {size}, got {x.shape}"
        )
    if x.dtype is not weight.dtype:
        raise DTypeError(
            f"{name}: expected an input of {weight.dtype.name} as the weights are, got "
            f"{x.dtype.name}; convert one of them with .to(...)"
        )
    return x
