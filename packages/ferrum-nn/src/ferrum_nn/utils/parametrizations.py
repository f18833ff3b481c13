"""Parametrizations that are ready to use: of a weight by its length, and by its spectral norm."""

from __future__ import annotations

from typing import Any

from ferrum import Tensor, no_grad, randn
from ferrum.errors import ArgumentError, OperandError, ShapeError
from ferrum_nn.functional import normalize
from ferrum_nn.module import Module
from ferrum_nn.utils.parametrize import register_parametrization

__all__ = ["spectral_norm", "weight_norm"]


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Learn the length and the direction of a tensor apart: g v / ‖v‖. Returns the module.

    There is a length for each index of the axis `dim`, one for all with `dim` None or -1. What is
    learned are g, `parametrizations.<name>.original0`, and v, `original1` (Salimans & Kingma,
    arXiv:1602.07868).
    """
    axis = -1 if dim is None else _integer("weight_norm", "dim", dim)
    _tensor(module, name, "weight_norm", axis)
    return register_parametrization(module, name, _WeightNorm(axis), unsafe=True)


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a tensor by its largest singular value. Returns the module.

    It is taken as a matrix with the axis `dim`, 0 if None, first. The singular value is followed by
    the power method, `n_power_iterations` steps at each call in training, from vectors that are
    buffers. A vector is divided by its length. `eps` bounds the lengths that are divided by (Miyato
    et al., arXiv:1802.05957).
    """
    if _integer("spectral_norm", "n_power_iterations", n_power_iterations) < 1:
        raise ArgumentError(
            f"spectral_norm: expected n_power_iterations of at least 1, got {n_power_iterations}"
        )
    axis = 0 if dim is None else _integer("spectral_norm", "dim", dim)
    weight = _tensor(module, name, "spectral_norm", axis)
    return register_parametrization(
        module, name, _SpectralNorm(weight, n_power_iterations, axis, float(eps))
    )


class _WeightNorm(Module):
    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return v * (g / self.length(v))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return self.length(weight), weight

    def length(self, v: Tensor) -> Tensor:
        if self.dim == -1:  # as PyTorch has it, the last axis has to be named by its number
            return v.norm()
        others = tuple(axis for axis in range(v.ndim) if axis != self.dim % v.ndim)
        return v.norm(dim=others, keepdim=True) if others else v.abs()


class _SpectralNorm(Module):
    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float) -> None:
        self.dim = dim if dim >= 0 else dim + weight.ndim
        self.n_power_iterations = n_power_iterations
        self.eps = eps
        if weight.ndim > 1:
            with no_grad():
                matrix = self.matrix(weight.detach())
                for which, size in zip(("_u", "_v"), matrix.shape, strict=True):
                    start = randn(size, dtype=matrix.dtype, device=matrix.device)
                    self.register_buffer(which, normalize(start, dim=0, eps=eps))
                self.follow(matrix, 15)

    def matrix(self, weight: Tensor) -> Tensor:
        return weight.movedim(self.dim, 0).flatten(1)

    def follow(self, matrix: Tensor, steps: int) -> None:
        """Bring the vectors nearer to those of the largest singular value."""
        with no_grad():
            u, v = self._u, self._v
            for _ in range(steps):
                u.copy_(normalize(matrix @ v, dim=0, eps=self.eps))
                v.copy_(normalize(matrix.mT @ u, dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = self.matrix(weight)
        if self.training:
            self.follow(matrix.detach(), self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()  # backward may come after the next step
        return weight / u.dot(matrix @ v)

    def right_inverse(self, value: Tensor) -> Tensor:
        return value

    _u: Tensor
    _v: Tensor


def _tensor(module: Any, name: str, caller: str, axis: int) -> Tensor:
    """Return the tensor called `name` of a module, if it has such an axis."""
    if not isinstance(module, Module):
        raise OperandError(f"{caller}: expected a Module, got {type(module).__name__}")
    found = getattr(module, name, None)
    if not isinstance(found, Tensor):
        raise ArgumentError(
            f"{caller}: {type(module).__name__} has no parameter or buffer called {name!r}"
        )
    if not -found.ndim <= axis < max(found.ndim, 1):
        raise ShapeError(f"{caller}: expected dim in a tensor of {found.ndim} axes, got {axis}")
    return found


def _integer(caller: str, what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise OperandError(f"{caller}: expected an integer as {what}, got {value!r}")
    return value
