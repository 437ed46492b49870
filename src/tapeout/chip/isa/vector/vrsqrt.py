"""vrsqrt: out = 1/√a, the fixed algorithm."""

from __future__ import annotations

from tapeout.chip.isa.forms import unary
from tapeout.numerics import functions

INSTRUCTION = unary(
    "vrsqrt", 0x6A, "out = 1/√a, the fixed algorithm of `numerics.functions`", functions.rsqrt
)
