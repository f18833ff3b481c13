"""FERRUM's random numbers in NumPy alone: the reference whose bits every backend returns.

The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
1, 2, 3", SC 2011): a pure function from a 64-bit key and a 128-bit counter to four 32-bit words,
called a block. Every function here is pure in `key = (seed, offset)`, both taken modulo 2**64:

- the key words of Philox are (seed mod 2**32, seed div 2**32);
- the counter words of block b are (b mod 2**32, b div 2**32, offset mod 2**32, offset div 2**32).

The element of logical row-major index i in the output takes draw i, whatever the memory layout:

- 32-bit draw i is word i mod 4 of block i div 4;
- 64-bit draw i is words 2 * (i mod 2) and 2 * (i mod 2) + 1 of block i div 2, the low word first.

Whoever wants fresh numbers asks again with another offset.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ferrum.dtypes import (
    CATEGORY,
    DType,
    DTypeLike,
    as_dtype,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
)
from ferrum.errors import ArgumentError, DTypeError, ShapeError
from ferrum.spec import Shape

UInt32s: TypeAlias = npt.NDArray[np.uint32]
UInt64s: TypeAlias = npt.NDArray[np.uint64]
Float64s: TypeAlias = npt.NDArray[np.float64]

# The multipliers, and the Weyl constants that step the key from one round to the next.
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
# Little-endian on any host, so that a block seen as 8-byte draws has its low word first.
_DRAW32 = np.dtype("<u4")
_DRAW64 = np.dtype("<u8")
# Blocks computed at a time: the six work arrays of a round, 128 KiB each, stay in a core's cache.
_CHUNK = 1 << 14


def _counters(first: int, count: int, offset: int) -> list[UInt64s]:
    block = np.arange(count, dtype=np.uint64) + np.uint64(first % 2**64)
    low, high = np.full(count, offset & 0xFFFFFFFF), np.full(count, offset >> 32 & 0xFFFFFFFF)
    return [block & _LOW, block >> _HALF, low.astype(np.uint64), high.astype(np.uint64)]


def blocks(first: int, count: int, key: tuple[int, int]) -> npt.NDArray[np.uint64]:
    """Return blocks `first` ... `first + count - 1` as little-endian uint64 (count, 2).

    Row b holds the two 64-bit draws of block `first + b`; seen as uint32 it holds the four words.
    Each round maps words (a, b, c, d) under key words (k0, k1) to
    (high(c * M1) ^ b ^ k0, low(c * M1), high(a * M0) ^ d ^ k1, low(a * M0)), then steps the key.
    """
    seed, offset = key
    a, b, c, d = _counters(first, count, offset)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
    # Words sit in 64-bit lanes, so one product gives both halves; in place, it is twice as fast.
    product0, product1 = np.empty_like(a), np.empty_like(a)
    for _ in range(ROUNDS):
        np.multiply(a, np.uint64(MULTIPLIERS[0]), out=product0)
        np.multiply(c, np.uint64(MULTIPLIERS[1]), out=product1)
        np.right_shift(product1, _HALF, out=a)
        a ^= b
        a ^= np.uint64(k0)
        np.right_shift(product0, _HALF, out=c)
        c ^= d
        c ^= np.uint64(k1)
        np.bitwise_and(product1, _LOW, out=b)
        np.bitwise_and(product0, _LOW, out=d)
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    out = np.empty((count, 2), _DRAW64)
    out[:, 0] = a | b << _HALF
    out[:, 1] = c | d << _HALF
    return out


def _generate(
    name: str,
    shape: Shape,
    dtype: DType,
    key: tuple[int, int],
    draw: DType,
    transform: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
) -> npt.NDArray[Any]:
    """Return an array whose element i is `transform` of draw i, made chunk by chunk."""
    if min(shape, default=0) < 0:
        raise ShapeError(f"{name}: expected a shape without negative sizes, got {shape}")
    out = np.empty(math.prod(shape), dtype)
    per_block = 16 // draw.itemsize
    for start in range(0, out.size, _CHUNK * per_block):
        part = out[start : start + _CHUNK * per_block]
        words = blocks(start // per_block, -(-part.size // per_block), key)
        part[:] = transform(words.view(draw).reshape(-1)[: part.size])
    return out.reshape(shape)


def bits32(n: int, key: tuple[int, int]) -> UInt32s:
    """Return the first n 32-bit draws, uint32 (n,)."""
    return _generate("bits32", (n,), np.dtype(np.uint32), key, _DRAW32, lambda words: words)


def bits64(n: int, key: tuple[int, int]) -> UInt64s:
    """Return the first n 64-bit draws, uint64 (n,)."""
    return _generate("bits64", (n,), np.dtype(np.uint64), key, _DRAW64, lambda words: words)


# How many of a draw's top bits a dtype's significand holds exactly; the rest is shifted out.
_UNIFORM: dict[DType, tuple[DType, int]] = {
    float16: (_DRAW32, 11),
    bfloat16: (_DRAW32, 8),
    float32: (_DRAW32, 24),
    float64: (_DRAW64, 53),
}


def _floating(name: str, dtype: DTypeLike) -> DType:
    found = as_dtype(dtype)
    if found not in _UNIFORM:
        raise DTypeError(f"{name}: expected a floating-point dtype, got {found}")
    return found


def uniform(shape: Shape, dtype: DTypeLike, key: tuple[int, int]) -> npt.NDArray[Any]:
    """Return numbers evenly spread over [0, 1), of `shape` and a floating-point `dtype`.

    Element i is (w >> (size - p)) * 2**-p for draw w: float64 has p = 53 and 64-bit draws; float32,
    float16 and bfloat16 have p = 24, 11 and 8 and 32-bit draws. All steps are exact, so 1 never
    comes. Raises DTypeError for another dtype.
    """
    found = _floating("uniform", dtype)
    draw, precision = _UNIFORM[found]
    shift = draw.type(8 * draw.itemsize - precision)
    signed, real = np.dtype(f"i{draw.itemsize}"), np.dtype(f"f{draw.itemsize}")

    def transform(words: npt.NDArray[Any]) -> npt.NDArray[Any]:
        # The shift cleared the sign bit, and signed integers convert faster.
        numbers: npt.NDArray[Any] = (words >> shift).astype(signed).astype(real)
        return numbers * 2.0**-precision

    return _generate("uniform", shape, found, key, draw, transform)


# The coefficients of AS241's PPND16, highest power first.
_CENTRE = (
    (
        2.5090809287301226727e3,
        3.3430575583588128105e4,
        6.7265770927008700853e4,
        4.5921953931549871457e4,
        1.3731693765509461125e4,
        1.9715909503065514427e3,
        1.3314166789178437745e2,
        3.3871328727963666080e0,
    ),
    (
        5.2264952788528545610e3,
        2.8729085735721942674e4,
        3.9307895800092710610e4,
        2.1213794301586595867e4,
        5.3941960214247511077e3,
        6.8718700749205790830e2,
        4.2313330701600911252e1,
        1.0,
    ),
)
_TAIL = (
    (
        7.74545014278341407640e-4,
        2.27238449892691845833e-2,
        2.41780725177450611770e-1,
        1.27045825245236838258e0,
        3.64784832476320460504e0,
        5.76949722146069140550e0,
        4.63033784615654529590e0,
        1.42343711074968357734e0,
    ),
    (
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        1.51986665636164571966e-2,
        1.48103976427480074590e-1,
        6.89767334985100004550e-1,
        1.67638483018380384940e0,
        2.05319162663775882187e0,
        1.0,
    ),
)
_FAR_TAIL = (
    (
        2.01033439929228813265e-7,
        2.71155556874348757815e-5,
        1.24266094738807843860e-3,
        2.65321895265761230930e-2,
        2.96560571828504891230e-1,
        1.78482653991729133580e0,
        5.46378491116411436990e0,
        6.65790464350110377720e0,
    ),
    (
        2.04426310338993978564e-15,
        1.42151175831644588870e-7,
        1.84631831751005468180e-5,
        7.86869131145613259100e-4,
        1.48753612908506148525e-2,
        1.36929880922735805310e-1,
        5.99832206555887937690e-1,
        1.0,
    ),
)
_LN2 = 0.6931471805599453
# The bits of sqrt(1/2): subtracting them makes the exponent field that of the nearest power of two.
_SQRT_HALF = np.int64(0x3FE6A09E667F3BCD)
_ATANH = tuple(1.0 / k for k in range(19, 0, -2))


def _horner(x: Float64s, coefficients: tuple[float, ...]) -> Float64s:
    total = x * coefficients[0]
    total += coefficients[1]
    for coefficient in coefficients[2:]:
        total *= x
        total += coefficient
    return total


def _log(x: Float64s) -> Float64s:
    """Return the natural logarithm of positive, normal float64, to about 1 ulp; see `normal`."""
    bits = x.view(np.int64)
    exponent = (bits - _SQRT_HALF) >> np.int64(52)
    m = (bits - (exponent << np.int64(52))).view(np.float64)
    f = (m - 1.0) / (m + 1.0)
    return exponent.astype(np.float64) * _LN2 + (f + f) * _horner(f * f, _ATANH)


def _ratio(x: Float64s, pair: tuple[tuple[float, ...], tuple[float, ...]]) -> Float64s:
    return _horner(x, pair[0]) / _horner(x, pair[1])


def _tail(p: Float64s) -> Float64s:
    """Return minus the quantile of p, for 0 < p < 0.075."""
    r = np.sqrt(-_log(p))
    x = _ratio(r - 1.6, _TAIL)
    far = np.nonzero(r > 5.0)[0]
    x[far] = _ratio(r[far] - 5.0, _FAR_TAIL)
    return x


def _quantile(words: UInt64s) -> Float64s:
    """Return the standard normal quantile of 64-bit draws, as float64; see `normal`."""
    signed = (words >> np.uint64(11)).astype(np.int64) - np.int64(2**52)
    q = (signed.astype(np.float64) + 0.5) * 2.0**-53
    r = 0.180625 - q * q
    x = _horner(r, _CENTRE[0]) * q / _horner(r, _CENTRE[1])
    tail = np.nonzero(np.abs(q) > 0.425)[0]
    side = q[tail]
    x[tail] = np.copysign(_tail(0.5 - np.abs(side)), side)
    return x


def _as_bfloat16(x: Float64s) -> Float64s:
    """Return x rounded to bfloat16's 8 significant bits, to nearest and ties to even.

    A cast by ml_dtypes rounds to float32 first, and so rounds some numbers twice.
    """
    bits = x.view(np.uint64)
    half = ((bits >> np.uint64(45)) & np.uint64(1)) + np.uint64(2**44 - 1)
    return ((bits + half) & np.uint64(2**64 - 2**45)).view(np.float64)


def normal(shape: Shape, dtype: DTypeLike, key: tuple[int, int]) -> npt.NDArray[Any]:
    """Return standard normal numbers, of `shape` and a floating-point `dtype`.

    Element i is the normal quantile of u = ((w >> 11) + 0.5) * 2**-53 for 64-bit draw w, by
    Wichura's PPND16 (algorithm AS241, Applied Statistics 37, 1988). For the same bits elsewhere,
    do these float64 operations, each rounded to nearest on its own: no FMA, no reordering, no libm.

    1. q = (float64(int64(w >> 11) - 2**52) + 0.5) * 2**-53. This is u - 0.5 and exact; u itself has
       no exact float64 near 1, and would round to 1.
    2. If |q| <= 0.425: r = 0.180625 - q * q and x = (P(r) * q) / Q(r), with the pair `_CENTRE`.
    3. Else p = 0.5 - |q|, exact again, and r = sqrt(-log(p)) with log as below. If r <= 5,
       x = P(r - 1.6) / Q(r - 1.6) with `_TAIL`, else x = P(r - 5) / Q(r - 5) with `_FAR_TAIL`.
       Then x takes the sign of q.
    4. x is rounded once, to nearest, ties to even, to `dtype`: never by way of another dtype.

    A polynomial of coefficients c0 ... c7, highest power first, is
    ((((((c0 * r + c1) * r + c2) * r + c3) * r + c4) * r + c5) * r + c6) * r + c7.

    log(p): with b the bits of p as int64, e = (b - 0x3FE6A09E667F3BCD) >> 52 (arithmetic shift) and
    m the float64 of bits b - (e << 52), in [sqrt(1/2), sqrt(2)); f = (m - 1) / (m + 1); s = f * f;
    t is the polynomial in s of coefficients 1/19, 1/17, ..., 1/3, 1, each the rounded quotient;
    log(p) = float64(e) * 0.6931471805599453 + (f + f) * t.

    |x| is at most 8.293 (p = 2**-54). Raises DTypeError for a dtype that is not floating-point.
    """
    found = _floating("normal", dtype)
    transform = _narrow_quantile if found is bfloat16 else _quantile
    return _generate("normal", shape, found, key, _DRAW64, transform)


def _narrow_quantile(words: UInt64s) -> Float64s:
    return _as_bfloat16(_quantile(words))


def check_range(low: int, high: int, dtype: DType) -> None:
    """Raise unless integers of [low, high) can be drawn as `dtype`: DTypeError or ArgumentError."""
    if CATEGORY[dtype] == 2:
        raise DTypeError(f"randint: expected bool or an integer dtype, got {dtype}")
    first, last = (0, 1) if dtype is bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if not first <= low < high <= last + 1:
        raise ArgumentError(
            f"randint: expected {first} <= low < high <= {last + 1} for {dtype}, "
            f"got low={low}, high={high}"
        )


def randint(
    low: int, high: int, shape: Shape, dtype: DTypeLike, key: tuple[int, int]
) -> npt.NDArray[Any]:
    """Return integers of [low, high), of `shape` and a bool or integer `dtype`.

    Element i is low + w mod (high - low) for 64-bit draw w, so that a value's probability is off by
    at most 2**-64. Any range that `dtype` holds will do, the 2**64 values of int64 included. Raises
    ArgumentError for an empty range or one that `dtype` does not hold, DTypeError for a float.
    """
    found = as_dtype(dtype)
    check_range(low, high, found)
    # Modulo 2**64, where the sum wraps as two's complement does.
    start, span = np.uint64(low % 2**64), high - low

    def transform(words: UInt64s) -> npt.NDArray[np.int64]:
        rest = words if span == 2**64 else words % np.uint64(span)
        return (rest + start).astype(np.int64)

    return _generate("randint", shape, found, key, _DRAW64, transform)


def permutation(n: int, key: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Return 0 ... n - 1 in random order, int64 (n,): the stable argsort of n 64-bit draws."""
    return np.argsort(bits64(n, key), kind="stable").astype(np.int64, copy=False)
