"""The vector unit's element-wise half: lanes side by side between two streams.

The lanes never stall. A beat is taken only if the queue behind the lanes has room for it whenever it comes out, so
a result that waits costs nothing inside. With the queue a beat longer than the lanes it runs at a beat per cycle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.block import Block, delay, place
from tapeout.chip.rtl.fifo import Fifo
from tapeout.chip.rtl.vector_lane import LATENCY, OP_BITS, VectorLane

QUEUE = LATENCY + 2


class VectorUnit(Block):
    """`x`: {op, a, b, c (lanes × 32 bits each), tag} → `y`: {words, tag}, LATENCY + 1 cycles later, in order.

    `op` is a `VectorOp`; `tag` goes along (an address, a mask, the end of a row).
    """

    def __init__(self, lanes: int = 8, tag_bits: int = 1) -> None:
        self.lanes, self.tag_bits = lanes, tag_bits
        self.queue = Fifo(32 * lanes + tag_bits, QUEUE)
        operands = {n: 32 * lanes for n in ("a", "b", "c")}
        super().__init__(
            {
                "x": In(stream.Signature(data.StructLayout({"op": OP_BITS, **operands, "tag": tag_bits}))),
                "y": Out(stream.Signature(data.StructLayout({"words": 32 * lanes, "tag": tag_bits}))),
            }
        )

    @property
    def module_name(self) -> str:
        return f"vector_unit_{self.lanes}_{self.tag_bits}"

    def placed(self) -> Iterable[Block]:
        return (VectorLane(), self.queue)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        queue = place(m, "queue", self.queue)
        x = self.x.payload
        credit, fire, left = Signal(range(QUEUE + 1), init=QUEUE), Signal(), Signal()
        m.d.comb += [
            self.x.ready.eq(credit.any()),
            fire.eq(self.x.valid & self.x.ready),
            left.eq(self.y.valid & self.y.ready),
        ]
        m.d.sync += credit.eq(credit - fire + left)
        words = []
        for i in range(self.lanes):
            lane, at = place(m, f"lane{i}", VectorLane()), slice(32 * i, 32 * i + 32)
            m.d.comb += [lane.op.eq(x.op), lane.a.eq(x.a[at]), lane.b.eq(x.b[at]), lane.c.eq(x.c[at])]
            words.append(lane.y)
        m.d.comb += [
            queue.i.valid.eq(delay(m, fire, LATENCY, reset=True)),
            queue.i.payload.eq(Cat(*words, delay(m, x.tag, LATENCY, name="tag"))),
            self.y.valid.eq(queue.o.valid),
            self.y.payload.eq(queue.o.payload),
            queue.o.ready.eq(self.y.ready),
        ]
        return m
