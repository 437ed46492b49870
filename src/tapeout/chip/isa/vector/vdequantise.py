"""vdequantise: a block format to FP32."""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Instruction, Operands
from tapeout.chip.isa.forms import BINARY, FORMAT, aligned, at, vector_cycles
from tapeout.chip.isa.geometry import round_up
from tapeout.chip.isa.state import State
from tapeout.chip.isa.vector.vquantise import FORMATS
from tapeout.numerics.formats import BLOCK, MXINT8, Mx


def meaning(state: State, o: Operands) -> None:
    """out = `numerics.formats.Mx.decode` of codes at a with scales at b."""
    aligned(o, "a", "out", "sa", "so", "b", "sb")
    format = FORMATS[o.format]
    k = round_up(o.n, BLOCK)
    for r in range(o.rows):
        codes = state.read_pad(at(o.a, r, o.sa), k * format.bits // 8).copy()
        scales = state.read_pad(at(o.b, r, o.sb), k // BLOCK).copy()
        x = Mx(format, codes.view("int8") if format is MXINT8 else codes, scales)
        state.write_floats(at(o.out, r, o.so), x.decode()[: o.n])


INSTRUCTION = Instruction(
    "vdequantise", 0x71, "out = values of the codes at a with the scales (one byte a block of 32) at b",
    BINARY, (FORMAT,), meaning, vector_cycles(timing.VECTOR_QUICK),
)  # fmt: skip
