"""Layers that drop what they are given at random, while they are trained."""

from __future__ import annotations

from ferrum import Tensor
from ferrum_nn import functional
from ferrum_nn.functional.dropout import probability
from ferrum_nn.module import Module


class _Dropout(Module):
    """What the layers have in common: `p`, the probability to be dropped, and `inplace`."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        probability(type(self).__name__, p)
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        """Return the options."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Set elements to 0 with probability p and divide the others by 1 - p, in training."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.dropout` of x."""
        return functional.dropout(x, self.p, self.training, self.inplace)


class Dropout1d(_Dropout):
    """Set channels of (n, c, l) or (c, l) to 0 with probability p, as Dropout does elements."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.dropout1d` of x."""
        return functional.dropout1d(x, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """Set channels of (n, c, h, w) to 0 with probability p, as Dropout does elements."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.dropout2d` of x."""
        return functional.dropout2d(x, self.p, self.training, self.inplace)


class Dropout3d(_Dropout):
    """Set channels of (n, c, d, h, w) or (c, d, h, w) to 0 with probability p, as Dropout does."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.dropout3d` of x."""
        return functional.dropout3d(x, self.p, self.training, self.inplace)


class AlphaDropout(_Dropout):
    """Set elements to what SELU goes to below, and keep mean 0 and variance 1, in training."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.alpha_dropout` of x; as in PyTorch `inplace` is not looked at."""
        return functional.alpha_dropout(x, self.p, self.training)


class FeatureAlphaDropout(_Dropout):
    """Set channels of (n, c, ...) to what SELU goes to below, as AlphaDropout does elements."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.feature_alpha_dropout` of x; `inplace` is not looked at either."""
        return functional.feature_alpha_dropout(x, self.p, self.training)
