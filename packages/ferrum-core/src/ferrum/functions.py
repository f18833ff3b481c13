"""Functions of tensors. Most are the methods of `Tensor`; the rest take several tensors at once."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from ferrum import ops
from ferrum.dtypes import CATEGORY, PROMOTED, int64
from ferrum.errors import ArgumentError, OperandError, ShapeError
from ferrum.methods.axes import one_axis
from ferrum.methods.elementwise import choose
from ferrum.methods.operators import Operand
from ferrum.promotion import result_type
from ferrum.spec import broadcast_shapes
from ferrum.tensor import Tensor


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return `tensors`, promoted to one dtype, joined along `dim`."""
    xs = _tensors("cat", tensors)
    axis = one_axis("cat", dim, xs[0].ndim)
    if builtins.any(axis >= x.ndim for x in xs):
        raise ShapeError("cat: expected tensors of at least 1 dimension")
    dtype = xs[0].dtype
    for x in xs[1:]:
        dtype = PROMOTED[dtype, x.dtype]
    cast = [x.to(dtype) for x in xs]
    return ops.concat(cast, axis=axis, sizes=tuple(x.shape[axis] for x in xs))


concat = concatenate = cat


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return `tensors`, of one shape, joined along a new axis at `dim`."""
    xs = _tensors("stack", tensors)
    if builtins.any(x.shape != xs[0].shape for x in xs):
        raise ShapeError(f"stack: expected one shape, got {sorted({x.shape for x in xs})}")
    axis = one_axis("stack", dim, xs[0].ndim + 1)
    return cat([x.unsqueeze(axis) for x in xs], axis)


def _tensors(name: str, tensors: Sequence[Tensor]) -> list[Tensor]:
    xs = list(tensors)
    if not xs:
        raise ArgumentError(f"{name}: expected at least one tensor")
    for x in xs:
        if not isinstance(x, Tensor):
            raise OperandError(f"{name}: expected tensors, got {type(x).__name__}")
    return xs


def where(condition: Tensor, input: Operand | None = None, other: Operand | None = None) -> Any:
    """Return `input` where the condition holds, else `other`; alone, the indices where it holds."""
    if input is None or other is None:
        return (condition if condition.ndim else condition.reshape(1)).nonzero().unbind(1)
    return choose(condition, input, other)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return `tensors` expanded to the shape that they broadcast to."""
    shape = broadcast_shapes("broadcast_tensors", *[x.shape for x in tensors])
    return tuple(x.expand(shape) for x in tensors)


def is_tensor(value: object) -> bool:
    """Return whether `value` is a FERRUM tensor."""
    return isinstance(value, Tensor)


def allclose(
    input: Tensor,
    other: Tensor,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> bool:
    """Return whether |input - other| <= atol + rtol * |other| everywhere."""
    close = input == other
    if CATEGORY[result_type(input, other)] > 0:
        gap = (input - other).abs()
        close = close | (gap.isfinite() & (gap <= other.abs() * rtol + atol))
    if equal_nan:
        close = close | (input.isnan() & other.isnan())
    return bool(close.all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Return whether two tensors have the same shape and the same elements."""
    return input.shape == other.shape and bool((input == other).all())


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the lower triangle of matrices, zeros above the diagonal number `diagonal`."""
    return choose(_below(input, diagonal), input, 0)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the upper triangle of matrices, zeros below the diagonal number `diagonal`."""
    return choose(~_below(input, diagonal - 1), input, 0)


def _below(x: Tensor, diagonal: int) -> Tensor:
    if x.ndim < 2:
        raise ShapeError(f"tril: expected at least 2 dimensions, got {x.ndim}")
    n, m = x.shape[-2:]

    def count(size: int) -> Tensor:
        return ops.arange(start=0, stop=size, step=1, dtype=int64, device=x.device)

    return count(n).unsqueeze(1) + diagonal >= count(m)


# One road: the function is the method.
abs = Tensor.abs
add = Tensor.add
all = Tensor.all
amax = Tensor.amax
amin = Tensor.amin
any = Tensor.any
argmax = Tensor.argmax
argmin = Tensor.argmin
argsort = Tensor.argsort
atan2 = Tensor.atan2
bitwise_and = Tensor.bitwise_and
bitwise_not = Tensor.bitwise_not
bitwise_or = Tensor.bitwise_or
bitwise_xor = Tensor.bitwise_xor
bmm = Tensor.bmm
ceil = Tensor.ceil
chunk = Tensor.chunk
clamp = Tensor.clamp
clip = Tensor.clip
clone = Tensor.clone
cos = Tensor.cos
cumsum = Tensor.cumsum
detach = Tensor.detach
div = Tensor.div
divide = Tensor.divide
dot = Tensor.dot
eq = Tensor.eq
erf = Tensor.erf
exp = Tensor.exp
expm1 = Tensor.expm1
flatten = Tensor.flatten
flip = Tensor.flip
floor = Tensor.floor
floor_divide = Tensor.floor_divide
gather = Tensor.gather
ge = Tensor.ge
gt = Tensor.gt
index_select = Tensor.index_select
is_floating_point = Tensor.is_floating_point
isfinite = Tensor.isfinite
isinf = Tensor.isinf
isnan = Tensor.isnan
le = Tensor.le
log = Tensor.log
log1p = Tensor.log1p
log_softmax = Tensor.log_softmax
logical_and = Tensor.logical_and
logical_not = Tensor.logical_not
logical_or = Tensor.logical_or
logical_xor = Tensor.logical_xor
logsumexp = Tensor.logsumexp
lt = Tensor.lt
masked_fill = Tensor.masked_fill
masked_select = Tensor.masked_select
matmul = Tensor.matmul
max = Tensor.max
maximum = Tensor.maximum
mean = Tensor.mean
min = Tensor.min
minimum = Tensor.minimum
mm = Tensor.mm
movedim = Tensor.movedim
mul = Tensor.mul
multiply = Tensor.multiply
narrow = Tensor.narrow
ne = Tensor.ne
neg = Tensor.neg
negative = Tensor.negative
nonzero = Tensor.nonzero
norm = Tensor.norm
numel = Tensor.numel
permute = Tensor.permute
pow = Tensor.pow
prod = Tensor.prod
reciprocal = Tensor.reciprocal
relu = Tensor.relu
remainder = Tensor.remainder
reshape = Tensor.reshape
round = Tensor.round
rsqrt = Tensor.rsqrt
scatter_add = Tensor.scatter_add
select = Tensor.select
sigmoid = Tensor.sigmoid
sign = Tensor.sign
sin = Tensor.sin
softmax = Tensor.softmax
sort = Tensor.sort
split = Tensor.split
sqrt = Tensor.sqrt
square = Tensor.square
squeeze = Tensor.squeeze
std = Tensor.std
sub = Tensor.sub
subtract = Tensor.subtract
sum = Tensor.sum
swapaxes = Tensor.swapaxes
t = Tensor.t
tanh = Tensor.tanh
topk = Tensor.topk
transpose = Tensor.transpose
true_divide = Tensor.true_divide
trunc = Tensor.trunc
unbind = Tensor.unbind
unflatten = Tensor.unflatten
unsqueeze = Tensor.unsqueeze
var = Tensor.var
