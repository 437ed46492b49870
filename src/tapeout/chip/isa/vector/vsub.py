"""vsub: out = a − b."""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.chip.isa.forms import binary
from tapeout.numerics import fp32

INSTRUCTION = binary("vsub", 0x61, "out = a − b, FP32", fp32.sub, fill=timing.VECTOR_ADD)
