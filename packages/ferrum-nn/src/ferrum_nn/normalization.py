"""Normalisation as modules."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

from ferrum import Device, Tensor, empty, no_grad, ones, tensor, zeros
from ferrum.dtypes import DTypeLike
from ferrum.errors import OperandError, ShapeError
from ferrum_nn import functional, init
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter


def _sizes(name: str, shape: int | Sequence[int]) -> tuple[int, ...]:
    try:
        given = shape if isinstance(shape, (tuple, list)) else (shape,)
        return tuple([index(size) for size in given])
    except TypeError as error:
        raise OperandError(
            f"{name}: expected integers as normalized_shape, got {shape!r}"
        ) from error


class LayerNorm(Module):
    """Apply (x - mean) / √(var + eps) weight + bias over the last axes, of `normalized_shape`.

    `weight` starts as ones and `bias` as zeros; both have that shape. Without `elementwise_affine`
    there is neither, without `bias` no bias.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.normalized_shape = _sizes("LayerNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.weight = self.bias = None
        if elementwise_affine:
            shape = self.normalized_shape
            self.weight = Parameter(empty(shape, device=device, dtype=dtype))
            self.bias = Parameter(empty(shape, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Make the weight ones and the bias zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalised."""
        return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Apply x / √(mean(x²) + eps) weight over the last axes, of `normalized_shape`."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.normalized_shape = _sizes("RMSNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.weight = None
        if elementwise_affine:
            self.weight = Parameter(empty(self.normalized_shape, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Make the weight ones."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalised."""
        return functional.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class _BatchNorm(Module):
    """The norms over a batch; a subclass says in `_axes` how many axes its input may have."""

    _axes: tuple[int, ...] = ()
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.weight = Parameter(ones(num_features, device=device, dtype=dtype)) if affine else None
        biased = affine and bias
        self.bias = Parameter(zeros(num_features, device=device, dtype=dtype)) if biased else None
        tracked = track_running_stats
        mean = zeros(num_features, device=device, dtype=dtype) if tracked else None
        var = ones(num_features, device=device, dtype=dtype) if tracked else None
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", var)
        self.register_buffer("num_batches_tracked", tensor(0, device=device) if tracked else None)

    @no_grad()
    def reset_running_stats(self) -> None:
        """Forget the batches seen."""
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.fill_(0)
            self.running_var.fill_(1)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.fill_(0)

    def reset_parameters(self) -> None:
        """Forget the batches seen, make the weight ones and the bias zeros."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalised."""
        name = type(self).__name__
        if not isinstance(x, Tensor):
            raise OperandError(f"{name}: expected a tensor, got {type(x).__name__}")
        if x.ndim not in self._axes:
            raise ShapeError(
                f"{name}: expected {' or '.join(map(str, self._axes))} axes, got {x.shape}"
            )
        if x.shape[1] != self.num_features:
            raise ShapeError(f"{name}: expected {self.num_features} channels, got {x.shape}")
        seen = self.num_batches_tracked if self.training else None
        momentum = self.momentum or 0.0
        if self.momentum is None and seen is not None:
            momentum = 1 / (seen.item() + 1)  # the mean of all batches
        tracks = self.training or self.running_mean is None
        out = functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            tracks,
            momentum,
            self.eps,
        )
        if seen is not None:
            with no_grad():
                seen += 1
        return out

    def extra_repr(self) -> str:
        """Return the arguments."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Normalise each feature over the batch: x (n, c) or (n, c, l), (arXiv:1502.03167).

    While training with the batch's own mean and variance, of which `running_mean` and
    `running_var` keep a moving average (or the mean of all if `momentum` is None); in evaluation
    with these.
    """

    _axes = (2, 3)
