"""Conversion of FP32 to the block formats: the rule of OCP MX v1.0 section 6.3, with its freedoms pinned.

- Scale: FLOOR. E8M0 exponent = floor(log2(max |v|)) − emax, clamped to [-127, 127]. In hardware: the largest
  biased exponent field of the block, minus emax, not below 0; no logarithm, no rounding.
- Elements: v / scale rounded to nearest even, saturated to ±largest (integers are symmetric: −128 and −16384
  are read, never written). Rounding happens at the element's own quantum, subnormal elements included.
- A zero result is +0: the sign of an element that rounds to zero is dropped.
- A block that holds any NaN or infinity becomes a NaN block: scale 255, all element codes 0.
- A block of zeros (and any whose exponent underflows the clamp) has scale code 0, 2^-127.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapeout.numerics import fp32
from tapeout.numerics.formats import BLOCK, MXFP4, MXINT15, SCALE_BIAS, SCALE_NAN, Mx, MxFormat, pack_nibbles


def pad(x: ArrayLike) -> fp32.F32:
    """float32 [..., K] with zeros appended up to a multiple of 32."""
    x = np.asarray(x, dtype=np.float32)
    missing = -x.shape[-1] % BLOCK
    return x if not missing else np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])


def block_scale(x: ArrayLike, format: MxFormat) -> NDArray[np.uint8]:
    """E8M0 code of each block of float32 [..., 32]: exponent field of the largest magnitude minus emax."""
    field = ((fp32.bits(x) >> 23) & 0xFF).astype(np.int64).max(axis=-1)
    return np.where(field == 255, SCALE_NAN, np.maximum(field - format.emax, 0)).astype(np.uint8)


def element_integers(x: ArrayLike, scale: ArrayLike, format: MxFormat) -> NDArray[np.int64]:
    """Elements of float32 [..., 32] at E8M0 codes [...], as integers times 2^-fraction.

    Exact in double until the rounding: FP32 divided by a power of two neither overflows nor underflows.
    """
    exponent = np.asarray(scale, dtype=np.int64)[..., None] - SCALE_BIAS
    finite = np.where(np.isfinite(x), x, 0).astype(np.float64)
    value = np.ldexp(finite, (format.fraction - exponent).astype(np.int32))  # in units of 2^-fraction
    quantum = np.ones_like(value)
    if format.floating:
        _, e = np.frexp(value)  # |value| in [2^(e-1), 2^e)
        quantum = np.exp2(np.maximum(e - 1 - format.mantissa_bits, 0))
    rounded = np.rint(value / quantum) * quantum
    return np.clip(rounded, -format.largest, format.largest).astype(np.int64)


def encode_elements(integers: ArrayLike, format: MxFormat) -> NDArray[np.generic]:
    """Integers that `format` can hold → element codes (unpacked)."""
    v = np.asarray(integers, dtype=np.int64)
    if not format.floating:
        return v.astype(np.int16 if format is MXINT15 else np.int8)
    positive = format.table[: 1 << (format.bits - 1)]
    count = int((positive == format.largest).argmax()) + 1
    magnitude = np.searchsorted(positive[:count], abs(v))
    return (magnitude | np.where(v < 0, 1 << (format.bits - 1), 0)).astype(np.uint8)


def quantise(x: ArrayLike, format: MxFormat) -> Mx:
    """float32 [..., K] to blocks of `format` along the last axis; K is zero-padded to a multiple of 32."""
    blocks = pad(x)
    blocks = blocks.reshape(*blocks.shape[:-1], -1, BLOCK)
    scales = block_scale(blocks, format)
    integers = element_integers(blocks, scales, format)
    integers = np.where(scales[..., None] == SCALE_NAN, 0, integers)
    codes = encode_elements(integers, format)
    codes = codes.reshape(*codes.shape[:-2], -1)
    return Mx(format, pack_nibbles(codes) if format is MXFP4 else codes, scales)
