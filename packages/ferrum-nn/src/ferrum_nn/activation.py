"""Activations: functions of each element, or of the elements along an axis."""

from __future__ import annotations

from ferrum import Device, Tensor, full, sigmoid, tanh
from ferrum.dtypes import DTypeLike
from ferrum.errors import ShapeError
from ferrum_nn import functional
from ferrum_nn.module import Module
from ferrum_nn.parameter import Parameter


def _inplace(inplace: bool, *parts: str) -> str:
    return ", ".join([*parts, *(["inplace=True"] if inplace else [])])


class _InPlace(Module):
    """An activation whose only argument is whether it changes its input."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace

    def extra_repr(self) -> str:
        """Return "inplace=True" if that is so."""
        return _inplace(self.inplace)


class ReLU(_InPlace):
    """Apply max(x, 0) to each element; NaN stays NaN. With `inplace` x itself is changed."""

    def forward(self, x: Tensor) -> Tensor:
        """Return max(x, 0)."""
        return Tensor.relu_(x) if self.inplace else Tensor.relu(x)


class ReLU6(_InPlace):
    """Apply min(max(x, 0), 6) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return min(max(x, 0), 6)."""
        return functional.relu6(x, self.inplace)


class SELU(_InPlace):
    """Apply s x where x > 0, else s a (exp(x) - 1); a and s keep mean 0 and variance 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.selu` of x."""
        return functional.selu(x, self.inplace)


class SiLU(_InPlace):
    """Apply x sigmoid(x) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x sigmoid(x)."""
        return functional.silu(x, self.inplace)


class Mish(_InPlace):
    """Apply x tanh(log(1 + exp(x))) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.mish` of x."""
        return functional.mish(x, self.inplace)


class Hardsigmoid(_InPlace):
    """Apply min(max(x + 3, 0), 6) / 6 to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.hardsigmoid` of x."""
        return functional.hardsigmoid(x, self.inplace)

    def extra_repr(self) -> str:
        """Return nothing."""
        return ""


class Hardswish(_InPlace):
    """Apply x min(max(x + 3, 0), 6) / 6 to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.hardswish` of x."""
        return functional.hardswish(x, self.inplace)

    def extra_repr(self) -> str:
        """Return nothing."""
        return ""


class LeakyReLU(Module):
    """Apply x where x > 0, else `negative_slope` x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.leaky_relu` of x."""
        return functional.leaky_relu(x, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """Return the slope."""
        return _inplace(self.inplace, f"negative_slope={self.negative_slope}")


class PReLU(Module):
    """Apply x where x > 0, else weight x. The `weight`, (num_parameters,), is learned.

    There is one for all, or one for each channel of x (n, c, ...).
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
        self.weight = Parameter(full((num_parameters,), float(init), device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.prelu` of x."""
        return functional.prelu(x, self.weight)

    def extra_repr(self) -> str:
        """Return how many slopes there are."""
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """Apply x where x > 0, else a x; a is drawn from `lower` to `upper`, their mean in eval."""

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False) -> None:
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.rrelu` of x."""
        return functional.rrelu(x, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        """Return the bounds."""
        return _inplace(self.inplace, f"lower={self.lower}", f"upper={self.upper}")


class ELU(Module):
    """Apply x where x > 0, else `alpha` (exp(x) - 1)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.elu` of x."""
        return functional.elu(x, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """Return alpha."""
        return _inplace(self.inplace, f"alpha={self.alpha}")


class CELU(ELU):
    """Apply x where x > 0, else `alpha` (exp(x / alpha) - 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.celu` of x."""
        return functional.celu(x, self.alpha, self.inplace)


class GELU(Module):
    """Apply x Φ(x), Φ the normal distribution, or what `approximate` "tanh" makes of it."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.gelu` of x."""
        return functional.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        """Return the form."""
        return f"approximate={self.approximate!r}"


class Hardtanh(Module):
    """Apply x between `min_val` and `max_val`, and these outside."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        self.min_val = min_val
        self.max_val = max_val
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.hardtanh` of x."""
        return functional.hardtanh(x, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        """Return the bounds."""
        return _inplace(self.inplace, f"min_val={self.min_val}", f"max_val={self.max_val}")


class Hardshrink(Module):
    """Apply x where |x| > `lambd`, else 0."""

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.hardshrink` of x."""
        return functional.hardshrink(x, self.lambd)

    def extra_repr(self) -> str:
        """Return lambd."""
        return f"{self.lambd}"


class Softshrink(Hardshrink):
    """Move x towards 0 by `lambd`, and to 0 where that would pass it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.softshrink` of x."""
        return functional.softshrink(x, self.lambd)


class Softplus(Module):
    """Apply log(1 + exp(beta x)) / beta, or x where beta x > `threshold`."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = beta
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.softplus` of x."""
        return functional.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """Return beta and the threshold."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Threshold(Module):
    """Apply x where x > `threshold`, else `value`."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.threshold` of x."""
        return functional.threshold(x, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        """Return the threshold and the value."""
        return _inplace(self.inplace, f"threshold={self.threshold}", f"value={self.value}")


class GLU(Module):
    """Return a sigmoid(b), a and b the halves of x along `dim`."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.glu` of x."""
        return functional.glu(x, self.dim)

    def extra_repr(self) -> str:
        """Return the axis."""
        return f"dim={self.dim}"


class Tanh(Module):
    """Apply tanh(x) = (exp(x) - exp(-x)) / (exp(x) + exp(-x)) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return tanh(x)."""
        return tanh(x)


class Sigmoid(Module):
    """Apply 1 / (1 + exp(-x)) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return 1 / (1 + exp(-x))."""
        return sigmoid(x)


class LogSigmoid(Module):
    """Apply log(1 / (1 + exp(-x))) to each element."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `functional.logsigmoid` of x."""
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


class Softmax(Module):
    """Return exp(x) / ∑exp(x) along `dim`."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Return the softmax of x."""
        return functional.softmax(x, self.dim)

    def extra_repr(self) -> str:
        """Return the axis."""
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """Return x - log ∑exp(x) along `dim`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithm of the softmax of x."""
        return functional.log_softmax(x, self.dim)

    def extra_repr(self) -> str:
        """Return nothing."""
        return f"dim={self.dim}"


class Softmin(Softmax):
    """Return exp(-x) / ∑exp(-x) along `dim`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the softmin of x."""
        return functional.softmin(x, self.dim)


class Softmax2d(Module):
    """Return the softmax over the channels of images (n, c, h, w) or (c, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the softmax of x over its channels."""
        if x.ndim not in (3, 4):
            raise ShapeError(f"Softmax2d: expected (n, c, h, w) or (c, h, w), got {x.shape}")
        return functional.softmax(x, -3)
