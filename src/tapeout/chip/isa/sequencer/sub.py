"""sub: rd = a − (b + imm)."""

from __future__ import annotations

from tapeout.chip.isa.forms import scalar

INSTRUCTION = scalar("sub", 0x02, "rd = a − (b + imm): the difference", lambda a, b: a - b)
