"""Attention of one key/value head after another (or all at once), tile by tile, as `numerics.attention` orders it.

Scores and probabilities lie in rows of `tile` FP32, a row for each query head of each token; only the first n of a
row, the 32-blocks of positions that some row sees, are worked on. The first tile that is seen comes in straight code,
so that its loads can go ahead of their use; the others, if the sequence is that long, in a loop. A tile's keys, and
the scales of its values, are loaded when those of the tile before have been used, its values while its scores are made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tapeout.chip.isa.geometry import round_up
from tapeout.compiler.ir import Mem, Ref, Scalar
from tapeout.compiler.lower.context import Context, Floats, Rows, by_row, each
from tapeout.compiler.program import CacheTensor
from tapeout.errors import InputError
from tapeout.numerics.attention import factor
from tapeout.numerics.formats import BLOCK

LOWEST = -3.4028234663852886e38  # FP32's; a running maximum starts from it, which no bit shows
NEVER = -(1 << 30)


@dataclass(frozen=True)
class Query:
    """What attends: queries of `tokens` tokens, for `kv` heads of keys from head `first` on, `group` query heads for
    each. `rows` are quantised queries [kv][token][group]. `sinks`: a logit in units of log2 for each of those
    rows, 32 bytes apart; None without. `chunk`: tokens attend within chunks of so many positions; all tokens are of one
    (`Program.cuts`)."""

    rows: Rows
    tokens: int
    first: int
    kv: int
    group: int
    scale: float
    window: int | None
    sinks: Ref | None
    chunk: int | None = None

    @property
    def count(self) -> int:
        """Rows."""
        return self.kv * self.tokens * self.group


@dataclass(frozen=True)
class _Tile:
    """Where a tile is: its first position, blocks and positions that are seen (n = 32·blocks), and the range of
    positions that token 0 sees, relative to the first."""

    first: Scalar
    blocks: Scalar
    n: Scalar
    low: Scalar | int
    high: Scalar


@dataclass
class _State:
    """The running maximum, sum and output of each row, and buffers for one tile."""

    m: Floats
    total: Floats
    out: Floats
    t: Floats
    p: Floats
    c: Floats
    g: Floats
    part: Floats
    codes: tuple[Rows, ...]  # of the probabilities: two where there are several groups of channels
    keys: Ref
    key_scales: Ref
    values: Ref
    value_scales: Ref
    factors: Floats


def reach(c: Context, q: Query) -> int:
    """Positions of a tile that any row can see, at most."""
    if q.window is None:
        return c.tile
    return min(round_up(q.window + q.tokens + 30, BLOCK), c.tile)


def unit(c: Context) -> int:
    """Positions whose scores one command makes."""
    return min(c.tile, 8 * c.g.columns)


def panel(c: Context) -> int:
    """Channels of a block of values as it lies in the scratchpad: 32, filled up to the columns of a wider engine."""
    return max(BLOCK, c.g.columns)


def extent(c: Context, dim: int) -> int:
    """Elements of a row of outputs: whole groups of 32 channels, and what the last command of a wider engine writes."""
    return round_up(dim, BLOCK) + panel(c) - BLOCK


@dataclass(frozen=True)
class Begun:
    """What `begin` leaves to `attend`: the first tile, whose loads are under way, and the loop over the others."""

    state: _State
    tile: _Tile
    after: Scalar
    trips: Scalar
    end: Scalar
    low: Scalar | int
    high: Scalar


def begin(c: Context, q: Query, layer: int, position: Scalar, slot: Scalar, out: Floats) -> Begun:
    """The loads of the first tile, which do not need the queries. Operands as `attend`'s."""
    b, tile, (keys, values) = c.builder, c.tile, c.cache[layer]
    s = _buffers(c, q, keys, values, out)
    shift, last = tile.bit_length() - 1, q.tokens - 1
    end = b.scalar("shr", b.scalar("add", position, last), 5)  # the last block of 32 that is seen
    end = b.scalar("add", end, 1)
    low: Scalar | int = NEVER
    start: Scalar
    if q.chunk is not None:
        low = _chunk(c, position, q.chunk)
        start = b.scalar("and", low, ~31 & ((1 << 40) - 1))
    elif q.window is not None:
        low = b.scalar("sub", position, q.window - 1)
        start = b.scalar("max", low, 0)
        start = b.scalar("and", start, ~31 & ((1 << 40) - 1))
    else:
        start = b.constant(0)
    after = b.scalar("shl", b.scalar("add", b.scalar("shr", start, shift), 1), shift)  # the next tile's first
    left = b.scalar("sub", b.scalar("shl", end, 5), after)
    trips = b.scalar("shr", b.scalar("max", b.scalar("add", left, tile - 1), 0), shift)
    high = b.scalar("add", position, 1)
    stop = b.scalar("min", b.scalar("shr", after, 5), end)
    first = _place(c, start, stop, low, high)
    _load_keys(c, q, s, layer, slot, first, keys)
    _load_value_scales(c, q, s, layer, slot, first, values)
    _load_values(c, q, s, layer, slot, first, values)
    return Begun(s, first, after, trips, end, low, high)


def _chunk(c: Context, position: Scalar, chunk: int) -> Scalar:
    """The first position of the chunk that a position is in."""
    b, bits = c.builder, c.capacity.bit_length()
    if chunk & (chunk - 1) == 0:
        return b.scalar("and", position, -chunk & ((1 << 40) - 1))
    # the sequencer does not divide: position·⌈2^s / chunk⌉ >> s is the quotient where s leaves room for every position
    shift = bits + chunk.bit_length()
    if 2 * bits + 1 > 47:
        raise InputError(
            c.model.name,
            "attention_chunk_size",
            chunk,
            f"a power of two for sequences of {c.capacity} positions",
        )
    quotient = b.scalar("shr", b.scalar("mul", position, -(-(1 << shift) // chunk)), shift)
    return b.scalar("mul", quotient, chunk)


def attend(
    c: Context, q: Query, layer: int, position: Scalar, slot: Scalar, out: Floats, begun: Begun | None = None
) -> None:
    """out [kv][token][group] of value channels, before the division by the sum's rows are laid out: see `Query`.
    `position`: of token 0; `slot`: byte offset of the sequence's cache; `begun`: from `begin`, if it was called
    ahead."""
    b, tile, (keys, values) = c.builder, c.tile, c.cache[layer]
    if begun is None:
        begun = begin(c, q, layer, position, slot, out)
    s, after = begun.state, begun.after

    def place(first: Scalar) -> _Tile:
        stop = b.scalar("min", b.scalar("shr", b.scalar("add", first, tile), 5), begun.end)
        return _place(c, first, stop, begun.low, begun.high)

    def ahead() -> None:
        following = place(after)
        _load_keys(c, q, s, layer, slot, following, keys)
        _load_value_scales(c, q, s, layer, slot, following, values)

    _tile(c, q, s, layer, begun.tile, True, ahead)
    with b.loop(begun.trips):
        at = place(after)
        _load_values(c, q, s, layer, slot, at, values)
        b.scalar("add", after, tile, to=after)
        _tile(c, q, s, layer, at, False, ahead)
    each(c, "vreciprocal", s.total, s.total, q.count)
    by_row(c, "vmul", s.out, s.out, q.count, s.total)


def _place(c: Context, first: Scalar, stop: Scalar, low: Scalar | int, high: Scalar) -> _Tile:
    b = c.builder
    blocks = b.scalar("max", b.scalar("sub", stop, b.scalar("shr", first, 5)), 0)
    n = b.scalar("shl", blocks, 5)
    relative = low if isinstance(low, int) else b.scalar("sub", low, first)
    return _Tile(first, blocks, n, relative, b.scalar("sub", high, first))


def _buffers(c: Context, q: Query, keys: CacheTensor, values: CacheTensor, out: Floats) -> _State:
    rows, tile = q.count, c.tile
    wide = extent(c, values.blocks * BLOCK)
    hb, vb = q.kv * keys.blocks, q.kv * values.blocks
    units, align = tile // unit(c), max(512, c.g.beat_bytes("mxint8"))
    return _State(
        m=c.floats("running maximum", rows, 1), total=c.floats("running sum", rows, 1), out=out,
        t=c.floats("scores", rows, tile), p=c.floats("weighted", rows, tile), c=c.floats("correction", rows, 1),
        g=c.floats("tile statistics", rows, 1), part=c.floats("tile output", rows, values.blocks * BLOCK, wide),
        codes=tuple(c.rows("probabilities", rows, tile) for _ in range(min(values.blocks, 2))),
        keys=c.work("keys", units * hb * unit(c) * BLOCK, align),
        key_scales=c.work("key scales", units * hb * unit(c), align),
        values=c.work("values", vb * tile * panel(c), align), value_scales=c.work("value scales", vb * tile),
        factors=c.floats("value factors", vb, tile),
    )  # fmt: skip


def _tile(
    c: Context, q: Query, s: _State, layer: int, at: _Tile, first: bool, scored: Callable[[], None]
) -> None:
    """One tile, whose keys and values are loaded. `scored` comes when the keys have been used: the next tile's take
    their place, so that a trip of the loop does not start with their way from memory."""
    b, tile, rows = c.builder, c.tile, q.count
    keys, values = c.cache[layer]
    vb, f = q.kv * values.blocks, s.factors
    b.vector("vconvert", f.at, s.value_scales, at.n, vb, tile, f.stride, most=tile, kind=2)
    _scores(c, q, s, keys)
    if not first:
        scored()

    def over(name: str, out: Floats, a: Floats, count: int = rows, **more: object) -> None:
        b.vector(
            name, out.at, a.at, at.n, count, a.stride, out.stride, most=tile, **more  # type: ignore[arg-type]
        )  # fmt: skip

    over("vmul", s.t, s.t, b=float(factor(q.scale)))
    low = at.low
    if q.chunk is not None and q.tokens > 1:
        if q.chunk % BLOCK:  # one bound for all tokens; otherwise no block below it is there
            everything = b.constant(1 << 30)
            b.vector(
                "vwindow", s.t.at, s.t.at, at.n, rows, tile * 4, tile * 4, most=tile, low=low, high=everything,
                imm=0xFF800000, per=rows,
            )  # fmt: skip
        low = NEVER
    if q.tokens == 1 and isinstance(low, int):  # what a token does not see is in the last block
        before = b.scalar("sub", at.n, BLOCK)
        last = Ref(s.t.at.buffer, s.t.at.offset, b.scalar("shl", before, 2))
        b.vector(
            "vwindow", last, last, BLOCK, rows, tile * 4, tile * 4, low=low, high=b.scalar("sub", at.high, before),
            imm=0xFF800000, per=rows,
        )  # fmt: skip
    else:
        for h in range(q.kv if q.tokens > 1 else 1):  # with one token every row is of the same
            count = q.tokens * q.group if q.tokens > 1 else rows
            here = s.t.row(h * count)
            b.vector(
                "vwindow", here.at, here.at, at.n, count, tile * 4, tile * 4, most=tile, low=low, high=at.high,
                imm=0xFF800000, per=q.group if q.tokens > 1 else rows,
            )  # fmt: skip
    over("vgreatest", s.g, s.t)
    if first and q.sinks is None:
        each(c, "vmaximum", s.m, s.g, rows, LOWEST)
    elif first:
        old = Floats(q.sinks, 1, 32)  # type: ignore[arg-type]
        each(c, "vmaximum", s.m, old, rows, s.g)
        each(c, "vsub", s.c, old, rows, s.m)
        each(c, "vexp2", s.c, s.c, rows)
    else:
        each(c, "vmaximum", s.g, s.m, rows, s.g)
        each(c, "vsub", s.c, s.m, rows, s.g)
        each(c, "vexp2", s.c, s.c, rows)
        each(c, "vmul", s.total, s.total, rows, s.c)
        each(c, "vmaximum", s.m, s.g, rows, s.g)
    over("vsub", s.t, s.t, b=s.m.at, sb=s.m.stride, per_row=True)
    over("vexp2", s.t, s.t)
    if first:  # not before: weights that come after this load would wait for the scores with it
        scored()
    part = s.out if first else s.part
    _weigh(c, q, s, at, values, part)
    over("vtotal", s.total if first else s.g, s.t)
    if first and q.sinks is not None:
        each(c, "vadd", s.total, s.c, rows, s.total)
    elif not first:
        each(c, "vadd", s.total, s.total, rows, s.g)
        by_row(c, "vmul", s.out, s.out, rows, s.c)
        each(c, "vadd", s.out, s.out, rows, s.part)


def _load_keys(
    c: Context, q: Query, s: _State, layer: int, slot: Scalar, at: _Tile, keys: CacheTensor
) -> None:
    """Keys as [unit][head][block][position]: each unit's command reads its blocks one after another."""
    b, size = c.builder, unit(c)
    units: Scalar | int = 1
    if size < c.tile:
        units = b.scalar("shr", b.scalar("add", at.n, size - 1), size.bit_length() - 1)
    hb, most = q.kv * keys.blocks, c.tile // size
    codes = b.scalar("add", slot, b.scalar("shl", at.first, 5))
    b.load(
        s.keys, Mem("cache", keys.codes + q.first * keys.code_strides[0], codes), size * BLOCK, hb,
        keys.code_strides[1], units, size * BLOCK, size * BLOCK, most * hb * size * BLOCK, c.caches[layer],
    )  # fmt: skip
    scales = b.scalar("add", slot, at.first)
    b.load(
        s.key_scales, Mem("cache", keys.scales + q.first * keys.scale_strides[0], scales), size, hb,
        keys.scale_strides[1], units, size, size, most * hb * size, c.caches[layer],
    )  # fmt: skip


def _load_value_scales(
    c: Context, q: Query, s: _State, layer: int, slot: Scalar, at: _Tile, values: CacheTensor
) -> None:
    """Scales of values as [head][group of 32 channels][position]."""
    b, vb = c.builder, q.kv * values.blocks
    scales = b.scalar("add", slot, at.first)
    b.load(
        s.value_scales, Mem("cache", values.scales + q.first * values.scale_strides[0], scales), at.n, vb,
        values.scale_strides[1], 1, 0, c.tile, vb * c.tile, c.caches[layer],
    )  # fmt: skip


def _load_values(
    c: Context, q: Query, s: _State, layer: int, slot: Scalar, at: _Tile, values: CacheTensor
) -> None:
    """Values as [head][group of 32 channels][block of 32 positions][channel][position] (filled up to
    `panel` channels)."""
    b = c.builder
    vb, row = q.kv * values.blocks, values.code_strides[2]
    codes = b.scalar("add", slot, b.scalar("mul", at.first, row))
    b.transpose(
        s.values, Mem("cache", values.codes + q.first * values.code_strides[0], codes), vb * BLOCK, at.blocks, row,
        c.tile * panel(c), BLOCK * row, panel(c) * BLOCK, vb * c.tile * panel(c), c.caches[layer],
    )  # fmt: skip


def _scores(c: Context, q: Query, s: _State, keys: CacheTensor) -> None:
    b, size = c.builder, unit(c)
    beats, per = keys.blocks * size * BLOCK, q.tokens * q.group
    for h in range(q.kv):
        for first in range(0, per, c.g.rows):
            here = min(c.g.rows, per - first)
            for u in range(-(-reach(c, q) // size)):
                at = u * q.kv + h
                row = h * per + first
                x = q.rows.row(row)
                b.matmul(
                    x.at, x.scales, x.stride, s.keys + at * beats, s.key_scales + at * keys.blocks * size,
                    s.t.row(row).at + 4 * u * size, s.t.stride, keys.blocks, here, size // c.g.columns, "mxint8",
                    b.bank(),
                )  # fmt: skip


def _weigh(c: Context, q: Query, s: _State, at: _Tile, values: CacheTensor, out: Floats) -> None:
    """P·V: value scales go to the probabilities, channel group by channel group. A group's are converted while the
    matrix engine has those of the one before."""
    b, per = c.builder, q.tokens * q.group
    ones = c.tables["ones"]

    def convert(g: int) -> None:
        codes = s.codes[g % 2]
        for h in range(q.kv):
            p, t = s.p.row(h * per), s.t.row(h * per)
            factors = s.factors.row(h * values.blocks + g)
            b.vector("vmul", p.at, t.at, at.n, per, t.stride, p.stride, factors.at, 0, most=c.tile)
        b.vector(
            "vquantise", codes.at, s.p.at, at.n, q.count, s.p.stride, codes.stride, codes.scales,
            codes.stride, most=c.tile, format=1,
        )  # fmt: skip

    convert(0)
    for g in range(values.blocks):
        if g + 1 < values.blocks:  # before these products, which fill the matrix engine's queue
            convert(g + 1)
        codes = s.codes[g % 2]
        for h in range(q.kv):
            w = s.values + (h * values.blocks + g) * c.tile * panel(c)
            for first in range(0, per, c.g.rows):
                here, row = min(c.g.rows, per - first), h * per + first
                x = codes.row(row)
                b.matmul(
                    x.at, x.scales, x.stride, w, ones, out.row(row).at + 4 * g * BLOCK, out.stride, at.blocks,
                    here, panel(c) // c.g.columns, "mxint8", b.bank(), most=c.tile // BLOCK,
                )  # fmt: skip
