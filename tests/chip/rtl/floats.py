"""FP32 bit patterns that find bugs: every class, every exponent, near-equal pairs, ties."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U32 = NDArray[np.uint32]
SPECIAL = np.array(
    [0, 1, 2, 0x7FFFFF, 0x800000, 0x800001, 0x3F800000, 0x3F7FFFFF, 0x3F800001, 0x7F7FFFFF, 0x7F7FFFFE, 0x7F800000,
     0x7FC00000, 0x7F800001, 0x4B000000, 0x4B7FFFFF, 0x34000000, 0x33800000, 0x00FFFFFF, 0x01000000],
    np.uint32,
)  # fmt: skip


def bits(rng: np.random.Generator, n: int) -> U32:
    """Uniform over bit patterns, with runs of zeros and ones in the fraction, and the special values."""
    x = rng.integers(0, 2**32, n, dtype=np.uint32)
    sparse = rng.integers(0, 3, n)
    mask = np.uint32(0x7FFFFF) >> rng.integers(0, 23, n).astype(np.uint32)
    x = np.where(sparse == 1, x & ~mask, np.where(sparse == 2, x | mask, x)).astype(np.uint32)
    special = np.concatenate([SPECIAL, SPECIAL | np.uint32(0x80000000)])
    return np.where(rng.random(n) < 0.1, rng.choice(special, n), x)


def pairs(rng: np.random.Generator, n: int) -> tuple[U32, U32]:
    """Pairs: unrelated; of nearby exponents; nearly opposite; tiny products; all special combinations first."""
    special = np.concatenate([SPECIAL, SPECIAL | np.uint32(0x80000000)])
    a0, b0 = (x.ravel() for x in np.meshgrid(special, special))
    a = bits(rng, n)
    kind = rng.integers(0, 5, n)
    near = (a & 0xFF800000) + (rng.integers(-26, 27, n) << 23).astype(np.int64)
    near = (near & 0xFF800000).astype(np.uint32) | (bits(rng, n) & np.uint32(0x807FFFFF))
    opposite = (a ^ np.uint32(0x80000000)) + rng.integers(-3, 4, n).astype(np.uint32)
    small = bits(rng, n) & np.uint32(0x81FFFFFF)
    # of exponents that add up to the edge of the subnormal range, or to overflow
    edge = np.where(
        rng.random(n) < 0.8, 127 - (a >> 23 & 0xFF) + rng.integers(-28, 4, n), 382 - (a >> 23 & 0xFF)
    )
    edge = (np.clip(edge, 0, 254).astype(np.uint32) << 23) | (bits(rng, n) & np.uint32(0x807FFFFF))
    b = np.select([kind == 0, kind == 1, kind == 2, kind == 3], [bits(rng, n), near, opposite, edge], small)
    a = np.where(kind == 4, a & np.uint32(0x81FFFFFF), a)
    return np.concatenate([a0, a]).astype(np.uint32), np.concatenate([b0, b]).astype(np.uint32)
