"""The load engine: memory to scratchpad, many requests in flight, bytes brought to their places on the way.

| stage | work |
|---|---|
| address | pieces (`dma_address`): a read of the memory port each, what to do with its answer into a queue |
| take | the answer's bytes down to the bottom, others cleared |
| place | up to their place in a scratchpad word, merged with what the word has of earlier pieces of the run |
| write | when the word is complete or the run ends: its granules, to the scratchpad |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.definition import REGISTER_BITS, Cause
from tapeout.chip.isa.geometry import GRANULE
from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.dma_address import DmaAddress
from tapeout.chip.rtl.fifo import Fifo
from tapeout.chip.rtl.sequencer import CAUSE_BITS, pad_request
from tapeout.chip.rtl.sequencer_dispatch import COMMAND


class DmaLoad(Block):
    """`command` (load, gather) → reads of memory words (`read`: byte address, a multiple of a word) and their answers
    in order; writes to the scratchpad. `done` pulses when a command's last byte has been taken there."""

    def __init__(self, port_bytes: int, pad_bytes: int, word_bytes: int, outstanding: int) -> None:
        self.port_bytes, self.pad_bytes, self.word_bytes = port_bytes, pad_bytes, word_bytes
        self.outstanding = outstanding
        self.address = DmaAddress(port_bytes, pad_bytes, word_bytes, aligned=True)
        self.queue = Fifo(self.address.piece_layout.size, outstanding)
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "read": Out(stream.Signature(REGISTER_BITS)),
                "answer": In(stream.Signature(data.StructLayout({"data": 8 * port_bytes, "error": 1}))),
                "pad_request": Out(stream.Signature(pad_request(pad_bytes // word_bytes, word_bytes))),
                "pad_answer": In(stream.Signature(8 * word_bytes)),
                "done": Out(1),
                "error": Out(1),
                "cause": Out(CAUSE_BITS),
            }
        )

    @property
    def module_name(self) -> str:
        return f"dma_load_{self.port_bytes}_{self.pad_bytes}_{self.word_bytes}_{self.outstanding}"

    def placed(self) -> Iterable[Block]:
        return (self.address, self.queue)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        address, queue = place(m, "address", self.address), place(m, "queue", self.queue)
        m.d.comb += [
            address.command.valid.eq(self.command.valid),
            address.command.payload.eq(self.command.payload),
            self.command.ready.eq(address.command.ready),
        ]
        # a piece goes out as a request and into the queue together; one without bytes only into the queue
        piece = address.piece.payload
        port_bits, word_bits = self.port_bytes.bit_length() - 1, self.word_bytes.bit_length() - 1
        asks = piece.length.any()
        m.d.comb += [
            self.read.valid.eq(address.piece.valid & asks & queue.i.ready),
            self.read.payload.eq(Cat(Const(0, port_bits), piece.memory[port_bits:])),
            queue.i.payload.eq(piece),
            queue.i.valid.eq(address.piece.valid & (self.read.ready | ~asks)),
            address.piece.ready.eq(queue.i.ready & (self.read.ready | ~asks)),
        ]
        described = Signal(self.address.piece_layout)
        m.d.comb += described.eq(queue.o.payload)
        # take
        writing, free = Signal(), Signal()
        took = Signal(self.address.piece_layout, reset_less=True)
        bytes_ = min(self.port_bytes, self.word_bytes)
        held = Signal(8 * bytes_, reset_less=True)
        has = Signal()
        take = Signal()
        shifted = (self.answer.payload.data >> Cat(Const(0, 3), described.memory[:port_bits]))[: 8 * bytes_]
        mask = Cat((described.length > i).replicate(8) for i in range(bytes_))
        m.d.comb += [
            take.eq(queue.o.valid & (self.answer.valid | ~described.length.any()) & free),
            queue.o.ready.eq(take),
            self.answer.ready.eq(take & described.length.any()),
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
        index_first = Signal()  # the request register belongs to an index
        out_valid, out_ends = Signal(), Signal()
        out = Signal(request.shape(), reset_less=True)
        out_free = ~out_valid | (self.pad_request.ready & ~index_first)
        m.d.comb += free.eq(~has | out_free)
        with m.If(has & out_free):
            m.d.sync += [merged.eq(now), low.eq(start)]
        with m.If(out_free):
            m.d.sync += out_valid.eq(has & full & took.length.any())
            with m.If(has):
                m.d.sync += [
                    out.address.eq(took.pad[word_bits:]), out.write.eq(1), out.data.eq(now),
                    out.mask.eq(Cat((start < GRANULE * (i + 1)) & (end > GRANULE * i)
                                    for i in range(self.word_bytes // GRANULE))),
                ]  # fmt: skip
        # the end of a command is told when its last write has been taken
        with m.If(out_free):
            m.d.sync += out_ends.eq(has & took.ends)
        m.d.comb += self.done.eq(out_ends & out_free)
        # the scratchpad: an index, which the whole engine waits for, goes before writes
        m.d.comb += [
            writing.eq(has | out_valid | queue.o.valid),
            address.empty.eq(~writing),
            index_first.eq(address.index_request.valid),
            self.pad_request.valid.eq(out_valid | address.index_request.valid),
            address.index_request.ready.eq(self.pad_request.ready),
            request.eq(out),
            address.index.valid.eq(self.pad_answer.valid),
            address.index.payload.eq(self.pad_answer.payload),
            self.pad_answer.ready.eq(address.index.ready),
        ]
        with m.If(index_first):
            m.d.comb += [
                request.address.eq(address.index_request.payload[word_bits:]), request.write.eq(0), request.mask.eq(0)
            ]  # fmt: skip
        bad: Value = self.answer.valid & self.answer.ready & self.answer.payload.error
        m.d.comb += [
            self.error.eq(address.error | bad), self.cause.eq(Mux(bad, Cause.MEMORY, address.cause))
        ]  # fmt: skip
        return m
