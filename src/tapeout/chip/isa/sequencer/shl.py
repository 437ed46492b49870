"""shl: rd = a shifted left by the lower six bits of b + imm."""

from __future__ import annotations

from tapeout.chip.isa.forms import scalar

INSTRUCTION = scalar(
    "shl",
    0x07,
    "rd = a shifted left by the lower six bits of b + imm: zeros come in; 48 and more give 0",
    lambda a, b: a << (b & 63),
)
