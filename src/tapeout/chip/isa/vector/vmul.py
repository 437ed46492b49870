"""vmul: out = a × b."""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.chip.isa.forms import binary
from tapeout.numerics import fp32

INSTRUCTION = binary("vmul", 0x62, "out = a × b, FP32", fp32.mul, fill=timing.VECTOR_MUL)
