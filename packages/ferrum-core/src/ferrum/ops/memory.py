"""Tier 0: making tensors, moving them, and looking at them another way."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, inf, nan, prod
from typing import TYPE_CHECKING

from ferrum.device import Device, needing
from ferrum.dtypes import CATEGORY, DType, bool_, float32, int64, is_floating, uint8
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.inplace import writes
from ferrum.op import creation, op
from ferrum.philox import check_range
from ferrum.spec import Needs, Shape, Spec, TensorLike, broadcast_shapes, check_addressable

if TYPE_CHECKING:
    from ferrum.samples import Sample, Sampler
    from ferrum.tensor import Tensor


def check_shape(name: str, shape: Shape) -> Shape:
    """Return `shape` if its sizes are not negative and its elements can be addressed."""
    if any(size < 0 for size in shape):
        raise ShapeError(f"{name}: expected sizes of at least 0, got {shape}")
    if len(shape) > 64:
        raise ShapeError(f"{name}: expected at most 64 dimensions, got {len(shape)}")
    check_addressable(name, shape)
    return shape


def check_number(name: str, value: float, dtype: DType) -> None:
    """Raise ArgumentError where an integer dtype cannot hold `value`; fractions are cut off."""
    if CATEGORY[dtype] == 1:
        bits = 8 * dtype.itemsize - (dtype.kind == "i")
        if not (-(1 << bits) if dtype.kind == "i" else 0) <= value < 1 << bits:
            raise ArgumentError(f"{name}: {value} does not fit into {dtype.name}")


# ---- creation


@creation
def full(*, shape: Shape, value: float, dtype: DType) -> Spec:
    """Return a tensor with every element equal to `value`, which an integer dtype must hold."""
    check_number("full", value, dtype)
    return Spec(check_shape("full", shape), dtype)


@full.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(shape=(2, 3), value=1.5, dtype=float32)
    yield s(shape=(), value=7, dtype=int64)
    yield s(shape=(0, 3), value=0.0, dtype=float32)
    yield s.bad(ShapeError, shape=(-1,), value=0.0, dtype=float32)
    yield s.bad(ShapeError, shape=(2**40, 2**40), value=0.0, dtype=float32)
    yield s.bad(ArgumentError, shape=(2,), value=256, dtype=uint8)
    yield s.bad(ArgumentError, shape=(2,), value=nan, dtype=int64)


@creation
def arange(*, start: float, stop: float, step: float, dtype: DType) -> Spec:
    """Return start, start + step, ... up to but without `stop`."""
    if dtype is bool_:
        raise DTypeError("arange: expected an integer or float dtype, got bool")
    if step == 0:
        raise ArgumentError("arange: expected a step other than 0")
    steps = (stop - start) / step
    if not 0 <= steps < inf:
        raise ArgumentError(f"arange: a step of {step} does not lead from {start} to {stop}")
    count = ceil(steps)
    last = start + (count - 1) * step
    fits = is_floating(dtype) or all(-(2**63) <= each < 2**63 for each in (start, last))
    if count and not fits:
        raise ArgumentError(f"arange: {start} to {last} does not fit into {dtype.name}")
    return Spec(check_shape("arange", (count,)), dtype)


@arange.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(start=0, stop=5, step=1, dtype=int64)
    yield s(start=1.0, stop=-1.0, step=-0.5, dtype=float32)
    yield s(start=2, stop=2, step=1, dtype=int64)
    yield s(start=2**63 - 1, stop=2**63, step=1, dtype=int64)
    yield s.bad(ArgumentError, start=0, stop=1, step=0, dtype=int64)
    yield s.bad(ArgumentError, start=2**70, stop=2**70 + 2, step=1, dtype=int64)
    yield s.bad(ArgumentError, start=2**63 - 1, stop=2**63 + 1, step=1, dtype=int64)
    yield s.bad(ArgumentError, start=-(2**63) - 1, stop=0, step=2**60, dtype=int64)
    yield s.bad(ArgumentError, start=1e30, stop=2e30, step=1e30, dtype=int64)
    yield s.bad(ArgumentError, start=0, stop=-3, step=1, dtype=int64)
    yield s.bad(DTypeError, start=0, stop=2, step=1, dtype=bool_)
    yield s.bad(ArgumentError, start=0, stop=nan, step=1, dtype=int64)
    yield s.bad(ArgumentError, start=0, stop=inf, step=1, dtype=int64)
    yield s.bad(ShapeError, start=0, stop=2**62, step=1, dtype=int64)


def _random_spec(name: str, shape: Shape, dtype: DType) -> Spec:
    if not is_floating(dtype):
        raise DTypeError(f"{name}: expected a floating-point dtype, got {dtype.name}")
    return Spec(check_shape(name, shape), dtype)


@creation
def uniform(*, shape: Shape, dtype: DType, key: tuple[int, int]) -> Spec:
    """Return random numbers from [0, 1): `ferrum.philox.uniform` of `key`, the (seed, offset)."""
    return _random_spec("uniform", shape, dtype)


@uniform.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(shape=(3, 5), dtype=float32, key=(1, 2))
    yield s(shape=(7,), dtype=float32, key=(2**64 - 1, 2**40))
    yield s(shape=(), dtype=float32, key=(0, 0))
    yield s(shape=(0,), dtype=float32, key=(0, 0))
    yield s.bad(DTypeError, shape=(2,), dtype=int64, key=(0, 0))
    yield s.bad(ShapeError, shape=(-2,), dtype=float32, key=(0, 0))


@creation
def normal(*, shape: Shape, dtype: DType, key: tuple[int, int]) -> Spec:
    """Return random numbers of the standard normal law: `ferrum.philox.normal` of `key`."""
    return _random_spec("normal", shape, dtype)


@normal.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(shape=(3, 5), dtype=float32, key=(1, 2))
    yield s(shape=(9,), dtype=float32, key=(2**63, 2**33 + 1))
    yield s(shape=(0, 2), dtype=float32, key=(0, 0))
    yield s.bad(DTypeError, shape=(2,), dtype=int64, key=(0, 0))
    yield s.bad(ShapeError, shape=(-2,), dtype=float32, key=(0, 0))


@creation
def randint(*, low: int, high: int, shape: Shape, dtype: DType, key: tuple[int, int]) -> Spec:
    """Return random integers from [low, high): `ferrum.philox.randint` of `key`."""
    check_range(low, high, dtype)
    return Spec(check_shape("randint", shape), dtype)


@randint.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(low=-3, high=9, shape=(4, 3), dtype=int64, key=(5, 1))
    yield s(low=-(2**63), high=2**63 - 1, shape=(4,), dtype=int64, key=(5, 1))
    yield s(low=0, high=2, shape=(0,), dtype=int64, key=(5, 1))
    yield s.bad(ArgumentError, low=3, high=3, shape=(2,), dtype=int64, key=(0, 0))
    yield s.bad(ArgumentError, low=0, high=257, shape=(2,), dtype=uint8, key=(0, 0))
    yield s.bad(DTypeError, low=0, high=3, shape=(2,), dtype=float32, key=(0, 0))
    yield s.bad(ShapeError, low=0, high=3, shape=(-1,), dtype=int64, key=(0, 0))


@creation
def randperm(*, n: int, key: tuple[int, int]) -> Spec:
    """Return the integers 0 to n - 1 in random order: `ferrum.philox.permutation` of `key`."""
    if n < 0:
        raise ArgumentError(f"randperm: expected n of at least 0, got {n}")
    return Spec(check_shape("randperm", (n,)), int64)


@randperm.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(n=17, key=(3, 4))
    yield s(n=0, key=(3, 4))
    yield s.bad(ArgumentError, n=-1, key=(3, 4))
    yield s.bad(ShapeError, n=2**62, key=(3, 4))


# ---- copies


@op
def copy(x: TensorLike) -> Spec:
    """Return x in memory of its own, with its elements in row-major order."""
    return Spec(x.shape, x.dtype)


@copy.gradient
def _(g: Tensor) -> Tensor:
    return g


@copy.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4))
    yield s(s.real())
    yield s(s.real(0, 2))
    yield s.bad(TypeError, "text")
    yield s.bad(TypeError, s.real(2), s.real(2))


@op
def astype(x: TensorLike, *, dtype: DType) -> Spec:
    """Return a copy of x in another dtype: towards zero from floats to integers, which wrap."""
    return Spec(x.shape, dtype)


@astype.gradient
def _(g: Tensor, *, needs: tuple[TensorLike, ...]) -> Tensor:
    return g.to(needs[0].dtype)


@astype.samples
def _(s: Sampler) -> Iterator[Sample]:
    for dtype in sorted(CATEGORY, key=lambda each: each.name):
        make = s if is_floating(dtype) else s.kink
        yield make(s.positive(2, 3), dtype=dtype)
    yield s.bad(TypeError, "text", dtype=float32)
    yield s.bad(TypeError, s.real(2), s.real(2), dtype=float32)


@writes("x")
def copy_(x: TensorLike, y: TensorLike) -> Spec:
    """Write y, broadcast and cast, into x."""
    if broadcast_shapes("copy_", x.shape, y.shape) != x.shape:
        raise ShapeError(f"copy_: a value of shape {y.shape} does not fit into {x.shape}")
    return Spec(x.shape, x.dtype)


@copy_.gradient
def _(g: Tensor, *, needs: Needs) -> tuple[Tensor | None, ...]:
    return None, None if needs[1] is None else g.to(needs[1].dtype)


@copy_.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4), s.real(3, 4))
    yield s(s.real(3, 4), s.real(4))
    yield s(s.real(3, 4), s.typed(int64, 3, 1))
    yield s(s.real(0, 4), s.real(4))
    yield s.bad(ShapeError, s.real(3), s.real(2, 3))
    yield s.bad(ShapeError, s.real(3), s.real(2))


@op
def to_device(x: TensorLike, *, source: Device, target: Device) -> Spec:
    """Return a copy of x, which is on `source`, on the device `target`, by way of the host."""
    return Spec(x.shape, x.dtype)


@to_device.fallback
def _(x: Tensor, *, source: Device, target: Device) -> Tensor:
    with needing("to_device", target, prod(x.shape) * x.dtype.itemsize):
        host = source.backend.to_numpy(x.array).copy()
        return type(x)(target.from_numpy(host), target)


@to_device.gradient
def _(g: Tensor, *, source: Device, target: Device) -> Tensor:
    return to_device(g, source=target, target=source)


@to_device.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 4))
    yield s(s.real(0))
    yield s.bad(TypeError, "text")
    yield s.bad(TypeError, s.real(2), s.real(2))
