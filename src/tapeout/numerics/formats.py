"""The formats of matrix operands: blocks of 32 elements that share one power-of-two scale.

OCP Microscaling Formats (MX) v1.0: MXFP4 (E2M1), MXFP8 (E4M3) and MXINT8, scale E8M0. MXINT15 is an
extension of ours for BF16 tensors, FP32 activations and wide KV caches: 15-bit integers × 2^-13, which an
engine of 8-bit multipliers does exactly in passes, because v = 128·h + l with h in [-128, 127] and l in
[0, 127], and both digits fit a signed 8-bit multiplier. It holds BF16 values exactly down to 2^-6 of the
largest in their block and everything to within 2^-14 of it, which is more than BF16 holds of the largest.
A chip whose engine takes `bf16` takes MXINT15 operands: there is no BF16 multiplier.

Every element is an integer times 2^-fraction, so every product of blocks is an integer product. NaN exists
only as a scale (255, the whole block is NaN) or as E4M3's own NaN code (which makes the block's product NaN).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapeout.numerics import fp32

BLOCK = 32
SCALE_BIAS = 127
SCALE_NAN = 255
FormatName = Literal["mxfp4", "mxint8", "mxfp8", "mxint15"]


@dataclass(frozen=True)
class MxFormat:
    """A block format. `emax` is the exponent of the largest power of two an element holds.

    Floating elements have `mantissa_bits` and `emin` (exponent of the smallest normal); integer ones have
    neither. `fraction`: element = integer × 2^-fraction. `largest`: the largest magnitude, as that integer.
    """

    name: FormatName
    bits: int
    emax: int
    fraction: int
    largest: int
    floating: bool
    mantissa_bits: int = 0
    emin: int = 0

    @property
    def bytes_per_block(self) -> int:
        """Bytes in memory of 32 elements and their scale (MXINT15 takes two bytes an element)."""
        return BLOCK * (16 if self.name == "mxint15" else self.bits) // 8 + 1

    @cached_property
    def table(self) -> NDArray[np.int32]:
        """The integer of each element code, for the floating formats; E4M3's two NaN codes read 0 here."""
        m, bias = self.mantissa_bits, 1 - self.emin
        codes = np.arange(1 << self.bits)
        sign = np.where(codes >> (self.bits - 1), -1, 1)
        exponent = (codes >> m) & ((1 << (self.bits - 1 - m)) - 1)
        mantissa = codes & ((1 << m) - 1)
        significand = np.where(exponent == 0, mantissa, mantissa + (1 << m))
        shift = np.maximum(exponent, 1) - bias + self.fraction - m
        value = sign * (significand << shift)
        return np.where(abs(value) > self.largest, 0, value).astype(np.int32)


MXFP4 = MxFormat("mxfp4", 4, 2, 1, 12, True, mantissa_bits=1, emin=0)
MXFP8 = MxFormat("mxfp8", 8, 8, 9, 448 << 9, True, mantissa_bits=3, emin=-6)
MXINT8 = MxFormat("mxint8", 8, 0, 6, 127, False)
MXINT15 = MxFormat("mxint15", 15, 0, 13, 16383, False)
FORMATS: dict[str, MxFormat] = {f.name: f for f in (MXFP4, MXINT8, MXFP8, MXINT15)}


@dataclass(frozen=True)
class Mx:
    """An array of blocks along its last axis.

    `codes`: MXFP4 uint8 [..., K/2] (low nibble first, as published checkpoints have it), MXFP8 uint8
    [..., K], MXINT8 int8 [..., K], MXINT15 int16 [..., K]. `scales`: uint8 [..., K/32], E8M0 codes. K is a
    multiple of 32.
    """

    format: MxFormat
    codes: NDArray[np.generic]
    scales: NDArray[np.uint8]

    @property
    def shape(self) -> tuple[int, ...]:
        """Logical shape, [..., K]."""
        return (*self.scales.shape[:-1], self.scales.shape[-1] * BLOCK)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.codes.nbytes + self.scales.nbytes

    def __getitem__(self, index: Any) -> Mx:
        """The blocks of some leading indices."""
        return Mx(self.format, self.codes[index], self.scales[index])

    def integers(self) -> NDArray[np.int32]:
        """The elements as integers (times 2^-fraction), [..., K]; 0 for E4M3's NaN."""
        if self.format is MXFP4:
            return MXFP4.table[nibbles(self.codes)]
        if self.format is MXFP8:
            return MXFP8.table[self.codes]
        return self.codes.astype(np.int32)

    def is_nan(self) -> NDArray[np.bool_]:
        """Which blocks are NaN, [..., K/32]: those with scale 255 or an E4M3 NaN among their elements."""
        bad = self.scales == SCALE_NAN
        if self.format is MXFP8:
            element = (self.codes.astype(np.uint8) & 0x7F) == 0x7F
            bad = bad | element.reshape(*bad.shape, BLOCK).any(-1)
        return bad

    def decode(self) -> fp32.F32:
        """The values as float32 [..., K]: scale × element, rounded once; NaN blocks throughout NaN."""
        exponent = self.scales.astype(np.int64) - SCALE_BIAS - self.format.fraction
        values = fp32.scaled(self.integers(), np.repeat(exponent, BLOCK, axis=-1))
        nan = np.repeat(self.scales == SCALE_NAN, BLOCK, axis=-1)
        if self.format is MXFP8:
            nan = nan | ((self.codes.astype(np.uint8) & 0x7F) == 0x7F)
        return fp32.canonical(np.where(nan, np.float32(np.nan), values))


def nibbles(packed: ArrayLike) -> NDArray[np.uint8]:
    """uint8 [..., K/2] → 4-bit codes [..., K]; the low nibble is the even element."""
    p = np.asarray(packed, dtype=np.uint8)
    return np.stack([p & 15, p >> 4], axis=-1).reshape(*p.shape[:-1], -1)


def pack_nibbles(codes: ArrayLike) -> NDArray[np.uint8]:
    """4-bit codes [..., K] → uint8 [..., K/2]; the inverse of `nibbles`."""
    c = np.asarray(codes, dtype=np.uint8)
    return np.bitwise_or(c[..., 0::2], c[..., 1::2] << np.uint8(4))


def scale_value(code: ArrayLike) -> fp32.F32:
    """E8M0 code to float32: 2^(code − 127); 0 is the subnormal 2^-127, 255 is NaN."""
    c = np.asarray(code, dtype=np.int64)
    return fp32.canonical(np.where(c == SCALE_NAN, np.float32(np.nan), fp32.scaled(1, c - SCALE_BIAS)))
