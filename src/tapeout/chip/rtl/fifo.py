"""A queue of registers between two streams."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.bits import bits_for_index
from tapeout.chip.rtl.block import Block


class Fifo(Block):
    """`i` to `o` through `depth` words; `level` is how many it holds. A word may leave a cycle after it came.

    `ready` and `valid` come from registers alone, so a queue also cuts the paths of both handshakes.
    """

    def __init__(self, width: int, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"depth {depth}")
        self.width, self.depth = width, depth
        super().__init__(
            {
                "i": In(stream.Signature(width)),
                "o": Out(stream.Signature(width)),
                "level": Out(range(depth + 1)),
            }
        )

    @property
    def module_name(self) -> str:
        return f"fifo_{self.width}x{self.depth}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        words = [Signal(self.width, name=f"word{i}", reset_less=True) for i in range(self.depth)]
        index = bits_for_index(self.depth)
        write, read = (Signal(index, name=n) for n in ("write", "read"))
        push, pop = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(self.level != self.depth),
            self.o.valid.eq(self.level.any()),
            push.eq(self.i.valid & self.i.ready),
            pop.eq(self.o.valid & self.o.ready),
            self.o.payload.eq(Array(words + words[:1] * ((1 << index) - self.depth))[read]),
        ]
        for k, word in enumerate(words):
            with m.If(push & (write == k)):
                m.d.sync += word.eq(self.i.payload)
        with m.If(push):
            m.d.sync += write.eq(Mux(write == self.depth - 1, 0, write + 1))
        with m.If(pop):
            m.d.sync += read.eq(Mux(read == self.depth - 1, 0, read + 1))
        m.d.sync += self.level.eq(self.level + push - pop)
        return m
