"""The store engine: scratchpad to memory. Pieces (`dma_address`) are read from the scratchpad, brought to their
place in a word of the memory port and written with byte strobes; `done` when memory has acknowledged the last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.definition import REGISTER_BITS, Cause
from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.dma_engine import DmaEngine
from tapeout.chip.rtl.head_fifo import queue_of

UNDER_WAY = 8  # beyond the scratchpad's latency


def write_layout(port_bytes: int) -> data.StructLayout:
    """A write of a word of the memory port."""
    return data.StructLayout({"address": REGISTER_BITS, "data": 8 * port_bytes, "strobe": port_bytes})


class DmaStore(DmaEngine):
    """`command` (store, scatter) → reads of the scratchpad, `write` (byte address, a multiple of a word; data;
    strobes) and its acknowledgements in order (`acknowledged` pulses, `refused` with it for an error)."""

    kind = "store"

    def __init__(self, port_bytes: int, pad_bytes: int, word_bytes: int, outstanding: int) -> None:
        super().__init__(
            port_bytes, pad_bytes, word_bytes, outstanding, UNDER_WAY,
            {
                "write": Out(stream.Signature(write_layout(port_bytes))),
                "acknowledged": In(1),
                "refused": In(1),
            },
        )  # fmt: skip
        # of writes not yet acknowledged: ends a command; was a write at all
        self.ends = queue_of(2, outstanding)

    def placed(self) -> Iterable[Block]:
        return (*super().placed(), self.ends)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        address, queue, described = self.set_up(m, self.pad_request.ready)
        ends = place(m, "ends", self.ends)
        piece, port_bits, word_bits = address.piece.payload, self.port_bits, self.word_bits
        request, index = self.pad_request.payload, address.index_request
        asking = address.piece.valid & piece.moves & queue.i.ready
        m.d.comb += [
            self.pad_request.valid.eq(asking | index.valid),
            request.address.eq(Mux(index.valid, index.payload[word_bits:], piece.pad[word_bits:])),
            index.ready.eq(self.pad_request.ready),
        ]
        # take
        has, take, free = Signal(), Signal(), Signal()
        took = Signal(self.described, reset_less=True)
        held = Signal(8 * self.bytes, reset_less=True)
        shifted = (self.pad_answer.payload >> Cat(Const(0, 3), described.pad[:word_bits]))[: 8 * self.bytes]
        m.d.comb += [
            take.eq(queue.o.valid & (self.pad_answer.valid | ~described.moves) & free),
            queue.o.ready.eq(take),
            address.index.valid.eq(self.pad_answer.valid & ~queue.o.valid),
            address.index.payload.eq(self.pad_answer.payload),
            self.pad_answer.ready.eq(Mux(queue.o.valid, take & described.moves, address.index.ready)),
            address.empty.eq(~queue.o.valid),
        ]
        with m.If(free):
            m.d.sync += has.eq(take)
            with m.If(take):
                m.d.sync += [took.eq(described), held.eq(shifted)]
        # place
        out_valid = Signal()
        out = Signal(write_layout(self.port_bytes), reset_less=True)
        out_kind = Signal(2, reset_less=True)  # ends a command; is a write
        within = took.memory[:port_bits]
        sent = Signal()
        out_free = ~out_valid | sent
        m.d.comb += free.eq(~has | out_free)
        with m.If(out_free):
            m.d.sync += out_valid.eq(has)
            with m.If(has):
                m.d.sync += [
                    out.address.eq(Cat(Const(0, port_bits), took.memory[port_bits:])),
                    out.data.eq(held << Cat(Const(0, 3), within)),
                    out.strobe.eq(Cat(took.length > i for i in range(self.bytes)) << within),
                    out_kind.eq(Cat(took.ends, took.moves)),
                ]
        m.d.comb += [
            self.write.valid.eq(out_valid & out_kind[1] & ends.i.ready),
            self.write.payload.eq(out),
            sent.eq(out_valid & ends.i.ready & (self.write.ready | ~out_kind[1])),
            ends.i.valid.eq(sent),
            ends.i.payload.eq(out_kind),
        ]
        # an acknowledgement may come while the end of an empty command is still before its write
        owed = Signal(range(self.outstanding + 1))
        is_write = ends.o.payload[1]
        over = ends.o.valid & (self.acknowledged | owed.any() | ~is_write)
        m.d.sync += owed.eq(owed + self.acknowledged - (over & is_write))
        m.d.comb += [
            ends.o.ready.eq(over),
            self.done.eq(over & ends.o.payload[0]),
            self.error.eq(address.error | (self.acknowledged & self.refused)),
            self.cause.eq(Mux(self.acknowledged & self.refused, Cause.MEMORY, address.cause)),
        ]
        return m
