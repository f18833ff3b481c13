"""Dropout as functions. Masks are drawn from `ferrum.default_generator`, on every device alike."""

from __future__ import annotations

import warnings
from math import sqrt

from ferrum import Tensor
from ferrum.dtypes import is_floating
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError
from ferrum.random import default_generator
from ferrum.spec import Shape
from ferrum_nn import ops
from ferrum_nn.ops.dropout import kept

__all__ = [
    "alpha_dropout",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
]

ALPHA = 1.7580993408473766
"""What SELU goes to far below 0, negated: its scale 1.0507 times its alpha 1.6733."""


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Return x with elements set to 0 with probability p, the others divided by 1 - p.

    Only if `training`, else x itself (Srivastava et al., JMLR 15, 2014). A dropped NaN or infinity
    is NaN. Raises ArgumentError for a p that is no probability, DTypeError for integers.
    """
    p = _checked("dropout", input, p)
    if _is_idle(input, p, training):
        return input
    if inplace:
        return _scale(input, input.shape, p, inplace)
    return ops.dropout(input, p=p, key=default_generator.next_key())


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Return x (n, c, l) or (c, l) with whole channels set to 0, as `dropout` does elements."""
    return _channels("dropout1d", input, p, training, inplace, (3, 2))


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Return x (n, c, h, w) with whole channels set to 0, as `dropout` does with elements.

    As in PyTorch 3 axes are taken to be (n, c, l), with a warning: that is what `dropout1d` is for.
    """
    p = _checked("dropout2d", input, p)
    if input.ndim == 3:
        warnings.warn(
            "dropout2d: 3 axes are taken to be (n, c, l); use dropout1d for them, or add a first "
            "axis to (c, h, w)",
            UserWarning,
            stacklevel=2,
        )
        return dropout1d(input, p, training, inplace)
    return _channels("dropout2d", input, p, training, inplace, (4,))


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Return x (n, c, d, h, w) or (c, d, h, w) with whole channels set to 0, as `dropout` does."""
    return _channels("dropout3d", input, p, training, inplace, (5, 4))


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Return a x + b, where x is set to -α with probability p (arXiv:1706.02515).

    α = 1.758 is what SELU goes to below; a and b keep a mean of 0 and a variance of 1. As in
    PyTorch p = 1 gives 0.
    """
    p = _checked("alpha_dropout", input, p)
    if _is_idle(input, p, training):
        return input
    return _alpha(input, input.shape, p, inplace)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Return x (n, c, ...) with whole channels dropped as `alpha_dropout` does with elements."""
    name = "feature_alpha_dropout"
    p = _checked(name, input, p)
    if _is_idle(input, p, training):
        return input
    return _alpha(input, _shape_of_channels(name, input), p, inplace)


def probability(name: str, p: float) -> float:
    """Return p as a float, or raise ArgumentError or OperandError if it is no probability."""
    if not isinstance(p, (int, float)):
        raise OperandError(f"{name}: expected a probability from 0 to 1, got p={p!r}")
    if not 0 <= p <= 1:
        raise ArgumentError(f"{name}: expected a probability from 0 to 1, got p={p!r}")
    return float(p)


def _checked(name: str, input: Tensor, p: float) -> float:
    if not isinstance(input, Tensor):
        raise OperandError(f"{name}: expected a tensor, got {type(input).__name__}")
    if not is_floating(input.dtype):
        raise DTypeError(f"{name}: expected a floating-point tensor, got {input.dtype.name}")
    return probability(name, p)


def _is_idle(input: Tensor, p: float, training: bool) -> bool:
    """Return whether x is returned as it is; nothing is drawn then."""
    return not training or p == 0 or 0 in input.shape


def _kept(input: Tensor, shape: Shape, p: float) -> Tensor:
    return kept(shape, input.dtype, input.device, p, default_generator.next_key())


def _shape_of_channels(name: str, input: Tensor) -> Shape:
    if input.ndim < 2:
        raise ShapeError(f"{name}: expected axes (n, c, ...), got {input.shape}")
    return (*input.shape[:2], *(1,) * (input.ndim - 2))


def _channels(
    name: str, input: Tensor, p: float, training: bool, inplace: bool, axes: tuple[int, ...]
) -> Tensor:
    """Drop channels of an input of that many axes: with a batch, or without one."""
    p = _checked(name, input, p)
    if input.ndim not in axes:
        raise ShapeError(f"{name}: expected {' or '.join(map(str, axes))} axes, got {input.shape}")
    if _is_idle(input, p, training):
        return input
    shape = _shape_of_channels(name, input)
    if input.ndim != axes[0]:
        shape = (input.shape[0], *shape[2:], 1)
    return _scale(input, shape, p, inplace)


def _scale(input: Tensor, shape: Shape, p: float, inplace: bool) -> Tensor:
    noise = _kept(input, shape, p) * (1 / (1 - p) if p < 1 else 0.0)
    return input.mul_(noise) if inplace else input * noise


def _alpha(input: Tensor, shape: Shape, p: float, inplace: bool) -> Tensor:
    if p == 1:
        return input.mul_(0.0) if inplace else input * 0.0
    a = 1 / sqrt((ALPHA * ALPHA * p + 1) * (1 - p))
    noise = _kept(input, shape, p)
    shift = (noise - 1) * (ALPHA * a) + ALPHA * a * p
    noise = noise * a
    return input.mul_(noise).add_(shift) if inplace else input * noise + shift
