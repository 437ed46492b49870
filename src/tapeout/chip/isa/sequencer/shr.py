"""shr: rd = a shifted right by the lower six bits of b + imm."""

from __future__ import annotations

from tapeout.chip.isa.forms import scalar

INSTRUCTION = scalar(
    "shr",
    0x08,
    "rd = a shifted right by the lower six bits of b + imm: zeros come in: unsigned",
    lambda a, b: a >> (b & 63),
)
