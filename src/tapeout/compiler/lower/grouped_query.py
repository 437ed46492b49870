"""Grouped-query attention: projections, norms of heads, rotation, cache, attention, gate, output."""

from __future__ import annotations

from collections.abc import Callable

from tapeout.compiler.ir import Mem, Ref, Scalar
from tapeout.compiler.lower.attention import Begun, Query, attend, begin
from tapeout.compiler.lower.context import Context, Floats, Rows, by_row, each, quantise, reduce
from tapeout.compiler.lower.norm import rms_norm, weight_of
from tapeout.compiler.lower.product import product, room
from tapeout.compiler.program import CacheTensor
from tapeout.errors import InputError, Phrase
from tapeout.model.architecture import GroupedQueryAttention, Tensor
from tapeout.model.rope import Rope
from tapeout.numerics import vector
from tapeout.numerics.formats import BLOCK

SCORES = (
    32  # a block of tokens' scores take at most this part of the scratchpad, where there are several tokens
)


def biased(c: Context, y: Floats, rows: int, bias: Tensor | None) -> None:
    """Add a bias to `y`."""
    if bias is not None:
        each(c, "vadd", y, y, rows, c.vector(bias, bias.shape[0]))


def grouped_query(c: Context, x: Rows, layer: int, a: GroupedQueryAttention) -> Floats:
    """Normalised inputs → the attention's output, FP32 rows."""
    if a.chunk is not None:
        raise InputError(
            c.model.name, f"layer {layer}", Phrase("attention in chunks"), "full or windowed attention"
        )
    names, rows, b = c.names(layer), c.step.rows, c.builder
    dim, group = a.head_dim, a.heads // a.kv_heads
    step = 2 * dim if a.output_gate else dim  # behind each head of q its gate, if there is one
    q, k, v = (
        _Heads(c.floats(p, rows, count * width, room(c, count * width)), 0, count, dim, width)
        for p, count, width in (("q", a.heads, step), ("k", a.kv_heads, dim), ("v", a.kv_heads, dim))
    )

    def project(heads: _Heads, p: str) -> None:
        b.of(layer, "qkv")
        matrix = c.memory.matrix(names[f"self_attn.{p}_proj.weight"], "attention")
        product(c, x, rows, matrix, heads.x)

    def finish(heads: _Heads, p: str) -> None:
        b.of(layer, "qkv")
        biased(c, heads.x, rows, names.get(f"self_attn.{p}_proj.bias"))
        if p == "v":
            return
        if a.qk_norm in ("head", "full"):
            b.of(layer, "qk_norm")
            _normalise(c, heads, rows, names.get(f"self_attn.{p}_norm.weight"), a.qk_norm)
        if a.rope is not None:
            b.of(layer, "rope")
            rotate(c, heads, rows, a.rope)
            if a.qk_norm == "l2":
                _normalise(c, heads, rows, None, "head")

    # keys and values first: their way to the cache and back goes on while the queries are made
    project(k, "k")
    project(v, "v")
    finish(k, "k")
    finish(v, "v")
    b.of(layer, "cache")
    cache(c, layer, k, v, rows)
    project(q, "q")
    b.of(layer, "attention")
    queries = c.rows("queries", rows * a.heads, dim)
    y = c.floats("attended", rows, a.heads * dim)
    sinks = names.get("self_attn.sinks")
    scale = dim**-0.5 if a.scale is None else a.scale
    go = _attention(c, layer, a, queries, y, sinks, scale, group)
    finish(q, "q")
    b.of(layer, "attention")
    _quantise_queries(c, q, rows, group, queries)
    go()
    if a.output_gate:
        b.of(layer, "gate")
        gates = _Heads(q.x, dim, a.heads, dim, q.step)
        outputs = _Heads(y, 0, a.heads, dim, dim)
        for (gate, count), (o, _) in zip(gates.each(rows), outputs.each(rows), strict=True):
            each(c, "vsigmoid", gate, gate, count)
            each(c, "vmul", o, o, count, gate)
    b.of(layer, "attention_output")
    result = c.floats("attention output", rows, c.model.hidden, room(c, c.model.hidden))
    output = names["self_attn.o_proj.weight"]
    product(c, quantise(c, y, rows, "attended codes"), rows, c.memory.matrix(output, "attention"), result)
    biased(c, result, rows, names.get("self_attn.o_proj.bias"))
    return result


class _Heads:
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


def _normalise(c: Context, heads: _Heads, rows: int, weight: Tensor | None, kind: str) -> None:
    if kind == "full":
        whole = Floats(heads.of(0).at, heads.count * heads.dim, heads.x.stride)
        rms_norm(c, whole, rows, weight, whole)
        return
    scale = weight_of(c, weight, heads.dim)
    for x, count in heads.each(rows):
        y = c.floats("norm", count, heads.dim)
        each(c, "vmul", y, x, count, x)
        s = reduce(c, "vtotal", y, count, "norm statistics")
        each(c, "vmul", s, s, count, 1.0 / heads.dim)
        each(c, "vadd", s, s, count, c.model.norm_epsilon)
        each(c, "vrsqrt", s, s, count)
        by_row(c, "vmul", x, x, count, s)
        if scale is not None:
            each(c, "vmul", x, x, count, scale)


def rotate(c: Context, heads: _Heads, rows: int, rope: Rope) -> None:
    """Rotary embedding of heads, in place."""
    table, stride = _table(c, rope)
    half = rope.rotary_dim // 2
    for x, count in heads.each(rows):
        c.builder.vector(
            "vrope", x.at, x.at, x.n, count, x.stride, x.stride, table, 0 if rows == 1 else stride, half=half,
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


def cache(c: Context, layer: int, k: _Heads, v: _Heads, rows: int) -> None:
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


def _quantise_queries(c: Context, q: _Heads, rows: int, group: int, out: Rows) -> None:
    """Queries as [kv][token][group] (of all sequences: [sequence][kv][token][group]) to `out`."""
    b, tokens = c.builder, c.step.tokens
    for i in range(c.step.sequences):
        first = i * tokens
        if tokens == 1:
            x, at = q.of(first), out.row(first * q.count)
            b.vector(
                "vquantise", at.at, x.at, x.n, q.count, x.stride, at.stride, at.scales, at.stride, format=1
            )
            continue
        for h in range(q.count):
            x = q.head(h).row(first)
            at = out.row(first * q.count + (h // group * tokens) * group + h % group)
            stride = group * out.stride
            b.vector("vquantise", at.at, x.at, x.n, tokens, x.stride, stride, at.scales, stride, format=1)


def _attention(
    c: Context, layer: int, a: GroupedQueryAttention, queries: Rows, y: Floats, sinks: Tensor | None, scale: float,
    group: int,
) -> Callable[[], None]:  # fmt: skip
    """What is to be called when the queries are there. Of one token, the loads of keys and values go out before."""
    if c.step.tokens == 1:
        return _attention_of_one(c, layer, a, queries, y, sinks, scale, group)

    def go() -> None:
        _attention_of_many(c, layer, a, queries, y, sinks, scale, group)

    return go


def _attention_of_one(
    c: Context, layer: int, a: GroupedQueryAttention, queries: Rows, y: Floats, sinks: Tensor | None, scale: float,
    group: int,
) -> Callable[[], None]:  # fmt: skip
    dim = a.head_dim
    wide = -(-dim // BLOCK) * BLOCK
    at = None if sinks is None else c.vector(sinks, a.heads, 32, times=float(vector.LOG2E))

    def query(i: int) -> tuple[Query, Floats]:
        own = Floats(y.row(i).at, dim, 4 * dim)
        out = own if wide == dim else c.floats("head outputs", a.heads, wide)
        return Query(queries.row(i * a.heads), 1, 0, a.kv_heads, group, scale, a.window, at), out

    def finish(i: int, q: Query, out: Floats, begun: Begun | None) -> None:
        attend(c, q, layer, c.positions[i], c.slots[i], out, begun)
        if wide != dim:
            own, part = Floats(y.row(i).at, dim, 4 * dim), Floats(out.at, dim, out.stride)
            each(c, "vmaximum", own, part, a.heads, part)

    if c.step.sequences == 1:
        q, out = query(0)
        begun = begin(c, q, layer, c.positions[0], c.slots[0], out)
        return lambda: finish(0, q, out, begun)

    def go() -> None:
        for i in range(c.step.sequences):
            finish(i, *query(i), None)

    return go


def _attention_of_many(
    c: Context, layer: int, a: GroupedQueryAttention, queries: Rows, y: Floats, sinks: Tensor | None, scale: float,
    group: int,
) -> None:  # fmt: skip
    b, tokens, dim = c.builder, c.step.tokens, a.head_dim
    wide = -(-dim // BLOCK) * BLOCK
    size = max(min(tokens, c.g.pad_bytes // SCORES // (4 * c.tile * group)), 1)
    for first in range(0, tokens, size):
        here = min(size, tokens - first)
        position = b.scalar("add", c.positions[0], first)
        for kv in range(a.kv_heads):
            at = _sinks_of(c, sinks, kv, group, here) if sinks is not None else None
            out = c.floats("head outputs", here * group, wide)
            q = Query(queries.row((kv * tokens + first) * group), here, kv, 1, group, scale, a.window, at)
            attend(c, q, layer, position, c.slots[0], out)
            for h in range(group):  # rows of the block [token][group] to their places in the tokens' rows
                source = Floats(out.at + h * out.stride, dim, group * out.stride)
                to = Floats(y.row(first).at + 4 * (kv * group + h) * dim, dim, y.stride)
                each(c, "vmaximum", to, source, here, source)


def _sinks_of(c: Context, sinks: Tensor, kv: int, group: int, tokens: int) -> Ref:
    """Sinks of one key head's query heads, once for each token."""

    def make() -> Mem:
        at = c.memory.room("vectors", 32 * group * tokens)
        for t in range(tokens):
            part = [kv * group, (kv + 1) * group, 1]
            c.memory.pack(
                at + 32 * group * t,
                "vector",
                [sinks],
                n=group,
                spread=32,
                part=part,
                times=float(vector.LOG2E),
            )
        return at

    at = c.memory.once(("sinks", sinks.name, kv, tokens), make)
    return c.constants(at, 32 * group * tokens, "sinks")


__all__ = ["biased", "cache", "grouped_query", "rotate"]
