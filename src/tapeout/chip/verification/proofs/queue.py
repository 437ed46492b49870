"""Nothing is lost, doubled, invented or reordered: the claim about any queue, followed through one word.

The solver marks one word of its choice as it enters and the harness counts how many words are ahead of it. When that
is none and a word leaves, it must be the marked one. As any word may be marked, this covers them all. Nothing
depends on what the words are, so a few bits of width stand for any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal

from tapeout.chip.rtl.bits import bits_for_index
from tapeout.chip.rtl.fifo import Fifo
from tapeout.chip.rtl.head_fifo import HeadFifo
from tapeout.chip.rtl.skid import Skid
from tapeout.chip.verification.formal import Proof


class QueueProof(Proof):
    """Shared by blocks from a stream `i` to a stream `o` that hold at most `capacity` words."""

    free: Mapping[str, int] = {"mark": 1}
    capacity: int

    def follow(self, m: Module, dut: Any) -> None:
        """Registers `held` (words inside), `marked`, `ahead` and `value`, and the claims about the streams."""
        n = self.capacity
        self.held = Signal(range(n + 2))
        self.marked, self.ahead = Signal(), Signal(range(n + 1))
        self.value = Signal(len(dut.i.payload))
        push, pop = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        m.d.sync += self.held.eq(self.held + push - pop)
        with m.If(push & self.mark & ~self.marked):
            m.d.sync += [self.marked.eq(1), self.value.eq(dut.i.payload), self.ahead.eq(self.held - pop)]
        with m.Elif(self.marked & pop):
            with m.If(self.ahead == 0):
                m.d.sync += self.marked.eq(0)
            with m.Else():
                m.d.sync += self.ahead.eq(self.ahead - 1)
        with m.If(self.marked & (self.ahead == 0)):
            self.claim(m, dut.o.valid & (dut.o.payload == self.value))
        self.claim(m, self.held <= n)
        self.claim(m, ~pop | (self.held != 0))  # nothing is invented
        self.claim(m, ~self.marked | (self.ahead < self.held))
        self.claim_held(m, dut.o)

    def counted(self, m: Module, dut: Any) -> None:
        """A queue with a `level`: ready exactly while not full, valid exactly while not empty."""
        self.follow(m, dut)
        self.claim(m, dut.level == self.held)
        self.claim(m, dut.i.ready == (self.held != self.capacity))
        self.claim(m, dut.o.valid == (self.held != 0))


class FifoProof(QueueProof):
    """A Fifo: order; ready exactly while not full, valid exactly while not empty; `level` is what it holds."""

    def __init__(self, block: Fifo) -> None:
        self.capacity = block.depth
        self.index = bits_for_index(block.depth)
        self.inside = {"write": self.index, "read": self.index} | {
            f"word{i}": block.width for i in range(block.depth)
        }
        super().__init__(block)

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        n = self.capacity
        self.counted(m, dut)
        # where the state must be for that: pointers in range and `level` apart, the marked word where it belongs
        apart = Signal(range(2 * n + 1))
        m.d.comb += apart.eq(seen["read"] + self.held)
        self.claim(m, (seen["write"] < n) & (seen["read"] < n))
        self.claim(m, seen["write"] == Mux(apart >= n, apart - n, apart))
        at = Signal(range(2 * n + 1))
        m.d.comb += at.eq(seen["read"] + self.ahead)
        words = Array([seen[f"word{i}"] for i in range(n)])
        self.claim(m, ~self.marked | (words[Mux(at >= n, at - n, at)] == self.value))


class HeadFifoProof(QueueProof):
    """A HeadFifo: what `FifoProof` claims of a Fifo."""

    def __init__(self, block: HeadFifo) -> None:
        self.capacity = block.depth
        self.index = bits_for_index(block.depth - 1)
        self.inside = {"write": self.index, "read": self.index, "head": block.width} | {
            f"word{i}": block.width for i in range(block.depth - 1)
        }
        super().__init__(block)

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        n = self.capacity
        self.counted(m, dut)
        # the marked word is the front, or as far behind the pointer as words are ahead of it
        behind = Signal(range(n + 1))
        apart, at = Signal(range(2 * n + 1)), Signal(range(2 * n + 1))
        m.d.comb += [
            behind.eq(Mux(self.held == 0, 0, self.held - 1)),
            apart.eq(seen["read"] + behind),
            at.eq(seen["read"] + self.ahead - 1),
        ]
        self.claim(m, (seen["write"] < n - 1) & (seen["read"] < n - 1))
        self.claim(m, seen["write"] == Mux(apart >= n - 1, apart - (n - 1), apart))
        words = Array([seen[f"word{i}"] for i in range(n - 1)])
        place = Mux(at >= n - 1, at - (n - 1), at)
        value = Mux(self.ahead == 0, seen["head"], words[place])
        self.claim(m, ~self.marked | (value == self.value))


class SkidProof(QueueProof):
    """A Skid: order; it stalls only while both registers are full; parity tells wrong words, and no others."""

    capacity = 2

    def __init__(self, block: Skid) -> None:
        self.inside = {"out": block.width + 1, "spare": block.width + 1}
        super().__init__(block)

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        self.follow(m, dut)
        self.claim(m, dut.i.ready == (self.held != 2))
        self.claim(m, dut.o.valid == (self.held != 0))
        # parity of the words in order: whether each was injected
        injected = [Signal(name=f"injected{i}") for i in range(2)]
        push, pop = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        after = Signal(range(3))
        m.d.comb += after.eq(self.held - pop)
        with m.If(pop):
            m.d.sync += injected[0].eq(injected[1])
        for i in range(2):
            with m.If(push & (after == i)):
                m.d.sync += injected[i].eq(dut.inject)
        self.claim(m, dut.parity_error == ((self.held != 0) & injected[0]))
        self.claim(m, (self.held != 2) | (seen["spare"].xor() == injected[1]))
        self.claim(m, ~(self.marked & (self.ahead == 1)) | (seen["spare"][:-1] == self.value))
