"""The vector engine's results: to their rows in the scratchpad, in whole granules of 8 bytes.

What the last granule of a row has beyond the data becomes zero. A write that crosses a boundary of the port's word
(more than 8 lanes only) takes two cycles; the scales of a block format are gathered, eight to a granule, and
written between the codes.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.geometry import GRANULE
from tapeout.chip.rtl.block import Block
from tapeout.chip.rtl.vector_command import CONTROL, Kind, prepared
from tapeout.chip.rtl.vector_fetch import block_bytes
from tapeout.numerics.formats import BLOCK


class VectorWriter(Block):
    """`start` with `command` (as `VectorFetch`), `control` from the next cycle on; results of `lanes` (words), `reduce`
    (a word), `codes` (as `VectorCodes.y`) or `collected` (words) → `write`: {address in words, mask, data}.
    `writing`: results are to come; `ending`: the last write is accepted in this cycle."""

    def __init__(self, lanes: int, pad_bytes: int, word_bytes: int) -> None:
        self.width, self.pad_bytes, self.word_bytes = lanes, pad_bytes, word_bytes
        self.port_bytes = block_bytes(lanes, word_bytes)
        self.groups = max(1, lanes // BLOCK)
        self.address_bits = (pad_bytes // word_bytes - 1).bit_length()
        blocks = data.StructLayout({"codes": 8 * BLOCK * self.groups, "scales": 8 * self.groups})
        request = data.StructLayout(
            {"address": self.address_bits, "mask": self.port_bytes // GRANULE, "data": 8 * self.port_bytes}
        )
        super().__init__(
            {
                "command": In(prepared(pad_bytes)),
                "start": In(1),
                "control": In(CONTROL),
                "lanes": In(stream.Signature(32 * lanes)),
                "reduce": In(stream.Signature(32)),
                "codes": In(stream.Signature(blocks)),
                "collected": In(stream.Signature(32 * lanes)),
                "write": Out(stream.Signature(request)),
                "writing": Out(1),
                "ending": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"vector_writer_{self.width}_{self.pad_bytes}_{self.word_bytes}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        c, x, lanes, w = self.command, self.control, self.width, self.port_bytes
        k, port = (self.pad_bytes - 1).bit_length(), (w - 1).bit_length()
        quantise, reduce = x.kind == Kind.QUANTISE, x.kind == Kind.REDUCE
        collected = (x.kind == Kind.TOPK) | (x.kind == Kind.TAKE)

        writing = Signal()
        names = {"row": k, "at": k, "upper": k, "scale_row": k, "scale_at": k, "so": k, "sb": k}
        r = {n: Signal(bits, name=n, reset_less=True) for n, bits in names.items()}
        rows = Signal(len(c.rows), reset_less=True)
        n, half = Signal(len(c.n), reset_less=True), Signal(16, reset_less=True)
        left = Signal(len(c.n), reset_less=True)
        in_tail, odd, second = (
            Signal(),
            Signal(),
            Signal(),
        )  # odd: the upper half of a pair; second: of a crossing

        # the result on offer, and how many of its elements count
        valid = Mux(
            quantise, self.codes.valid, Mux(
                reduce, self.reduce.valid, Mux(collected, self.collected.valid, self.lanes.valid)
            ),
        )  # fmt: skip
        split = x.rope & ~x.interleaved & ~in_tail
        per_beat = Mux(reduce, 1, Mux(quantise, BLOCK * self.groups, lanes))
        more = Signal()
        m.d.comb += more.eq(left > per_beat)
        count = Signal(range(max(lanes, BLOCK) + 1))
        m.d.comb += count.eq(Mux(more, per_beat, left))
        size = Signal(range(w + 1))  # bytes
        fp4 = x.fp4 & quantise
        m.d.comb += size.eq(
            Mux(quantise, Mux(fp4, count >> 1, count), Cat(Const(0, 1), Mux(x.narrow, count, Cat(Const(0, 1), count))))
        )  # fmt: skip
        words = Mux(collected, self.collected.payload, self.lanes.payload)
        clean = [Mux(count > i, words[32 * i : 32 * i + 32], 0) for i in range(lanes)]
        wide, narrow = Cat(*clean), Cat(v[:16] for v in clean)
        codes = self.codes.payload.codes
        body = Signal(8 * w)
        m.d.comb += body.eq(self._repeated(wide))
        with m.If(x.narrow):
            m.d.comb += body.eq(self._repeated(narrow))
        with m.If(reduce):
            m.d.comb += body.eq(self._repeated(Cat(self.reduce.payload, Const(0, 32))))
        with m.If(quantise):
            m.d.comb += body.eq(Mux(x.fp4, self._repeated(codes[: len(codes) // 2]), self._repeated(codes)))

        # its place
        at = Signal(k)
        m.d.comb += at.eq(Mux(odd, r["upper"], r["at"]))
        offset = at[:port]
        placed: Value = body
        for bit in range((BLOCK - 1).bit_length(), (4 * lanes - 1).bit_length()):
            step = 8 << bit
            turned = Signal(8 * w, name=f"turned{bit}")
            m.d.comb += turned.eq(
                Mux(offset[bit], Cat(placed[8 * w - step :], placed[: 8 * w - step]), placed)
            )
            placed = turned
        end = Signal(port + 2)
        m.d.comb += end.eq(offset + size)
        crosses: Value = (end > w) if 4 * lanes > BLOCK else Const(0, 1)
        granules = w // GRANULE
        lower = Cat((offset <= GRANULE * g) & (end > GRANULE * g) for g in range(granules))
        higher = Cat(end > w + GRANULE * g for g in range(granules))

        # scales
        scales, filled, scale_full, scale_last = (
            Signal(64, reset_less=True), Signal(3), Signal(), Signal(reset_less=True)
        )  # fmt: skip
        request = self.write.payload
        shift = (w // self.word_bytes - 1).bit_length()
        block = at[port:] + (second if 4 * lanes > BLOCK else 0)
        m.d.comb += [
            self.write.valid.eq(writing & (scale_full | valid)),
            request.address.eq(Cat(Const(0, shift), block[: k - port])),
            request.mask.eq(Mux(second, higher, lower)),
            request.data.eq(placed),
        ]
        with m.If(scale_full):
            m.d.comb += [
                request.address.eq(Cat(Const(0, shift), r["scale_at"][port:])),
                request.mask.eq(Cat(r["scale_at"][3:port] == g for g in range(granules))),
                request.data.eq(self._repeated(scales)),
            ]
        accepted = self.write.valid & self.write.ready
        takes = Signal()
        m.d.comb += takes.eq(accepted & ~scale_full & (second | ~crosses))
        streams = {
            "lanes": (x.kind == Kind.LANES), "reduce": reduce, "codes": quantise, "collected": collected
        }  # fmt: skip
        for name, mine in streams.items():
            m.d.comb += getattr(self, name).ready.eq(takes & mine)
        with m.If(accepted & ~scale_full):
            m.d.sync += second.eq(crosses & ~second)

        # the next
        tail_left = Signal(len(n))
        m.d.comb += tail_left.eq(n - Cat(Const(0, 1), half))
        beat_ends = takes & (odd | ~split)
        rotates = x.rope & ~in_tail
        row_ends, closes = Signal(), Signal()
        m.d.comb += [
            closes.eq(
                (odd | ~split) & ~more & (~rotates | ~tail_left.any())
            ),  # the write on offer ends its row
            row_ends.eq(takes & closes),
        ]
        last_row = rows == 1
        stride = Mux(
            quantise, Mux(x.fp4, BLOCK // 2, BLOCK) * self.groups, Mux(x.narrow, 2 * lanes, 4 * lanes)
        )  # fmt: skip
        with m.If(takes):
            m.d.sync += odd.eq(split & ~odd)
        with m.If(beat_ends):
            m.d.sync += [
                r["at"].eq(r["at"] + stride), r["upper"].eq(r["upper"] + stride), left.eq(left - per_beat)
            ]  # fmt: skip
            with m.If(~more & rotates):
                m.d.sync += [in_tail.eq(1), left.eq(tail_left), r["at"].eq(r["row"] + Cat(Const(0, 3), half))]
        with m.If(takes & quantise):
            arrived: Value = self.codes.payload.scales
            if self.groups > 1:
                arrived = Cat(
                    Mux(count > BLOCK * g, arrived[8 * g : 8 * g + 8], 0) for g in range(self.groups)
                )
            placed_scales = (arrived << Cat(Const(0, 3), filled))[:64]
            m.d.sync += [
                scales.eq(Mux(filled.any(), scales, 0) | placed_scales),
                filled.eq(Mux(row_ends, 0, filled + self.groups)),
                scale_full.eq(row_ends | (filled + self.groups == 8)),
                scale_last.eq(row_ends),
            ]
        with m.If(accepted & scale_full):
            scale_next = Signal(k)
            m.d.comb += scale_next.eq(r["scale_row"] + r["sb"])
            m.d.sync += [scale_full.eq(0), r["scale_at"].eq(r["scale_at"] + GRANULE)]
            with m.If(scale_last):
                m.d.sync += [r["scale_row"].eq(scale_next), r["scale_at"].eq(scale_next)]

        # the next row: of the command that starts, or of this one
        start = self.start
        row = Signal(k, name="row_next")
        m.d.comb += row.eq(Mux(start, c.out[:k], r["row"] + r["so"]))
        rope, h, total = (
            Mux(start, c.control.rope, x.rope),
            Mux(start, c.half, half),
            Mux(start, self._count(c), n),
        )
        pairs = Mux(start, c.control.interleaved, x.interleaved)
        with m.If(row_ends | start):
            m.d.sync += [
                r["row"].eq(row), r["at"].eq(row), r["upper"].eq(row + Cat(Const(0, 2), h)),
                in_tail.eq(rope & ~h.any()),
                left.eq(Mux(rope & h.any(), Mux(pairs, Cat(Const(0, 1), h), h), total)),
                rows.eq(Mux(start, c.rows, rows - 1)),
            ]  # fmt: skip
        # whether it is the last, before it is known whether it is taken: the next instruction starts in that cycle
        whole = ~scale_full & (second | ~crosses)
        final = Mux(quantise, scale_full & scale_last & ~rows.any(), whole & closes & last_row)
        m.d.comb += [self.writing.eq(writing), self.ending.eq(accepted & final)]
        with m.If(self.ending):
            m.d.sync += writing.eq(0)
        with m.If(start):
            m.d.sync += [
                writing.eq(c.writes), r["so"].eq(c.so), r["sb"].eq(c.sb), n.eq(self._count(c)), half.eq(c.half),
                r["scale_row"].eq(c.b), r["scale_at"].eq(c.b), odd.eq(0), second.eq(0),
            ]  # fmt: skip
        return m

    @staticmethod
    def _count(c: Any) -> Value:
        """Elements of a row of results."""
        kind = c.control.kind
        return Mux(kind == Kind.REDUCE, 1, Mux(kind == Kind.TOPK, c.control.count + 1, c.n))

    def _repeated(self, value: Value) -> Value:
        """Side by side until the port is full."""
        return Cat(*[value] * (8 * self.port_bytes // len(value)))
