"""Latent attention in its absorbed form: every head attends to the cached latent itself (see the functional simulator).

Heads go set by set: a set's queries are projected, multiplied with the heads' own matrices and attended with in groups
of as many rows as the scratchpad has room for; what they attended to is multiplied with the heads' matrices for values
and quantised. So a prompt of many tokens and many heads needs room for a few of them at a time only; each weight is
read once, the cache once for each group.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

from tapeout.chip.isa.geometry import round_up
from tapeout.compiler.ir import Scalar
from tapeout.compiler.lower.attention import Begun, Query, attend, begin, extent
from tapeout.compiler.lower.context import Context, Floats, Rows, quantise
from tapeout.compiler.lower.heads import Heads, cache, turn
from tapeout.compiler.lower.norm import rms_norm
from tapeout.compiler.lower.product import product, room
from tapeout.compiler.memory import Matrix
from tapeout.errors import InputError
from tapeout.model.architecture import LatentAttention, Tensor
from tapeout.numerics.formats import BLOCK

SHARE = 4  # a group's rows take at most this part of the scratchpad
UNIT = 1024  # channels whose scales fill a block of 32 bytes: where a part of a row of codes can start


@dataclass(frozen=True)
class _Own:
    """A matrix of each head: those of the heads one after another, `stride` bytes apart."""

    first: Matrix
    stride: int

    def of(self, head: int) -> Matrix:
        """One head's."""
        m = self.first
        return Matrix(m.base + head * self.stride, m.n, m.k, m.format, m.commands, m.bytes)


def latent(c: Context, x: Rows, layer: int, a: LatentAttention) -> Floats:
    """Normalised inputs → the attention's output, FP32 rows."""
    _possible(c, layer, a)
    names, rows, b = c.names(layer), c.step.rows, c.builder
    width = a.kv_rank + a.rope_dim
    # the key and its way to the cache and back go on while the queries are made
    b.of(layer, "kv_latent")
    kv = c.floats("latent", rows, width, room(c, width))
    product(c, x, rows, c.memory.matrix(names["self_attn.kv_a_proj_with_mqa.weight"], "attention"), kv)
    part = kv.part(0, a.kv_rank)
    rms_norm(c, part, rows, names["self_attn.kv_a_layernorm.weight"], part)
    b.of(layer, "rope")
    key = Heads(kv, a.kv_rank, 1, a.rope_dim, width)
    turn(c, key, key, rows, a.rope)
    b.of(layer, "cache")
    cache(c, layer, Heads(kv, 0, 1, width, width), Heads(kv, 0, 1, a.kv_rank, width), rows)
    b.of(layer, "q_latent")
    if a.q_rank is not None:
        down = c.floats("query latent", rows, a.q_rank, room(c, a.q_rank))
        product(c, x, rows, c.memory.matrix(names["self_attn.q_a_proj.weight"], "attention"), down)
        rms_norm(c, down, rows, names["self_attn.q_a_layernorm.weight"], down)
        x = quantise(c, down, rows, "query latent codes")
    name = "self_attn.q_proj.weight" if a.q_rank is None else "self_attn.q_b_proj.weight"
    own = _own(c, layer, a, names["self_attn.kv_b_proj.weight"])
    attended = c.rows("attended codes", rows, a.heads * a.value_dim)
    size = _group(c, a)
    unit = min(UNIT // gcd(UNIT, a.value_dim), a.heads)  # heads of a set, or a multiple of it
    step = min(round_up(size, unit), round_up(a.heads, unit))
    for first in range(0, a.heads, step):
        heads = range(first, min(first + step, a.heads))
        _set(c, layer, a, names[name], own, x, heads, size, unit, attended)
    b.of(layer, "attention_output")
    result = c.floats("attention output", rows, c.model.hidden, room(c, c.model.hidden))
    product(c, attended, rows, c.memory.matrix(names["self_attn.o_proj.weight"], "attention"), result)
    return result


def _possible(c: Context, layer: int, a: LatentAttention) -> None:
    for name, value, unit in (
        ("kv_lora_rank", a.kv_rank, 8),
        ("qk_nope_head_dim", a.nope_dim, 8),
        ("v_head_dim", a.value_dim, 8),
        ("qk_rope_head_dim", a.rope_dim, 16),
    ):
        if value % unit:
            raise InputError(
                c.model.name, f"layer {layer}: {name}", value, f"a multiple of {unit} for a compiled program"
            )


def _row(c: Context, a: LatentAttention) -> int:
    """Bytes of the scratchpad that a row (a head of a token) takes while it attends."""
    query = max(a.kv_rank + a.rope_dim, room(c, a.kv_rank))
    return 4 * (query + 2 * extent(c, a.kv_rank) + 2 * c.tile) + 2 * a.kv_rank + c.tile + 512


def _group(c: Context, a: LatentAttention) -> int:
    """Heads that attend together."""
    return min(max(c.g.pad_bytes // SHARE // (_row(c, a) * c.step.rows), 1), a.heads)


def _own(c: Context, layer: int, a: LatentAttention, tensor: Tensor) -> tuple[_Own, _Own]:
    """The heads' matrices that make the query for the latent, and the value of it."""

    def make(kind: str, n: int, k: int) -> _Own:
        m = c.memory
        format = m.made(tensor, "attention")
        commands = m.cut(n, k, format)
        size = commands[-1][-1].offset + commands[-1][-1].bytes
        unit = max(c.g.beat_bytes(format), 64)
        stride = round_up(size, unit)
        at = m.room("weights", stride * a.heads, unit)
        m.pack(
            at, "latent", [tensor], format=format, part=kind, heads=a.heads, nope=a.nope_dim, value=a.value_dim,
            stride=stride, tiles=commands[0][0].tiles, steps=commands[0][0].steps,
        )  # fmt: skip
        return _Own(Matrix(at, n, k, format, commands, size), stride)

    def both() -> Any:
        return make("key", a.kv_rank, a.nope_dim), make("value", a.value_dim, a.kv_rank)

    found: tuple[_Own, _Own] = c.memory.once(("latent", layer), both)
    return found


def _set(
    c: Context, layer: int, a: LatentAttention, projection: Tensor, own: tuple[_Own, _Own], x: Rows, heads: range,
    size: int, unit: int, attended: Rows,
) -> None:  # fmt: skip
    """Heads whose attended values are quantised together, into their part of `attended`."""
    b, rows, dim = c.builder, c.step.rows, a.nope_dim + a.rope_dim
    begun: Begun | None = None
    groups = [heads[i : i + size] for i in range(0, len(heads), size)]
    ahead = c.step.rows == 1
    if ahead:
        b.of(layer, "attention")
        first = _Group(c, layer, a, groups[0])
        begun = first.begin()
    b.of(layer, "q")
    q = c.floats("q", rows, len(heads) * dim, len(heads) * dim + room(c, 1))
    for start in range(heads.start, heads.stop, unit):
        stop = min(start + unit, heads.stop)
        matrix = c.memory.matrix(projection, "attention", (start * dim, stop * dim, 1))
        product(c, x, rows, matrix, Floats(q.at + 4 * (start - heads.start) * dim, matrix.n, q.stride))
    values = c.floats("values", rows, len(heads) * a.value_dim, len(heads) * a.value_dim + room(c, 1))
    for i, group in enumerate(groups):
        work = first if ahead and not i else _Group(c, layer, a, group)
        work.queries(Heads(q, (group.start - heads.start) * dim, len(group), dim, dim), own[0])
        work.attend(begun if not i else None)
        work.values(own[1], values, (group.start - heads.start) * a.value_dim)
    b.of(layer, "attention")
    at = heads.start * a.value_dim
    b.vector(
        "vquantise", attended.at + at, values.at, values.n, rows, values.stride, attended.stride,
        attended.scales + at // BLOCK, attended.stride, format=1,
    )  # fmt: skip


class _Group:
    """Heads that attend together: rows [token][head] of queries and of what they attended to."""

    def __init__(self, c: Context, layer: int, a: LatentAttention, heads: range) -> None:
        self.c, self.layer, self.a, self.heads = c, layer, a, heads
        count = c.step.rows * len(heads)
        self.width = a.kv_rank + a.rope_dim
        self.codes = c.rows("queries", count, self.width)
        self.out = c.floats("attended", count, round_up(a.kv_rank, BLOCK), extent(c, a.kv_rank))

    def _query(self, row: int, tokens: int) -> tuple[Query, Floats]:
        """`tokens` tokens from token `row` of the step on."""
        n = len(self.heads)
        q = Query(self.codes.row(row * n), tokens, 0, 1, n, self.a.scale, None, None)
        return q, self.out.row(row * n)

    def begin(self) -> Begun:
        """Loads of the first tile of the cache, of a step of one token."""
        c = self.c
        q, out = self._query(0, 1)
        return begin(c, q, self.layer, c.positions[0], c.slots[0], out)

    def queries(self, q: Heads, own: _Own) -> None:
        """Queries of these heads, made for the latent by their own matrices, the rotated part behind."""
        c, a, b, rows, n = self.c, self.a, self.c.builder, self.c.step.rows, len(self.heads)
        b.of(self.layer, "q_absorbed")
        y = c.floats("query", rows * n, self.width, room(c, a.kv_rank))
        for i, head in enumerate(self.heads):
            plain = Floats(q.head(i).at, a.nope_dim, q.x.stride)
            codes = quantise(c, plain, rows, "query codes")
            product(c, codes, rows, own.of(head), Floats(y.row(i).at, a.kv_rank, n * y.stride))
        b.of(self.layer, "rope")
        turned = Heads(q.x, q.start + a.nope_dim, n, a.rope_dim, q.step)
        for_key = Heads(
            Floats(y.at, n * y.stride // 4, n * y.stride), a.kv_rank, n, a.rope_dim, y.stride // 4
        )
        turn(c, turned, for_key, rows, a.rope)
        b.of(self.layer, "attention")
        b.vector(
            "vquantise", self.codes.at, y.at, self.width, rows * n, y.stride, self.codes.stride, self.codes.scales,
            self.codes.stride, format=1,
        )  # fmt: skip

    def attend(self, begun: Begun | None) -> None:
        """Attention of every sequence, of as many tokens at a time as there is room for."""
        c, n = self.c, len(self.heads)
        self.c.builder.of(self.layer, "attention")
        if c.step.sequences > 1:
            for i in range(c.step.sequences):
                q, out = self._query(i, 1)
                attend(c, q, self.layer, c.positions[i], c.slots[i], out)
            return
        size = max(c.g.pad_bytes // SHARE // (_row(c, self.a) * n), 1)
        for first in range(0, c.step.tokens, size):
            q, out = self._query(first, min(size, c.step.tokens - first))
            position: Scalar = c.positions[0]
            if first:
                position = c.builder.scalar("add", position, first)
            attend(c, q, self.layer, position, c.slots[0], out, begun)

    def values(self, own: _Own, values: Floats, at: int) -> None:
        """Values of these heads to elements from `at` on of each token's row."""
        c, a, rows, n = self.c, self.a, self.c.step.rows, len(self.heads)
        c.builder.of(self.layer, "values_absorbed")
        for i, head in enumerate(self.heads):
            x = Floats(self.out.row(i).at, a.kv_rank, n * self.out.stride)
            codes = quantise(c, x, rows, "latent codes")
            y = Floats(values.at + 4 * (at + i * a.value_dim), a.value_dim, values.stride)
            product(c, codes, rows, own.of(head), y)


__all__ = ["latent"]
