"""Grouped-query attention: projections, norms of heads, rotation, cache, attention, gate, output."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tapeout.chip.isa.geometry import round_up
from tapeout.compiler.ir import Mem, Ref
from tapeout.compiler.lower.attention import Begun, Query, attend, begin, extent
from tapeout.compiler.lower.context import Context, Floats, Rows, by_row, each, quantise, reduce
from tapeout.compiler.lower.heads import Heads, cache, turn
from tapeout.compiler.lower.norm import rms_norm, weight_of
from tapeout.compiler.lower.pieces import Alternating, Assembled, added, first_of, in_pieces, made, pieces
from tapeout.compiler.lower.product import product, room
from tapeout.compiler.memory import Matrix
from tapeout.model.architecture import GroupedQueryAttention, Tensor
from tapeout.numerics import vector
from tapeout.numerics.formats import BLOCK

KEYS = 4  # keys and values of a tile take at most this part of the scratchpad, if heads can go by turns
SCORES = (
    32  # a block of tokens' scores take at most this part of the scratchpad, where there are several tokens
)


SCORES_MOST = 1 << 16  # and so many bytes


def biased(c: Context, y: Floats, rows: int, bias: Tensor | None) -> None:
    """Add a bias to `y`."""
    if bias is not None:
        each(c, "vadd", y, y, rows, c.vector(bias, bias.shape[0]))


def grouped_query(
    c: Context, x: Rows, layer: int, a: GroupedQueryAttention, into: Floats | None = None
) -> Floats | None:
    """Normalised inputs → the attention's output, FP32 rows; None if it has been added to `into`."""
    names, rows, b = c.names(layer), c.step.rows, c.builder
    dim, group = a.head_dim, a.heads // a.kv_heads
    step = 2 * dim if a.output_gate else dim  # behind each head of q its gate, if there is one
    k, v = (
        Heads(c.floats(p, rows, a.kv_heads * dim, room(c, a.kv_heads * dim)), 0, a.kv_heads, dim, dim)
        for p in ("k", "v")
    )

    def project(heads: Heads, p: str) -> None:
        b.of(layer, "qkv")
        matrix = c.memory.matrix(names[f"self_attn.{p}_proj.weight"], "attention")
        product(c, x, rows, matrix, heads.x)

    def finish(heads: Heads, p: str, first: int = 0) -> None:
        """`first`: the number of the first of these heads."""
        b.of(layer, "qkv")
        bias = names.get(f"self_attn.{p}_proj.bias")
        if bias is not None:
            each(c, "vadd", heads.x, heads.x, rows, c.vector(bias, bias.shape[0]) + 4 * first * dim)
        if p == "v":
            return
        if a.qk_norm in ("head", "full"):
            b.of(layer, "qk_norm")
            _normalise(c, heads, rows, names.get(f"self_attn.{p}_norm.weight"), a.qk_norm)
        if a.rope is not None:
            b.of(layer, "rope")
            turn(c, heads, heads, rows, a.rope)
            if a.qk_norm == "l2":
                _normalise(c, heads, rows, None, "head")

    # keys and values first: their way to the cache and back goes on while the queries are made
    project(k, "k")
    project(v, "v")
    finish(k, "k")
    finish(v, "v")
    b.of(layer, "cache")
    cache(c, layer, k, v, rows)
    sinks = names.get("self_attn.sinks")
    scale = dim**-0.5 if a.scale is None else a.scale
    b.of(layer, "qkv")
    matrix = c.memory.matrix(names["self_attn.q_proj.weight"], "attention")
    if in_pieces(c) and a.qk_norm != "full" and not a.output_gate and group * dim % BLOCK == 0:
        parts = list(pieces(c, matrix, rows, group * dim))
        if len(parts) > 1:
            codes = _piece_by_piece(c, x, layer, a, parts, sinks, scale, finish)
            return _output(c, layer, names, codes, into)
    q = Heads(c.floats("q", rows, a.heads * step, room(c, a.heads * step)), 0, a.heads, dim, step)
    project(q, "q")
    b.of(layer, "attention")
    queries = c.rows("queries", rows * a.heads, dim)
    y = c.floats("attended", rows, a.heads * dim)
    go = _attention(c, layer, a, queries, y, sinks, scale, group)
    finish(q, "q")
    b.of(layer, "attention")
    _quantise_queries(c, q, rows, group, queries)
    go()
    if a.output_gate:
        b.of(layer, "gate")
        gates = Heads(q.x, dim, a.heads, dim, q.step)
        outputs = Heads(y, 0, a.heads, dim, dim)
        for (gate, count), (o, _) in zip(gates.each(rows), outputs.each(rows), strict=True):
            each(c, "vsigmoid", gate, gate, count)
            each(c, "vmul", o, o, count, gate)
    b.of(layer, "attention_output")
    return _output(c, layer, names, quantise(c, y, rows, "attended codes"), into)


def _output(
    c: Context, layer: int, names: Mapping[str, Tensor], codes: Rows, into: Floats | None
) -> Floats | None:
    """The projection of what was attended to."""
    rows, bias = c.step.rows, names.get("self_attn.o_proj.bias")
    c.builder.of(layer, "attention_output")
    matrix = c.memory.matrix(names["self_attn.o_proj.weight"], "attention")
    if into is not None:
        at = None if bias is None else c.vector(bias, bias.shape[0])
        added(c, codes, rows, matrix, at, into)
        return None
    result = c.floats("attention output", rows, c.model.hidden, room(c, c.model.hidden))
    product(c, codes, rows, matrix, result)
    biased(c, result, rows, bias)
    return result


def _piece_by_piece(
    c: Context, x: Rows, layer: int, a: GroupedQueryAttention, parts: list[Matrix], sinks: Tensor | None, scale: float,
    finish: Callable[[Heads, str, int], None],
) -> Rows:  # fmt: skip
    """Codes of what was attended to, a few heads at a time. The next heads' queries are made before the attention of
    some, which is vector work for the most part."""
    b, rows, dim, group = c.builder, c.step.rows, a.head_dim, a.heads // a.kv_heads
    whole = Assembled(c, "attended codes", rows, a.heads * dim)

    places = Alternating(c, "q", rows, parts)

    def project(part: Matrix) -> Heads:
        b.of(layer, "qkv")
        return Heads(made(c, x, rows, part, places.next(part.n)), 0, part.n // dim, dim, dim)

    following = project(parts[0])
    for i, part in enumerate(parts):
        q, first = following, first_of(part) // dim
        finish(q, "q", first)
        if i + 1 < len(parts):
            following = project(parts[i + 1])
        b.of(layer, "attention")
        queries = c.rows("queries", rows * q.count, dim)
        _quantise_queries(c, q, rows, group, queries)
        y = c.floats("attended", rows, q.count * dim)
        kv = range(first // group, (first + q.count) // group)
        _attention_of_many(c, layer, a, queries, y, sinks, scale, group, kv)
        whole.put(y, first * dim)
    return whole.rows()


def _normalise(c: Context, heads: Heads, rows: int, weight: Tensor | None, kind: str) -> None:
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


def _quantise_queries(c: Context, q: Heads, rows: int, group: int, out: Rows) -> None:
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
        _attention_of_many(c, layer, a, queries, y, sinks, scale, group, range(a.kv_heads))

    return go


def _attention_of_one(
    c: Context, layer: int, a: GroupedQueryAttention, queries: Rows, y: Floats, sinks: Tensor | None, scale: float,
    group: int,
) -> Callable[[], None]:  # fmt: skip
    dim = a.head_dim
    wide = extent(c, dim)
    at = None if sinks is None else c.vector(sinks, a.heads, 32, times=float(vector.LOG2E))
    tile = 2 * round_up(dim, BLOCK) * c.tile  # bytes of a head's keys and values
    size = min(max(c.g.pad_bytes // KEYS // tile, 1), a.kv_heads)  # key heads at a time
    work = [(i, first) for i in range(c.step.sequences) for first in range(0, a.kv_heads, size)]

    def query(i: int, first: int) -> tuple[Query, Floats]:
        kv = min(size, a.kv_heads - first)
        own = Floats(y.row(i).at + 4 * first * group * dim, dim, 4 * dim)
        out = own if wide == dim else c.floats("head outputs", kv * group, wide)
        sinks_at = None if at is None else at + 32 * first * group
        rows = queries.row(i * a.heads + first * group)
        return Query(rows, 1, first, kv, group, scale, a.window, sinks_at, a.chunk), out

    def finish(i: int, q: Query, out: Floats, begun: Begun | None) -> None:
        attend(c, q, layer, c.positions[i], c.slots[i], out, begun)
        if wide != dim:
            own = Floats(y.row(i).at + 4 * q.first * group * dim, dim, 4 * dim)
            part = Floats(out.at, dim, out.stride)
            each(c, "vmaximum", own, part, q.count, part)

    ahead: list[tuple[Query, Floats, Begun]] = []
    if c.step.sequences == 1:
        q, out = query(0, 0)
        ahead = [(q, out, begin(c, q, layer, c.positions[0], c.slots[0], out))]

    def go() -> None:
        for q, out, begun in ahead:
            finish(0, q, out, begun)
        for i, first in work[len(ahead) :]:
            finish(i, *query(i, first), None)

    return go


def _attention_of_many(
    c: Context, layer: int, a: GroupedQueryAttention, queries: Rows, y: Floats, sinks: Tensor | None, scale: float,
    group: int, heads: range,
) -> None:  # fmt: skip
    """Of these heads of keys: `queries` and `y` have only their query heads."""
    b, tokens, dim = c.builder, c.step.tokens, a.head_dim
    wide = extent(c, dim)
    most = min(c.g.pad_bytes // SCORES, SCORES_MOST)
    size = max(min(tokens, most // (4 * c.tile * group)), 1)
    for first in range(0, tokens, size):
        here = min(size, tokens - first)
        position = b.scalar("add", c.positions[0], first)
        for i, kv in enumerate(heads):
            at = _sinks_of(c, sinks, kv, group, here) if sinks is not None else None
            out = c.floats("head outputs", here * group, wide)
            q = Query(
                queries.row((i * tokens + first) * group), here, kv, 1, group, scale, a.window, at, a.chunk
            )
            attend(c, q, layer, position, c.slots[0], out)
            for h in range(group):  # rows of the block [token][group] to their places in the tokens' rows
                source = Floats(out.at + h * out.stride, dim, group * out.stride)
                to = Floats(y.row(first).at + 4 * (i * group + h) * dim, dim, y.stride)
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


__all__ = ["biased", "grouped_query"]
