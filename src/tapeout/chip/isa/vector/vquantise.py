"""vquantise: FP32 to a block format."""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Instruction, Operands
from tapeout.chip.isa.forms import BINARY, FORMAT, aligned, at
from tapeout.chip.isa.geometry import Geometry, round_up
from tapeout.chip.isa.state import State
from tapeout.numerics.convert import quantise
from tapeout.numerics.formats import BLOCK, MXFP4, MXINT8

FORMATS = (MXFP4, MXINT8)


def meaning(state: State, o: Operands) -> None:
    """Codes to out, scales to b, by `numerics.convert.quantise`; n is padded with zeros to whole blocks."""
    aligned(o, "a", "out", "sa", "so", "b", "sb")
    for r in range(o.rows):
        x = quantise(state.read_floats(at(o.a, r, o.sa), o.n), FORMATS[o.format])
        state.write_pad(at(o.out, r, o.so), np.ascontiguousarray(x.codes).view(np.uint8))
        state.write_pad(at(o.b, r, o.sb), x.scales)


def cycles(o: Operands, g: Geometry) -> int:
    """Whole blocks; a row's codes and then its scales, eight at a time, are written."""
    if not o.n or not o.rows:
        return timing.VECTOR_START + max(o.rows, 1)
    n = round_up(o.n, BLOCK)
    beats = timing.passes(n, g.lanes)
    writes = timing.passes(n, max(g.lanes, BLOCK)) + timing.passes(n, 8 * BLOCK)
    fill = timing.VECTOR_QUANTISE + timing.passes(BLOCK, g.lanes)
    return timing.VECTOR_START + fill + beats + (o.rows - 1) * max(beats, writes)


INSTRUCTION = Instruction(
    "vquantise", 0x70, "codes of each row's blocks of 32 to out, their scales (one byte a block) to b",
    BINARY, (FORMAT,), meaning, cycles,
    "A result of both: `b` and `sb` say where the scales go. n is padded with zeros to a multiple of 32.",
)  # fmt: skip
