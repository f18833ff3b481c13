"""Recurrent layers and their gradients; an lstm with a projection is decomposed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ferrum.backend import Kernel
from ferrum_cpu._front import empty
from ferrum_cpu.library import id_of, lib, refused

_TANH, _RELU, _LSTM, _GRU = range(4)


def _kind(nonlinearity: str) -> int:
    return _RELU if nonlinearity == "relu" else _TANH


def _run(
    function: Any, name: str, kind: int, how: Any, operands: Any, shapes: Any
) -> tuple[Any, ...] | Any:
    """Return what a C function makes of operands: those of narrow dtypes as float32.

    Operands may be None and go in first; shapes say which results it has, None for one it has not.
    """
    sizes, reverse = how
    dtype = next(each.dtype for each in operands if each is not None)
    wide = dtype if dtype == np.float64 else np.dtype(np.float32)
    dense = [None if each is None else np.require(each, wide, ["C", "A"]) for each in operands]
    outs = [None if shape is None else empty(name, shape, wide) for shape in shapes]
    steps = np.array(sizes, np.int64)
    code = function(kind, bool(reverse), id(steps), *map(id_of, dense), *map(id_of, outs))
    if code:
        return refused(name, code)
    return tuple([each.astype(dtype, copy=False) for each in outs if each is not None])


def rnn(x: Any, h: Any, weight: Any, *, sizes: Any, reverse: bool, nonlinearity: str) -> Any:
    """Return the states of all steps, and the last ones."""
    operands = x, h, None, weight, None
    shapes = x.shape, h.shape, None, None, None
    return _run(lib.recurrence, "rnn", _kind(nonlinearity), (sizes, reverse), operands, shapes)


def lstm(x: Any, h: Any, c: Any, weight: Any, projection: Any, *, sizes: Any, reverse: bool) -> Any:
    """Return the states of all steps, the last ones, and all gates and cells."""
    if projection is not None:
        return NotImplemented
    rows = x.shape[0], h.shape[1]
    shapes = rows, h.shape, c.shape, x.shape, rows
    return _run(lib.recurrence, "lstm", _LSTM, (sizes, reverse), (x, h, c, weight, None), shapes)


def gru(x: Any, h: Any, weight: Any, bias: Any, *, sizes: Any, reverse: bool) -> Any:
    """Return the states of all steps, the last ones, and all gates."""
    rows, n = x.shape[0], h.shape[1]
    shapes = (rows, n), h.shape, None, (rows, 4 * n), None
    return _run(lib.recurrence, "gru", _GRU, (sizes, reverse), (x, h, None, weight, bias), shapes)


def rnn_backward(
    g: Any,
    last: Any,
    out: Any,
    h: Any,
    weight: Any,
    *,
    sizes: Any,
    reverse: bool,
    nonlinearity: str,
) -> Any:
    """Return the gradients by x, h and weight."""
    operands = g, last, None, out, None, None, h, None, weight
    shapes = out.shape, h.shape, None, weight.shape, None
    kind = _kind(nonlinearity)
    return _run(lib.recurrence_backward, "rnn_backward", kind, (sizes, reverse), operands, shapes)


def lstm_backward(
    g: Any,
    last_h: Any,
    last_c: Any,
    out: Any,
    gates: Any,
    cells: Any,
    h: Any,
    c: Any,
    weight: Any,
    *,
    sizes: Any,
    reverse: bool,
) -> Any:
    """Return the gradients by x, h, c and weight."""
    operands = g, last_h, last_c, out, gates, cells, h, c, weight
    shapes = gates.shape, h.shape, c.shape, weight.shape, None
    return _run(lib.recurrence_backward, "lstm_backward", _LSTM, (sizes, reverse), operands, shapes)


def gru_backward(
    g: Any,
    last: Any,
    out: Any,
    gates: Any,
    h: Any,
    weight: Any,
    *,
    sizes: Any,
    reverse: bool,
) -> Any:
    """Return the gradients by x, h, weight and bias."""
    operands = g, last, None, out, gates, None, h, None, weight
    shapes = (out.shape[0], weight.shape[0]), h.shape, None, weight.shape, weight.shape[:1]
    return _run(lib.recurrence_backward, "gru_backward", _GRU, (sizes, reverse), operands, shapes)


def kernels() -> dict[str, Kernel]:
    """Return the kernels by op name; the ops' rules see to it that what C gets fits."""
    found = rnn, lstm, gru, rnn_backward, lstm_backward, gru_backward
    return {f"nn.{each.__name__}": Kernel(each) for each in found}
