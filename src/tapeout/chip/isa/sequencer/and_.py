"""and: rd = a AND (b + imm)."""

from __future__ import annotations

from tapeout.chip.isa.forms import scalar

INSTRUCTION = scalar("and", 0x04, "rd = a AND (b + imm): bitwise and", lambda a, b: a & b)
