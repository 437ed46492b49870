"""How operands lie in memory and scratchpad: the inverse of what `matmul` reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry, round_up
from tapeout.numerics.formats import BLOCK, Mx

U8 = NDArray[np.uint8]


def pack_weights(w: Mx, geometry: Geometry, tiles: int, groups: int = 1) -> tuple[U8, U8]:
    """Codes and scales (uint8) of w [n, k] as one `matmul` of `tiles` tiles and `groups` groups reads them.

    n is at most tiles × outputs, filled up with zeros; so is the last step, if k / 32 is not a multiple of `groups`.
    """
    g, name = geometry, w.format.name
    ways = g.outputs(name) // g.columns
    n, blocks = w.scales.shape
    if n > tiles * g.outputs(name):
        raise ValueError(f"{n} outputs in {tiles} tiles of {g.outputs(name)}")
    steps = -(-blocks // groups)
    per = w.format.bits * BLOCK // 8
    raw = np.ascontiguousarray(w.codes).view(np.uint8).reshape(n, blocks, per)
    codes = np.zeros((tiles * ways * g.columns, steps * groups, per), np.uint8)
    scales = np.zeros((tiles * ways * g.columns, steps * groups), np.uint8)
    codes[:n, :blocks], scales[:n, :blocks] = raw, w.scales
    # [tile, way, column, step × group] → [step × group, tile, column, way]
    shape = (tiles, ways, g.columns, steps * groups)
    codes = codes.reshape(*shape, per).transpose(3, 0, 2, 1, 4).reshape(steps * groups * tiles, -1)
    scales = scales.reshape(shape).transpose(3, 0, 2, 1).reshape(steps * groups * tiles, -1)
    return _padded(codes, g.beat_bytes(name)), _padded(scales, g.scale_bytes(name))


def _padded(beats: U8, size: int) -> U8:
    return np.pad(beats, [(0, 0), (0, size - beats.shape[1])]).reshape(-1)


def row_bytes(k: int) -> int:
    """Bytes of a row of MXINT8 activations with its scales behind its codes, both from a block's boundary."""
    codes = round_up(k, BLOCK)
    return codes + round_up(codes // BLOCK, BLOCK_BYTES)


def pack_rows(a: Mx) -> U8:
    """MXINT8 rows [m, k] as `row_bytes(k)` bytes each: a = 0, ascale = k, sa = row_bytes(k)."""
    m, k = a.shape
    rows = np.zeros((m, row_bytes(k)), np.uint8)
    rows[:, :k] = a.codes.view(np.uint8)
    rows[:, k : k + k // BLOCK] = a.scales
    return rows.reshape(-1)
