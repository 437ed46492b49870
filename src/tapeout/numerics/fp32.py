"""FP32 as the chip has it: IEEE 754 binary32, round to nearest even, subnormals kept, one NaN.

Every operation that can produce a NaN produces the canonical quiet NaN 0x7FC00000 (as RISC-V does), so that
bits are defined there too. NumPy and C propagate payloads, so results pass through `canonical` before
anything sees their bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

F32 = NDArray[np.float32]
CANONICAL_NAN = 0x7FC00000


def canonical(x: ArrayLike) -> F32:
    """`x` as float32 with every NaN the canonical one."""
    x = np.asarray(x, dtype=np.float32)
    return np.asarray(np.where(np.isnan(x), np.uint32(CANONICAL_NAN).view(np.float32), x))


def bits(x: ArrayLike) -> NDArray[np.uint32]:
    """The bit patterns of float32 `x`, same shape."""
    return np.ascontiguousarray(x, dtype=np.float32).view(np.uint32).reshape(np.shape(x))


def from_bits(b: ArrayLike) -> F32:
    """The float32 with these bit patterns."""
    return np.ascontiguousarray(b, dtype=np.uint32).view(np.float32).reshape(np.shape(b))


def scaled(significand: ArrayLike, exponent: ArrayLike) -> F32:
    """significand × 2^exponent rounded once to FP32 (nearest even; subnormals kept; overflow to infinity).

    `significand` is an integer of magnitude below 2^53, `exponent` any integer. Exact until the one rounding:
    a double holds the product as long as it is not smaller than any FP32 rounding could see, and an exponent
    beyond that range is clamped to a value that rounds the same way.
    """
    e = np.clip(np.asarray(exponent, dtype=np.int64), -300, 300)
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(np.asarray(significand, dtype=np.float64), e.astype(np.int32)).astype(np.float32)


def bf16_to_f32(codes: ArrayLike) -> F32:
    """BF16 bit patterns (uint16) as float32: the upper half of the word. Exact; NaN payloads survive."""
    return from_bits(np.asarray(codes, dtype=np.uint32) << 16)


def f32_to_bf16(x: ArrayLike) -> NDArray[np.uint16]:
    """float32 to BF16 bit patterns, nearest even; overflow to infinity, NaN to 0x7FC0."""
    b = bits(x).astype(np.uint64)
    rounded = (b + 0x7FFF + ((b >> 16) & 1)) >> 16
    return np.where((b & 0x7FFFFFFF) > 0x7F800000, 0x7FC0, rounded).astype(np.uint16)


def order_key(x: ArrayLike) -> NDArray[np.int32]:
    """An integer that orders float32 as the chip does (totalOrder): −∞ < … < −0 < +0 < … < +∞ < NaN."""
    b = bits(x).view(np.int32)
    return b ^ ((b >> 31) & np.int32(0x7FFFFFFF))


def mul(a: ArrayLike, b: ArrayLike) -> F32:
    """a × b, one rounding."""
    with np.errstate(all="ignore"):
        return canonical(np.multiply(a, b, dtype=np.float32))


def add(a: ArrayLike, b: ArrayLike) -> F32:
    """a + b, one rounding."""
    with np.errstate(all="ignore"):
        return canonical(np.add(a, b, dtype=np.float32))


def sub(a: ArrayLike, b: ArrayLike) -> F32:
    """a − b, one rounding."""
    with np.errstate(all="ignore"):
        return canonical(np.subtract(a, b, dtype=np.float32))


def maximum(a: ArrayLike, b: ArrayLike) -> F32:
    """IEEE 754-2019 maximum: NaN if either is NaN; −0 < +0."""
    a, b = canonical(a), canonical(b)
    return np.where(np.isnan(a) | (~np.isnan(b) & (order_key(a) >= order_key(b))), a, b)


def minimum(a: ArrayLike, b: ArrayLike) -> F32:
    """IEEE 754-2019 minimum: NaN if either is NaN; −0 < +0."""
    a, b = canonical(a), canonical(b)
    return np.where(np.isnan(a) | (~np.isnan(b) & (order_key(a) <= order_key(b))), a, b)
