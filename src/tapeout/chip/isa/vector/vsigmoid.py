"""vsigmoid: out = 1/(1 + e^−a), the fixed algorithm."""

from __future__ import annotations

from tapeout.chip.isa.forms import unary
from tapeout.numerics import functions

INSTRUCTION = unary(
    "vsigmoid", 0x6B, "out = 1/(1 + e^−a), the fixed algorithm of `numerics.functions`", functions.sigmoid
)
