"""Activations: functions of each element, without parameters but for PReLU's.

The formulas are those of the functions in `ferrum_nn.functional`, whose names and arguments these
have. With `inplace` the input itself is changed.
"""

from __future__ import annotations

from ferrum import Device, Tensor, empty, sigmoid, tanh
from ferrum.dtypes import DTypeLike
from ferrum.errors import ArgumentError
from ferrum_nn import functional, init
from ferrum_nn.functional.losses_checks import number
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter


class _InPlace(Module):
    """An activation whose one argument is `inplace`."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace

    def extra_repr(self) -> str:
        """Return "inplace=True" if that is so."""
        return "inplace=True" if self.inplace else ""

    def _also(self) -> str:
        """Return the same, for the end of a list."""
        return ", inplace=True" if self.inplace else ""


# ---- pieces of straight lines


class ReLU(_InPlace):
    """Apply max(x, 0) to each element; NaN stays NaN."""

    def forward(self, x: Tensor) -> Tensor:
        """Return max(x, 0)."""
        return functional.relu(x, self.inplace)


class Hardtanh(_InPlace):
    """Apply min(max(x, min_val), max_val) to each element; max_val must be above min_val."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        if not number("Hardtanh", "max_val", max_val) > number("Hardtanh", "min_val", min_val):
            raise ArgumentError(
                f"Hardtanh: expected max_val above min_val, got {max_val} and {min_val}"
            )
        self.min_val = min_val
        self.max_val = max_val
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Return x between the bounds."""
        return functional.hardtanh(x, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        """Return the bounds."""
        return f"min_val={self.min_val}, max_val={self.max_val}{self._also()}"


class ReLU6(Hardtanh):
    """Apply min(max(x, 0), 6) to each element."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        """Return "inplace=True" if that is so."""
        return _InPlace.extra_repr(self)


class Threshold(_InPlace):
    """Put `value` where x is at most `threshold`."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Return x where it is above the threshold, else the value."""
        return functional.threshold(x, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        """Return the numbers."""
        return f"threshold={self.threshold}, value={self.value}{self._also()}"


class LeakyReLU(_InPlace):
    """Apply x where it is above 0, else negative_slope · x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Return x where it is above 0, else negative_slope · x."""
        return functional.leaky_relu(x, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """Return the slope."""
        return f"negative_slope={self.negative_slope}{self._also()}"


class PReLU(Module):
    """Apply x where it is above 0, else a · x, where the parameter `weight` is a.

    It is one number, or with `num_parameters` > 1 one for each channel of (n, channels, ...); all
    begin as `init`. Source: He et al., "Delving Deep into Rectifiers", 2015.
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: str | Device | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to `init` again."""
        init.constant_(self.weight, self.init)

    def forward(self, x: Tensor) -> Tensor:
        """Return x where it is above 0, else a · x."""
        return functional.prelu(x, self.weight)

    def extra_repr(self) -> str:
        """Return how many parameters there are."""
        return f"num_parameters={self.num_parameters}"


class RReLU(_InPlace):
    """Apply x where it is above 0, else r · x.

    In training each element draws its r between `lower` and `upper`, from FERRUM's default
    generator; in evaluation r is their mean.
    """

    def __init__(
        self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False
    ) -> None:
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Return x where it is above 0, else r · x."""
        return functional.rrelu(x, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        """Return the bounds."""
        return f"lower={self.lower}, upper={self.upper}{self._also()}"


class Hardsigmoid(_InPlace):
    """Apply min(max(x + 3, 0), 6) / 6 to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return min(max(x + 3, 0), 6) / 6."""
        return functional.hardsigmoid(x, self.inplace)

    extra_repr = Module.extra_repr  # as in PyTorch, it does not say `inplace`


class Hardswish(_InPlace):
    """Apply x min(max(x + 3, 0), 6) / 6 to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x min(max(x + 3, 0), 6) / 6."""
        return functional.hardswish(x, self.inplace)

    extra_repr = Module.extra_repr


class Hardshrink(Module):
    """Put 0 where |x| is at most `lambd`."""

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd

    def forward(self, x: Tensor) -> Tensor:
        """Return x where |x| is above lambd, else 0."""
        return functional.hardshrink(x, self.lambd)

    def extra_repr(self) -> str:
        """Return lambd."""
        return str(self.lambd)


class Softshrink(Module):
    """Move each element towards 0 by `lambd`."""

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd

    def forward(self, x: Tensor) -> Tensor:
        """Return x moved towards 0 by lambd."""
        return functional.softshrink(x, self.lambd)

    def extra_repr(self) -> str:
        """Return lambd."""
        return str(self.lambd)


# ---- exponentials below 0


class _WithAlpha(_InPlace):
    """An activation of `alpha`."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = alpha
        self.inplace = inplace

    def extra_repr(self) -> str:
        """Return alpha."""
        return f"alpha={self.alpha}{self._also()}"


class ELU(_WithAlpha):
    """Apply x where it is above 0, else alpha · (exp(x) - 1).

    Source: Clevert et al., "Fast and Accurate Deep Network Learning by ELUs", 2015.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return x where it is above 0, else alpha · (exp(x) - 1)."""
        return functional.elu(x, self.alpha, self.inplace)


class CELU(_WithAlpha):
    """Apply x where it is above 0, else alpha · (exp(x / alpha) - 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x where it is above 0, else alpha · (exp(x / alpha) - 1)."""
        return functional.celu(x, self.alpha, self.inplace)


class SELU(_InPlace):
    """Apply scale · elu(x, alpha), with the two numbers that keep mean 0 and variance 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Return scale · elu(x, alpha)."""
        return functional.selu(x, self.inplace)


# ---- smooth steps


class Sigmoid(Module):
    """Apply 1 / (1 + exp(-x)) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return 1 / (1 + exp(-x))."""
        return sigmoid(x)


class Tanh(Module):
    """Apply tanh(x) = (exp(x) - exp(-x)) / (exp(x) + exp(-x)) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return tanh(x)."""
        return tanh(x)


class GELU(Module):
    """Apply x Φ(x), with the normal distribution's Φ; `approximate` is "none" or "tanh"."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """Return x Φ(x)."""
        return functional.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        """Return how Φ is computed."""
        return f"approximate={self.approximate!r}"


class SiLU(_InPlace):
    """Apply x sigmoid(x) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x sigmoid(x)."""
        return functional.silu(x, self.inplace)


class Mish(_InPlace):
    """Apply x tanh(softplus(x)) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x tanh(softplus(x))."""
        return functional.mish(x, self.inplace)


class Softplus(Module):
    """Apply log(1 + exp(beta · x)) / beta; x itself above the `threshold` of beta · x."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = beta
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """Return log(1 + exp(beta · x)) / beta."""
        return functional.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """Return the numbers."""
        return f"beta={self.beta}, threshold={self.threshold}"


class LogSigmoid(Module):
    """Apply log(1 / (1 + exp(-x))) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return log(sigmoid(x))."""
        return functional.logsigmoid(x)


class Softsign(Module):
    """Apply x / (1 + |x|) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x / (1 + |x|)."""
        return functional.softsign(x)


class Tanhshrink(Module):
    """Apply x - tanh(x) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x - tanh(x)."""
        return functional.tanhshrink(x)
