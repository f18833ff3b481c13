"""Layers that resize."""

from __future__ import annotations

from collections.abc import Sequence

from ferrum import Tensor
from ferrum_nn import functional
from ferrum_nn.functional.convolution import Sizes
from ferrum_nn.functional.resizing import Scales
from ferrum_nn.module import Module


class Upsample(Module):
    """Make the last axes of (n, c, ...) longer or shorter, as `functional.interpolate` does.

    Either `size` or `scale_factor` is given. Arguments that do not go together raise when the layer
    is called.
    """

    def __init__(
        self,
        size: Sizes | None = None,
        scale_factor: Scales | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        self.size = size
        self.scale_factor: Scales | None
        if isinstance(scale_factor, Sequence):
            self.scale_factor = tuple(float(each) for each in scale_factor)
        else:
            self.scale_factor = float(scale_factor) if scale_factor else None
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, x: Tensor) -> Tensor:
        """Return x resized."""
        return functional.interpolate(
            x,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            self.recompute_scale_factor,
        )

    def extra_repr(self) -> str:
        """Return how long the axes become, and the mode."""
        if self.scale_factor is not None:
            return f"scale_factor={self.scale_factor!r}, mode={self.mode!r}"
        return f"size={self.size!r}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Resize (n, c, h, w): `Upsample` with mode "nearest"."""

    def __init__(self, size: Sizes | None = None, scale_factor: Scales | None = None) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Resize (n, c, h, w): `Upsample` with mode "bilinear" and corners that meet."""

    def __init__(self, size: Sizes | None = None, scale_factor: Scales | None = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)
