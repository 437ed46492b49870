"""The dot-product unit: 32 lanes, an exact integer sum, one rounding to FP32, one IEEE addition.

With MXINT8 weights it does one 32-element block a cycle; its multipliers split so that with MXFP4 weights it
does two, of two different outputs (`ways` = 2), against the same activations. The unit passes digits and
scales down to the unit below it, one row per cycle, so its input register is the systolic one.

| stage | work | cycle after the digits are in the register |
|---|---|---|
| tree | multiples selected, sums of groups of lanes | 0 |
| total | sum of the groups, MXINT8's two halves joined, sign and magnitude | 1, 2 |
| normalise | leading zeros, exponent | 3 |
| convert | subnormal results shifted and rounded to nearest even | 4 |
| add | to the accumulator, FP32 (`fp32_add`): the operand is read in cycle ACCUMULATE | 5 to 8 |

The sum has at most 20 bits, so the conversion to FP32 is exact except in the subnormal range, where it
rounds once, as the definition says. The loop from accumulator to accumulator is LOOP cycles: an
accumulator may take a block every LOOP cycles, and the engine interleaves at least that many.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike, NDArray

from tapeout.chip.rtl import fp32_add
from tapeout.chip.rtl.bits import increment, leading_zeros, shift_left, shift_right_sticky
from tapeout.chip.rtl.block import Block, delay, place, register, simulating
from tapeout.chip.rtl.digits import DIGIT_BITS
from tapeout.chip.rtl.fp32_add import CANONICAL_NAN, INFINITY, Fp32Add
from tapeout.numerics import fp32

LOOP = fp32_add.LATENCY
ACCUMULATE = 5  # cycle in which `accumulator` is read; `sums` appear LOOP - 1 cycles later, to be registered
EXPONENT = {"mxfp4": 134, "mxint8": 139}  # field = scale + scale + position of the leading one - this
TRIPLE_BITS = 10


class DotUnit(Block):
    """One unit. Ports, `lanes` × …:

    digits_in, scales_in: this cycle's weights, registered here and passed on as digits, scales.
    activations: 8-bit two's complement; triples: three times those, 10 bits; scale: their E8M0 code. These
    belong to the digits in the register.
    int8: the mode of the digits in the register. accumulator: the operands read in cycle ACCUMULATE.
    sums: what to register as the new accumulators, in cycle ACCUMULATE + LOOP - 1. With MXINT8 weights and two
    ways only the first counts.
    """

    def __init__(
        self, formats: tuple[str, ...] = ("mxfp4", "mxint8"), ways: int = 2, lanes: int = 32
    ) -> None:
        self.formats, self.ways, self.lanes = tuple(sorted(formats)), ways, lanes
        if not set(formats) <= {"mxfp4", "mxint8"} or not formats:
            raise ValueError(f"formats {formats}")
        if ways == 2 and "mxfp4" not in formats:
            raise ValueError("two ways need mxfp4")
        self.halves = 2 if "mxint8" in formats else ways
        super().__init__(
            {
                "digits_in": In(self.halves * lanes * DIGIT_BITS),
                "scales_in": In(ways * 8),
                "digits": Out(self.halves * lanes * DIGIT_BITS),
                "scales": Out(ways * 8),
                "activations": In(lanes * 8),
                "triples": In(lanes * TRIPLE_BITS),
                "scale": In(8),
                "int8": In(1),
                "accumulator": In(ways * 32),
                "sums": Out(ways * 32),
            }
        )

    @property
    def module_name(self) -> str:
        return f"dot_unit_{'_'.join(self.formats)}_{self.ways}way_{self.lanes}"

    @property
    def both(self) -> bool:
        """Whether the unit takes both formats."""
        return len(self.formats) == 2

    def placed(self) -> Iterable[Block]:
        return (Fp32Add(registered=False),)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        digits, scales = register(m, self.digits_in, "digits_reg"), register(m, self.scales_in, "scales_reg")
        m.d.comb += [self.digits.eq(digits), self.scales.eq(scales)]
        is_int8: Value = self.int8 if self.both else Const(int("mxint8" in self.formats), 1)
        int8_1 = register(m, is_int8, "int8_1") if self.both else is_int8
        int8_2 = register(m, int8_1, "int8_2") if self.both else is_int8

        # sums of the halves, signed
        width = self.lanes * DIGIT_BITS
        halves = [self._half(m, digits[i * width : (i + 1) * width], is_int8, i) for i in range(self.halves)]

        # exponents and NaN beside the tree
        totals: list[Value] = []
        if "mxint8" in self.formats:
            joined = Signal(signed(self._sum_bits(True)))
            m.d.comb += joined.eq(halves[0] + Cat(Const(0, 4), halves[1]).as_signed())
            totals.append(Mux(int8_2, joined, halves[0]) if self.both else joined)
            if self.ways == 2:
                totals.append(halves[1])
        else:
            totals += halves
        for way, total in enumerate(totals):
            bits = self._sum_bits("mxint8" in self.formats and way == 0)
            word = self._to_fp32(m, total, bits, scales[8 * way : 8 * way + 8], is_int8, way)
            adder = place(m, f"add{way}", Fp32Add(registered=False))
            m.d.comb += [
                adder.a.eq(self.accumulator[32 * way : 32 * way + 32]),
                adder.b.eq(word),
                self.sums[32 * way : 32 * way + 32].eq(adder.y),
            ]
        return m

    def _sum_bits(self, int8: bool) -> int:
        """Bits of the signed sum: lanes × 128 × 128 at most, or lanes × 128 × 12."""
        grown = (self.lanes - 1).bit_length()
        return (15 if int8 else 12) + grown + (1 if int8 else 0)

    def _half(self, m: Module, digits: Value, int8: Value, index: int) -> Value:
        """The signed sum over lanes of activation × digit, two registers later."""
        if simulating():
            products = [
                self._multiples(i)[0] * digits.word_select(i, DIGIT_BITS).as_signed()
                for i in range(self.lanes)
            ]
            while len(products) > 1:  # a tree, so that no sum is wider than a machine word
                products = [one + other for one, other in zip(products[0::2], products[1::2], strict=True)]
            whole = Signal(signed(self._sum_bits(False)), name=f"sum{index}")
            m.d.comb += whole.eq(products[0])
            return delay(m, whole, 2, name=f"half{index}")
        if "mxint8" in self.formats:
            partial, bias = self._two_digit_products(m, digits, int8, index)
        else:
            partial, bias = self._shifted_products(m, digits, index)
        group = 4 if "mxint8" in self.formats else 8
        sums = []
        for i in range(0, self.lanes, group):
            one = sum((v for lane in partial[i : i + group] for v in lane), Const(0, 1))
            sums.append(register(m, one, f"group{index}_{i}"))
        bits = self._sum_bits(False)
        total = Signal(bits, name=f"total{index}")
        m.d.comb += total.eq(sum(sums, Const(0, 1)) - bias)
        return register(m, total, f"half{index}").as_signed()

    def _multiples(self, lane: int) -> tuple[Value, Value]:
        one = self.activations.word_select(lane, 8).as_signed()
        return one, self.triples.word_select(lane, TRIPLE_BITS).as_signed()

    def _shifted_products(self, m: Module, digits: Value, index: int) -> tuple[list[list[Value]], int]:
        """MXFP4 alone: every digit is (1 or 3) × 2^s, so a lane is one shifted multiple of 12 bits.

        Offset by 2^11 to be unsigned: the sign bit is inverted and `bias` taken off at the end.
        """
        lanes = []
        for lane in range(self.lanes):
            one, triple = self._multiples(lane)
            d = digits.word_select(lane, DIGIT_BITS)
            m0, m1, negative = d[0:2], d[2:4], d[4]
            three = m0.all() | m1.all() | (m0[1] & m1[0])  # 3, 12 and 6
            base = Signal(signed(TRIPLE_BITS), name=f"base{index}_{lane}")
            m.d.comb += base.eq(Mux(three, triple, one))
            by2 = (m0[1] & ~m0[0]) | (m1[1] & ~m1[0])  # 2, 6, 8
            by4 = m1[1] | (m1[0] & ~m0[1])  # 4, 8, 12
            shifted = Signal(signed(12), name=f"shifted{index}_{lane}")
            once = Mux(by2, Cat(Const(0, 1), base).as_signed(), base)
            m.d.comb += shifted.eq(Mux(by4, Cat(Const(0, 2), once).as_signed(), once))
            kept = Signal(12, name=f"kept{index}_{lane}")
            m.d.comb += kept.eq(Mux((m0 | m1).any(), Mux(negative, ~shifted, shifted), Mux(negative, -1, 0)))
            lanes.append([Cat(kept[:11], ~kept[11]), negative])
        return lanes, self.lanes << 11

    def _two_digit_products(
        self, m: Module, digits: Value, int8: Value, index: int
    ) -> tuple[list[list[Value]], int]:
        """Two selected multiples per lane, of 10 bits and weights 1 and 4; offset by 2^9 each."""
        lanes = []
        for lane in range(self.lanes):
            one, triple = self._multiples(lane)
            d = digits.word_select(lane, DIGIT_BITS)
            terms: list[Value] = []
            for place_, magnitude in ((0, d[0:2]), (1, d[2:4])):
                negative = d[4] if place_ else d[4] & ~int8
                if index == 0 and not self.both:
                    negative = Const(0, 1)  # the low nibble of an integer has no sign
                multiple = Signal(signed(TRIPLE_BITS), name=f"multiple{index}_{lane}_{place_}")
                even = Mux(magnitude[1], Cat(Const(0, 1), one).as_signed(), 0)
                m.d.comb += multiple.eq(Mux(magnitude[0], Mux(magnitude[1], triple, one), even))
                inverted = Mux(negative, ~multiple, multiple)
                offset = Cat(inverted[:9], ~inverted[9])
                zeros = Const(0, 2 * place_) if place_ else None
                terms += (
                    [Cat(zeros, offset), Cat(zeros, negative)] if zeros is not None else [offset, negative]
                )
            lanes.append(terms)
        return lanes, self.lanes * (1 + 4) << 9

    def _to_fp32(self, m: Module, total: Value, bits: int, scale: Value, int8: Value, way: int) -> Value:
        """FP32 bit pattern of total × 2^(scales - …), three registers after `total`."""
        pre = f"w{way}_"
        # beside the tree: the exponent field that the sum would have if its leading one were at bit 0
        base = Signal(signed(10), name=pre + "base")
        both = self.both and way == 0
        constant: Any = EXPONENT["mxint8" if "mxint8" in self.formats and way == 0 else "mxfp4"]
        if both:
            constant = Mux(int8, EXPONENT["mxint8"], EXPONENT["mxfp4"])
        m.d.comb += base.eq((self.scale + scale) - constant)
        nan = self.scale.all() | scale.all()
        exponent = delay(m, base, 3, name=pre + "exponent")
        nan5 = delay(m, nan, 5, name=pre + "nan")

        # sign and magnitude
        magnitude = Signal(bits - 1, name=pre + "magnitude")
        m.d.comb += magnitude.eq(Mux(total[bits - 1], -total, total))
        magnitude3 = register(m, magnitude, pre + "magnitude3")
        sign5 = delay(m, total[bits - 1], 3, name=pre + "sign")

        # normalise
        zeros = leading_zeros(m, magnitude3, pre + "zeros")
        normal = register(m, shift_left(m, magnitude3, zeros, pre + "normal"), pre + "normal4")
        field = register(m, (exponent + (bits - 2)) - Cat(zeros, Const(0, 1)).as_signed(), pre + "field4")
        empty = register(m, ~magnitude3.any(), pre + "empty4")

        # convert: 24 significant bits and a guard bit, shifted right where the field is below 1
        low = Signal(name=pre + "low")
        right = Signal(signed(12), name=pre + "right")
        m.d.comb += [right.eq(1 - field), low.eq((field < 1) | empty)]
        amount = Mux(low, right[:5] | (right[5:11].any()).replicate(5), 0)
        padded = Cat(Const(0, 25 - len(normal)), normal)
        shifted, lost = shift_right_sticky(m, padded, amount, pre + "right")
        up = shifted[0] & (lost | shifted[1])
        rounded = increment(m, Cat(shifted[1:24], Mux(low, 0, field[:8])), up, pre + "rounded")[:31]
        overflow = ~field[-1] & (field >= 255) & ~empty
        word = register(m, Mux(overflow, INFINITY, rounded), pre + "word")
        return Mux(nan5, CANONICAL_NAN, Cat(word, sign5))


def twin(
    activations: NDArray[np.int8],
    scale: ArrayLike,
    weights: NDArray[np.integer],
    weight_scale: ArrayLike,
    fraction: int,
    accumulator: NDArray[np.uint32],
) -> NDArray[np.uint32]:
    """The new accumulators [n], for MXINT8 activations [n, 32] and weights as integers [n, 32] × 2^-fraction.

    As `numerics.product` has it, on bit patterns.
    """
    s, w = np.asarray(scale, dtype=np.int64), np.asarray(weight_scale, dtype=np.int64)
    total = (activations.astype(np.int64) * weights).sum(axis=-1)
    value = fp32.scaled(total, s + w - 254 - 6 - fraction)
    value = np.where((s == 255) | (w == 255), np.float32(np.nan), value)
    return fp32.bits(fp32.add(fp32.from_bits(accumulator), value))
