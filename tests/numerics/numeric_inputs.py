"""Wide-ranging inputs: narrow exponents would hide every error of order and rounding."""

from __future__ import annotations

import numpy as np

from tapeout.numerics import fp32
from tapeout.numerics.convert import quantise
from tapeout.numerics.formats import Mx, MxFormat

SPECIAL = np.array(
    [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1.0,
        -1.0,
        2**-126,
        -(2**-149),
        2**-127,
        3.4028235e38,
        0.5,
        1.5,
        2.5,
    ],
    np.float32,
)


def wide(rng: np.random.Generator, shape: tuple[int, ...], binades: int = 40, centre: int = 0) -> fp32.F32:
    """Random signs and mantissas, exponents uniform over `binades` around `centre`, some zeros."""
    x = rng.uniform(1, 2, shape) * rng.choice([-1.0, 1.0], shape)
    x = x * np.exp2(rng.integers(centre - binades // 2, centre + (binades + 1) // 2, shape))
    x[rng.random(shape) < 0.03] = 0
    return x.astype(np.float32)


def any_bits(rng: np.random.Generator, shape: tuple[int, ...]) -> fp32.F32:
    """Uniform over bit patterns: every exponent, subnormals, infinities and NaN."""
    return fp32.canonical(fp32.from_bits(rng.integers(0, 1 << 32, shape, dtype=np.uint32)))


def blocks(rng: np.random.Generator, format: MxFormat, rows: int, k: int, kind: str) -> Mx:
    """Operands of a product: `wide` (order matters), `codes` (any code, any scale but NaN) or `hostile` (NaN too)."""
    if kind == "wide":
        spread = np.exp2(rng.integers(-14, 14, (rows, -(-k // 32)))).repeat(32, axis=1)[:, :k]
        return quantise((wide(rng, (rows, k), 8) * spread).astype(np.float32), format)
    q = quantise(np.zeros((rows, k), np.float32), format)
    if format.name == "mxint15":
        codes = rng.integers(-16383, 16384, q.codes.shape).astype(np.int16)
    else:
        codes = rng.integers(0, 256, q.codes.shape, dtype=np.uint8).view(q.codes.dtype)
    if format.name == "mxfp8" and kind == "codes":
        codes = np.where((codes & 0x7F) == 0x7F, 0, codes).astype(np.uint8)
    scales = rng.integers(0, 256 if kind == "hostile" else 255, q.scales.shape, dtype=np.uint8)
    if kind == "codes":  # products land on all of FP32's range, its subnormals included
        scales = rng.integers(20, 200, q.scales.shape, dtype=np.uint8)
    return Mx(format, codes, scales)


def same(a: fp32.F32, b: fp32.F32) -> bool:
    """Equality of bits."""
    return a.shape == b.shape and bool((fp32.bits(a) == fp32.bits(b)).all())
