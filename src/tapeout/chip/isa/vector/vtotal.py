"""vtotal: out[row] = the sum of the row, in the order of `numerics.vector.total`: 32 partial sums, then halves."""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.chip.isa.forms import reduction
from tapeout.numerics import vector

INSTRUCTION = reduction(
    "vtotal",
    0x6C,
    "out[row] = the sum of the row, in the order of `numerics.vector.total`: 32 partial sums, then halves",
    vector.total,
    lambda width: timing.VECTOR_TOTAL + timing.halving(width),
    timing.sums,
)
