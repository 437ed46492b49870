"""Quantisers side by side and the blocks they make, whole: codes as memory holds them, and scales."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.bits import bits_for_index
from tapeout.chip.rtl.block import Block, awake, place
from tapeout.chip.rtl.head_fifo import HeadFifo
from tapeout.chip.rtl.quantiser import ELEMENT_LATENCY, Quantiser
from tapeout.numerics.formats import BLOCK


class VectorCodes(Block):
    """`x`: passes of FP32 words, whole blocks → `y`: {codes (from the lowest byte on; 16 bytes a block if `fp4`),
    scales} of a block, or of as many as a pass has. `fp4` is static.
    A pass is taken if there will be room for its block."""

    def __init__(self, lanes: int) -> None:
        self.lanes, self.groups = lanes, max(1, lanes // BLOCK)
        self.quantiser = Quantiser(min(lanes, BLOCK))
        beats = self.quantiser.beats
        self.depth = -(-(2 * beats + 4 + ELEMENT_LATENCY) // beats) + 1
        self.layout = data.StructLayout({"codes": 8 * BLOCK * self.groups, "scales": 8 * self.groups})
        self.queue = HeadFifo(self.layout.size, self.depth)
        super().__init__(
            {"x": In(stream.Signature(32 * lanes)), "y": Out(stream.Signature(self.layout)), "fp4": In(1)}
        )

    @property
    def module_name(self) -> str:
        return f"vector_codes_{self.lanes}"

    def placed(self) -> Iterable[Block]:
        return (self.quantiser, self.queue)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        queue = place(m, "queue", self.queue)
        beats, each = self.quantiser.beats, self.quantiser.lanes
        beat, credit = Signal(bits_for_index(beats)), Signal(range(self.depth + 1), init=self.depth)
        fire, begins = Signal(), Signal()
        m.d.comb += [
            self.x.ready.eq(credit.any() | beat.any()),
            fire.eq(self.x.valid & self.x.ready),
            begins.eq(fire & ~beat.any()),
        ]
        m.d.sync += credit.eq(credit - begins + (self.y.valid & self.y.ready))
        with m.If(fire):
            m.d.sync += beat.eq(Mux(beat == beats - 1, 0, beat + 1))
        codes: list[Value] = []
        packed: list[Value] = []
        scales = []
        made = []
        active = awake(m, fire, 2 * beats + ELEMENT_LATENCY + 4)
        for g in range(self.groups):
            one = place(m, f"quantiser{g}", self.quantiser, active)
            words = self.x.payload[32 * each * g : 32 * each * (g + 1)]
            m.d.comb += [one.x.eq(words), one.valid.eq(fire), one.fp4.eq(self.fp4)]
            codes.append(one.codes)
            packed.append(Cat(one.codes[8 * i : 8 * i + 4] for i in range(each)))
            scales.append(one.scale)
            made.append(one.codes_valid)
        whole, nibbles = Cat(*codes), Cat(*packed)
        done = Signal(bits_for_index(beats))
        if beats > 1:
            before = Signal(len(whole) * (beats - 1), reset_less=True)
            before_packed = Signal(len(nibbles) * (beats - 1), reset_less=True)
            with m.If(made[0]):
                m.d.sync += [
                    before.eq(Cat(before, whole)[len(whole) :]),
                    before_packed.eq(Cat(before_packed, nibbles)[len(nibbles) :]),
                    done.eq(Mux(done == beats - 1, 0, done + 1)),
                ]
            whole, nibbles = Cat(before, whole), Cat(before_packed, nibbles)
        m.d.comb += [
            queue.i.valid.eq(made[0] & (done == beats - 1)),
            queue.i.payload.eq(Cat(Mux(self.fp4, nibbles, whole), *scales)),
            self.y.valid.eq(queue.o.valid),
            self.y.payload.eq(queue.o.payload),
            queue.o.ready.eq(self.y.ready),
        ]
        return m
