"""exp2, reciprocal, reciprocal square root and sigmoid: `numerics.functions` in hardware, a result per cycle.

Two interpolators in a row, one with exp2's table and one with those of the reciprocals. exp2 leaves the first and
is delayed past the second; the reciprocals enter the second; sigmoid goes through both.

| stage | work |
|---|---|
| 1 | unpack, normalise subnormals, special cases |
| 2, 3 | significand × log2(e) (sigmoid) or × 1 (exp2) |
| 4 | rounded to 24 fraction bits |
| 5 | sign; whole and fraction |
| 6 to 9 | exp2's interpolator |
| 10 | 1 + 2^t (sigmoid) |
| 11 | normalised; the second interpolator's argument |
| 12 to 15 | the reciprocals' interpolator |
| 16 | exponent; how far into the subnormal range |
| 17 | shift |
| 18 | round, special results |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from tapeout.chip.rtl import interpolator
from tapeout.chip.rtl.bits import increment, leading_zeros, shift_left, shift_right_sticky
from tapeout.chip.rtl.block import Block, delay, place, register
from tapeout.chip.rtl.fp32_add import CANONICAL_NAN, INFINITY
from tapeout.chip.rtl.interpolator import Interpolator
from tapeout.numerics import fp32, functions
from tapeout.numerics.fit_tables import STEP_BITS
from tapeout.numerics.functions import EXP2_BITS, LOG2E, RESULT_BITS

LATENCY = 18
EXP2, RECIPROCAL, RSQRT, SIGMOID = range(4)
NORMAL, NAN, ZERO, INFINITE, ONE, HALF = range(6)  # kinds of result


class FunctionUnit(Block):
    """y = function(x), LATENCY cycles later; `function` is EXP2, RECIPROCAL, RSQRT or SIGMOID, with its x."""

    module_name = "function_unit"

    def __init__(self) -> None:
        self.first = Interpolator("exp2", functions.EXP2)
        self.second = Interpolator("reciprocals", np.concatenate([functions.RECIPROCAL, functions.RSQRT]))
        super().__init__({"x": In(32), "function": In(2), "y": Out(32)})

    def placed(self) -> Iterable[Block]:
        return (self.first, self.second)

    def elaborate(self, platform: Any) -> Module:
        m = Module()

        # 1
        subnormal = ~self.x[23:31].any()
        zeros = leading_zeros(m, self.x[:23], "zeros")
        fraction = Signal(23)
        m.d.comb += fraction.eq(
            Mux(subnormal, shift_left(m, Cat(Const(0, 1), self.x[:22]), zeros, "norm"), self.x[:23])
        )
        e = Signal(signed(9))
        m.d.comb += e.eq(Mux(subnormal, -127 - zeros, self.x[23:31] - 127))
        is_function = [Signal(name=f"is{k}") for k in range(4)]
        m.d.comb += [s.eq(self.function == k) for k, s in enumerate(is_function)]
        kind = self._kind(m, e, is_function)
        sign1, e1, fraction1 = (
            register(m, self.x[31], "sign1"),
            register(m, e, "e1"),
            register(m, fraction, "fraction1"),
        )
        function1 = register(m, Cat(*is_function), "function1")
        kind1 = register(m, kind, "kind1")
        # the sign of the result: that of x for the reciprocal, and for 1/√±0
        signed1 = register(m, self.x[31] & (is_function[RECIPROCAL] | is_function[RSQRT]), "signed1")

        # 2, 3: the product with a 32-bit constant, in two halves
        significand = Cat(fraction1, Const(1, 1))
        constant = Mux(function1[SIGMOID], Const(LOG2E, 32), Const(1 << 31, 32))
        low2, high2 = (
            register(m, significand * constant[:16], "low2"),
            register(m, significand * constant[16:], "high2"),
        )
        product = Signal(56)
        m.d.comb += product.eq(low2 + Cat(Const(0, 16), high2))
        product3 = register(m, product[21:], "product3")
        room = Signal(signed(10))
        e2 = register(m, e1, "e2")
        m.d.comb += room.eq(8 - e2)
        amount3 = register(m, Mux(room[9], 0, room[:6] | room[6:9].any().replicate(6)), "amount3")

        # 4
        shifted, _ = shift_right_sticky(m, product3, amount3, "align")
        t4 = register(m, (shifted + 1)[1:], "t4")

        # 5
        negative = delay(m, sign1 ^ function1[SIGMOID], 3, name="negative")
        t = Signal(signed(len(t4) + 2))
        m.d.comb += t.eq(Mux(negative, -t4, t4))
        t5 = register(m, t, "t5")

        # 6 to 9
        first = place(m, "first", self.first)
        m.d.comb += [first.index.eq(t5[STEP_BITS:EXP2_BITS]), first.step.eq(t5[:STEP_BITS])]
        whole5 = t5[EXP2_BITS:].as_signed()
        whole9 = delay(m, whole5, interpolator.LATENCY, name="whole")
        distance = Signal(len(whole5))
        m.d.comb += distance.eq(Mux(whole5[-1], -whole5, whole5))
        far = Signal(5)
        m.d.comb += far.eq(distance[:5] | distance[5:].any().replicate(5))
        far9 = delay(m, far, interpolator.LATENCY, name="far")

        # 10, 11: the larger of 1 and u at 27 fraction bits, plus the other shifted to it
        u = first.result[RESULT_BITS - 27 :]
        one = Const(1 << 27, 28)
        smaller, _ = shift_right_sticky(m, Mux(whole9[-1], u, one), far9, "smaller")
        # a shift by 28 to 31 leaves nothing of either
        grown10 = register(m, (Mux(whole9[-1], one, u) + smaller)[:29], "grown10")
        whole10 = delay(m, whole9, 1, name="whole10")
        carry = grown10[28]
        v = Mux(carry, grown10[3:28], grown10[2:27])
        power = Signal(signed(len(whole5) + 1))
        m.d.comb += power.eq(Mux(whole10[-1], 0, whole10) + carry)
        fraction10, e10 = delay(m, fraction1, 9, name="fraction10"), delay(m, e1, 9, name="e10")
        function10 = delay(m, function1, 9, name="function10")
        odd = e10[0]
        index, step = Signal(8), Signal(STEP_BITS)
        exponent = Signal(signed(11))
        with m.If(function10[SIGMOID]):
            m.d.comb += [index.eq(v[STEP_BITS:]), step.eq(v[:STEP_BITS]), exponent.eq(-power)]
        with m.Elif(function10[RECIPROCAL]):
            m.d.comb += [
                index.eq(fraction10[16:]),
                step.eq(Cat(Const(0, 2), fraction10[:16])),
                exponent.eq(-e10),
            ]
        with m.Elif(function10[RSQRT]):
            m.d.comb += [
                index.eq(Cat(fraction10[17:], odd, Const(1, 1))),
                step.eq(Cat(Const(0, 1), fraction10[:17])),
                exponent.eq(-(e10 >> 1)),
            ]
        with m.Else():
            m.d.comb += exponent.eq(whole10)
        index11, step11 = register(m, index, "index11"), register(m, step, "step11")
        exponent15 = delay(m, exponent, 1 + interpolator.LATENCY, name="exponent")

        # 12 to 15
        second = place(m, "second", self.second)
        m.d.comb += [second.index.eq(index11), second.step.eq(step11)]
        exp2_15 = delay(m, first.result, 2 + interpolator.LATENCY, name="exp2")
        is_exp2 = delay(m, function10[EXP2], 1 + interpolator.LATENCY, name="is_exp2")

        # 16: exp2's sum is in [1, 2), the others' in (1/2, 1]
        r = Mux(is_exp2, exp2_15, second.result)
        top = r[RESULT_BITS]
        field = Signal(signed(12))
        m.d.comb += field.eq(exponent15 + 126 + top)
        right = Signal(signed(12))
        m.d.comb += right.eq(1 - field)
        low = field < 1
        mantissa = Mux(top, r, Cat(Const(0, 1), r[:RESULT_BITS]))
        upper16 = register(m, mantissa[RESULT_BITS - 24 :], "upper16")  # 24 bits and a guard bit
        rest16 = register(m, mantissa[: RESULT_BITS - 24].any(), "rest16")
        right16 = register(m, Mux(low, right[:5] | right[5:11].any().replicate(5), 0), "right16")
        field16 = register(m, Mux(low, 0, field[:8]), "field16")
        over16 = register(m, ~low & (field >= 255), "over16")

        # 17
        narrowed, lost = shift_right_sticky(m, upper16, right16, "narrow")
        kept17 = register(m, Cat(lost | rest16, narrowed), "kept17")
        field17, over17 = register(m, field16, "field17"), register(m, over16, "over17")
        kind17, sign17 = delay(m, kind1, 16, name="kind"), delay(m, signed1, 16, name="signed")

        # 18
        up = kept17[1] & (kept17[0] | kept17[2])
        rounded = increment(m, Cat(kept17[2:25], field17), up, "rounded")
        result = Signal(31)
        with m.Switch(kind17):
            for k, value in (
                (NAN, CANONICAL_NAN),
                (ZERO, 0),
                (INFINITE, INFINITY),
                (ONE, 0x3F800000),
                (HALF, 0x3F000000),
            ):
                with m.Case(k):
                    m.d.comb += result.eq(value)
            with m.Default():
                m.d.comb += result.eq(Mux(over17 | rounded[23:31].all(), INFINITY, rounded[:31]))
        m.d.sync += self.y.eq(Cat(result, sign17 & (kind17 != NAN)))
        return m

    def _kind(self, m: Module, e: Value, function: list[Signal]) -> Signal:
        """What kind of result x gives."""
        kind = Signal(3)
        special = self.x[23:31].all()
        nan, zero = special & self.x[:23].any(), ~self.x[:31].any()
        sign = self.x[31]
        with m.If(nan | (function[RSQRT] & sign & ~zero)):
            m.d.comb += kind.eq(NAN)
        with m.Elif(zero):
            m.d.comb += kind.eq(Mux(function[EXP2], ONE, Mux(function[SIGMOID], HALF, INFINITE)))
        with m.Elif(function[EXP2] & (e >= 8)):
            m.d.comb += kind.eq(Mux(sign, ZERO, INFINITE))
        with m.Elif(function[SIGMOID] & (e >= 7)):
            m.d.comb += kind.eq(Mux(sign, ZERO, ONE))
        with m.Elif(special):
            m.d.comb += kind.eq(ZERO)
        return kind


def twin(function: int, x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """What the block computes, on bit patterns."""
    of = (functions.exp2, functions.reciprocal, functions.rsqrt, functions.sigmoid)[function]
    return fp32.bits(of(fp32.from_bits(x)))
