"""max: rd = the larger of a and b + imm."""

from __future__ import annotations

from tapeout.chip.isa.forms import scalar
from tapeout.chip.isa.state import signed

INSTRUCTION = scalar(
    "max", 0x0A, "rd = the larger of a and b + imm: as signed integers", lambda a, b: max(a, b, key=signed)
)
