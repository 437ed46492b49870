"""The fast versions: the same functions as the definitions, the same bits, native where possible.

Arrays are float32 and contiguous (converted if not). Without the native library each function falls back to NumPy:
the definition itself, except for the product, which takes exact BLAS products block by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapeout.numerics import attention as plain_attention
from tapeout.numerics import convert, fp32, functions, vector
from tapeout.numerics.formats import BLOCK, MXFP4, MXINT8, MXINT15, SCALE_BIAS, Mx, MxFormat
from tapeout.numerics.library import LIBRARY
from tapeout.numerics.product import Split

CODES = {"mxfp4": 0, "mxint8": 1, "mxfp8": 2, "mxint15": 3}
PACKED = 4
TILE = 16
GATES = {"silu": 0, "gelu_tanh": 1, "relu2": 2, "clamped_swiglu": 3}
NO = np.zeros(0, np.float32)
I32 = NDArray[np.int32]


def _f32(x: ArrayLike) -> fp32.F32:
    return np.ascontiguousarray(x, dtype=np.float32)


def _empty(format: MxFormat, lead: tuple[int, ...], k: int) -> Mx:
    padded = -(-k // BLOCK) * BLOCK
    kind, width = (
        (np.int16, padded)
        if format is MXINT15
        else (np.int8, padded)
        if format is MXINT8
        else (np.uint8, padded // 2 if format is MXFP4 else padded)
    )
    return Mx(format, np.empty((*lead, width), kind), np.empty((*lead, padded // BLOCK), np.uint8))


def append(x: fp32.F32, to: Mx, start: int) -> None:
    """Quantise x [tokens, heads, d] into positions start … of a cache [heads, capacity, …]."""
    x = _f32(x)
    tokens, heads, d = x.shape
    if LIBRARY is None:
        q = convert.quantise(x, to.format)
        to.codes[:, start : start + tokens] = q.codes.swapaxes(0, 1)
        to.scales[:, start : start + tokens] = q.scales.swapaxes(0, 1)
        return
    LIBRARY.append(CODES[to.format.name], x, tokens, heads, d, to.scales.shape[1], start, to.codes, to.scales)


def quantise(x: ArrayLike, format: MxFormat) -> Mx:
    """`convert.quantise`; also takes BF16 bit patterns (uint16)."""
    source = np.asarray(x)
    if LIBRARY is None:
        return convert.quantise(fp32.bf16_to_f32(source) if source.dtype == np.uint16 else source, format)
    bf16 = source.dtype == np.uint16
    source = np.ascontiguousarray(source) if bf16 else _f32(source)
    k = source.shape[-1]
    y = _empty(format, source.shape[:-1], k)
    LIBRARY.quantise(
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
        self.packed = LIBRARY is not None and format is MXINT8
        if self.packed:
            tiles = -(-n // TILE)
            self.codes: NDArray[np.generic] = np.empty((experts, tiles, self.blocks, 8 * TILE * 4), np.uint8)
            self.scales = np.empty((experts, tiles, self.blocks, TILE), np.uint8)
        else:
            y = _empty(format, (experts, n), k)
            self.codes, self.scales = y.codes, y.scales

    def add(self, expert: int, row: int, x: NDArray[np.generic]) -> None:
        """Rows [row, row + len(x)) of one expert: float32 or BF16 bits [rows, k]; `row` a multiple of 16."""
        if not self.packed:
            y = quantise(x, self.format)
            self.codes[expert, row : row + len(x)] = y.codes
            self.scales[expert, row : row + len(x)] = y.scales
            return
        assert LIBRARY is not None and row % TILE == 0
        x = np.ascontiguousarray(x)
        tile = row // TILE
        LIBRARY.quantise(
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
        builder.add(expert, 0, values if values.dtype == np.uint16 else _f32(values))
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
    if LIBRARY is None:
        return _numpy_product(a, w, blocks, groups, bias)
    out = np.empty((rows, w.n), np.float32)
    if not len(blocks) or not rows:
        out[...] = 0 if bias is None else bias
        return out
    tiles = -(-w.n // TILE) * TILE if w.packed else w.n
    bias = None if bias is None else _f32(bias)
    LIBRARY.matmul(
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


def exp2(x: ArrayLike) -> fp32.F32:
    """`functions.exp2`."""
    return _map(0, x)


def reciprocal(x: ArrayLike) -> fp32.F32:
    """`functions.reciprocal`."""
    return _map(1, x)


def rsqrt(x: ArrayLike) -> fp32.F32:
    """`functions.rsqrt`."""
    return _map(2, x)


def sigmoid(x: ArrayLike) -> fp32.F32:
    """`functions.sigmoid`."""
    return _map(3, x)


_DEFINITIONS = (functions.exp2, functions.reciprocal, functions.rsqrt, functions.sigmoid)


def _map(which: int, x: ArrayLike) -> fp32.F32:
    x = _f32(x)
    if LIBRARY is None:
        return _DEFINITIONS[which](x)
    y = np.empty_like(x)
    LIBRARY.map(which, x, y, x.size)
    return y


def add(a: fp32.F32, b: fp32.F32) -> fp32.F32:
    """a + b, the same shape on both sides."""
    if LIBRARY is None:
        return fp32.add(a, b)
    a, b = _f32(a), _f32(b)
    assert a.shape == b.shape
    y = np.empty_like(a)
    LIBRARY.add(a, b, a.size, y)
    return y


def rms_norm(
    x: ArrayLike, weight: fp32.F32 | None, epsilon: float, format: MxFormat | None = None
) -> tuple[fp32.F32, Mx | None]:
    """`vector.rms_norm` of x [..., n], and the same in `format` if one is given (rows flattened)."""
    x = _f32(x)
    n = x.shape[-1]
    if LIBRARY is None:
        y = vector.rms_norm(x, weight, epsilon)
        return y, None if format is None else convert.quantise(y.reshape(-1, n), format)
    rows = x.size // n
    y = np.empty_like(x)
    q = None if format is None else _empty(format, (rows,), n)
    LIBRARY.rms_norm(
        x,
        weight,
        float(epsilon),
        rows,
        n,
        y,
        0 if format is None else CODES[format.name],
        None if q is None else q.codes,
        None if q is None else q.scales,
    )
    return y, q


def rope(x: fp32.F32, cos: fp32.F32, sin: fp32.F32, interleaved: bool = False) -> fp32.F32:
    """`vector.rope` of x [tokens, heads, d] by cos, sin [tokens, h]; x itself is changed where it is contiguous."""
    if LIBRARY is None:
        return vector.rope(x, cos[:, None, :], sin[:, None, :], interleaved)
    x, cos, sin = _f32(x), _f32(cos), _f32(sin)
    tokens, heads, d = x.shape
    LIBRARY.rope(x, cos, sin, tokens, heads, d, cos.shape[1], int(interleaved))
    return x


def softmax(x: ArrayLike) -> fp32.F32:
    """`vector.softmax`."""
    x = _f32(x)
    if LIBRARY is None:
        return vector.softmax(x)
    y = np.empty_like(x)
    LIBRARY.softmax(x, x.size // max(x.shape[-1], 1), x.shape[-1], y)
    return y


def top_k(x: ArrayLike, k: int) -> I32:
    """`vector.top_k` of x [..., n]."""
    x = _f32(x)
    if LIBRARY is None:
        return vector.top_k(x, k)
    y = np.empty((*x.shape[:-1], k), np.int32)
    LIBRARY.top_k(x, x.size // x.shape[-1], x.shape[-1], k, y)
    return y


def gate(
    kind: str, x: fp32.F32, interleaved: bool, limit: float | None = None, format: MxFormat | None = None
) -> tuple[fp32.F32, Mx | None]:
    """act(gate)·up of x [rows, 2n] (clamped_swiglu: its own formula), and the same in `format` if one is given."""
    x = _f32(x)
    rows, n = x.shape[0], x.shape[1] // 2
    if LIBRARY is None:
        g, u = (x[:, 0::2], x[:, 1::2]) if interleaved else (x[:, :n], x[:, n:])
        y = vector.gated(kind, g, u, limit)
        return y, None if format is None else convert.quantise(y, format)
    y = np.empty((rows, n), np.float32)
    q = None if format is None else _empty(format, (rows,), n)
    LIBRARY.gate(
        GATES[kind],
        int(interleaved),
        x,
        7.0 if limit is None else float(limit),
        rows,
        n,
        y,
        0 if format is None else CODES[format.name],
        None if q is None else q.codes,
        None if q is None else q.scales,
    )
    return y, q


def combine(x: fp32.F32, slot: I32, weights: fp32.F32) -> fp32.F32:
    """`vector.combine` for each token: rows slot [tokens, k] of x [rows, n], weights [tokens, k] → [tokens, n]."""
    if LIBRARY is None:
        rows = [vector.combine(x[s], w) for s, w in zip(slot, weights, strict=True)]
        return np.stack(rows) if rows else np.empty((0, x.shape[1]), np.float32)
    x, weights, slot = _f32(x), _f32(weights), np.ascontiguousarray(slot, np.int32)
    y = np.empty((len(slot), x.shape[1]), np.float32)
    LIBRARY.combine(x, slot, weights, None, *slot.shape, x.shape[1], y)
    return y


def attend(
    q: fp32.F32,
    k: Mx,
    v: Mx,
    positions: int,
    low: I32,
    high: I32,
    scale: float,
    activation: MxFormat,
    value_dim: int,
    sinks: fp32.F32 | None = None,
    tile: int = plain_attention.TILE,
) -> fp32.F32:
    """`attention.attend` for all heads of one sequence.

    q [tokens, heads, d]; caches k [kv_heads, capacity, d], v [kv_heads, capacity, value_dim] with `positions` valid;
    token i sees positions low[i] … high[i] − 1; sinks [heads] → float32 [tokens, heads, value_dim].
    """
    q = _f32(q)
    tokens, heads, d = q.shape
    kv_heads, capacity = k.scales.shape[:2]
    group = heads // kv_heads
    out = np.empty((tokens, heads, value_dim), np.float32)
    if LIBRARY is None:
        at = np.arange(positions)
        visible = np.repeat((at >= low[:, None]) & (at < high[:, None]), group, axis=0)
        for h in range(kv_heads):
            rows = q[:, h * group : (h + 1) * group].reshape(-1, d)
            sink = None if sinks is None else np.tile(sinks[h * group : (h + 1) * group], tokens)
            y = plain_attention.attend(
                rows, k[h, :positions], v[h, :positions], visible, scale, activation, sink, tile
            )
            out[:, h * group : (h + 1) * group] = y[:, :value_dim].reshape(tokens, group, value_dim)
        return out
    low, high = np.ascontiguousarray(low, np.int32), np.ascontiguousarray(high, np.int32)
    sinks = None if sinks is None else _f32(sinks)
    LIBRARY.attention(
        q,
        sinks,
        low,
        high,
        k.codes,
        k.scales,
        v.codes,
        v.scales,
        tokens,
        heads,
        kv_heads,
        d,
        value_dim,
        positions,
        capacity,
        tile,
        CODES[activation.name],
        CODES[k.format.name],
        float(plain_attention.factor(scale)),
        out,
    )
    return out
