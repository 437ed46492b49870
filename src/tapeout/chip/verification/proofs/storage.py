"""Accumulators and activations: what was stored is what is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal

from tapeout.chip.rtl.accumulator_file import AccumulatorFile
from tapeout.chip.rtl.activation_row import ActivationRow
from tapeout.chip.rtl.dot_unit import TRIPLE_BITS
from tapeout.chip.verification.formal import Proof


class AccumulatorProof(Proof):
    """An AccumulatorFile, followed at one index of the solver's choice: each way holds what was last written to it
    there; `drained` shows it in every cycle in which it points there, `operand` in the one after, also if it is
    written in the very cycle, as `forward` then says; `zero` makes the operand +0.

    The two reads take turns at watching the index, so that a wrong content cannot stay unseen in the induction.
    """

    free: Mapping[str, int] = {"chosen": 8}

    def __init__(self, block: AccumulatorFile, watch: str = "drain_index") -> None:
        self.watch = watch
        super().__init__(block)

    @property
    def module_name(self) -> str:
        return f"{super().module_name}_by_{self.watch}"

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        block: Any = self.block
        index = Signal(8, reset_less=True)
        m.d.sync += index.eq(self.chosen)
        self.given(m, (self.chosen < block.depth) & (~self.started | (self.chosen == index)))
        self.given(m, getattr(dut, self.watch) == self.chosen)
        if self.watch == "index":
            self.given(m, ~dut.zero)  # which would hide the content; it is free where the other read watches
        operand, drained = dut.operand, dut.drained
        for way in range(block.ways):
            part = slice(32 * way, 32 * way + 32)
            known, value = Signal(name=f"known{way}"), Signal(32, name=f"value{way}")
            asked, zeroed = Signal(name=f"asked{way}"), Signal(name=f"zeroed{way}")
            writes = dut.write[way] & (dut.write_index == self.chosen)
            self.given(m, dut.forward[way] == (dut.write[way] & (dut.write_index == dut.index)))
            with m.If(writes):
                m.d.sync += [known.eq(1), value.eq(dut.sums[part])]
            m.d.sync += [
                asked.eq((known | writes) & (dut.index == self.chosen) & ~dut.zero),
                zeroed.eq(dut.zero),
            ]
            with m.If(known & (dut.drain_index == self.chosen)):
                self.claim(m, drained[part] == value)
            with m.If(asked):
                self.claim(m, operand[part] == value)
            self.claim(m, ~zeroed | (operand[part] == 0))


class ActivationRowProof(Proof):
    """An ActivationRow: what it shows is what was last loaded into the slot that was last selected, as it was at that
    moment, with three times each activation beside it; a load and a use in one cycle do not disturb each other."""

    def __init__(self, block: ActivationRow) -> None:
        width = 8 * block.lanes + 8
        self.inside = {"slot0": width, "slot1": width}
        super().__init__(block)

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        block: Any = self.block
        lanes, width = block.lanes, 8 * block.lanes + 8
        slots = [Signal(width, name=f"expected{i}") for i in range(2)]
        loaded = Signal(2)
        shown, valid = Signal(width), Signal()
        with m.If(dut.select):
            m.d.sync += [
                shown.eq(Mux(dut.slot, slots[1], slots[0])),
                valid.eq(Mux(dut.slot, loaded[1], loaded[0])),
            ]
        for i in range(2):
            with m.If(dut.load & (dut.load_slot == i)):
                m.d.sync += [slots[i].eq(Cat(dut.codes, dut.scale_in)), loaded[i].eq(1)]
            self.claim(m, ~loaded[i] | (seen[f"slot{i}"] == slots[i]))
        with m.If(valid):
            self.claim(m, Cat(dut.activations, dut.scale) == shown)
            for i in range(lanes):
                one = dut.activations.word_select(i, 8).as_signed()
                triple = dut.triples.word_select(i, TRIPLE_BITS).as_signed()
                self.claim(m, triple == one + one + one)
