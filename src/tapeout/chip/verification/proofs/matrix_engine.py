"""The matrix engine's scoreboard. Units, columns, accumulators and activation rows are opaque."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data

from tapeout.chip.rtl.dot_unit import LOOP
from tapeout.chip.rtl.matrix_engine import READABLE, MatrixEngine
from tapeout.chip.verification.formal import Proof


class ScoreboardProof(Proof):
    """Claims: a weight word is never issued to an accumulator (a tile's, in a row) whose addition is still under way,
    unless it starts from zero; none is issued into a bank that is being drained; results stand still until taken;
    the queue of drains never overflows."""

    k = READABLE + 2
    depth = READABLE + 12

    def __init__(self, block: MatrixEngine) -> None:
        self.opaque = tuple(b.module_name for b in block.placed())
        step = block.step_layout.size
        self.inside = {"issued": block.token_layout.size, "busy": 2, "waiting": 2, "request": step + 1}
        self.inside |= {"queued0": step, "queued1": step}
        super().__init__(block)

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        block: Any = self.block
        self.given_held(m, dut.command, "command")
        self.claim_held(m, dut.results, "results")
        token = data.View(block.token_layout, seen["issued"])
        conflict = []
        before: Any = token
        valid: Any = token.valid
        for age in range(1, LOOP):
            old, was = Signal(block.token_layout, name=f"old{age}"), Signal(name=f"was{age}")
            m.d.sync += [old.eq(before), was.eq(valid)]
            conflict.append(was & (old.index == token.index) & (old.mask & token.mask).any())
            before, valid = old, was
        self.claim(m, ~token.valid | token.zero | ~Cat(conflict).any())
        bank = token.index[-1]
        self.claim(m, ~token.valid | ~seen["busy"].bit_select(bank, 1))
        self.claim(m, token.valid == (dut.weights.valid & dut.weights.ready))

        # A bank is busy from its last weight word until it is drained: its request is on the way, or queued, once.
        request = data.View(block.step_layout, seen["request"][:-1])
        queued = [data.View(block.step_layout, seen[f"queued{i}"]) for i in range(2)]
        arrived, waiting = seen["request"][-1], seen["waiting"]
        for bank in range(2):
            was, way = Signal(name=f"was_busy{bank}"), Signal(READABLE - 1, name=f"way{bank}")
            begins = seen["busy"][bank] & ~was
            m.d.sync += [was.eq(seen["busy"][bank]), way.eq(Cat(begins, way))]
            places = [begins, *way, *(waiting[i] & (queued[i].bank == bank) for i in range(2))]
            self.claim(m, sum(places[1:], places[0]) == seen["busy"][bank])
            self.claim(m, way[-1] == (arrived & (request.bank == bank)))
        self.claim(m, ~arrived | (waiting != 3))
        self.claim(m, waiting != 2)
