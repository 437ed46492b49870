"""add: rd = a + (b + imm)."""

from __future__ import annotations

from tapeout.chip.isa.forms import scalar

INSTRUCTION = scalar(
    "add",
    0x01,
    "rd = a + (b + imm): the sum; with a = b = r0 it sets a register to a constant",
    lambda a, b: a + b,
)
