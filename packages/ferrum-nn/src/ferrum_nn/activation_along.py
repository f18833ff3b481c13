"""Activations of all elements along a dimension."""

from __future__ import annotations

from ferrum import Tensor
from ferrum.errors import ShapeError
from ferrum_nn import functional
from ferrum_nn.module import Module


class _Along(Module):
    """An activation along `dim`."""

    def __init__(self, dim: int | None = None) -> None:
        self.dim = dim

    def extra_repr(self) -> str:
        """Return the dimension."""
        return f"dim={self.dim}"


class GLU(Module):
    """Apply a sigmoid(b), where a and b are the halves of x along `dim`."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Return a sigmoid(b), half as large as x along `dim`."""
        return functional.glu(x, self.dim)

    def extra_repr(self) -> str:
        """Return the dimension."""
        return f"dim={self.dim}"


class Softmax(_Along):
    """Apply exp(x) / ∑exp(x) along `dim`.

    Without `dim` it is chosen as PyTorch chooses it, with a warning; see `functional.softmax`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return exp(x) / ∑exp(x)."""
        return functional.softmax(x, self.dim)


class LogSoftmax(_Along):
    """Apply x - log ∑exp(x) along `dim`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x - log ∑exp(x)."""
        return functional.log_softmax(x, self.dim)


class Softmin(_Along):
    """Apply exp(-x) / ∑exp(-x) along `dim`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return exp(-x) / ∑exp(-x)."""
        return functional.softmin(x, self.dim)


class Softmax2d(Module):
    """Apply softmax over the channels of (n, channels, h, w) or (channels, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the softmax over the channels."""
        if x.ndim not in (3, 4):
            raise ShapeError(f"Softmax2d: expected 3 or 4 dimensions, got {x.ndim}")
        return functional.softmax(x, -3)
