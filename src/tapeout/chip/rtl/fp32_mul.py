"""FP32 multiplication: IEEE 754 binary32, round to nearest even, subnormals kept, the canonical NaN.

A fixed pipeline without handshake, LATENCY cycles. Subnormal operands are multiplied as they are and the
product is normalised afterwards: one shifter serves subnormal operands and results.

| stage | work |
|---|---|
| 1 | two products of 24 × 12 bits; exponents added; special cases |
| 2 | their sum, 48 bits |
| 3 | leading zeros counted; how far to shift, left or right |
| 4 | the shift |
| 5 | round, overflow, NaN and infinity |
"""

from __future__ import annotations

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from tapeout.chip.rtl.bits import increment, leading_zeros, shift_left, shift_right_sticky
from tapeout.chip.rtl.block import Block, register
from tapeout.chip.rtl.fp32_add import CANONICAL_NAN, INFINITY
from tapeout.numerics import fp32

LATENCY = 5


class Fp32Mul(Block):
    """y = a × b, LATENCY cycles later. `a`, `b` are used combinationally; `y` is a register."""

    module_name = "fp32_mul"

    def __init__(self) -> None:
        super().__init__({"a": In(32), "b": In(32), "y": Out(32)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        add = m.d.comb

        # 1: value = significand × 2^(max(field, 1) - 150)
        normal_a, normal_b = self.a[23:31].any(), self.b[23:31].any()
        significand_a, significand_b = Cat(self.a[:23], normal_a), Cat(self.b[:23], normal_b)
        low1 = register(m, significand_a * significand_b[:12], "low1")
        high1 = register(m, significand_a * significand_b[12:], "high1")
        exponent = Cat(self.a[23] | ~normal_a, self.a[24:31]) + Cat(self.b[23] | ~normal_b, self.b[24:31])
        exponent1 = register(m, exponent, "exponent1")
        special_a, special_b = self.a[23:31].all(), self.b[23:31].all()
        zero_a, zero_b = ~self.a[:31].any(), ~self.b[:31].any()
        nan = (special_a & (self.a[:23].any() | zero_b)) | (special_b & (self.b[:23].any() | zero_a))
        flags1 = register(m, Cat(nan, special_a | special_b, self.a[31] ^ self.b[31]), "flags1")

        # 2
        product2 = register(m, (low1 + Cat(Const(0, 12), high1))[:48], "product2")
        exponent2, flags2 = register(m, exponent1, "exponent2"), register(m, flags1, "flags2")

        # 3: shifted left by its zeros the product has field exponent - 126 - zeros; where that is below 1 the
        # shift is smaller by what is missing, and may turn into one to the right
        zeros = leading_zeros(m, product2, "zeros")
        room = Signal(signed(11))
        add += room.eq(exponent2 - 127)  # the largest shift that leaves the field at least 1
        limited = Signal()
        add += limited.eq(room < Cat(zeros, Const(0, 1)).as_signed())
        right = Signal(signed(11))
        add += right.eq(127 - exponent2)
        backwards = limited & room[10]
        left3 = register(m, Mux(limited, Mux(room[10], 0, room[:6]), zeros), "left3")
        right3 = register(m, Mux(backwards, right[:5] | right[5:10].any().replicate(5), 0), "right3")
        field3 = register(m, Mux(limited | ~product2.any(), 0, room + 1 - zeros)[:10], "field3")
        product3, flags3 = register(m, product2, "product3"), register(m, flags2, "flags3")

        # 4: 24 bits, guard, sticky
        shifted = shift_left(m, product3, left3, "left")
        upper, lost = shift_right_sticky(m, shifted[22:], right3, "right")
        sticky = lost | shifted[:22].any()
        significand4 = register(m, Cat(sticky | upper[0], upper[1:25]), "significand4")
        field4, flags4 = register(m, field3, "field4"), register(m, flags3, "flags4")

        # 5
        up = significand4[1] & (significand4[0] | significand4[2])
        rounded = increment(m, Cat(significand4[2:25], field4[:8]), up, "rounded")
        # all ones are odd, so there the guard bit alone decides
        carried = significand4[1:25].all() & field4[1:8].all()
        overflow = carried | field4[:8].all() | field4[8:].any() | flags4[1]
        result = Mux(overflow, Cat(Const(INFINITY, 31), flags4[2]), Cat(rounded[:31], flags4[2]))
        m.d.sync += self.y.eq(Mux(flags4[0], CANONICAL_NAN, result))
        return m


def twin(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """What the block computes, on bit patterns."""
    return fp32.bits(fp32.mul(fp32.from_bits(a), fp32.from_bits(b)))
