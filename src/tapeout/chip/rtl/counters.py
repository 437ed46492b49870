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
BITS = 64
PART = 16  # bits that are counted in a cycle


class Counters(Block):
    """`events`: a bit for each of COUNTERS but OUTSIDE. `clear` sets all to 0. A count lags the event: each
    PART of its bits carries into the next one a cycle later, which keeps the path short."""

    def __init__(self) -> None:
        self.names = [name for name in COUNTERS if name not in OUTSIDE]
        super().__init__(
            {"clear": In(1), "events": In(len(self.names)), "counts": Out(BITS * len(self.names))}
        )

    @property
    def module_name(self) -> str:
        return "counters"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        counts = []
        for i, name in enumerate(self.names):
            event = Signal(name=f"{name}_event")
            parts = [Signal(PART, name=f"{name}_{p}") for p in range(0, BITS, PART)]
            carries = [Signal(name=f"{name}_carry_{p}") for p in range(PART, BITS, PART)]
            m.d.sync += event.eq(self.events[i])
            for k, (part, enters) in enumerate(zip(parts, (event, *carries), strict=True)):
                m.d.sync += Cat(part, *carries[k : k + 1]).eq(part + enters)
            with m.If(self.clear):
                m.d.sync += Cat(event, *parts, *carries).eq(0)
            counts.append(Cat(*parts))
        m.d.comb += self.counts.eq(Cat(*counts))
        return m
