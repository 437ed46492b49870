"""vselect: replace the elements that a mask marks."""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Instruction, Operands
from tapeout.chip.isa.forms import BINARY, aligned, at, vector_cycles
from tapeout.chip.isa.state import State


def meaning(state: State, o: Operands) -> None:
    """out = a where b is not ±0 (a NaN is not), else out."""
    aligned(o, "a", "out", "sa", "so", "b", "sb")
    for r in range(o.rows):
        mask = state.read_floats(at(o.b, r, o.sb), o.n) != 0
        old = state.read_floats(at(o.out, r, o.so), o.n)
        state.write_floats(at(o.out, r, o.so), np.where(mask, state.read_floats(at(o.a, r, o.sa), o.n), old))


INSTRUCTION = Instruction(
    "vselect", 0x66, "out = a where b is not ±0, else what out holds", BINARY, (), meaning,
    vector_cycles(timing.VECTOR_QUICK, 2),
    "Three operands are read, which takes the two read ports twice.",
)  # fmt: skip
