"""One lane of the vector unit: every element-wise operation, one per cycle.

Each class of operations (`Tap`) has its own latency; an instruction uses one class, so results never overtake one
another. Two operations of the class CHAIN make a sum of two products, each rounded: MUL_HOLD keeps its product,
MUL_ADD or MUL_SUB adds its own to it or subtracts it from it. Operands are bit patterns of 32 bits;
narrower ones are in the low bits. Registers of operands change only with `enable`: an idle lane is still.
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
from tapeout.chip.rtl.block import Block, awake, delay, place, register
from tapeout.chip.rtl.fp32_add import CANONICAL_NAN, INFINITY, Fp32Add
from tapeout.chip.rtl.fp32_mul import Fp32Mul
from tapeout.chip.rtl.function_unit import FunctionUnit
from tapeout.numerics import fp32, functions
from tapeout.numerics.formats import MXFP4, scale_value


class Tap(IntEnum):
    """Where a result leaves: classes of latency."""

    QUICK = 0  # neither adder, multiplier nor function unit
    ADD = 1
    MUL = 2
    CHAIN = 3  # a multiplication, then an addition; and what passes unchanged beside it
    FUNCTION = 4


# Cycles from operands to result.
LATENCIES = {
    Tap.QUICK: 2, Tap.ADD: 1 + fp32_add.LATENCY, Tap.MUL: 1 + fp32_mul.LATENCY,
    Tap.CHAIN: 1 + fp32_mul.LATENCY + fp32_add.LATENCY, Tap.FUNCTION: 1 + function_unit.LATENCY,
}  # fmt: skip
LATENCY = max(LATENCIES.values())


class VectorOp(IntEnum):
    """What a lane does with a, b and c."""

    EXP2 = 0  # y = 2^a
    RECIPROCAL = 1  # 1 / a
    RSQRT = 2  # 1 / √a
    SIGMOID = 3  # 1 / (1 + e^-a)
    ADD = 4  # a + b
    SUB = 5  # a - b
    MUL = 6  # a × b
    MUL_HOLD = 7  # a × b, kept for the next MUL_SUB or MUL_ADD
    MAXIMUM = 8  # NaN if either is; −0 < +0
    MINIMUM = 9
    LESS = 10  # 1.0 where a < b, else +0; false with a NaN; −0 = +0
    AT_MOST = 11
    EQUAL = 12
    SELECT = 13  # a where b is not ±0, else c
    MUL_SUB = 14  # what MUL_HOLD kept - a × b
    MUL_ADD = 15  # what MUL_HOLD kept + a × b
    BF16_TO_F32 = 16
    F32_TO_BF16 = 17
    E8M0_TO_F32 = 18
    MXINT8_TO_F32 = 19  # element a at scale b
    MXFP4_TO_F32 = 20


OP_BITS = 5


class VectorLane(Block):
    """y = op(a, b, c) of a cycle with `enable`, LATENCIES[tap] cycles later. `tap`: a bit per class, static while
    anything is under way; of the class CHAIN are MUL_HOLD, MUL_SUB, MUL_ADD and SELECT."""

    module_name = "vector_lane"

    def __init__(self) -> None:
        super().__init__(
            {"enable": In(1), "op": In(OP_BITS), "a": In(32), "b": In(32), "c": In(32),
             "tap": In(len(Tap)), "y": Out(32)}
        )  # fmt: skip

    def placed(self) -> Iterable[Block]:
        return (Fp32Add(), Fp32Mul(), FunctionUnit())

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        op = Signal(OP_BITS, name="op1", reset_less=True)
        a, b, c = (Signal(32, name=n, reset_less=True) for n in ("a1", "b1", "c1"))
        # each unit has operands of its own, so that the others are still
        held = {
            n: (Signal(32, name=f"{n}_a", reset_less=True), Signal(32, name=f"{n}_b", reset_less=True))
            for n in ("product", "function")
        }
        with m.If(self.enable):
            m.d.sync += op.eq(self.op)
            with m.If(self.tap[Tap.QUICK] | self.tap[Tap.ADD] | self.tap[Tap.CHAIN]):
                m.d.sync += [a.eq(self.a), b.eq(self.b), c.eq(self.c)]
            with m.If(self.tap[Tap.MUL] | self.tap[Tap.CHAIN]):
                m.d.sync += [held["product"][0].eq(self.a), held["product"][1].eq(self.b)]
            with m.If(self.tap[Tap.FUNCTION]):
                m.d.sync += held["function"][0].eq(self.a)
        adder, multiplier = place(m, "adder", Fp32Add()), place(m, "multiplier", Fp32Mul())
        functions = awake(m, self.enable & self.tap[Tap.FUNCTION], LATENCY + 1)
        unit = place(m, "functions", FunctionUnit(), functions)
        m.d.comb += [unit.x.eq(held["function"][0]), unit.function.eq(op[:2])]
        m.d.comb += [multiplier.a.eq(held["product"][0]), multiplier.b.eq(held["product"][1])]
        product_op = delay(m, op, fp32_mul.LATENCY, name="product_op")
        kept = Signal(32, reset_less=True)
        with m.If(product_op == VectorOp.MUL_HOLD):
            m.d.sync += kept.eq(multiplier.y)
        chain = self.tap[Tap.CHAIN]
        second = Mux(chain, multiplier.y, b)
        negative = Mux(chain, product_op == VectorOp.MUL_SUB, op == VectorOp.SUB)
        m.d.comb += [adder.a.eq(Mux(chain, kept, a)), adder.b.eq(second ^ Cat(Const(0, 31), negative))]
        quick = register(m, self._quick(m, op, a, b, c), "quick2")
        passed = delay(m, quick, LATENCIES[Tap.CHAIN] - LATENCIES[Tap.QUICK], name="passed")
        moves = delay(m, op == VectorOp.SELECT, LATENCIES[Tap.CHAIN] - 1, name="moves")
        results = {
            Tap.QUICK: quick, Tap.ADD: adder.y, Tap.MUL: multiplier.y, Tap.CHAIN: Mux(moves, passed, adder.y),
            Tap.FUNCTION: unit.y,
        }  # fmt: skip
        y: Value = Const(0, 32)
        for tap, result in results.items():
            y = y | Mux(self.tap[tap], result, 0)
        m.d.comb += self.y.eq(y)
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
    if op in (VectorOp.MUL_HOLD, VectorOp.MUL_SUB, VectorOp.MUL_ADD):
        raise ValueError("products that are added are pairs of operations")
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
