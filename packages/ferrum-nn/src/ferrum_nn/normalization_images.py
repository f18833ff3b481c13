"""Layers that normalise the channels of images."""

from __future__ import annotations

from typing import Any

from ferrum import Device, Tensor
from ferrum.dtypes import DTypeLike
from ferrum.errors import ArgumentError, ShapeError
from ferrum_nn import functional
from ferrum_nn.functional.convolution import size_of
from ferrum_nn.functional.losses_checks import check_tensors
from ferrum_nn.module import Module
from ferrum_nn.normalization import _BatchNorm, _NormBase, _parameter, _reset


class BatchNorm2d(_BatchNorm):
    """Apply what `BatchNorm1d` does to each channel of x (n, num_features, h, w)."""

    _axes = (4,)


class BatchNorm3d(_BatchNorm):
    """Apply what `BatchNorm1d` does to each channel of x (n, num_features, d, h, w)."""

    _axes = (5,)


class SyncBatchNorm(_BatchNorm):
    """Apply what `BatchNorm1d` does to each channel of x (n, num_features, ...).

    The batch is that of all processes of `process_group`. There is a single process now, so that
    nothing is exchanged: any `process_group` but None is refused.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        if process_group is not None:
            raise ArgumentError(
                f"SyncBatchNorm: expected process_group=None, for this process alone, got "
                f"{process_group!r}"
            )
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )
        self.process_group = process_group

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """Return the module with each BatchNorm in it replaced by one of these.

        Parameters and buffers are the same tensors; a module that is a BatchNorm itself is not
        changed, but returned anew.
        """
        if isinstance(module, _BatchNorm) and not isinstance(module, cls):
            found = cls(
                module.num_features,
                module.eps,
                module.momentum,
                module.affine,
                module.track_running_stats,
                process_group,
            )
            found.weight, found.bias = module.weight, module.bias
            for name, buffer in module.named_buffers(recurse=False):
                setattr(found, name, buffer)
            found.train(module.training)
            return found
        for name, child in module.named_children():
            setattr(module, name, cls.convert_sync_batchnorm(child, process_group))
        return module


class GroupNorm(Module):
    """Apply y = (x - mean) / √(var + eps) weight + bias to x (n, num_channels, ...).

    Mean and variance, without correction, are those of each of `num_groups` groups of channels.
    `weight` and `bias` are (num_channels,), start as 1 and 0, and are None without `affine`, the
    bias also without `bias`. From Wu and He, "Group Normalization", 2018.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        self.num_groups = size_of("GroupNorm", "num_groups", num_groups, least=1)
        self.num_channels = size_of("GroupNorm", "num_channels", num_channels)
        if num_channels % num_groups:
            raise ArgumentError(
                f"GroupNorm: expected num_channels in groups of one size, got {num_channels} "
                f"channels and {num_groups} groups"
            )
        self.eps = eps
        self.affine = affine
        self.weight = _parameter(affine, (num_channels,), device, dtype)
        self.bias = _parameter(affine and bias, (num_channels,), device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to 1 and the bias to 0."""
        _reset(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return x, normalised."""
        check_tensors("GroupNorm", x)
        if self.affine and x.ndim > 1 and x.shape[1] != self.num_channels:
            raise ShapeError(
                f"GroupNorm: expected {self.num_channels} channels, got shape {x.shape}"
            )
        return functional.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the groups, channels and options."""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class _InstanceNorm(_NormBase):
    """Normalise each channel of each image, which may come without a batch."""

    _axes: tuple[int, int]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return x, normalised by each image or by what has been tracked."""
        self._check_input(x)
        batch = x if x.ndim == max(self._axes) else x.unsqueeze(0)
        if batch.shape[1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__}: expected {self.num_features} channels, got shape {x.shape}"
            )
        out = functional.instance_norm(
            batch,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return out if batch is x else out.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """Apply y = (x - mean) / √(var + eps) weight + bias to x (n, num_features, l), or one image.

    Mean and variance, without correction, are those of each channel of each image. With
    `track_running_stats` their averages over the images are tracked as `BatchNorm1d` does, and
    serve in evaluation. `weight` and `bias` are None without `affine`. From Ulyanov, Vedaldi and
    Lempitsky, "Instance Normalization", 2016.
    """

    _axes = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Apply what `InstanceNorm1d` does to x (n, num_features, h, w), or one image."""

    _axes = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Apply what `InstanceNorm1d` does to x (n, num_features, d, h, w), or one image."""

    _axes = (4, 5)


class LocalResponseNorm(Module):
    """Apply x / (k + alpha mean(x²))ᵝ, the mean over `size` neighbouring channels.

    See `functional.local_response_norm`.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = size_of("LocalResponseNorm", "size", size, least=1)
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        """Return x, divided by what its neighbours say."""
        return functional.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """Return the numbers."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
