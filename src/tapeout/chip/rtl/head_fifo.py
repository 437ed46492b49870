"""A queue of registers whose front is in a register of its own.

To the outside it is a `Fifo` of that depth, in every cycle. Inside, the word on offer is not chosen by a pointer whose
fanout is the width: what follows it begins at a register.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal

from tapeout.chip.rtl.bits import bits_for_index
from tapeout.chip.rtl.fifo import Fifo


class HeadFifo(Fifo):
    """`i` to `o` through `depth` words, two at least; `level` as `Fifo` has it."""

    def __init__(self, width: int, depth: int) -> None:
        if depth < 2:
            raise ValueError(f"depth {depth}: the front and at least one word behind it")
        super().__init__(width, depth)

    @property
    def module_name(self) -> str:
        return f"head_fifo_{self.width}x{self.depth}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        behind = self.depth - 1
        words = [Signal(self.width, name=f"word{i}", reset_less=True) for i in range(behind)]
        head = Signal(self.width, reset_less=True)
        index = bits_for_index(behind)
        write, read = (Signal(index, name=n) for n in ("write", "read"))
        push, pop, more, stores = (Signal(name=n) for n in ("push", "pop", "more", "stores"))
        m.d.comb += [
            self.i.ready.eq(self.level != self.depth),
            self.o.valid.eq(self.level.any()),
            self.o.payload.eq(head),
            push.eq(self.i.valid & self.i.ready),
            pop.eq(self.o.valid & self.o.ready),
            more.eq(self.level[1:].any()),  # a word behind the front
            stores.eq(push & (more | (self.o.valid & ~self.o.ready))),
        ]
        with m.If(self.o.ready | ~self.o.valid):
            after = Array(words + words[:1] * ((1 << index) - behind))[read]
            m.d.sync += head.eq(Mux(more, after, self.i.payload))
        for k, word in enumerate(words):
            # the place behind the last is free: what goes on to the front is written there too, and forgotten
            with m.If(push & (write == k)):
                m.d.sync += word.eq(self.i.payload)
        with m.If(stores):
            m.d.sync += write.eq(Mux(write == behind - 1, 0, write + 1))
        with m.If(pop & more):
            m.d.sync += read.eq(Mux(read == behind - 1, 0, read + 1))
        m.d.sync += self.level.eq(
            Mux(pop, self.level + push - 1, self.level + push)
        )  # `o.ready` may come late
        return m


def queue_of(width: int, depth: int) -> Fifo:
    """A queue with its front in a register; of one word, which has nothing behind, a Fifo."""
    return HeadFifo(width, depth) if depth > 1 else Fifo(width, depth)
