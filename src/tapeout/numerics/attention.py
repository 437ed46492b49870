"""Attention over a cache, tile by tile, as a program does it (online softmax, arXiv 1805.02867).

For one key/value head and `m` query rows (the query heads that share it, of one or several tokens):

- Scores s = Q·Kᵀ by `product.matmul`, keys as the weight side. Q is quantised along the head dimension.
- t = s × scale·log2(e) (that constant in double, rounded to FP32), so that softmax needs only exp2. A
  position that a query may not see has t = −∞.
- Tiles of `tile` positions (a multiple of 32) start at multiples of `tile`, in increasing order; per tile
      m' = max(m, greatest(t));  p = exp2(t − m');  c = exp2(m − m')
      l = l·c + total(p);        o = o·c + P·V;     m = m'
  from m = −∞, l = +0, o = +0; with a sink logit z, from m = z·log2(e), l = 1. While m' is −∞ (nothing
  seen yet) p and c are +0.
- Values are cached like keys: blocks of 32 along the head dimension, one scale for each token. In P·V the
  contraction runs along tokens, so the value scales are moved to the other side, exactly: for each block g
  of 32 output channels, P'[i, j] = p[i, j] × 2^(scale[j, g] − 127), +0 where j is not visible to i,
  quantised along tokens in blocks of 32 that start at multiples of 32; the values enter as integers with
  scale 1 (code 127).
- At the end o × reciprocal(l); 0 if nothing was seen.

A position that no query row sees contributes p = +0 exactly, so tiles and blocks that nothing sees may be
left out without changing a bit, and a window's start need not be aligned. Cached positions beyond the newest
token read as zero codes with scale 0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapeout.numerics import fp32, functions, vector
from tapeout.numerics.convert import quantise
from tapeout.numerics.formats import BLOCK, SCALE_BIAS, Mx, MxFormat, nibbles, pack_nibbles, scale_value
from tapeout.numerics.product import matmul

TILE = 128


def rows(x: Mx, start: int, stop: int) -> Mx:
    """Positions [start, stop) of a cache [T, d]; those beyond T read as zero codes with scale 0."""
    stop_in = min(stop, x.shape[0])
    codes, scales = x.codes[start:stop_in], x.scales[start:stop_in]
    missing = [(0, stop - stop_in), (0, 0)]
    return Mx(x.format, np.pad(codes, missing), np.pad(scales, missing))


def values_transposed(v: Mx, group: int) -> Mx:
    """32 channels of values [T, d] as the weight side of P·V: [32, T] with scale code 127 throughout."""
    if v.format.bits == 4:
        codes = pack_nibbles(np.ascontiguousarray(_channels(v, group).T))
    else:
        codes = np.ascontiguousarray(_channels(v, group).T)
    return Mx(v.format, codes, np.full((BLOCK, v.shape[0] // BLOCK), SCALE_BIAS, np.uint8))


def _channels(v: Mx, group: int) -> NDArray[np.generic]:
    codes = nibbles(v.codes) if v.format.bits == 4 else v.codes
    return codes[:, group * BLOCK : (group + 1) * BLOCK]


def weigh_values(p: fp32.F32, see: NDArray[np.bool_], v: Mx, activation: MxFormat) -> fp32.F32:
    """P·V for p [m, n], visible [m, n] and values [n, d], n a multiple of 32 → float32 [m, d]."""
    columns = []
    for group in range(v.scales.shape[1]):
        moved = np.where(see, fp32.mul(p, scale_value(v.scales[:, group])[None, :]), np.float32(0))
        columns.append(matmul(quantise(moved, activation), values_transposed(v, group)))
    return np.concatenate(columns, axis=-1)


def factor(scale: float) -> np.float32:
    """The constant that scores are multiplied by: scale·log2(e)."""
    return np.float32(scale * math.log2(math.e))


def attend(
    q: ArrayLike,
    k: Mx,
    v: Mx,
    visible: NDArray[np.bool_],
    scale: float,
    activation: MxFormat,
    sinks: ArrayLike | None = None,
    tile: int = TILE,
) -> fp32.F32:
    """q float32 [m, d], cached keys [T, d] and values [T, e], visible bool [m, T], sinks [m] → [m, e]."""
    q = np.asarray(q, dtype=np.float32)
    query = quantise(q, activation)
    m = np.full(q.shape[0], -np.inf, np.float32)
    total = np.zeros(q.shape[0], np.float32)
    if sinks is not None:
        m, total = fp32.mul(sinks, vector.LOG2E), np.ones(q.shape[0], np.float32)
    o = np.zeros((q.shape[0], v.shape[1]), np.float32)
    seen = np.asarray(visible.any(axis=0))
    for start in range(0, visible.shape[1], tile):
        see = np.zeros((q.shape[0], tile), bool)
        see[:, : visible.shape[1] - start] = visible[:, start : start + tile]
        if not seen[start : start + tile].any():
            continue
        t = fp32.mul(matmul(query, rows(k, start, start + tile)), factor(scale))
        t = np.where(see, t, np.float32(-np.inf))
        new = np.asarray(fp32.maximum(m, vector.greatest(t)))
        base = np.asarray(np.where(np.isneginf(new), np.float32(0), new))
        p = functions.exp2(fp32.sub(t, base[:, None]))
        c = functions.exp2(fp32.sub(m, base))
        total = fp32.add(fp32.mul(total, c), vector.total(p))
        o = fp32.add(fp32.mul(o, c[:, None]), weigh_values(p, see, rows(v, start, start + tile), activation))
        m = new
    inverse = fp32.canonical(np.where(total == 0, np.float32(0), functions.reciprocal(total)))
    return fp32.mul(o, inverse[:, None])
