"""The top of a column: one word of weights becomes digits, once for all the rows below."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.block import Block, register
from tapeout.chip.rtl.digits import DIGIT_BITS, FP4_DIGIT, recode, recoded


class WeightColumn(Block):
    """codes (8 × lanes bits, see `digits.recode`) → digits, a cycle later. `scales` take the same cycle."""

    def __init__(self, formats: tuple[str, ...], ways: int, lanes: int) -> None:
        self.formats, self.ways, self.lanes = tuple(sorted(formats)), ways, lanes
        self.halves = 2 if "mxint8" in formats else ways
        super().__init__(
            {
                "codes": In(lanes * (8 if self.halves == 2 else 4)),
                "scales_in": In(8 * ways),
                "int8": In(1),
                "digits": Out(self.halves * lanes * DIGIT_BITS),
                "scales": Out(8 * ways),
            }
        )

    @property
    def module_name(self) -> str:
        return f"weight_column_{'_'.join(self.formats)}_{self.ways}way_{self.lanes}"

    def behaviour(self) -> str:
        return f"""
{FP4_DIGIT}
always @(posedge clk) begin
  scales <= scales_in;
  digits <= {recoded(self.formats, self.halves, self.lanes)};
end
"""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        digits = recode(m, self.codes, self.int8, self.formats, self.halves, self.lanes)
        m.d.comb += [
            self.digits.eq(register(m, Cat(*digits), "digits_reg")),
            self.scales.eq(register(m, self.scales_in, "scales_reg")),
        ]
        return m
