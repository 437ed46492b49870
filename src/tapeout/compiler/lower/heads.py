"""Heads within rows of activations: their rotation, and their way to the cache."""

from __future__ import annotations

from tapeout.compiler.ir import Mem, Ref, Scalar
from tapeout.compiler.lower.context import Context, Floats, Rows
from tapeout.compiler.program import CacheTensor
from tapeout.model.rope import Rope
from tapeout.numerics.formats import BLOCK


class Heads:
    """Heads within FP32 rows: `count` of `dim` elements, `step` elements apart, from element `start` on."""

    def __init__(self, x: Floats, start: int, count: int, dim: int, step: int) -> None:
        self.x, self.start, self.count, self.dim, self.step = x, start, count, dim, step

    def of(self, row: int, offset: int = 0) -> Floats:
        """All heads of one token as rows; elements from `offset` on of each."""
        return Floats(self.x.at + row * self.x.stride + 4 * (self.start + offset), self.dim, 4 * self.step)

    def head(self, h: int) -> Floats:
        """One head of all tokens as rows."""
        return Floats(self.x.at + 4 * (self.start + h * self.step), self.dim, self.x.stride)

    def each(self, rows: int) -> list[tuple[Floats, int]]:
        """As few sets of evenly spaced rows as cover all heads of all tokens."""
        if rows == 1:
            return [(self.of(0), self.count)]
        return [(self.head(h), rows) for h in range(self.count)]


def turn(c: Context, source: Heads, target: Heads, rows: int, rope: Rope) -> None:
    """Rotary embedding of heads to the places of others, or in place."""
    table, stride = _table(c, rope)
    half = rope.rotary_dim // 2
    for (x, count), (y, _) in zip(source.each(rows), target.each(rows), strict=True):
        c.builder.vector(
            "vrope", y.at, x.at, x.n, count, x.stride, y.stride, table, 0 if rows == 1 else stride, half=half,
            interleaved=int(rope.interleaved),
        )  # fmt: skip


def _table(c: Context, rope: Rope) -> tuple[Ref, int]:
    """Cosines and sines of this step's positions: loaded once for all layers."""
    key = f"rope {rope}"
    at, row = c.memory.rotary(rope, c.capacity)
    if key not in c.tables:
        table = c.work("rotary table", row * c.step.rows)
        for i, position in enumerate(c.positions):
            offset = c.builder.scalar("mul", position, row)
            c.builder.load(
                table + i * row * c.step.tokens, Mem(at.region, at.offset, offset), row * c.step.tokens,
                extent=row * c.step.tokens,
            )  # fmt: skip
        c.tables[key] = table
    return c.tables[key], row


def cache(c: Context, layer: int, k: Heads, v: Heads, rows: int) -> None:
    """Quantise new keys and values and store them in the cache."""
    for heads, place in ((k, c.cache[layer][0]), (v, c.cache[layer][1])):
        q = c.rows("new cache", rows * heads.count, heads.dim)  # [token][head]
        per = q.stride
        for i, (x, count) in enumerate(heads.each(rows)):
            at = q if rows == 1 else q.row(i)
            stride = per if rows == 1 else heads.count * per
            c.builder.vector(
                "vquantise", at.at, x.at, x.n, count, x.stride, stride, at.scales, stride, format=1
            )
        for i, (position, slot) in enumerate(zip(c.positions, c.slots, strict=True)):
            _store(c, layer, place, q.row(i * c.step.tokens * heads.count), heads.count, position, slot)


def _store(
    c: Context, layer: int, place: CacheTensor, q: Rows, heads: int, position: Scalar, slot: Scalar
) -> None:  # fmt: skip
    """Codes and scales of `tokens` tokens [token][head] to their places."""
    b, tokens, area = c.builder, c.step.tokens, c.caches[layer]
    token = heads * q.stride
    last = (tokens - 1) * token
    runs = [
        # bytes of a run, runs of a head, bytes between them, the source, strides (head, token), offset in the cache
        (place, q.at, place.code_strides, place.codes, BLOCK),
        (place, q.scales, place.scale_strides, place.scales, 1),
    ]
    for t, source, (head, block, step), at, size in runs:
        offset = b.scalar("add", slot, b.scalar("mul", position, step))
        blocks = t.blocks
        if block == size and blocks > 1:  # a head's blocks follow one another in memory: one run
            size, blocks = size * blocks, 1
        extent = last + token
        if tokens == 1 and blocks <= heads:
            for g in range(blocks):
                b.store(source + g * size, Mem("cache", at + g * block, offset), size, heads, head, 1, 0, q.stride,
                        (heads - 1) * q.stride + size, area)  # fmt: skip
            continue
        for h in range(heads):
            for g in range(blocks) if tokens > 1 else [0]:
                n0, s0, pitch = (tokens, step, token) if tokens > 1 else (blocks, block, size)
                b.store(source + h * q.stride + g * size, Mem("cache", at + h * head + g * block, offset), size, n0, s0,
                        1, 0, pitch, (n0 - 1) * pitch + size, area)  # fmt: skip
        assert extent > 0


__all__ = ["Heads", "cache", "turn"]
