"""The vector unit's element-wise half: lanes side by side between two streams.

The lanes never stall. A beat is taken only if the queue behind the lanes has room for its result whenever it comes
out, so a result that waits costs nothing inside. With the queue a beat longer than the lanes it runs at a beat per
cycle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.block import Block, awake, place
from tapeout.chip.rtl.head_fifo import HeadFifo
from tapeout.chip.rtl.vector_lane import LATENCIES, LATENCY, OP_BITS, Tap, VectorLane, VectorOp

QUEUE = LATENCY + 2


class VectorUnit(Block):
    """`x`: {op, pair, a, b, c (lanes × 32 bits each)} → `y`: words, LATENCIES[tap] + 1 cycles later, in order.

    `op` is a `VectorOp`; with `pair`, odd lanes do MUL_ADD where the others do MUL_SUB. MUL_HOLD has no result. `tap`
    is static from a beat to its result.
    """

    def __init__(self, lanes: int = 8) -> None:
        self.lanes = lanes
        self.queue = HeadFifo(32 * lanes, QUEUE)
        operands = {n: 32 * lanes for n in ("a", "b", "c")}
        super().__init__(
            {
                "x": In(stream.Signature(data.StructLayout({"op": OP_BITS, "pair": 1, **operands}))),
                "y": Out(stream.Signature(32 * lanes)),
                "tap": In(len(Tap)),
            }
        )

    @property
    def module_name(self) -> str:
        return f"vector_unit_{self.lanes}"

    def placed(self) -> Iterable[Block]:
        return (VectorLane(), self.queue)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        queue = place(m, "queue", self.queue)
        x = self.x.payload
        credit, fire, gives, left = Signal(range(QUEUE + 1), init=QUEUE), Signal(), Signal(), Signal()
        m.d.comb += [
            self.x.ready.eq(credit.any()),
            fire.eq(self.x.valid & self.x.ready),
            gives.eq(fire & (x.op != VectorOp.MUL_HOLD)),
            left.eq(self.y.valid & self.y.ready),
        ]
        m.d.sync += credit.eq(credit - gives + left)
        under_way = Signal(LATENCY)  # bit k: a result that was a beat k + 1 cycles ago
        taken = Signal(LATENCY)  # a result that leaves must not be seen by the class of the next instruction
        for tap, latency in LATENCIES.items():
            m.d.comb += taken[latency - 1].eq(self.tap[tap])
        m.d.sync += under_way.eq(Cat(gives, (under_way & ~taken)[:-1]))
        words = []
        active = awake(m, fire, LATENCY + 1)
        for i in range(self.lanes):
            lane, at = place(m, f"lane{i}", VectorLane(), active), slice(32 * i, 32 * i + 32)
            op: Value = x.op if i % 2 == 0 else x.op | Cat(x.pair, Const(0, OP_BITS - 1))
            m.d.comb += [
                lane.enable.eq(fire), lane.op.eq(op), lane.a.eq(x.a[at]), lane.b.eq(x.b[at]), lane.c.eq(x.c[at]),
                lane.tap.eq(self.tap),
            ]  # fmt: skip
            words.append(lane.y)
        arrives: Value = Const(0, 1)
        for tap, latency in LATENCIES.items():
            arrives = arrives | Mux(self.tap[tap], under_way[latency - 1], 0)
        m.d.comb += [
            queue.i.valid.eq(arrives),
            queue.i.payload.eq(Cat(*words)),
            self.y.valid.eq(queue.o.valid),
            self.y.payload.eq(queue.o.payload),
            queue.o.ready.eq(self.y.ready),
        ]
        return m
