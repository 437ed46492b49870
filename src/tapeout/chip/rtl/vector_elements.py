"""Element by element: `vtake`'s addresses and answers, and results that come one at a time gathered into passes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.head_fifo import HeadFifo
from tapeout.chip.rtl.vector_fetch import block_bytes
from tapeout.chip.rtl.vector_operands import STEPS, elements_layout

ELEMENT = data.StructLayout({"word": 32, "last": 1})


class VectorTake(Block):
    """`x`: an index and its row's address → `address` of a word of a read port and its `answer` → `y`: the element.
    One per cycle. `error`: an element beyond the scratchpad's end, which is not read."""

    def __init__(self, lanes: int, pad_bytes: int, word_bytes: int) -> None:
        self.lanes, self.pad_bytes, self.word_bytes = lanes, pad_bytes, word_bytes
        self.port_bytes = block_bytes(lanes, word_bytes)
        self.address_bits = (pad_bytes // word_bytes - 1).bit_length()
        self.offset_bits = (self.port_bytes // 4 - 1).bit_length()
        self.queue = HeadFifo(self.offset_bits + 1, STEPS)
        # between who brings the indices and the addition; two, so that who brings them does not hang on a grant
        self.arrived = HeadFifo(elements_layout(pad_bytes).size, 2)
        super().__init__(
            {
                "x": In(stream.Signature(elements_layout(pad_bytes))),
                "address": Out(stream.Signature(self.address_bits)),
                "answer": In(stream.Signature(8 * self.port_bytes)),
                "y": Out(stream.Signature(ELEMENT)),
                "error": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"vector_take_{self.lanes}_{self.pad_bytes}_{self.word_bytes}"

    def placed(self) -> Iterable[Block]:
        return (self.queue, self.arrived)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        k = (self.pad_bytes - 1).bit_length()
        port = (self.port_bytes - 1).bit_length()
        queue, arrived = place(m, "queue", self.queue), place(m, "arrived", self.arrived)
        x = Signal(elements_layout(self.pad_bytes))
        m.d.comb += [
            arrived.i.valid.eq(self.x.valid), arrived.i.payload.eq(self.x.payload),
            self.x.ready.eq(arrived.i.ready), x.eq(arrived.o.payload),
        ]  # fmt: skip
        base = x.base
        address = Signal(35)
        m.d.comb += address.eq(base[:k] + Cat(Const(0, 2), x.word))
        held, last = Signal(k, reset_less=True), Signal(reset_less=True)
        valid, bad, sent = Signal(), Signal(reset_less=True), Signal()
        m.d.comb += [
            arrived.o.ready.eq(~valid | sent),
            self.address.valid.eq(valid & ~bad & queue.i.ready),
            self.address.payload.eq(
                Cat(Const(0, (self.port_bytes // self.word_bytes - 1).bit_length()), held[port:])
            ),
            sent.eq(self.address.valid & self.address.ready),
            queue.i.valid.eq(sent),
            queue.i.payload.eq(Cat(held[2:port], last)),
            self.error.eq(valid & bad),
        ]
        with m.If(arrived.o.ready):
            m.d.sync += valid.eq(arrived.o.valid)
            with m.If(arrived.o.valid):
                m.d.sync += [
                    held.eq(address),
                    last.eq(x.last),
                    bad.eq(base[k] | address[k:].any()),
                ]
        value: Value = self.answer.payload
        for bit in reversed(range(self.offset_bits)):
            value = Mux(queue.o.payload[bit], value[32 << bit :], value[: 32 << bit])
        m.d.comb += [
            self.y.valid.eq(queue.o.valid & self.answer.valid),
            self.y.payload.word.eq(value),
            self.y.payload.last.eq(queue.o.payload[self.offset_bits]),
            queue.o.ready.eq(self.answer.valid & self.y.ready),
            self.answer.ready.eq(queue.o.valid & self.y.ready),
        ]
        return m


class VectorCollect(Block):
    """`x`: elements → `y`: passes of them, the last of a row shorter. One element per cycle."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__({"x": In(stream.Signature(ELEMENT)), "y": Out(stream.Signature(32 * lanes))})

    @property
    def module_name(self) -> str:
        return f"vector_collect_{self.lanes}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        words = [Signal(32, name=f"word{i}", reset_less=True) for i in range(self.lanes)]
        out = Signal(32 * self.lanes, reset_less=True)
        at, full = Signal(range(self.lanes)), Signal()
        ends, push = Signal(), Signal()
        m.d.comb += [
            ends.eq(self.x.payload.last | (at == self.lanes - 1)),
            self.x.ready.eq(~ends | ~full | self.y.ready),
            push.eq(self.x.valid & self.x.ready),
            self.y.valid.eq(full),
            self.y.payload.eq(out),
        ]
        with m.If(push):
            m.d.sync += at.eq(Mux(ends, 0, at + 1))
        for i, word in enumerate(words):
            with m.If(push & (at == i)):
                m.d.sync += word.eq(self.x.payload.word)
            with m.If(push & ends):
                m.d.sync += out[32 * i : 32 * i + 32].eq(Mux(at == i, self.x.payload.word, word))
        with m.If(push & ends):
            m.d.sync += full.eq(1)
        with m.Elif(self.y.ready):
            m.d.sync += full.eq(0)
        return m
