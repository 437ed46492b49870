"""vgreatest: out[row] = the largest of the row (NaN if any is; −∞ of an empty row)."""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.chip.isa.forms import reduction
from tapeout.numerics import vector

INSTRUCTION = reduction(
    "vgreatest",
    0x6D,
    "out[row] = the largest of the row (NaN if any is; −∞ of an empty row)",
    vector.greatest,
    timing.VECTOR_GREATEST,
)
