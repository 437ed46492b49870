"""vwindow: keep the positions that a token may see."""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Field, Instruction, Operands, Slot
from tapeout.chip.isa.forms import FLOAT, UNARY, aligned, at, vector_cycles
from tapeout.chip.isa.state import State, signed


def meaning(state: State, o: Operands) -> None:
    """out[r, i] = a[r, i] if low + t ≤ i < high + t with t = r // per, else imm; signed."""
    aligned(o, "a", "out", "sa", "so")
    constant = np.array([o.imm], np.uint32).view(np.float32)
    i = np.arange(o.n)
    for r in range(o.rows):
        t = r // o.per
        seen = (signed(o.low) + t <= i) & (i < signed(o.high) + t)
        state.write_floats(
            at(o.out, r, o.so), np.where(seen, state.read_floats(at(o.a, r, o.sa), o.n), constant)
        )


INSTRUCTION = Instruction(
    "vwindow", 0x67, "out[r, i] = a[r, i] if low + t ≤ i < high + t, t = r // per, else imm (signed integers)",
    (*UNARY, Slot("low", "first element that row 0 sees"), Slot("high", "one past the last that row 0 sees")),
    (FLOAT, Field("per", 32, 16, "rows of one token", bias=1)),
    meaning, vector_cycles(timing.VECTOR_QUICK),
    "Causal masks and sliding windows of prefill and decode: rows are heads of one token after another, low and "
    "high are positions relative to the tile, and each further token sees one position further.",
)  # fmt: skip
