"""vadd: out = a + b."""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.chip.isa.forms import binary
from tapeout.numerics import fp32

INSTRUCTION = binary("vadd", 0x60, "out = a + b, FP32", fp32.add, fill=timing.VECTOR_ADD)
