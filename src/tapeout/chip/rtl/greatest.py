"""The largest of a row: a register, a tree of comparisons with a register after each, and the largest so far. A beat
per cycle.

NaN if any is; −0 below +0; −∞ of no element. The order of the comparisons does not matter to the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.block import Block, delay, place
from tapeout.chip.rtl.fp32_add import CANONICAL_NAN
from tapeout.chip.rtl.head_fifo import HeadFifo

NEGATIVE_INFINITY = 0xFF800000


class Larger(Block):
    """y = the larger of a and b: NaN if either is, −0 below +0. Combinational."""

    module_name = "fp32_larger"
    combinational = True

    def __init__(self) -> None:
        super().__init__({"a": In(32), "b": In(32), "y": Out(32)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        nan = Cat(v[23:31].all() & v[:23].any() for v in (self.a, self.b)).any()
        below = self.a[:31] < self.b[:31]
        less = Mux(self.a[31] == self.b[31], Mux(self.a[31], ~below, below), self.a[31])
        m.d.comb += self.y.eq(Mux(nan, CANONICAL_NAN, Mux(less, self.b, self.a)))
        return m


class Greatest(Block):
    """`x`: beats {words, keep (a bit per lane: elements that count), last (of the row)} → `y`: one word per row,
    `latency` cycles after its last beat. A row of no element is one beat of none."""

    def __init__(self, lanes: int) -> None:
        if lanes & (lanes - 1) or lanes < 2:
            raise ValueError(f"{lanes} lanes, not a power of two from 2")
        self.lanes, self.levels = lanes, lanes.bit_length() - 1
        self.queue = HeadFifo(32, self.levels + 4)
        beat = data.StructLayout({"words": 32 * lanes, "keep": lanes, "last": 1})
        super().__init__({"x": In(stream.Signature(beat)), "y": Out(stream.Signature(32))})

    @property
    def latency(self) -> int:
        """Cycles from a row's last beat to its result."""
        return self.levels + 3

    @property
    def lasting(self) -> int:
        """Cycles after a beat in which something of it may still be inside, but for the queue."""
        return self.latency + 2

    @property
    def module_name(self) -> str:
        return f"greatest_{self.lanes}"

    def placed(self) -> Iterable[Block]:
        return (Larger(), self.queue)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        queue, x = place(m, "queue", self.queue), self.x.payload
        credit = Signal(range(self.queue.depth + 1), init=self.queue.depth)
        fire = Signal()
        m.d.comb += [self.x.ready.eq(credit.any()), fire.eq(self.x.valid & self.x.ready)]
        m.d.sync += credit.eq(credit - (fire & x.last) + (self.y.valid & self.y.ready))

        def larger(name: str, a: Value, b: Value) -> Value:
            one = place(m, name, Larger())
            m.d.comb += [one.a.eq(a), one.b.eq(b)]
            return one.y

        words: list[Value] = []
        for i in range(self.lanes):
            word = Signal(32, name=f"word{i}", reset_less=True)
            with m.If(fire):
                m.d.sync += word.eq(Mux(x.keep[i], x.words[32 * i : 32 * i + 32], NEGATIVE_INFINITY))
            words.append(word)
        going: Value = delay(m, fire, 1, reset=True)
        for level in range(self.levels):
            kept = []
            for i in range(0, len(words), 2):
                word = Signal(32, name=f"level{level}_{i}", reset_less=True)
                with m.If(going):
                    m.d.sync += word.eq(larger(f"larger{level}_{i}", words[i], words[i + 1]))
                kept.append(word)
            words, going = kept, delay(m, going, 1, reset=True)
        last = delay(m, x.last & fire, self.levels + 1, reset=True, name="last")
        so_far, first = Signal(32, reset_less=True), Signal(init=1)
        with m.If(going):
            m.d.sync += [
                so_far.eq(larger("larger_so_far", Mux(first, NEGATIVE_INFINITY, so_far), words[0])),
                first.eq(last),
            ]
        m.d.comb += [
            queue.i.valid.eq(delay(m, last, 1, reset=True)),
            queue.i.payload.eq(so_far),
            self.y.valid.eq(queue.o.valid),
            self.y.payload.eq(queue.o.payload),
            queue.o.ready.eq(self.y.ready),
        ]
        return m
