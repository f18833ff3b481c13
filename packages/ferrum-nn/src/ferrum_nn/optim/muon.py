"""Muon."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, ClassVar

from ferrum import Tensor, bfloat16, float32
from ferrum.errors import ShapeError
from ferrum_nn.ops.stepping import alike, decayed, each
from ferrum_nn.optim.kept import ALIKE
from ferrum_nn.optim.optimizer import Optimizer, Params
from ferrum_nn.optim.options import AT_LEAST_ZERO, BELOW_HUNDRED, FLAG, THREE, Option

RATES = (None, "original", "match_rms_adamw")


def _rates(value: Any) -> Any:
    if value not in RATES:
        raise ValueError
    return value


class Muon(Optimizer):
    """Muon (kellerjordan.github.io/posts/muon, 2024), for parameters that are matrices (n, m).

    With the gradient g of a parameter p: m ← m + (1 - momentum)(g - m);  u = m, or
    g + momentum (m - g) with `nesterov`;  p ← p - lr weight_decay p;  p ← p - lr s O(u).
    O makes the singular values of a matrix about 1, by `ns_steps` of Newton-Schulz: with
    `ns_coefficients` a, b, c, and at first x = u / max(|u|, eps), x ← a x + (b y + c y²) x where
    y = x xᵀ. That is computed in bfloat16, as PyTorch does. s is √max(1, n / m) if `adjust_lr_fn`
    is None or "original", and 0.2 √max(n, m) if it is "match_rms_adamw" (arXiv:2502.16982).
    The state is `momentum_buffer`, m. Other parameters, and embeddings, go to another optimizer.
    """

    options: ClassVar = {
        "lr": AT_LEAST_ZERO,
        "weight_decay": AT_LEAST_ZERO,
        "momentum": AT_LEAST_ZERO,
        "nesterov": FLAG,
        "ns_coefficients": THREE,
        "eps": AT_LEAST_ZERO,
        "ns_steps": BELOW_HUNDRED,
        "adjust_lr_fn": Option(f"to be one of {RATES}", _rates),
    }
    kept: ClassVar = {"momentum_buffer": ALIKE}

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        super().__init__(params, self._chosen(locals()))

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Optimize more parameters, matrices all; ShapeError for others."""
        super().add_param_group(param_group)
        for param in self.param_groups[-1]["params"]:
            if len(param.shape) != 2:
                del self.param_groups[-1]
                raise ShapeError(
                    f"Muon: expected parameters of two axes, got one of shape {param.shape}; "
                    f"give it to another optimizer, such as AdamW"
                )

    @staticmethod
    def op(
        params: list[Tensor],
        grads: list[Tensor],
        momenta: list[Tensor],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        nesterov: bool,
        ns_coefficients: tuple[float, float, float],
        eps: float,
        ns_steps: int,
        adjust_lr_fn: str | None,
    ) -> None:
        """Move `params`. Nearly all of it are products of matrices, so it is no op of its own."""
        alike("Muon", params, grads=grads, momenta=momenta)

        def move(p: Tensor, g: Tensor, m: Tensor) -> tuple[Tensor, ...]:
            m = _between(m, g, 1 - momentum)
            u = _between(g, m, momentum) if nesterov else m
            u = orthogonal(u, ns_coefficients, ns_steps, eps).to(p.dtype)
            p, _ = decayed(p, g, lr, weight_decay, True)
            return p - u * (lr * _share(adjust_lr_fn, *p.shape)), m

        each(move, params, grads, momenta, maximize=False)


def orthogonal(
    x: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """Return the matrix x with singular values of about 1, by Newton-Schulz in bfloat16.

    What is stored is rounded to bfloat16, what lies between is float32: the way that PyTorch's
    fused products round, so the two differ where a sum was rounded the other way.
    """
    if x.shape[0] > x.shape[1]:
        return orthogonal(x.T, coefficients, steps, eps).T
    a, b, c = coefficients
    x = _rounded(x)
    x = _rounded(x / _rounded(x.norm()).clamp(min=eps))
    for _ in range(steps):
        y = _rounded(x @ x.T)
        x = _rounded(x * a + _rounded(y * b + (y @ y) * c) @ x)
    return x


def _rounded(x: Tensor) -> Tensor:
    return x.to(bfloat16).to(float32)


def _between(start: Tensor, end: Tensor, weight: float) -> Tensor:
    """Return start + weight (end - start), reckoned from the nearer end."""
    if weight < 0.5:
        return start + (end - start) * weight
    return end - (end - start) * (1 - weight)


def _share(adjust_lr_fn: str | None, rows: int, columns: int) -> float:
    """Return what the rate of a matrix is multiplied by."""
    if adjust_lr_fn == "match_rms_adamw":
        return 0.2 * sqrt(max(rows, columns))
    return sqrt(max(1, rows / max(columns, 1)))
