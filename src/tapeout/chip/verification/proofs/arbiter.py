"""An Arbiter grants one input at a time, only one that asks, whenever it can, and each within a bounded wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from tapeout.chip.rtl.arbiter import Arbiter
from tapeout.chip.verification.formal import Proof


class ArbiterProof(Proof):
    """Claims: at most one grant; none without a request; a grant in every cycle in which the output is free and some
    input asks; what is granted is the next output, with its source; the output stands still until it is taken;
    and while an input waits, the others together are granted at most inputs - 1 times. Also if inputs take back
    what they offered."""

    def __init__(self, block: Arbiter) -> None:
        self.inside = {"last": block.inputs}
        super().__init__(block)

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        block: Any = self.block
        n = block.inputs
        inputs = [getattr(dut, f"i{k}") for k in range(n)]
        asks, takes = Signal(n), Signal(n)
        m.d.comb += [
            asks.eq(Cat(i.valid for i in inputs)),
            takes.eq(Cat(i.valid & i.ready for i in inputs)),
        ]
        free = ~dut.o.valid | dut.o.ready
        for i in inputs:
            self.claim(m, ~i.ready | i.valid)
        self.claim(m, (takes & (takes - 1)[:n]) == 0)
        self.claim(m, takes.any() == (asks.any() & free))

        took, word, source = Signal(), Signal(block.width), Signal(range(max(n, 2)))
        m.d.sync += took.eq(takes.any())
        for k, i in enumerate(inputs):
            with m.If(takes[k]):
                m.d.sync += [word.eq(i.payload), source.eq(k)]
        with m.If(took):
            self.claim(m, dut.o.valid & (dut.o.payload.word == word) & (dut.o.payload.source == source))
        self.claim_held(m, dut.o)
        offered = Signal()
        m.d.sync += offered.eq(dut.o.valid & ~dut.o.ready)
        self.claim(m, dut.o.valid == (took | offered))  # nothing is invented

        # k waits behind those from the last winner to k; each grant to another leaves fewer
        last = seen["last"]
        self.claim(m, last.any() & ((last & (last - 1)[:n]) == 0))
        for k in range(n):
            overtaken = Signal(range(n + 1), name=f"overtaken{k}")
            with m.If(takes[k] | ~asks[k]):
                m.d.sync += overtaken.eq(0)
            with m.Elif(takes.any()):
                m.d.sync += overtaken.eq(overtaken + 1)
            self.claim(m, overtaken <= n - 1)
            distances: list[Value] = [Signal(range(n + 1), name=f"distance{k}_{j}") for j in range(n)]
            for j, d in enumerate(distances):
                m.d.comb += d.eq(Mux(last[j], (k - j - 1) % n, 0))
            ahead = Signal(range(n + 1), name=f"ahead{k}")
            m.d.comb += ahead.eq(sum(distances[1:], distances[0]))
            self.claim(m, ~asks[k] | (overtaken + ahead <= n - 1))
