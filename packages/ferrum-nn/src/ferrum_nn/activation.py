"""Activations: functions of each element, without parameters."""

from __future__ import annotations

from ferrum import Tensor, sigmoid, tanh
from ferrum_nn.module import Module


class ReLU(Module):
    """Apply max(x, 0) to each element; NaN stays NaN. With `inplace` x itself is changed."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Return max(x, 0)."""
        return Tensor.relu_(x) if self.inplace else Tensor.relu(x)

    def extra_repr(self) -> str:
        """Return "inplace=True" if that is so."""
        return "inplace=True" if self.inplace else ""


class Tanh(Module):
    """Apply tanh(x) = (exp(x) - exp(-x)) / (exp(x) + exp(-x)) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return tanh(x)."""
        return tanh(x)


class Sigmoid(Module):
    """Apply 1 / (1 + exp(-x)) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return 1 / (1 + exp(-x))."""
        return sigmoid(x)
