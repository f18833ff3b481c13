"""Recurrent layers: RNN, LSTM and GRU."""

from __future__ import annotations

import warnings
from math import sqrt
from typing import Any

from ferrum import Device, Tensor, cat, empty, zeros
from ferrum.dtypes import DTypeLike
from ferrum.errors import ArgumentError, OperandError, ShapeError, UnsupportedError
from ferrum.spec import Shape
from ferrum_nn import functional, init
from ferrum_nn.functional.convolution import size_of
from ferrum_nn.functional.dropout import probability
from ferrum_nn.functional.recurrence import (
    GATES,
    States,
    check_input,
    check_states,
    direction,
    states_of,
)
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter
from ferrum_nn.utils.rnn import PackedSequence


class RNNBase(Module):
    """What the layers share: the numbers, the parameters, and the way through them.

    For layer k, and "_reverse" behind the names of the other direction, the parameters are
    `weight_ih_lk` (gates n, inputs), `weight_hh_lk` (gates n, n), with `bias` also `bias_ih_lk` and
    `bias_hh_lk` (gates n,), and with `proj_size` `weight_hr_lk` (proj_size, n). n is `hidden_size`
    and gates is 4 for LSTM, 3 for GRU, 1 for RNN. All start uniform between ±1 / √n.
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        name = type(self).__name__
        if mode not in GATES:
            raise ArgumentError(f"{name}: expected a mode of {', '.join(GATES)}, got {mode!r}")
        for what, value in (("bias", bias), ("batch_first", batch_first)):
            if not isinstance(value, bool):
                raise OperandError(f"{name}: expected {what} to be a bool, got {value!r}")
        probability(name, dropout)
        self.mode = mode
        self.input_size = size_of(name, "input_size", input_size, least=1)
        self.hidden_size = size_of(name, "hidden_size", hidden_size, least=1)
        self.num_layers = size_of(name, "num_layers", num_layers, least=1)
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = size_of(name, "proj_size", proj_size)
        if proj_size and mode != "LSTM":
            raise ArgumentError(f"{name}: only LSTM has projections, got proj_size {proj_size}")
        if proj_size >= hidden_size:
            raise ArgumentError(
                f"{name}: expected proj_size below hidden_size {hidden_size}, got {proj_size}"
            )
        if dropout and num_layers == 1:
            warnings.warn(
                f"{name}: dropout acts between layers, and there is one; got dropout={dropout}",
                stacklevel=3,
            )
        for layer in range(num_layers):
            inputs = self.input_size if layer == 0 else self._directions() * self._state_size()
            for suffix in self._suffixes(layer):
                for which, shape in self._shapes(inputs).items():
                    made = Parameter(empty(shape, device=device, dtype=dtype))
                    setattr(self, which + suffix, made)
        self.reset_parameters()

    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _state_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self._directions()]

    def _shapes(self, inputs: int) -> dict[str, Shape]:
        """Return the shapes of the parameters of one direction of a layer."""
        rows = GATES[self.mode] * self.hidden_size
        shapes: dict[str, Shape] = {
            "weight_ih": (rows, inputs),
            "weight_hh": (rows, self._state_size()),
        }
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        return shapes

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each direction of each layer, in the order of their names above."""
        return [
            [getattr(self, which + suffix) for which in self._shapes(0)]
            for layer in range(self.num_layers)
            for suffix in self._suffixes(layer)
        ]

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        bound = 1 / sqrt(self.hidden_size)
        for each in self.parameters():
            init.uniform_(each, -bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing: parameters need not lie side by side."""

    def extra_repr(self) -> str:
        """Return the numbers that differ from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        others = {
            "proj_size": (self.proj_size, 0),
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "batch_first": (self.batch_first, False),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
        }
        for what, (value, usual) in others.items():
            text += f", {what}={value}" if value != usual else ""
        return text

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Raise: a layer says what its states are."""
        raise UnsupportedError(f"{type(self).__name__}: expected RNN, LSTM or GRU to be used")

    def run(self, input: Any, hx: Any) -> tuple[Any, States]:
        """Return the outputs as the input came, and the last states (layers directions, b, n)."""
        name, weight = type(self).__name__, self.all_weights[0][0]
        if isinstance(input, PackedSequence):
            x = check_input(name, input.data, (2,), self.input_size, weight)
            sizes = tuple(input.batch_sizes.tolist())
            self._check_sizes(sizes, len(x))
            states = self._states(hx, x, sizes[0], True)
            if hx is not None and input.sorted_indices is not None:
                states = _at(states, input.sorted_indices)
            out, states = self._through(x, states, sizes)
            if input.unsorted_indices is not None:
                states = _at(states, input.unsorted_indices)
            return PackedSequence(out, *input[1:]), states
        x = check_input(name, input, (2, 3), self.input_size, weight)
        batched, axis = x.ndim == 3, 0 if self.batch_first else 1
        x = x if batched else x.unsqueeze(axis)
        x = x.transpose(0, 1) if self.batch_first else x
        steps, batch, _ = x.shape
        if not steps:
            raise ShapeError(f"{name}: expected at least one step, got an input of {input.shape}")
        states = self._states(hx, x, batch, batched)
        rows = x.reshape(steps * batch, self.input_size)
        out, states = self._through(rows, states, (batch,) * steps)
        out = out.reshape(steps, batch, out.shape[1])
        out = out.transpose(0, 1) if self.batch_first else out
        if not batched:
            return out.squeeze(axis), tuple(each.squeeze(1) for each in states)
        return out, states

    def _check_sizes(self, sizes: Shape, rows: int) -> None:
        if not sizes or sum(sizes) != rows or list(sizes) != sorted(sizes, reverse=True):
            raise ArgumentError(
                f"{type(self).__name__}: expected batch_sizes that never grow and make up the "
                f"{rows} rows of data, got {sizes}"
            )

    def _states(self, hx: Any, x: Tensor, batch: int, batched: bool) -> States:
        """Return the initial states, zeros for None."""
        count = self.num_layers * self._directions()
        features = [self._state_size(), self.hidden_size][: 2 if self.mode == "LSTM" else 1]
        shapes = [(count, batch, size) for size in features]
        if hx is None:
            return tuple(zeros(shape, dtype=x.dtype, device=x.device) for shape in shapes)
        name = type(self).__name__
        states = states_of(name, hx, len(shapes))
        if not batched:
            check_states(name, states, [(count, size) for size in features], x)
            return tuple(each.unsqueeze(1) for each in states)
        check_states(name, states, shapes, x)
        return states

    def _through(self, x: Tensor, states: States, sizes: Shape) -> tuple[Tensor, States]:
        """Return the last layer's outputs for rows x, and the last states of all layers."""
        last: list[States] = []
        weights = self.all_weights
        for layer in range(self.num_layers):
            outs = []
            if layer and self.dropout:
                x = functional.dropout(x, self.dropout, self.training)
            for reverse in (False, True)[: self._directions()]:
                k = len(last)
                first = tuple(each[k] for each in states)
                out, end = direction(self.mode, x, first, weights[k], self.bias, sizes, reverse)
                outs.append(out)
                last.append(end)
            x = outs[0] if len(outs) == 1 else cat(outs, 1)
        kinds = zip(*last, strict=True)
        return x, tuple(cat([each.unsqueeze(0) for each in kind]) for kind in kinds)


def _at(states: States, indices: Tensor) -> States:
    """Return states with the sequences in another order."""
    return tuple(each.index_select(1, indices) for each in states)


class RNN(RNNBase):
    """Apply h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh) to sequences, layer upon layer.

    With `nonlinearity` "relu" it is relu in place of tanh. The input is (t, b, input_size), with
    `batch_first` (b, t, input_size), (t, input_size) for one sequence, or a PackedSequence; `hx`
    (num_layers directions, b, hidden_size) are the initial states, zeros for None. The result is
    the outputs of the last layer (t, b, directions hidden_size), as the input came, and the last
    states of all layers. `bidirectional` adds a direction that reads from the end; its outputs come
    second. In training `dropout` drops elements of what goes from layer to layer. The parameters
    are those of `RNNBase`.

    Raises ArgumentError for numbers that do not fit; ShapeError, DTypeError or OperandError for
    such an input or states.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        check_nonlinearity("RNN", nonlinearity)
        self.nonlinearity = nonlinearity
        super().__init__(
            f"RNN_{nonlinearity.upper()}",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """Return the outputs and the last states."""
        out, (last,) = self.run(input, hx)
        return out, last


def check_nonlinearity(name: str, nonlinearity: str) -> None:
    """Raise ArgumentError unless it is one of the two."""
    if nonlinearity not in ("tanh", "relu"):
        raise ArgumentError(
            f"{name}: expected nonlinearity to be 'tanh' or 'relu', got {nonlinearity!r}"
        )


class LSTM(RNNBase):
    """Apply a long short-term memory to sequences, layer upon layer.

    With i, f, g, o = σ, σ, tanh, σ of the four parts of W_ih x_t + b_ih + W_hh h_{t-1} + b_hh the
    cells are c_t = f c_{t-1} + i g and the states h_t = o tanh(c_t); with `proj_size` they are
    W_hr times that. `hx` is a pair of initial states (num_layers directions, b, proj_size or
    hidden_size) and cells (num_layers directions, b, hidden_size), and so are the last ones. All
    else is as in `RNN` (Hochreiter and Schmidhuber, "Long short-term memory", 1997).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__(
            "LSTM",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )

    def forward(
        self, input: Any, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        """Return the outputs, and the pair of last states and cells."""
        out, (h, c) = self.run(input, hx)
        return out, (h, c)


class GRU(RNNBase):
    """Apply gated recurrent units to sequences, layer upon layer.

    With r, z = σ of the first two parts of W_ih x_t + b_ih + W_hh h_{t-1} + b_hh, and
    n = tanh(W_in x_t + b_in + r (W_hn h_{t-1} + b_hn)) of the third ones, the states are
    h_t = (1 - z) n + z h_{t-1}. All else is as in `RNN` (Cho et al., arXiv:1406.1078).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__(
            "GRU",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """Return the outputs and the last states."""
        out, (last,) = self.run(input, hx)
        return out, last
