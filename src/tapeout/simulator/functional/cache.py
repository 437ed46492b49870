"""Keys and values of one sequence in one layer, in the cache format, growing as the sequence does."""

from __future__ import annotations

import numpy as np

from tapeout.numerics import fast, fp32
from tapeout.numerics.formats import MXFP4, MXINT8, MXINT15, Mx, MxFormat

FIRST = 64  # positions of a new cache; it doubles


class LayerCache:
    """Blocks along the head dimension: keys [kv_heads, capacity, d], values [kv_heads, capacity, e]."""

    def __init__(self, format: MxFormat, kv_heads: int, dim: int, value_dim: int) -> None:
        self.format, self.length = format, 0
        self.keys = _zeros(format, kv_heads, FIRST, dim)
        self.values = _zeros(format, kv_heads, FIRST, value_dim)

    def append(self, k: fp32.F32, v: fp32.F32) -> None:
        """Append tokens: k [tokens, kv_heads, d], v [tokens, kv_heads, e], quantised here."""
        stop = self.length + len(k)
        if stop > self.keys.scales.shape[1]:
            capacity = max(stop, 2 * self.keys.scales.shape[1])
            self.keys, self.values = _grown(self.keys, capacity), _grown(self.values, capacity)
        fast.append(k, self.keys, self.length)
        fast.append(v, self.values, self.length)
        self.length = stop

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on."""
        self.length = min(self.length, length)

    @property
    def token_bytes(self) -> float:
        """Bytes that a token takes."""
        return self.nbytes / self.keys.scales.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes held, for capacity not yet used too."""
        return self.keys.nbytes + self.values.nbytes


def _zeros(format: MxFormat, heads: int, capacity: int, dim: int) -> Mx:
    padded = -(-dim // 32) * 32
    width = padded // 2 if format is MXFP4 else padded
    kind = np.int16 if format is MXINT15 else np.int8 if format is MXINT8 else np.uint8
    scales = np.zeros((heads, capacity, padded // 32), np.uint8)
    return Mx(format, np.zeros((heads, capacity, width), kind), scales)


def _grown(x: Mx, capacity: int) -> Mx:
    room = [(0, 0), (0, capacity - x.scales.shape[1]), (0, 0)]
    return Mx(x.format, np.pad(x.codes, room), np.pad(x.scales, room))
