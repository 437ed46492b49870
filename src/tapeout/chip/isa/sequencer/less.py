"""less: rd = 1 if a < b + imm, else 0."""

from __future__ import annotations

from tapeout.chip.isa.forms import scalar
from tapeout.chip.isa.state import signed

INSTRUCTION = scalar(
    "less", 0x0B, "rd = 1 if a < b + imm, else 0: as signed integers", lambda a, b: int(signed(a) < signed(b))
)
