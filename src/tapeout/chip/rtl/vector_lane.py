"""One lane of the vector unit: every element-wise operation, one per cycle, all of the same latency.

Shorter operations are delayed to the longest's latency, so that results never overtake one another and
the sequencer has one number to know. Operands are bit patterns of 32 bits; narrower ones are in the low bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from tapeout.chip.rtl import fp32_add, fp32_mul, function_unit
from tapeout.chip.rtl.bits import increment, leading_zeros, shift_left, shift_right_sticky
from tapeout.chip.rtl.block import Block, delay, place, register
from tapeout.chip.rtl.fp32_add import CANONICAL_NAN, INFINITY, Fp32Add
from tapeout.chip.rtl.fp32_mul import Fp32Mul
from tapeout.chip.rtl.function_unit import FunctionUnit
from tapeout.numerics import fp32, functions
from tapeout.numerics.formats import MXFP4, scale_value

LATENCY = function_unit.LATENCY
QUICK = 2  # latency of what needs neither adder, multiplier nor function unit


class VectorOp(IntEnum):
    """What a lane does with a, b and c."""

    EXP2 = 0  # y = 2^a
    RECIPROCAL = 1  # 1 / a
    RSQRT = 2  # 1 / √a
    SIGMOID = 3  # 1 / (1 + e^-a)
    ADD = 4  # a + b
    SUB = 5  # a - b
    MUL = 6  # a × b
    MAXIMUM = 8  # NaN if either is; −0 < +0
    MINIMUM = 9
    LESS = 10  # 1.0 where a < b, else +0; false with a NaN; −0 = +0
    AT_MOST = 11
    EQUAL = 12
    SELECT = 13  # a where b is not ±0, else c
    BF16_TO_F32 = 16
    F32_TO_BF16 = 17
    E8M0_TO_F32 = 18
    MXINT8_TO_F32 = 19  # element a at scale b
    MXFP4_TO_F32 = 20


OP_BITS = 5


class VectorLane(Block):
    """y = op(a, b, c), LATENCY cycles later."""

    module_name = "vector_lane"

    def __init__(self) -> None:
        super().__init__({"op": In(OP_BITS), "a": In(32), "b": In(32), "c": In(32), "y": Out(32)})

    def placed(self) -> Iterable[Block]:
        return (Fp32Add(), Fp32Mul(), FunctionUnit())

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        op = register(m, self.op, "op1")
        a, b, c = (register(m, v, n) for v, n in ((self.a, "a1"), (self.b, "b1"), (self.c, "c1")))
        adder, multiplier = place(m, "adder", Fp32Add()), place(m, "multiplier", Fp32Mul())
        unit = place(m, "functions", FunctionUnit())
        # the function unit is the longest: it takes its operand before the register
        m.d.comb += [unit.x.eq(self.a), unit.function.eq(self.op[:2])]
        m.d.comb += [adder.a.eq(a), adder.b.eq(b ^ Cat(Const(0, 31), op == VectorOp.SUB))]
        m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b)]
        quick = register(m, self._quick(m, op, a, b, c), "quick2")

        # what finishes first waits for what takes one stage more, in one chain of registers
        arrivals: dict[int, Value] = {
            QUICK: quick, 1 + fp32_add.LATENCY: adder.y, 1 + fp32_mul.LATENCY: multiplier.y,
        }  # fmt: skip
        codes = {
            1 + fp32_add.LATENCY: op_is(op, VectorOp.ADD, VectorOp.SUB),
            1 + fp32_mul.LATENCY: op_is(op, VectorOp.MUL),
        }
        waiting: Value = arrivals[QUICK]
        for stage in range(QUICK + 1, LATENCY + 1):
            if stage in codes:
                here = delay(m, codes[stage], stage - 1, name=f"here{stage}")
                waiting = Mux(here, arrivals[stage], register(m, waiting, f"waiting{stage}"))
            elif stage < LATENCY:
                waiting = register(m, waiting, f"waiting{stage}")
            else:
                last = register(m, waiting, "waiting_last")
        is_function = delay(m, ~op[2:].any(), LATENCY - 1, name="is_function")
        m.d.comb += self.y.eq(Mux(is_function, unit.y, last))
        return m

    def _quick(self, m: Module, op: Value, a: Value, b: Value, c: Value) -> Signal:
        """Comparisons, selections and conversions: logic of one stage."""
        nan_a, nan_b = (v[23:31].all() & v[:23].any() for v in (a, b))
        nan = nan_a | nan_b
        zeros = ~a[:31].any() & ~b[:31].any()
        magnitude_less = a[:31] < b[:31]
        same = a == b
        # totalOrder: of two negatives the larger magnitude is less
        less = Mux(a[31] == b[31], Mux(a[31], ~magnitude_less & ~same, magnitude_less), a[31])
        canonical_a, canonical_b = (Mux(n, CANONICAL_NAN, v) for n, v in ((nan_a, a), (nan_b, b)))
        result = Signal(32)
        one = Const(0x3F800000, 32)
        with m.Switch(op):
            with m.Case(VectorOp.MAXIMUM):
                m.d.comb += result.eq(Mux(nan, CANONICAL_NAN, Mux(less, canonical_b, canonical_a)))
            with m.Case(VectorOp.MINIMUM):
                m.d.comb += result.eq(Mux(nan, CANONICAL_NAN, Mux(less, canonical_a, canonical_b)))
            with m.Case(VectorOp.LESS):
                m.d.comb += result.eq(Mux(less & ~nan & ~zeros, one, 0))
            with m.Case(VectorOp.AT_MOST):
                m.d.comb += result.eq(Mux((less | same | zeros) & ~nan, one, 0))
            with m.Case(VectorOp.EQUAL):
                m.d.comb += result.eq(Mux((same | zeros) & ~nan, one, 0))
            with m.Case(VectorOp.SELECT):
                m.d.comb += result.eq(Mux(b[:31].any(), a, c))
            with m.Case(VectorOp.BF16_TO_F32):
                m.d.comb += result.eq(Cat(Const(0, 16), a[:16]))
            with m.Case(VectorOp.F32_TO_BF16):
                up = a[15] & (a[:15].any() | a[16])
                m.d.comb += result.eq(Mux(nan_a, 0x7FC0, Cat(increment(m, a[16:31], up, "bf16")[:15], a[31])))
            with m.Case(VectorOp.E8M0_TO_F32):
                m.d.comb += result.eq(self._power(a[:8]))
            with m.Case(VectorOp.MXINT8_TO_F32):
                m.d.comb += result.eq(
                    self._dequantised(m, Mux(a[7], -a[:8], a[:8])[:8], a[7], b[:8], 6, "int8")
                )
            with m.Case(VectorOp.MXFP4_TO_F32):
                magnitude = Signal(4)
                with m.Switch(a[:3]):
                    for code in range(8):
                        with m.Case(code) if code < 7 else m.Default():
                            m.d.comb += magnitude.eq(int(MXFP4.table[code]))
                m.d.comb += result.eq(self._dequantised(m, magnitude, a[3], b[:8], 1, "fp4"))
        return result

    @staticmethod
    def _power(code: Value) -> Value:
        """2^(code − 127); 2^-127 is the subnormal with the top fraction bit; 255 is NaN."""
        normal = Cat(Const(0, 22), ~code.any(), code, Const(0, 1))
        return Mux(code.all(), CANONICAL_NAN, normal)

    @staticmethod
    def _dequantised(
        m: Module, magnitude: Value, sign: Value, scale: Value, fraction: int, name: str
    ) -> Value:
        """±magnitude × 2^(scale − 127 − fraction): exact, in FP32's subnormal range too."""
        width = len(magnitude)
        zeros = leading_zeros(m, magnitude, f"{name}_zeros")
        normal = shift_left(m, magnitude, zeros, f"{name}_normal")
        field = Signal(signed(10), name=f"{name}_field")
        m.d.comb += field.eq(scale + (width - 1 - fraction) - zeros)
        low = field < 1
        amount = Mux(low, (1 - field)[:3], 0)  # at most 7
        moved, _ = shift_right_sticky(m, Cat(Const(0, 24 - width), normal), amount, f"{name}_moved")
        word = Mux(field >= 255, INFINITY, Cat(moved[:23], Mux(low, 0, field[:8])))
        finite = Mux(magnitude.any(), Cat(word[:31], sign), 0)
        return Mux(scale.all(), CANONICAL_NAN, finite)


def op_is(op: Value, *which: VectorOp) -> Value:
    """Whether op is one of these."""
    return Cat(op == w for w in which).any()


def twin(
    op: VectorOp, a: NDArray[np.uint32], b: NDArray[np.uint32], c: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """What the lane computes, on bit patterns."""
    x, y = fp32.from_bits(a), fp32.from_bits(b)
    pairs = {
        VectorOp.EXP2: lambda: functions.exp2(x), VectorOp.RECIPROCAL: lambda: functions.reciprocal(x),
        VectorOp.RSQRT: lambda: functions.rsqrt(x), VectorOp.SIGMOID: lambda: functions.sigmoid(x),
        VectorOp.ADD: lambda: fp32.add(x, y), VectorOp.SUB: lambda: fp32.sub(x, y),
        VectorOp.MUL: lambda: fp32.mul(x, y), VectorOp.MAXIMUM: lambda: fp32.maximum(x, y),
        VectorOp.MINIMUM: lambda: fp32.minimum(x, y), VectorOp.LESS: lambda: (x < y).astype(np.float32),
        VectorOp.AT_MOST: lambda: (x <= y).astype(np.float32), VectorOp.EQUAL: lambda: (x == y).astype(np.float32),
        VectorOp.E8M0_TO_F32: lambda: scale_value(a & 255),
        VectorOp.MXINT8_TO_F32: lambda: _decode(a.astype(np.uint8).view(np.int8), b & 255, 6),
        VectorOp.MXFP4_TO_F32: lambda: _decode(MXFP4.table[a & 15], b & 255, 1),
    }  # fmt: skip
    if op is VectorOp.SELECT:
        return np.where(y != 0, a, c).astype(np.uint32)
    if op is VectorOp.BF16_TO_F32:
        return (a & np.uint32(0xFFFF)) << np.uint32(16)
    if op is VectorOp.F32_TO_BF16:
        return fp32.f32_to_bf16(x).astype(np.uint32)
    return fp32.bits(pairs[op]())


def _decode(integers: NDArray[Any], scales: NDArray[Any], fraction: int) -> fp32.F32:
    value = fp32.scaled(integers, scales.astype(np.int64) - 127 - fraction)
    return fp32.canonical(np.where(scales == 255, np.float32(np.nan), value))
