"""FP32 addition: IEEE 754 binary32, round to nearest even, subnormals kept, the canonical NaN.

A fixed pipeline without handshake: a pair enters every cycle, its sum leaves LATENCY cycles later. The single
path (align, add, normalise, round) is chosen over near and far paths: the matrix engine has two of these in
every unit, so area counts, and its accumulators are interleaved anyway.

| stage | work |
|---|---|
| 1 | compare magnitudes, swap, difference of exponents |
| 2 | align with sticky bit, add or subtract |
| 3 | count leading zeros, normalise down to the subnormal range |
| 4 | round, overflow, NaN and infinity |
"""

from __future__ import annotations

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from tapeout.chip.rtl.bits import increment, leading_zeros, shift_left, shift_right_sticky
from tapeout.chip.rtl.block import Block, register
from tapeout.numerics import fp32

LATENCY = 4
CANONICAL_NAN = fp32.CANONICAL_NAN
INFINITY = 0x7F800000


class Fp32Add(Block):
    """y = a + b, LATENCY cycles later. `a` and `b` go into logic."""

    def __init__(self, registered: bool = True) -> None:
        """`registered`: y is a register; otherwise it is the last stage's logic, a cycle earlier, for a
        register of the user's (an accumulator)."""
        self.registered = registered
        super().__init__({"a": In(32), "b": In(32), "y": Out(32)})

    @property
    def module_name(self) -> str:
        return "fp32_add" if self.registered else "fp32_add_open"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        add = m.d.comb

        # 1: the operand of larger magnitude first
        swap, subtract = Signal(), Signal()
        add += [swap.eq(self.a[:31] < self.b[:31]), subtract.eq(self.a[31] ^ self.b[31])]
        large, small = Signal(32), Signal(32)
        add += [large.eq(Mux(swap, self.b, self.a)), small.eq(Mux(swap, self.a, self.b))]
        exponent_a, exponent_b = self._exponent(self.a), self._exponent(self.b)
        a_minus_b, b_minus_a = Signal(signed(9)), Signal(signed(9))
        add += [a_minus_b.eq(exponent_a - exponent_b), b_minus_a.eq(exponent_b - exponent_a)]
        distance = Signal(8)
        add += distance.eq(Mux(swap, b_minus_a, a_minus_b))
        nan, infinite = Signal(), Signal()
        large_special = large[23:31].all()  # NaN compares above infinity, infinity above the rest
        add += [
            nan.eq(large_special & (large[:23].any() | (subtract & small[23:31].all()))),
            infinite.eq(large_special),
        ]
        flags1 = register(m, Cat(nan, infinite, subtract, large[31]), "flags1")
        exponent1 = register(m, self._exponent(large), "exponent1")
        large1 = register(m, Cat(large[:23], large[23:31].any()), "large1")
        small1 = register(m, Cat(small[:23], small[23:31].any()), "small1")
        far = distance[5:].any()
        distance1 = register(m, Cat(distance[:5] | far.replicate(5)), "distance1")

        # 2: three more bits below the significand: guard, round and sticky
        aligned, lost = shift_right_sticky(m, Cat(Const(0, 2), small1), distance1, "aligned")
        total = Signal(28)
        subtract1 = flags1[2]
        operand = Signal(27)
        add += operand.eq(Cat(lost, aligned))
        add += total.eq(Cat(Const(0, 3), large1) + (operand ^ subtract1.replicate(27))[:27] + subtract1)
        sum2 = register(m, Cat(total[:27], total[27] & ~subtract1), "sum2")
        flags2, exponent2 = register(m, flags1, "flags2"), register(m, exponent1, "exponent2")

        # 3: shift out leading zeros, but not below exponent 1
        zeros = leading_zeros(m, sum2, "zeros")
        shift, limited = Signal(5), Signal()
        add += [limited.eq(exponent2 < zeros), shift.eq(Mux(limited, exponent2[:5], zeros))]
        normal = shift_left(m, sum2, shift, "normal")
        field = Signal(9)
        add += field.eq(Mux(limited | ~sum2.any(), 0, exponent2 + 1 - zeros))
        # A limited shift leaves the leading one below its place (or there is none): field 0. Where the shift
        # reaches the limit exactly, exponent2 + 1 - zeros is already 1.
        significand3 = register(m, Cat(normal[1:3].any() | normal[0], normal[3:27]), "significand3")
        field3 = register(m, field, "field3")
        cancelled = flags2[2] & ~sum2.any()
        flags3 = register(m, Cat(flags2[0], flags2[1], flags2[3] & ~cancelled), "flags3")

        # 4: significand3 is sticky, guard, then 23 fraction bits; a carry out of the fraction is the exponent's
        up = significand3[1] & (significand3[0] | significand3[2])
        rounded = increment(m, Cat(significand3[2:25], field3[:8]), up, "rounded")
        # all ones are odd, so there the guard bit alone decides
        carried = significand3[1:25].all() & field3[1:8].all()
        overflow = carried | field3[:8].all() | field3[8] | flags3[1]
        result = Mux(overflow, Cat(Const(INFINITY, 31), flags3[2]), Cat(rounded[:31], flags3[2]))
        domain = m.d.sync if self.registered else m.d.comb
        domain += self.y.eq(Mux(flags3[0], CANONICAL_NAN, result))
        return m

    @staticmethod
    def _exponent(x: Any) -> Any:
        """The exponent field with 1 in place of 0: that of subnormals."""
        return Cat(x[23] | ~x[23:31].any(), x[24:31])


def twin(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """What the block computes, on bit patterns."""
    return fp32.bits(fp32.add(fp32.from_bits(a), fp32.from_bits(b)))
