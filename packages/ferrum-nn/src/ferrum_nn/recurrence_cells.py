"""One step of a recurrent layer: RNNCell, LSTMCell and GRUCell."""

from __future__ import annotations

from math import sqrt
from typing import Any

from ferrum import Device, Tensor, empty, zeros
from ferrum.dtypes import DTypeLike
from ferrum.errors import UnsupportedError
from ferrum_nn import init
from ferrum_nn.functional.convolution import size_of
from ferrum_nn.functional.recurrence import (
    States,
    check_input,
    check_states,
    direction,
    states_of,
)
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter
from ferrum_nn.recurrence import check_nonlinearity


class RNNCellBase(Module):
    """What the cells share: `weight_ih`, `weight_hh`, and with `bias` `bias_ih` and `bias_hh`.

    They have the shapes and the start of those in `RNNBase`; `num_chunks` is the number of gates.
    """

    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        name = type(self).__name__
        self.input_size = size_of(name, "input_size", input_size, least=1)
        self.hidden_size = size_of(name, "hidden_size", hidden_size, least=1)
        self.bias = bias
        rows = size_of(name, "num_chunks", num_chunks, least=1) * hidden_size
        shapes = {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size)}
        biases = {"bias_ih": (rows,), "bias_hh": (rows,)}
        for which, shape in (shapes | biases).items():
            wanted = bias or which in shapes
            made = Parameter(empty(shape, device=device, dtype=dtype)) if wanted else None
            setattr(self, which, made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        bound = 1 / sqrt(self.hidden_size)
        for each in self.parameters():
            init.uniform_(each, -bound, bound)

    def extra_repr(self) -> str:
        """Return the numbers that differ from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        text += "" if self.bias else f", bias={self.bias}"
        kind = getattr(self, "nonlinearity", "tanh")
        return text + ("" if kind == "tanh" else f", nonlinearity={kind}")

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Raise: a cell says what its states are."""
        raise UnsupportedError(
            f"{type(self).__name__}: expected RNNCell, LSTMCell or GRUCell to be used"
        )

    def step(self, mode: str, input: Tensor, hx: Any) -> States:
        """Return the states after one step."""
        name, count = type(self).__name__, 2 if mode == "LSTM" else 1
        x = check_input(name, input, (1, 2), self.input_size, self.weight_ih)
        shape = (*x.shape[:-1], self.hidden_size)
        if hx is None:
            states: States = (zeros(shape, dtype=x.dtype, device=x.device),) * count
        else:
            states = states_of(name, hx, count)
            check_states(name, states, [shape] * count, x)
        if x.ndim == 1:
            x, states = x.unsqueeze(0), tuple(each.unsqueeze(0) for each in states)
        weights = [*self.parameters()]
        _, last = direction(mode, x, states, weights, bool(self.bias), x.shape[:1])
        return last if input.ndim == 2 else tuple(each.squeeze(0) for each in last)


class RNNCell(RNNCellBase):
    """Make one step of `RNN`: (b, input_size) and a state (b, hidden_size) to the next state.

    Both may lack the first axis; `hx` None stands for zeros. Raises as `RNN` does.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        check_nonlinearity("RNNCell", nonlinearity)
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the next state."""
        (h,) = self.step(f"RNN_{self.nonlinearity.upper()}", input, hx)
        return h


class LSTMCell(RNNCellBase):
    """Make one step of `LSTM`: from (b, input_size) and a pair (h, c) to the next pair.

    Everything may lack the first axis; `hx` None stands for zeros. Raises as `LSTM` does.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the next state and cells."""
        h, c = self.step("LSTM", input, hx)
        return h, c


class GRUCell(RNNCellBase):
    """Make one step of `GRU`: (b, input_size) and a state (b, hidden_size) to the next state.

    Both may lack the first axis; `hx` None stands for zeros. Raises as `GRU` does.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the next state."""
        (h,) = self.step("GRU", input, hx)
        return h
