"""Layers of matrices, and those that change nothing but the shape."""

from __future__ import annotations

from math import sqrt

from ferrum import Device, Tensor, empty
from ferrum.dtypes import DTypeLike
from ferrum.errors import ArgumentError, OperandError
from ferrum_nn import functional, init, ops
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter


class Linear(Module):
    """Apply y = x Wᵀ + b to the last axis: (..., in_features) to (..., out_features).

    `weight` is (out_features, in_features) and `bias` (out_features,), or None without `bias`. Both
    start uniform between ±1 / √in_features, from FERRUM's default generator. Raises ShapeError or
    DTypeError for an x that does not fit.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(empty(out_features, in_features, device=device, dtype=dtype))
        self.bias = Parameter(empty(out_features, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        init.kaiming_uniform_(self.weight, a=sqrt(5))  # √5 makes its bound 1 / √in_features
        if self.bias is not None:
            bound = 1 / sqrt(self.in_features) if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Return x Wᵀ + b."""
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """Apply yₖ = x₁ᵀ Wₖ x₂ + bₖ to (..., in1_features) and (..., in2_features).

    The result is (..., out_features). `weight` is (out_features, in1_features, in2_features) and
    `bias` (out_features,), or None without `bias`. Both start uniform between ±1 / √in1_features.
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        shape = (out_features, in1_features, in2_features)
        self.weight = Parameter(empty(shape, device=device, dtype=dtype))
        self.bias = Parameter(empty(out_features, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        if self.in1_features < 1:
            raise ArgumentError(
                f"Bilinear: expected in1_features of at least 1, got {self.in1_features}"
            )
        bound = 1 / sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Return x₁ᵀ W x₂ + b."""
        return functional.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Identity(Module):
    """Return x as it is. Arguments are ignored, so that it can stand for any layer."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """Return x."""
        return x


class Flatten(Module):
    """Make the axes from `start_dim` to `end_dim` one; by default (n, c, h, w) becomes (n, chw)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Tensor) -> Tensor:
        """Return x with those axes made one."""
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Return the axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split the axis `dim` into `unflattened_size`, one of which may be -1."""

    def __init__(self, dim: int, unflattened_size: tuple[int, ...]) -> None:
        sizes: object = unflattened_size
        if not isinstance(sizes, (tuple, list)) or not all(isinstance(x, int) for x in sizes):
            raise OperandError(
                f"Unflatten: expected a tuple of integers as unflattened_size, got "
                f"{unflattened_size!r}"
            )
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, x: Tensor) -> Tensor:
        """Return x with that axis split."""
        return x.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        """Return the axis and the sizes."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
