"""or: rd = a OR (b + imm)."""

from __future__ import annotations

from tapeout.chip.isa.forms import scalar

INSTRUCTION = scalar("or", 0x05, "rd = a OR (b + imm): bitwise or", lambda a, b: a | b)
