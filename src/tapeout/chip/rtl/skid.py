"""A skid buffer: a stage of a path between blocks, registered both ways at full rate, with parity.

The parity of a word is made where it enters and checked where it leaves, so a chain of buffers covers a path of
any length if the middle ones pass it on; each `Skid` here covers its own two registers.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.block import Block


class Skid(Block):
    """`i` to `o`. `parity_error` is 1 while the word on offer does not have the parity it came with;
    `inject` flips the parity of words that enter."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(
            {
                "i": In(stream.Signature(width)),
                "o": Out(stream.Signature(width)),
                "inject": In(1),
                "parity_error": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"skid_{self.width}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        out, spare = (Signal(self.width + 1, name=n, reset_less=True) for n in ("out", "spare"))
        has_out, has_spare = Signal(), Signal()
        arriving = Cat(self.i.payload, self.i.payload.xor() ^ self.inject)
        push, free = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~has_spare),
            self.o.valid.eq(has_out),
            self.o.payload.eq(out[: self.width]),
            self.parity_error.eq(has_out & out.xor()),
            push.eq(self.i.valid & ~has_spare),
            free.eq(~has_out | self.o.ready),
        ]
        with m.If(free):
            m.d.sync += [
                out.eq(Mux(has_spare, spare, arriving)),
                has_out.eq(has_spare | push),
                has_spare.eq(0),
            ]
        with m.Elif(push):
            m.d.sync += [spare.eq(arriving), has_spare.eq(1)]
        return m
