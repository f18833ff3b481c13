"""Dropout: its mask is a function of the key, so nothing is kept for the way back."""

from __future__ import annotations

from collections.abc import Iterator
from math import nan
from typing import TYPE_CHECKING

from ferrum import Spec, TensorLike, op
from ferrum.dtypes import float64, int64, is_floating
from ferrum.errors import ArgumentError, DTypeError
from ferrum.ops import uniform

if TYPE_CHECKING:
    from ferrum import Device, Tensor
    from ferrum.dtypes import DType
    from ferrum.samples import Sample, Sampler
    from ferrum.spec import Shape


@op(ulp=2)
def dropout(x: TensorLike, *, p: float, key: tuple[int, int]) -> Spec:
    """Return x / (1 - p), each element 0 times it where its draw from [0, 1) is below p.

    The draws are `ferrum.philox.uniform` of the `key` in float64, whatever the dtype of x.
    """
    if not is_floating(x.dtype):
        raise DTypeError(f"dropout: expected a floating-point tensor, got {x.dtype.name}")
    if not 0 <= p <= 1:
        raise ArgumentError(f"dropout: expected a probability from 0 to 1, got p={p!r}")
    return Spec(x.shape, x.dtype)


@dropout.fallback
def _(x: Tensor, *, p: float, key: tuple[int, int]) -> Tensor:
    return x * (kept(x.shape, x.dtype, x.device, p, key) * (1 / (1 - p) if p < 1 else 0.0))


@dropout.gradient
def _(g: Tensor, *, p: float, key: tuple[int, int]) -> Tensor:
    return dropout(g, p=p, key=key)


def kept(shape: Shape, dtype: DType, device: Device, p: float, key: tuple[int, int]) -> Tensor:
    """Return 0 with probability p, else 1, in a `dtype`; the same ones in every dtype."""
    return (uniform(shape=shape, dtype=float64, key=key, device=device) >= p).to(dtype)


@dropout.samples
def _(s: Sampler) -> Iterator[Sample]:
    yield s(s.real(3, 5), p=0.5, key=(1, 2))
    yield s(s.real(2, 3, 4), p=0.1, key=(2**64 - 1, 2**40))
    yield s(s.real(3), p=0.0, key=(0, 0))
    yield s(s.real(3), p=1.0, key=(0, 0))
    yield s(s.real(), p=0.3, key=(0, 1))
    yield s(s.real(0, 2), p=0.5, key=(0, 0))
    yield s.bad(ArgumentError, s.real(3), p=-0.1, key=(0, 0))
    yield s.bad(ArgumentError, s.real(3), p=1.5, key=(0, 0))
    yield s.bad(ArgumentError, s.real(3), p=nan, key=(0, 0))
    yield s.bad(DTypeError, s.typed(int64, 3), p=0.5, key=(0, 0))
