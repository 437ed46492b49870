"""The load engine: memory to scratchpad, many requests in flight, bytes brought to their places on the way.

| stage | work |
|---|---|
| address | pieces (`dma_address`): a read of the memory port each, what to do with its answer into a queue |
| take | the answer's bytes down to the bottom, others cleared |
| place | up to their place in a scratchpad word, merged with what the word has of earlier pieces of the run |
| write | when the word is complete or the run ends: its granules, to the scratchpad |

Rows of `transpose` go from `place` into the transposer (`transpose_array`) and from there to `write`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.definition import REGISTER_BITS, Cause
from tapeout.chip.isa.geometry import GRANULE
from tapeout.chip.rtl.block import Block, awake, place
from tapeout.chip.rtl.dma_engine import DmaEngine
from tapeout.chip.rtl.transpose_array import TILE, TransposeArray


class DmaLoad(DmaEngine):
    """`command` (load, gather, transpose) → reads of memory words (`read`: byte address, a multiple of a word) and
    their answers in order; writes to the scratchpad. `done` pulses when a command's last byte has been taken there."""

    kind = "load"

    def __init__(self, port_bytes: int, pad_bytes: int, word_bytes: int, outstanding: int) -> None:
        super().__init__(
            port_bytes, pad_bytes, word_bytes, outstanding, outstanding,
            {
                "read": Out(stream.Signature(REGISTER_BITS)),
                "answer": In(stream.Signature(data.StructLayout({"data": 8 * port_bytes, "error": 1}))),
            },
        )  # fmt: skip
        self.array = (
            TransposeArray(word_bytes, (pad_bytes // word_bytes - 1).bit_length())
            if word_bytes >= TILE
            else None
        )

    def placed(self) -> Iterable[Block]:
        return (*super().placed(), *([self.array] if self.array else []))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        address, queue, described = self.set_up(m, self.read.ready)
        piece, port_bits, word_bits = address.piece.payload, self.port_bits, self.word_bits
        m.d.comb += [
            self.read.valid.eq(address.piece.valid & piece.moves & queue.i.ready),
            self.read.payload.eq(Cat(Const(0, port_bits), piece.memory[port_bits:])),
        ]
        # take
        free, has, take = Signal(), Signal(), Signal()
        took = Signal(self.described, reset_less=True)
        held = Signal(8 * self.bytes, reset_less=True)
        shifted = (self.answer.payload.data >> Cat(Const(0, 3), described.memory[:port_bits]))[
            : 8 * self.bytes
        ]
        mask = Cat((described.length > i).replicate(8) for i in range(self.bytes))
        m.d.comb += [
            take.eq(queue.o.valid & (self.answer.valid | ~described.moves) & free),
            queue.o.ready.eq(take),
            self.answer.ready.eq(take & described.moves),
        ]
        with m.If(free):
            m.d.sync += has.eq(take)
            with m.If(take):
                m.d.sync += [took.eq(described), held.eq(shifted & mask)]
        # place and merge
        merged = Signal(8 * self.word_bytes, reset_less=True)
        low = Signal(word_bits, reset_less=True)  # where in the word the run's part starts
        request = self.pad_request.payload
        within = took.pad[:word_bits]
        placed = (held << Cat(Const(0, 3), within))[: 8 * self.word_bytes]
        begins = took.first | (within == 0)
        now, start = Signal(8 * self.word_bytes), Signal(word_bits)
        end = Signal(word_bits + 1)
        m.d.comb += [
            now.eq(placed | Mux(begins, 0, merged)),
            start.eq(Mux(begins, within, low)),
            end.eq(within + took.length),
        ]
        full = (end == self.word_bytes) | took.last
        index_first = Signal()  # the scratchpad is asked for an index
        out_valid, out_ends, spare = Signal(), Signal(), Signal()
        fields = request.shape().members
        write = data.StructLayout({n: fields[n] for n in ("address", "mask", "data")})
        out, behind = (Signal(write, name=n, reset_less=True) for n in ("out", "behind"))
        behind_valid, behind_ends = (Signal(name=n, reset_less=True) for n in ("behind_valid", "behind_ends"))
        # A write that is not taken has room for one behind it, so that nothing before hangs on the scratchpad's `ready`
        out_free = ~spare
        leaves = ~out_valid | (self.pad_request.ready & ~index_first)
        turns, row_free, busy, word = self._transposed(m, took, has, now, end, out_free)
        if word is not None:
            m.d.comb += self.coming.eq(Mux(has, took.turns, queue.o.valid & described.turns))
        # what has been placed goes on: into the transposer, or, if that is empty, out; or more is still to come to it
        m.d.comb += free.eq(~has | Mux(turns, row_free, (out_free | ~full) & ~busy))
        goes = has & ~turns & ~busy
        with m.If(has & free):
            m.d.sync += [merged.eq(now), low.eq(start)]
        comes = Signal(write)
        comes_valid, comes_ends = Signal(), Signal()
        m.d.comb += [
            comes_valid.eq(goes & full & took.moves),
            # the end of a command is told when its last write has been taken
            comes_ends.eq(goes & took.ends),
            comes.address.eq(took.pad[word_bits:]), comes.data.eq(now),
            comes.mask.eq(Cat((start < GRANULE * (i + 1)) & (end > GRANULE * i)
                              for i in range(self.word_bytes // GRANULE))),
        ]  # fmt: skip
        if word is not None:
            with m.If(busy):
                m.d.comb += [
                    comes_valid.eq(word.valid), comes_ends.eq(word.valid & word.payload.ends),
                    comes.address.eq(word.payload.address), comes.data.eq(word.payload.data), comes.mask.eq(~0),
                ]  # fmt: skip
        with m.If(out_free):
            m.d.sync += [behind.eq(comes), behind_valid.eq(comes_valid), behind_ends.eq(comes_ends)]
        with m.If(leaves):
            m.d.sync += [
                out.eq(Mux(spare, behind.as_value(), comes.as_value())),
                out_valid.eq(Mux(spare, behind_valid, comes_valid)), out_ends.eq(Mux(spare, behind_ends, comes_ends)),
                spare.eq(0),
            ]  # fmt: skip
        with m.Elif(comes_valid | comes_ends):
            m.d.sync += spare.eq(1)
        m.d.comb += self.done.eq(out_ends & leaves)
        # the scratchpad: an index, which the whole engine waits for, goes before writes, also before one on offer
        writing = has | out_valid | spare | queue.o.valid | busy
        m.d.comb += [
            address.empty.eq(~writing),
            index_first.eq(address.index_request.valid),
            self.pad_request.valid.eq(out_valid | address.index_request.valid),
            address.index_request.ready.eq(self.pad_request.ready),
            request.address.eq(out.address),
            request.mask.eq(out.mask),
            request.data.eq(out.data),
            request.write.eq(~index_first),
            address.index.valid.eq(self.pad_answer.valid),
            address.index.payload.eq(self.pad_answer.payload),
            self.pad_answer.ready.eq(address.index.ready),
        ]
        with m.If(index_first):
            m.d.comb += [
                request.address.eq(address.index_request.payload[word_bits:]), request.mask.eq(0)
            ]  # fmt: skip
        bad: Value = self.answer.valid & self.answer.ready & self.answer.payload.error
        m.d.comb += [
            self.error.eq(address.error | bad), self.cause.eq(Mux(bad, Cause.MEMORY, address.cause))
        ]  # fmt: skip
        return m

    def _transposed(
        self, m: Module, took: Any, has: Signal, now: Signal, end: Signal, out_free: Value
    ) -> tuple[Value, Value, Value, Any]:
        """(the piece is one of a row, it can be taken, the transposer holds something, the words that come out)."""
        if self.array is None:
            return Const(0, 1), Const(1, 1), Const(0, 1), None
        moving = Signal()
        array = place(m, "array", self.array, awake(m, moving, 2))
        m.d.comb += moving.eq(array.busy | array.row.valid | array.coming)
        self.coming = array.coming
        row = array.row.payload
        groups = (self.word_bytes // TILE).bit_length() - 1
        m.d.comb += [
            array.row.valid.eq(has & took.turns & took.last),
            row.data.eq(now), row.address.eq(took.pad[self.word_bits :]), row.words.eq(end >> groups),
            row.ends.eq(took.ends),
            array.word.ready.eq(out_free),
        ]  # fmt: skip
        return took.turns, array.row.ready | ~took.last, array.busy, array.word
