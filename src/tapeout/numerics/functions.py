"""exp2, reciprocal, reciprocal square root and sigmoid: fixed algorithms, the same bits everywhere.

One evaluator serves all four: a table of three coefficients per segment and a quadratic in the position
within the segment (the multifunction interpolator of GPUs: Oberman and Siu, ARITH-17, 2005), in integer
arithmetic with a single rounding to FP32 at the end. In hardware: 320 rows of 28 + 21 + 13 bits, a 21 × 18
multiplier, an 18-bit squarer of which 14 bits are kept, a 13 × 14 multiplier, one sum; a result per cycle
when pipelined.

`MAX_ULP` bounds the error against the true function over every FP32 input (the slow tests go through them
all). Results are exact where the true result is a power of two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapeout.numerics import fp32, tables
from tapeout.numerics.fit_tables import C0_BITS, C1_BITS, C2_BITS, SQUARE_BITS, STEP_BITS

I64 = NDArray[np.int64]
EXP2 = np.array(tables.EXP2, dtype=np.int64)  # [64, 3]: 2^f, f in [0, 1)
RECIPROCAL = np.array(tables.RECIPROCAL, dtype=np.int64)  # [128, 3]: 1/m, m in [1, 2)
RSQRT = np.array(tables.RSQRT, dtype=np.int64)  # [2 × 64, 3]: 1/√m, m in [1, 2) then [2, 4)
RESULT_BITS = C1_BITS + STEP_BITS  # fraction bits of the evaluator's exact sum: 44
EXP2_BITS = 24  # fraction bits of exp2's argument
LOG2E_BITS = 31
LOG2E = 3098164010  # round(log2(e) × 2^31)
MAX_ULP = {
    "exp2": 1.0,
    "reciprocal": 0.86,
    "rsqrt": 1.41,
    "sigmoid": 1.76,
}  # measured: 0.999, 0.858, 1.406, 1.753


def interpolate(table: I64, index: I64, step: I64) -> I64:
    """The evaluator: C0 + C1·s + C2·s², s = step / 2^18, as an exact integer times 2^-44.

    `step` has 18 bits; its square is truncated to 14.
    """
    square = (step * step) >> (2 * STEP_BITS - SQUARE_BITS)
    c0, c1, c2 = table[index, 0], table[index, 1], table[index, 2]
    return (
        (c0 << (RESULT_BITS - C0_BITS)) + c1 * step + ((c2 * square) << (RESULT_BITS - C2_BITS - SQUARE_BITS))
    )


def split(x: ArrayLike) -> tuple[I64, I64, I64]:
    """(sign, exponent, 23-bit fraction) of nonzero finite float32: |x| = (1 + fraction / 2^23) × 2^exponent.

    Subnormals are normalised.
    """
    b = fp32.bits(x).astype(np.int64)
    field, fraction = (b >> 23) & 0xFF, b & 0x7FFFFF
    _, length = np.frexp(fraction.astype(np.float64))  # bit length
    shift = np.where(field == 0, 24 - length, 0)
    return b >> 31, np.where(field == 0, -126 - shift, field - 127), (fraction << shift) & 0x7FFFFF


def fixed(significand: I64, shift: I64) -> I64:
    """significand × 2^shift, a positive integer rounded half up."""
    left = significand << np.clip(shift, 0, 38)
    down = np.clip(-shift, 1, 62)
    return np.where(shift >= 0, left, ((significand >> (down - 1)) + 1) >> 1)


def exp2_parts(t: I64) -> tuple[I64, I64]:
    """2^(t / 2^24) as (integer part of the exponent, evaluator's sum in [1, 2) × 2^44)."""
    fraction = t & ((1 << EXP2_BITS) - 1)
    return t >> EXP2_BITS, interpolate(EXP2, fraction >> STEP_BITS, fraction & ((1 << STEP_BITS) - 1))


def exp2(x: ArrayLike) -> fp32.F32:
    """2^x. Overflows to +∞ at x ≥ 128, underflows through the subnormals to +0; NaN → NaN.

    |x| is rounded half up to 24 fraction bits, then negated if x is negative; |x| ≥ 256 saturates.
    """
    x = np.asarray(x, dtype=np.float32)
    sign, e, fraction = split(x)
    t = fixed(fraction | (1 << 23), np.minimum(e, 8) - 23 + EXP2_BITS)
    whole, r = exp2_parts(np.where(sign != 0, -t, t))
    y = fp32.scaled(r, whole - RESULT_BITS)
    y = np.where(e >= 8, np.where(sign != 0, np.float32(0), np.float32(np.inf)), y)
    y = np.where(x == 0, np.float32(1), y)
    return fp32.canonical(np.where(np.isnan(x), np.float32(np.nan), y))


def reciprocal(x: ArrayLike) -> fp32.F32:
    """1/x. 1/±0 = ±∞, 1/±∞ = ±0, NaN → NaN; |x| ≤ 2^-128 overflows to ±∞; subnormals are kept."""
    x = np.asarray(x, dtype=np.float32)
    sign, e, fraction = split(x)
    step = (fraction << 2) & ((1 << STEP_BITS) - 1)
    y = fp32.scaled(interpolate(RECIPROCAL, fraction >> 16, step), -e - RESULT_BITS)
    y = np.where(x == 0, np.float32(np.inf), np.where(np.isinf(x), np.float32(0), y))
    y = np.where(sign != 0, -y, y)
    return fp32.canonical(np.where(np.isnan(x), np.float32(np.nan), y))


def rsqrt(x: ArrayLike) -> fp32.F32:
    """1/√x. 1/√±0 = ±∞ (IEEE 754 rSqrt), 1/√+∞ = +0; x < 0 and NaN → NaN."""
    x = np.asarray(x, dtype=np.float32)
    sign, e, fraction = split(x)
    odd = e & 1
    step = (fraction << 1) & ((1 << STEP_BITS) - 1)
    y = fp32.scaled(interpolate(RSQRT, (odd << 6) | (fraction >> 17), step), -((e - odd) >> 1) - RESULT_BITS)
    y = np.where(np.isinf(x), np.float32(0), y)
    y = np.where((sign != 0) | np.isnan(x), np.float32(np.nan), y)
    return fp32.canonical(np.where(x == 0, np.copysign(np.float32(np.inf), x), y))


def sigmoid(x: ArrayLike) -> fp32.F32:
    """1 / (1 + e^-x), through the evaluator twice, without rounding to FP32 in between.

    1. t = −x·log2(e): the 24-bit significand times the 32-bit constant, rounded half up to 24 fraction bits
       (magnitude first, then the sign). |x| ≥ 128 saturates to 0 or 1.
    2. u = 2^t, truncated to 27 fraction bits: r × 2^whole.
    3. v = 1 + u at those 27 bits (the smaller addend truncated), normalised to [1, 2) × 2^exponent, truncated
       to 25 fraction bits.
    4. 1 / v.
    """
    x = np.asarray(x, dtype=np.float32)
    sign, e, fraction = split(x)
    t = fixed((fraction | (1 << 23)) * LOG2E, np.minimum(e, 7) - 23 - LOG2E_BITS + EXP2_BITS)
    whole, r = exp2_parts(np.where(sign != 0, t, -t))
    r >>= RESULT_BITS - 27
    one = np.int64(1 << 27)
    grown = np.where(whole >= 0, r + (one >> np.clip(whole, 0, 28)), one + (r >> np.clip(-whole, 0, 28)))
    carry = grown >> 28
    exponent = np.maximum(whole, 0) + carry
    v = (grown >> (carry + 2)) & ((1 << 25) - 1)
    y = fp32.scaled(
        interpolate(RECIPROCAL, v >> STEP_BITS, v & ((1 << STEP_BITS) - 1)), -exponent - RESULT_BITS
    )
    y = np.where(e >= 7, np.where(sign != 0, np.float32(0), np.float32(1)), y)
    y = np.where(x == 0, np.float32(0.5), y)
    return fp32.canonical(np.where(np.isnan(x), np.float32(np.nan), y))
