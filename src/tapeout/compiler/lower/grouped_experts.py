"""Experts of several tokens: each expert's tokens are gathered, go through its network together, and their outputs are
scattered back to be summed in the order of choice.

A *pair* is a token and one of its choices: pair token·k + j. An expert's pairs come from the vector engine: where the
pairs' experts (as FP32, whose order on small bit patterns is that of the integers) equal it the mask is 1, the
`vtopk` of the mask lists those pairs first, and the sum of mask × 2^-149 has the bits of their number. Rows are
gathered from memory by that list, so what is in a block beyond the expert's last row is another pair's: computed, not
scattered.

A `vtopk` lists at most `MOST` pairs, so more tokens go through the experts in groups of so many, one after another.
"""

from __future__ import annotations

from dataclasses import replace

from tapeout.chip.isa.geometry import power_of_two, round_up
from tapeout.compiler.ir import Area, Mem, Ref, Scalar
from tapeout.compiler.lower.context import Context, Floats, Rows, Step, by_row, each, quantise, reduce
from tapeout.compiler.lower.experts import Record, record, scaled
from tapeout.compiler.lower.gated import gated
from tapeout.compiler.lower.pieces import PART
from tapeout.compiler.lower.product import LOAD_BYTES, groups, room
from tapeout.compiler.lower.routing import spread
from tapeout.compiler.memory import Chunk, Matrix
from tapeout.model.architecture import MixtureOfExperts

MOST = 64  # pairs of an expert that one `vtopk` lists
SMALLEST = 2.0**-149


def groups_of_tokens(tokens: int) -> list[range]:
    """The tokens that go through the experts together."""
    return [range(first, min(first + MOST, tokens)) for first in range(0, tokens, MOST)]


def by_expert(
    c: Context, h: Floats | None, x: Rows, layer: int, part: MixtureOfExperts, index: Ref, weights: Floats,
    into: Floats | None = None,
) -> Floats | None:  # fmt: skip
    """The weighted sum of the chosen experts' outputs for every token: FP32 rows; None if it has been added to
    `into`. `index`: rows of the numbers of each token's experts, padded to whole 32 bytes."""
    several, area = groups_of_tokens(c.step.rows), Area(f"pairs of layer {layer}")
    if len(several) == 1:
        return _group(c, h, x, layer, part, index, weights, area, into)
    stride = round_up(4 * part.experts_per_token, 32)
    y = c.floats("outputs of groups", c.step.rows, c.model.hidden) if into is None else None
    for tokens in several:
        first = tokens.start
        to = into if y is None else y
        assert to is not None
        made = _group(
            replace(c, step=Step(len(tokens), 1)), None if h is None else h.row(first), x.row(first), layer, part,
            index + first * stride, weights.row(first), area, None if into is None else into.row(first),
        )  # fmt: skip
        if made is not None:
            each(c, "vmaximum", to.row(first), made, len(tokens), made)
    return y


def _group(
    c: Context, h: Floats | None, x: Rows, layer: int, part: MixtureOfExperts, index: Ref, weights: Floats, area: Area,
    into: Floats | None = None,
) -> Floats | None:  # fmt: skip
    """`by_expert` of at most `MOST` tokens; `area`: of pairs in memory, which groups share."""
    b, tokens, k = c.builder, c.step.rows, part.experts_per_token
    pairs, n = tokens * k, c.model.hidden
    b.of(layer, "experts")
    r = record(c, layer, part)
    wide = round_up(4 * n, 64)
    lists = c.memory.once("pair lists", lambda: c.memory.room("spill", 4 * pairs))
    inputs = c.memory.once("pair inputs", lambda: c.memory.room("spill", x.stride * pairs))
    outputs = c.memory.once("pair outputs", lambda: c.memory.room("spill", wide * pairs))
    each_input = [scaled(c, h, weights, j) for j in range(k)] if part.scale_input else [x] * k
    chosen = _lay_out(c, each_input, index, area, lists, inputs, pairs)
    for expert in range(part.experts):
        _expert(c, layer, r, part, expert, chosen, area, inputs, outputs, x, pairs, wide)
    b.of(layer, "combine")
    shares = None if part.scale_input else [spread(c, weights, j) for j in range(k)]
    # in pieces of columns, where they are added up: fewer tokens would fit otherwise
    step = n if into is None else max(c.g.pad_bytes // PART // (4 * tokens) // 32 * 32, 32)
    y: Floats | None = None
    for first in range(0, n, step):
        columns = min(step, n - first)
        y = None
        for j in range(k):
            z = c.floats("expert outputs", tokens, columns)
            b.load(
                z.at, outputs + (j * wide + 4 * first), 4 * columns, tokens, k * wide, 1, 0, z.stride,
                tokens * z.stride, area,
            )  # fmt: skip
            if shares is not None:
                by_row(c, "vmul", z, z, tokens, shares[j])
            if y is None:
                y = z
            else:
                each(c, "vadd", y, y, tokens, z)
        assert y is not None
        if into is not None:
            part_of = into.part(first, columns)
            each(c, "vadd", part_of, part_of, tokens, y)
    return y if into is None else None


def _lay_out(
    c: Context, each_input: list[Rows], index: Ref, area: Area, lists: Mem, inputs: Mem, pairs: int
) -> Floats:
    """Every pair's activations in memory, and the experts of all pairs as one row of uint32."""
    b, tokens = c.builder, c.step.rows
    k = pairs // tokens
    stride = round_up(4 * k, 32)
    b.store(index, lists, 4 * k, tokens, 4 * k, 1, 0, stride, (tokens - 1) * stride + 4 * k, area)
    for j, x in enumerate(each_input):
        b.store(
            x.at,
            inputs + j * x.stride,
            x.stride,
            tokens,
            k * x.stride,
            1,
            0,
            x.stride,
            tokens * x.stride,
            area,
        )
    chosen = c.floats("experts of pairs", 1, pairs)
    b.load(chosen.at, lists, 4 * pairs, area=area)
    return chosen


def _expert(
    c: Context, layer: int, r: Record, part: MixtureOfExperts, expert: int, chosen: Floats, area: Area, inputs: Mem,
    outputs: Mem, x: Rows, pairs: int, wide: int,
) -> None:  # fmt: skip
    b, tokens = c.builder, c.step.rows
    mask = c.floats("mask", 1, pairs)
    number = c.floats("count", 1, pairs)
    b.vector("vcompare", mask.at, chosen.at, pairs, b=expert * SMALLEST, condition=2)
    most = min(tokens, pairs)
    table = c.work("list", 4 * round_up(most, 8) + 4 * c.g.rows)
    b.vector("vtopk", table, mask.at, pairs, k=most)
    each(c, "vmul", number, mask, 1, SMALLEST)
    count = b.read(reduce(c, "vtotal", number, 1, "count").at, max(pairs // part.experts, 1))
    size = min(power_of_two(max(-(-pairs // part.experts), c.g.rows)), power_of_two(most))
    trips = b.scalar("shr", b.scalar("add", count, size - 1), size.bit_length() - 1)
    at = Mem(r.base.region, r.base.offset + expert * r.stride)
    w = _Weights(c, r, at)
    done, left = b.constant(0), b.scalar("add", count, 0)
    with b.loop(trips):
        here = b.scalar("min", left, size)
        rows = Rows(c.work("gathered", size * x.stride), x.k)
        # the last block is gathered up to the end of the list: later pairs than it has are not there
        fits = b.scalar("min", b.scalar("sub", b.constant(most), done), size)
        b.gather(rows.at, inputs, x.stride, Ref(table.buffer, table.offset, done_bytes(c, done)), fits, x.stride,
                 x.stride, size * x.stride, area)  # fmt: skip
        y = _network(c, r, part, w, rows, size)
        b.scatter(y.at, outputs, 4 * c.model.hidden, Ref(table.buffer, table.offset, done_bytes(c, done)), here, wide,
                  y.stride, size * y.stride, area)  # fmt: skip
        b.scalar("add", done, size, to=done)
        b.scalar("sub", left, size, to=left)


def done_bytes(c: Context, done: Scalar) -> Scalar:
    """Bytes of so many indices."""
    return c.builder.scalar("shl", done, 2)


class _Weights:
    """One expert's weights and biases: in the scratchpad before the loop over its rows if they are small, otherwise
    loaded in each trip."""

    def __init__(self, c: Context, r: Record, at: Mem) -> None:
        self.c, self.r, self.at = c, r, at
        self.resident = c.resident and 4 * (r.gate.bytes + r.up.bytes + r.down.bytes) <= c.g.pad_bytes
        self.kept: dict[int, Ref] = {}
        self.bias_at: Ref | None = None
        if self.resident:
            for m in (r.gate, r.up, r.down):
                for group in groups(m, LOAD_BYTES):
                    self.kept[self._place(m) + group[0][0].offset] = self._load(
                        m, group[0][0].offset, _size(group), True
                    )
        if r.bias:
            self.bias_at = c.constants(at + r.bias_at, r.bias, "expert bias")

    def _place(self, m: Matrix) -> int:
        return m.base.offset - self.r.base.offset

    def _load(self, m: Matrix, offset: int, size: int, early: bool) -> Ref:
        from tapeout.compiler.ir import WEIGHTS, WORK

        b = self.c.builder
        buffer = b.buffer(
            "expert weights", size, WEIGHTS if early else WORK, align=self.c.g.beat_bytes("mxint8")
        )
        b.load(buffer.at(), self.at + (self._place(m) + offset), size, prefetch=early)
        return buffer.at()

    def product(self, x: Rows, rows: int, m: Matrix, out: Floats) -> None:
        """out = x · weightsᵀ for `rows` rows."""
        c = self.c
        for group in groups(m, LOAD_BYTES):
            start = group[0][0].offset
            w = self.kept.get(self._place(m) + start)
            if w is None and len(group[0]) > 1 and rows <= c.g.rows:
                self._part_by_part(x, rows, m, group[0], out)
                continue
            if w is None:
                w = self._load(m, start, _size(group), False)
            for first in range(0, rows, c.g.rows):
                here = min(c.g.rows, rows - first)
                for command in group:
                    bank = c.builder.bank()
                    for p in command:
                        at, xs = w + (p.offset - start), x.row(first)
                        to = out.row(first).at + 4 * p.first if p is command[-1] else None
                        c.builder.matmul(
                            xs.at + p.block * 32, xs.scales + p.block, xs.stride, at, at + p.scales,
                            to, out.stride, p.steps, here, p.tiles, m.format,
                            bank, keep=p.block > 0,
                        )  # fmt: skip

    def _part_by_part(self, x: Rows, rows: int, m: Matrix, command: tuple[Chunk, ...], out: Floats) -> None:
        """A command whose weights are loaded a part of the contraction at a time, two parts in turn."""
        bank = self.c.builder.bank()
        for p in command:
            at = self._load(m, p.offset, p.bytes, False)
            to = out.at + 4 * p.first if p is command[-1] else None
            self.c.builder.matmul(
                x.at + p.block * 32, x.scales + p.block, x.stride, at, at + p.scales, to, out.stride, p.steps,
                rows, p.tiles, m.format, bank, keep=p.block > 0,
            )  # fmt: skip

    def bias(self, i: int) -> Ref | None:
        """Of gate, up, down."""
        return None if self.bias_at is None else self.bias_at + 4 * sum(self.r.sizes[:i])


def _size(group: list[tuple[Chunk, ...]]) -> int:
    return int(group[-1][-1].offset + group[-1][-1].bytes - group[0][0].offset)


def _network(c: Context, r: Record, part: MixtureOfExperts, w: _Weights, x: Rows, rows: int) -> Floats:
    g = c.floats("gate", rows, r.gate.n, room(c, r.gate.n))
    u = c.floats("up", rows, r.up.n, room(c, r.up.n))
    y = c.floats("network output", rows, r.down.n, room(c, r.down.n))
    for i, (to, m) in enumerate(((g, r.gate), (u, r.up))):
        w.product(x, rows, m, to)
        bias = w.bias(i)
        if bias is not None:
            each(c, "vadd", to, to, rows, bias)
    q = quantise(c, gated(c, part.activation, g, u, rows, part.limit), rows, "gated codes")
    w.product(q, rows, r.down, y)
    bias = w.bias(2)
    if bias is not None:
        each(c, "vadd", y, y, rows, bias)
    return y


__all__ = ["by_expert"]
