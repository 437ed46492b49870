"""xor: rd = a XOR (b + imm)."""

from __future__ import annotations

from tapeout.chip.isa.forms import scalar

INSTRUCTION = scalar("xor", 0x06, "rd = a XOR (b + imm): bitwise exclusive or", lambda a, b: a ^ b)
