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
    lambda width: timing.VECTOR_GREATEST + width.bit_length() - 1,
    lambda rows, n, width: rows * timing.passes(n, width),
)
