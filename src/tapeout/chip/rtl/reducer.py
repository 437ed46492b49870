"""Sums of rows, in the order of `numerics.vector.total`: 32 partials, then halving.

Element i belongs to partial i mod 32. Beats of `lanes` elements are added to the partials; when a row ends its partials
go through five levels of adders that halve them, while the next rows arrive: the 16 sums of the first level are made
in 16 / lanes cycles, and that is how closely rows follow one another.

A partial takes an element every LOOP cycles, the adder's own. With 8 lanes the 32 partials of a row are just as many
as keep the adders busy; with more, `timing.together` rows take turns, each with its partials. A beat that comes too
early for its partials waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from tapeout.chip.isa import timing
from tapeout.chip.rtl import fp32_add
from tapeout.chip.rtl.bits import bits_for_index
from tapeout.chip.rtl.block import Block, delay, place, register
from tapeout.chip.rtl.fp32_add import Fp32Add
from tapeout.chip.rtl.head_fifo import HeadFifo
from tapeout.numerics import fp32, vector
from tapeout.numerics.vector import PARTIALS

LOOP = fp32_add.LATENCY
assert (LOOP, PARTIALS) == (timing.VECTOR_LOOP, timing.VECTOR_REDUCED)


def row_field(lanes: int) -> dict[str, int]:
    """The field of a beat that says which of these rows it belongs to; none where there is one."""
    bits = (timing.together(timing.reduced(lanes)) - 1).bit_length()
    return {"row": bits} if bits else {}


class Reducer(Block):
    """`x`: beats {words, keep (a bit per lane: elements that count), row (of those that take turns), last (of its
    row)} → `y`: one word per row, in the order in which they end. A row of no element is one beat of none. What the
    rows in the adders give has room behind them."""

    def __init__(self, lanes: int) -> None:
        if PARTIALS % lanes:
            raise ValueError(f"{lanes} lanes do not divide {PARTIALS} partials")
        self.lanes, self.sets, self.rows = lanes, PARTIALS // lanes, timing.together(lanes)
        self.apart = timing.rows_apart(lanes)
        self.queue = HeadFifo(32, timing.sums_room(lanes))
        beat = data.StructLayout({"words": 32 * lanes, "keep": lanes, **row_field(lanes), "last": 1})
        super().__init__({"x": In(stream.Signature(beat)), "y": Out(stream.Signature(32))})

    @property
    def module_name(self) -> str:
        return f"reducer_{self.lanes}"

    def placed(self) -> Iterable[Block]:
        return (Fp32Add(registered=False), self.queue)

    def _sum(self, m: Module, name: str, a: Value, b: Value) -> Value:
        """a + b, to be registered LOOP - 1 cycles later."""
        adder = place(m, name, Fp32Add(registered=False))
        m.d.comb += [adder.a.eq(a), adder.b.eq(b)]
        return adder.y

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

    @property
    def lasting(self) -> int:
        """Cycles after a beat in which something of it may still be inside, but for the queue."""
        return self.halving + 4 * LOOP

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        queue = place(m, "queue", self.queue)
        partials = [
            [Signal(32, name=f"partial{r}_{i}", reset_less=True) for i in range(PARTIALS)]
            for r in range(self.rows)
        ]
        x = self.x.payload
        several = self.rows > 1
        row: Value = x.row if several else Const(0, 1)
        ats = [Signal(bits_for_index(self.sets), name=f"at{r}") for r in range(self.rows)]
        wraps = [Signal(name=f"wrapped{r}") for r in range(self.rows)]
        at, wrapped = _chosen(ats, row), _chosen(wraps, row)
        place_of = Cat(at, row) if several else at
        recent = [Signal(len(place_of) + 1, name=f"recent{k}") for k in range(LOOP - 1)]
        clear: Value = Const(1, 1)
        if self.sets < LOOP:  # the partials that the beat adds to are in their registers
            clear = ~wrapped | ~Cat(r == Cat(place_of, Const(1, 1)) for r in recent).any()
        credit, wait = (
            Signal(range(self.queue.depth + 1), init=self.queue.depth), Signal(range(self.apart + 1))
        )  # fmt: skip
        fire = Signal()
        m.d.comb += [
            self.x.ready.eq(clear & ~(x.last & (wait.any() | ~credit.any()))),
            fire.eq(self.x.valid & self.x.ready),
        ]
        ends = fire & x.last
        m.d.sync += [
            wait.eq(Mux(ends, self.apart - 1, Mux(wait.any(), wait - 1, 0))),
            credit.eq(credit - ends + (self.y.valid & self.y.ready)),
        ]
        m.d.sync += recent[0].eq(Cat(place_of, fire))
        for older, newer in zip(recent[1:], recent, strict=False):
            m.d.sync += older.eq(newer)
        last_set = at == self.sets - 1
        for r in range(self.rows):
            with m.If(fire & (row == r)):
                m.d.sync += [
                    ats[r].eq(Mux(x.last | last_set, 0, at + 1)),
                    wraps[r].eq(~x.last & (wrapped | last_set)),
                ]
        # a register between who brings the operands and the adders
        adds, ends1 = delay(m, fire, 1, reset=True), delay(m, ends, 1, reset=True)
        at1, wrapped1 = register(m, at, "at1"), register(m, wrapped, "wrapped1")
        row1 = register(m, row, "row1") if several else row
        write = delay(m, adds, LOOP - 1, reset=True)
        write_at = delay(m, at1, LOOP - 1)
        write_row = delay(m, row1, LOOP - 1) if several else row1
        for lane in range(self.lanes):
            sets = [_chosen([p[k * self.lanes + lane] for p in partials], row1) for k in range(self.sets)]
            element = Signal(32, name=f"element{lane}", reset_less=True)
            with m.If(fire):
                m.d.sync += element.eq(Mux(x.keep[lane], x.words[32 * lane : 32 * lane + 32], 0))
            total = self._sum(m, f"in{lane}", Mux(wrapped1, _chosen(sets, at1), 0), element)
            for r, mine in enumerate(partials):
                for k in range(self.sets):
                    with m.If(write & (write_row == r) & ((write_at == k) if self.sets > 1 else 1)):
                        m.d.sync += mine[k * self.lanes + lane].eq(total)

        # the last sum is in its register LOOP cycles after its beat's elements
        move = delay(m, ends1, LOOP, reset=True)
        reached = delay(m, Mux(wrapped1, self.sets - 1, at1), LOOP, name="reached")
        ended = delay(m, row1, LOOP, name="ended") if several else row1
        now = []
        for i in range(PARTIALS):
            sum_ = _chosen([p[i] for p in partials], ended)
            now.append(Mux(reached >= i // self.lanes, sum_, 0) if i >= self.lanes else sum_)
        self._halve(m, now, move, queue)
        m.d.comb += [
            self.y.valid.eq(queue.o.valid),
            self.y.payload.eq(queue.o.payload),
            queue.o.ready.eq(self.y.ready),
        ]
        return m

    def _halve(self, m: Module, now: list[Value], move: Value, queue: Any) -> None:
        """p[i] += p[i + half], by a fixed schedule, a set of adders and registers for each half."""
        steps = self.schedule
        token: list[Value] = [move]  # token[t]: the partials of a row came t cycles ago
        for _ in range(self.halving - 1):
            token.append(delay(m, token[-1], 1, reset=True, name="token"))
        first_beats = [s for s in steps if s[1] == PARTIALS // 2]
        waiting = {}  # what the first level takes in later cycles
        for _, half, beat in first_beats[1:]:
            for i in range(beat * self.lanes, beat * self.lanes + min(self.lanes, half)):
                for j in (i, i + half):
                    waiting[j] = Signal(32, name=f"waiting{j}", reset_less=True)
                    with m.If(move):
                        m.d.sync += waiting[j].eq(now[j])
        level: list[Value] = [waiting.get(i, v) for i, v in enumerate(now)]
        half = PARTIALS // 2
        while half:
            mine = [s for s in steps if s[1] == half]
            sums = [Signal(32, name=f"sum{half}_{i}", reset_less=True) for i in range(half)]
            for lane in range(min(self.lanes, half)):
                a: Value = Const(0, 32)
                b: Value = Const(0, 32)
                for at, _, beat in mine:
                    i = beat * self.lanes + lane
                    a, b = a | Mux(token[at], level[i], 0), b | Mux(token[at], level[i + half], 0)
                total = self._sum(m, f"half{half}_{lane}", a, b)
                for at, _, beat in mine:
                    if half > 1:
                        with m.If(token[at + LOOP - 1]):
                            m.d.sync += sums[beat * self.lanes + lane].eq(total)
                    else:
                        m.d.comb += [queue.i.valid.eq(token[at + LOOP - 1]), queue.i.payload.eq(total)]
            level, half = list(sums), half // 2


def _chosen(values: Sequence[Value], index: Value) -> Value:
    """values[index]."""
    chosen = values[0]
    for k in range(1, len(values)):
        chosen = Mux(index == k, values[k], chosen)
    return chosen


def twin(row: NDArray[np.uint32]) -> int:
    """The sum of one row of bit patterns [n]."""
    return int(fp32.bits(vector.total(fp32.from_bits(row))))
