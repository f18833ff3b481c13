"""Functions of tensors. Most are the methods of `Tensor`; the rest take several tensors at once."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from ferrum import ops
from ferrum.dtypes import CATEGORY, PROMOTED
from ferrum.errors import ArgumentError, OperandError, ShapeError
from ferrum.methods.axes import flag, numpys_names, one_axis
from ferrum.methods.elementwise import choose
from ferrum.methods.operators import Operand
from ferrum.operands import of_tensor
from ferrum.promotion import result_type
from ferrum.spec import broadcast_shapes
from ferrum.tensor import Tensor


@numpys_names
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


@numpys_names
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return `tensors`, of one shape, joined along a new axis at `dim`."""
    xs = _tensors("stack", tensors)
    if builtins.any(x.shape != xs[0].shape for x in xs):
        raise ShapeError(f"stack: expected one shape, got {sorted({x.shape for x in xs})}")
    axis = one_axis("stack", dim, xs[0].ndim + 1)
    return cat([x.unsqueeze(axis) for x in xs], axis)


def _tensors(name: str, tensors: Sequence[Tensor]) -> list[Tensor]:
    if not isinstance(tensors, Sequence):
        raise OperandError(f"{name}: expected a list of tensors, got {type(tensors).__name__}")
    xs = list(tensors)
    if not xs:
        raise ArgumentError(f"{name}: expected at least one tensor")
    for x in xs:
        if not isinstance(x, Tensor):
            raise OperandError(f"{name}: expected tensors, got {type(x).__name__}")
    return xs


@of_tensor
def where(condition: Tensor, input: Operand | None = None, other: Operand | None = None) -> Any:
    """Return `input` where the condition holds, else `other`; alone, the indices where it holds."""
    if input is None or other is None:
        return condition.nonzero(as_tuple=True)
    return choose(condition, input, other)


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return `tensors` expanded to the shape that they broadcast to."""
    xs = _tensors("broadcast_tensors", tensors)
    shape = broadcast_shapes("broadcast_tensors", *[x.shape for x in xs])
    return tuple(x.expand(shape) for x in xs)


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
    _tensors("allclose", (input, other))
    close = input == other
    if CATEGORY[result_type(input, other)] > 0:
        gap = (input - other).abs()
        close = close | (gap.isfinite() & (gap <= other.abs() * rtol + atol))
    if flag("allclose", "equal_nan", equal_nan):
        close = close | (input.isnan() & other.isnan())
    return bool(close.all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Return whether two tensors have the same shape and the same elements."""
    _tensors("equal", (input, other))
    return input.shape == other.shape and bool((input == other).all())


# One road: the function is the method, checked where the method itself relies on being one.
abs = Tensor.abs
add = Tensor.add
all = of_tensor(Tensor.all)
amax = of_tensor(Tensor.amax)
amin = of_tensor(Tensor.amin)
any = of_tensor(Tensor.any)
argmax = of_tensor(Tensor.argmax)
argmin = of_tensor(Tensor.argmin)
argsort = of_tensor(Tensor.argsort)
atan2 = Tensor.atan2
bitwise_and = Tensor.bitwise_and
bitwise_not = Tensor.bitwise_not
bitwise_or = Tensor.bitwise_or
bitwise_xor = Tensor.bitwise_xor
bmm = of_tensor(Tensor.bmm)
ceil = Tensor.ceil
chunk = of_tensor(Tensor.chunk)
clamp = of_tensor(Tensor.clamp)
clip = of_tensor(Tensor.clip)
clone = Tensor.clone
cos = Tensor.cos
cumsum = of_tensor(Tensor.cumsum)
detach = of_tensor(Tensor.detach)
div = Tensor.div
divide = Tensor.divide
dot = of_tensor(Tensor.dot)
eq = Tensor.eq
erf = Tensor.erf
exp = Tensor.exp
expm1 = Tensor.expm1
flatten = of_tensor(Tensor.flatten)
flip = of_tensor(Tensor.flip)
floor = Tensor.floor
floor_divide = Tensor.floor_divide
gather = of_tensor(Tensor.gather)
ge = Tensor.ge
gt = Tensor.gt
index_select = of_tensor(Tensor.index_select)
is_floating_point = of_tensor(Tensor.is_floating_point)
isfinite = Tensor.isfinite
isinf = Tensor.isinf
isnan = Tensor.isnan
le = Tensor.le
log = Tensor.log
log1p = Tensor.log1p
log_softmax = of_tensor(Tensor.log_softmax)
logical_and = Tensor.logical_and
logical_not = Tensor.logical_not
logical_or = Tensor.logical_or
logical_xor = Tensor.logical_xor
logsumexp = of_tensor(Tensor.logsumexp)
lt = Tensor.lt
masked_fill = of_tensor(Tensor.masked_fill)
masked_select = of_tensor(Tensor.masked_select)
matmul = Tensor.matmul
max = of_tensor(Tensor.max)
maximum = Tensor.maximum
mean = of_tensor(Tensor.mean)
min = of_tensor(Tensor.min)
minimum = Tensor.minimum
mm = of_tensor(Tensor.mm)
movedim = of_tensor(Tensor.movedim)
mul = Tensor.mul
multiply = Tensor.multiply
narrow = of_tensor(Tensor.narrow)
ne = Tensor.ne
neg = Tensor.neg
negative = Tensor.negative
nonzero = Tensor.nonzero
norm = of_tensor(Tensor.norm)
numel = of_tensor(Tensor.numel)
permute = of_tensor(Tensor.permute)
pow = Tensor.pow
prod = of_tensor(Tensor.prod)
reciprocal = Tensor.reciprocal
relu = Tensor.relu
remainder = Tensor.remainder
reshape = of_tensor(Tensor.reshape)
round = Tensor.round
rsqrt = Tensor.rsqrt
scatter_add = of_tensor(Tensor.scatter_add)
select = of_tensor(Tensor.select)
sigmoid = Tensor.sigmoid
sign = Tensor.sign
sin = Tensor.sin
softmax = of_tensor(Tensor.softmax)
sort = of_tensor(Tensor.sort)
split = of_tensor(Tensor.split)
sqrt = Tensor.sqrt
square = Tensor.square
squeeze = of_tensor(Tensor.squeeze)
std = of_tensor(Tensor.std)
sub = Tensor.sub
subtract = Tensor.subtract
sum = of_tensor(Tensor.sum)
swapaxes = of_tensor(Tensor.swapaxes)
t = of_tensor(Tensor.t)
tanh = Tensor.tanh
topk = of_tensor(Tensor.topk)
transpose = of_tensor(Tensor.transpose)
tril = of_tensor(Tensor.tril)
triu = of_tensor(Tensor.triu)
true_divide = Tensor.true_divide
trunc = Tensor.trunc
unbind = of_tensor(Tensor.unbind)
unflatten = of_tensor(Tensor.unflatten)
unsqueeze = of_tensor(Tensor.unsqueeze)
var = of_tensor(Tensor.var)
