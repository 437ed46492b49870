"""The FP32 accumulators of one unit: read for the next addition, written with its sum, read again to drain.

A unit interleaves this many outputs, which is what hides the adder's loop, and a second bank of them drains
while the first accumulates. The way through the words' multiplexer to the adder is too long for a cycle: what is
read waits in a register, and a sum that is written as it is read goes there by itself, so that the loop stays as
short as the addition.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.bits import bits_for_index
from tapeout.chip.rtl.block import Block, register


class AccumulatorFile(Block):
    """`depth` words of `ways` accumulators. `operand` is the word at `index` a cycle before, +0 with `zero`;
    `drained` that at `drain_index` now.

    `write`: one enable per way. `forward`: the ways whose `sums` are written to `index` in this cycle.
    """

    def __init__(self, depth: int, ways: int) -> None:
        self.depth, self.ways = depth, ways
        index = bits_for_index(depth)
        super().__init__(
            {
                "index": In(index),
                "zero": In(1),
                "forward": In(ways),
                "operand": Out(32 * ways),
                "write": In(ways),
                "write_index": In(index),
                "sums": In(32 * ways),
                "drain_index": In(index),
                "drained": Out(32 * ways),
            }
        )

    @property
    def module_name(self) -> str:
        return f"accumulator_file_{self.depth}_{self.ways}way"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.words = words = Memory(shape=32 * self.ways, depth=self.depth, init=[])
        write = words.write_port(granularity=32)
        read, drain = words.read_port(domain="comb"), words.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(self.write_index),
            write.data.eq(self.sums),
            write.en.eq(self.write),
            read.addr.eq(self.index),
            drain.addr.eq(self.drain_index),
            self.drained.eq(drain.data),
        ]
        operands = []
        for way in range(self.ways):
            part = slice(32 * way, 32 * way + 32)
            latest = Mux(self.forward[way], self.sums[part], read.data[part])
            operands.append(register(m, Mux(self.zero, 0, latest), f"operand{way}"))
        m.d.comb += self.operand.eq(Cat(*operands))
        return m
