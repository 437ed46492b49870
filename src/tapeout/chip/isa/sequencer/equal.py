"""equal: rd = 1 if a = b + imm, else 0."""

from __future__ import annotations

from tapeout.chip.isa.forms import scalar

INSTRUCTION = scalar("equal", 0x0C, "rd = 1 if a = b + imm, else 0", lambda a, b: int(a == b))
