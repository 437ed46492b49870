"""A queue of two that a word may pass in the cycle it comes: its `ready` is a register, its `valid` is not."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.block import Block


class FallThrough(Block):
    """`i` to `o`. What `o` does not take at once waits in one of two registers, so that `i` goes on at full rate
    with a partner that is late by a cycle, and no path leads from `o.ready` to `i.ready`."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({"i": In(stream.Signature(width)), "o": Out(stream.Signature(width))})

    @property
    def module_name(self) -> str:
        return f"fall_through_{self.width}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        head, tail = (Signal(self.width, name=n, reset_less=True) for n in ("head", "tail"))
        one, two = Signal(), Signal()  # words held: at least one, two
        push, pop = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~two),
            self.o.valid.eq(one | self.i.valid),
            self.o.payload.eq(Mux(one, head, self.i.payload)),
            push.eq(self.i.valid & ~two),
            pop.eq(self.o.valid & self.o.ready),
        ]
        m.d.sync += [
            one.eq(Mux(pop, two | (one & push), one | push)),
            two.eq(Mux(pop, two & push, two | (one & push))),
        ]
        with m.If(pop & two):
            m.d.sync += head.eq(tail)
        with m.Elif(Mux(one, pop, ~pop)):
            m.d.sync += head.eq(self.i.payload)
        with m.If(one & push):
            m.d.sync += tail.eq(self.i.payload)
        return m
