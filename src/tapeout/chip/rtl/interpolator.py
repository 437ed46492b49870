"""The evaluator of the functions: C0 + C1·s + C2·s², an exact integer (`numerics.functions.interpolate`)."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from tapeout.chip.rtl.block import Block, register
from tapeout.numerics.fit_tables import C0_BITS, C1_BITS, C2_BITS, SQUARE_BITS, STEP_BITS
from tapeout.numerics.functions import RESULT_BITS

LATENCY = 4  # the table, three products, two sums
WIDTHS = (28, 22, 13)  # of the coefficients; the second is signed
RESULT = RESULT_BITS + 1


class Interpolator(Block):
    """result = the evaluator for row `index` of the table and `step`, LATENCY cycles later."""

    def __init__(self, name: str, table: NDArray[Any]) -> None:
        self.name, self.table = name, table
        self.index_bits = (len(table) - 1).bit_length()
        super().__init__({"index": In(self.index_bits), "step": In(STEP_BITS), "result": Out(RESULT)})

    @property
    def module_name(self) -> str:
        return f"interpolator_{self.name}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        row = Signal(sum(WIDTHS), reset_less=True)
        with m.Switch(self.index):
            for i, (c0, c1, c2) in enumerate(self.table):
                word = int(c0) | (int(c1) & ((1 << WIDTHS[1]) - 1)) << WIDTHS[0] | int(c2) << sum(WIDTHS[:2])
                with m.Case(i) if i + 1 < len(self.table) else m.Default():
                    m.d.sync += row.eq(word)
        step1 = register(m, self.step, "step1")
        c0_1, c1_1, c2_1 = (
            row[: WIDTHS[0]],
            row[WIDTHS[0] : sum(WIDTHS[:2])].as_signed(),
            row[sum(WIDTHS[:2]) :],
        )

        product = Signal(2 * STEP_BITS)
        m.d.comb += product.eq(step1 * step1)
        square2 = register(m, product[2 * STEP_BITS - SQUARE_BITS :], "square2")
        linear2 = register(m, c1_1 * Cat(step1, Const(0, 1)).as_signed(), "linear2")
        c0_2, c2_2 = register(m, c0_1, "c0_2"), register(m, c2_1, "c2_2")

        quadratic3 = register(m, c2_2 * square2, "quadratic3")
        partial = Signal(signed(RESULT + 1))
        m.d.comb += partial.eq(Cat(Const(0, RESULT_BITS - C0_BITS), c0_2, Const(0, 1)).as_signed() + linear2)
        partial3 = register(m, partial, "partial3")

        total = Signal(signed(RESULT + 1))
        m.d.comb += total.eq(
            partial3 + Cat(Const(0, RESULT_BITS - C2_BITS - SQUARE_BITS), quadratic3, Const(0, 1)).as_signed()
        )
        m.d.sync += self.result.eq(total[:RESULT])
        return m


assert C1_BITS + STEP_BITS == RESULT_BITS
