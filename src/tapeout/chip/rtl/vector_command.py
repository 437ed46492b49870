"""What a vector command asks for: the instruction's immediate and operands as the engine's own controls, checked.

Everything here is logic between the dispatcher's queue and the engine's first register, so that the checks of
alignment and counts cost no time. Addresses of rows are checked when the rows come (`vector_fetch`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.definition import REGISTER_BITS, Cause, Engine
from tapeout.chip.isa.geometry import BLOCK_BYTES
from tapeout.chip.isa.registry import instructions
from tapeout.chip.isa.vector.vrope import HALF_UNIT
from tapeout.chip.rtl.block import Block
from tapeout.chip.rtl.sequencer import CAUSE_BITS
from tapeout.chip.rtl.sequencer_dispatch import COMMAND
from tapeout.chip.rtl.vector_lane import OP_BITS, Tap, VectorOp
from tapeout.numerics.formats import BLOCK


class Kind(IntEnum):
    """Which pipeline computes."""

    LANES = 0
    REDUCE = 1
    QUANTISE = 2
    TOPK = 3
    TAKE = 4


class Size(IntEnum):
    """log2 of the half-bytes of an element of a."""

    FP4 = 0
    BYTE = 1
    BF16 = 2
    F32 = 3


class Second(IntEnum):
    """What the second operand is: nothing from the scratchpad, a row of FP32, one FP32 per row, scales."""

    NONE = 0
    VECTOR = 1
    ROW = 2
    SCALES = 3


# The controls that hold while an instruction is executed. `select`: the lanes' third operand is what out holds;
# `window`: the second is whether the position is seen; `constant`: what stands in for operands that are not read.
CONTROL = data.StructLayout(
    {
        "kind": 3, "op": OP_BITS, "tap": len(Tap), "size": 2, "second": 2, "select": 1, "window": 1, "rope": 1,
        "interleaved": 1, "narrow": 1, "greatest": 1, "fp4": 1, "constant": 32, "count": 6,
    }
)  # fmt: skip


def prepared(pad_bytes: int) -> data.StructLayout:
    """A command ready to start: controls; `a`, `b`, `out` with their strides; `rows` of `n` elements, `pad` more to
    whole blocks; bytes of a row of each (`length_a` …, 0 where not checked); `half` of the rotation; `low`, `high` are
    b and sb. `writes`: there will be results. `trap` with its `cause`."""
    address = {x: REGISTER_BITS for x in ("a", "b", "out", "sa", "sb", "so", "rows")}
    bits = element_bits(pad_bytes)
    length = {f"length_{x}": bits + 3 for x in ("a", "b", "out")}
    return data.StructLayout(
        {
            "control": CONTROL, **address, "n": bits, "pad": 5, **length, "check_a": 1, "check_b": 1, "half": 16,
            "per": 16, "large": 1, "writes": 1, "trap": 1, "cause": CAUSE_BITS,
        }
    )  # fmt: skip


def element_bits(pad_bytes: int) -> int:
    """Bits of a count of elements that a row in the scratchpad may have (two FP4 a byte), rounded up to blocks."""
    return (pad_bytes - 1).bit_length() + 3


def opcode(name: str) -> int:
    """The opcode of a vector instruction without the engine's bits."""
    one = instructions()[name]
    assert one.engine == Engine.VECTOR
    return one.opcode & 31


# name: operation of the lanes, latency class
ELEMENTWISE = {
    "vadd": (VectorOp.ADD, Tap.ADD), "vsub": (VectorOp.SUB, Tap.ADD), "vmul": (VectorOp.MUL, Tap.MUL),
    "vmaximum": (VectorOp.MAXIMUM, Tap.QUICK), "vminimum": (VectorOp.MINIMUM, Tap.QUICK),
}  # fmt: skip
FUNCTIONS = {
    "vexp2": VectorOp.EXP2, "vreciprocal": VectorOp.RECIPROCAL, "vrsqrt": VectorOp.RSQRT, "vsigmoid": VectorOp.SIGMOID
}  # fmt: skip


class VectorCommand(Block):
    """`command` → `prepared`, combinational."""

    combinational = True

    def __init__(self, pad_bytes: int) -> None:
        self.pad_bytes = pad_bytes
        super().__init__({"command": In(COMMAND), "prepared": Out(prepared(pad_bytes))})

    @property
    def module_name(self) -> str:
        return f"vector_command_{self.pad_bytes}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        c, p = self.command, self.prepared
        a, out, n, rows, sa, so, b, sb = (c.slots[i] for i in range(8))
        imm = c.imm
        bits = element_bits(self.pad_bytes)
        blocks = Signal(bits)  # n in whole blocks
        m.d.comb += blocks.eq(n[5 : bits - 1] + n[:5].any())
        codes: Value = Cat(Const(0, 5), blocks)  # n rounded up
        four, two = Cat(Const(0, 2), n[:bits]), Cat(Const(0, 1), n[:bits])
        fp4 = imm[32] == 0
        x = p.control
        m.d.comb += [
            p.a.eq(a), p.b.eq(b), p.out.eq(out), p.sa.eq(sa), p.sb.eq(sb), p.so.eq(so), p.rows.eq(rows),
            p.n.eq(n), p.half.eq(imm[:16]), p.per.eq(imm[32:48]),
            p.large.eq(n[bits - 1 :].any()), p.writes.eq(n.any() & rows.any()),
            p.length_a.eq(four), p.length_b.eq(four), p.length_out.eq(four), p.check_a.eq(1),
            x.tap.eq(1 << Tap.QUICK), x.size.eq(Size.F32), x.constant.eq(imm[:32]), x.fp4.eq(fp4),
        ]  # fmt: skip
        binary = Signal()  # b by the field `from`
        uses_b = Signal()
        operand = Signal()  # a count that the engine cannot do
        with m.Switch(c.opcode):
            for name, (op, tap) in ELEMENTWISE.items():
                with m.Case(opcode(name)):
                    m.d.comb += [x.op.eq(op), x.tap.eq(1 << tap), binary.eq(1)]
            for name, op in FUNCTIONS.items():
                with m.Case(opcode(name)):
                    m.d.comb += [x.op.eq(op), x.tap.eq(1 << Tap.FUNCTION)]
            with m.Case(opcode("vcompare")):
                kinds = (VectorOp.LESS, VectorOp.AT_MOST, VectorOp.EQUAL)
                for k, op in enumerate(kinds):
                    with m.If(imm[34:36] == k):
                        m.d.comb += x.op.eq(op)
                m.d.comb += binary.eq(1)
            with m.Case(opcode("vselect")):
                m.d.comb += [x.op.eq(VectorOp.SELECT), x.select.eq(1), uses_b.eq(1)]
                m.d.comb += x.second.eq(Second.VECTOR)
            with m.Case(opcode("vwindow")):
                m.d.comb += [x.op.eq(VectorOp.SELECT), x.window.eq(1)]
            for name in ("vtotal", "vgreatest"):
                with m.Case(opcode(name)):
                    m.d.comb += [x.kind.eq(Kind.REDUCE), x.greatest.eq(int(name == "vgreatest"))]
                    m.d.comb += [p.length_out.eq(4), p.writes.eq(rows.any())]
            with m.Case(opcode("vrope")):
                m.d.comb += [
                    x.rope.eq(1), x.interleaved.eq(imm[16]), x.op.eq(VectorOp.SELECT), x.tap.eq(1 << Tap.CHAIN),
                    x.second.eq(Second.VECTOR), uses_b.eq(1), p.length_b.eq(Cat(Const(0, 3), imm[:16])),
                    operand.eq((n < Cat(Const(0, 1), imm[:16])) | (imm[:16] % HALF_UNIT).any()),
                ]  # fmt: skip
            with m.Case(opcode("vquantise")):
                m.d.comb += [
                    x.kind.eq(Kind.QUANTISE), uses_b.eq(1), p.length_b.eq(blocks), p.n.eq(codes), p.pad.eq(-n[:5]),
                    p.length_out.eq(Mux(fp4, codes >> 1, codes)),
                ]  # fmt: skip
            with m.Case(opcode("vdequantise")):
                m.d.comb += [
                    x.op.eq(Mux(fp4, VectorOp.MXFP4_TO_F32, VectorOp.MXINT8_TO_F32)), uses_b.eq(1),
                    x.size.eq(Mux(fp4, Size.FP4, Size.BYTE)), x.second.eq(Second.SCALES),
                    p.length_a.eq(Mux(fp4, codes >> 1, codes)), p.length_b.eq(blocks),
                ]  # fmt: skip
            with m.Case(opcode("vconvert")):  # noqa: SIM117
                with m.Switch(imm[:2]):
                    with m.Case(0):
                        m.d.comb += [x.op.eq(VectorOp.BF16_TO_F32), x.size.eq(Size.BF16), p.length_a.eq(two)]
                    with m.Case(1):
                        m.d.comb += [x.op.eq(VectorOp.F32_TO_BF16), x.narrow.eq(1), p.length_out.eq(two)]
                    with m.Default():
                        m.d.comb += [
                            x.op.eq(VectorOp.E8M0_TO_F32),
                            x.size.eq(Size.BYTE),
                            p.length_a.eq(n[:bits]),
                        ]
            with m.Case(opcode("vtopk")):
                m.d.comb += [
                    x.kind.eq(Kind.TOPK), x.count.eq(imm[:6]), operand.eq(imm[:6] >= n),
                    p.length_out.eq(Cat(Const(0, 2), (imm[:6] + 1)[:7])),
                ]  # fmt: skip
            with m.Case(opcode("vtake")):
                m.d.comb += [x.kind.eq(Kind.TAKE), x.second.eq(Second.VECTOR), uses_b.eq(1), p.check_a.eq(0)]
        with m.If(binary):
            source = imm[32:34]
            m.d.comb += uses_b.eq(source != 2)
            with m.If(source == 0):
                m.d.comb += x.second.eq(Second.VECTOR)
            with m.Elif(source == 1):
                m.d.comb += [x.second.eq(Second.ROW), p.length_b.eq(4)]
        low = (BLOCK_BYTES - 1).bit_length()
        unaligned = Cat(v[:low] for v in (a, out, sa, so)).any() | (uses_b & Cat(b[:low], sb[:low]).any())
        m.d.comb += [
            p.check_b.eq(uses_b), p.trap.eq(unaligned | operand),
            p.cause.eq(Mux(unaligned, Cause.ALIGNMENT, Cause.OPERAND)),
        ]  # fmt: skip
        return m


assert BLOCK == 32
