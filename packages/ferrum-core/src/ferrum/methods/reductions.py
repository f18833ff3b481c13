"""Tensor methods that make many elements one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ferrum import ops
from ferrum.base import TensorBase, as_tensor
from ferrum.dtypes import DTypeLike, as_dtype, is_floating
from ferrum.errors import ArgumentError, DTypeError, OutOfRangeError
from ferrum.methods.axes import one_axis, some_axes
from ferrum.methods.elementwise import choose
from ferrum.promotion import get_default_dtype

if TYPE_CHECKING:
    from ferrum.operation import Op
    from ferrum.tensor import Tensor

Dim: TypeAlias = "int | Sequence[int] | None"


class ValuesAndIndices(NamedTuple):
    """What `max(dim)`, `min(dim)`, `sort` and `topk` return."""

    values: Tensor
    indices: Tensor


class Reductions(TensorBase):
    """Sums, means, extremes and orders."""

    __slots__ = ()

    def _along(self, op: Op[..., Tensor], dim: Dim, keepdim: bool, **attrs: Any) -> Tensor:
        return op(self, axes=some_axes(op.__name__, dim, self.ndim), keepdims=keepdim, **attrs)

    def sum(
        self, dim: Dim = None, keepdim: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor:
        """Return the sum along `dim`, all of them by default; int64 for bool and integers."""
        if dtype is None:
            return self._along(ops.sum, dim, keepdim)
        x = as_tensor(self).to(as_dtype(dtype))
        return x._along(ops.sum, dim, keepdim).to(x.dtype)

    def prod(
        self, dim: Dim = None, keepdim: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor:
        """Return the product along `dim`, all of them by default; int64 for bool and integers."""
        if dtype is None:
            return self._along(ops.prod, dim, keepdim)
        x = as_tensor(self).to(as_dtype(dtype))
        return x._along(ops.prod, dim, keepdim).to(x.dtype)

    def mean(
        self, dim: Dim = None, keepdim: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor:
        """Return the mean along `dim`, all of them by default; DTypeError for bool and integers."""
        x = self if dtype is None else as_tensor(self).to(as_dtype(dtype))
        return x._along(ops.mean, dim, keepdim)

    def var(
        self,
        dim: Dim = None,
        *,
        correction: float = 1,
        keepdim: bool = False,
        unbiased: bool | None = None,
    ) -> Tensor:
        """Return the variance along `dim`, with Bessel's correction unless `correction` is 0.

        `unbiased`, PyTorch's older name, means a correction of 1 or 0.
        """
        corrected = correction if unbiased is None else int(unbiased)
        return self._along(ops.var, dim, keepdim, correction=corrected)

    def std(
        self,
        dim: Dim = None,
        *,
        correction: float = 1,
        keepdim: bool = False,
        unbiased: bool | None = None,
    ) -> Tensor:
        """Return the standard deviation along `dim`: the square root of `var`."""
        return root(self.var(dim, correction=correction, keepdim=keepdim, unbiased=unbiased), 2)

    def amax(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        """Return the largest element along `dim`; equals share the gradient."""
        return self._along(ops.max, dim, keepdim)

    def amin(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        """Return the smallest element along `dim`; equals share the gradient."""
        return self._along(ops.min, dim, keepdim)

    def any(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        """Return whether an element along `dim` differs from 0."""
        return self._along(ops.any, dim, keepdim)

    def all(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        """Return whether all elements along `dim` differ from 0."""
        return self._along(ops.all, dim, keepdim)

    def _arg(self, op: Op[..., Tensor], dim: int | None, keepdim: bool) -> Tensor:
        x = as_tensor(self)
        if dim is None:
            flat = op(x.reshape(-1), axis=0, keepdims=False)
            return flat.reshape((1,) * self.ndim) if keepdim else flat
        axis = one_axis(op.__name__, dim, self.ndim)
        return (
            op(x, axis=axis, keepdims=keepdim)
            if self.ndim
            else op(x.reshape(1), axis=0, keepdims=False)
        )

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """Return the index of the largest element along `dim`, or in the flattened tensor."""
        return self._arg(ops.argmax, dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """Return the index of the smallest element along `dim`, or in the flattened tensor."""
        return self._arg(ops.argmin, dim, keepdim)

    def _extreme(self, arg: Op[..., Tensor], dim: int, keepdim: bool) -> ValuesAndIndices:
        indices = self._arg(arg, dim, keepdim=True)
        if not self.ndim:
            return ValuesAndIndices(ops.copy(self), indices)
        axis = one_axis(arg.__name__, dim, self.ndim)
        values = ops.gather(self, indices, axis=axis)
        if keepdim:
            return ValuesAndIndices(values, indices)
        return ValuesAndIndices(values.squeeze(axis), indices.squeeze(axis))

    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        """Return the largest element; along `dim`, (values, indices); with a tensor, `maximum`."""
        if isinstance(dim, TensorBase):
            return ops.maximum(self, dim)
        return self.amax() if dim is None else self._extreme(ops.argmax, dim, keepdim)

    def min(self, dim: Any = None, keepdim: bool = False) -> Any:
        """Return the smallest element; along `dim`, (values, indices); with a tensor, `minimum`."""
        if isinstance(dim, TensorBase):
            return ops.minimum(self, dim)
        return self.amin() if dim is None else self._extreme(ops.argmin, dim, keepdim)

    def cumsum(self, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
        """Return the running sum along `dim`."""
        x = as_tensor(self) if dtype is None else as_tensor(self).to(as_dtype(dtype))
        axis = one_axis("cumsum", dim, self.ndim)
        total = ops.cumulative_sum(x, axis=axis) if self.ndim else x.sum()
        return total if dtype is None else total.to(x.dtype)

    def logsumexp(self, dim: Dim, keepdim: bool = False) -> Tensor:
        """Return log(sum(exp(self))) along `dim`, computed from self - max."""
        axes = some_axes("logsumexp", dim, self.ndim)
        x = as_tensor(self) if is_floating(self.dtype) else as_tensor(self).to(get_default_dtype())
        if any(x.shape[axis] == 0 for axis in axes):
            return ops.sum(x, axes=axes, keepdims=keepdim).log()  # the sum of nothing is 0
        top = ops.max(x.detach(), axes=axes, keepdims=True)
        top = top.masked_fill(~top.isfinite(), 0.0)
        total = ops.sum((x - top).exp(), axes=axes, keepdims=True).log() + top
        return total if keepdim else total.squeeze(axes)

    def softmax(self, dim: int, dtype: DTypeLike | None = None) -> Tensor:
        """Return exp(self) / sum(exp(self)) along `dim`."""
        return self._normalized(ops.softmax, dim, dtype)

    def log_softmax(self, dim: int, dtype: DTypeLike | None = None) -> Tensor:
        """Return self - log(sum(exp(self))) along `dim`."""
        return self._normalized(ops.log_softmax, dim, dtype)

    def _normalized(self, op: Op[..., Tensor], dim: int, dtype: DTypeLike | None) -> Tensor:
        x = as_tensor(self) if dtype is None else as_tensor(self).to(as_dtype(dtype))
        axis = one_axis(op.__name__, dim, self.ndim)
        return op(x, axis=axis) if self.ndim else op(x.reshape(1), axis=0).reshape(())

    def norm(self, p: float | str = 2, dim: Dim = None, keepdim: bool = False) -> Tensor:
        """Return the vector p-norm along `dim`: (sum |self|**p)**(1/p).

        P may be inf, -inf, 0 or "fro".
        """
        if not is_floating(self.dtype):
            raise DTypeError(f"norm: expected a floating-point tensor, got {self.dtype.name}")
        x = as_tensor(self)
        if p in (2, "fro"):
            return root((x * x).sum(dim, keepdim), 2)
        if isinstance(p, str) or p is None:
            raise ArgumentError(f"norm: expected a number or 'fro' for p, got {p!r}")
        power = float(p)
        if power == float("inf"):
            return x.abs().amax(dim, keepdim)
        if power == float("-inf"):
            return x.abs().amin(dim, keepdim)
        if power == 0:
            return (x != 0).to(self.dtype).sum(dim, keepdim)
        if power == 1:
            return x.abs().sum(dim, keepdim)
        powers = root(x.abs(), 1 / power) if 0 < power < 1 else x.abs().pow(power)
        return root(powers.sum(dim, keepdim), power)

    def sort(
        self, dim: int = -1, descending: bool = False, *, stable: bool = True
    ) -> ValuesAndIndices:
        """Return the elements in order along `dim`, and where they stood; always stable."""
        if not self.ndim:
            return ValuesAndIndices(ops.copy(self), self.argsort(dim))
        axis = one_axis("sort", dim, self.ndim)
        indices = ops.argsort(self, axis=axis, descending=descending)
        return ValuesAndIndices(ops.gather(self, indices, axis=axis), indices)

    def argsort(self, dim: int = -1, descending: bool = False, *, stable: bool = True) -> Tensor:
        """Return the indices that sort self along `dim`; always stable."""
        axis = one_axis("argsort", dim, self.ndim)
        x = as_tensor(self)
        if not self.ndim:
            return ops.argsort(x.reshape(1), axis=0, descending=descending).reshape(())
        return ops.argsort(x, axis=axis, descending=descending)

    def topk(
        self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
    ) -> ValuesAndIndices:
        """Return the k largest (or smallest) elements along `dim` and where they were.

        They are always sorted.
        """
        size = self.shape[one_axis("topk", dim, self.ndim)] if self.ndim else 1
        if not 0 <= k <= size:
            raise OutOfRangeError(
                f"topk: expected k from 0 to {size}, the size of dim {dim}, got {k}"
            )
        values, indices = self.sort(dim, descending=largest)
        if not self.ndim:
            return ValuesAndIndices(values, indices)
        return ValuesAndIndices(values.narrow(dim, 0, k), indices.narrow(dim, 0, k))


def root(total: Tensor, degree: float) -> Tensor:
    """Return total ** (1 / degree), flat where it is 0: norms of zeros have gradient 0."""
    if not total.requires_grad:
        return total.sqrt() if degree == 2 else total.pow(1 / degree)
    empty = total == 0
    filled = choose(empty, 1.0, total)
    return choose(empty, 0.0, filled.sqrt() if degree == 2 else filled.pow(1 / degree))
