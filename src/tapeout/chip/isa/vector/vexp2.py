"""vexp2: out = 2^a, the fixed algorithm."""

from __future__ import annotations

from tapeout.chip.isa.forms import unary
from tapeout.numerics import functions

INSTRUCTION = unary("vexp2", 0x68, "out = 2^a, the fixed algorithm of `numerics.functions`", functions.exp2)
