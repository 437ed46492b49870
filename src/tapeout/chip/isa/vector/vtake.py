"""vtake: elements by index."""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Instruction, Operands
from tapeout.chip.isa.forms import BINARY, aligned, at
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.state import State


def meaning(state: State, o: Operands) -> None:
    """out[r, i] = a[r, b[r, i]]; b holds 32-bit indices."""
    aligned(o, "a", "out", "sa", "so", "b", "sb")
    for r in range(o.rows):
        index = state.read_pad(at(o.b, r, o.sb), 4 * o.n).copy().view("<u4")
        base = at(o.a, r, o.sa)
        values = [state.read_floats(base + 4 * int(i), 1) for i in index]
        state.write_floats(at(o.out, r, o.so), np.concatenate([np.zeros(0, np.float32), *values]))


def cycles(o: Operands, g: Geometry) -> int:
    """An element a cycle."""
    elements = o.rows * o.n
    return timing.VECTOR_START + (timing.VECTOR_TAKE + elements if elements else max(o.rows, 1))


INSTRUCTION = Instruction(
    "vtake", 0x75, "out[r, i] = a[r, b[r, i]], b 32-bit indices", BINARY, (), meaning, cycles,
    "The scores of the experts that `vtopk` chose.",
)  # fmt: skip
