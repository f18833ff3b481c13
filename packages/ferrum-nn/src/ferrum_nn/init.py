"""First values of parameters, written in place. Each function returns its tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from math import ceil, erf, expm1, inf, isfinite, isnan, prod, sqrt
from typing import Any, Concatenate, ParamSpec, cast

import numpy as np

from ferrum import Generator, Tensor, eye, float32, float64, no_grad, rand, randn, where
from ferrum import tensor as tensor_of
from ferrum.dtypes import is_floating
from ferrum.errors import ArgumentError, DTypeError, OperandError, ShapeError

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

P = ParamSpec("P")
CONVOLUTIONS = (f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))
GAINS = {
    "linear": 1.0,
    **dict.fromkeys(CONVOLUTIONS, 1.0),
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": sqrt(2),
    "selu": 3 / 4,
}

_skipped: ContextVar[bool] = ContextVar("ferrum_nn_init_skipped", default=False)


@contextmanager
def skipping() -> Iterator[None]:
    """Let the functions of this module leave their tensors as they are inside the block."""
    token = _skipped.set(True)
    try:
        yield
    finally:
        _skipped.reset(token)


def _in_place(
    write: Callable[Concatenate[Tensor, P], Any],
) -> Callable[Concatenate[Tensor, P], Tensor]:
    """Return a function of a checked tensor, which writes it without history and returns it."""

    @wraps(write)
    def checked(tensor: Tensor, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        if not isinstance(tensor, Tensor):
            raise OperandError(f"{write.__name__}: expected a tensor, got {type(tensor).__name__}")
        if not _skipped.get():
            with no_grad():
                write(tensor, *args, **kwargs)
        return tensor

    return cast(Callable[Concatenate[Tensor, P], Tensor], checked)


# ---- given values


@_in_place
def constant_(tensor: Tensor, val: float) -> Any:
    """Write `val` into every element."""
    tensor.fill_(val)


@_in_place
def zeros_(tensor: Tensor) -> Any:
    """Write 0 into every element."""
    tensor.fill_(0.0)


@_in_place
def ones_(tensor: Tensor) -> Any:
    """Write 1 into every element."""
    tensor.fill_(1.0)


@_in_place
def eye_(tensor: Tensor) -> Any:
    """Write 1 into the diagonal of a matrix and 0 beside it."""
    _check_ndim("eye_", tensor, 2, 2)
    tensor.copy_(eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device))


@_in_place
def dirac_(tensor: Tensor, groups: int = 1) -> Any:
    """Write the weight of a convolution that passes on as many channels as it can.

    The weight is (outputs, inputs, *kernel), with 1 to 3 sizes of a kernel; each of the `groups` of
    outputs passes on its inputs. Raises ArgumentError where the outputs cannot be so divided.
    """
    _check_ndim("dirac_", tensor, 3, 5)
    outputs, inputs, *kernel = tensor.shape
    if not isinstance(groups, int):
        raise OperandError(f"dirac_: expected an integer as groups, got {groups!r}")
    if groups < 1 or outputs % groups:
        raise ArgumentError(f"dirac_: {outputs} outputs cannot be divided into {groups} groups")
    tensor.zero_()
    if tensor.numel():
        one = eye(outputs // groups, inputs, dtype=tensor.dtype, device=tensor.device)
        centre = tuple(size // 2 for size in kernel)
        tensor[(slice(None), slice(None), *centre)] = one.repeat(groups, 1)


# ---- random values


@_in_place
def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Any:
    """Write random numbers from [a, b)."""
    _uniform("uniform_", tensor, a, b, generator)


@_in_place
def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Any:
    """Write random numbers of the normal law with this mean and standard deviation."""
    _normal("normal_", tensor, mean, std, generator)


@_in_place
def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Any:
    """Write random numbers of the normal law, as it is between a and b.

    It is right however far [a, b] lies from the mean (Robert, arXiv:0907.4010: draw from a law that
    is close, and draw again what a second number rejects).
    """
    _check_floating("trunc_normal_", tensor)
    _check_numbers("trunc_normal_", mean=mean, std=std, a=a, b=b)
    if not (0 < std < inf and isfinite(mean) and a <= b and a < inf and b > -inf):
        raise ArgumentError(
            f"trunc_normal_: expected std > 0 and a <= b, got mean {mean}, std {std}, [{a}, {b}]"
        )
    dtype = float64 if tensor.dtype is float64 else float32

    def draw(law: Callable[..., Tensor]) -> Tensor:
        return law(tensor.shape, generator=generator, dtype=dtype, device=tensor.device)

    low, high = (a - mean) / std, (b - mean) / std
    propose = _truncated(low, high, draw)
    values, rejected = propose()
    while rejected.any().item():
        others, again = propose()
        values = where(rejected, others, values)
        rejected = rejected & again
    tensor.copy_((values * std + mean).clamp(a, b))


def _truncated(
    low: float, high: float, draw: Callable[..., Tensor]
) -> Callable[[], tuple[Tensor, Tensor]]:
    """Return a function that draws numbers between low and high, and says which are rejected.

    Those that it keeps have the standard normal law. It keeps a third of them or more.
    """
    if erf(high / sqrt(2)) - erf(low / sqrt(2)) > 0.6:

        def plainly() -> tuple[Tensor, Tensor]:
            z = draw(randn)
            return z, (z < low) | (z > high)

        return plainly
    near = min(max(0.0, low), high)  # where the density is largest
    rate, width = abs(near), high - low

    def nearby() -> tuple[Tensor, Tensor]:
        u = draw(rand)
        if rate * width > 1e-6:  # exponential, away from zero: what is left is exp(-d²/2)
            d = (u * expm1(-rate * width)).log1p() / -rate
            z = near + d if near > 0 else near - d
        else:  # which hardly differs from uniform
            z = u * width + low
            d = z - near
        return z, draw(rand) >= (d * d * -0.5).exp()

    return nearby


@_in_place
def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Any:
    """Write random numbers between ±gain √(6 / (fan_in + fan_out)), Glorot and Bengio, 2010."""
    bound = sqrt(3) * _xavier("xavier_uniform_", tensor, gain)
    _uniform("xavier_uniform_", tensor, -bound, bound, generator)


@_in_place
def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Any:
    """Write normal numbers of the deviation gain √(2 / (fan_in + fan_out)), Glorot and Bengio."""
    std = _xavier("xavier_normal_", tensor, gain)
    _normal("xavier_normal_", tensor, 0.0, std, generator)


@_in_place
def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Any:
    """Write random numbers between ±gain √(3 / fan), He initialisation (arXiv:1502.01852).

    `a` is the negative slope of "leaky_relu". A tensor without elements stays as it is.
    """
    bound = sqrt(3) * _kaiming(tensor, a, mode, nonlinearity)
    _uniform("kaiming_uniform_", tensor, -bound, bound, generator)


@_in_place
def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Any:
    """Write normal numbers of the deviation gain / √fan, He initialisation (arXiv:1502.01852).

    `a` is the negative slope of "leaky_relu". A tensor without elements stays as it is.
    """
    std = _kaiming(tensor, a, mode, nonlinearity)
    _normal("kaiming_normal_", tensor, 0.0, std, generator)


@_in_place
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Any:
    """Write a random orthogonal matrix times gain (Saxe et al., arXiv:1312.6120).

    The axes after the first count as one. Rows are orthonormal, or columns where they are fewer.
    """
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_: expected at least 2 dimensions, got {tensor.shape}")
    _check_floating("orthogonal_", tensor)
    _check_numbers("orthogonal_", gain=gain)
    if not tensor.numel():
        return
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    draws = randn(rows, columns, generator=generator, dtype=float64, device=tensor.device).numpy()
    q, r = np.linalg.qr(draws if rows >= columns else draws.T)
    q = q * np.sign(np.diag(r))  # else it would not be uniform (Mezzadri, math-ph/0609050)
    found = np.ascontiguousarray(q if rows >= columns else q.T) * gain
    tensor.copy_(tensor_of(found.reshape(tensor.shape), device=tensor.device))


@_in_place
def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None
) -> Any:
    """Write normal numbers into a matrix, but 0 into a fraction `sparsity` of each column.

    Source: Martens, Deep learning via Hessian-free optimization, 2010.
    """
    _check_ndim("sparse_", tensor, 2, 2)
    _check_numbers("sparse_", sparsity=sparsity)
    if not 0 <= sparsity <= 1:
        raise ArgumentError(f"sparse_: expected a sparsity from 0 to 1, got {sparsity}")
    _normal("sparse_", tensor, 0.0, std, generator)
    zeros = ceil(sparsity * tensor.shape[0])
    order = rand(tensor.shape, generator=generator, dtype=float64, device=tensor.device).argsort(0)
    tensor.masked_fill_(order.argsort(0) < zeros, 0)


# ---- how wide


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor that keeps the variance through a nonlinearity.

    `param` is the negative slope of "leaky_relu", 0.01 by default.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        _check_numbers("calculate_gain", param=slope)
        return sqrt(2 / (1 + slope**2))
    if nonlinearity not in tuple(GAINS):  # a list has no hash
        known = ", ".join(sorted([*GAINS, "leaky_relu"]))
        raise ArgumentError(f"calculate_gain: expected one of {known}, got {nonlinearity!r}")
    return GAINS[nonlinearity]


def fan_of(tensor: Tensor, mode: str = "fan_in") -> int:
    """Return how many inputs ("fan_in") or outputs ("fan_out") one output or input of a weight has.

    The weight is (outputs, inputs, ...), where what follows are the sizes of a kernel.
    """
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"fan_of: expected mode 'fan_in' or 'fan_out', got {mode!r}")
    if tensor.ndim < 2:
        raise ShapeError(f"fan_of: expected at least 2 dimensions, got {tensor.shape}")
    return tensor.shape[mode == "fan_in"] * prod(tensor.shape[2:])


def _xavier(name: str, tensor: Tensor, gain: float) -> float:
    _check_numbers(name, gain=gain)
    fans = fan_of(tensor, "fan_in") + fan_of(tensor, "fan_out")
    return gain * sqrt(2 / fans) if fans else 0.0


def _kaiming(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if not tensor.numel():
        return 0.0
    fan = fan_of(tensor, mode)
    gain = calculate_gain(nonlinearity, a)
    return gain / sqrt(fan)


def _uniform(name: str, tensor: Tensor, a: float, b: float, generator: Generator | None) -> None:
    _check_floating(name, tensor)
    _check_numbers(name, a=a, b=b)
    if not (a <= b and isfinite(b - a)):
        raise ArgumentError(f"{name}: expected a <= b, both finite, got {a} and {b}")
    draws = rand(tensor.shape, generator=generator, dtype=tensor.dtype, device=tensor.device)
    tensor.copy_(draws * (b - a) + a)


def _normal(
    name: str, tensor: Tensor, mean: float, std: float, generator: Generator | None
) -> None:
    _check_floating(name, tensor)
    _check_numbers(name, mean=mean, std=std)
    if not std >= 0:
        raise ArgumentError(f"{name}: expected std of at least 0, got {std}")
    draws = randn(tensor.shape, generator=generator, dtype=tensor.dtype, device=tensor.device)
    tensor.copy_(draws * std + mean)


def _check_ndim(name: str, tensor: Tensor, least: int, most: int) -> None:
    if not least <= tensor.ndim <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise ShapeError(f"{name}: expected {wanted} dimensions, got {tensor.shape}")


def _check_floating(name: str, tensor: Tensor) -> None:
    if not is_floating(tensor.dtype):
        raise DTypeError(f"{name}: expected a floating-point tensor, got {tensor.dtype.name}")


def _check_numbers(name: str, **numbers: Any) -> None:
    for what, value in numbers.items():
        if not isinstance(value, (int, float)) or isnan(value):
            raise OperandError(f"{name}: expected a number as {what}, got {value!r}")
