"""Tensor methods that make many elements one."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ferrum import ops
from ferrum.base import TensorBase, as_tensor
from ferrum.dtypes import DTypeLike, is_floating
from ferrum.errors import ArgumentError, DTypeError, OutOfRangeError
from ferrum.methods.axes import flag, numpys_names, one_axis, some_axes, whole
from ferrum.methods.elementwise import Elementwise, choose
from ferrum.promotion import get_default_dtype

if TYPE_CHECKING:
    from ferrum.operation import Op
    from ferrum.tensor import Tensor

Dim: TypeAlias = "int | Sequence[int] | None"


class ValuesAndIndices(NamedTuple):
    """What `max(dim)`, `min(dim)`, `sort` and `topk` return."""

    values: Tensor
    indices: Tensor


class Reductions(Elementwise):
    """Sums, means, extremes and orders."""

    __slots__ = ()

    def _along(
        self,
        name: str,
        op: Op[..., Tensor],
        dim: Dim,
        keepdim: bool,
        dtype: DTypeLike | None = None,
    ) -> Tensor:
        """Return what `op` makes of the axes `dim`, computed and returned in `dtype`."""
        keepdim = flag(name, "keepdim", keepdim)
        axes = some_axes(name, dim, len(self.array.shape))
        if dtype is None:  # `op(...)` would pack the keywords once more than `op.__call__(...)`
            return op.__call__(self, axes=axes, keepdims=keepdim)
        x = self.to(dtype=dtype)
        return op(x, axes=axes, keepdims=keepdim).to(x.dtype)

    def _on_axis(self, name: str, op: Op[..., Tensor], dim: int, **attrs: Any) -> Tensor:
        """Return what `op` makes of one axis, that of size 1 which a 0-d tensor is seen to have."""
        axis = one_axis(name, dim, self.ndim)
        if self.ndim:
            return op(self, axis=axis, **attrs)
        return op(self.reshape(1), axis=0, **attrs).reshape(())

    @numpys_names
    def sum(
        self, dim: Dim = None, keepdim: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor:
        """Return the sum along `dim`, all of them by default; int64 for bool and integers."""
        return self._along("sum", ops.sum, dim, keepdim, dtype)

    @numpys_names
    def prod(
        self, dim: Dim = None, keepdim: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor:
        """Return the product along `dim`, all of them by default; int64 for bool and integers."""
        return self._along("prod", ops.prod, dim, keepdim, dtype)

    @numpys_names
    def mean(
        self, dim: Dim = None, keepdim: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor:
        """Return the mean along `dim`, all of them by default; DTypeError for bool and integers."""
        return self._along("mean", ops.mean, dim, keepdim, dtype)

    @numpys_names
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
        try:
            finite = -inf < corrected < inf
        except TypeError:
            finite = False
        if not finite:
            raise ArgumentError(f"var: expected a finite number as correction, got {corrected!r}")
        corrected = min(max(corrected, -(2**63)), 2**63)  # beyond it no count makes a difference
        keepdim, axes = flag("var", "keepdim", keepdim), some_axes("var", dim, self.ndim)
        return ops.var(self, axes=axes, correction=corrected, keepdims=keepdim)

    @numpys_names
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

    @numpys_names
    def amax(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        """Return the largest element along `dim`; equals share the gradient."""
        return self._along("amax", ops.max, dim, keepdim)

    @numpys_names
    def amin(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        """Return the smallest element along `dim`; equals share the gradient."""
        return self._along("amin", ops.min, dim, keepdim)

    @numpys_names
    def any(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        """Return whether an element along `dim` differs from 0."""
        return self._along("any", ops.any, dim, keepdim)

    @numpys_names
    def all(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        """Return whether all elements along `dim` differ from 0."""
        return self._along("all", ops.all, dim, keepdim)

    def _arg(self, name: str, op: Op[..., Tensor], dim: int | None, keepdim: bool) -> Tensor:
        keepdim = flag(name, "keepdim", keepdim)
        if dim is not None:
            return self._on_axis(name, op, dim, keepdims=keepdim)
        flat = op(self.reshape(-1), axis=0, keepdims=False)
        return flat.reshape((1,) * self.ndim) if keepdim else flat

    @numpys_names
    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """Return the index of the largest element along `dim`, or in the flattened tensor."""
        return self._arg("argmax", ops.argmax, dim, keepdim)

    @numpys_names
    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """Return the index of the smallest element along `dim`, or in the flattened tensor."""
        return self._arg("argmin", ops.argmin, dim, keepdim)

    def _extreme(self, name: str, arg: Op[..., Tensor], dim: int, keepdim: bool) -> Any:
        indices = self._arg(name, arg, dim, keepdim=True)
        values = self.gather(dim, indices)
        if flag(name, "keepdim", keepdim):
            return ValuesAndIndices(values, indices)
        return ValuesAndIndices(values.squeeze(dim), indices.squeeze(dim))

    @numpys_names
    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        """Return the largest element; along `dim`, (values, indices); with a tensor, `maximum`."""
        if isinstance(dim, TensorBase):
            return ops.maximum(self, dim)
        return self.amax() if dim is None else self._extreme("max", ops.argmax, dim, keepdim)

    @numpys_names
    def min(self, dim: Any = None, keepdim: bool = False) -> Any:
        """Return the smallest element; along `dim`, (values, indices); with a tensor, `minimum`."""
        if isinstance(dim, TensorBase):
            return ops.minimum(self, dim)
        return self.amin() if dim is None else self._extreme("min", ops.argmin, dim, keepdim)

    @numpys_names
    def cumsum(self, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
        """Return the running sum along `dim`."""
        x = self.to(dtype=dtype)
        total = x._on_axis("cumsum", ops.cumulative_sum, dim)
        return total if dtype is None else total.to(x.dtype)

    @numpys_names
    def cumsum_(self, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
        """Replace self by its running sum along `dim`."""
        return ops.copy_(self, self.cumsum(dim, dtype=dtype))

    @numpys_names
    def logsumexp(self, dim: Dim, keepdim: bool = False) -> Tensor:
        """Return log(sum(exp(self))) along `dim`, computed from self - max."""
        axes, keepdim = (
            some_axes("logsumexp", dim, self.ndim),
            flag("logsumexp", "keepdim", keepdim),
        )
        x = as_tensor(self) if is_floating(self.dtype) else self.to(get_default_dtype())
        if any(x.shape[axis] == 0 for axis in axes):
            return ops.sum(x, axes=axes, keepdims=keepdim).log()  # the sum of nothing is 0
        top = ops.max(x.detach(), axes=axes, keepdims=True)
        top = top.masked_fill(~top.isfinite(), 0.0)
        total = ops.sum((x - top).exp(), axes=axes, keepdims=True).log() + top
        return total if keepdim else total.squeeze(axes)

    def _normalized(
        self, name: str, op: Op[..., Tensor], dim: int, dtype: DTypeLike | None
    ) -> Tensor:
        x = self if dtype is None else self.to(dtype=dtype)
        ndim = len(x.array.shape)
        if not ndim:
            return x._on_axis(name, op, dim)
        return op.__call__(x, axis=one_axis(name, dim, ndim))

    @numpys_names
    def softmax(self, dim: int, dtype: DTypeLike | None = None) -> Tensor:
        """Return exp(self) / sum(exp(self)) along `dim`."""
        return self._normalized("softmax", ops.softmax, dim, dtype)

    @numpys_names
    def log_softmax(self, dim: int, dtype: DTypeLike | None = None) -> Tensor:
        """Return self - log(sum(exp(self))) along `dim`."""
        return self._normalized("log_softmax", ops.log_softmax, dim, dtype)

    @numpys_names
    def norm(self, p: float | str = 2, dim: Dim = None, keepdim: bool = False) -> Tensor:
        """Return the vector p-norm along `dim`: (sum |self|**p)**(1/p).

        P may be inf, -inf, 0 or "fro".
        """
        if not is_floating(self.dtype):
            raise DTypeError(f"norm: expected a floating-point tensor, got {self.dtype.name}")
        x = as_tensor(self)
        power = 2.0 if isinstance(p, str) and p == "fro" else _power(p)
        if power == 2:
            return root((x * x).sum(dim, keepdim), 2)
        if power == float("inf"):
            return x.abs().amax(dim, keepdim)
        if power == float("-inf"):
            return x.abs().amin(dim, keepdim)
        if power == 0:
            return choose(x != 0, 1, x.sign()).sum(dim, keepdim)  # whose gradient is 0
        if power == 1:
            return x.abs().sum(dim, keepdim)
        powers = root(x.abs(), 1 / power) if 0 < power < 1 else x.abs().pow(power)
        return root(powers.sum(dim, keepdim), power)

    @numpys_names
    def sort(
        self, dim: int = -1, descending: bool = False, *, stable: bool = True
    ) -> ValuesAndIndices:
        """Return the elements in order along `dim`, and where they stood; always stable."""
        indices = self._order("sort", dim, descending)
        return ValuesAndIndices(self.gather(dim, indices), indices)

    @numpys_names
    def argsort(self, dim: int = -1, descending: bool = False, *, stable: bool = True) -> Tensor:
        """Return the indices that sort self along `dim`; always stable."""
        return self._order("argsort", dim, descending)

    def _order(self, name: str, dim: int, descending: bool) -> Tensor:
        descending = flag(name, "descending", descending)
        return self._on_axis(name, ops.argsort, dim, descending=descending)

    @numpys_names
    def topk(
        self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
    ) -> ValuesAndIndices:
        """Return the k largest (or smallest) elements along `dim` and where they were.

        They are always sorted.
        """
        size = self.shape[one_axis("topk", dim, self.ndim)] if self.ndim else 1
        if not 0 <= whole("topk", "k", k) <= size:
            raise OutOfRangeError(
                f"topk: expected k from 0 to {size}, the size of dim {dim}, got {k}"
            )
        values, indices = self.sort(dim, descending=flag("topk", "largest", largest))
        if not self.ndim:
            return ValuesAndIndices(values, indices)
        return ValuesAndIndices(values.narrow(dim, 0, k), indices.narrow(dim, 0, k))


def _power(p: Any) -> float:
    try:
        if isinstance(p, str):
            raise TypeError
        return float(p)
    except (TypeError, ValueError):
        raise ArgumentError(f"norm: expected a number or 'fro' for p, got {p!r}") from None


def root(total: Tensor, degree: float) -> Tensor:
    """Return total ** (1 / degree), flat where it is 0: norms of zeros have gradient 0."""
    if not total.requires_grad:
        return total.sqrt() if degree == 2 else total.pow(1 / degree)
    empty = total == 0
    filled = choose(empty, 1.0, total)
    return choose(empty, 0.0, filled.sqrt() if degree == 2 else filled.pow(1 / degree))
