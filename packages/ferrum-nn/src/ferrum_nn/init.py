"""First values of parameters, written in place. Each function returns its tensor."""

from __future__ import annotations

from math import prod, sqrt

from ferrum import Generator, Tensor, no_grad, rand
from ferrum.errors import ArgumentError, OperandError, ShapeError

GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": sqrt(2),
    "selu": 3 / 4,
}


@no_grad()
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Write `val` into every element."""
    _check_tensor("constant_", tensor)
    return tensor.fill_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """Write 0 into every element."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Write 1 into every element."""
    return constant_(tensor, 1.0)


@no_grad()
def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Write random numbers from [a, b)."""
    _check_tensor("uniform_", tensor)
    _check_numbers("uniform_", a=a, b=b)
    draws = rand(tensor.shape, generator=generator, dtype=tensor.dtype, device=tensor.device)
    return tensor.copy_(draws * (b - a) + a)


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


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Write random numbers between ±gain √(3 / fan), He initialisation (arXiv:1502.01852).

    `a` is the negative slope of "leaky_relu". A tensor without elements stays as it is.
    """
    _check_tensor("kaiming_uniform_", tensor)
    fan = fan_of(tensor, mode)
    if 0 in tensor.shape:
        return tensor
    bound = calculate_gain(nonlinearity, a) * sqrt(3 / fan)
    return uniform_(tensor, -bound, bound, generator)


def _check_tensor(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise OperandError(f"{name}: expected a tensor, got {type(tensor).__name__}")


def _check_numbers(name: str, **numbers: float) -> None:
    for what, value in numbers.items():
        if not isinstance(value, (int, float)):
            raise OperandError(f"{name}: expected a number as {what}, got {value!r}")
