"""vminimum: out = the smaller of a and b (NaN if either is, −0 below +0)."""

from __future__ import annotations

from tapeout.chip.isa.forms import binary
from tapeout.numerics import fp32

INSTRUCTION = binary(
    "vminimum", 0x64, "out = the smaller of a and b (NaN if either is, −0 below +0), FP32", fp32.minimum
)
