"""min: rd = the smaller of a and b + imm."""

from __future__ import annotations

from tapeout.chip.isa.forms import scalar
from tapeout.chip.isa.state import signed

INSTRUCTION = scalar(
    "min", 0x09, "rd = the smaller of a and b + imm: as signed integers", lambda a, b: min(a, b, key=signed)
)
