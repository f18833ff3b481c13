"""Layers that normalise: over the last axes of each element, and over a batch."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

from ferrum import Device, Tensor, empty, no_grad, ones, tensor, zeros
from ferrum.dtypes import DTypeLike, float64, int64
from ferrum.errors import OperandError, ShapeError
from ferrum_nn import functional, init
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter


def _sizes(name: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return the sizes of the axes to normalise over; an int is that of the last one."""
    try:
        if isinstance(normalized_shape, Sequence):
            return tuple(map(index, normalized_shape))
        return (index(normalized_shape),)
    except TypeError as error:
        raise OperandError(
            f"{name}: expected an integer or several as normalized_shape, got {normalized_shape!r}"
        ) from error


def _parameter(
    wanted: bool, shape: tuple[int, ...], device: str | Device | None, dtype: DTypeLike | None
) -> Parameter | None:
    return Parameter(empty(shape, device=device, dtype=dtype)) if wanted else None


class LayerNorm(Module):
    """Apply y = (x - mean) / √(var + eps) weight + bias over the last axes of x.

    `normalized_shape`, a size or several, says which axes, and is the shape of `weight` and `bias`,
    which start as 1 and 0. Both are None without `elementwise_affine`, the bias also without
    `bias`. The variance is without correction. Raises ShapeError or DTypeError for an x that does
    not fit. From Ba, Kiros and Hinton, "Layer Normalization", 2016.
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
        shape = self.normalized_shape
        self.weight = _parameter(elementwise_affine, shape, device, dtype)
        self.bias = _parameter(elementwise_affine and bias, shape, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to 1 and the bias to 0."""
        _reset(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return x, normalised."""
        return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the sizes and options."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Apply y = x / √(mean(x²) + eps) weight over the last axes of x.

    `normalized_shape`, a size or several, says which axes, and is the shape of `weight`, which
    starts as 1 and is None without `elementwise_affine`. `eps` None is 2⁻⁵² for float64, else 2⁻²³.
    From Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
    """

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
        self.weight = _parameter(elementwise_affine, self.normalized_shape, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to 1."""
        _reset(self.weight, None)

    def forward(self, x: Tensor) -> Tensor:
        """Return x, normalised."""
        return functional.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Return the sizes and options."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


def _reset(weight: Parameter | None, bias: Parameter | None) -> None:
    if weight is not None:
        init.ones_(weight)
    if bias is not None:
        init.zeros_(bias)


class _NormBase(Module):
    """What layers that may keep running statistics of channels have in common.

    A subclass says in `_axes` how many axes its input may have, and defines `forward`.
    """

    _axes: tuple[int, ...] | None = None  # None: 2 at least
    _optional = ("num_batches_tracked",)  # what PyTorch saved before 0.4.1 has none

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
        shape = (num_features,)
        self.weight = _parameter(affine, shape, device, dtype)
        self.bias = _parameter(affine and bias, shape, device, dtype)
        self.running_mean: Tensor | None
        self.running_var: Tensor | None
        self.num_batches_tracked: Tensor | None
        mean = var = count = None
        if track_running_stats:
            mean = zeros(shape, device=device, dtype=dtype)
            var = ones(shape, device=device, dtype=dtype)
            count = tensor(0, dtype=int64, device=device)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", var)
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget what has been tracked: mean 0, variance 1, no batches."""
        with no_grad():
            if self.running_mean is not None:
                self.running_mean.zero_()
            if self.running_var is not None:
                self.running_var.fill_(1)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Set the weight to 1 and the bias to 0, and forget what has been tracked."""
        self.reset_running_stats()
        _reset(self.weight, self.bias)

    def _check_input(self, x: Tensor) -> None:
        if not isinstance(x, Tensor):
            raise OperandError(
                f"{type(self).__name__}: expected a tensor, got {type(x).__name__}; make a tensor "
                f"with fe.tensor(...)"
            )
        wanted = self._axes
        if x.ndim < 2 if wanted is None else x.ndim not in wanted:
            axes = "2 axes or more" if wanted is None else f"{' or '.join(map(str, wanted))} axes"
            raise ShapeError(
                f"{type(self).__name__}: expected an input of {axes}, got shape {x.shape}"
            )

    def extra_repr(self) -> str:
        """Return the number of channels and the options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_NormBase):
    """Normalise each channel of x (n, num_features, ...) over a batch.

    A subclass that gathers its statistics elsewhere, from several processes, overrides `_normalize`
    alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return x, normalised by the batch or by what has been tracked."""
        self._check_input(x)
        held = self.affine or self.track_running_stats
        if held and x.shape[1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__}: expected {self.num_features} channels, got shape {x.shape}"
            )
        tracking = self.training and self.track_running_stats
        momentum: float | Tensor = 0.0 if self.momentum is None else self.momentum
        if tracking and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                momentum = 1 / self.num_batches_tracked.to(float64)
        by_batch = self.training or (self.running_mean is None and self.running_var is None)
        return self._normalize(x, by_batch, momentum)

    def _normalize(self, x: Tensor, by_batch: bool, momentum: float | Tensor) -> Tensor:
        used = not self.training or self.track_running_stats
        return functional.batch_norm(
            x,
            self.running_mean if used else None,
            self.running_var if used else None,
            self.weight,
            self.bias,
            by_batch,
            momentum,
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """Apply y = (x - mean) / √(var + eps) weight + bias to each channel of (n, c) or (n, c, l).

    In training mean and variance are those of the batch, the variance without correction, and
    `running_mean` and `running_var`, the latter with correction, move towards them by the part
    `momentum` of the distance; None makes them the average of all batches so far. In evaluation the
    running ones serve. Without `track_running_stats` there are none, and those of the batch always
    serve. `weight` and `bias` are (num_features,), start as 1 and 0, and are None without
    `affine`, the bias also without `bias`.

    Raises ShapeError for a batch with a single value per channel in training. From Ioffe and
    Szegedy, "Batch Normalization", 2015.
    """

    _axes = (2, 3)
