"""mul: rd = a × (b + imm)."""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.chip.isa.forms import scalar

INSTRUCTION = scalar(
    "mul",
    0x03,
    "rd = a × (b + imm): the lower 48 bits of the product, the same for signed and unsigned",
    lambda a, b: a * b,
    timing.MULTIPLY,
)
