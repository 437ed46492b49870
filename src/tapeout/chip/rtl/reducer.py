"""Sums and maxima of rows, in the order of `numerics.vector.total`: 32 partials, then halving.

Element i belongs to partial i mod 32. Beats of `lanes` elements are added to the partials; when a row ends its
partials move to a second set of registers and adders that halves them, while the next row arrives. A row takes
max(beats, HALVING) cycles when rows follow one another (more than 8 lanes: beats of a row are as far apart as
the addition's loop demands).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from tapeout.chip.rtl import fp32_add
from tapeout.chip.rtl.bits import bits_for_index
from tapeout.chip.rtl.block import Block, delay, place
from tapeout.chip.rtl.fp32_add import CANONICAL_NAN, Fp32Add
from tapeout.numerics import fp32, vector
from tapeout.numerics.vector import PARTIALS

LOOP = fp32_add.LATENCY
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


class Reducer(Block):
    """`x`: beats {words, keep (a bit per lane: elements that count), last (of the row), greatest (the maximum,
    not the sum; the same throughout a row)} → `y`: one word per row. A row of no element is one beat of none."""

    def __init__(self, lanes: int) -> None:
        if PARTIALS % lanes:
            raise ValueError(f"{lanes} lanes do not divide {PARTIALS} partials")
        self.lanes, self.sets = lanes, PARTIALS // lanes
        beat = data.StructLayout({"words": 32 * lanes, "keep": lanes, "last": 1, "greatest": 1})
        super().__init__({"x": In(stream.Signature(beat)), "y": Out(stream.Signature(32))})

    @property
    def module_name(self) -> str:
        return f"reducer_{self.lanes}"

    def placed(self) -> Iterable[Block]:
        return (Fp32Add(registered=False), Larger())

    def _combine(self, m: Module, name: str, a: Value, b: Value, greatest: Value) -> Value:
        """a + b or the larger, to be registered LOOP - 1 cycles later."""
        adder, larger = place(m, f"{name}_add", Fp32Add(registered=False)), place(m, f"{name}_max", Larger())
        m.d.comb += [adder.a.eq(a), adder.b.eq(b), larger.a.eq(a), larger.b.eq(b)]
        late = delay(m, larger.y, LOOP - 1, name=f"{name}_late")
        return Mux(delay(m, greatest, LOOP - 1, name=f"{name}_which"), late, adder.y)

    @property
    def schedule(self) -> list[tuple[int, int, int]]:
        """(cycle, half, beat) of each step of the halving."""
        steps, cycle, half = [], 0, PARTIALS // 2
        while half:
            for beat in range(max(half // self.lanes, 1)):
                steps.append((cycle, half, beat))
                cycle += 1
            cycle += LOOP - 1
            half //= 2
        return steps

    @property
    def halving(self) -> int:
        """Cycles from the partials to the result."""
        return self.schedule[-1][0] + LOOP

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        partials = [Signal(32, name=f"partial{i}", reset_less=True) for i in range(PARTIALS)]
        x = self.x.payload
        at, wrapped = Signal(bits_for_index(self.sets)), Signal()
        halving, ending, finished = Signal(), Signal(), Signal()
        recent = [Signal(bits_for_index(self.sets) + 1, name=f"recent{k}") for k in range(LOOP - 1)]
        clear: Value = Const(1, 1)
        if self.sets < LOOP:
            clear = ~Cat(r == Cat(at, Const(1, 1)) for r in recent).any()
        fire = Signal()
        m.d.comb += [
            self.x.ready.eq(clear & ~(x.last & (halving | ending | finished | self.y.valid))),
            fire.eq(self.x.valid & self.x.ready),
        ]
        m.d.sync += recent[0].eq(Cat(at, fire))
        for older, newer in zip(recent[1:], recent, strict=False):
            m.d.sync += older.eq(newer)
        last_set = at == self.sets - 1
        with m.If(fire):
            m.d.sync += [
                at.eq(Mux(x.last | last_set, 0, at + 1)),
                wrapped.eq(~x.last & (wrapped | last_set)),
            ]
        identity = Mux(x.greatest, NEGATIVE_INFINITY, 0)
        write = delay(m, fire, LOOP - 1, reset=True)
        write_at = delay(m, at, LOOP - 1)
        for lane in range(self.lanes):
            held: Value = partials[lane]
            for k in range(1, self.sets):
                held = Mux(at == k, partials[k * self.lanes + lane], held)
            element = Mux(x.keep[lane], x.words[32 * lane : 32 * lane + 32], identity)
            total = self._combine(m, f"in{lane}", Mux(wrapped, held, identity), element, x.greatest)
            for k in range(self.sets):
                with m.If(write & ((write_at == k) if self.sets > 1 else 1)):
                    m.d.sync += partials[k * self.lanes + lane].eq(total)

        # the last sum is in its register LOOP cycles after its beat
        move = delay(m, fire & x.last, LOOP, reset=True)
        with m.If(fire & x.last):
            m.d.sync += ending.eq(1)
        with m.Elif(move):
            m.d.sync += ending.eq(0)
        reached = delay(m, Mux(wrapped, self.sets - 1, at), LOOP, name="reached")
        kind = delay(m, x.greatest, LOOP, name="kind")
        m.d.sync += finished.eq(self._halve(m, partials, move, reached, kind, halving))
        with m.If(finished):
            m.d.sync += [self.y.valid.eq(1), self.y.payload.eq(self._result)]
        with m.Elif(self.y.ready):
            m.d.sync += self.y.valid.eq(0)
        return m

    def _halve(
        self, m: Module, partials: list[Signal], move: Value, reached: Value, kind: Value, halving: Signal
    ) -> Value:
        """The second set: p[i] += p[i + half], by a fixed schedule. Returns the last cycle of it."""
        q = [Signal(32, name=f"q{i}", reset_less=True) for i in range(PARTIALS)]
        greatest = Signal(reset_less=True)
        cycle = Signal(bits_for_index(self.halving))
        identity = Mux(kind, NEGATIVE_INFINITY, 0)
        done = cycle == self.halving - 1
        one, other = ([Signal(32, name=f"{n}{i}") for i in range(self.lanes)] for n in ("one", "other"))
        results = [self._combine(m, f"half{i}", one[i], other[i], greatest) for i in range(self.lanes)]
        with m.Switch(cycle):
            for at, half, beat in self.schedule:
                with m.Case(at):
                    for lane in range(min(self.lanes, half)):
                        i = beat * self.lanes + lane
                        m.d.comb += [one[lane].eq(q[i]), other[lane].eq(q[i + half])]
        with m.Switch(cycle):
            for at, half, beat in self.schedule:
                with m.Case(at + LOOP - 1):
                    for lane in range(min(self.lanes, half)):
                        m.d.sync += q[beat * self.lanes + lane].eq(results[lane])
        with m.If(halving):
            m.d.sync += [cycle.eq(Mux(done, 0, cycle + 1)), halving.eq(~done)]
        with m.If(move):
            m.d.sync += [halving.eq(1), cycle.eq(0), greatest.eq(kind)]
            for i in range(PARTIALS):
                m.d.sync += q[i].eq(
                    Mux(reached >= i // self.lanes, partials[i], identity) if i >= self.lanes else partials[i]
                )
        self._result = q[0]
        return halving & done


def twin(row: NDArray[np.uint32], greatest: bool) -> int:
    """The reduction of one row of bit patterns [n]."""
    x = fp32.from_bits(row)
    return int(fp32.bits(vector.greatest(x) if greatest else vector.total(x)))
