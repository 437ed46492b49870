"""The MX quantiser: FP32 to MXINT8 or MXFP4, the rule of `numerics.convert`.

A block of 32 arrives over 32 / lanes beats. Its largest exponent is found as it arrives; then it is converted
on the way out while the next block arrives. One beat per cycle throughout, LATENCY = 32 / lanes + 4 cycles.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from tapeout.chip.rtl.bits import bits_for_index, shift_right_sticky
from tapeout.chip.rtl.block import Block, delay, place, register
from tapeout.numerics import convert, fp32
from tapeout.numerics.formats import BLOCK, MXFP4, MXINT8, SCALE_NAN

ELEMENT_LATENCY = 2


class QuantiseElement(Block):
    """One element at a scale → its code (4 bits of MXFP4, or MXINT8's byte), ELEMENT_LATENCY cycles later.

    `scale`: the block's E8M0 code; 255 gives code 0.
    """

    module_name = "quantise_element"

    def __init__(self) -> None:
        super().__init__({"x": In(32), "scale": In(8), "fp4": In(1), "code": Out(8)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # 1: to a fixed point with the binary point below bit 16: MXINT8 counts 2^-6, MXFP4 halves
        normal = self.x[23:31].any()
        field = Cat(self.x[23] | ~normal, self.x[24:31])
        below = Signal(signed(10))  # how far the element is below the largest it could be
        m.d.comb += below.eq(self.scale - field + Mux(self.fp4, 6, 1))
        amount = Mux(below[5:9].any(), 31, below[:5])
        fixed, lost = shift_right_sticky(m, Cat(self.x[:23], normal), amount, "fixed")
        fixed1 = register(m, Cat(lost | fixed[:15].any(), fixed[15:]), "fixed1")  # sticky, guard, 8 bits
        sign1, fp4_1 = register(m, self.x[31], "sign1"), register(m, self.fp4, "fp4_1")
        nan1 = register(m, self.scale.all(), "nan1")

        # 2: round to nearest even at the element's quantum, saturate
        sticky, guard, whole = fixed1[0], fixed1[1], fixed1[2:]
        int8 = Signal(9)
        m.d.comb += int8.eq(whole + (guard & (sticky | whole[0])))
        magnitude = Mux(int8[7:].any(), 127, int8[:7])
        # E2M1's magnitude codes rise by one with each value, so a carry into the exponent is the next code
        code, up = Signal(3), Signal()
        with m.If(whole[3]):
            m.d.comb += [
                code.eq(Cat(whole[2], Const(3, 2))),
                up.eq(whole[1] & (whole[0] | guard | sticky | whole[2])),
            ]
        with m.Elif(whole[2]):
            m.d.comb += [code.eq(Cat(whole[1], Const(2, 2))), up.eq(whole[0] & (guard | sticky | whole[1]))]
        with m.Else():
            m.d.comb += [code.eq(whole[:2]), up.eq(guard & (sticky | whole[0]))]
        fp4 = Mux(code.all(), 7, (code + up)[:3])
        result = Mux(fp4_1, Cat(fp4, sign1 & fp4.any()), Mux(sign1, -magnitude, magnitude)[:8])
        m.d.sync += self.code.eq(Mux(nan1, 0, result))
        return m


class Quantiser(Block):
    """`x`: `lanes` FP32 words, when `valid`; `fp4` with them. Blocks are 32 / lanes valid beats, back to back or
    not, aligned from reset. `codes` (a byte per lane; MXFP4 in the low nibble) with `codes_valid` in the same
    order, and `scale` with them; no back-pressure: the user keeps room for what is under way.
    """

    def __init__(self, lanes: int) -> None:
        if BLOCK % lanes:
            raise ValueError(f"{lanes} lanes do not divide a block of {BLOCK}")
        self.lanes, self.beats = lanes, BLOCK // lanes
        super().__init__(
            {
                "x": In(32 * lanes), "valid": In(1), "fp4": In(1),
                "codes": Out(8 * lanes), "scale": Out(8), "codes_valid": Out(1), "first": Out(1),
            }
        )  # fmt: skip

    @property
    def module_name(self) -> str:
        return f"quantiser_{self.lanes}"

    def placed(self) -> Iterable[Block]:
        return (QuantiseElement(),)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # the largest exponent of a beat, then of the block so far; of the tree, a register after the first third,
        # because the words come late in their cycle
        fields: list[Value] = [self.x[32 * i + 23 : 32 * i + 31] for i in range(self.lanes)]
        levels = (self.lanes - 1).bit_length()
        for level in range(levels):
            if level == -(-levels // 3):
                fields = [register(m, f, f"largest{i}") for i, f in enumerate(fields)]
            pairs = zip(fields[0::2], fields[1::2], strict=False)
            fields = [Mux(one > other, one, other) for one, other in pairs]
        if levels <= 1:
            fields = [register(m, fields[0], "largest0")]
        beat_largest, x1 = fields[0], register(m, self.x, "x1")
        valid1, fp4_1 = delay(m, self.valid, 1, reset=True), register(m, self.fp4, "fp4_1")

        beat = Signal(bits_for_index(self.beats))
        largest = Signal(8, reset_less=True)
        now = Signal(8)
        m.d.comb += now.eq(Mux(~beat.any(), beat_largest, Mux(largest > beat_largest, largest, beat_largest)))
        last = beat == self.beats - 1
        words = [Signal(32 * self.lanes, name=f"held{i}", reset_less=True) for i in range(self.beats)]
        # what has arrived moves into the row that is converted next, in one cycle, when the block is complete
        ready = [Signal(32 * self.lanes, name=f"ready{i}", reset_less=True) for i in range(self.beats)]
        scale, fp4_2 = Signal(8, reset_less=True), Signal(reset_less=True)
        left = Signal(range(self.beats + 1))
        with m.If(left.any()):
            m.d.sync += left.eq(left - 1)
            for k in range(self.beats - 1):
                m.d.sync += ready[k].eq(ready[k + 1])
        with m.If(valid1):
            m.d.sync += [largest.eq(now), beat.eq(Mux(last, 0, beat + 1))]
            for k in range(self.beats):
                with m.If(beat == k):
                    m.d.sync += words[k].eq(x1)
            with m.If(last):
                floor = Mux(fp4_1, MXFP4.emax, MXINT8.emax)
                below = now < floor
                m.d.sync += [
                    scale.eq(Mux(now.all(), SCALE_NAN, Mux(below, 0, now - floor))),
                    fp4_2.eq(fp4_1),
                    left.eq(self.beats),
                    ready[-1].eq(x1),
                    *(ready[k].eq(words[k]) for k in range(self.beats - 1)),
                ]
        codes = []
        for i in range(self.lanes):
            element = place(m, f"element{i}", QuantiseElement())
            m.d.comb += [
                element.x.eq(ready[0][32 * i : 32 * i + 32]),
                element.scale.eq(scale),
                element.fp4.eq(fp4_2),
            ]
            codes.append(element.code)
        m.d.comb += [
            self.codes.eq(Cat(*codes)),
            self.codes_valid.eq(delay(m, left.any(), ELEMENT_LATENCY, reset=True)),
            self.first.eq(delay(m, left == self.beats, ELEMENT_LATENCY, reset=True)),
            self.scale.eq(delay(m, scale, ELEMENT_LATENCY, name="scale_out")),
        ]
        return m


def twin(x: NDArray[np.uint32], fp4: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Codes [n, 32] (MXFP4 unpacked) and scales [n] of bit patterns [n, 32]."""
    format = MXFP4 if fp4 else MXINT8
    values = fp32.from_bits(x)
    scales = convert.block_scale(values, format)
    integers = np.where(scales[:, None] == SCALE_NAN, 0, convert.element_integers(values, scales, format))
    return convert.encode_elements(integers, format).astype(np.int16).astype(np.uint8), scales
