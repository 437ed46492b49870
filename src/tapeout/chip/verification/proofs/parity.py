"""Parity between blocks: what is told is exactly the words that came with another parity than theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Module, Signal

from tapeout.chip.rtl.parity import ParityCheck, ParitySend, groups, parity
from tapeout.chip.verification.formal import Proof


class ParitySendProof(Proof):
    """Claims: after a word was taken its parity, that of the lowest group flipped if asked, stays until the next."""

    depth, k = 6, 2

    def __init__(self, block: ParitySend) -> None:
        super().__init__(block)

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        block: Any = self.block
        some, last = Signal(), Signal(groups(block.width))
        with m.If(dut.taken):
            m.d.sync += [some.eq(1), last.eq(parity(dut.word) ^ dut.inject)]
        self.claim(m, ~some | (dut.parity == last))


class ParityCheckProof(Proof):
    """Claims: an error in the second cycle after a word was taken whose parity differs in any group, and in no other.
    The parity that counts is that of the cycle after the word (`late`) or of its own."""

    depth, k = 8, 3

    def __init__(self, block: ParityCheck) -> None:
        self.inside = {"came": 1, "mine": groups(block.width)}
        super().__init__(block)

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        block: Any = self.block
        n = groups(block.width)
        came, mine, theirs, wrong = Signal(), Signal(n), Signal(n), Signal()
        m.d.sync += [
            came.eq(dut.taken), mine.eq(parity(dut.word)), theirs.eq(dut.parity),
            wrong.eq(came & (mine != (dut.parity if block.late else theirs))),
        ]  # fmt: skip
        self.claim(m, dut.error == wrong)
        self.claim(m, seen["came"] == came)
        self.claim(m, ~came | (seen["mine"] == mine))
