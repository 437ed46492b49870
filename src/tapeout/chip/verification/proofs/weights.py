"""Weight digits mean the weights: every E2M1 code and every byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed

from tapeout.chip.rtl.digits import DIGIT_BITS
from tapeout.chip.verification.formal import Proof
from tapeout.numerics.formats import MXFP4


class WeightColumnProof(Proof):
    """A WeightColumn: a cycle after a word, with MXFP4 each lane's digit is (-1)^negative·(m0 + 4·m1) = twice the E2M1
    value of its code; with MXINT8 the two digits of a lane are l and h with 16·h + l = the byte. Scales come in
    the same cycle."""

    depth, k = 4, 2

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        block: Any = self.block
        codes, int8, scales, valid = Signal(len(dut.codes)), Signal(), Signal(len(dut.scales)), Signal()
        m.d.sync += [codes.eq(dut.codes), int8.eq(dut.int8), scales.eq(dut.scales_in), valid.eq(1)]
        table = Array([Const(int(v), signed(6)) for v in MXFP4.table])
        with m.If(valid):
            self.claim(m, dut.scales == scales)
        digits = [
            [dut.digits.word_select(half * block.lanes + lane, DIGIT_BITS) for lane in range(block.lanes)]
            for half in range(block.halves)
        ]
        is_int8: Value = int8 if len(block.formats) == 2 else Const(int(block.formats == ("mxint8",)), 1)
        with m.If(valid & ~is_int8):
            for half in range(block.ways):
                for lane in range(block.lanes):
                    d = digits[half][lane]
                    size = d[0:2] + Cat(Const(0, 2), d[2:4])
                    code = codes.word_select(half * block.lanes + lane, 4)
                    self.claim(m, Mux(d[4], -size, size) == table[code])
        if block.halves == 2 and "mxint8" in block.formats:
            with m.If(valid & is_int8):
                for lane in range(block.lanes):
                    low, high = digits[0][lane], digits[1][lane]
                    upper = Cat(Const(0, 2), high[2:4])
                    h = Mux(high[4], -upper, upper) + high[0:2]
                    low_value = Cat(low[0:2], low[2:4])
                    self.claim(m, (h << 4) + low_value == codes.word_select(lane, 8).as_signed())
