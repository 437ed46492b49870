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
from tapeout.chip.rtl.dma_address import DmaAddress
from tapeout.chip.rtl.fifo import Fifo
from tapeout.chip.rtl.sequencer import CAUSE_BITS, pad_request
from tapeout.chip.rtl.sequencer_dispatch import COMMAND


def write_layout(port_bytes: int) -> data.StructLayout:
    """A write of a word of the memory port."""
    return data.StructLayout({"address": REGISTER_BITS, "data": 8 * port_bytes, "strobe": port_bytes})


class DmaStore(Block):
    """`command` (store, scatter) → reads of the scratchpad, `write` (byte address, a multiple of a word; data;
    strobes) and its acknowledgements in order (`acknowledged` pulses, `refused` with it for an error)."""

    def __init__(self, port_bytes: int, pad_bytes: int, word_bytes: int, outstanding: int) -> None:
        self.port_bytes, self.pad_bytes, self.word_bytes = port_bytes, pad_bytes, word_bytes
        self.outstanding = outstanding
        self.address = DmaAddress(port_bytes, pad_bytes, word_bytes, aligned=False)
        self.queue = Fifo(self.address.piece_layout.size, 8)  # beyond the scratchpad's latency
        self.ends = Fifo(2, outstanding)  # of writes not yet acknowledged: ends a command; was a write at all
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "write": Out(stream.Signature(write_layout(port_bytes))),
                "acknowledged": In(1),
                "refused": In(1),
                "pad_request": Out(stream.Signature(pad_request(pad_bytes // word_bytes, word_bytes))),
                "pad_answer": In(stream.Signature(8 * word_bytes)),
                "done": Out(1),
                "error": Out(1),
                "cause": Out(CAUSE_BITS),
            }
        )

    @property
    def module_name(self) -> str:
        return f"dma_store_{self.port_bytes}_{self.pad_bytes}_{self.word_bytes}_{self.outstanding}"

    def placed(self) -> Iterable[Block]:
        return (self.address, self.queue, self.ends)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        address, queue = place(m, "address", self.address), place(m, "queue", self.queue)
        ends = place(m, "ends", self.ends)
        m.d.comb += [
            address.command.valid.eq(self.command.valid),
            address.command.payload.eq(self.command.payload),
            self.command.ready.eq(address.command.ready),
        ]
        piece = address.piece.payload
        port_bits, word_bits = self.port_bytes.bit_length() - 1, self.word_bytes.bit_length() - 1
        asks = piece.length.any()
        asking = Signal()
        request = self.pad_request.payload
        index = address.index_request
        m.d.comb += [
            asking.eq(address.piece.valid & asks & queue.i.ready),
            self.pad_request.valid.eq(asking | index.valid),
            request.address.eq(Mux(index.valid, index.payload[word_bits:], piece.pad[word_bits:])),
            queue.i.payload.eq(piece),
            queue.i.valid.eq(address.piece.valid & (self.pad_request.ready | ~asks)),
            address.piece.ready.eq(queue.i.ready & (self.pad_request.ready | ~asks)),
            index.ready.eq(self.pad_request.ready),
        ]
        described = Signal(self.address.piece_layout)
        m.d.comb += described.eq(queue.o.payload)
        # take
        bytes_ = min(self.port_bytes, self.word_bytes)
        has, take, free = Signal(), Signal(), Signal()
        took = Signal(self.address.piece_layout, reset_less=True)
        held = Signal(8 * bytes_, reset_less=True)
        shifted = (self.pad_answer.payload >> Cat(Const(0, 3), described.pad[:word_bits]))[: 8 * bytes_]
        m.d.comb += [
            take.eq(queue.o.valid & (self.pad_answer.valid | ~described.length.any()) & free),
            queue.o.ready.eq(take),
            address.index.valid.eq(self.pad_answer.valid & ~queue.o.valid),
            address.index.payload.eq(self.pad_answer.payload),
            self.pad_answer.ready.eq(Mux(queue.o.valid, take & described.length.any(), address.index.ready)),
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
                    out.strobe.eq(Cat(took.length > i for i in range(bytes_)) << within),
                    out_kind.eq(Cat(took.ends, took.length.any())),
                ]
        m.d.comb += [
            self.write.valid.eq(out_valid & out_kind[1] & ends.i.ready),
            self.write.payload.eq(out),
            sent.eq(out_valid & ends.i.ready & (self.write.ready | ~out_kind[1])),
            ends.i.valid.eq(sent),
            ends.i.payload.eq(out_kind),
        ]
        over = ends.o.valid & (self.acknowledged | ~ends.o.payload[1])
        m.d.comb += [
            ends.o.ready.eq(self.acknowledged | ~ends.o.payload[1]),
            self.done.eq(over & ends.o.payload[0]),
            self.error.eq(address.error | (self.acknowledged & self.refused)),
            self.cause.eq(Mux(self.acknowledged & self.refused, Cause.MEMORY, address.cause)),
        ]
        return m
