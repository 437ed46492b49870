"""Performance counters: 64-bit counts of what a program did and waited for, cleared when it starts."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.block import Block

COUNTERS = {
    "cycles": "cycles since the program started, while it runs",
    "instructions": "instructions executed or dispatched",
    "load_beats": "words of the memory port that the load engine received",
    "store_beats": "words of the memory port that the store engine wrote",
    "fetch_beats": "words of the memory port that instructions took",
    "matrix_active": "cycles in which the matrix engine took a beat of weights",
    "matrix_wants_weights": "cycles in which it waited for weights alone",
    "matrix_wants_activations": "cycles in which it waited for activations",
    "load_blocked": "cycles in which the load engine's next command waited for a semaphore",
    "matrix_blocked": "cycles in which the matrix engine's did",
    "vector_blocked": "cycles in which the vector engine's did",
    "store_blocked": "cycles in which the store engine's did",
    "parity": "cycles in which a word of wrong parity was found between blocks",
    "corrected": "words of 64 bits that the scratchpad read with one wrong bit, since reset",
    "uncorrectable": "words of 64 bits that it read with two, since reset",
}
OUTSIDE = ("corrected", "uncorrectable")  # counted by the scratchpad
HALF = 16


class Counters(Block):
    """`events`: a bit for each of COUNTERS but OUTSIDE. `clear` sets all to 0. A count lags the event by two cycles:
    the lower HALF bits carry into the upper ones a cycle later, which keeps the path short."""

    def __init__(self) -> None:
        self.names = [name for name in COUNTERS if name not in OUTSIDE]
        super().__init__({"clear": In(1), "events": In(len(self.names)), "counts": Out(64 * len(self.names))})

    @property
    def module_name(self) -> str:
        return "counters"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        counts = []
        for i, name in enumerate(self.names):
            low, high, carry = (
                Signal(HALF, name=f"{name}_low"),
                Signal(64 - HALF, name=name),
                Signal(name=f"{name}_carry"),
            )
            event = Signal(name=f"{name}_event")
            m.d.sync += [event.eq(self.events[i]), Cat(low, carry).eq(low + event), high.eq(high + carry)]
            with m.If(self.clear):
                m.d.sync += [event.eq(0), low.eq(0), carry.eq(0), high.eq(0)]
            counts.append(Cat(low, high))
        m.d.comb += self.counts.eq(Cat(*counts))
        return m
