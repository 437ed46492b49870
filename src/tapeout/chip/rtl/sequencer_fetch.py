"""The instruction window: what was fetched around pc, kept for loops, prefetched ahead.

A window of consecutive instructions [low, ahead) is held in a small memory, instruction i in place i modulo its
size. Lines (a word of the memory port each) are requested ahead of pc, up to half a window; the other half keeps
what was executed, so a loop whose body fits turns without fetching. A branch out of the window empties it; what is
still on its way then is thrown away when it comes.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.definition import PC_BITS, REGISTER_BITS, WORD_BITS, WORD_BYTES
from tapeout.chip.rtl.bits import increment
from tapeout.chip.rtl.block import Block


class SequencerFetch(Block):
    """`pc`, `wants`: the instruction to show; `present`: `word` is it (and `bad` if memory answered with an error).
    `flush`: forget everything (a program starts). `base`: byte address of the program, a multiple of a line."""

    def __init__(self, port_bytes: int, window: int = 128) -> None:
        if port_bytes < WORD_BYTES:
            raise ValueError(
                f"a memory port of {port_bytes} bytes: the sequencer fetches {WORD_BYTES} at a time"
            )
        self.port_bytes, self.line = port_bytes, port_bytes // WORD_BYTES
        self.window = max(window, 4 * self.line)
        super().__init__(
            {
                "pc": In(PC_BITS),
                "wants": In(1),
                "flush": In(1),
                "base": In(REGISTER_BITS),
                "present": Out(1),
                "word": Out(WORD_BITS),
                "bad": Out(1),
                "request": Out(stream.Signature(REGISTER_BITS)),
                "answer": In(stream.Signature(data.StructLayout({"data": 8 * port_bytes, "error": 1}))),
            }
        )

    @property
    def module_name(self) -> str:
        return f"sequencer_fetch_{self.port_bytes}_{self.window}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        line, window = self.line, self.window
        line_bits = line.bit_length() - 1
        low, asked, ahead = (Signal(PC_BITS + 1, name=n) for n in ("low", "asked", "ahead"))
        empty = Signal(init=1)  # nothing was asked for since the flush
        discard, flying = Signal(range(window + 1)), Signal(range(window + 1))
        lines = window // line
        m.submodules.words = words = Memory(shape=8 * self.port_bytes + 1, depth=lines, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        index = len(write.addr)
        inside, jump = Signal(), Signal()
        pc = Cat(self.pc, Const(0, 1))
        aligned = Cat(Const(0, line_bits), self.pc[line_bits:], Const(0, 1)) if line_bits else pc
        held = Array(read.data.word_select(i, WORD_BITS) for i in range(line))
        m.d.comb += [
            inside.eq((pc >= low) & (pc < asked) & ~empty),
            jump.eq(self.wants & ~inside & ((aligned != asked) | empty)),
            self.present.eq(inside & (pc < ahead)),
            read.addr.eq(self.pc[line_bits : line_bits + index]),
            self.word.eq(held[self.pc[:line_bits]] if line_bits else held[0]),
            self.bad.eq(read.data[8 * self.port_bytes]),
        ]
        # ask
        room = Signal()
        half = (window // 2).bit_length() - 1
        reach = Cat(self.pc[:half], increment(m, self.pc[half:], Const(1, 1), "reach"))  # half a window ahead
        fire, come = Signal(), Signal()
        waiting = Signal()  # a request is on offer and must stay as it is
        m.d.comb += [
            room.eq((asked < reach) & ~empty & ~jump),
            self.request.valid.eq(waiting | (room & ~self.flush & (flying != window - 1))),
            fire.eq(self.request.valid & self.request.ready),
            come.eq(self.answer.valid),
            self.answer.ready.eq(1),
        ]
        offered = Signal(REGISTER_BITS, reset_less=True)
        address = Signal(REGISTER_BITS, reset_less=True)  # of the line `asked`
        start = self.base + (aligned << (WORD_BYTES.bit_length() - 1))
        m.d.comb += [
            self.request.payload.eq(Mux(waiting, offered, address)),
        ]
        held_lines = Signal(
            range(lines + 1), reset_less=True
        )  # [low, asked); the window is full once it is all there
        line_at = self.port_bytes.bit_length() - 1
        stale = Signal()  # what waits was asked for before a flush
        with m.If(self.request.valid & ~self.request.ready):
            m.d.sync += [waiting.eq(1), offered.eq(self.request.payload)]
        with m.Elif(fire):
            m.d.sync += [waiting.eq(0), stale.eq(0)]
        useful = fire & ~stale
        next_asked, next_low, next_address = (
            Cat(x[:low_bits], increment(m, x[low_bits:], Const(1, 1), f"next_{x.name}"))
            for x, low_bits in ((asked, line_bits), (low, line_bits), (address, line_at))
        )
        after = Signal(len(flying))
        m.d.comb += after.eq(Mux(fire, flying + 1 - come, flying - come))  # `fire` comes late
        m.d.sync += flying.eq(after)
        with m.If(useful):
            m.d.sync += [asked.eq(next_asked), address.eq(next_address)]
            with m.If(held_lines == lines):
                m.d.sync += low.eq(next_low)
            with m.Else():
                m.d.sync += held_lines.eq(held_lines + 1)
        throw = discard.any()
        m.d.comb += [
            write.addr.eq(ahead[line_bits : line_bits + index]),
            write.data.eq(Cat(self.answer.payload.data, self.answer.payload.error)),
            write.en.eq(come & ~throw),
        ]
        with m.If(come & ~throw):
            m.d.sync += ahead.eq(ahead + line)
        with m.If(come & throw):
            m.d.sync += discard.eq(discard - 1)
        with m.If(fire & stale):
            m.d.sync += discard.eq(discard + 1 - (come & throw))
        # empty the window
        with m.If(self.flush | jump):
            m.d.sync += [
                low.eq(aligned), asked.eq(aligned), ahead.eq(aligned), address.eq(start),
                empty.eq(self.flush), held_lines.eq(0),
                discard.eq(after),
            ]  # fmt: skip
            with m.If(self.request.valid & ~self.request.ready):
                m.d.sync += stale.eq(1)
        return m
