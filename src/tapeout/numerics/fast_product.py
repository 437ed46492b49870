"""The fast versions of conversion and of the matrix product; `fast` hands them on with the rest.

Weights are prepared once (`WeightsBuilder`, `as_weights`) and multiplied many times (`matmul`), with native code or,
without it, with exact BLAS products block by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapeout.numerics import convert, fp32, library
from tapeout.numerics.formats import BLOCK, MXFP4, MXINT8, MXINT15, SCALE_BIAS, Mx, MxFormat
from tapeout.numerics.product import Split

CODES = {"mxfp4": 0, "mxint8": 1, "mxfp8": 2, "mxint15": 3}
PACKED = 4
TILE = 16
I32 = NDArray[np.int32]


def contiguous(x: ArrayLike) -> fp32.F32:
    """As a C-contiguous float32 array."""
    return np.ascontiguousarray(x, dtype=np.float32)


def empty(format: MxFormat, lead: tuple[int, ...], k: int) -> Mx:
    """Room for [*lead, k] elements."""
    padded = -(-k // BLOCK) * BLOCK
    kind, width = (
        (np.int16, padded)
        if format is MXINT15
        else (np.int8, padded)
        if format is MXINT8
        else (np.uint8, padded // 2 if format is MXFP4 else padded)
    )
    return Mx(format, np.empty((*lead, width), kind), np.empty((*lead, padded // BLOCK), np.uint8))


def quantise(x: ArrayLike, format: MxFormat) -> Mx:
    """`convert.quantise`; also takes BF16 bit patterns (uint16)."""
    source = np.asarray(x)
    if library.LIBRARY is None:
        return convert.quantise(fp32.bf16_to_f32(source) if source.dtype == np.uint16 else source, format)
    bf16 = source.dtype == np.uint16
    source = np.ascontiguousarray(source) if bf16 else contiguous(source)
    k = source.shape[-1]
    y = empty(format, source.shape[:-1], k)
    library.LIBRARY.quantise(
        int(bf16),
        CODES[format.name],
        source,
        k,
        source.size // max(k, 1),
        k,
        y.codes,
        y.scales,
    )
    return y


@dataclass(frozen=True)
class Weights:
    """Weights [experts, n, k] (or [n, k]: one expert) ready for `matmul`.

    `packed`: MXINT8 in tiles of 16 outputs for the native kernels: codes uint8 (element + 128)
    [experts, n/16, k/32, 8, 16, 4], scales [experts, n/16, k/32, 16]. Otherwise codes and scales as in `Mx`.
    """

    format: MxFormat
    codes: NDArray[np.generic]
    scales: NDArray[np.uint8]
    experts: int
    n: int
    blocks: int
    packed: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes held, codes and scales."""
        return self.codes.nbytes + self.scales.nbytes

    def mx(self, expert: int = 0) -> Mx:
        """One expert's weights [n, k] as the definition has them."""
        if not self.packed:
            codes = self.codes.reshape(self.experts, self.n, -1)
            return Mx(self.format, codes[expert], self.scales.reshape(self.experts, self.n, -1)[expert])
        tiles = -(-self.n // TILE)
        codes = self.codes.reshape(self.experts, tiles, self.blocks * 8, TILE, 4)[expert]
        rows = codes.transpose(0, 2, 1, 3).reshape(tiles * TILE, -1)[: self.n]
        scales = self.scales.reshape(self.experts, tiles, self.blocks, TILE)[expert]
        return Mx(
            MXINT8,
            (rows.astype(np.int16) - 128).astype(np.int8),
            np.ascontiguousarray(scales.transpose(0, 2, 1).reshape(tiles * TILE, -1)[: self.n]),
        )


def as_weights(w: Mx) -> Weights:
    """Weights already in blocks, [n, k] or [experts, n, k], used where they lie (a memory map stays one)."""
    *lead, n, blocks = w.scales.shape
    return Weights(w.format, w.codes, w.scales, int(np.prod(lead)), n, blocks)


class WeightsBuilder:
    """Converts weights [experts, n, k] a few rows or experts at a time, so that the source may go as it comes."""

    def __init__(self, format: MxFormat, experts: int, n: int, k: int) -> None:
        self.format, self.experts, self.n, self.blocks = format, experts, n, -(-k // BLOCK)
        self.packed = library.LIBRARY is not None and format is MXINT8
        if self.packed:
            tiles = -(-n // TILE)
            self.codes: NDArray[np.generic] = np.empty((experts, tiles, self.blocks, 8 * TILE * 4), np.uint8)
            self.scales = np.empty((experts, tiles, self.blocks, TILE), np.uint8)
        else:
            y = empty(format, (experts, n), k)
            self.codes, self.scales = y.codes, y.scales

    def add(self, expert: int, row: int, x: NDArray[np.generic]) -> None:
        """Rows [row, row + len(x)) of one expert: float32 or BF16 bits [rows, k]; `row` a multiple of 16."""
        if not self.packed:
            y = quantise(x, self.format)
            self.codes[expert, row : row + len(x)] = y.codes
            self.scales[expert, row : row + len(x)] = y.scales
            return
        assert library.LIBRARY is not None and row % TILE == 0
        x = np.ascontiguousarray(x)
        tile = row // TILE
        library.LIBRARY.quantise(
            int(x.dtype == np.uint16),
            PACKED,
            x,
            x.shape[1],
            len(x),
            x.shape[1],
            self.codes[expert, tile:],
            self.scales[expert, tile:],
        )

    def done(self) -> Weights:
        """The finished weights."""
        return Weights(self.format, self.codes, self.scales, self.experts, self.n, self.blocks, self.packed)


def prepare(x: NDArray[np.generic], format: MxFormat) -> Weights:
    """float32 or BF16 bits [n, k] or [experts, n, k], converted."""
    y = x if x.ndim == 3 else x[None]
    builder = WeightsBuilder(format, y.shape[0], y.shape[1], y.shape[2])
    for expert in range(y.shape[0]):
        values = y[expert]
        builder.add(expert, 0, values if values.dtype == np.uint16 else contiguous(values))
    return builder.done()


@dataclass(frozen=True)
class Groups:
    """Which rows of the activations meet which experts: group g's output rows are [offset[g], offset[g + 1]),
    computed from activation rows index[…] with the weights of expert[g]."""

    expert: I32
    offset: I32
    index: I32


def group_by_expert(chosen: I32) -> tuple[Groups, I32]:
    """Choices [tokens, k] → groups, and for each choice the output row that holds it [tokens, k]."""
    flat = chosen.reshape(-1)
    order = np.argsort(flat, kind="stable")
    experts, starts = np.unique(flat[order], return_index=True)
    slot = np.empty(flat.size, np.int32)
    slot[order] = np.arange(flat.size, dtype=np.int32)
    offset = np.append(starts, flat.size).astype(np.int32)
    index = (order // chosen.shape[-1]).astype(np.int32)
    return Groups(experts.astype(np.int32), offset, index), slot.reshape(chosen.shape)


def matmul(
    a: Mx,
    w: Weights,
    bias: fp32.F32 | None = None,
    splits: Sequence[Split] = (),
    groups: Groups | None = None,
) -> fp32.F32:
    """`product.matmul` of a [m, k] with w, then + bias [n] ([experts, n]) → float32 [rows, n].

    Without `groups` expert 0 and every row; with them the rows of every group in turn.
    """
    if a.scales.shape[-1] != w.blocks:
        raise ValueError(f"contraction of {a.scales.shape[-1]} blocks against {w.blocks}")
    if splits:
        parts = _split(a, w, tuple(splits), range(w.blocks), groups)
        if bias is None:
            return parts
        if groups is not None and bias.ndim == 2:
            bias = np.repeat(bias[groups.expert], np.diff(groups.offset), axis=0)
        return fp32.add(parts, bias)
    return _product(a, w, range(w.blocks), groups, bias)


def _split(a: Mx, w: Weights, splits: tuple[Split, ...], blocks: range, groups: Groups | None) -> fp32.F32:
    if not splits:
        return _product(a, w, blocks, groups, None)
    return splits[0].add([_split(a, w, splits[1:], part, groups) for part in splits[0].deal(blocks)])


def _product(a: Mx, w: Weights, blocks: range, groups: Groups | None, bias: fp32.F32 | None) -> fp32.F32:
    m = a.scales.shape[0]
    rows = m if groups is None else int(groups.offset[-1])
    if library.LIBRARY is None:
        return _numpy_product(a, w, blocks, groups, bias)
    out = np.empty((rows, w.n), np.float32)
    if not len(blocks) or not rows:
        out[...] = 0 if bias is None else bias
        return out
    tiles = -(-w.n // TILE) * TILE if w.packed else w.n
    bias = None if bias is None else contiguous(bias)
    library.LIBRARY.matmul(
        CODES[a.format.name],
        a.codes,
        a.scales,
        m,
        PACKED if w.packed else CODES[w.format.name],
        w.codes,
        w.scales,
        w.n,
        w.blocks,
        blocks.start,
        blocks.step,
        len(blocks),
        0 if groups is None else len(groups.expert),
        None if groups is None else groups.expert,
        None if groups is None else groups.offset,
        None if groups is None else groups.index,
        w.codes.nbytes // w.experts,
        tiles * w.blocks,
        bias,
        out,
    )
    return out


def _numpy_product(
    a: Mx, w: Weights, blocks: range, groups: Groups | None, bias: fp32.F32 | None
) -> fp32.F32:
    if groups is not None:
        outs = []
        for g, expert in enumerate(groups.expert):
            index = groups.index[groups.offset[g] : groups.offset[g + 1]]
            part = _numpy_blocks(a[index], w.mx(int(expert)), blocks)
            outs.append(part if bias is None else fp32.add(part, bias[expert]))
        return np.concatenate(outs) if outs else np.empty((0, w.n), np.float32)
    part = _numpy_blocks(a, w.mx(), blocks)
    return part if bias is None else fp32.add(part, bias if bias.ndim == 1 else bias[0])


def _numpy_blocks(a: Mx, w: Mx, blocks: range) -> fp32.F32:
    """Exact BLAS products: in float32 where 32 products stay below 2^24, in float64 otherwise."""
    small = BLOCK * a.format.largest * w.format.largest < 1 << 24
    kind: type[np.float32] | type[np.float64] = np.float32 if small else np.float64
    x: NDArray[Any] = a.integers().astype(kind)
    y: NDArray[Any] = w.integers().astype(kind)
    shift = 2 * SCALE_BIAS + a.format.fraction + w.format.fraction
    bad_a, bad_w = a.is_nan(), w.is_nan()
    nan = bool(bad_a.any() or bad_w.any())
    acc = np.zeros((len(x), len(y)), np.float32)
    with np.errstate(all="ignore"):
        for b in blocks:
            lanes = slice(b * BLOCK, (b + 1) * BLOCK)
            exponent = a.scales[:, b].astype(np.int32)[:, None] + w.scales[:, b].astype(np.int32) - shift
            part = np.ldexp((x[:, lanes] @ y[:, lanes].T).astype(np.float64), exponent).astype(np.float32)
            if nan:
                part[bad_a[:, b][:, None] | bad_w[:, b]] = np.nan
            acc += part
    return fp32.canonical(acc)
