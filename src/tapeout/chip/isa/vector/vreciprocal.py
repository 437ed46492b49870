"""vreciprocal: out = 1/a, the fixed algorithm."""

from __future__ import annotations

from tapeout.chip.isa.forms import unary
from tapeout.numerics import functions

INSTRUCTION = unary(
    "vreciprocal", 0x69, "out = 1/a, the fixed algorithm of `numerics.functions`", functions.reciprocal
)
