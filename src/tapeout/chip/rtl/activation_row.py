"""The activations that a row holds: one block in use, one being loaded, and the multiples the lanes select from.

Two slots are loaded in turn. The block in use is copied from its slot into the registers that drive the row,
with three times each activation made on the way, once for all the columns.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.block import Block, simulating
from tapeout.chip.rtl.dot_unit import TRIPLE_BITS


class ActivationRow(Block):
    """`load` writes codes and scale into slot `load_slot`. `slot` says which one the outputs show from the
    next cycle, if `select`; otherwise they stay."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(
            {
                "load": In(1),
                "load_slot": In(1),
                "codes": In(8 * lanes),
                "scale_in": In(8),
                "select": In(1),
                "slot": In(1),
                "activations": Out(8 * lanes),
                "triples": Out(TRIPLE_BITS * lanes),
                "scale": Out(8),
            }
        )

    @property
    def module_name(self) -> str:
        return f"activation_row_{self.lanes}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        width = 8 * self.lanes + 8
        slots = [Signal(width, name=f"slot{i}", reset_less=True) for i in range(2)]
        for i, slot in enumerate(slots):
            with m.If(self.load & (self.load_slot == i)):
                m.d.sync += slot.eq(Cat(self.codes, self.scale_in))
        chosen = Signal(width)
        m.d.comb += chosen.eq(Mux(self.slot, slots[1], slots[0]))
        shown = Signal(width, reset_less=True)
        triples = Signal(TRIPLE_BITS * self.lanes, reset_less=True)
        with m.If(self.select):
            m.d.sync += shown.eq(chosen)
            for i in range(0 if simulating() else self.lanes):
                one = chosen.word_select(i, 8).as_signed()
                m.d.sync += triples.word_select(i, TRIPLE_BITS).eq(one + Cat(Const(0, 1), one).as_signed())
        m.d.comb += [
            self.activations.eq(shown[: 8 * self.lanes]),
            self.scale.eq(shown[8 * self.lanes :]),
            self.triples.eq(triples),
        ]
        return m
