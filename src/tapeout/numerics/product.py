"""The matrix product, as every engine and simulator computes it.

Blocks of the contraction axis are taken in increasing order. For each output and block the 32 products are
summed exactly as integers, scaled exactly by the two block scales, rounded once to FP32 (nearest even,
subnormals kept, overflow to infinity), and added to an IEEE FP32 accumulator that starts at +0. A NaN block
on either side makes that block's contribution NaN. Every pair of formats in `formats` obeys this one rule.

A program may split the contraction: across the rows of an engine at batch 1, across cores, across chips.
Each part then accumulates its own blocks, and the partial sums are added in FP32 in the order a `Split`
states. Splits nest, the outermost first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tapeout.numerics import fp32
from tapeout.numerics.formats import BLOCK, SCALE_BIAS, Mx


@dataclass(frozen=True)
class Split:
    """The contraction's blocks dealt to `ways` parts.

    `layout`: contiguous (part p takes blocks [p·n, (p+1)·n), n = ceil(blocks / ways)) or interleaved (part p
    takes blocks p, p + ways, …). `combine`: chain (((p0 + p1) + p2) + …) or tree (p[i] + p[i + half], half =
    ways / 2, until one is left; `ways` a power of two). A part without blocks contributes +0.
    """

    ways: int
    layout: Literal["contiguous", "interleaved"] = "contiguous"
    combine: Literal["chain", "tree"] = "chain"

    def __post_init__(self) -> None:
        if self.ways < 1 or (self.combine == "tree" and self.ways & (self.ways - 1)):
            raise ValueError(f"{self.ways} ways cannot be combined by a {self.combine}")

    def deal(self, blocks: range) -> list[range]:
        """The blocks of each part."""
        if self.layout == "interleaved":
            return [blocks[p :: self.ways] for p in range(self.ways)]
        n = -(-len(blocks) // self.ways)
        return [blocks[p * n : (p + 1) * n] for p in range(self.ways)]

    def add(self, parts: Sequence[fp32.F32]) -> fp32.F32:
        """The sum of the parts in this split's order."""
        parts = list(parts)
        if self.combine == "tree":
            while len(parts) > 1:
                half = len(parts) // 2
                parts = [fp32.add(parts[i], parts[i + half]) for i in range(half)]
            return parts[0]
        total = parts[0]
        for part in parts[1:]:
            total = fp32.add(total, part)
        return total


def block_sums(a: Mx, w: Mx, block: int) -> fp32.F32:
    """The contribution of one block: a [M, K], w [N, K] → float32 [M, N], each rounded once."""
    lanes = slice(block * BLOCK, (block + 1) * BLOCK)
    integer = a.integers()[:, lanes].astype(np.int64) @ w.integers()[:, lanes].astype(np.int64).T
    exponent = a.scales[:, block].astype(np.int64)[:, None] + w.scales[:, block].astype(np.int64)[None, :]
    value = fp32.scaled(integer, exponent - 2 * SCALE_BIAS - a.format.fraction - w.format.fraction)
    nan = a.is_nan()[:, block][:, None] | w.is_nan()[:, block][None, :]
    return fp32.canonical(np.where(nan, np.float32(np.nan), value))


def accumulate(a: Mx, w: Mx, blocks: range, start: fp32.F32 | None = None) -> fp32.F32:
    """The sum over `blocks` in order, from `start` [M, N] (+0 if None): one accumulator per output."""
    acc = np.zeros((a.shape[0], w.shape[0]), np.float32) if start is None else fp32.canonical(start)
    for block in blocks:
        acc = fp32.add(acc, block_sums(a, w, block))
    return acc


def matmul(a: Mx, w: Mx, splits: Sequence[Split] = (), blocks: range | None = None) -> fp32.F32:
    """a [M, K] times w [N, K] transposed → float32 [M, N].

    K is a multiple of 32 and the same on both sides; `splits` from the outermost in.
    """
    if a.scales.shape[1] != w.scales.shape[1]:
        raise ValueError(f"contraction of {a.shape[1]} against {w.shape[1]}")
    blocks = range(a.scales.shape[1]) if blocks is None else blocks
    if not splits:
        return accumulate(a, w, blocks)
    return splits[0].add([matmul(a, w, splits[1:], part) for part in splits[0].deal(blocks)])
